"""What a PUT sends: read ahead in a thread, hashed on the way, and held back as the network wants it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from pacarchive.client.errors import SourceChanged
from pacarchive.client.fields import digest_fields
from pacarchive.digests import Hasher

if TYPE_CHECKING:
    from pacarchive.client._threads import Threads
    from pacarchive.client.connection import Connection

BLOCK = 1 << 20
"""How much is read, and hashed, at once."""

TLS_SLICE = 64 << 10
"""How much is given to TLS at once: it takes more apart in a way that costs time."""

WORTH_A_THREAD = 64 << 10
"""How much is hashed in a thread rather than at once."""

_COMMIT_RATE = 16 << 20  # bytes a second that an archive is believed to bring to stable storage, at the least


@implementer(IBodyProducer, IPushProducer)
class Body:
    """
    The body of one PUT.

    @param blocks: What is sent.
    @param length: How many bytes that is; C{None} where it is not known.
    @param hasher: What the blocks were given to when they come out; C{None} where their digests are known before.
    @param trailing: Whether the digests go out as trailer fields.
    @param sending: Called with the number of bytes that were handed to the connection so far.
    @ivar sent: That number.
    @ivar complete: Whether that is all.
    @ivar moved: Whether a byte has left.
    """

    def __init__(
        self,
        blocks: AsyncIterator[bytes],
        length: int | None,
        *,
        hasher: Hasher | None,
        trailing: bool,
        sending: Callable[[int], object] | None = None,
    ) -> None:
        self._blocks = blocks
        self._expected = length
        self.length: Any = UNKNOWN_LENGTH if length is None or trailing else length
        self._hasher = hasher
        self._trailing = trailing
        self._sending = sending
        self._paused: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self.sent = 0
        self.complete = False
        self.trailers: bytes | None = None
        self.connection: Connection | None = None
        self._before = 0

    @property
    def moved(self) -> bool:
        """Whether bytes of it have gone out."""
        return self.sent > 0

    @property
    def acknowledged(self) -> int:
        """Grows when bytes move, those that were sent before as well."""
        return self.sent + (0 if self.connection is None else self.connection.acknowledged)

    @property
    def allowance(self) -> float:
        """For how many seconds more than else nothing may move: while the archive brings all of it to its disk."""
        return self.sent / _COMMIT_RATE if self.complete else 0.0

    @property
    def digests(self) -> dict[str, bytes]:
        """The digests of what was sent."""
        assert self._hasher is not None
        return self._hasher.digests()

    # IBodyProducer

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._running = Deferred.fromCoroutine(self._produce(consumer))
        return self._running

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        if self._paused is not None:
            paused, self._paused = self._paused, None
            paused.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone."""
        if self._running is not None:
            running, self._running = self._running, None
            # Twisted does not want to hear of this any more; else it would be an error that nobody takes.
            running.addErrback(lambda failure: failure.trap(CancelledError) and None)
            running.cancel()

    def answered(self) -> None:
        """The archive has said what it has to say; nothing more is sent."""
        if not self.complete:
            self.pauseProducing()

    async def _produce(self, consumer: IConsumer) -> None:
        try:
            async for block in self._blocks:
                await self._send(consumer, block)
            if self._expected is not None and self.sent != self._expected:
                raise SourceChanged(f"The source gave {self.sent} bytes, and {self._expected} were to be sent.")
            self.complete = True
            if self._trailing:
                assert self._hasher is not None
                lines = [f"{name}: {value}\r\n" for name, value in digest_fields(self._hasher.digests()).items()]
                self.trailers = "".join(lines).encode("ascii")
        finally:
            if callable(close := getattr(self._blocks, "aclose", None)):
                await close()

    async def _send(self, consumer: IConsumer, block: bytes) -> None:
        if self._expected is not None and self.sent + len(block) > self._expected:
            raise SourceChanged(f"The source gives more than the {self._expected} bytes that were to be sent.")
        size = TLS_SLICE if self.connection is not None and self.connection.secure else len(block)
        for start in range(0, len(block), size):
            while self._paused is not None:
                await self._paused
            consumer.write(block if size >= len(block) else block[start : start + size])
            self.sent += min(size, len(block) - start)
            if self._sending is not None:
                self._sending(self.sent)


# what bodies are made of


async def one(data: bytes) -> AsyncIterator[bytes]:
    """Bytes that are there already."""
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK] if len(data) > BLOCK else data


async def of_file(threads: Threads, path: str, hasher: Hasher) -> AsyncIterator[bytes]:
    """
    A file, of which one block is read and hashed while the one before is sent.

    @raise OSError: It cannot be read.
    @raise SourceChanged: It is not as it was.
    """
    source = await threads.run(OpenSource, path)
    ahead: Deferred[bytes] | None = None
    try:
        ahead = Deferred.fromCoroutine(threads.run(source.next, hasher))
        while block := await ahead:
            ahead = Deferred.fromCoroutine(threads.run(source.next, hasher))
            yield block
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
    @ivar mtime: Its time of modification.
    @raise OSError: It is no file that can be read.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._state = self._look()
            if os.path.isdir(path):
                raise IsADirectoryError(21, "is a directory", path)
        except BaseException:
            self.close()
            raise
        self.size, self.mtime = self._state[0], self._state[1] / 1e9

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
        elif self._look() != self._state:
            raise SourceChanged("The file was changed while it was read.")
        return block

    def whole(self, algorithms: Collection[str], limit: int) -> tuple[bytes, dict[str, bytes]]:
        """
        Read all of it.

        @return: The bytes, if they are not more than C{limit}, and their digests.
        """
        hasher = Hasher(algorithms)
        kept: list[bytes] = []
        while block := self.next(hasher):
            if self.size <= limit:
                kept.append(block)
        return b"".join(kept), hasher.digests()

    def close(self) -> None:
        """Be done with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


async def of_iterator(threads: Threads, source: AsyncIterator[bytes], hasher: Hasher) -> AsyncIterator[bytes]:
    """What somebody else makes."""
    async for piece in source:
        if len(piece) >= WORTH_A_THREAD:
            await threads.run(hasher.update, piece)
        else:
            hasher.update(piece)
        if piece:
            yield piece


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

    source.startProducing(implementer(IConsumer)(taken)).addBoth(end)  # type: ignore[call-overload]
    try:
        while pieces := await taken.take():
            for piece in pieces:
                yield piece
    finally:
        if not ended:
            source.stopProducing()
