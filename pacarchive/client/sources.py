"""What bodies are made of: bytes, local files, and what somebody else makes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from pacarchive.client.errors import SourceChanged
from pacarchive.digests import Hasher

if TYPE_CHECKING:
    from pacarchive.client._threads import Threads

BLOCK = 1 << 20
"""How much is read, and hashed, at once."""

WORTH_A_THREAD = 64 << 10
"""How much is hashed in a thread rather than at once."""


async def one(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are there already."""
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK] if len(data) > BLOCK else data


@attrs.frozen
class LocalFile:
    """
    A file that was looked at.

    @ivar mtime_ns: Its time of modification then.
    """

    reactor: Any
    threads: Threads
    path: str
    mtime_ns: int

    async def open(self) -> OpenSource:
        """
        @raise OSError: It cannot be read.
        @raise SourceChanged: It is not as it was.
        """
        source = await self.threads.run(OpenSource, self.path)
        if source.mtime_ns != self.mtime_ns:
            source.close()
            raise SourceChanged("The file was changed after it had been looked at.")
        return source


async def of_file(file: LocalFile, hasher: Hasher | None) -> AsyncIterator[bytes]:
    """
    A file, of which one block is read and hashed while the one before is sent.

    @param hasher: C{None} for not to hash it.
    @raise OSError: It cannot be read.
    @raise SourceChanged: It is not as it was.
    """
    threads = file.threads
    source = await file.open()
    ahead: Deferred[bytes] | None = None
    held = b""
    try:
        ahead = Deferred.fromCoroutine(threads.run(source.next, hasher))
        while True:
            assert ahead is not None
            coming, ahead = ahead, None  # a Deferred that has failed is waited for once
            # The last block is not given out before it is known that it is, and that the file has not changed.
            if block := await coming:
                ahead = Deferred.fromCoroutine(threads.run(source.next, hasher))
            if held:
                yield held
            if not block:
                break
            held = block
    finally:
        if ahead is not None:
            # Its thread works with the descriptor: to the end of that, and of no interest any more.
            ahead.cancel()
            with suppress(CancelledError, OSError, SourceChanged):
                await ahead
        source.close()


class OpenSource:
    """
    A local file that is being sent.

    @ivar size: Bytes.
    @ivar mtime_ns: Its time of modification.
    @raise OSError: It is no file that can be read.
    """

    def __init__(self, path: str) -> None:
        # A pipe would keep the thread until somebody writes to it, and a device may never end.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._state = self._look()
            mode = os.fstat(self._descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "is not a regular file", path)
        except BaseException:
            self.close()
            raise
        self.size, self.mtime_ns = self._state[:2]

    def _look(self) -> tuple[int, int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns, found.st_ino

    def next(self, hasher: Hasher | None) -> bytes:
        """
        Read the next block, and hash it.

        @return: Nothing at the end.
        @raise SourceChanged: At the end it is not as it was in the beginning.
        """
        block = os.read(self._descriptor, BLOCK)
        if block:
            if hasher is not None:
                hasher.update(block)
        else:
            self.check()
        return block

    def check(self) -> None:
        """
        @raise SourceChanged: The file is not as it was in the beginning.
        """
        if self._look() != self._state:
            raise SourceChanged("The file was changed while it was read.")

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._descriptor

    def whole(self, algorithms: Collection[str], limit: int) -> tuple[bytes, dict[str, bytes]]:
        """
        Read all of it.

        @return: The bytes, if they are not more than C{limit}, and their digests.
        @raise SourceChanged: At the end it is not as it was in the beginning.
        """
        hasher = Hasher(algorithms)
        if self.size <= limit:
            kept: list[bytes] = []
            while block := self.next(hasher):
                kept.append(block)
            return b"".join(kept), hasher.digests()
        # The same memory each time: on some machines the first touch of it takes as long as the hashing.
        buffer = memoryview(bytearray(BLOCK))
        while size := os.readv(self._descriptor, [buffer]):
            hasher.update(buffer[:size])
        self.check()
        return b"", hasher.digests()

    def skip(self, size: int) -> None:
        """Go on so many bytes further."""
        os.lseek(self._descriptor, size, os.SEEK_CUR)

    def close(self) -> None:
        """Be done with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


async def of_iterator(threads: Threads, source: AsyncIterator[bytes], hasher: Hasher) -> AsyncIterator[bytes]:
    """What somebody else makes."""
    try:
        async for piece in source:
            if len(piece) >= WORTH_A_THREAD:
                await threads.run(hasher.update, piece)
            else:
                hasher.update(piece)
            if piece:
                yield piece
    finally:
        # A generator that is left in the middle has things to close, too, and Twisted has nothing that would do it.
        if callable(close := getattr(source, "aclose", None)):
            await close()


class _Taken:
    """The consumer of somebody else's producer: keeps what comes until it is asked for, and holds back meanwhile."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._pieces: list[bytes] = []
        self._ended: Failure | bool = False
        self._waiting: Deferred[None] | None = None
        self._paused = False

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        if not self._wake() and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def end(self, result: Any) -> None:
        self._ended = result if isinstance(result, Failure) else True
        self._wake()

    def _wake(self) -> bool:
        if self._waiting is None:
            return False
        waiting, self._waiting = self._waiting, None
        waiting.callback(None)
        return True

    async def take(self) -> list[bytes]:
        while not self._pieces and not self._ended:
            self._waiting = Deferred()
            if self._paused:
                self._paused = False
                self._producer.resumeProducing()
            if self._waiting is not None:
                await self._waiting
        if not self._pieces and isinstance(self._ended, Failure):
            self._ended.raiseException()
        pieces, self._pieces = self._pieces, []
        return pieces


async def of_producer(source: IBodyProducer) -> AsyncIterator[bytes]:
    """What an L{IBodyProducer} of somebody else's produces."""
    taken = _Taken(source)
    ended = False

    def end(result: Any) -> None:
        nonlocal ended
        ended = True
        taken.end(result)

    source.startProducing(implementer(IConsumer)(taken)).addBoth(end)
    try:
        while pieces := await taken.take():
            for piece in pieces:
                yield piece
    finally:
        if not ended:
            source.stopProducing()
