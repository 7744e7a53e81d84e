"""What the launched process tells those who launched it: ready, stopping, alive, failed.

L{LaunchedService} says it to systemd, in the log and in the exit status, around whatever serves: the archive in this
process, or the supervisor of its workers.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

from sdnotify import SystemdNotifier  # type: ignore[import-untyped]
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger, textFileLogObserver

from pacarchive.errors import ArchiveError
from pacarchive.launch.listening import why_not
from pacarchive.launch.reloading import IReloadable, bear_repetition, heed, reload_all
from pacarchive.texts import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from pacarchive.launch.logfile import LogFile

EXTENSION = 30.0
"""Seconds that each request for more time to stop is good for; they are repeated in a third of that."""

_log = Logger()


class StartError(Exception):
    """The start-up cannot go on.  C{str()} is one line for the operator."""


class Notifier:
    """
    systemd's ear, or nobody's where C{NOTIFY_SOCKET} is not set.

    @ivar watchdog: Seconds within which systemd wants to hear L{tell}C{("WATCHDOG=1")}, or C{None}.
    """

    def __init__(self) -> None:
        self._systemd = SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        if self._systemd is not None and self._systemd.socket is not None:
            # A systemd that does not read must not stop the reactor.
            self._systemd.socket.setblocking(False)
        self.watchdog = _watchdog_seconds()

    def tell(self, *assignments: str) -> None:
        """Send assignments (C{READY=1}, C{STATUS=...}) in one message.  Never fails and never blocks."""
        if self._systemd is not None:
            # systemd reads UTF-8, and sdnotify would silently drop a message that is not Latin-1.
            self._systemd.notify("\n".join(assignments).encode().decode("latin-1"))

    def close(self) -> None:
        """Tell nothing any more."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()
        self._systemd = None


def _watchdog_seconds() -> float | None:
    """The interval of C{sd_watchdog_enabled(3)}."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


class LaunchedService(Service):
    """
    The service that twistd runs.

    When C{inner} has started it logs one line and tells systemd; when that fails it logs one line and ends the process
    with exit status 1.  The watchdog beats until C{inner} has stopped, not only until that begins.

    @param reactor: The reactor.
    @param inner: What serves.  Its C{startService} may return a Deferred, which fires when requests are answered.
    @param describe: Says what is served where, once C{inner} has started.
    @param log_file: The log file, unless twistd opens one, or none.
    """

    def __init__(
        self, reactor: Any, inner: IService, describe: Callable[[], str], log_file: LogFile | None = None
    ) -> None:
        self._reactor = reactor
        self._inner = inner
        self._describe = describe
        self._log_file = log_file
        self._is_ready = False
        self._notifier = Notifier()
        self._beat = self._repeat("WATCHDOG=1")

    def setServiceParent(self, parent: Any) -> None:
        """Be twistd's; the application says where the log goes, if it is not for twistd to say."""
        super().setServiceParent(parent)
        if self._log_file is not None:
            parent.setComponent(ILogObserver, textFileLogObserver(cast("IO[str]", self._log_file)))

    def privilegedStartService(self) -> None:
        """Before twistd gives up its privileges."""
        self._inner.privilegedStartService()

    def startService(self) -> None:
        """Start C{inner}; the outcome goes where the class says."""
        super().startService()
        heed(self._reactor, self._reload)
        bear_repetition(self._reactor, lambda: bool(self.running))
        if self._notifier.watchdog is not None:
            self._beat.start(self._notifier.watchdog / 2)
        maybeDeferred(self._inner.startService).addCallbacks(self._serving, self._failed)

    def stopService(self) -> Deferred[None]:
        """Stop C{inner}, and keep systemd patient meanwhile."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _serving(self, _: object) -> None:
        if self.running:
            line = self._describe()
            _log.info("{line}", line=line)
            self._is_ready = True
            self._notifier.tell("READY=1", f"STATUS={line}")

    def _failed(self, failure: Failure) -> None:
        if self.running:  # else it was stopped while it started, which is no failure
            words = failure_words(failure)
            _log.critical("cannot start: {words}", words=printable(words))
            self._notifier.tell(f"STATUS=cannot start: {words}")
            self._notifier.close()  # so that this stays the last status
            end_unsuccessfully(self._reactor)

    def _reload(self, name: str) -> None:
        """On a signal, at any time."""
        if self._is_ready:  # else this would tell systemd that it is
            self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        inner = IReloadable(self._inner, None)
        done = reload_all(self._reopen_log, *([] if inner is None else [inner.reload]))
        _log.info("{name}: {what}", name=name, what=f"reloaded {', '.join(done)}" if done else "nothing to reload")
        if self._is_ready:
            self._notifier.tell("READY=1")

    def _reopen_log(self) -> list[str]:
        if self._log_file is None:
            return []
        self._log_file.reopen()
        return ["the log file"]

    async def _stop(self) -> None:
        self._is_ready = False
        self._notifier.tell("STOPPING=1", "STATUS=finishing the transfers under way")
        patience = self._repeat(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}")
        patience.start(EXTENSION / 3)
        try:
            await maybeDeferred(self._inner.stopService)
        finally:
            patience.stop()
            if self._beat.running:
                self._beat.stop()
            self._notifier.close()

    def _repeat(self, assignment: str) -> LoopingCall:
        loop = LoopingCall(self._notifier.tell, assignment)
        loop.clock = self._reactor
        return loop


def failure_words(failure: Failure) -> str:
    """
    Why a start-up failed, in one line.  What is no foreseen reason is also logged with its traceback.
    """
    if not isinstance(failure.value, StartError | ArchiveError | CannotListenError | OSError):
        _log.failure("unexpected failure in the start-up", failure)
    if isinstance(failure.value, CannotListenError):
        return why_not(failure.value)
    if isinstance(failure.value, OSError):
        name = failure.value.filename2 or failure.value.filename
        if name and not isinstance(name, int):  # it may be a descriptor
            return f"{printable(os.fsdecode(name))}: {failure.value.strerror}"
    return " ".join(str(failure.value).split()) or type(failure.value).__name__


def end_unsuccessfully(reactor: Any) -> None:
    """
    Stop the reactor as usual, and then let the process end with exit status 1.

    twistd cannot be asked for one: it ends with 0, or by the signal that stopped it.  So the last word is spoken when
    the interpreter ends, after all services have stopped and twistd has removed its pid file.
    """
    atexit.register(_exit_unsuccessfully)
    reactor.callWhenRunning(reactor.stop)


def _exit_unsuccessfully() -> None:
    with suppress(OSError):  # the terminal may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)
