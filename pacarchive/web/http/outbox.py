"""Small answers, given to their sockets together.

To write to a socket wakes who reads from it.  Where that one has slept, this is a large part of what a small answer
costs, and it sleeps again before the next one is made: so the answers to all that the reactor found at a time go out
one right after the other, before it looks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.tcp import Connection

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, ITransport


class Outbox:
    """
    What has been written to transports and is to go on from there.

    @param clock: The reactor, whose next turn it is that they go in.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Connection, None] = {}

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
        waiting, self._waiting = self._waiting, {}
        for transport in waiting:
            if transport.connected and not transport.disconnecting:
                transport.doWrite()
