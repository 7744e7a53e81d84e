"""Standard input and output, for bytes of files.

Whoever is at the other end may take for ever.  So it is waited for in threads that do not keep the process from ending,
and past Python's buffers, whose locks would.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

_BLOCK = 1 << 20
_STDIN, _STDOUT = 0, 1


def _waiting_room() -> ThreadPool:
    pool = ThreadPool(0, 1, "pacarchive-pipes")
    pool.threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment]
    pool.start()
    return pool


async def read_stdin(reactor: Any) -> AsyncIterator[bytes]:
    """
    Read to the end.

    @raise OSError: It cannot be read.
    """
    pool = _waiting_room()
    while block := await deferToThreadPool(reactor, pool, os.read, _STDIN, _BLOCK):
        yield block


class Stdout:
    """
    Takes bytes, one piece after the other.

    @raise BrokenPipeError: Nobody takes them any more.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = _waiting_room()

    async def write(self, piece: bytes) -> None:
        """Write all of it."""
        await deferToThreadPool(self._reactor, self._pool, _write, piece)


def _write(piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(_STDOUT, left) :]
