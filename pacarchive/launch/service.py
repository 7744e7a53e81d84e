"""Build the service from the settings.  The only module that knows all its parts."""

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
from twisted.logger import ILogObserver, Logger
from zope.interface import implementer

from pacarchive import __version__
from pacarchive.access import service as access
from pacarchive.access.service import AccessService
from pacarchive.errors import BackendUnavailable
from pacarchive.interfaces import IArchiveBackend
from pacarchive.launch.forking import count_descriptors
from pacarchive.launch.listening import reached_by_others, served_url, server_endpoints
from pacarchive.launch.logfile import LogFile
from pacarchive.launch.notify import LaunchedService, StartError
from pacarchive.launch.noting import note_requests
from pacarchive.launch.reloading import IReloadable
from pacarchive.launch.sampling import sample_parts
from pacarchive.launch.worker import run
from pacarchive.launch.workers import Supervisor
from pacarchive.model import Durability
from pacarchive.recall.places import archive_name
from pacarchive.recall.settings import RecallSettings
from pacarchive.runtime.filesystems import is_one_machines
from pacarchive.runtime.threads import BlockingPool
from pacarchive.settings.making import make_archive
from pacarchive.settings.reading import ConfigError
from pacarchive.settings.sections import Settings
from pacarchive.settings.server import PoolSettings
from pacarchive.telemetry.appending import open_log
from pacarchive.telemetry.audit import AuditLog
from pacarchive.telemetry.parts import IWhole
from pacarchive.telemetry.process import Samples, Telemetry
from pacarchive.telemetry.settings import AccessLogSettings, AuditSettings, MetricsSettings
from pacarchive.web.http.settings import LimitSettings, TlsSettings
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from pacarchive.launch.metrics import MetricsEndpoint
    from pacarchive.launch.renewal import Renewal
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.telemetry.accesslog import AccessLog
    from pacarchive.telemetry.tracing import Tracing
    from pacarchive.web.http.site import ArchiveSite

_log = Logger()

SWITCH = 0.0003
"""
Seconds after which a thread that waits for the interpreter gets it (C{sys.setswitchinterval}; Python's default is
5 ms).  Storing a file takes dozens of system calls, and after each its thread waits that long while the reactor is
busy; so does the reactor while a thread builds rows.  Less than this costs a tenth of the rate of small files.
"""


@implementer(IReloadable)
class ArchiveService(Service):
    """
    All that serves in one process: backend, recall engine, threads and listening ports.

    It stops in an order that C{MultiService} would not keep: it takes no new connections, ends the requests that wait
    for a file from tape, lets the other requests drain, and then stops what they needed.

    @param backend: The storage.
    @param recall: The recall engine over it.
    @param sending: The threads that read files for responses.
    @param telemetry: What all of them count.
    @param site: What answers requests.
    @param endpoints: Where to listen.
    @param drain_timeout: The seconds that requests under way have to end once the stop has begun.
    @param access_log: The access log; C{None} where there is none.
    @param tracing: What sends spans; likewise.
    @ivar ports: The listening ports, once it has started.
    """

    def __init__(
        self,
        access: AccessService,
        audit: AuditLog | None,
        backend: IArchiveBackend,
        recall: RecallEngine,
        sending: BlockingPool,
        telemetry: Telemetry,
        site: ArchiveSite,
        endpoints: Sequence[IStreamServerEndpoint],
        drain_timeout: float,
        access_log: AccessLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._access = access
        self._audit = audit
        self._backend = backend
        self._recall = recall
        self._sending = sending
        self._telemetry = telemetry
        self._site = site
        self._endpoints = endpoints
        self._drain_timeout = drain_timeout
        self._access_log = access_log
        self._tracing = tracing
        self._serves = False  # a start that fails, or is cancelled, is followed by a stop all the same
        self.ports: list[IListeningPort] = []

    def reload(self) -> Sequence[str]:
        """Open the audit file again, and read those of tokens and users, which is logged when it has been done."""
        done = ["the files of tokens and users"] if self._access.reload() else []
        if self._audit is not None:
            self._audit.reopen()
            done.append("the audit file")
        if self._access_log is not None:
            self._access_log.reopen()
            done.append("the access log")
        return done

    def startService(self) -> Deferred[None]:
        """
        Start the parts, and listen last.

        @return: Fires when requests are answered; fails with the reason why they cannot be.
        """
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """
        Drain, and stop the parts.

        @return: Fires when everything is released.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._telemetry.listen()
        self._sending.start()
        await self._access.start()
        if self._audit is not None:
            try:
                await self._audit.start()
            except OSError as error:
                raise StartError(f"[audit] file: {error.filename}: {error.strerror}") from error
        if self._access_log is not None:
            try:
                await self._access_log.start()
            except OSError as error:
                raise StartError(f"[access_log] file: {error.filename}: {error.strerror}") from error
        if self._tracing is not None:
            await self._tracing.start()
        await maybeDeferred(self._backend.startService)
        self._serves = True
        try:
            await self._recall.startService()
        except BackendUnavailable as error:
            raise StartError(f"[recall] store: {error.__cause__ or error}") from error
        # None of the 300,000 objects that modules are made of is garbage; to look at them in each full collection takes
        # 60 ms, in which no request is answered.  Those of a thousand connections take as long: so full collections are
        # a tenth as frequent.
        gc.freeze()
        gc.set_threshold(700, 10, 100)
        sys.setswitchinterval(SWITCH)
        for endpoint in self._endpoints:
            port = await endpoint.listen(self._site)
            self.ports.append(port)
            self._site.listens(port)
        self._telemetry.start()

    async def _stop(self) -> None:
        ports, self.ports = self.ports, []
        await gatherResults([maybeDeferred(port.stopListening) for port in ports])
        self._recall.stop_waiting()
        await self._site.drain(self._drain_timeout)
        self._sending.stop()
        await self._access.stop()
        if self._audit is not None:
            await self._audit.stop()
        if self._access_log is not None:
            await self._access_log.stop()
        if self._tracing is not None:
            await self._tracing.stop()
        if self._serves:
            self._serves = False
            await self._recall.stopService()
            await maybeDeferred(self._backend.stopService)
        self._telemetry.stop()
        if self._site.events:
            counted = ", ".join(f"{kind} {count}" for kind, count in sorted(self._site.events.items()))
            _log.info("refused or failed while it ran: {counted}", counted=counted)


def make_archive_service(
    reactor: Any, settings: Settings, endpoints: Sequence[IStreamServerEndpoint], telemetry: Telemetry | None = None
) -> ArchiveService:
    """
    Build the service of one process.

    @param reactor: The reactor.
    @param settings: The settings in force.
    @param endpoints: Where to listen.
    @param telemetry: What it counts with; C{None} where it is the only process.
    @raise ConfigError: This machine lacks something that the backend needs.
    """
    # Only now: a parent of several workers answers no requests, and these imports would be half of its start.
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.web.application import archive_site
    from pacarchive.web.context import RouteContext
    from pacarchive.web.download import Sender

    telemetry = Telemetry(reactor) if telemetry is None else telemetry
    server, limits = settings.server, settings.of(LimitSettings)
    backend = make_archive(reactor, settings)
    recall = RecallEngine(reactor, backend, settings.of(RecallSettings), archive_name(server))
    sending = BlockingPool(reactor, "send", settings.of(PoolSettings).io)
    gatekeeper = AccessService(reactor, settings)
    audit_file = settings.of(AuditSettings).file
    audit = None if audit_file is None else AuditLog(reactor, audit_file)
    context = RouteContext(
        backend=backend,
        sender=Sender(reactor, sending, server.verify_reads, limits),
        settings=server,
        body_limit=limits.body,
        clock=reactor,
        recall=recall,
        recall_settings=settings.of(RecallSettings),
        gate=gatekeeper.gate,
        audit=audit,
        console=settings.of(ConsoleSettings),
        telemetry=telemetry,
    )
    site = archive_site(context, limits, reactor)
    sample_parts(telemetry, reactor, settings, sending, context.health_probe, recall, gatekeeper)
    noting = note_requests(reactor, settings, telemetry.counts, site)
    if audit is not None:
        telemetry.samples(audit.sample)
    if noting[0] is not None:
        telemetry.samples(noting[0].sample)
    return ArchiveService(
        gatekeeper, audit, backend, recall, sending, telemetry, site, endpoints, server.drain_timeout, *noting
    )


def make_service(settings: Settings, log_file: LogFile | None = None, observer: ILogObserver | None = None) -> IService:
    """
    Build the service that C{twistd} runs: one process, or a supervisor of several.

    @param settings: The settings in force.
    @param log_file: The log file; C{None} where twistd opens it, or there is none.
    @param observer: What writes the log; C{None} where twistd makes it.
    @raise ConfigError: This machine lacks something that the backend needs.
    """
    from twisted.internet import reactor

    # It may arrive as soon as twistd has written the process id; the real handler is installed when the service starts.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = settings.server
    if not access.is_said(settings) and (
        reached := reached_by_others(reactor, (*server.endpoints, *settings.of(TlsSettings).endpoints))
    ):
        words = (
            f"everyone who reaches {reached[0]} could write and delete, as nothing says who may do what: set it (all, "
            "none, read...), here or by --anonymous, or make rules [allow NAME]"
        )
        raise ConfigError("settings", words, "auth", "anonymous")
    access.check(settings)
    _check_files(settings)
    if server.durability is Durability.RELAXED:
        _log.warn("durability = relaxed: a power cut loses files that were acknowledged")
    store = settings.of(RecallSettings).store
    if not store.startswith("mariadb:") and os.path.exists(store) and not is_one_machines(os.path.dirname(store)):
        _log.warn("[recall] store: {store} may be on a network; SQLite is for one machine only", store=store)
    what = f"pacarchive {__version__}: {server.type} archive {server.prefix} on"
    secure = settings.of(TlsSettings).endpoints
    renewal = _read_credentials(reactor, settings) if secure else None
    credentials = None if renewal is None else renewal.credentials
    if server.workers > 1:
        # So what is missing is reported once, and not by each worker; and what is imported here is shared by all.
        descriptors = count_descriptors()
        make_archive_service(reactor, settings, ())
        serve = partial(run, make_archive_service) if count_descriptors() == descriptors else None
        supervisor = Supervisor(reactor, settings, serve, secure=secure, credentials=credentials)
        if renewal is not None:
            renewal.uses(supervisor.renew)
            supervisor.whole.samples(partial(_certificate, renewal))
        words = f"({server.workers} workers)"
        return LaunchedService(
            reactor,
            supervisor,
            lambda: f"{what} {' '.join(supervisor.urls)} {words}",
            log_file,
            renewal,
            observer,
            _metrics_endpoint(reactor, settings, supervisor.whole),
        )
    context = None
    if renewal is not None:
        from pacarchive.web.http.credentials import Context

        context = Context(renewal.credentials)
        renewal.uses(context.renew)
    endpoints = server_endpoints(reactor, server.endpoints, secure, context)
    telemetry = Telemetry(reactor)
    archive = make_archive_service(reactor, settings, endpoints, telemetry)

    def describe() -> str:
        urls = [
            served_url(description, port.getHost(), secure=number >= len(server.endpoints))
            for number, (description, port) in enumerate(zip([*server.endpoints, *secure], archive.ports, strict=True))
        ]
        return f"{what} {' '.join(urls)}"

    if renewal is not None:
        telemetry.samples(partial(_certificate, renewal))
    metrics = _metrics_endpoint(reactor, settings, telemetry)
    return LaunchedService(reactor, archive, describe, log_file, renewal, observer, metrics)


def _certificate(renewal: Renewal) -> Samples:
    return [(("tls_certificate_expiry_timestamp_seconds", "server"), renewal.credentials.not_after)]


def _check_files(settings: Settings) -> None:
    """
    See that what is to be written can be.

    @raise ConfigError: It cannot.
    """
    for name, file in (("audit", settings.of(AuditSettings).file), ("access_log", settings.of(AccessLogSettings).file)):
        if file is not None:
            try:
                os.close(open_log(file))
            except OSError as error:
                raise ConfigError("settings", f"{file}: {error.strerror}", name, "file") from error


def _metrics_endpoint(reactor: Any, settings: Settings, whole: IWhole) -> MetricsEndpoint | None:
    if not (endpoints := settings.of(MetricsSettings).endpoints):
        return None
    from pacarchive.launch.metrics import MetricsEndpoint  # only now: most of the time of a start is imports

    return MetricsEndpoint(reactor, endpoints, whole)


def _read_credentials(reactor: Any, settings: Settings) -> Renewal:
    """
    What endpoints with TLS need, and what keeps it.

    @raise ConfigError: It is not right.
    """
    from pacarchive.launch.renewal import Renewal  # only now, as the rest of it
    from pacarchive.web.http import secure  # noqa: F401  (shared by all workers)
    from pacarchive.web.http.credentials import CredentialsFiles

    files = CredentialsFiles(settings.of(TlsSettings), settings.source)
    stamp = files.stamp()
    return Renewal(reactor, files, files.read(reactor.seconds()), stamp)
