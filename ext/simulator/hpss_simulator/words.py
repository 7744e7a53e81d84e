"""What is told about a simulated archive."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

_NAMES = {
    -1: "HPSS_EPERM",
    -2: "HPSS_ENOENT",
    -5: "HPSS_EIO",
    -11: "HPSS_EAGAIN",
    -16: "HPSS_EBUSY",
    -17: "HPSS_EEXIST",
    -20: "HPSS_ENOTDIR",
    -22: "HPSS_EINVAL",
    -28: "HPSS_ENOSPACE",
    -50: "HPSS_ECONN",
}


class SimulatorError(Exception):
    """
    Something cannot be done.

    @param is_told: Whether the code is part of the words; else they say it all.
    @ivar code: The client API's negative code, or 0 where none fits.
    """

    def __init__(self, reason: str, code: int = 0, *, is_told: bool = True) -> None:
        super().__init__(f"{reason}: {_NAMES.get(code, 'code')} ({code})" if code and is_told else reason)
        self.code = code


class Kind(enum.Enum):
    """What a name stands for; the values are those of C{object.type}."""

    FILE = 0x81
    SYMLINK = 0x82
    DIRECTORY = 0x84


class Locality(enum.Enum):
    """Where the bytes of a file can be had from."""

    DISK = "DISK"
    TAPE = "TAPE"
    DISK_AND_TAPE = "DISK_AND_TAPE"
    LOST = "LOST"
    """Nowhere any more: all copies were on cartridges that are lost."""
    NONE = "NONE"
    """It has none: it is no file, or nothing was written to it yet."""


@dataclass(frozen=True)
class Segment:
    """Where one copy is on tape."""

    level: int
    cartridge: str
    position: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class Entry:
    """
    A name in the archive.

    @ivar path: From the root.
    @ivar number: Of the object; hard links share it.
    @ivar levels: The bytes at each level that has some.
    @ivar media: Of all levels, from the top: C{disk} or C{tape}.
    @ivar attributes: User-defined attributes.
    @ivar target: Of a symbolic link.
    """

    path: str
    kind: Kind
    number: int
    size: int
    mode: int
    uid: int
    gid: int
    links: int
    mtime: int
    cos: int
    family: int
    purge_locked: bool
    locality: Locality
    levels: dict[int, int] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    target: str = ""


@dataclass(frozen=True)
class Drive:
    """
    A tape drive.

    @ivar state: C{ok} or C{failed}.
    @ivar slowness: The factor on its times.
    @ivar cartridge: What is mounted, or C{""}.
    @ivar request: The number of the request that it serves, 0 when idle.
    @ivar busy_until: Simulated seconds.
    """

    number: int
    state: str
    slowness: float
    cartridge: str
    head: int
    request: int
    busy_until: float
    mounts: int


@dataclass(frozen=True)
class Cartridge:
    """
    A tape cartridge.

    @ivar state: C{ok} or C{lost}.
    @ivar copy: 1 for first copies, 2 for second ones.
    @ivar files: How many are on it, without those that were deleted or written anew.
    """

    name: str
    state: str
    copy: int
    family: int
    capacity: int
    used: int
    files: int
    mounts: int


@dataclass(frozen=True)
class Request:
    """
    Someone's wish to have a file on disk.

    @ivar client_id: The client's name for it, in hexadecimal digits.
    @ivar batch: 0 for none.
    @ivar path: One name of the file, C{""} when it has none any more.
    @ivar state: C{queued}, C{active}, C{done}, C{failed}, C{cancelled} (the file is gone), or C{lost} without a trace.
    @ivar code: 0, or negative when it has failed.
    """

    number: int
    client_id: str
    batch: int
    object: int
    path: str
    cartridge: str
    submitted: float
    started: float | None
    finished: float | None
    state: str
    code: int


@dataclass(frozen=True)
class Fault:
    """
    An entry of the fault plan.

    @ivar function: Such as C{hpss_Open}; C{*} for all.
    @ivar path: A pattern for the call's path; C{*} for all, and for calls without one.
    @ivar first: The first of the matching calls that fails, counted from 1.
    @ivar count: How many fail from there on; 0 for all.
    @ivar action: C{error}, C{delay}, C{hang}, C{short} or C{disconnect}.
    @ivar value: The negative code, the real milliseconds, or the most bytes.
    @ivar hits: How many calls it has struck.
    """

    number: int
    function: str
    path: str
    first: int
    count: int
    action: str
    value: int
    hits: int


@dataclass(frozen=True)
class Sums:
    """
    What the tape library has done since the archive was made.

    @ivar locates: How often a drive wound to a position.
    @ivar submitted: Requests, also the C{lost} ones, and the C{duplicates}: for a file that was asked for already.
    @ivar staged: Files that were read from tape.
    @ivar failed: Requests that failed or were cancelled.
    """

    disk_used: int
    mounts: int
    unmounts: int
    locates: int
    submitted: int
    duplicates: int
    lost: int
    staged: int
    failed: int
    bytes_staged: int
    bytes_migrated: int
