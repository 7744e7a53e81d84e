"""A file that a thread sends, for connections without TLS: by C{sendfile(2)}, if it was hashed already.

What is written to a transport is copied into this process, and once more on its way out; of a file whose digest is
known nothing of that is of use.  One that is still to be hashed has to come into memory for that: it is sent from there
right away, while it is in the processor's cache, and nothing else is done with it.

In the place of a file's bytes a L{FilePiece} is written, which stands for them and has their length: Twisted's HTTP
client passes it on to the L{Connection<pacarchive.client.connection.Connection>}, and that has it sent.

The reactor waits until the socket has room, and a thread sends a burst: a file that is not in memory holds up the
thread, and a slow network nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IWriteDescriptor
from zope.interface import implementer

from pacarchive.client.errors import SourceChanged

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pacarchive.client._threads import Threads
    from pacarchive.digests import Hasher

BURST = 8 << 20
"""How much is sent at once, at the most."""

BLOCK = 256 << 10
"""How much is read and hashed at once: what fits into a processor's cache."""


@implementer(IWriteDescriptor)
class FilePiece:
    """
    A part of a file, in the place of its bytes.

    @param reactor: Tells when there is room.
    @param file: The descriptor of the file; open until L{over} has ended.
    @param sending: Called with the number of bytes after each burst.
    @param hasher: Hashes what is sent; C{None} where its digest is not needed.
    """

    def __init__(
        self,
        reactor: Any,
        threads: Threads,
        file: int,
        offset: int,
        size: int,
        sending: Callable[[int], object],
        hasher: Hasher | None = None,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._file = file
        self._offset = offset
        self._end = offset + size
        self._sending = sending
        self._hasher = hasher
        self._buffer = memoryview(bytearray(BLOCK if hasher is not None else 0))
        self._ready = self._buffer[:0]
        self._socket = -1
        self._size = size
        self._burst: Deferred[None] | None = None
        self._done: Deferred[None] = Deferred()
        self._held = False

    def __len__(self) -> int:
        return self._size

    def begin(self, socket: int) -> None:
        """
        Send it.

        @param socket: Of a connection that has nothing else to send, or to be sent, before this is over.
        """
        self._socket = os.dup(socket)
        self._reactor.addWriter(self)

    def hold(self) -> None:
        """Send no more: the answer is there."""
        self._held = True
        if self._socket >= 0:
            self._reactor.removeWriter(self)

    async def over(self) -> None:
        """
        Wait until all of it was given to the kernel, or this is cancelled; nothing uses the descriptors any more then.

        @raise SourceChanged: The file is too short.
        @raise OSError: It cannot be read.
        """
        try:
            await self._done
        finally:
            self._held = True
            if self._socket >= 0:
                self._reactor.removeWriter(self)
            while (burst := self._burst) is not None:
                waiting: Deferred[None] = Deferred()
                burst.addBoth(_ring, waiting)
                try:
                    await waiting
                except CancelledError:
                    continue
            if self._socket >= 0:
                os.close(self._socket)
                self._socket = -1

    # IWriteDescriptor

    def fileno(self) -> int:
        return self._socket

    def doWrite(self) -> None:
        self._reactor.removeWriter(self)
        if self._burst is None and not self._held:
            self._burst = Deferred.fromCoroutine(self._send())

    def connectionLost(self, reason: Failure) -> None:
        """The connection itself hears of that, too."""

    def logPrefix(self) -> str:
        return "pacarchive.client"

    async def _send(self) -> None:
        try:
            sent = await self._threads.run(self._send_burst, min(self._end, self._offset + BURST))
        except ConnectionError:
            return  # the connection says it
        except (OSError, SourceChanged) as error:
            if not self._done.called:
                self._done.errback(error)
            return
        finally:
            self._burst = None
        self._offset += sent
        if sent:
            self._sending(sent)
        if self._offset >= self._end:
            if not self._done.called:
                self._done.callback(None)
        elif not self._held:
            self._reactor.addWriter(self)

    def _send_burst(self, end: int) -> int:
        """
        Send as much as there is room for; in a thread.

        @return: How much that was.
        @raise SourceChanged: There is no more in the file.
        """
        position = self._offset
        while position < end and not self._held:
            try:
                sent = self._send_some(position, end)
            except BlockingIOError:
                break
            if not sent:
                raise SourceChanged("The file was cut short while it was sent.")
            position += sent
        return position - self._offset

    def _send_some(self, position: int, end: int) -> int:
        """@return: How many bytes were sent; 0 at the end of the file."""
        if self._hasher is None:
            return os.sendfile(self._socket, self._file, position, end - position)
        if not self._ready:
            size = os.preadv(self._file, [self._buffer[: min(BLOCK, self._end - position)]], position)
            self._ready = self._buffer[:size]
            self._hasher.update(self._ready)
            if not size:
                return 0
        sent = os.write(self._socket, self._ready)
        self._ready = self._ready[sent:]
        return sent


def _ring(result: Any, waiting: Deferred[None]) -> Any:
    if not waiting.called:
        waiting.callback(None)
    return result
