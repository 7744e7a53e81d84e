"""Connections: how they are made, and what this client has to see of them that Twisted's HTTP client does not show.

Twisted's agent asks an endpoint for each connection.  Here the endpoint puts a L{Connection} between the socket and
Twisted's protocol, with nothing but public interfaces of both, for these reasons:

 - Trailer fields.  C{twisted.web} ends a chunked body with an empty chunk and no trailer.  It has the connection
   registered as the consumer of the body, so the connection knows the body, and writes the trailer fields of one that
   has some into the last chunk.
 - An answer that comes before the body is over, such as a refusal, is read, and the body is given up.
 - Whether bytes move that were written long ago (C{tcp(7)}, C{TCP_INFO}), so that a slow network is not taken for a
   dead one.
 - Large answers are read in large pieces.
 - An answer in HTTP/1.0 ends its connection (RFC 9112, 9.3), which Twisted would use for the next request.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import ISSLTransport, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from pacarchive.client.pump import FilePiece
from pacarchive.client.tls import client_tls

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.web.client import URI

    from pacarchive.client.addresses import Place
    from pacarchive.client.tls import ClientCertificate

READ_SIZE = 64 << 10
"""How much a connection reads at once."""

LARGE_READ_SIZE = 1 << 20
"""The same while a large answer comes."""

IDLE = 20.0
"""For how many seconds a connection is kept that nobody uses: for less than servers do, so that it is this side that
closes it.  A request that meets the server's closing may be lost."""

_LAST_CHUNK = b"0\r\n\r\n"
_INTERIM = re.compile(rb"HTTP/1\.\d 1\d\d")
_OLD = re.compile(rb"HTTP/1\.0 [^\n]*\n")
_STATUS_LINE = len("HTTP/1.1 200")
_LONGEST_HEAD = 64 << 10
_BYTES_ACKED = struct.Struct("120xQ")  # of struct tcp_info, linux/tcp.h


class IWatchedBody(Protocol):
    """
    What a connection wants of a body.

    @ivar trailers: The trailer fields once the last byte was written, each line with its end; C{None} before.
    @ivar connection: The connection that sends it; set by that.
    """

    trailers: bytes | None
    connection: Connection | None

    def answered(self) -> None:
        """The answer comes, although not everything was sent."""


class Connection(ProtocolWrapper):
    """One connection, seen by Twisted's HTTP client as its transport."""

    transport: Any
    wrappedProtocol: Any
    _body: IWatchedBody | None = None
    _trailed = False
    _head = b""
    _begun = False

    @property
    def acknowledged(self) -> int:
        """How many bytes the other side's machine has taken so far; 0 where that cannot be told."""
        try:
            handle = self.getHandle()
            info = socket.socket.getsockopt(handle, socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
            return int(_BYTES_ACKED.unpack(info)[0])
        except (AttributeError, OSError, TypeError, struct.error):
            return 0

    @property
    def secure(self) -> bool:
        """Whether it goes through TLS."""
        return ISSLTransport.providedBy(self)

    @property
    def takes_files(self) -> bool:
        """Whether a L{FilePiece} can be written to it."""
        return isinstance(self.transport, tcp.Connection) and not self.secure

    # The body of a request

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if hasattr(producer, "trailers"):
            self._body = producer
            self._trailed = False
            self._head = b""
            self._body.connection = self
        super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        body, self._body = self._body, None
        super().unregisterProducer()
        if body is not None and body.trailers and not self._trailed:
            # The body was not ended the way that was foreseen.  The archive must not take it for whole without them.
            self.transport.abortConnection()

    def write(self, data: bytes | FilePiece) -> None:
        if isinstance(data, FilePiece):
            data.begin(self.transport.fileno())
        else:
            super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        pieces: Sequence[bytes] = list(data)
        body = self._body
        if body is not None and body.trailers and sum(map(len, pieces)) == len(_LAST_CHUNK):
            assert b"".join(pieces) == _LAST_CHUNK
            self._trailed = True
            pieces = [_LAST_CHUNK[:-2], body.trailers, _LAST_CHUNK[-2:]]
        super().writeSequence(pieces)

    # The answer

    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if (line := _OLD.match(data)) is not None:
                # Twisted takes it that a connection lasts unless it is said that it does not.
                data = line[0] + b"Connection: close\r\n" + data[line.end() :]
        if self._body is not None:
            if self._final(data):
                self._body.answered()
        elif len(data) >= READ_SIZE and not self.secure:
            self.transport.bufferSize = LARGE_READ_SIZE
        super().dataReceived(data)
        if self.wrappedProtocol is not None and self.wrappedProtocol.state == "QUIESCENT":
            # It is the mark above which the transport holds senders back, too.
            self.transport.__dict__.pop("bufferSize", None)

    def _final(self, data: bytes) -> bool:
        """Whether an answer begins, as far as can be told: one that is not just interim, such as 100 or 103."""
        if len(self._head) >= _STATUS_LINE and _INTERIM.match(self._head) is None:
            return True
        self._head += data
        while _INTERIM.match(self._head) is not None:
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return len(self._head) > _LONGEST_HEAD
            self._head = self._head[end + 4 :]
        return len(self._head) >= _STATUS_LINE

    def pauseProducing(self) -> None:
        """
        Read no more for now.  Not while a body is being sent: nobody would take the answer before the end of that, and
        the connection would stand still.
        """
        if self._body is None:
            self.transport.pauseProducing()

    def loseConnection(self) -> None:
        if self.wrappedProtocol is None or self.wrappedProtocol.state in ("QUIESCENT", "ABORTING"):
            super().loseConnection()
        else:
            # In the middle of something: nothing that is still to be sent or read is of use.
            self.transport.abortConnection()

    stopProducing = loseConnection


class _Factory(WrappingFactory[Connection]):
    """Makes connections, and has those that are open counted."""

    protocol = Connection
    noisy = False

    def __init__(self, factory: IProtocolFactory, census: Census) -> None:
        super().__init__(factory)
        self._census = census

    def registerProtocol(self, p: Connection) -> None:
        super().registerProtocol(p)
        self._census.add(p)

    def unregisterProtocol(self, p: Connection) -> None:
        super().unregisterProtocol(p)
        self._census.discard(p)


class Census:
    """The connections that are open."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._waiting: list[Deferred[None]] = []

    def add(self, connection: Connection) -> None:
        """One more."""
        self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        """One less."""
        self._open.discard(connection)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    async def close(self) -> None:
        """Cut those that are left, and wait until they are gone."""
        for connection in list(self._open):
            connection.transport.abortConnection()
        if self._open:
            self._waiting.append(gone := Deferred[None]())
            await gone


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """An endpoint whose connections are L{Connection}s, which stand behind the protocol that the caller asked for."""

    def __init__(self, endpoint: IStreamClientEndpoint, census: Census) -> None:
        self._endpoint = endpoint
        self._census = census

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        connected: Deferred[Any] = self._endpoint.connect(_Factory(factory, self._census))
        return connected.addCallback(lambda connection: connection.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Gives the one endpoint, which leads to the archive: it is asked for each request, and to make one takes time."""

    def __init__(self, make: Callable[[], IStreamClientEndpoint]) -> None:
        self._make = make
        self._endpoint: IStreamClientEndpoint | None = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if self._endpoint is None:
            self._endpoint = self._make()
        return self._endpoint


@implementer(IAgent)
class _IdentityAgent:
    """
    Asks for answers as they are.

    treq offers to decompress them.  Parts of a file, and its digest, are those of the file itself.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> Any:  # noqa: N803
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer)


class Connections:
    """
    All connections of a client.

    @param place: Where the archive is.
    @param count: How many are kept for later.
    @param ca: The file with the certificates to trust; C{None} for the system's.
    @param shown: The client's certificate; C{None} for none.
    @param timeout: For how many seconds to wait for one.
    @param kept: Whether they are used for more than one request.
    @ivar agent: Makes requests over them.
    @raise ValueError: There is no certificate in the file, or nothing leads to the archive.
    @raise OSError: The file cannot be read.
    """

    def __init__(
        self,
        reactor: Any,
        place: Place,
        count: int,
        *,
        ca: str | os.PathLike[str] | None,
        shown: ClientCertificate | None = None,
        timeout: float,
        kept: bool = True,
    ) -> None:
        self._tls = client_tls(place, ca, shown) if place.secure else None
        place.check()
        self._reactor = reactor
        self._place = place
        self._timeout = timeout
        self._census = Census()
        self._pool = HTTPConnectionPool(reactor, persistent=kept)
        self._pool.maxPersistentPerHost = count
        self._pool.cachedConnectionTimeout = cast("int", IDLE)
        self._pool.retryAutomatically = False  # what may be repeated is decided elsewhere
        self.agent = _IdentityAgent(Agent.usingEndpointFactory(reactor, _Endpoints(self._watched), self._pool))

    def endpoint(self) -> IStreamClientEndpoint:
        """What connects to the archive, without anything between it and the caller."""
        endpoint = self._place.endpoint(self._reactor, self._timeout)
        return endpoint if self._tls is None else wrapClientTLS(self._tls, endpoint)

    def _watched(self) -> IStreamClientEndpoint:
        return _Endpoint(self.endpoint(), self._census)

    async def close(self) -> None:
        """Close all of them, and wait until they are gone."""
        await self._pool.closeCachedConnections()
        await self._census.close()
