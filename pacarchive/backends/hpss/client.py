"""The HPSS client library, in Python's types.

One function a call.  All of them block, some for hours, with the interpreter lock released: call them in threads of a
pool that is made for it.  The library is one for the whole process, which is why these are functions of a module.
Apart from L{configure} and L{build_level} nothing may be called before L{login}: the library would wait for ever.
L{login}, L{reset} and L{logout} change what all threads use; whoever calls them keeps the others out.

Every failure is an L{HpssError}.  Import this module after L{pacarchive.backends.hpss.loading.load}.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pacarchive.backends.hpss.codes import HpssError
from pacarchive.backends.hpss.library import (
    BUILT_FOR,
    FEATURES,
    MAX_LEVELS,
    build_level,
    check,
    configure,
    encode,
    encode_all,
    ffi,
    lib,
    login,
    logout,
    ping,
    reset,
    thread_end,
    thread_start,
    to_text,
)
from pacarchive.backends.hpss.names import (
    Attributes,
    Kind,
    Level,
    Stat,
    Volume,
    attributes,
    chmod,
    fstat,
    link,
    listdir,
    lstat,
    mkdir,
    readlink,
    rename,
    rmdir,
    stat,
    unlink,
    utime,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "BUILT_FOR",
    "FEATURES",
    "MAX_LEVELS",
    "Attributes",
    "HpssError",
    "Kind",
    "Level",
    "StageStatus",
    "Stat",
    "Volume",
    "attributes",
    "batch_status",
    "build_level",
    "chmod",
    "close",
    "configure",
    "create",
    "delete_user_attributes",
    "fstat",
    "fsync",
    "get_user_attributes",
    "link",
    "listdir",
    "login",
    "logout",
    "lstat",
    "migrate",
    "mkdir",
    "open_read",
    "open_write",
    "ping",
    "purge",
    "read_into",
    "readlink",
    "rename",
    "reset",
    "rmdir",
    "seek",
    "set_user_attributes",
    "stage",
    "stage_status",
    "stat",
    "submit_batch",
    "submit_stage",
    "thread_end",
    "thread_start",
    "unlink",
    "utime",
    "write",
]

_VALUE_SIZE: Final = 4096

# ---- Data ----


def create(path: str, *, size: int | None = None, cos: int | None = None, family: int | None = None) -> int:
    """
    Create a file for writing, with mode 0600.

    @param size: What it will have; the archive chooses its class of service by that.
    @param cos: Its class of service; the size is not considered then.
    @param family: Its file family: files of one family share cartridges.
    @return: A descriptor; 0 is one.
    @raise HpssError: C{EEXIST}: the name is taken.
    """
    expected = -1 if size is None else size
    return check("hpss_Open", lib.shim_create(encode("hpss_Open", path), expected, cos or 0, family or 0))


def _open(path: str, flags: int) -> int:
    return check("hpss_Open", lib.shim_open(encode("hpss_Open", path), flags))


def open_read(path: str) -> int:
    """Open for reading, without staging.  Reading what is on tape only waits for the tape."""
    return _open(path, os.O_RDONLY | os.O_NONBLOCK)


def open_write(path: str) -> int:
    """Open for writing, and keep what is there."""
    return _open(path, os.O_WRONLY)


def read_into(descriptor: int, offset: int | None, buffer: WriteableBuffer) -> int:
    """
    Read into a buffer, without a copy.

    @param offset: Where to read; C{None}: where the last read ended.
    @return: How many bytes; fewer than the buffer has room for at the archive's pleasure, 0 at the end of the file.
    """
    if offset is not None:
        seek(descriptor, offset)
    with ffi.from_buffer(buffer, require_writable=True) as data:
        return check("hpss_Read", lib.shim_read(descriptor, data, len(data)))


def write(descriptor: int, buffer: ReadableBuffer) -> int:
    """
    Write from a buffer, without a copy.

    @return: How many bytes the archive took; the caller goes on with the rest.
    """
    with ffi.from_buffer(buffer) as data:
        return check("hpss_Write", lib.shim_write(descriptor, data, len(data)))


def seek(descriptor: int, offset: int) -> int:
    """Go to an offset from the beginning."""
    return check("hpss_Lseek", lib.shim_seek(descriptor, offset))


def fsync(descriptor: int) -> None:
    """
    Have what was written be safe.

    @raise HpssError: C{EOPNOTSUPP} where C{fsync} is not in L{FEATURES}.
    """
    check("hpss_Fsync", lib.shim_fsync(descriptor))


def close(descriptor: int) -> None:
    """Close.  After a failure, too, the descriptor is gone."""
    check("hpss_Close", lib.shim_close(descriptor))


# ---- User-defined attributes ----


def get_user_attributes(path: str, keys: Sequence[str]) -> dict[str, str]:
    """
    The values of some keys, which begin with C{/hpss}.

    @raise HpssError: C{ENOENT}: one of them is not there, or the file is not.
    """
    call = "hpss_UserAttrGetAttrs"
    if not keys:
        return {}
    array, _kept = encode_all(call, keys)
    values = ffi.new("char[]", len(keys) * _VALUE_SIZE)
    check(call, lib.shim_get_user_attributes(encode(call, path), len(keys), array, values, _VALUE_SIZE))
    return {key: to_text(values + index * _VALUE_SIZE) for index, key in enumerate(keys)}


def set_user_attributes(path: str, mapping: Mapping[str, str]) -> None:
    """Store values, all in one transaction."""
    call = "hpss_UserAttrSetAttrs"
    if not mapping:
        return
    keys, _kept_keys = encode_all(call, mapping.keys())
    values, _kept_values = encode_all(call, mapping.values())
    check(call, lib.shim_set_user_attributes(encode(call, path), len(mapping), keys, values))


def delete_user_attributes(path: str, keys: Sequence[str]) -> None:
    """Forget keys."""
    call = "hpss_UserAttrDeleteAttrs"
    if not keys:
        return
    array, _kept = encode_all(call, keys)
    check(call, lib.shim_delete_user_attributes(encode(call, path), len(keys), array))


# ---- Between the levels ----


class StageStatus(enum.Enum):
    """What the archive says of a stage; a finished and a failed one are unknown to it."""

    UNKNOWN = lib.SHIM_STAGE_UNKNOWN
    QUEUED = lib.SHIM_STAGE_QUEUED
    ACTIVE = lib.SHIM_STAGE_ACTIVE


def submit_stage(path: str, request_id: UUID) -> bytes:
    """
    Ask for a stage of the whole file, and return at once.  Each call is a request of its own to the archive.

    @param request_id: The caller's own name for it, which L{stage_status} asks with.
    @return: The file's L{Attributes.bitfile}.
    """
    call = "hpss_StageCallBack"
    bitfile = ffi.new("unsigned char[]", lib.SHIM_BITFILE_SIZE)
    size = ffi.new("uint32_t *")
    check(call, lib.shim_submit_stage(encode(call, path), request_id.bytes, bitfile, size))
    return bytes(ffi.buffer(bitfile, size[0]))


def stage_status(request_id: UUID, bitfile: bytes) -> StageStatus:
    """How far a request of L{submit_stage} is."""
    call = "hpss_GetAsyncStatus"
    return StageStatus(check(call, lib.shim_stage_status(request_id.bytes, bitfile, len(bitfile))))


def submit_batch(bitfiles: Sequence[bytes], request_id: UUID) -> bytes:
    """
    Ask for the stage of many files, which the archive orders by tape and position.  Only with C{batch_stage} in
    L{FEATURES}.

    @param bitfiles: Their L{Attributes.bitfile}; one at least.
    @param request_id: The caller's own name for it.
    @return: The archive's name for it, which L{batch_status} asks with; opaque.
    """
    call = "hpss_StageBatchCallBack"
    batch = ffi.new("unsigned char[]", lib.SHIM_REQUEST_SIZE)
    joined, size = _join(call, bitfiles)
    check(call, lib.shim_submit_batch(request_id.bytes, joined, size, len(bitfiles), batch))
    return bytes(ffi.buffer(batch))


def batch_status(batch: bytes, bitfiles: Sequence[bytes]) -> list[StageStatus]:
    """How far files of a batch are, in the order asked."""
    call = "hpss_GetBatchAsynchStatus"
    states = ffi.new("int[]", len(bitfiles))
    joined, size = _join(call, bitfiles)
    check(call, lib.shim_batch_status(batch, joined, size, len(bitfiles), states))
    return [StageStatus(state) for state in states]


def _join(call: str, bitfiles: Sequence[bytes]) -> tuple[bytes, int]:
    """Bitfiles one after the other, and the size of each."""
    sizes = {len(bitfile) for bitfile in bitfiles}
    if len(sizes) != 1:
        raise HpssError(call, -errno.EINVAL)
    return b"".join(bitfiles), sizes.pop()


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = _open(path, flags)
    try:
        yield descriptor
    except BaseException:
        lib.shim_close(descriptor)
        raise
    close(descriptor)


def stage(path: str) -> None:
    """Bring the whole file to the first level, and return when it is there."""
    with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
        check("hpss_Stage", lib.shim_stage(descriptor))


def migrate(path: str) -> None:
    """Copy the file from the first level to the next.  A site does that by policy; this is for tests and tools."""
    with _opened(path, os.O_RDWR | os.O_NONBLOCK) as descriptor:
        check("hpss_Migrate", lib.shim_migrate(descriptor))


def purge(path: str) -> None:
    """Drop the file from the first level.  A site does that by policy; this is for tests and tools."""
    with _opened(path, os.O_RDWR | os.O_NONBLOCK) as descriptor:
        check("hpss_Purge", lib.shim_purge(descriptor))
