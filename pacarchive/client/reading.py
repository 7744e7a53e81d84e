"""The body of an answer as it comes, and the watch over whether anything comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from pacarchive.client.errors import Stalled
from pacarchive.client.naming import named

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

HIGH_WATER = 2 << 20
"""How much of it may wait before the connection is held back."""


class ISending(Protocol):
    """
    A body that is being sent.

    @ivar acknowledged: Grows when bytes of it move.
    @ivar allowance: For how many seconds more than usual none may.
    """

    @property
    def acknowledged(self) -> int: ...

    @property
    def allowance(self) -> float: ...


class _Wait(Deferred[Any]):
    """Waits for another Deferred, and remembers being cancelled: Twisted tells that in words of its own at times."""

    cancelled = False

    def __init__(self, waiting: Deferred[Any]) -> None:
        super().__init__()
        self.callback(None)
        self.addCallback(lambda _: waiting)

    def cancel(self) -> None:
        self.cancelled = True
        super().cancel()


class Watch:
    """
    Ends a wait in which nothing moves.

    @param seconds: For how long nothing may.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._last = clock.seconds()
        self._waiting: Deferred[Any] | None = None
        self._body: ISending | None = None
        self._acknowledged = 0
        self.stalled = False

    def touch(self, more: float = 0.0) -> None:
        """
        Something has moved.

        @param more: For how much longer than else it is right that nothing does now.
        """
        self._last = self._clock.seconds() + more

    async def over(self, waiting: Deferred[Any], body: ISending | None = None) -> Any:
        """
        Wait for a Deferred, and cancel it when nothing moves.

        @param body: What is sent meanwhile.
        @raise Stalled: Nothing moved.
        @raise CancelledError: The caller was.
        """
        self.touch()
        self._waiting, self._body, self._acknowledged, self.stalled = waiting, body, 0, False
        self._alarm = self._clock.callLater(self._seconds, self._look)
        wait = _Wait(waiting)
        try:
            return await wait
        except BaseException as error:
            if self.stalled:
                raise Stalled(f"For {self._seconds:g} s no byte moved.", uncertain=True) from error
            if wait.cancelled:
                raise CancelledError from error  # and not a lost connection, after which to try again
            raise
        finally:
            self._waiting = self._body = None
            if self._alarm.active():
                self._alarm.cancel()

    def _look(self) -> None:
        if self._body is not None and (now := self._body.acknowledged) != self._acknowledged:
            self._acknowledged = now
            self.touch(self._body.allowance)
        left = self._last + self._seconds - self._clock.seconds()
        if left > 0:
            self._alarm = self._clock.callLater(left, self._look)
        elif self._waiting is not None:
            self.stalled = True
            self._waiting.cancel()


class Reader(protocol.Protocol):
    """The body of an answer as it comes; the connection is held back while nobody reads."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended: BaseException | None = None
        self._waiting: Deferred[None] | None = None
        self._wanted = 0
        self._paused = False

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._waiting is not None:
            self.touch()
            if self._size >= self._wanted:
                self._wake()
        elif self._size >= HIGH_WATER and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def touch(self) -> None:
        """Something has come; whoever waits takes the place of this."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._ended = reason.value
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def read(self, want: int, watch: Watch, *, all_at_once: bool = False) -> list[bytes]:
        """
        Take what has come.

        @param want: Wait for so much, unless the body ends before.
        @param all_at_once: Whether all of that has to come in the time in which something has to move.
        @return: Nothing at the end.
        @raise ConnectionFailed: The connection was lost; what came before that was given out.
        """
        if self._size < want and self._ended is None:
            if self._paused and self.transport is not None:
                self._paused = False
                self.transport.resumeProducing()  # type: ignore[attr-defined]
            self._wanted, self._waiting = want, Deferred()
            self.touch = _not_enough if all_at_once else watch.touch  # type: ignore[method-assign]
            try:
                await watch.over(self._waiting)
            except Stalled:
                if all_at_once or not self._pieces:
                    raise
            finally:
                self._waiting = None
        if not self._pieces and self._ended is not None and not isinstance(self._ended, ResponseDone):
            raise named(self._ended)
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[attr-defined]
        return pieces

    def abandon(self) -> None:
        """Want no more; what is not over yet is cut."""
        if self._ended is None and self.transport is not None:
            self.transport.loseConnection()


def _not_enough() -> None:
    """That something has come is nothing, where all of it should."""
