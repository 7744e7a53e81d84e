"""What a PUT sends: read ahead in a thread, hashed on the way, and held back as the network wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from pacarchive.client.errors import SourceChanged
from pacarchive.client.fields import digest_fields
from pacarchive.client.pump import FilePiece
from pacarchive.client.sources import LocalFile
from pacarchive.digests import Hasher

if TYPE_CHECKING:
    from pacarchive.client.connection import Connection

TAIL = 64 << 10
"""How much of a file that goes by the kernel is kept to the end."""

TLS_SLICE = 64 << 10
"""How much is given to TLS at once: it takes more apart in a way that costs time."""

# What is believed to be the least, in bytes a second: at which an archive brings a file to stable storage, and at which
# the buffers on the way, which take all that is sent at once, give it on.
_COMMIT_RATE, _BUFFER_RATE, _BUFFERS = 16 << 20, 64 << 10, 4 << 20


@implementer(IBodyProducer, IPushProducer)
class Body:
    """
    The body of one PUT.

    @param blocks: What is sent.
    @param file: The same, where it is a file: it goes by the kernel where the connection can.
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
        file: LocalFile | None = None,
    ) -> None:
        self._blocks = blocks
        self._file = file
        self._piece: FilePiece | None = None
        self._expected = length
        self.length: Any = UNKNOWN_LENGTH if length is None or trailing else length
        self._hasher = hasher
        self._trailing = trailing
        self._sending = sending
        self._paused: Deferred[None] | None = None
        self._answered = False
        self._running: Deferred[None] | None = None
        self._done: Deferred[None] | None = None
        self._ended = False
        self._finishing: Deferred[None] | None = None
        self.sent = 0
        self.complete = False
        self.trailers: bytes | None = None
        self.connection: Connection | None = None

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
        """For how many seconds more than else nothing may move here: all is sent, and has a way to go to the disk."""
        if not self.complete:
            return 0.0
        return self.sent / _COMMIT_RATE + min(self.sent, _BUFFERS) / _BUFFER_RATE

    @property
    def digests(self) -> dict[str, bytes]:
        """The digests of what was sent."""
        assert self._hasher is not None
        return self._hasher.digests()

    # IBodyProducer

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._done = done
        self._running = Deferred.fromCoroutine(self._produce(consumer)).addBoth(self._end)
        return done

    def _end(self, result: Any) -> None:
        self._ended = True
        done, self._done = self._done, None
        if self._finishing is not None:
            self._finishing.callback(None)
        if done is None:
            return  # it was stopped, and the caller is gone
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(None)

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        if self._paused is not None and not self._answered:
            paused, self._paused = self._paused, None
            paused.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone: send no more, and report nothing."""
        self._done = None
        if self._running is not None:
            self._running.cancel()

    def answered(self) -> None:
        """The archive has said what it has to say; nothing more is sent."""
        if not self.complete:
            self._answered = True
            self.pauseProducing()
            if self._piece is not None:
                self._piece.hold()

    async def finish(self) -> None:
        """Wait until nothing of this uses the source any more, however often the caller is cancelled."""
        self.stopProducing()
        cancelled = False
        while self._running is not None and not self._ended:
            # Not for _running itself: its end may be what this is called by.
            self._finishing = Deferred()
            try:
                await self._finishing
            except CancelledError:
                cancelled = True
        if cancelled:
            raise CancelledError

    async def _produce(self, consumer: IConsumer) -> None:
        try:
            if self._file is not None and self.connection is not None and self.connection.takes_files:
                await self._by_the_kernel(consumer, self._file)
            else:
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

    async def _by_the_kernel(self, consumer: IConsumer, file: LocalFile) -> None:
        source, hasher = await file.open(), self._hasher
        try:
            # The first block goes the usual way: when the transport wants more after it, it has nothing left to send.
            block = await file.threads.run(source.next, hasher)
            await self._send(consumer, block)
            await self._room()
            left = source.size - len(block) - TAIL
            if left > 0:
                self._piece = FilePiece(
                    file.reactor, file.threads, source.descriptor, len(block), left, self._has_sent, hasher
                )
                consumer.write(self._piece)  # type: ignore[arg-type]
                await self._piece.over()
                source.skip(left)
            # Without the end the archive stores nothing.  It gets that when it is known that the file has not changed.
            source.check()
            block = await file.threads.run(source.next, hasher)
            while block:
                # It is known to be the last before it goes: the archive may answer as soon as it has it.
                following = await file.threads.run(source.next, hasher)
                await self._send(consumer, block)
                block = following
        finally:
            source.close()

    async def _room(self) -> None:
        while self._paused is not None:
            await self._paused

    def _has_sent(self, size: int) -> None:
        self.sent += size
        if self._sending is not None:
            self._sending(self.sent)

    async def _send(self, consumer: IConsumer, block: bytes) -> None:
        if self._expected is not None and self.sent + len(block) > self._expected:
            raise SourceChanged(f"The source gives more than the {self._expected} bytes that were to be sent.")
        size = TLS_SLICE if self.connection is not None and self.connection.secure else len(block)
        for start in range(0, len(block), size):
            await self._room()
            consumer.write(block if size >= len(block) else block[start : start + size])
            self._has_sent(min(size, len(block) - start))
