"""The calls about names: what an object is, its names and attributes, and where its bytes are.

Import them through L{pacarchive.backends.hpss.client}.  Each raises L{HpssError} when it fails.
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
    """The type of an object."""

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
    """Return the status of an object; symbolic links are followed (C{hpss_Stat})."""
    raw = ffi.new("shim_stat *")
    check("hpss_Stat", lib.shim_stat_path(encode("hpss_Stat", path), raw))
    return _stat(raw)


def lstat(path: str) -> Stat:
    """Return the status of an object; a symbolic link's own (C{hpss_Lstat})."""
    raw = ffi.new("shim_stat *")
    check("hpss_Lstat", lib.shim_stat_link(encode("hpss_Lstat", path), raw))
    return _stat(raw)


def fstat(descriptor: int) -> Stat:
    """Return the status of an open file (C{hpss_Fstat})."""
    raw = ffi.new("shim_stat *")
    check("hpss_Fstat", lib.shim_stat_open(descriptor, raw))
    return _stat(raw)


def readlink(path: str) -> str:
    """Return the target of a symbolic link (C{hpss_Readlink})."""
    target = ffi.new("char[]", _READ_NAMES)
    check("hpss_Readlink", lib.shim_readlink(encode("hpss_Readlink", path), target, _READ_NAMES))
    return to_text(target)


def listdir(path: str) -> list[str]:
    """Return the names in a directory, in no order and without C{.} and C{..} (C{hpss_Readdir})."""
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
    """Create a directory (C{hpss_Mkdir})."""
    check("hpss_Mkdir", lib.shim_mkdir(encode("hpss_Mkdir", path), mode))


def rmdir(path: str) -> None:
    """Remove an empty directory (C{hpss_Rmdir})."""
    check("hpss_Rmdir", lib.shim_rmdir(encode("hpss_Rmdir", path)))


def rename(old: str, new: str) -> None:
    """Rename a file; one under the new name is replaced (C{hpss_Rename})."""
    call = "hpss_Rename"
    check(call, lib.shim_rename(encode(call, old), encode(call, new)))


def link(existing: str, new: str) -> None:
    """Give a file another name, which must be free (C{hpss_Link})."""
    call = "hpss_Link"
    check(call, lib.shim_link(encode(call, existing), encode(call, new)))


def unlink(path: str) -> None:
    """Remove a name, and with the last one the file (C{hpss_Unlink})."""
    check("hpss_Unlink", lib.shim_unlink(encode("hpss_Unlink", path)))


def chmod(path: str, mode: int) -> None:
    """Set the permission bits (C{hpss_Chmod})."""
    check("hpss_Chmod", lib.shim_chmod(encode("hpss_Chmod", path), mode))


def utime(path: str, atime: int, mtime: int) -> None:
    """
    Set the times, in seconds since the epoch (C{hpss_Utime}).

    @raise HpssError: C{ERANGE} where HPSS cannot represent a time.
    """
    try:
        check("hpss_Utime", lib.shim_utime(encode("hpss_Utime", path), atime, mtime))
    except OverflowError:
        raise HpssError("hpss_Utime", -errno.ERANGE) from None


# ---- Where the bytes are ----


@attrs.frozen
class Volume:
    """
    A part of a file's bytes on one volume of a level.

    @ivar name: The name of the cartridge or disk volume; of a striped volume, that of the first.
    @ivar position: The position on the tape.
    @ivar offset: The offset from that position, in bytes.
    @ivar bytes: The count of bytes.
    """

    name: str
    position: int
    offset: int
    bytes: int


@attrs.frozen
class Level:
    """
    What a storage level has of a file.

    @ivar medium: C{disk}, C{tape}, or empty where the file's class of service has no such level.
    @ivar has_data: Whether it has any.
    @ivar bytes: The count of bytes.
    @ivar volumes: Where they are.
    """

    medium: str
    has_data: bool
    bytes: int
    volumes: tuple[Volume, ...]


@attrs.frozen
class Attributes:
    """
    The status of an object, and what HPSS alone has of it; times in seconds since the epoch.

    @ivar file_id: HPSS's number of the object (C{FileId}); a file that replaces another has another one.
    @ivar cos: The class of service.
    @ivar purge_locked: Whether it is locked against purging.
    @ivar levels: L{MAX_LEVELS} of them, the fastest first.
    @ivar bitfile: HPSS's id of the file in calls such as C{stage_status}; opaque.
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
    """
    Return the attributes of an object (C{hpss_FileGetXAttributes}).  Does not wait for a stage of the file, nor starts
    one.
    """
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
