"""A bare connection, for requests that no library would send: malformed ones, and bodies that end early."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

IF_ABSENT = ("If-None-Match", "*")
"""The field that makes a PUT fail instead of replacing a file."""


class Malformed(Exception):
    """What the server has sent is not HTTP."""


@implementer(IHalfCloseableProtocol)
class RawProtocol(Protocol):
    """
    Collects what is received on a connection.

    @ivar received: What was received and has not been parsed yet.
    @ivar ended: Whether nothing more will be received.
    """

    def __init__(self) -> None:
        self.received = b""
        self.ended = False
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def readConnectionLost(self) -> None:
        self.ended = True
        self._wake()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def more(self) -> Deferred[None]:
        """Wait until more is received, or the connection ends."""
        self._waiting = Deferred(lambda _: setattr(self, "_waiting", None))
        return self._waiting

    def cut(self) -> None:
        """Close the connection at once, with a reset where there is something left to be sent."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


@attrs.frozen
class RawAnswer:
    """
    An answer, as it was received.

    @ivar closes: Whether it says that it is the last on this connection.
    """

    status: int
    headers: Headers
    body: bytes
    closes: bool


class RawConnection:
    """
    Requests and answers on one connection.

    @param clock: The source of time.
    @param protocol: What the connection receives.
    @param wait: Waits for a Deferred, with a timeout.
    @param head: Builds the head of a request.
    """

    def __init__(
        self,
        clock: Any,
        protocol: RawProtocol,
        wait: Callable[[Deferred[None]], Awaitable[Any]],
        head: Callable[..., bytes],
    ) -> None:
        self._clock = clock
        self._protocol = protocol
        self._wait = wait
        self._head = head

    def send(self, method: str, path: str, *fields: tuple[str, str], body: bytes = b"", host: bool = True) -> None:
        """Send a request, whose fields and body need not match."""
        self._write(self._head(method, path, list(fields), host=host) + body)

    def _write(self, data: bytes) -> None:
        transport: Any = self._protocol.transport
        transport.write(data)

    def end(self) -> None:
        """Close the sending side only; with TLS, the whole connection."""
        transport: Any = self._protocol.transport
        if hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def hang_up(self) -> None:
        """Close the connection when all data has been sent."""
        transport: Any = self._protocol.transport
        transport.loseConnection()

    async def closed(self, limit: float | None = None) -> bool:
        """
        Wait for the end of the connection; further answers are ignored.

        @param limit: The timeout in seconds; C{None} for none.
        @return: Whether it has ended in time.
        """
        while not self._protocol.ended:
            more = self._protocol.more()
            if limit is not None:
                more.addTimeout(limit, self._clock)
            try:
                await self._wait(more)
            except TimeoutError:
                return False
        return True

    async def answer(self, method: str = "GET") -> RawAnswer | None:
        """
        Wait for the next answer; interim responses are skipped.

        @return: C{None} where the connection ends before an answer begins.
        @raise Malformed: It is not HTTP, or is cut.
        """
        while True:
            head = await self._until(b"\r\n\r\n")
            if head is None:
                return None
            status, headers, old = _parse_head(head)
            if status >= 200:
                break
        connection = (headers.getRawHeaders("Connection") or [""])[0].lower()
        closes = "keep-alive" not in connection if old else "close" in connection
        lengths = headers.getRawHeaders("Content-Length")
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif "chunked" in (headers.getRawHeaders("Transfer-Encoding") or [""])[0].lower():
            body = await self._chunks()
        elif lengths is not None:
            body = await self._exactly(int(lengths[0]))
        else:
            await self.closed()
            body, self._protocol.received, closes = self._protocol.received, b"", True
        return RawAnswer(status, headers, body, closes)

    async def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._protocol.received:
            if self._protocol.ended:
                if self._protocol.received:
                    raise Malformed("it breaks off")
                return None
            await self._wait(self._protocol.more())
        found, _, self._protocol.received = self._protocol.received.partition(mark)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._protocol.received) < size:
            if self._protocol.ended:
                raise Malformed("its body breaks off")
            await self._wait(self._protocol.more())
        found, self._protocol.received = self._protocol.received[:size], self._protocol.received[size:]
        return found

    async def _chunks(self) -> bytes:
        pieces: list[bytes] = []
        while True:
            line = await self._until(b"\r\n")
            if line is None:
                raise Malformed("its body breaks off")
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise Malformed(f"a chunk of the size {line[:20]!r}") from None
            if size == 0:
                while await self._until(b"\r\n"):
                    pass
                return b"".join(pieces)
            pieces.append((await self._exactly(size + 2))[:-2])


def _parse_head(head: bytes) -> tuple[int, Headers, bool]:
    first, *lines = head.split(b"\r\n")
    words = first.split(b" ", 2)
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise Malformed(f"it begins with {first[:60]!r}")
    headers = Headers()
    for line in lines:
        name, _, value = line.partition(b":")
        headers.addRawHeader(name.strip(), value.strip())
    return int(words[1]), headers, words[0] == b"HTTP/1.0"
