"""The nouns of the client: what its calls return.

Everything is plain data.  Times are float seconds since the epoch, those of files (C{mtime_ns}) integer nanoseconds;
sizes are bytes, digests raw bytes by algorithm.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs

from pacarchive.digests import Digests
from pacarchive.model import Estimate, Locality, Trouble
from pacarchive.times import seconds_of

UP = "Archive Interface Up and Running"
"""How the message of C{GET /} ends, an archive's and its predecessors'."""

UNNAMED = "a server that does not say what it is"
"""What is said of whoever answers without a C{Server} field."""


@attrs.frozen
class Progress:
    """
    How far a transfer is.

    @ivar done: Bytes that have been moved; falls back where a transfer has to begin anew.
    @ivar total: Bytes in all, once they are known.
    """

    done: int
    total: int | None


OnProgress: TypeAlias = Callable[[Progress], object]
"""Called in the reactor's thread, now and then, and at the end; must not block."""


@attrs.frozen(kw_only=True)
class Stored:
    """
    A file that is complete, checked, and in the archive.

    @ivar etag: The entity tag of this version, for C{if_match}; quotes included.
    @ivar digests: The digests that were asked for, and C{sha256}.
    @ivar durable: Whether the archive had it on stable storage before it answered.
    """

    file_id: int
    size: int
    etag: str
    digests: Digests
    durable: bool = True


@attrs.frozen(kw_only=True)
class Fetched:
    """
    A file that has been read.

    @ivar etag: The entity tag of the version that it is.
    @ivar digests: What was computed of the bytes that came.
    @ivar verified: Whether they were compared with the archive's.
    @ivar resumed: How often it went on after the connection was lost.
    @ivar mtime_ns: The time of modification of the version that it is; C{None} where the archive does not say, and of
        whole seconds where it tells no more.
    """

    file_id: int
    size: int
    etag: str
    digests: Digests
    verified: bool
    resumed: int = 0
    mtime_ns: int | None = None


@attrs.frozen(kw_only=True)
class Status:
    """
    What the archive knows of a file without reading it.

    @ivar mtime_ns: Its time of modification.
    @ivar ctime: When anything of it was last changed.
    @ivar path: Where it is in the storage system; for people.
    @ivar bytes_per_level: Bytes on each storage level, the fastest first.
    @ivar media: The predecessor's word: where it would be read from (C{disk}, C{tape}, C{error}).
    """

    file_id: int
    size: int
    mtime_ns: int
    ctime: float
    etag: str
    digests: Digests
    locality: Locality
    media: str
    path: str
    bytes_per_level: Sequence[int]

    @property
    def mtime(self) -> float:
        """C{mtime_ns} in seconds, as near as a float comes."""
        return seconds_of(self.mtime_ns)


@attrs.frozen(kw_only=True)
class Located:
    """
    Where a file is, in the words of the WLCG Tape REST API.

    @ivar locality: C{None} where the archive cannot tell.
    @ivar error: Why it cannot, e.g. as there is no such file.
    """

    file_id: int
    locality: Locality | None
    error: str | None


@attrs.frozen(kw_only=True)
class ListedFile:
    """
    A file of the archive's list.

    @ivar size: Its bytes.
    @ivar mtime_ns: Its time of modification; C{None} outside of the years 1 to 9999.
    @ivar ctime_ns: When anything of it was last changed; likewise.
    @ivar locality: Where it is; C{None} where that was not asked for.
    @ivar digests: The stored digests; none where there are none, or they were not asked for.
    @ivar error: Why nothing can be told of it; all else is C{None} then.
    """

    file_id: int
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None
    locality: Locality | None
    digests: Digests
    error: str | None = None


@attrs.frozen(kw_only=True)
class FilesPage:
    """
    Some files of the archive's list; perhaps none.

    @ivar cursor: What to give to go on behind it; C{None} where it is the last.
    """

    files: Sequence[ListedFile]
    cursor: str | None


class JobState(enum.Enum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    DELETED = "deleted"
    """Somebody had the archive forget it."""


class FileState(enum.Enum):
    """How a file of a job stands."""

    QUEUED = "queued"
    STARTED = "started"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (FileState.COMPLETED, FileState.FAILED, FileState.CANCELLED)


WishState = FileState
"""The name that it had at first."""


@attrs.frozen(kw_only=True)
class Job:
    """
    A recall of many files, and how it stands.

    More files than the archive takes in one job become several of its jobs, told and handled as one.

    @ivar id: What to name it by; the ids of the archive's jobs, with commas between them.
    @ivar files: How many.
    @ivar left: How many of them have not ended.
    @ivar counts: Files by state; all states are there.
    @ivar bytes_total: Bytes of all its files, as far as they are known.
    @ivar bytes_done: Bytes of those that have come.
    @ivar rate: Bytes a second so far.
    @ivar estimate: When the last will be there; C{None} where it has ended, or that is not known.
    @ivar cursor: What to give to C{changes} to hear of later changes only.
    @ivar trouble: Why files do not come; C{None} while nothing is known to be wrong.
    @ivar most_attempts: How often a file is asked for before it has failed; 0 where the archive does not say.
    @ivar pin: For how many seconds each file stays on disk once it has come: what was granted; C{None} where the
        archive does not say.
    @ivar effect: What the call that this is the answer to has done to how many files: of C{cancel}, those that were
        C{cancelled}, are C{cancelling}, and had C{ended} before; of C{release}, those whose pin was C{released}, those
        that are C{coming} and will have none, and those that were C{unpinned} before.
    """

    id: str
    state: JobState
    owner: str
    priority: str
    created: float
    started: float | None
    ended: float | None
    deadline: float
    files: int
    left: int
    counts: Mapping[FileState, int]
    bytes_total: int
    bytes_done: int
    rate: float
    estimate: Estimate | None
    cursor: str
    trouble: Trouble | None = None
    most_attempts: int = 0
    pin: float | None = None
    effect: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class JobFile:
    """
    A file of a job.

    @ivar size: Bytes, where they are known.
    @ivar attempts: How often the storage system was asked for it.
    @ivar next_try: When it is asked again, where it rests after a try that failed.
    @ivar reason: For a person: why it stands so.
    @ivar pinned: Until when it is to stay on disk; C{None} where it is not pinned.
    """

    file_id: int
    state: FileState
    size: int | None
    started: float | None
    ended: float | None
    deadline: float
    attempts: int
    reason: str
    pinned: float | None
    next_try: float | None = None


OnJobProgress: TypeAlias = Callable[[Job, Sequence[JobFile]], object]
"""Called with a job and those of its files that have changed since the last call."""


@attrs.frozen(kw_only=True)
class Changes:
    """
    A job, and what has changed of it.

    @ivar cursor: What to give the next time.
    """

    job: Job
    files: Sequence[JobFile]
    cursor: str


@attrs.frozen(kw_only=True)
class JobResult:
    """
    A job that has ended.

    @ivar files: All its files, by id.
    """

    job: Job
    files: Mapping[int, JobFile]

    @property
    def complete(self) -> bool:
        """Whether every file is on disk."""
        return all(each.state is FileState.COMPLETED for each in self.files.values())

    def of(self, state: FileState) -> list[JobFile]:
        """The files that ended so."""
        return [each for each in self.files.values() if each.state is state]


@attrs.frozen(kw_only=True)
class Plan:
    """
    What a job would mean, before anything moves.

    @ivar message: All of it in one sentence, for a person.
    @ivar files: How many were asked about.
    @ivar on_disk: How many of them need no recall.
    @ivar missing: Ids that have no file.
    @ivar recalls: How many must be recalled.
    @ivar cartridges: From how many cartridges.
    @ivar bytes: How much room they need on disk.
    """

    message: str
    files: int
    on_disk: int
    missing: Sequence[int]
    recalls: int
    cartridges: int
    bytes: int
    estimate: Estimate


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """
    When to try again what is safe to try again.

    Between two tries are C{first * 2**n} seconds, C{longest} at the most, of which a random part of up to C{jitter} is
    left out; the archive's C{Retry-After} is waited for where it is longer, up to C{longest_asked}.

    @ivar attempts: How many tries in a row may come nowhere, the first included.  A L{get<ArchiveClient.get>} goes on
        where it was, and starts the count again for each MiB that has come.  1 is one try, whatever C{restarts} is.
    @ivar restarts: How often beside that a put may begin anew, as the connection was lost when bytes had moved: a PUT
        always begins at its first byte.  It is sent C{attempts + restarts} times at the most.
    """

    attempts: int = 6
    restarts: int = 32
    first: float = 0.25
    longest: float = 15.0
    longest_asked: float = 120.0
    jitter: float = 0.5


USUAL = RetryPolicy()
"""What a client does that is not told otherwise."""

NEVER = RetryPolicy(attempts=1, restarts=0)
"""Everything is tried once."""
