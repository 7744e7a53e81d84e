"""One writer at a time for each id, among all processes of this machine.

HPSS has no locks between clients.  What must be seen and done as one step (a condition and the rename that depends on
it) is guarded by byte-range locks on a file in memory, byte C{n} for the id C{n}; the kernel drops them when their
holder dies.  Writers on other machines are not held up: between machines only C{If-None-Match: *} and write-once
archives are decided by HPSS itself (C{hpss_Link}).
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
from pacarchive.backends.hpss.wanted import require_wanted

_PLACES = ("/dev/shm", "/tmp")  # noqa: S108  (the file's owner and kind are checked, and it holds no data)
_MOST_BYTES = 2**62
_PATIENCE = 30.0
_TURN = 0.002


class IdLocks:
    """
    Locks by id.

    @param archive: What names the archive: the same for all processes that share it.
    """

    def __init__(self, archive: str) -> None:
        digest = hashlib.sha256(archive.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        place = next(place for place in _PLACES if os.path.isdir(place))
        self._path = f"{place}/pacarchive-{os.geteuid()}-{digest}.locks"

    def check(self) -> None:
        """
        See whether locks can be had.

        @raise errors.BackendUnavailable: The lock file is not ours, or cannot be made.
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
        Hold the locks of some ids, taken in one order, so that nobody waits for somebody who waits for him.  Blocks.

        @raise errors.BackendUnavailable: Somebody else holds it for too long: a call of his is stuck.  Or this thread
            was, on the way here, for so long that others may have changed the file since: no change is wanted any more.
        """
        descriptor = self._open()
        try:
            deadline = monotonic() + _PATIENCE
            for byte in sorted({_byte_of(file_id) for file_id in file_ids}):
                while not _take(descriptor, byte):
                    if monotonic() > deadline:
                        raise errors.BackendUnavailable("Another change of this file does not come to an end.")
                    sleep(_TURN)
            require_wanted()
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def those_free(self, file_ids: Iterable[int]) -> Iterator[list[int]]:
        """
        Hold the locks of those ids whose locks nobody holds, without waiting for the others.

        @return: Those.
        """
        descriptor = self._open()
        try:
            yield [file_id for file_id in dict.fromkeys(file_ids) if _take(descriptor, _byte_of(file_id))]
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


def _take(descriptor: int, byte: int) -> bool:
    """
    Take a lock, which goes with the descriptor.

    @return: Whether it could be had.
    """
    # Of the open file, not of the process: threads exclude each other as well.
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise errors.BackendUnavailable(f"No lock can be had: {error.strerror}.") from error
    return True
