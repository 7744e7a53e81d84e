"""The name space of an archive: what is under a name, and where its bytes are.

L{pacarchive.backends.hpss.client} is what others import.
"""

from __future__ import annotations

import enum
import errno
from typing import Any, Final

import attrs

from pacarchive.backends.hpss.codes import HpssError
from pacarchive.backends.hpss.library import MAX_LEVELS, check, encode, ffi, lib, to_text

_READ_NAMES: Final = 64 * 1024


class Kind(enum.Enum):
    """What a name stands for."""

    FILE = lib.SHIM_FILE
    DIRECTORY = lib.SHIM_DIRECTORY
    SYMLINK = lib.SHIM_SYMLINK
    OTHER = lib.SHIM_OTHER


@attrs.frozen
class Stat:
    """
    The status of an object, as C{stat(2)}; times in whole seconds.

    @ivar mode: Permission bits.
    """

    kind: Kind
    ino: int
    size: int
    mtime: int
    ctime: int
    atime: int
    mode: int
    uid: int
    gid: int
    links: int


def _stat(raw: Any) -> Stat:
    return Stat(
        Kind(raw.kind), raw.id, raw.size, raw.modified, raw.changed, raw.accessed, raw.mode, raw.uid, raw.gid, raw.links
    )


def stat(path: str) -> Stat:
    """The status of what a path leads to, links followed."""
    raw = ffi.new("shim_stat *")
    check("hpss_Stat", lib.shim_stat_path(encode("hpss_Stat", path), raw))
    return _stat(raw)


def lstat(path: str) -> Stat:
    """The status of a name itself."""
    raw = ffi.new("shim_stat *")
    check("hpss_Lstat", lib.shim_stat_link(encode("hpss_Lstat", path), raw))
    return _stat(raw)


def fstat(descriptor: int) -> Stat:
    """The status of an open file."""
    raw = ffi.new("shim_stat *")
    check("hpss_Fstat", lib.shim_stat_open(descriptor, raw))
    return _stat(raw)


def readlink(path: str) -> str:
    """Where a symbolic link points."""
    target = ffi.new("char[]", _READ_NAMES)
    check("hpss_Readlink", lib.shim_readlink(encode("hpss_Readlink", path), target, _READ_NAMES))
    return to_text(target)


def listdir(path: str) -> list[str]:
    """The names in a directory, in no order; without C{.} and C{..}."""
    descriptor = check("hpss_Opendir", lib.shim_opendir(encode("hpss_Opendir", path)))
    found = []
    try:
        buffer = ffi.new("char[]", _READ_NAMES)
        while used := check("hpss_Readdir", lib.shim_readdir(descriptor, buffer, _READ_NAMES)):
            found += bytes(ffi.buffer(buffer, used - 1)).split(b"\0")
    except BaseException:
        lib.shim_closedir(descriptor)
        raise
    check("hpss_Closedir", lib.shim_closedir(descriptor))
    return [name.decode("utf-8", "surrogateescape") for name in found if name not in (b".", b"..")]


def mkdir(path: str, mode: int) -> None:
    """Make a directory."""
    check("hpss_Mkdir", lib.shim_mkdir(encode("hpss_Mkdir", path), mode))


def rmdir(path: str) -> None:
    """Remove an empty directory."""
    check("hpss_Rmdir", lib.shim_rmdir(encode("hpss_Rmdir", path)))


def rename(old: str, new: str) -> None:
    """Rename; a file under the new name is replaced."""
    call = "hpss_Rename"
    check(call, lib.shim_rename(encode(call, old), encode(call, new)))


def link(existing: str, new: str) -> None:
    """Give a file another name, which must be free."""
    call = "hpss_Link"
    check(call, lib.shim_link(encode(call, existing), encode(call, new)))


def unlink(path: str) -> None:
    """Remove a name; with its last name a file goes."""
    check("hpss_Unlink", lib.shim_unlink(encode("hpss_Unlink", path)))


def chmod(path: str, mode: int) -> None:
    """Set the permission bits."""
    check("hpss_Chmod", lib.shim_chmod(encode("hpss_Chmod", path), mode))


def utime(path: str, atime: int, mtime: int) -> None:
    """
    Set the times, in seconds.

    @raise HpssError: C{ERANGE}: the archive has no room for such a time.
    """
    try:
        check("hpss_Utime", lib.shim_utime(encode("hpss_Utime", path), atime, mtime))
    except OverflowError:
        raise HpssError("hpss_Utime", -errno.ERANGE) from None


# ---- Where the bytes are ----


@attrs.frozen
class Volume:
    """
    Where on a level bytes of a file are.

    @ivar name: The cartridge's or the disk volume's; of a striped volume, that of the first.
    @ivar position: The file's position on the tape.
    @ivar offset: From that position.
    """

    name: str
    position: int
    offset: int
    bytes: int


@attrs.frozen
class Level:
    """
    What a storage level holds of a file.

    @ivar medium: C{disk}, C{tape}, or empty where the file's class of service has no such level.
    """

    medium: str
    has_data: bool
    bytes: int
    volumes: tuple[Volume, ...]


@attrs.frozen
class Attributes:
    """
    All that is known of an object without reading it.

    @ivar cos: The class of service.
    @ivar levels: L{MAX_LEVELS} of them, the fastest first.
    @ivar bitfile: What L{stage_status} and its like name the file by; opaque.
    """

    kind: Kind
    file_id: int
    size: int
    mtime: int
    ctime: int
    atime: int
    mode: int
    uid: int
    gid: int
    links: int
    cos: int
    purge_locked: bool
    levels: tuple[Level, ...]
    bitfile: bytes


_MEDIA: Final = {lib.SHIM_MEDIUM_DISK: "disk", lib.SHIM_MEDIUM_TAPE: "tape", lib.SHIM_MEDIUM_NONE: ""}


def _volume(raw: Any) -> Volume:
    return Volume(to_text(raw.name).rstrip(), raw.position, raw.offset, raw.bytes)


def _level(raw: Any) -> Level:
    volumes = tuple(_volume(raw.volumes[index]) for index in range(raw.volume_count))
    return Level(_MEDIA[raw.medium], bool(raw.has_data), raw.bytes, volumes)


def attributes(path: str) -> Attributes:
    """All of it, in one call, which waits neither for a stage of the file nor starts one."""
    raw = ffi.new("shim_attributes *")
    call = "hpss_FileGetXAttributes"
    check(call, lib.shim_get_attributes(encode(call, path), raw))
    found = raw.stat
    return Attributes(
        kind=Kind(found.kind),
        file_id=found.id,
        size=found.size,
        mtime=found.modified,
        ctime=found.changed,
        atime=found.accessed,
        mode=found.mode,
        uid=found.uid,
        gid=found.gid,
        links=found.links,
        cos=raw.cos,
        purge_locked=bool(raw.purge_locked),
        levels=tuple(_level(raw.levels[index]) for index in range(MAX_LEVELS)),
        bitfile=bytes(ffi.buffer(raw.bitfile, raw.bitfile_size)),
    )
