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
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.web.client import URI

READ_SIZE = 64 << 10
"""How much a connection reads at once."""

LARGE_READ_SIZE = 1 << 20
"""The same while a large answer comes."""

IDLE = 20.0
"""For how many seconds a connection is kept that nobody uses: for less than servers do, so that it is this side that
closes it.  A request that meets the server's closing may be lost."""

_LAST_CHUNK = b"0\r\n\r\n"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
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

    _body: IWatchedBody | None = None
    _trailed = False

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
        return hasattr(self, "getPeerCertificate")

    # The body of a request

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if hasattr(producer, "trailers"):
            self._body = producer
            self._trailed = False
            self._body.connection = self
        super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        body, self._body = self._body, None
        super().unregisterProducer()
        if body is not None and body.trailers and not self._trailed:
            # The body was not ended the way that was foreseen.  The archive must not take it for whole without them.
            self.transport.abortConnection()

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
        if self._body is not None:
            self._body.answered()
        elif len(data) >= READ_SIZE and not self.secure:
            self.transport.bufferSize = LARGE_READ_SIZE
        super().dataReceived(data)
        if self.wrappedProtocol is not None and self.wrappedProtocol.state == "QUIESCENT":
            # It is the mark above which the transport holds senders back, too.
            self.transport.__dict__.pop("bufferSize", None)

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


class _Connections(WrappingFactory[Connection]):
    protocol = Connection
    noisy = False


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """An endpoint whose connections are L{Connection}s, which stand behind the protocol that the caller asked for."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        connected: Deferred[Any] = self._endpoint.connect(_Connections(factory))
        return connected.addCallback(lambda connection: connection.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Makes the endpoint for a URL."""

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS | None, timeout: float) -> None:
        self._reactor = reactor
        self._policy = policy
        self._timeout = timeout

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, uri.host, uri.port, self._timeout)
        if uri.scheme == b"https":
            assert self._policy is not None
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint)


@implementer(IAgent)
class _IdentityAgent:
    """
    Asks for answers as they are.

    treq offers to decompress them.  Parts of a file, and its digest, are those of the file itself.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> Any:
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer)


def make_pool(reactor: Any, connections: int) -> HTTPConnectionPool:
    """A pool of connections that never repeats a request by itself: what may be repeated is decided elsewhere."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = connections
    pool.cachedConnectionTimeout = cast("int", IDLE)
    pool.retryAutomatically = False
    return pool


def make_agent(
    reactor: Any, pool: HTTPConnectionPool, *, secure: bool, ca: str | os.PathLike[str] | None, timeout: float
) -> IAgent:
    """
    What makes requests.

    @param secure: Whether TLS is needed at all.
    @param ca: The file with the certificates to trust; C{None} for the system's.
    @param timeout: For how many seconds to wait for a connection.
    @raise ValueError: There is no certificate in the file.
    @raise OSError: The file cannot be read.
    """
    policy = None
    if secure:
        policy = BrowserLikePolicyForHTTPS() if ca is None else BrowserLikePolicyForHTTPS(_trusted(ca))
    return _IdentityAgent(Agent.usingEndpointFactory(reactor, _Endpoints(reactor, policy, timeout), pool))


def _trusted(ca: str | os.PathLike[str]) -> Any:
    found = _CERTIFICATE.findall(Path(ca).read_bytes())
    if not found:
        raise ValueError(f"{os.fspath(ca)}: there is no certificate (PEM) in it")
    return trustRootFromCertificates([Certificate.loadPEM(each) for each in found])
