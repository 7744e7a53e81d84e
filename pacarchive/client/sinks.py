"""What a download is written to: a local file, or somebody's function or consumer."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from pacarchive.client.landing import Landing
from pacarchive.client.sources import WORTH_A_THREAD
from pacarchive.digests import Digests, Hasher

if TYPE_CHECKING:
    from pacarchive.client._threads import Threads


class Sink(Protocol):
    """
    Takes the bytes of a file.

    @ivar parallel: Whether they may come out of order.
    @ivar repeats: Whether L{begin_anew} is possible.
    """

    parallel: bool
    repeats: bool

    async def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        """Take bytes; a caller that is held up by this holds up the archive."""

    async def begin_anew(self) -> None:
        """Forget all that came."""

    async def digests(self) -> Digests:
        """What was computed of all of it, from the first byte to the last."""

    async def publish(self, mtime_ns: int | None) -> None:
        """
        All of it is there, and right.

        @param mtime_ns: The time of modification that it gets, where it is a file; C{None} for now.
        """

    async def close(self) -> None:
        """It is over, for better or worse."""


class FileSink:
    """
    A local file.

    What has come without a gap is hashed in a thread while more is coming, read back from the page cache: so parts may
    come in any order.

    @param algorithms: What to hash with; nothing for not at all.
    """

    parallel = True
    repeats = True

    def __init__(self, threads: Threads, landing: Landing, algorithms: Collection[str]) -> None:
        self._threads = threads
        self._landing = landing
        self._algorithms = algorithms
        self._reset()

    @classmethod
    async def make(cls, threads: Threads, path: str | os.PathLike[str], algorithms: Collection[str]) -> FileSink:
        """
        @raise OSError: The file cannot be written.
        """
        return cls(threads, await threads.run(Landing, os.fspath(path)), algorithms)

    def _reset(self) -> None:
        self._hasher = Hasher(self._algorithms)
        self._written: dict[int, int] = {}  # the end of what is beyond a gap, by its start
        self._whole = 0
        self._hashed = 0
        self._hashing: Deferred[None] | None = None
        self._busy = False
        self._trouble: BaseException | None = None

    async def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        await self._threads.run(self._landing.write, pieces, offset)
        self._written[offset] = offset + sum(map(len, pieces))
        while (end := self._written.pop(self._whole, None)) is not None:
            self._whole = end
        if self._algorithms and not self._busy and self._hashed < self._whole:
            self._busy = True
            self._hashing = Deferred.fromCoroutine(self._follow())

    async def _follow(self) -> None:
        try:
            while self._hashed < self._whole and self._trouble is None:
                end = self._whole
                await self._threads.run(self._landing.hash, self._hasher, self._hashed, end)
                self._hashed = end
        except BaseException as error:  # noqa: BLE001  (told to who asks for the digests)
            self._trouble = error
        finally:
            self._busy = False

    async def _settled(self) -> None:
        while self._busy and (hashing := self._hashing) is not None:
            over: Deferred[None] = Deferred()
            hashing.addBoth(_ring, over)
            await over

    async def begin_anew(self) -> None:
        await self._settled()
        await self._threads.run(self._landing.clear)
        self._reset()

    async def digests(self) -> Digests:
        await self._settled()
        if self._trouble is not None:
            raise self._trouble
        return self._hasher.digests()

    async def publish(self, mtime_ns: int | None) -> None:
        if mtime_ns is not None:
            await self._threads.run(self._landing.set_mtime, mtime_ns)
        await self._threads.run(self._landing.publish)

    async def close(self) -> None:
        cancelled = False
        if self._busy and self._hashing is not None:
            self._hashing.cancel()
        while self._busy:
            try:
                await self._settled()
            except CancelledError:
                cancelled = True  # its thread works with the descriptor, whoever wants no more
        await self._threads.run(self._landing.close)
        if cancelled:
            raise CancelledError


def _ring(result: None, over: Deferred[None]) -> None:
    over.callback(None)


class _InOrder:
    """Bytes that go on as they come, and cannot be taken back."""

    parallel = False
    repeats = False

    def __init__(self, threads: Threads, algorithms: Collection[str]) -> None:
        self._threads = threads
        self._hasher = Hasher(algorithms)

    async def write(self, offset: int, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            if len(piece) >= WORTH_A_THREAD:
                await self._threads.run(self._hasher.update, piece)
            else:
                self._hasher.update(piece)
            await self.pass_on(piece)

    async def pass_on(self, piece: bytes) -> None:
        raise NotImplementedError

    async def begin_anew(self) -> None:
        raise AssertionError("what was passed on cannot be taken back")

    async def digests(self) -> Digests:
        return self._hasher.digests()

    async def publish(self, mtime_ns: int | None) -> None:
        """It is where it should be."""

    async def close(self) -> None:
        """There is nothing to close."""


class FunctionSink(_InOrder):
    """
    A function.

    @param function: What it returns is waited for, where it can be.
    """

    def __init__(
        self, threads: Threads, function: Callable[[bytes], Awaitable[object] | None], algorithms: Collection[str]
    ) -> None:
        super().__init__(threads, algorithms)
        self._function = function

    async def pass_on(self, piece: bytes) -> None:
        if (waiting := self._function(piece)) is not None:
            await waiting


@implementer(IPushProducer)
class ConsumerSink(_InOrder):
    """A consumer, which may hold back."""

    def __init__(self, threads: Threads, consumer: IConsumer, algorithms: Collection[str]) -> None:
        super().__init__(threads, algorithms)
        self._consumer = consumer
        self._paused: Deferred[None] | None = None
        self._stopped = False
        consumer.registerProducer(self, True)

    def pauseProducing(self) -> None:
        if self._paused is None and not self._stopped:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        if self._paused is not None:
            paused, self._paused = self._paused, None
            paused.callback(None)

    def stopProducing(self) -> None:
        self._stopped = True
        self.resumeProducing()

    async def pass_on(self, piece: bytes) -> None:
        while self._paused is not None:
            await self._paused
        if self._stopped:
            raise BrokenPipeError(32, "the consumer wants no more")
        self._consumer.write(piece)

    async def close(self) -> None:
        self._consumer.unregisterProducer()


async def make_sink(threads: Threads, destination: Any, algorithms: Collection[str]) -> Sink:
    """
    The sink for a destination.

    @raise TypeError: It is none.
    @raise OSError: It cannot be written.
    """
    if isinstance(destination, str | os.PathLike):
        return await FileSink.make(threads, destination, algorithms)
    if IConsumer.providedBy(destination):
        return ConsumerSink(threads, destination, algorithms)
    if callable(destination):
        return FunctionSink(threads, destination, algorithms)
    raise TypeError(f"a destination is a path, a function or an IConsumer, and not {type(destination).__name__}")
