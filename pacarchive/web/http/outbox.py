"""Small answers, given to their sockets together.

To write to a socket wakes who reads from it.  Where that one has slept, this is a large part of what a small answer
costs, and it sleeps again before the next one is made: so the answers to all that the reactor found at a time go out
one right after the other, before it looks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.tcp import Connection, Server
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime, ITransport

_log = Logger()


class Outbox:
    """
    What has been written to transports and is to go on from there.

    @param clock: The reactor, whose next turn it is that they go in.
    @param before: Called before they do.
    """

    def __init__(self, clock: IReactorTime, before: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._before = before
        self._waiting: dict[Connection, None] = {}

    @property
    def waits(self) -> bool:
        """Whether something is on its way."""
        return bool(self._waiting)

    def post(self, transport: ITransport, data: bytes) -> None:
        """Write to a transport, and L{hasten} it."""
        transport.write(data)
        self.hasten(transport)

    def hasten(self, transport: ITransport) -> None:
        """
        Have a transport give what was written to its socket before the reactor looks at sockets again.

        Else the reactor would find out first that there is room, which costs a turn of its loop.
        """
        if isinstance(transport, Connection):
            if not self._waiting:
                self._clock.callLater(0, self._send)
            self._waiting[transport] = None

    def _send(self) -> None:
        try:
            self._before()
        except Exception:  # noqa: BLE001  (whatever it is, nobody's answer is to stay here for it)
            _log.failure("what is answered cannot be noted")
        waiting, self._waiting = self._waiting, {}
        for transport in waiting:
            try:
                if isinstance(transport, PostedServer):
                    transport.send_unsent()
                elif transport.connected and not transport.disconnecting:
                    transport.doWrite()
            except Exception:  # noqa: BLE001  (of one of them, whose producer fails: the others are to go out)
                _log.failure("what is written to a connection fails")
                transport.abortConnection()


class PostedServer(Server):
    """
    A connection that writes by way of an outbox, and has the reactor look for room only where there was none.

    To have it look, and to have it stop, are two system calls for each answer, and nearly always there is room.

    @ivar outbox: The outbox.
    """

    outbox: Outbox
    _is_unsent = False
    _is_watched = False

    def startWriting(self) -> None:
        self._is_unsent = True
        if not self._is_watched:
            self.outbox.hasten(self)

    def stopWriting(self) -> None:
        self._is_unsent = False
        if self._is_watched:
            self._is_watched = False
            super().stopWriting()

    def send_unsent(self) -> None:
        """Give the socket what it takes; the reactor sees to the rest, and to what is to happen behind it."""
        if not self._is_unsent or self._is_watched or not self.connected:
            return
        rests = self.disconnecting or self.doWrite() is not None or self._is_unsent
        if rests and self.connected:
            self._is_unsent = self._is_watched = True
            super().startWriting()
