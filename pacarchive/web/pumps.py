"""Sending a file from a thread: the reactor waits for room in the socket, and a thread fills it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.interfaces import IReactorFDSet, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive.digests import Hasher
from pacarchive.runtime.threads import BlockingPool
from pacarchive.web.http.admission import Pace, Place
from pacarchive.web.http.flow import BLOCK, ProgressWatch

if TYPE_CHECKING:
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.http.sealing import SealedOutput

_BURST = 64 << 20
_PIECE = 256 << 10  # for one call: with megabytes, or a cork, it takes half as much again of the processor (measured)
_PATIENCE = 5  # milliseconds

T = TypeVar("T")

_threads = threading.local()


class Left(OSError):
    """The client has broken the connection off."""


@implementer(IWriteDescriptor)
class Pump:
    """
    Sends a file from the page cache to a socket.

    It waits in the reactor for room in the socket, and sends in a thread, because a page that is not in memory blocks.
    A slow client holds no thread.  The socket's descriptor is its own (C{dup}), the file's is the caller's.
    """

    def __init__(self, reactor: Any, pool: BlockingPool, pace: Pace, request: ArchiveRequest, place: Place) -> None:
        self._reactor: IReactorFDSet = reactor
        self._pool = pool
        self._request = request
        self._options = socket.socket(fileno=os.dup(request.connection.transport.fileno()))
        self._socket = self._options.fileno()
        self._watch = ProgressWatch(reactor, pace, self._socket, place)
        self._room = select.poll()
        self._room.register(self._socket, select.POLLOUT)

    async def run(self, source: int, offset: int, length: int) -> None:
        """
        Send.

        @param source: The file's descriptor.
        @raise OSError: The connection or the disk failed, or the file became shorter.
        @raise TimeoutError: The client took nothing for too long.
        """
        end = offset + length
        while offset < end:
            before, offset = offset, await self._send(partial(self._burst, source, offset, end))
            self._request.has_sent(offset - before)
            if offset < end:
                await self._room_in_socket()

    async def send(self, block: bytes, hasher: Hasher | None = None) -> None:
        """
        Send what somebody else has read.

        @param hasher: Gets it before, in the same thread.
        @raise OSError: The connection failed.
        @raise TimeoutError: The client took nothing for too long.
        """
        view, sent = memoryview(block), 0
        while sent < len(view):
            before, sent = sent, await self._send(partial(self._burst_of, view, sent, hasher))
            hasher = None
            self._request.has_sent(sent - before)
            if sent < len(view):
                await self._room_in_socket()

    async def _send(self, burst: Callable[[], int | None]) -> int:
        """Have a thread send."""
        if (reached := await self._in_thread(burst)) is None:
            raise Left("The connection was lost.")
        return reached

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await self._pool.run(call)

    async def _room_in_socket(self) -> None:
        self._reactor.addWriter(self)
        try:
            await self._watch.wait()
        finally:
            self._reactor.removeWriter(self)

    def _burst(self, source: int, offset: int, end: int) -> int | None:
        """
        Send until much is sent or the client is slow: a fast one empties the socket sooner than a thread hop takes.

        @return: How far that went; C{None} where the client is gone, which is no failure.
        @raise OSError: The disk failed, or the file became shorter.
        """
        stop = min(end, offset + _BURST)
        while offset < stop:
            try:
                sent = os.sendfile(self._socket, source, offset, min(_PIECE, stop - offset))
            except BlockingIOError:
                if not self._room.poll(_PATIENCE):
                    break
                continue
            except OSError:
                if self._is_hung_up():
                    return None
                raise
            if not sent:
                raise OSError("The file became shorter while it was sent.")
            offset += sent
        return offset

    def _burst_of(self, view: memoryview, sent: int, hasher: Hasher | None) -> int | None:
        """As L{_burst}, of what is in memory."""
        if hasher is not None:
            hasher.update(view)
        left = self._write(view[sent:])
        return None if left is None else len(view) - len(left)

    def _write(self, data: memoryview) -> memoryview | None:
        """@return: What is left, where the client is slow; C{None} where it is gone."""
        while data:
            try:
                sent = os.write(self._socket, data)
            except BlockingIOError:
                if not self._room.poll(_PATIENCE):
                    break
                continue
            except OSError:
                if self._is_hung_up():
                    return None
                raise
            data = data[sent:]
        return data

    def _is_hung_up(self) -> bool:
        """Whether it was the socket that failed, and not the disk: the peer has sent a reset, or is not there."""
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in self._room.poll(0))

    def doWrite(self) -> None:
        self._reactor.removeWriter(self)
        self._watch.go_on()

    def connectionLost(self, reason: Failure) -> None:
        """The socket itself belongs to the transport, which hears of its end by itself."""
        self._watch.give_up(Left("The connection was lost."))

    def fileno(self) -> int:
        return self._socket

    def logPrefix(self) -> str:
        return "sendfile"

    def close(self) -> None:
        """Release the descriptor; nothing is under way."""
        self._options.close()


class SealedPump(Pump):
    """
    The same through TLS: a thread reads, hashes, encrypts and sends one block after the other.

    What is encrypted and not sent yet is kept here, and nobody else writes to the connection; what the peer says is
    looked at while the thread waits for room.

    @param sealed: The connection, which has been lent (L{SealedOutput.lend}); it is given back by L{close}.
    @param hasher: Gets all that L{run} sends, before it is sent; C{None} where nobody does.
    """

    def __init__(
        self,
        reactor: Any,
        pool: BlockingPool,
        pace: Pace,
        request: ArchiveRequest,
        place: Place,
        sealed: SealedOutput,
        hasher: Hasher | None,
    ) -> None:
        super().__init__(reactor, pool, pace, request, place)
        self._sealed = sealed
        self._hasher = hasher
        self._rest = memoryview(b"")

    async def run(
        self, source: int, offset: int, length: int, settle: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """
        Send a file, as the other does.

        @param settle: Called when the hasher has the last block, before that is sent; fails where it must not be.
        """
        end = offset + length
        last = end if settle is None else max(offset, end - BLOCK)
        with self._corked():
            while offset < last or self._rest:
                before, offset = offset, await self._send(partial(self._burst, source, offset, last))
                self._request.has_sent(offset - before)
                if self._rest:
                    await self._room_in_socket()
            if settle is not None:
                block = await self._in_thread(partial(self._read_all, source, last, end))
                await settle()
                await self.send(block)

    @contextmanager
    def _corked(self) -> Iterator[None]:
        # Full segments only, although blocks are written one by one; the last one leaves when the cork is drawn.
        self._cork(True)
        try:
            yield
        finally:
            self._cork(False)

    def _cork(self, state: bool) -> None:
        with suppress(OSError):  # the connection is gone, or it is no TCP
            self._options.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not state)
            self._options.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, state)

    async def send(self, block: bytes, hasher: Hasher | None = None) -> None:
        view, sent = memoryview(block), 0
        while sent < len(view) or self._rest:
            sent = await self._send(partial(self._burst_of, view, sent, hasher))
            hasher = None
            if self._rest:
                await self._room_in_socket()
        self._request.has_sent(len(block))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if not self._sealed.leave():
            raise Left("The connection was lost.")
        try:
            return await super()._in_thread(call)
        finally:
            self._sealed.come_back()

    def _burst(self, source: int, offset: int, end: int) -> int | None:
        stop = min(end, offset + _BURST)
        while (is_out := self._send_rest()) and offset < stop:
            block = self._read(source, offset, stop)
            offset += len(block)
            self._rest = memoryview(self._sealed.seal(block))
        return None if is_out is None else offset

    def _burst_of(self, view: memoryview, sent: int, hasher: Hasher | None) -> int | None:
        if hasher is not None:
            hasher.update(view)
        while (is_out := self._send_rest()) and sent < len(view):
            block = view[sent : sent + BLOCK]
            sent += len(block)
            self._rest = memoryview(self._sealed.seal(block))
        return None if is_out is None else sent

    def _send_rest(self) -> bool | None:
        """@return: Whether nothing is left; C{None} where the client is gone."""
        if (left := self._write(self._rest)) is None:
            return None
        self._rest = left
        return not left

    def _read(self, source: int, offset: int, stop: int) -> memoryview:
        """What is in the file there, up to a block of it; valid until this thread reads again."""
        if (scratch := getattr(_threads, "scratch", None)) is None:
            scratch = _threads.scratch = memoryview(bytearray(BLOCK))
        count = os.preadv(source, [scratch[: stop - offset]], offset)
        if not count:
            raise OSError("The file became shorter while it was sent.")
        block: memoryview = scratch[:count]
        if self._hasher is not None:
            self._hasher.update(block)
        return block

    def _read_all(self, source: int, offset: int, end: int) -> bytes:
        pieces: list[bytes] = []
        while offset < end:
            pieces.append(bytes(self._read(source, offset, end)))
            offset += len(pieces[-1])
        return b"".join(pieces)

    def logPrefix(self) -> str:
        return "TLS"

    def close(self) -> None:
        super().close()
        self._sealed.take_back()
