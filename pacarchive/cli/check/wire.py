"""Requests as checks need them: they are sent exactly as given, and all of the answer can be examined.

They use the client library's connections.  Nothing is retried and no redirect is followed; L{ArchiveClient}, which
does that, is used only by the checks of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from treq.client import HTTPClient
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Factory
from twisted.web.http_headers import Headers

from pacarchive import __version__
from pacarchive.cli.check.raw import Malformed, RawConnection, RawProtocol
from pacarchive.cli.printing import decapitalised
from pacarchive.client import wire
from pacarchive.client._threads import Threads
from pacarchive.client.addresses import Place
from pacarchive.client.bodies import Body
from pacarchive.client.connection import Connections
from pacarchive.client.credentials import Credentials
from pacarchive.client.errors import ClientError, ConnectionFailed
from pacarchive.client.naming import named
from pacarchive.client.reading import Watch
from pacarchive.client.tls import ClientCertificate

if TYPE_CHECKING:
    from pacarchive.cli.check.contents import Content
    from pacarchive.cli.server import Server

CONNECT_TIMEOUT = 20.0
TIMEOUT = 60.0
"""Seconds after which a transfer without progress fails."""

_AGENT = {"User-Agent": f"pacarchive-check/{__version__}"}


class NoAnswer(Exception):
    """There was no complete answer.  C{str()} says why."""


class Unreachable(NoAnswer):
    """The archive cannot be connected to.  C{str()} has its URL."""


@attrs.frozen
class Answer:
    """
    An answer.

    @ivar body: The whole body; empty where a sink has got it.
    @ivar sent: The SHA-256 of the test file that was sent; C{None} where not all of it was.
    """

    status: int
    headers: Headers
    body: bytes = b""
    sent: bytes | None = None

    def field(self, name: str) -> str | None:
        """Return the value of a header field, as one line; C{None} where there is none."""
        found = self.headers.getRawHeaders(name)
        return ", ".join(found) if found else None

    @property
    def document(self) -> Any:
        """The body, parsed as JSON; C{None} where it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        document = self.document
        message = document.get("message") if isinstance(document, dict) else None
        return f"{self.status}: {message}" if message else str(self.status)


def nothing(_: int) -> None:
    """Ignore progress."""


class Wire:
    """
    Makes requests.

    @param reactor: The reactor.
    @param server: The server, and how to authenticate.
    @param connections: The most connections at a time.
    @param timeout: Seconds after which a transfer without progress fails.
    @ivar kept: Whether connections are reused; not where the server closes them without saying so.
    """

    def __init__(self, reactor: Any, server: Server, connections: int, timeout: float = TIMEOUT) -> None:
        self.server = server
        self.place = Place.of(server.url)
        self.connections = connections
        self.kept = False
        self._reactor = reactor
        self._timeout = timeout
        self._threads = Threads(reactor)
        self._credentials = Credentials(self._threads, self.place, **server.credentials)
        self._shown = ClientCertificate.of(self.place, server.cert, server.key)
        self._made: list[Connections] = []
        self._connect(connections)

    def keep(self) -> None:
        """Reuse connections from now on."""
        self.kept = True
        self._connect(self.connections)

    def _connect(self, connections: int) -> None:
        made = Connections(
            self._reactor,
            self.place,
            connections,
            ca=self.server.ca,
            shown=self._shown,
            timeout=CONNECT_TIMEOUT,
            kept=self.kept,
        )
        self._made.append(made)
        self._wire = wire.Wire(
            HTTPClient(made.agent),
            self._reactor,
            self.place,
            credentials=self._credentials,
            connections=connections,
            progress_timeout=self._timeout,
            streams=True,
        )

    async def close(self) -> None:
        """Close all connections."""
        for each in self._made:
            await each.close()
        self._threads.stop()

    async def ask(
        self,
        method: str,
        path: str | int,
        fields: Mapping[str, str] | None = None,
        body: bytes | Content | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
        moved: Callable[[int], object] = nothing,
        silence_limit: float = TIMEOUT,
    ) -> Answer:
        """
        Make one request.

        @param path: A path, or just an id.
        @param fields: Header fields to add.
        @param body: The body, or the test file to send.
        @param sink: Called with the bytes of a 2xx answer as they are received.
        @param moved: Called with the count of bytes of the body that have been sent or received.
        @param silence_limit: Seconds that the archive may take to begin its answer.
        @raise NoAnswer: There was no complete answer.
        """
        target = f"/{path}" if isinstance(path, int) else path
        digest = hashlib.sha256()
        data: Any = body
        if body is not None and not isinstance(body, bytes):
            data = Body(_blocks(body, digest), body.size, hasher=None, trailing=False, sending=moved)
        with self._understood():
            async with self._wire.exchange(
                method, target, {**_AGENT, **(fields or {})}, data, patience=max(0.0, silence_limit - TIMEOUT)
            ) as answer:
                pieces: list[bytes] = []
                use = pieces.append if sink is None or answer.status // 100 != 2 else sink
                came = 0
                while some := await answer.read():
                    for piece in some:
                        came += len(piece)
                        use(piece)
                    moved(came)
                sent = digest.digest() if isinstance(data, Body) and data.complete else None
                return Answer(answer.status, answer.headers, b"".join(pieces), sent)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RawConnection]:
        """Provide a bare connection, which is cut at the end."""
        protocol, watch = RawProtocol(), Watch(self._reactor, self._timeout)
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        with self._understood():
            try:
                own = {**await self._wire.fields(), **_AGENT}
                await watch.over(self._made[-1].endpoint().connect(factory))
                yield RawConnection(self._reactor, protocol, watch.over, partial(self._head, own))
            except Malformed as error:
                raise NoAnswer(f"what came is not an HTTP answer: {error}") from error
            finally:
                protocol.cut()

    def _head(
        self, own: Mapping[str, str], method: str, path: str, fields: list[tuple[str, str]], *, host: bool
    ) -> bytes:
        lines = [f"{method} {self.place.base}{path} HTTP/1.1"]
        if host:
            lines.append(f"Host: {self.place.authority}")
        lines += [f"{name}: {value}" for name, value in [*own.items(), *fields]]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Raise failures of a connection as L{NoAnswer}."""
        try:
            yield
        except ClientError as error:
            found: BaseException = error
        except (ConnectError, DNSLookupError) as error:
            found = named(error, self.place.whole_url)
        else:
            return
        reached = not isinstance(found, ConnectionFailed) or found.uncertain
        kind = NoAnswer if reached else Unreachable
        raise kind(decapitalised(str(found).rstrip("."))) from found


async def _blocks(content: Content, digest: Any) -> AsyncIterator[bytes]:
    """Return the blocks of a test file, updating a digest with each."""
    for block in content.blocks():
        digest.update(block)
        yield block
