"""A bare connection, for what no library would send: malformed requests, bodies that end early, two at once."""

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

ANEW = ("If-None-Match", "*")
"""The field with which a PUT replaces nothing."""


class Malformed(Exception):
    """The server says what is no HTTP."""


@implementer(IHalfCloseableProtocol)
class Talk(Protocol):
    """
    Keeps what comes.

    @ivar received: What has come and was not taken yet.
    @ivar ended: Whether nothing more will come.
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
        """Wait until something comes, or the end."""
        self._waiting = Deferred(lambda _: setattr(self, "_waiting", None))
        return self._waiting

    def cut(self) -> None:
        """Close at once, with a reset where there is something left to be sent."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


@attrs.frozen
class RawAnswer:
    """
    An answer, as it came.

    @ivar closes: Whether the server says that it is the last on this connection.
    """

    status: int
    headers: Headers
    body: bytes
    closes: bool


class Conversation:
    """
    Requests and answers on one connection.

    @param wait: Waits for a Deferred, with a limit.
    @param head: Makes the head of a request.
    """

    def __init__(
        self, clock: Any, talk: Talk, wait: Callable[[Deferred[None]], Awaitable[Any]], head: Callable[..., bytes]
    ) -> None:
        self._clock = clock
        self._talk = talk
        self._wait = wait
        self._head = head

    def send(self, method: str, path: str, *fields: tuple[str, str], body: bytes = b"", host: bool = True) -> None:
        """Send a request, whose fields and body need not fit."""
        self._write(self._head(method, path, list(fields), host=host) + body)

    def _write(self, data: bytes) -> None:
        transport: Any = self._talk.transport
        transport.write(data)

    def end(self) -> None:
        """Say that nothing more will be sent, and go on listening; with TLS, that is hanging up."""
        transport: Any = self._talk.transport
        if hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def hang_up(self) -> None:
        """Close when what was said so far has gone out."""
        transport: Any = self._talk.transport
        transport.loseConnection()

    async def closed(self, limit: float | None = None) -> bool:
        """
        Wait for the end of the connection; more answers do not matter.

        @param limit: For how many seconds.
        @return: Whether it has come.
        """
        while not self._talk.ended:
            more = self._talk.more()
            if limit is not None:
                more.addTimeout(limit, self._clock)
            try:
                await self._wait(more)
            except TimeoutError:
                return False
        return True

    async def answer(self, method: str = "GET") -> RawAnswer | None:
        """
        Wait for the next answer; interim ones are passed over.

        @return: C{None} where the connection ends before one begins.
        @raise Malformed: It is none, or breaks off.
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
            body, self._talk.received, closes = self._talk.received, b"", True
        return RawAnswer(status, headers, body, closes)

    async def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._talk.received:
            if self._talk.ended:
                if self._talk.received:
                    raise Malformed("it breaks off")
                return None
            await self._wait(self._talk.more())
        found, _, self._talk.received = self._talk.received.partition(mark)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._talk.received) < size:
            if self._talk.ended:
                raise Malformed("its body breaks off")
            await self._wait(self._talk.more())
        found, self._talk.received = self._talk.received[:size], self._talk.received[size:]
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
