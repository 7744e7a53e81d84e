"""System calls that Python does not wrap.

C{openat2(2)}, Linux 5.6: open a path below a directory and never outside it; optionally without ever waiting for a
disk.  Where the kernel or a container's filter refuses it, the path is walked one component at a time without following
symbolic links: stricter, slower, as safe.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pacarchive.runtime.filesystems import LOCAL_DISKS, type_of

_SYS_OPENAT2: Final = 437  # the same number on every architecture: include/uapi/asm-generic/unistd.h
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_CACHED: Final = 0x20
# EAGAIN passes when a rename raced with the look-up of "..", but lasts while somebody holds a lease on the file.
_ATTEMPTS: Final = 100


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _system_call(library: ctypes.CDLL) -> ctypes._NamedFuncPointer:
    call = library.syscall
    call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
    call.restype = ctypes.c_long
    return call


_blocking_call = _system_call(ctypes.CDLL(None, use_errno=True))
# PyDLL keeps the interpreter lock: a call that never waits is not worth handing the lock to another thread.
_instant_call = _system_call(ctypes.PyDLL(None, use_errno=True))

_SYNC_FILE_RANGE_WRITE: Final = 2
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

_SYS_GETDENTS64: Final = {"x86_64": 217, "aarch64": 61, "ppc64le": 202, "s390x": 220}
"""For C libraries without a call of this name: glibc before 2.30."""

_ENTRY: Final = struct.Struct("=8xqHB")  # of linux_dirent64: d_off, d_reclen, d_type; the name comes next
_ENTRIES: Final = 32 << 10

READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
LOOK_FLAGS: Final = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
"""Opens the name alone: no hierarchical storage takes that for a request for the data."""

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CACHED_RESOLVE: Final = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_CACHED
_OPEN_CACHED = ctypes.byref(_OpenHow(READ_FLAGS, 0, _CACHED_RESOLVE))
_LOOK_CACHED = ctypes.byref(_OpenHow(LOOK_FLAGS, 0, _CACHED_RESOLVE))
_HOW_SIZE: Final = ctypes.sizeof(_OpenHow)


def open_beneath(directory: int, path: str, flags: int) -> int:
    """
    Open C{path} relative to C{directory}; symbolic links may not lead out of it.

    @param directory: A descriptor of a directory.
    @param path: A relative path.
    @param flags: As for C{open(2)}; C{O_CLOEXEC} is added.
    @return: A new descriptor.
    @raise OSError: As C{openat2(2)}; C{EXDEV} where a link leads outside.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_ATTEMPTS):
        descriptor = _blocking_call(_SYS_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), _HOW_SIZE)
        if descriptor >= 0:
            return int(descriptor)
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM):
            return _walk(directory, path, flags)
        if number not in (errno.EINTR, errno.EAGAIN):
            break
    raise OSError(number, os.strerror(number), path)


def open_cached(directory: int, path: bytes, *, path_only: bool = False) -> int:
    """
    Open for reading when that needs no disk at all (C{RESOLVE_CACHED}, Linux 5.12).

    @param path_only: Open only the name (C{O_PATH}).
    @return: A new descriptor, or -1: not cached, not there, or not possible; then ask L{open_beneath} in a thread.
    """
    how = _LOOK_CACHED if path_only else _OPEN_CACHED
    return int(_instant_call(_SYS_OPENAT2, directory, path, how, _HOW_SIZE))


def read_cached(descriptor: int, offset: int, length: int) -> bytes | None:
    """
    Read exactly so many bytes when that needs no disk at all (C{RWF_NOWAIT}, Linux 4.14).

    @return: The bytes; C{None}: not all of them are in memory, or the file system cannot tell.
    """
    buffer = bytearray(length)
    try:
        count = os.preadv(descriptor, (buffer,), offset, os.RWF_NOWAIT)
    except OSError:  # EAGAIN, EOPNOTSUPP; what else is wrong is found again by whoever waits for it
        return None
    return bytes(buffer) if count == length else None


def directory_entries(directory: int) -> Iterator[tuple[str, int, int]]:
    """
    Read a directory with C{getdents64(2)}, from where its descriptor is: L{os.scandir} tells no positions.

    @param directory: A descriptor, whose position is used and moved.
    @return: Names, without C{.} and C{..}; what each is (C{d_type}); and the position behind it (C{d_off}), for
        C{lseek(2)}.
    @raise OSError: It cannot be read.
    """
    buffer = ctypes.create_string_buffer(_ENTRIES)
    while size := _get_entries(directory, buffer):
        data = buffer.raw[:size]
        start = 0
        while start < size:
            position, length, kind = _ENTRY.unpack_from(data, start)
            name = data[start + _ENTRY.size : start + length].partition(b"\0")[0]
            start += length
            if name not in (b".", b".."):
                yield os.fsdecode(name), kind, position


def _get_entries(directory: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
    size: int = _getdents64(directory, buffer, _ENTRIES)
    if size >= 0:
        return size
    number = ctypes.get_errno()
    if number == errno.ENOENT:
        return 0  # the directory has been removed: it is empty
    raise OSError(number, os.strerror(number))


def _directory_call() -> Callable[[int, ctypes.Array[ctypes.c_char], int], int]:
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "getdents64"):
        call = library.getdents64
        call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        call.restype = ctypes.c_ssize_t
        return call
    number = _SYS_GETDENTS64[os.uname().machine]
    system_call = library.syscall
    system_call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    system_call.restype = ctypes.c_long
    return partial(system_call, number)


_getdents64 = _directory_call()


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """
    Begin to write dirty pages of a file to the disk (C{sync_file_range(2)} with C{SYNC_FILE_RANGE_WRITE}).

    Only a hint, which makes no promise: a failure shows, if it matters, in the C{fsync} that has to follow.
    """
    _sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def release(descriptor: int) -> None:
    """
    Close, whatever the file system says to it: data that matters was synced before, and the descriptor is free
    again in any case.

    @raise OSError: C{EBADF}, which is a bug.
    """
    try:
        os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise


def _walk(directory: int, path: str, flags: int) -> int:
    """L{open_beneath} for kernels without C{openat2}: no component may be a symbolic link."""
    *parents, name = path.split("/")
    if ".." in (*parents, name):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    current = os.dup(directory)
    try:
        for parent in parents:
            below = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            release(current)
            current = below
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
    finally:
        release(current)


def opens_without_network(directory: int) -> bool:
    """
    Whether the file system is one whose C{open} and C{fstat} of a cached file touch neither disk nor network.
    On NFS and its like even a cached C{open} may ask the server.
    """
    return type_of(directory) in LOCAL_DISKS
