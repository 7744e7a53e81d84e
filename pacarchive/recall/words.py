"""The nouns of the recall engine: jobs, their files, pins and plans.

Everything is plain data.  Times are float seconds since the epoch, sizes bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from pacarchive.model import Estimate, Trouble


class FileState(enum.IntEnum):
    """
    How a file of a job stands.  C{docs/recall.md} draws what follows what.

    The numbers are stored; what is below L{COMPLETED} has not ended.
    """

    QUEUED = 0
    """It waits for its turn."""
    STARTED = 1
    """The storage system was asked for it."""
    CANCELLING = 2
    """Nobody wants it any more, and the storage system has not agreed to give it up yet."""
    COMPLETED = 3
    """Its bytes are on disk."""
    FAILED = 4
    """It will not come; the reason says why."""
    CANCELLED = 5
    """It was given up."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self >= FileState.COMPLETED


LIVE = FileState.COMPLETED
"""States below this one have not ended."""


class Priority(enum.IntEnum):
    """How urgent a job is beside the others of its owner, and how large its owner's share."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


@attrs.frozen(kw_only=True)
class JobRequest:
    """
    A request for files.

    @ivar owner: Who asks, as far as it is known; fair shares are by owner.
    @ivar file_ids: The files, each once.
    @ivar pins: For how long each file that has come is to stay on disk, in seconds; those that are not here get the
        setting's.
    @ivar deadline: Seconds after which what has not come has failed; C{None} for the setting's.
    @ivar priority: How urgent it is.
    @ivar others: Names that were asked for and are no ids; they are kept and told, and nothing else comes of them.
    """

    owner: str
    file_ids: Sequence[int]
    pins: Mapping[int, float] = attrs.field(factory=dict)
    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    others: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class JobSummary:
    """
    A job without its files.

    @ivar job: Its identifier: 32 hexadecimal digits.
    @ivar number: Grows with the time of submission; the key of pages.
    @ivar deadline: When what has not come will have failed.
    @ivar started: When the first of its files was asked for, if one was.
    @ivar ended: When its last file ended, if it has.
    @ivar files: How many.
    @ivar left: How many of them have not ended.
    """

    job: str
    number: int
    owner: str
    priority: Priority
    created: float
    deadline: float
    started: float | None
    ended: float | None
    files: int
    left: int


@attrs.frozen(kw_only=True)
class JobStatus:
    """
    A job and how it stands.

    @ivar counts: Its files by state; all states are there.
    @ivar size: Bytes of all its files, as far as they are known.
    @ivar done: Bytes of those that have come.
    @ivar rate: Bytes a second that came so far, since the first was asked for; 0 while nothing is known.
    @ivar estimate: When the last will be there; C{None} where it has ended or nobody can tell.
    @ivar trouble: Why files do not come; C{None} while nothing is known to be wrong.
    @ivar pin: For how many seconds each file that has come stays on disk: what was granted, of the one that stays
        longest.
    @ivar most_attempts: How often a file is asked for before it has failed.
    @ivar cursor: What to give as C{since} to hear of later changes only.
    @ivar others: The request's.
    """

    summary: JobSummary
    counts: Mapping[FileState, int]
    size: int
    done: int
    rate: float
    estimate: Estimate | None
    trouble: Trouble | None = None
    pin: float
    most_attempts: int
    cursor: str
    others: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class JobFile:
    """
    A file of a job.

    @ivar size: Bytes, where they are known.
    @ivar deadline: When it will have failed, unless it ends before.
    @ivar heard: When the storage system was last heard of about it.
    @ivar attempts: How often the storage system was asked for it.
    @ivar next_try: When it is asked again, where it rests after a try that failed.
    @ivar reason: For a person: why it stands so.  Never empty for what failed.
    @ivar pinned: Until when it is to stay on disk; C{None} where it is not pinned.
    """

    file_id: int
    state: FileState
    size: int | None
    started: float | None
    ended: float | None
    deadline: float
    heard: float | None
    attempts: int
    next_try: float | None = None
    reason: str
    pinned: float | None


@attrs.frozen(kw_only=True)
class Cancelled:
    """
    What giving files of a job up has done.

    @ivar cancelled: How many were given up just now.
    @ivar cancelling: How many will be when the storage system agrees, unless they come.
    @ivar ended: How many had ended before, and are left as they are.
    """

    cancelled: int
    cancelling: int
    ended: int


@attrs.frozen(kw_only=True)
class Released:
    """
    What ending pins of a job has done.

    @ivar released: How many files were pinned, and are not any more.
    @ivar coming: How many are still to come, and will not be pinned.
    @ivar unpinned: How many had no pin, or none any more.
    """

    released: int
    coming: int
    unpinned: int


@attrs.frozen(kw_only=True)
class FilesPage:
    """
    Some files of a job.

    @ivar cursor: Where to go on: with the rest, or, after the last page, with what changes later.
    @ivar more: Whether there are more now.
    """

    files: Sequence[JobFile]
    cursor: str
    more: bool


@attrs.frozen(kw_only=True)
class Pin:
    """
    A promise that a file stays on disk.

    @ivar expires: When it expires.
    @ivar until_read: Whether the first whole read ends it.
    """

    file_id: int
    job: str
    owner: str
    size: int
    expires: float
    until_read: bool


@attrs.frozen(kw_only=True)
class Plan:
    """
    What a job would mean, before anything moves.

    @ivar files: How many were asked about.
    @ivar on_disk: How many of them need no recall.
    @ivar missing: Ids that have no file.
    @ivar recalls: How many must be recalled.
    @ivar media: From how many cartridges.
    @ivar size: Bytes of buffer that they need.
    """

    files: int
    on_disk: int
    missing: Sequence[int]
    recalls: int
    media: int
    size: int
    estimate: Estimate


@attrs.frozen(kw_only=True)
class Asked:
    """
    The answer to a request for one file.

    @ivar job: The job that it became part of.
    @ivar retry_after: Seconds after which it is worth looking again.
    """

    job: str
    retry_after: int
