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
        # Twisted's own is a proxy whose only use is to change to HTTP/2.
        self.protocol = ArchiveChannel  # type: ignore[assignment, method-assign]

    def buildProtocol(self, addr: IAddress | None) -> Any:
        try:
            self.places.require(addr)
        except errors.Overloaded as error:
            self.refused("connections", addr, str(error))
            self.counts.ended(b"", HTTPStatus.SERVICE_UNAVAILABLE, 0.0, 0.0)
            return _Busy(str(error))
        return super().buildProtocol(addr)


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
