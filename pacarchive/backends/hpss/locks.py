"""Locks that allow one writer at a time for each id, among all processes of this machine.

HPSS has no locks between clients.  Steps that must be atomic (the check of a condition, and the rename that depends on
it) are guarded by byte-range locks on a file in memory, byte C{n} for the id C{n}; the kernel drops them when their
holder dies.  They do not exclude writers on other machines: between machines only C{If-None-Match: *} and write-once
archives are atomic, by HPSS itself (C{hpss_Link}).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pacarchive import errors
from pacarchive.backends.hpss.abandoned import require_not_abandoned

_DIRECTORIES = ("/dev/shm", "/tmp")  # noqa: S108  (the file's owner and kind are checked, and it holds no data)
_MOST_BYTES = 2**62
_TIMEOUT = 30.0  # seconds
_POLL_INTERVAL = 0.002  # seconds


class IdLocks:
    """
    The locks of one archive.

    @param archive: A name of the archive, which must be the same in all processes that share it.
    """

    def __init__(self, archive: str) -> None:
        digest = hashlib.sha256(archive.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        directory = next(directory for directory in _DIRECTORIES if os.path.isdir(directory))
        self._path = f"{directory}/pacarchive-{os.geteuid()}-{digest}.locks"

    def check(self) -> None:
        """
        Check that the lock file can be used.

        @raise errors.BackendUnavailable: It belongs to another user, or cannot be created.
        """
        os.close(self._open())

    @contextmanager
    def held(
        self,
        *file_ids: int,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[None]:
        """
        Hold the locks of some ids, taken in ascending order so that there is no deadlock.  Blocks.

        @raise errors.BackendUnavailable: Another writer has held a lock for too long, because its call is stuck; or
            this call was stuck itself and has been abandoned, so that others may have changed the file since.
        """
        descriptor = self._open()
        try:
            deadline = monotonic() + _TIMEOUT
            for byte in sorted({_byte_of(file_id) for file_id in file_ids}):
                while not _try_lock(descriptor, byte):
                    if monotonic() > deadline:
                        raise errors.BackendUnavailable("Another change of this file does not come to an end.")
                    sleep(_POLL_INTERVAL)
            require_not_abandoned()
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def held_where_free(self, file_ids: Iterable[int]) -> Iterator[list[int]]:
        """
        Hold those locks that no other holds, without waiting for the rest.

        @return: The ids whose locks are held.
        """
        descriptor = self._open()
        try:
            yield [file_id for file_id in dict.fromkeys(file_ids) if _try_lock(descriptor, _byte_of(file_id))]
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.BackendUnavailable(f"{self._path}: {error.strerror}") from error
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            os.close(descriptor)
            raise errors.BackendUnavailable(f"{self._path} is not this user's own file")
        return descriptor


def _byte_of(file_id: int) -> int:
    return file_id % _MOST_BYTES


def _try_lock(descriptor: int, byte: int) -> bool:
    """
    Try to take a lock, which is released when the descriptor is closed.

    @return: Whether it was free.
    """
    # A lock of the open file, not of the process: so threads exclude each other as well.
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise errors.BackendUnavailable(f"No lock can be had: {error.strerror}.") from error
    return True
