"""The body of a large upload, read from its socket by the thread that stores it.

Through the reactor, each block is received in pieces, gathered, and given to a thread, and each step takes its time
from whoever else waits for the reactor.  Where the sender is faster than the storage, one thread of the storage's does
all of it instead: it reads into a buffer of its own, burst by burst.  The end of a body always comes through the
reactor, which sees where the next request begins; so does all that comes slowly, as it must not hold a thread.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from twisted.internet import tcp

from pacarchive.web.http.body import BLOCK

if TYPE_CHECKING:
    from pacarchive.web.http.request import ArchiveRequest

LAST = 64 << 10
"""How much comes through the reactor at the end."""

BURST = 8 << 20
"""How much is read in one burst: that a connection is cut is heard of between two."""

READS = 64
"""In how many reads.  With L{PATIENCE}, that is for how long a burst holds a thread at the most."""

FAST = 2 << 20
"""How much a burst brings where another is worth it."""

PATIENCE = 5
"""For how long a thread waits for more, in milliseconds."""


def comes_fast(request: ArchiveRequest) -> bool:
    """Whether a body comes faster than it is stored, and in a way in which a thread can read it."""
    body = request.body
    return (
        body.waiting >= BLOCK
        and body.length is not None
        and body.length - body.received > BLOCK
        and not request.is_over
        and not request.isSecure()
        and not request.channel.has_input()  # what has come, and waits for its turn, is before what is in the socket
        and isinstance(request.transport, tcp.Connection)
    )


class Inflow:
    """
    Reads a body, which is held back meanwhile (L{RequestBody.hold}).

    The descriptor is its own (C{dup}): the transport may be closed while a thread reads.

    @param request: One whose body L{comes_fast}.
    """

    def __init__(self, request: ArchiveRequest) -> None:
        self._request = request
        self._socket = request.transport.getHandle().dup()
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._left = 0
        self._moved = 0
        self._reads = 0
        self._has_paused = False
        self._is_lost = False

    def begin(self) -> None:
        """Begin a burst."""
        body = self._request.body
        self._left = 0 if body.length is None else body.length - body.received - LAST
        self._moved = self._reads = 0

    def read(self, buffer: memoryview) -> int:
        """
        Fill a buffer; called in a thread.

        @return: How many bytes that were; none where the burst is over.
        """
        if self._reads == READS or (most := min(self._left, BURST - self._moved)) <= 0:
            return 0
        self._reads += 1
        try:
            while True:
                try:
                    count: int = self._socket.recv_into(buffer[:most])
                    break
                except BlockingIOError:
                    if not self._readable.poll(PATIENCE):
                        self._has_paused = True
                        return 0
        except OSError:
            self._is_lost = True
            return 0
        self._left -= count
        self._moved += count
        return count

    def end(self) -> bool:
        """
        Note what a burst has brought.

        @return: Whether another is worth it.
        """
        request = self._request
        request.site.counts.received(self._moved)
        request.body.received += self._moved
        if request.is_over:
            return False
        request.channel.skip_body(self._moved)
        if self._is_lost:
            request.transport.abortConnection()
        return self._moved >= FAST and self._left > 0 and not (self._has_paused or self._is_lost)

    def close(self) -> None:
        """Release the descriptor; nothing is under way."""
        self._socket.close()
