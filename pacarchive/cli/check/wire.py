"""Requests as a check needs them: what goes out is what is said, and all of the answer is there to be looked at.

They go over the client's connections.  Nothing is repeated and no redirect is followed: what hides such things,
L{ArchiveClient}, is used by the checks that are about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
from treq.client import HTTPClient
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Factory
from twisted.web.http_headers import Headers

from pacarchive import __version__
from pacarchive.cli.check.raw import Conversation, Malformed, Talk
from pacarchive.cli.printing import decapitalised
from pacarchive.client import wire
from pacarchive.client.addresses import Place
from pacarchive.client.bodies import Body
from pacarchive.client.connection import Connections
from pacarchive.client.errors import ClientError, ConnectionFailed
from pacarchive.client.naming import named
from pacarchive.client.reading import Watch

if TYPE_CHECKING:
    from pacarchive.cli.check.contents import Content
    from pacarchive.cli.server import Server

CONNECT_TIMEOUT = 20.0
PATIENCE = 60.0
"""For how many seconds nothing may move."""

_AGENT = {"User-Agent": f"pacarchive-check/{__version__}"}


class Trouble(Exception):
    """No whole answer came.  C{str()} says why."""


class Unreachable(Trouble):
    """No connection could be made.  C{str()} has the archive's URL."""


@attrs.frozen
class Answer:
    """
    What came back.

    @ivar body: All of it; nothing where it was given to a sink.
    @ivar sent: The SHA-256 of the test file that was sent, where all of it went out.
    """

    status: int
    headers: Headers
    body: bytes = b""
    sent: bytes | None = None

    def field(self, name: str) -> str | None:
        """A header field, as one line."""
        found = self.headers.getRawHeaders(name)
        return ", ".join(found) if found else None

    @property
    def document(self) -> Any:
        """The body as JSON; C{None} for what is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        document = self.document
        words = document.get("message") if isinstance(document, dict) else None
        return f"{self.status}: {words}" if words else str(self.status)


def nothing(_: int) -> None:
    """What is done with progress that nobody asks for."""


class Wire:
    """
    Makes requests.

    @param connections: How many there may be at the same time.
    @ivar server: Where they go.
    @ivar kept: Whether connections are used again; not where the server closes them without saying so.
    """

    def __init__(self, reactor: Any, server: Server, connections: int, patience: float = PATIENCE) -> None:
        self.server = server
        self.place = Place.of(server.url)
        self.connections = connections
        self.kept = False
        self._reactor = reactor
        self._patience = patience
        self._made: list[Connections] = []
        self._connect(connections)

    def keep(self) -> None:
        """Use connections again from now on."""
        self.kept = True
        self._connect(self.connections)

    def _connect(self, connections: int) -> None:
        ca = self.server.ca
        made = Connections(self._reactor, self.place, connections, ca=ca, timeout=CONNECT_TIMEOUT, kept=self.kept)
        self._made.append(made)
        self._wire = wire.Wire(
            HTTPClient(made.agent),
            self._reactor,
            self.place,
            token=self.server.token,
            connections=connections,
            progress_timeout=self._patience,
            streams=True,
        )

    async def close(self) -> None:
        """Close what is open."""
        for each in self._made:
            await each.close()

    async def ask(
        self,
        method: str,
        path: str | int,
        fields: Mapping[str, str] | None = None,
        body: bytes | Content | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
        moved: Callable[[int], object] = nothing,
        patience: float = PATIENCE,
    ) -> Answer:
        """
        Make one request.

        @param path: A path, or just an id.
        @param sink: Takes the bytes of a 2xx answer as they come.
        @param moved: Called with the number of bytes of the body that have been moved.
        @param patience: For how many seconds the archive may say nothing.
        @raise Trouble: No whole answer came.
        """
        target = f"/{path}" if isinstance(path, int) else path
        digest = hashlib.sha256()
        data: Any = body
        if body is not None and not isinstance(body, bytes):
            data = Body(_blocks(body, digest), body.size, hasher=None, trailing=False, sending=moved)
        with self._understood():
            async with self._wire.exchange(
                method, target, {**_AGENT, **(fields or {})}, data, patience=max(0.0, patience - PATIENCE)
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
    async def talk(self) -> AsyncIterator[Conversation]:
        """A connection on which every byte can be said; cut at the end."""
        protocol, watch = Talk(), Watch(self._reactor, self._patience)
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        with self._understood():
            try:
                await watch.over(self._made[-1].endpoint().connect(factory))
                yield Conversation(self._reactor, protocol, watch.over, self._head)
            except Malformed as error:
                raise Trouble(f"what came is not an HTTP answer: {error}") from error
            finally:
                protocol.cut()

    def _head(self, method: str, path: str, fields: list[tuple[str, str]], *, host: bool) -> bytes:
        lines = [f"{method} {self.place.base}{path} HTTP/1.1"]
        if host:
            lines.append(f"Host: {self.place.authority}")
        own = {**self._wire.fields, **_AGENT}
        lines += [f"{name}: {value}" for name, value in [*own.items(), *fields]]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Have the failures of a connection told as L{Trouble}."""
        try:
            yield
        except ClientError as error:
            found: BaseException = error
        except (ConnectError, DNSLookupError) as error:
            found = named(error, self.place.whole_url)
        else:
            return
        reached = not isinstance(found, ConnectionFailed) or found.uncertain
        kind = Trouble if reached else Unreachable
        raise kind(decapitalised(str(found).rstrip("."))) from found


async def _blocks(content: Content, digest: Any) -> AsyncIterator[bytes]:
    """A test file that goes out, and is hashed on its way."""
    for block in content.blocks():
        digest.update(block)
        yield block
