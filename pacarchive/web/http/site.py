"""The listening side: makes a channel for each connection, and requests of what comes there."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol
from twisted.web.resource import IResource

from pacarchive import errors
from pacarchive.telemetry.process import Telemetry
from pacarchive.web.http.answers import last_answer
from pacarchive.web.http.channel import ArchiveChannel
from pacarchive.web.http.request import ArchiveRequest
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.state import FirstLook, SharedSite


class ArchiveSite(SharedSite):
    """Makes connections, as many as are admitted."""

    def __init__(
        self,
        resource: IResource,
        limits: LimitSettings,
        reactor: IReactorTime,
        first_look: FirstLook | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        super().__init__(resource, limits, reactor, ArchiveRequest, first_look, telemetry)

        class Channel(ArchiveChannel):
            """What all connections of a site have in common is not kept with each of them."""

            site = factory = self
            requestFactory = ArchiveRequest
            callLater = reactor.callLater  # type: ignore[assignment]
            timeOut = limits.idle_timeout  # type: ignore[assignment]
            totalHeadersSize = limits.request_line + limits.header_bytes
            maxHeaders = limits.header_count
            MAX_LENGTH = max(limits.request_line, limits.header_bytes)

        # Twisted's own is a proxy whose only use is to change to HTTP/2.
        self.protocol = Channel  # type: ignore[assignment, method-assign]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        try:
            self.places.require(addr)
        except errors.Overloaded as error:
            self.refused("connections", addr, str(error))
            self.counts.ended(b"", HTTPStatus.SERVICE_UNAVAILABLE, 0.0, 0.0)
            return _Busy(str(error))
        return self.protocol()


class _Busy(Protocol):
    """Tells a client that there are too many, and hangs up."""

    def __init__(self, message: str) -> None:
        self._message = message

    def connectionMade(self) -> None:
        transport = self.transport
        assert transport is not None, "a protocol that is connected has one"
        if ISSLTransport.providedBy(transport):  # to be told, it would have to shake hands, and might not do so
            transport.abortConnection()
            return
        transport.write(last_answer(HTTPStatus.SERVICE_UNAVAILABLE, self._message, "Retry-After: 5"))
        transport.loseConnection()
