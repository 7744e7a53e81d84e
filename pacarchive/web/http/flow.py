"""Sending as fast as the client takes it, and no longer than it takes enough."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from pacarchive.web.http.admission import IDLE, Pace, Place
from pacarchive.web.http.sockets import unsent

BLOCK = 64 << 10
"""How much is encrypted at once.  What OpenSSL keeps for it, it keeps for as long as the connection lasts."""


class Aborted(Exception):
    """The answer was broken off; there is no one to tell."""


class ProgressWatch:
    """
    Waits for the client, as long as it takes enough.

    That there is no room yet does not mean that nothing moves: a socket's buffer holds megabytes, and tells of room
    only when much of it is free.  What counts is by how much the bytes in it become fewer (L{unsent}), over all the
    time that was spent waiting.

    @param place: What is counted of the transfer while bytes flow, if anything is.
    """

    def __init__(self, clock: IReactorTime, pace: Pace, socket: int, place: Place | None = None) -> None:
        self._clock = clock
        self._pace = pace
        self._socket = socket
        self._place = place
        self._waiting: Deferred[None] | None = None
        self._waited = 0.0
        self._moved = 0

    async def wait(self) -> None:
        """
        Wait for L{go_on}.

        @raise TimeoutError: The client took too little for too long.
        @raise OSError: By L{give_up}.
        """
        self._waiting = Deferred()
        self._begin()
        resting = None if self._place is None else self._clock.callLater(IDLE, self._place.rest)
        try:
            await self._waiting
            # Only now: of a connection that is lost, somebody else may have the descriptor.
            self._waited += self._clock.seconds() - self._since
            self._moved += self._left - unsent(self._socket)
        finally:
            self._waiting = None
            if self._deadline.active():
                self._deadline.cancel()
            if self._place is not None:
                self._place.go_on()
            if resting is not None and resting.active():
                resting.cancel()

    def _begin(self) -> None:
        self._left = unsent(self._socket)
        self._since = self._clock.seconds()
        self._deadline = self._clock.callLater(max(0.0, self._pace.seconds - self._waited), self._look)

    def begin_anew(self) -> None:
        """Enough has moved: count from now on."""
        self._waited, self._moved = 0.0, 0
        self._since = self._clock.seconds()

    def go_on(self) -> None:
        """There is room."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def give_up(self, error: Exception) -> None:
        """There will be none."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(error)

    def stop(self) -> None:
        """Ask for the socket no more: it is gone, and who waits is told so by others."""
        if self._waiting is not None and self._deadline.active():
            self._deadline.cancel()

    def _look(self) -> None:
        moved = self._moved + self._left - unsent(self._socket)
        if moved >= self._pace.least:
            self._waited, self._moved = 0.0, 0
            self._begin()
        else:
            self.give_up(TimeoutError(self._pace.words("The client took", moved)))


@implementer(IPushProducer)
class Flow:
    """What the transport says of its buffer, as something to await."""

    def __init__(self, watch: ProgressWatch) -> None:
        self._watch = watch
        self._paused = False
        self._lost = False

    async def room(self) -> None:
        """
        Wait until the transport takes more; fails as L{ProgressWatch.wait}.

        @raise CancelledError: It is gone.
        """
        if self._lost:
            raise CancelledError
        if self._paused:
            await self._watch.wait()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._watch.begin_anew()  # all that the transport held has gone to the socket, and it holds more than enough
        self._watch.go_on()

    def stopProducing(self) -> None:
        """The connection is lost, and the route about to be cancelled."""
        self._lost = True
        self._watch.stop()
