"""The endpoint of metrics: one page, for Prometheus, without credentials and apart from the archive's own endpoints."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.web import http
from twisted.web.resource import NoResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from pacarchive.errors import ArchiveError
from pacarchive.launch.listening import server_endpoints
from pacarchive.telemetry import rendering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from pacarchive.telemetry.parts import IWhole

MOST = 100
"""Connections at a time; more are closed at once."""

_IDLE = 60.0  # seconds

_log = Logger()


class MetricsEndpoint:
    """
    Answers C{GET /metrics}.

    @param reactor: The reactor.
    @param endpoints: Endpoint strings.
    @param whole: Knows how the whole service is.
    @ivar ports: The listening ports, once it has started.
    """

    def __init__(self, reactor: Any, endpoints: Sequence[str], whole: IWhole) -> None:
        rendering.prepare()  # before anything is served
        self._endpoints = server_endpoints(reactor, endpoints)
        root = Resource()
        root.putChild(b"metrics", _Metrics(whole))
        self._factory = _Few(_QuietSite(root, requestFactory=_Bodiless, timeout=_IDLE, reactor=reactor))
        self.ports: list[IListeningPort] = []

    async def start(self) -> None:
        """
        Listen.

        @raise CannotListenError: A port is taken.
        """
        for endpoint in self._endpoints:
            self.ports.append(await endpoint.listen(self._factory))

    async def stop(self) -> None:
        """Listen no more."""
        ports, self.ports = self.ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)


class _Few(WrappingFactory):
    """Has no more connections than there may be: everyone who reaches the endpoint can make some."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        return None if len(self.protocols) >= MOST else super().buildProtocol(addr)


class _Bodiless(Request):
    """A request that has no body: one that comes is neither read to its end nor kept."""

    transport: Any

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        self.transport.abortConnection()


class _QuietSite(Site):
    """One that has no line in the log for each time that Prometheus comes."""

    noisy = False

    def logPrefix(self) -> str:
        return "metrics"

    def log(self, request: http.Request) -> None:
        pass


class _Metrics(Resource):
    isLeaf = True

    def __init__(self, whole: IWhole) -> None:
        super().__init__()
        self._whole = whole

    def render_GET(self, request: Request) -> Any:
        if request.postpath:
            return NoResource().render(request)
        answer = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answer.cancel())
        answer.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        accept = request.getHeader("accept") or ""
        body, media_type = rendering.render(await self._whole.totals(), accept)
        request.setHeader("content-type", media_type)
        request.write(body)
        request.finish()

    def _failed(self, failure: Failure, request: Request) -> None:
        if request._disconnected:
            return
        if not failure.check(ArchiveError):
            _log.failure("metrics cannot be told", failure)
        request.setResponseCode(503)
        request.finish()
