"""Assembly: from settings to what runs.  The only place that knows all the parts."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger

from pacarchive import __version__
from pacarchive.errors import BackendUnavailable
from pacarchive.interfaces import IArchiveBackend
from pacarchive.launch.forking import open_files
from pacarchive.launch.listening import served_url, server_endpoints
from pacarchive.launch.logfile import LogFile
from pacarchive.launch.notify import LaunchedService, StartError
from pacarchive.launch.worker import run
from pacarchive.launch.workers import Supervisor
from pacarchive.model import Durability
from pacarchive.recall.places import archive_name
from pacarchive.recall.settings import RecallSettings
from pacarchive.runtime.filesystems import is_one_machines
from pacarchive.runtime.threads import BlockingPool
from pacarchive.settings.reading import ConfigError, find_provider
from pacarchive.settings.sections import Settings
from pacarchive.settings.server import PoolSettings
from pacarchive.web.http.settings import LimitSettings

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.web.http.site import ArchiveSite

_log = Logger()

SWITCH = 0.0003
"""
Seconds after which the reactor and threads let each other have the interpreter, where Python's default is 5 ms: storing
a file takes dozens of system calls, and a thread waits as long after each while the reactor is busy; so does the
reactor while a thread makes rows.  Less yet costs a tenth of the rate of small files.
"""


class ArchiveService(Service):
    """
    All of one process: backend, pools and listening ports.

    Its stop has an order, which C{MultiService} would not keep: no new connections; the requests under way, within the
    limit, but for those that wait for a file from tape; then what they needed.

    @ivar ports: The listening ports, once it has started.
    """

    def __init__(
        self,
        backend: IArchiveBackend,
        recall: RecallEngine,
        sending: BlockingPool,
        site: ArchiveSite,
        endpoints: Sequence[IStreamServerEndpoint],
        drain_timeout: float,
    ) -> None:
        self._backend = backend
        self._recall = recall
        self._sending = sending
        self._site = site
        self._endpoints = endpoints
        self._drain_timeout = drain_timeout
        self._serves = False  # a start that fails, or is cut short, is followed by a stop all the same
        self.ports: list[IListeningPort] = []

    def startService(self) -> Deferred[None]:
        """Fires when requests are answered, or fails with the reason why they are not."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Fires when everything is released."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._sending.start()
        await maybeDeferred(self._backend.startService)
        self._serves = True
        try:
            await self._recall.startService()
        except BackendUnavailable as error:
            raise StartError(f"[recall] store: {error.__cause__ or error}") from error
        # Of the 300,000 objects that all modules are made of none is garbage; to look each time takes 60 ms, in which
        # nobody is answered.  Those of a thousand connections take as long: all are looked at a tenth as often.
        gc.freeze()
        gc.set_threshold(700, 10, 100)
        sys.setswitchinterval(SWITCH)
        for endpoint in self._endpoints:
            port = await endpoint.listen(self._site)
            self.ports.append(port)
            self._site.listens(port)

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        await gatherResults([maybeDeferred(port.stopListening) for port in ports])
        self._recall.stop_waiting()
        await self._site.drain(self._drain_timeout)
        self._sending.stop()
        if self._serves:
            self._serves = False
            await self._recall.stopService()
            await maybeDeferred(self._backend.stopService)
        if self._site.events:
            counted = ", ".join(f"{kind} {count}" for kind, count in sorted(self._site.events.items()))
            _log.info("refused or failed while it ran: {counted}", counted=counted)


def make_archive_service(
    reactor: Any, settings: Settings, endpoints: Sequence[IStreamServerEndpoint]
) -> ArchiveService:
    """
    Build what serves in one process.

    @param reactor: The reactor.
    @param settings: The settings in force.
    @param endpoints: Where to listen.
    @raise ConfigError: This machine lacks something that the backend needs.
    """
    # Only now: the parent of several workers serves nothing, and half of its start would be these.
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.web.application import archive_resource
    from pacarchive.web.context import RouteContext
    from pacarchive.web.download import Sender
    from pacarchive.web.http.site import ArchiveSite

    server, limits = settings.server, settings.of(LimitSettings)
    backend = _make_backend(reactor, settings)
    recall = RecallEngine(reactor, backend, settings.of(RecallSettings), archive_name(server))
    sending = BlockingPool(reactor, "send", settings.of(PoolSettings).io)
    context = RouteContext(
        backend=backend,
        sender=Sender(reactor, sending, server.verify_reads, limits),
        settings=server,
        body_limit=limits.body,
        clock=reactor,
        recall=recall,
        recall_settings=settings.of(RecallSettings),
    )
    site = ArchiveSite(archive_resource(context), limits, reactor)
    return ArchiveService(backend, recall, sending, site, endpoints, server.drain_timeout)


def _make_backend(reactor: Any, settings: Settings) -> IArchiveBackend:
    name = settings.server.type
    try:
        return find_provider(name).make(reactor, settings.backend)
    except ImportError as error:
        raise ConfigError(f"backend {name}", str(error)) from error


def make_service(settings: Settings, log_file: LogFile | None = None) -> IService:
    """
    Build what C{twistd} runs: one process, or a supervisor of several.

    @param settings: The settings in force.
    @param log_file: The log file, unless twistd opens one, or none.
    @raise ConfigError: This machine lacks something that the backend needs.
    """
    from twisted.internet import reactor

    # From when twistd writes the process id on, somebody may send it; what to do then is known when the service starts.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = settings.server
    if server.durability is Durability.RELAXED:
        _log.warn("durability = relaxed: a power cut loses files that were acknowledged")
    store = settings.of(RecallSettings).store
    if not store.startswith("mariadb:") and os.path.exists(store) and not is_one_machines(os.path.dirname(store)):
        _log.warn("[recall] store: {store} may be on a network; SQLite is for one machine only", store=store)
    what = f"pacarchive {__version__}: {server.type} archive {server.prefix} on"
    if server.workers > 1:
        # What is missing is said once, here, and not by each worker; and what is imported now is shared by all of them.
        held = open_files()
        make_archive_service(reactor, settings, ())
        serve = partial(run, make_archive_service) if open_files() == held else None
        supervisor = Supervisor(reactor, settings, serve)
        return LaunchedService(
            reactor, supervisor, lambda: f"{what} {' '.join(supervisor.urls)} ({server.workers} workers)", log_file
        )
    archive = make_archive_service(reactor, settings, server_endpoints(reactor, server.endpoints))

    def describe() -> str:
        urls = [
            served_url(description, port.getHost())
            for description, port in zip(server.endpoints, archive.ports, strict=True)
        ]
        return f"{what} {' '.join(urls)}"

    return LaunchedService(reactor, archive, describe, log_file)
