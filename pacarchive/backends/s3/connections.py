"""Connections to the object store, whose end can be waited for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer

from pacarchive.runtime.threads import finished

_READ = 256 << 10
"""How many bytes are read from a connection at the most before the next has its turn; Twisted has a quarter."""


class _Connection(ProtocolWrapper):
    """A connection whose end can be waited for.  What is given up here is not shut down politely: nobody reads on."""

    transport: Any
    gone: Deferred[None] | None = None
    _gathers = 1

    def makeConnection(self, transport: Any) -> None:
        if hasattr(transport, "bufferSize"):  # not with TLS, whose records are smaller
            transport.bufferSize = _READ
        super().makeConnection(transport)

    def gather(self, coming: int) -> None:
        """
        Wake up for as much as is read at a time, and not for each packet: a store sends in small pieces.

        @param coming: How much is still to come before the peer waits for us, in bytes.  It must not be less.
        """
        least = max(1, min(coming, _READ))
        transport = self.transport
        # Not with TLS, which counts otherwise.
        if least != self._gathers and isinstance(transport, Connection) and transport.connected:
            transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            self._gathers = least

    def write(self, data: bytes) -> None:
        self.gather(0)  # an answer follows, whose head is short
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.gather(0)
        super().writeSequence(data)

    def loseConnection(self) -> None:
        self.abortConnection()

    def stopProducing(self) -> None:
        self.abortConnection()

    def abortConnection(self) -> None:
        if self.gone is None:
            self.gone = Deferred()
            self.factory.closing(self)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        try:
            super().connectionLost(reason)
        finally:
            if self.gone is not None:
                self.gone.callback(None)


class _Watched(WrappingFactory):
    """Puts a L{_Connection} before each connection's protocol."""

    protocol = _Connection

    def __init__(self, factory: Any, closing: Callable[[_Connection], None]) -> None:
        super().__init__(factory)
        self.closing = closing


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _Endpoint:
    """Connects as another endpoint does, to what is watched."""

    inner: IStreamClientEndpoint
    closing: Callable[[_Connection], None]

    def connect(self, factory: Any) -> Deferred[Any]:
        connected: Deferred[Any] = self.inner.connect(_Watched(factory, self.closing))
        return connected.addCallback(lambda connection: connection.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class Connections:
    """
    Makes connections, and knows which are being closed.

    @param reactor: Where they are made.
    @param policy: Makes those with TLS.
    @param timeout: The timeout of an attempt, in seconds.
    @param idle: How many are kept for further requests; 0 for none.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, timeout: float, idle: int) -> None:
        self._reactor = reactor
        self._policy = policy
        self._timeout = timeout
        self._closing: set[_Connection] = set()
        self.pool = HTTPConnectionPool(reactor, persistent=idle > 0)
        self.pool.maxPersistentPerHost = idle
        # For less than servers do: a request that meets the end of a connection is lost.  Repeating it is not for the
        # pool, which does not know what for.
        self.pool.cachedConnectionTimeout = 4
        self.pool.retryAutomatically = False

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=self._timeout)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self._close)

    async def settled(self) -> None:
        """Wait until the connections that are being closed now are closed; also if the caller is cancelled."""
        for each in list(self._closing):
            if each.gone is not None:
                await finished(each.gone)

    async def close(self) -> None:
        """Close all that nobody uses."""
        await self.pool.closeCachedConnections()
        await self.settled()

    def _close(self, connection: _Connection) -> None:
        assert connection.gone is not None, "what is being closed will be gone"
        self._closing.add(connection)
        connection.gone.addCallback(lambda _: self._closing.discard(connection))
