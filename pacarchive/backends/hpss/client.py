"""The calls of the HPSS client library, in Python's types.

There is one function for each call.  All of them block, some for hours, with the interpreter lock released: call them
in threads of an L{HpssPool<pacarchive.backends.hpss.pool.HpssPool>}.  The library has one state for the whole process,
which is why these are functions of a module.  Apart from L{configure} and L{build_level} nothing may be called before
L{login}: the library would wait for ever.  L{login}, L{reset} and L{logout} change what all threads use, and may be
called only while no other call is under way.

Every failure raises L{HpssError}.  Import this module after L{pacarchive.backends.hpss.loading.load}.
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
    Create a file for writing, with mode 0600 (C{hpss_Open}).

    @param size: The size in bytes that it will have, by which HPSS chooses the class of service.
    @param cos: The class of service; HPSS does not choose one then.
    @param family: The file family; files of one family share cartridges.
    @return: A descriptor, which may be 0.
    @raise HpssError: C{EEXIST} where the name is taken.
    """
    expected = -1 if size is None else size
    return check("hpss_Open", lib.shim_create(encode("hpss_Open", path), expected, cos or 0, family or 0))


def _open(path: str, flags: int) -> int:
    return check("hpss_Open", lib.shim_open(encode("hpss_Open", path), flags))


def open_read(path: str) -> int:
    """Open a file for reading, without staging it.  Reading bytes that are only on tape waits for the tape."""
    return _open(path, os.O_RDONLY | os.O_NONBLOCK)


def open_write(path: str) -> int:
    """Open a file for writing, without truncating it."""
    return _open(path, os.O_WRONLY)


def read_into(descriptor: int, offset: int | None, buffer: WriteableBuffer) -> int:
    """
    Read into a buffer, without a copy (C{hpss_Read}).

    @param offset: The offset in bytes; C{None} continues where the last read ended.
    @return: The count of bytes, which may be less than the buffer has room for; 0 at the end of the file.
    """
    if offset is not None:
        seek(descriptor, offset)
    with ffi.from_buffer(buffer, require_writable=True) as data:
        return check("hpss_Read", lib.shim_read(descriptor, data, len(data)))


def write(descriptor: int, buffer: ReadableBuffer) -> int:
    """
    Write from a buffer, without a copy (C{hpss_Write}).

    @return: The count of bytes that were written; the caller has to write the rest.
    """
    with ffi.from_buffer(buffer) as data:
        return check("hpss_Write", lib.shim_write(descriptor, data, len(data)))


def seek(descriptor: int, offset: int) -> int:
    """Set the offset of the next read or write, in bytes from the beginning (C{hpss_Lseek})."""
    return check("hpss_Lseek", lib.shim_seek(descriptor, offset))


def fsync(descriptor: int) -> None:
    """
    Make what was written durable (C{hpss_Fsync}).

    @raise HpssError: C{EOPNOTSUPP} where C{fsync} is not in L{FEATURES}.
    """
    check("hpss_Fsync", lib.shim_fsync(descriptor))


def close(descriptor: int) -> None:
    """Close a descriptor (C{hpss_Close}), which is invalid afterwards even if this fails."""
    check("hpss_Close", lib.shim_close(descriptor))


# ---- User-defined attributes ----


def get_user_attributes(path: str, keys: Sequence[str]) -> dict[str, str]:
    """
    Return the values of some keys (C{hpss_UserAttrGetAttrs}).

    @param keys: The keys, each of which begins with C{/hpss}.
    @raise HpssError: C{ENOENT} where one of them is missing, or the file is.
    """
    call = "hpss_UserAttrGetAttrs"
    if not keys:
        return {}
    array, _kept = encode_all(call, keys)
    values = ffi.new("char[]", len(keys) * _VALUE_SIZE)
    check(call, lib.shim_get_user_attributes(encode(call, path), len(keys), array, values, _VALUE_SIZE))
    return {key: to_text(values + index * _VALUE_SIZE) for index, key in enumerate(keys)}


def set_user_attributes(path: str, mapping: Mapping[str, str]) -> None:
    """Store values, all in one transaction (C{hpss_UserAttrSetAttrs})."""
    call = "hpss_UserAttrSetAttrs"
    if not mapping:
        return
    keys, _kept_keys = encode_all(call, mapping.keys())
    values, _kept_values = encode_all(call, mapping.values())
    check(call, lib.shim_set_user_attributes(encode(call, path), len(mapping), keys, values))


def delete_user_attributes(path: str, keys: Sequence[str]) -> None:
    """Delete keys and their values (C{hpss_UserAttrDeleteAttrs})."""
    call = "hpss_UserAttrDeleteAttrs"
    if not keys:
        return
    array, _kept = encode_all(call, keys)
    check(call, lib.shim_delete_user_attributes(encode(call, path), len(keys), array))


# ---- Between the levels ----


class StageStatus(enum.Enum):
    """The state of a stage request in HPSS, which does not know those that have finished or failed."""

    UNKNOWN = lib.SHIM_STAGE_UNKNOWN
    QUEUED = lib.SHIM_STAGE_QUEUED
    ACTIVE = lib.SHIM_STAGE_ACTIVE


def submit_stage(path: str, request_id: UUID) -> bytes:
    """
    Request that the whole file be staged, and return at once (C{hpss_StageCallBack}).  To HPSS each call is a request
    of its own.

    @param request_id: An id of the caller's choice, for L{stage_status}.
    @return: The file's L{Attributes.bitfile}.
    """
    call = "hpss_StageCallBack"
    bitfile = ffi.new("unsigned char[]", lib.SHIM_BITFILE_SIZE)
    size = ffi.new("uint32_t *")
    check(call, lib.shim_submit_stage(encode(call, path), request_id.bytes, bitfile, size))
    return bytes(ffi.buffer(bitfile, size[0]))


def stage_status(request_id: UUID, bitfile: bytes) -> StageStatus:
    """Return the state of a request that L{submit_stage} has made (C{hpss_GetAsyncStatus})."""
    call = "hpss_GetAsyncStatus"
    return StageStatus(check(call, lib.shim_stage_status(request_id.bytes, bitfile, len(bitfile))))


def submit_batch(bitfiles: Sequence[bytes], request_id: UUID) -> bytes:
    """
    Request that many files be staged, in the order of tapes and positions that HPSS chooses
    (C{hpss_StageBatchCallBack}).  Only with C{batch_stage} in L{FEATURES}.

    @param bitfiles: Their L{Attributes.bitfile}; at least one.
    @param request_id: An id of the caller's choice.
    @return: HPSS's own id of the batch, for L{batch_status}; opaque.
    """
    call = "hpss_StageBatchCallBack"
    batch = ffi.new("unsigned char[]", lib.SHIM_REQUEST_SIZE)
    joined, size = _join(call, bitfiles)
    check(call, lib.shim_submit_batch(request_id.bytes, joined, size, len(bitfiles), batch))
    return bytes(ffi.buffer(batch))


def batch_status(batch: bytes, bitfiles: Sequence[bytes]) -> list[StageStatus]:
    """Return the states of files of a batch, in the order of C{bitfiles} (C{hpss_GetBatchAsynchStatus})."""
    call = "hpss_GetBatchAsynchStatus"
    states = ffi.new("int[]", len(bitfiles))
    joined, size = _join(call, bitfiles)
    check(call, lib.shim_batch_status(batch, joined, size, len(bitfiles), states))
    return [StageStatus(state) for state in states]


def _join(call: str, bitfiles: Sequence[bytes]) -> tuple[bytes, int]:
    """Return bitfiles joined into one buffer, and the size of each, which must be the same."""
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
    """Stage the whole file to the first level, and return when it is there (C{hpss_Stage})."""
    with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
        check("hpss_Stage", lib.shim_stage(descriptor))


def migrate(path: str) -> None:
    """Copy the file from the first level to the next (C{hpss_Migrate}).  For tests: sites do it by policy."""
    with _opened(path, os.O_RDWR | os.O_NONBLOCK) as descriptor:
        check("hpss_Migrate", lib.shim_migrate(descriptor))


def purge(path: str) -> None:
    """Remove the file's bytes from the first level (C{hpss_Purge}).  For tests: sites do it by policy."""
    with _opened(path, os.O_RDWR | os.O_NONBLOCK) as descriptor:
        check("hpss_Purge", lib.shim_purge(descriptor))
