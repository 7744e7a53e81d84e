"""The nouns that all floors share: a file's status, where its bytes lie, and what a writer may demand."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from pacarchive import errors
from pacarchive.digests import PRIMARY, Digests
from pacarchive.times import seconds_of


class Locality(enum.Enum):
    """Where a file's bytes are, in the words of the WLCG Tape REST API, version 1."""

    DISK = "DISK"
    TAPE = "TAPE"
    DISK_AND_TAPE = "DISK_AND_TAPE"
    LOST = "LOST"
    NONE = "NONE"
    UNAVAILABLE = "UNAVAILABLE"


@attrs.frozen(kw_only=True)
class FileStatus:
    """
    What is known of a stored file without reading its data.

    @ivar file_id: The id.
    @ivar path: The file's full path in the storage system; for the C{X-Pacifica-File} header and logs.
    @ivar size: Bytes.
    @ivar mtime_ns: Modification time, integer nanoseconds since the epoch: the sender's word.
    @ivar ctime_ns: Status change time, integer nanoseconds since the epoch: by the storage's own clock, and not before
        the version was stored.
    @ivar bytes_per_level: Bytes on each storage level, fastest first.
    @ivar media: The medium of each level (C{"disk"}, C{"tape"}), as many as C{bytes_per_level}.
    @ivar locality: Where the bytes are.
    @ivar digests: Stored digests; empty where none was ever computed.
    @ivar generation: Opaque; differs whenever the content may differ.  Used for the entity tag of files
        that have no stored digest.
    """

    file_id: int
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    bytes_per_level: Sequence[int]
    media: Sequence[str]
    locality: Locality
    digests: Digests
    generation: str

    @property
    def mtime(self) -> float:
        """C{mtime_ns} in seconds, as near as a float comes: for what has always been told so."""
        return seconds_of(self.mtime_ns)

    @property
    def ctime(self) -> float:
        """C{ctime_ns} in seconds, as near as a float comes."""
        return seconds_of(self.ctime_ns)

    @property
    def etag(self) -> str:
        """The strong entity tag, quotes included (RFC 9110, section 8.8.3)."""
        digest = self.digests.get(PRIMARY)
        return f'"{digest.hex() if digest is not None else self.generation}"'

    @property
    def storage_media(self) -> str:
        """
        The predecessor's word: where the file is read from, or C{"error"}.

        It took the first level with as many bytes as the file has, which a file with holes never has.
        """
        match self.locality:
            case Locality.DISK | Locality.DISK_AND_TAPE | Locality.NONE:
                return "disk"
            case Locality.TAPE:
                return "tape"
            case _:
                return "error"


@attrs.frozen(kw_only=True)
class TapeLocation:
    """
    Where the copy of a file lies that a recall would read, so that recalls can be put in order.

    @ivar medium: The volume serial name (VSN) of the cartridge.
    @ivar position: Grows along the tape; of no other meaning.
    @ivar size: Bytes to recall.
    """

    medium: str
    position: int
    size: int


class RecallState(enum.Enum):
    """What a storage system says of a file that it was asked to recall."""

    QUEUED = "queued"
    """It knows of the recall, and has not begun."""
    ACTIVE = "active"
    """It is at it, or does not tell whether it has begun."""
    RESIDENT = "resident"
    """The bytes are on disk."""
    UNKNOWN = "unknown"
    """The bytes are not on disk, and it knows of no recall: it failed, or was lost.  Ask again, or give up."""
    FAILED = "failed"
    """It cannot be recalled, and asking again is of no use."""


@attrs.frozen
class RecallProgress:
    """
    How a recall stands.

    @ivar words: For a person; empty where there is nothing to add.
    """

    state: RecallState
    words: str = ""


class Overwrite(enum.Enum):
    """What a PUT or move to a taken id does."""

    ALLOW = "allow"
    """Replace atomically."""
    IDENTICAL = "identical"
    """Succeed only with the very bytes that are stored already, so that a retry is safe."""
    DENY = "deny"
    """Refuse: the archive is write-once."""


@attrs.frozen(kw_only=True)
class WriteConditions:
    """
    What must be true of an id when it is written, checked early and again at the moment of publishing.

    @ivar overwrite: The policy for a taken id.
    @ivar if_absent: The request's C{If-None-Match: *}.
    @ivar if_match: The entity tags of C{If-Match}; C{"*"} stands for any existing file.  C{None}: no condition.
    """

    overwrite: Overwrite = Overwrite.ALLOW
    if_absent: bool = False
    if_match: frozenset[str] | None = None

    @property
    def unconditional(self) -> bool:
        """Whether the state of the id makes no difference."""
        return self.overwrite is Overwrite.ALLOW and not self.if_absent and self.if_match is None

    def require(self, current: FileStatus | None) -> None:
        """
        Hold the state of an id against these conditions.  Whether the bytes are those of the stored version
        (L{Overwrite.IDENTICAL}) is for the backend to find out.

        @param current: The published version, if there is one.
        @raise errors.PreconditionFailed: By C{if_absent} or C{if_match}.
        @raise errors.AlreadyExists: By the overwrite policy.
        """
        if self.if_match is not None and (current is None or not ({current.etag, "*"} & self.if_match)):
            raise errors.PreconditionFailed("The file is not the one that If-Match names.")
        if current is None:
            return
        if self.if_absent:
            raise errors.PreconditionFailed("The id is taken, and was to be free.")
        if self.overwrite is Overwrite.DENY:
            raise errors.AlreadyExists("The id is taken, and this archive does not overwrite.")


class Durability(enum.Enum):
    """What an acknowledged write has survived."""

    FULL = "full"
    """File, directory and every new parent are on stable storage."""
    RELAXED = "relaxed"
    """Nothing was synced: for scratch use only."""


@attrs.frozen
class Health:
    """
    Whether the storage can serve.

    @ivar ready: Requests can be expected to succeed.
    @ivar words: For people: what is wrong, or a summary.  Names no path, account or host.
    @ivar degraded: They succeed, but not everything works, or is known.
    """

    ready: bool
    words: str
    degraded: bool = False


@attrs.frozen(kw_only=True)
class Estimate:
    """
    When something will be done, and why that is believed.

    @ivar seconds: From now.
    @ivar basis: For a person: what it was worked out from.
    """

    seconds: float
    basis: str


@attrs.frozen(kw_only=True)
class Trouble:
    """
    Why files of a job do not come.

    @ivar files: How many.
    @ivar reason: For a person: what holds everything up; or else why the last try of one of them failed, of the one
        that was tried most often.
    @ivar attempts: How often the storage system was asked for that one; 0 where everything is held up.
    @ivar next_try: When it is asked again; C{None} where it waits for its turn, or is being tried now.
    """

    files: int
    reason: str
    attempts: int = 0
    next_try: float | None = None
