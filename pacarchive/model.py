"""The data types that all rooms share: a file's status, its locality, recalls, and the conditions of a write."""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from pacarchive import errors
from pacarchive.digests import PRIMARY, Digests
from pacarchive.times import format_iso, seconds_of


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
    @ivar path: The file's full path in the storage system, for the C{X-Pacifica-File} header and logs.
    @ivar size: The size in bytes.
    @ivar mtime_ns: The modification time in nanoseconds since the epoch, as the sender has set it.
    @ivar ctime_ns: The status change time in nanoseconds since the epoch, by the storage system's clock; not before
        the version was stored.
    @ivar bytes_per_level: The bytes on each storage level, the fastest first.
    @ivar media: The medium of each level (C{"disk"}, C{"tape"}), as many as C{bytes_per_level}.
    @ivar locality: Where the bytes are.
    @ivar digests: The stored digests; empty where none has been computed.
    @ivar generation: An opaque text that differs whenever the contents may.  It is the entity tag of files without a
        stored digest.
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
        """C{mtime_ns} in seconds, as the nearest float: for header fields that have that form."""
        return seconds_of(self.mtime_ns)

    @property
    def ctime(self) -> float:
        """C{ctime_ns} in seconds, as the nearest float."""
        return seconds_of(self.ctime_ns)

    @property
    def etag(self) -> str:
        """The strong entity tag, quotes included (RFC 9110, section 8.8.3)."""
        digest = self.digests.get(PRIMARY)
        return f'"{digest.hex() if digest is not None else self.generation}"'

    @property
    def storage_media(self) -> str:
        """
        Where the file is read from, as the predecessor says it: C{"disk"}, C{"tape"} or C{"error"}.

        The predecessor takes the first level with as many bytes as the file's size, which a file with holes never has.
        """
        match self.locality:
            case Locality.DISK | Locality.DISK_AND_TAPE | Locality.NONE:
                return "disk"
            case Locality.TAPE:
                return "tape"
            case _:
                return "error"


@attrs.frozen
class InventoryPage:
    """
    Some of the files of an archive.

    @ivar files: For each id its status, or why that cannot be told.
    @ivar place: Where the next page begins, opaque to all but the backend; C{None} where there is none.
    """

    files: Mapping[int, FileStatus | Exception]
    place: str | None


@attrs.frozen
class InventoryLines:
    """
    L{InventoryPage} as text.

    @ivar text: L{inventory_line} of each file.
    @ivar place: As of a page.
    """

    text: str
    place: str | None


INVENTORY_FIELDS = ("bytes", "mtime", "ctime", "locality", "digests")
"""What lists of files tell of each beside its id."""


def inventory_entry(
    file_id: int, status: FileStatus | Exception, fields: Collection[str] = INVENTORY_FIELDS
) -> dict[str, Any]:
    """
    What lists of files tell of one, as JSON.

    @param status: The status, or why it cannot be told.
    @param fields: Some of L{INVENTORY_FIELDS}.
    """
    document: dict[str, Any] = {"file": str(file_id)}
    if isinstance(status, Exception):
        error = status if isinstance(status, errors.ArchiveError) else errors.BackendUnavailable("The storage failed.")
        document["error"] = {"kind": type(error).__name__, "message": str(error)}
        return document
    if "bytes" in fields:
        document["bytes"] = status.size
    if "mtime" in fields:
        document["mtime"] = _time(status.mtime_ns)
    if "ctime" in fields:
        document["ctime"] = _time(status.ctime_ns)
    if "locality" in fields:
        document["locality"] = status.locality.value
    if "digests" in fields:
        document["digests"] = {name: digest.hex() for name, digest in status.digests.items()}
    return document


def inventory_line(file_id: int, status: FileStatus | Exception, fields: Collection[str] = INVENTORY_FIELDS) -> str:
    """
    The text of L{inventory_entry}, in a line.  A list has millions, so it is written without making objects first.
    """
    if isinstance(status, Exception) or fields is not INVENTORY_FIELDS:
        return f"{json.dumps(inventory_entry(file_id, status, fields))}\n"
    return whole_line(file_id, status.size, status.mtime_ns, status.ctime_ns, status.locality.value, status.digests)


def whole_line(file_id: int, size: int, mtime_ns: int, ctime_ns: int, locality: str, digests: Digests) -> str:
    """L{inventory_line} with all fields, where there is no status to take them from."""
    known = ""
    for name, digest in digests.items():
        known += f', "{name}": "{digest.hex()}"' if known else f'"{name}": "{digest.hex()}"'
    rest = f'"locality": "{locality}", "digests": {{{known}}}}}\n'
    try:
        mtime, ctime = format_iso(mtime_ns), format_iso(ctime_ns)
    except ValueError:
        times = f'"mtime": {json.dumps(_time(mtime_ns))}, "ctime": {json.dumps(_time(ctime_ns))}'
        return f'{{"file": "{file_id}", "bytes": {size}, {times}, {rest}'
    return f'{{"file": "{file_id}", "bytes": {size}, "mtime": "{mtime}", "ctime": "{ctime}", {rest}'


def _time(nanoseconds: int) -> str | None:
    try:
        return format_iso(nanoseconds)
    except ValueError:
        return None


@attrs.frozen(kw_only=True)
class TapeLocation:
    """
    The location of the copy of a file that a recall would read, by which recalls are ordered.

    @ivar medium: The volume serial name (VSN) of the cartridge.
    @ivar position: A number that increases along the tape.
    @ivar size: The bytes to recall.
    """

    medium: str
    position: int
    size: int


class RecallState(enum.Enum):
    """The state of a file whose recall was requested, as the storage system reports it."""

    QUEUED = "queued"
    """The recall is queued, and has not begun."""
    ACTIVE = "active"
    """The recall is under way, or it is not known whether it has begun."""
    RESIDENT = "resident"
    """The bytes are on disk."""
    UNKNOWN = "unknown"
    """The bytes are not on disk, and there is no recall: it failed, or was lost.  It can be retried."""
    FAILED = "failed"
    """The file cannot be recalled, and a retry would not help."""


@attrs.frozen
class RecallProgress:
    """
    The progress of a recall.

    @ivar words: A message for people; empty where there is nothing to add.
    """

    state: RecallState
    words: str = ""


class Overwrite(enum.Enum):
    """What a PUT or move to a taken id does."""

    ALLOW = "allow"
    """Replace atomically."""
    IDENTICAL = "identical"
    """Succeed only with the same bytes as the stored ones, so that a retry is safe."""
    DENY = "deny"
    """Refuse: the archive is write-once."""


@attrs.frozen(kw_only=True)
class WriteConditions:
    """
    What must hold for an id when it is written, checked early and again at the moment of publishing.

    @ivar overwrite: The policy for an id that is taken.
    @ivar if_absent: Whether the request has C{If-None-Match: *}.
    @ivar if_match: The entity tags of C{If-Match}, where C{"*"} stands for any existing file; C{None} for no condition.
    @ivar from_archive: Of a move: whether its source, symbolic links followed, may lie below the archive's own prefix,
        where it may be another id's file (else L{pacarchive.errors.InArchive}).
    @ivar or_absent: Whether C{if_match} also holds where there is no file.
    """

    overwrite: Overwrite = Overwrite.ALLOW
    if_absent: bool = False
    if_match: frozenset[str] | None = None
    from_archive: bool = True
    or_absent: bool = False

    @property
    def unconditional(self) -> bool:
        """Whether there is no condition, so that the state of the id does not matter."""
        return self.overwrite is Overwrite.ALLOW and not self.if_absent and self.if_match is None

    def require(self, current: FileStatus | None) -> None:
        """
        Check the conditions for an id.  Whether the bytes are those of the stored version (L{Overwrite.IDENTICAL}) is
        for the backend to find out.

        @param current: The published version; C{None} where there is none.
        @raise errors.PreconditionFailed: C{if_absent} or C{if_match} does not hold.
        @raise errors.AlreadyExists: The overwrite policy does not allow it.
        """
        if self.if_match is not None and not self._matches(current):
            raise errors.PreconditionFailed("The file is not the one that If-Match names.")
        if current is None:
            return
        if self.if_absent:
            raise errors.PreconditionFailed("The id is taken, and was to be free.")
        if self.overwrite is Overwrite.DENY:
            raise errors.AlreadyExists("The id is taken, and this archive does not overwrite.")

    def _matches(self, current: FileStatus | None) -> bool:
        return self.or_absent if current is None else bool({current.etag, "*"} & (self.if_match or set()))


class Durability(enum.Enum):
    """What an acknowledged write survives."""

    FULL = "full"
    """A power cut: the file, its directory and every new parent are on stable storage."""
    RELAXED = "relaxed"
    """The end of the process only, as nothing is synced: for scratch use."""


@attrs.frozen
class Health:
    """
    Whether the storage can serve.

    @ivar ready: Whether requests can be expected to succeed.
    @ivar words: A message for people: what is wrong, or a summary.  Names no path, account or host.
    @ivar degraded: Whether something does not work, or is not known, although requests succeed.
    @ivar free: Bytes that can still be stored; C{None} where the storage does not say.
    @ivar size: Bytes that the storage has room for in all, likewise.
    """

    ready: bool
    words: str
    degraded: bool = False
    free: int | None = None
    size: int | None = None


@attrs.frozen(kw_only=True)
class Estimate:
    """
    An estimate of when something will be done.

    @ivar seconds: Seconds from now.
    @ivar basis: What it is based on, for people.
    """

    seconds: float
    basis: str


@attrs.frozen(kw_only=True)
class Trouble:
    """
    Why files of a job are not recalled.

    @ivar files: How many files.
    @ivar reason: For people: why no recall is possible at present; or else why the last attempt failed, for the file
        with the most attempts.
    @ivar attempts: The attempts for that file; 0 where no recall is possible at present.
    @ivar next_try: When it is retried; C{None} where it waits in the queue, or an attempt is under way.
    """

    files: int
    reason: str
    attempts: int = 0
    next_try: float | None = None
