"""Report to the service manager and the operator that the service is ready, stopping, alive or failed.

L{LaunchedService} does so, to systemd, in the log and by the exit status, for the service that it wraps: the archive
in this process, or the supervisor of its workers.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sdnotify import SystemdNotifier  # type: ignore[import-untyped]
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger

from pacarchive.errors import ArchiveError
from pacarchive.launch.listening import listen_error_message
from pacarchive.launch.reloading import IReloadable, handle_signals, ignore_repeated_stops, reload_all
from pacarchive.texts import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from pacarchive.launch.logfile import LogFile
    from pacarchive.launch.metrics import MetricsEndpoint
    from pacarchive.launch.renewal import Renewal

EXTENSION = 30.0
"""Seconds by which each C{EXTEND_TIMEOUT_USEC} extends the time to stop; it is repeated after a third of that."""

_log = Logger()


class StartError(Exception):
    """The service cannot start.  C{str()} is one line for the operator."""


class Notifier:
    """
    A connection to systemd by the protocol of C{sd_notify(3)}; does nothing where C{NOTIFY_SOCKET} is not set.

    @ivar watchdog: Seconds within which systemd expects C{WATCHDOG=1}; C{None} where there is no watchdog.
    """

    def __init__(self) -> None:
        self._systemd = SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        if self._systemd is not None and self._systemd.socket is not None:
            # A systemd that does not read must not stop the reactor.
            self._systemd.socket.setblocking(False)
        self.watchdog = _watchdog_seconds()

    def notify(self, *assignments: str) -> None:
        """Send assignments (C{READY=1}, C{STATUS=...}) in one message.  Never fails and never blocks."""
        if self._systemd is not None:
            # systemd reads UTF-8, and sdnotify would silently drop a message that is not Latin-1.
            self._systemd.notify("\n".join(assignments).encode().decode("latin-1"))

    def close(self) -> None:
        """Close the connection; L{notify} does nothing from now on."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()
        self._systemd = None


def _watchdog_seconds() -> float | None:
    """Return the interval of C{sd_watchdog_enabled(3)} in seconds, or C{None}."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


class LaunchedService(Service):
    """
    The service that twistd runs: it wraps another and reports how that starts and stops.

    When C{inner} has started it logs one line and notifies systemd; when that fails it logs one line and ends the
    process with exit status 1.  The watchdog's heartbeat goes on until C{inner} has stopped.

    @param reactor: The reactor.
    @param inner: The wrapped service.  Its C{startService} may return a Deferred, which fires when requests are
        answered.
    @param describe: Returns the line that says what is served where; called once C{inner} has started.
    @param log_file: The log file; C{None} where twistd opens it, or there is none.
    @param renewal: Watches the certificate; C{None} where there is none.
    @param observer: What writes the log; C{None} where twistd makes it.
    @param metrics: Where metrics are; C{None} where that is with the archive only.
    """

    def __init__(
        self,
        reactor: Any,
        inner: IService,
        describe: Callable[[], str],
        log_file: LogFile | None = None,
        renewal: Renewal | None = None,
        observer: ILogObserver | None = None,
        metrics: MetricsEndpoint | None = None,
    ) -> None:
        self._reactor = reactor
        self._inner = inner
        self._describe = describe
        self._log_file = log_file
        self._renewal = renewal
        self._observer = observer
        self._metrics = metrics
        self._is_ready = False
        self._notifier = Notifier()
        self._heartbeat = self._repeat("WATCHDOG=1")

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and set its log observer where there is one."""
        super().setServiceParent(parent)
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)

    def privilegedStartService(self) -> None:
        """Do what C{inner} has to do before twistd drops its privileges."""
        self._inner.privilegedStartService()

    def startService(self) -> None:
        """Start C{inner} and report the outcome."""
        super().startService()
        handle_signals(self._reactor, self._reload)
        ignore_repeated_stops(self._reactor, lambda: bool(self.running))
        if self._notifier.watchdog is not None:
            self._heartbeat.start(self._notifier.watchdog / 2)
        Deferred.fromCoroutine(self._start()).addCallbacks(self._serving, self._failed)

    def stopService(self) -> Deferred[None]:
        """Stop C{inner}, and extend systemd's timeout meanwhile."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _serving(self, _: object) -> None:
        if self.running:
            line = self._describe()
            _log.info("{line}", line=line)
            if self._renewal is not None:
                self._renewal.startService()
            self._is_ready = True
            self._notifier.notify("READY=1", f"STATUS={line}")

    def _failed(self, failure: Failure) -> None:
        if self.running:  # else it was stopped while it started, which is no failure
            message = failure_message(failure)
            _log.critical("cannot start: {message}", message=printable(message))
            self._notifier.notify(f"STATUS=cannot start: {message}")
            self._notifier.close()  # so that this stays the last status
            end_unsuccessfully(self._reactor)

    def _reload(self, name: str) -> None:
        """Reload because of the signal C{name}, which may arrive at any time."""
        if self._is_ready:  # else READY=1 would be untrue
            self._notifier.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        inner = IReloadable(self._inner, None)
        others = [each.reload for each in (self._renewal, inner) if each is not None]
        done = reload_all(self._reopen_log, *others)
        _log.info("{name}: {what}", name=name, what=f"reloaded {', '.join(done)}" if done else "nothing to reload")
        if self._is_ready:
            self._notifier.notify("READY=1")

    def _reopen_log(self) -> list[str]:
        if self._log_file is None:
            return []
        self._log_file.reopen()
        return ["the log file"]

    async def _start(self) -> None:
        if self._metrics is not None:
            await self._metrics.start()
        await maybeDeferred(self._inner.startService)

    async def _stop(self) -> None:
        self._is_ready = False
        if self._renewal is not None:
            self._renewal.stopService()
        self._notifier.notify("STOPPING=1", "STATUS=finishing the transfers under way")
        extension = self._repeat(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}")
        extension.start(EXTENSION / 3)
        try:
            await maybeDeferred(self._inner.stopService)
            if self._metrics is not None:
                await self._metrics.stop()
        finally:
            extension.stop()
            if self._heartbeat.running:
                self._heartbeat.stop()
            self._notifier.close()

    def _repeat(self, assignment: str) -> LoopingCall:
        loop = LoopingCall(self._notifier.notify, assignment)
        loop.clock = self._reactor
        return loop


def failure_message(failure: Failure) -> str:
    """
    Return in one line why a start-up failed.  An unforeseen error is also logged with its traceback.
    """
    if not isinstance(failure.value, StartError | ArchiveError | CannotListenError | OSError):
        _log.failure("unexpected failure in the start-up", failure)
    if isinstance(failure.value, CannotListenError):
        return listen_error_message(failure.value)
    if isinstance(failure.value, OSError):
        name = failure.value.filename2 or failure.value.filename
        if name and not isinstance(name, int):  # it may be a descriptor
            return f"{printable(os.fsdecode(name))}: {failure.value.strerror}"
    return " ".join(str(failure.value).split()) or type(failure.value).__name__


def end_unsuccessfully(reactor: Any) -> None:
    """
    Stop the reactor as usual, and then let the process end with exit status 1.

    twistd has no way to set one: it ends with 0, or by the signal that stopped it.  So the status is set when the
    interpreter exits, after all services have stopped and twistd has removed its pid file.
    """
    atexit.register(_exit_unsuccessfully)
    reactor.callWhenRunning(reactor.stop)


def _exit_unsuccessfully() -> None:
    with suppress(OSError):  # the terminal may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)
