"""Digests of local files, computed in threads that can be told to stop."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThread

from pacarchive.client import OnProgress, Progress
from pacarchive.digests import PRIMARY, Hasher

_BLOCK = 1 << 20


async def digest_of(path: str, on_progress: OnProgress | None = None) -> tuple[int, bytes]:
    """
    Read a file, in one of the reactor's threads.

    @param on_progress: Called in that thread.
    @return: Its size, and its SHA-256.
    @raise OSError: It cannot be read.
    """
    unwanted = threading.Event()
    try:
        return await deferToThread(_read, path, unwanted, on_progress)
    except CancelledError:
        unwanted.set()  # the reactor waits for its threads at the end
        raise


def _read(path: str, unwanted: threading.Event, on_progress: OnProgress | None) -> tuple[int, bytes]:
    hasher, size, buffer = Hasher([PRIMARY]), 0, bytearray(_BLOCK)
    view: Any = memoryview(buffer)
    with open(path, "rb", buffering=0, opener=_open) as file:
        while (count := file.readinto(view)) and not unwanted.is_set():
            hasher.update(view[:count])
            size += count
            if on_progress is not None:
                on_progress(Progress(size, None))
    return size, hasher.digests()[PRIMARY]


def _open(path: str, flags: int) -> int:
    """Open a regular file: a pipe may never begin, and a device never end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", path)
    return descriptor


def may_have(wanted: int, size: int | None) -> bool:
    """
    Whether a file may have so many bytes.

    @param size: What the file system says, which says 0 of what it makes up when it is read, as in C{/proc}; C{None}
        where it says nothing.
    """
    return size in (0, wanted)


async def sizes_of(paths: list[str]) -> list[int | None]:
    """Sizes of files; C{None} for one that cannot be looked at."""

    def look() -> list[int | None]:
        found: list[int | None] = []
        for path in paths:
            try:
                found.append(os.stat(path).st_size)
            except OSError:
                found.append(None)
        return found

    return await deferToThread(look)
