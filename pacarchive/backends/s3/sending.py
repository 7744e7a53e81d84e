"""Sending single requests: bodies that are sent and received within limits, and timeouts.

Nothing is left when a request has ended, whichever way: who cancels one goes on when its connection is closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, runtime_checkable
from typing import Protocol as StructuralProtocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError, UserError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pacarchive.backends.s3.request import Answer

T = TypeVar("T")

_FULL = 1 << 20
"""How many bytes of a stream may wait for being read before the connection is paused."""

_LONGEST_REFUSAL = 64 << 10

_BROKEN = (
    ConnectError,  # also for timeouts
    ConnectionClosed,
    DNSLookupError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    UserError,
    OSError,
)


class NoAnswerError(Exception):
    """
    A request has no answer, or not all of it.

    @ivar was_sent: Whether it may have been carried out.
    """

    def __init__(self, words: str, *, was_sent: bool = True) -> None:
        super().__init__(words)
        self.was_sent = was_sent


class _Watch:
    """
    Cancels what makes no progress.

    @param clock: The clock.
    @param seconds: How long it may make none.
    @ivar cancel: Called then.
    @ivar expired: Whether that has happened.
    """

    def __init__(self, clock: IReactorTime, seconds: float, cancel: Callable[[], object]) -> None:
        self.expired = False
        self.cancel = cancel
        self._clock = clock
        self._seconds = seconds
        self._last = clock.seconds()
        self._call: IDelayedCall | None = clock.callLater(seconds, self._look)

    def touch(self) -> None:
        """There was progress."""
        self._last = self._clock.seconds()

    def stop(self) -> None:
        """Watch no longer."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._call = None
        left = self._last + self._seconds - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._look)
        else:
            self.expired = True
            self.cancel()


@implementer(IBodyProducer)
class _Body:
    """The body of a request: pieces, as fast as the connection takes them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.length = sum(map(len, pieces))
        self.touch: Callable[[], object] = lambda: None
        self._pieces = deque(pieces)
        self._paused = False
        self._done: Deferred[None] = Deferred(lambda _: self._pieces.clear())
        self._consumer: IConsumer | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._consumer = consumer
        self.resumeProducing()
        return self._done

    def resumeProducing(self) -> None:
        self._paused = False
        self.touch()
        while self._pieces and not self._paused:
            assert self._consumer is not None, "it produces only then"
            self._consumer.write(self._pieces.popleft())
        if not self._pieces and not self._done.called:
            self._done.callback(None)

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._pieces.clear()


class _Collector(Protocol):
    """The body of an answer, all of it."""

    def __init__(self, most: int, touch: Callable[[], object]) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._left = most
        self._touch = touch
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._touch()
        self._left -= len(data)
        if self._left < 0:
            self._stop()
            if not self.done.called:
                self.done.errback(NoAnswerError("the answer is larger than any should be"))
        elif not self.done.called:
            self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(NoAnswerError(f"the answer is cut off: {reason.getErrorMessage()}"))

    def _stop(self) -> None:
        if self.transport is not None:
            _producer(self).stopProducing()


def _producer(protocol: Protocol) -> Any:
    """What delivers a body to a protocol."""
    return protocol.transport


@runtime_checkable
class Gathering(StructuralProtocol):
    """A connection whose data can be gathered before it is read."""

    def gather(self, coming: int) -> None:
        """Wake up once for much of what is coming, and not for each packet."""


class Stream(Protocol):
    """
    The body of an answer, read in portions.  What is not read yet holds up the sender.

    @param clock: The clock.
    @param patience: The timeout of each read, in seconds.
    @param settled: Waits until connections that are being closed are closed.
    @ivar left: How many bytes have not been read.
    """

    def __init__(self, clock: IReactorTime, patience: float, size: int, settled: Callable[[], Awaitable[None]]) -> None:
        self.left = size
        self._settled = settled
        self._clock = clock
        self._patience = patience
        self._pieces: deque[memoryview] = deque()
        self._held = 0
        self._coming = size
        self._paused = False
        self._waiting: tuple[int, Deferred[None]] | None = None
        self._end: str | None = None

    def connectionMade(self) -> None:
        self._gather()

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(memoryview(data))
        self._held += len(data)
        self._coming -= len(data)
        self._gather()
        if self._waiting is not None:
            needed, waiting = self._waiting
            if self._held >= needed and needed < self.left:  # the last ones are followed by the end
                self._waiting = None
                waiting.callback(None)
        elif self._held >= _FULL and not self._paused:
            self._paused = True
            _producer(self).pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end = "the end of it" if reason.check(ResponseDone) else reason.getErrorMessage()
        if self._waiting is not None:
            waiting, self._waiting = self._waiting[1], None
            waiting.callback(None)

    async def read(self, length: int) -> bytes:
        """
        Read the next bytes; one caller at a time.

        @raise NoAnswerError: They do not come.
        """
        if (self._held < length or length == self.left) and self._end is None:
            waiting: Deferred[None] = Deferred(self._forget)
            self._waiting = length, waiting
            watch = _Watch(self._clock, self._patience, waiting.cancel)
            self._resume()
            try:
                await waiting
            except CancelledError:
                self.close()
                if watch.expired:
                    raise NoAnswerError(f"nothing more has come for {self._patience:.0f} seconds") from None
                raise
            finally:
                watch.stop()
        if self._end is not None:
            await self._settled()
        if self._held < length:
            raise NoAnswerError(f"the answer is cut off: {self._end}")
        return self._take(length)

    def close(self) -> None:
        """Read no more."""
        self._pieces.clear()
        self._held = 0
        if self._end is None and self.transport is not None:
            self._end = "closed"
            _producer(self).stopProducing()

    def _take(self, length: int) -> bytes:
        taken = []
        needed = length
        while needed:
            piece = self._pieces.popleft()
            if len(piece) > needed:
                self._pieces.appendleft(piece[needed:])
                piece = piece[:needed]
            taken.append(piece)
            needed -= len(piece)
        self._held -= length
        self.left -= length
        if self._held < _FULL:
            self._resume()
        return b"".join(taken)

    def _gather(self) -> None:
        """Have the kernel gather what comes."""
        connection = getattr(self.transport, "_producer", None)  # Twisted's agent shows it to nobody
        if isinstance(connection, Gathering):
            connection.gather(self._coming)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            _producer(self).resumeProducing()

    def _forget(self, _: Deferred[None]) -> None:
        self._waiting = None


class Wire:
    """
    Sends requests that are signed already, each once.

    @param agent: Sends them.
    @param clock: The clock.
    @param patience: The timeout of an answer and of each pause in it, in seconds.
    @param settled: Waits until connections that are being closed are closed.
    """

    def __init__(
        self, agent: IAgent, clock: IReactorTime, patience: float, settled: Callable[[], Awaitable[None]]
    ) -> None:
        self._agent = agent
        self._clock = clock
        self._patience = patience
        self._settled = settled

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Sequence[bytes] = (),
        *,
        most: int,
        patience: float | None = None,
    ) -> Answer:
        """
        Send a request, and wait for the whole answer.

        @param body: The body, in pieces.
        @param most: The most bytes that the answer's body may have.
        @param patience: The timeout, where it is not the common one.
        @raise NoAnswerError: There is none.
        """

        async def receive(response: IResponse, watch: _Watch) -> Answer:
            return await _whole(response, watch, most)

        return await self._exchange(method, url, headers, body, patience or self._patience, receive)

    async def begin(self, method: str, url: str, headers: Mapping[str, str]) -> Answer | Stream:
        """
        Send a request without a body, and wait for the head of its answer.

        @return: The body of the answer, if it is what was asked for; else the answer.
        @raise NoAnswerError: There is none.
        """

        async def receive(response: IResponse, watch: _Watch) -> Answer | Stream:
            if response.code in (200, 206) and isinstance(response.length, int):
                stream = Stream(self._clock, self._patience, response.length, self._settled)
                response.deliverBody(stream)
                return stream
            return await _whole(response, watch, 0)

        return await self._exchange(method, url, headers, (), self._patience, receive)

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Sequence[bytes],
        patience: float,
        receive: Callable[[IResponse, _Watch], Awaitable[T]],
    ) -> T:
        producer = _Body(body) if body else None
        fields = Headers({name: [value] for name, value in headers.items()})
        # An answer that is none while a body is being sent makes Twisted forget the request: it never ends, and does
        # not heed that it is cancelled.
        sent = self._agent.request(method.encode(), url.encode(), fields, producer)
        request: Deferred[IResponse] = Deferred(lambda _: sent.cancel())
        sent.addBoth(lambda result: None if request.called else request.callback(result))
        watch = _Watch(self._clock, patience, request.cancel)
        if producer is not None:
            producer.touch = watch.touch
        try:
            return await receive(await request, watch)
        except CancelledError:
            if watch.expired:
                raise NoAnswerError(f"no answer within {patience:.0f} seconds") from None
            raise
        except _BROKEN as error:
            if watch.expired:
                raise NoAnswerError(f"it could not be sent within {patience:.0f} seconds") from None
            if any(each.check(CancelledError) for each in getattr(error, "reasons", ())):
                raise CancelledError from None
            raise NoAnswerError(
                _words(error), was_sent=not isinstance(error, (ConnectError, DNSLookupError))
            ) from error
        finally:
            watch.stop()
            await self._settled()


async def _whole(response: IResponse, watch: _Watch, most: int) -> Answer:
    collector = _Collector(most if response.code < 300 else _LONGEST_REFUSAL, watch.touch)
    watch.cancel = collector.done.cancel
    response.deliverBody(collector)
    return Answer(response.code, response.headers, await collector.done)


def _words(error: Exception) -> str:
    """What broke, without the layers around it."""
    reasons = getattr(error, "reasons", None)
    return reasons[0].getErrorMessage() if reasons else str(error) or type(error).__name__
