"""The parent of the worker processes: starts, watches, replaces and drains them.

It answers no requests and opens nothing of the archive, but has imported all that does, so that the workers which it
forks (L{pacarchive.launch.forking}) need not.  The messages between parent and worker:

  - standard input: the pickled L{Assignment}, and then the line L{RELOAD} whenever the worker is to reload what it can,
    and L{RENEW} with new credentials (pickled, in base64).  It stays open; its end means to the worker that the parent
    is gone.
  - descriptor L{CONTROL}: lines from the worker, L{READY}, L{FAILED} with a reason, and L{ALIVE} every
    L{HEARTBEAT} seconds.
  - standard output and error: log lines, which the parent logs as its own.
"""

from __future__ import annotations

import os
import signal
import sys
from base64 import b64encode
from contextlib import suppress
from functools import partial
from pickle import dumps
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError, gatherResults
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

from pacarchive.launch.forking import can_fork, fork
from pacarchive.launch.jsonlog import relay
from pacarchive.launch.lines import Lines
from pacarchive.launch.listening import Listener, PortReservation
from pacarchive.launch.notify import StartError
from pacarchive.launch.reloading import SIGNALS, IReloadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twisted.internet.interfaces import IProcessTransport, IReactorTime
    from twisted.python.failure import Failure

    from pacarchive.settings.sections import Settings
    from pacarchive.web.http.credentials import Credentials

CONTROL = 3
READY = "ready"
FAILED = "failed"
ALIVE = "alive"
RELOAD = "reload"
RENEW = "renew"

HEARTBEAT = 5.0
"""Seconds between a worker's heartbeats."""
SILENCE = 60.0
"""Seconds after which a worker that has sent no heartbeat counts as hanging, and is killed."""
FIRST_PAUSE = 1.0
"""Seconds before a dead worker is replaced the first time; doubled each time up to L{LONGEST_PAUSE}."""
LONGEST_PAUSE = 60.0
SETTLED = 60.0
"""Seconds after which a worker counts as stable: when it dies, the pauses start from L{FIRST_PAUSE} again."""
GRACE = 10.0
"""Seconds beyond the drain limit that a worker has to release its pools, before it is killed."""

# Without -P, python -m would look for the package in the working directory first.
COMMAND = (sys.executable, "-P", "-m", "pacarchive.launch.spawned")

GROUP_SIGNALS = SIGNALS | {signal.SIGINT}
"""The signals that a terminal or an operator may send to the whole process group; only the parent acts on them."""

_CHECKS = 4  # within SILENCE
_LINGER = 2.0  # seconds in which what is left in a dead worker's pipes is read
# Meant for the process that systemd started, and wrong in its children.
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

_log = Logger()


@attrs.frozen
class Assignment:
    """
    What the parent sends a worker at its start.

    @ivar settings: The settings in force.
    @ivar index: The worker's number, from zero.
    @ivar listeners: The endpoints, as the parent has resolved them.
    @ivar credentials: Certificate and key, for the endpoints of C{[tls]}.
    """

    settings: Settings
    index: int
    listeners: tuple[Listener, ...]
    credentials: Credentials | None = None


@implementer(IReloadable)
class Supervisor(Service):
    """
    Keeps C{settings.server.workers} worker processes running.

    @param reactor: The reactor, also the source of time.
    @param settings: The settings, for the workers.
    @param serve: Called in a worker that is forked from this process; returns its exit status.
    @param command: The program of a worker where this process cannot fork, or there is no C{serve}.
    @param secure: The endpoint strings of C{[tls]}.
    @param credentials: Certificate and key, for these.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        serve: Callable[[], int] | None = None,
        *,
        command: Sequence[str] = COMMAND,
        secure: Sequence[str] = (),
        credentials: Credentials | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._serve = serve
        self._command = command
        self._secure = secure
        self._credentials = credentials
        self._reservation = PortReservation()
        self._listeners: list[Listener] = []
        self._workers: dict[int, _Worker] = {}
        self._keepers: list[Deferred[None]] = []
        self._pauses: set[Deferred[None]] = set()

    @property
    def urls(self) -> list[str]:
        """The URLs for clients, once the service has started."""
        return [each.url for each in self._listeners]

    def startService(self) -> Deferred[None]:
        """
        Start all workers.

        @return: Fires when all of them serve; fails when a port is taken or a worker cannot start.  That is not
            retried: call C{stopService} then.
        """
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """
        Let all workers drain, and kill those that exceed the limit.

        @return: Fires when no worker is left.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def reload(self) -> list[str]:
        """Make the workers reload what they can; they log it themselves, so nothing is returned."""
        for worker in self._workers.values():
            worker.send(RELOAD)
        return []

    def renew(self, credentials: Credentials) -> None:
        """Have the workers use other credentials for new connections."""
        self._credentials = credentials
        for worker in self._workers.values():
            worker.send(RENEW, b64encode(dumps(credentials)).decode())

    async def _start(self) -> None:
        self._listeners = self._reservation.reserve(self._reactor, self._settings.server.endpoints, self._secure)
        workers = [self._spawn(index) for index in range(self._settings.server.workers)]
        for worker in workers:
            keeper = Deferred.fromCoroutine(self._keep(worker))
            self._keepers.append(keeper.addErrback(partial(_log.failure, "a worker is no longer supervised")))
        try:
            await gatherResults([worker.ready for worker in workers], consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    async def _stop(self) -> None:
        for pause in list(self._pauses):
            pause.cancel()
        for worker in self._workers.values():
            worker.signal(signal.SIGTERM)
        limit = self._reactor.callLater(self._settings.server.drain_timeout + GRACE, self._kill)
        await DeferredList(self._keepers)
        if limit.active():
            limit.cancel()
        self._reservation.close()

    def _kill(self) -> None:
        for index, worker in self._workers.items():
            _log.warn("worker {index} has not finished within the drain limit; killed", index=index)
            worker.signal(signal.SIGKILL)

    async def _keep(self, worker: _Worker) -> None:
        """Replace a worker whenever it ends, until the service stops."""
        index = worker.index
        pause = FIRST_PAUSE
        while True:
            born = self._reactor.seconds()
            reason = await worker.ended
            del self._workers[index]
            # If it has never served, `ready` has failed with the reason, and so has the start-up, which waits for it.
            if not self.running or (worker.first and not worker.served):
                return
            if self._reactor.seconds() - born >= SETTLED:
                pause = FIRST_PAUSE
            _log.error("worker {index}: {reason}; replaced in {pause:g} s", index=index, reason=reason, pause=pause)
            await self._sleep(pause)
            if not self.running:
                return
            pause = min(2 * pause, LONGEST_PAUSE)
            worker = self._spawn(index, first=False)

    async def _sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until the service stops."""
        pause: Deferred[None] = deferLater(self._reactor, seconds)
        self._pauses.add(pause)
        try:
            await pause
        except CancelledError:
            _log.debug("the service stops: the worker is not replaced")
        finally:
            self._pauses.discard(pause)

    def _spawn(self, index: int, *, first: bool = True) -> _Worker:
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r", CONTROL: "r"}
        listeners = []
        for listener in self._listeners:
            if listener.descriptor is not None:
                number = len(descriptors)
                descriptors[number] = listener.descriptor
                listener = attrs.evolve(listener, descriptor=number)
            listeners.append(listener)
        assignment = Assignment(self._settings, index, tuple(listeners), self._credentials)
        log = relay(self._settings.server.log_format, index)
        worker = self._workers[index] = _Worker(self._reactor, index, first, dumps(assignment), log)
        # The worker inherits the mask, so that a signal to the process group waits until it has handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
        environment = _environment(os.environ)
        try:
            if self._serve is not None and can_fork(self._reactor):
                fork(self._reactor, worker, descriptors, environment, self._serve)
            else:
                self._reactor.spawnProcess(
                    worker, self._command[0], self._command, env=environment, childFDs=descriptors
                )
        except OSError as error:  # no memory, too many processes
            worker.end(f"cannot be started: {error.strerror}")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return worker


class _Worker(ProcessProtocol):
    """
    One worker process, as the parent sees it.

    @param clock: The source of time.
    @param index: Its number.
    @param first: Whether it belongs to the start-up, rather than replacing a dead one.
    @param assignment: The pickled L{Assignment} to send it.
    @param log: Called with each line that it writes.

    @ivar ready: Fires when it serves; fails with L{StartError} when it ends before.
    @ivar ended: Fires with the reason when it has exited and all that it wrote has been read.
    @ivar served: Whether C{ready} has fired without an error.
    """

    transport: IProcessTransport

    def __init__(
        self, clock: IReactorTime, index: int, first: bool, assignment: bytes, log: Callable[[str], None]
    ) -> None:
        self.index = index
        self.first = first
        self.served = False
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[str] = Deferred()
        self._clock = clock
        self._assignment = assignment
        self._reason: str | None = None
        self._later: dict[str, str] = {}
        self._silent_checks = 0
        self._watch = LoopingCall(self._check)
        self._watch.clock = clock
        self._lines = {1: Lines(log), 2: Lines(log), CONTROL: Lines(self._control_line)}

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        with suppress(ProcessExitedAlready):  # processEnded is about to be called
            self.transport.signalProcess(number.name.removeprefix("SIG"))

    def send(self, word: str, argument: str = "") -> None:
        """Send it a line; where it is still starting, the last line of each word as soon as it serves."""
        if self.served:
            self.transport.write(f"{word} {argument}".rstrip().encode() + b"\n")
        else:
            self._later[word] = argument

    def end(self, reason: str) -> None:
        """
        Record that it has exited, or never started.

        @param reason: Why, for the log.
        """
        if not self.served:
            self.ready.addErrback(self._ignored_when_replacing)
            self.ready.errback(StartError(f"worker {self.index}: {reason}"))
        self.ended.callback(reason)

    def connectionMade(self) -> None:
        self.transport.write(self._assignment)
        self._watch.start(SILENCE / _CHECKS, now=False)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        self._lines[childFD].feed(data)

    def processExited(self, reason: Failure) -> None:
        if self._watch.running:
            self._watch.stop()
        # A child of the worker may keep the pipes open for ever, and processEnded would wait for that.
        self._linger = self._clock.callLater(_LINGER, self._close_pipes)

    def processEnded(self, reason: Failure) -> None:
        if self._linger.active():
            self._linger.cancel()
        for lines in self._lines.values():
            lines.end()
        self.end(self._reason or _ending(reason))

    def _close_pipes(self) -> None:
        for descriptor in (0, *self._lines):
            self.transport.closeChildFD(descriptor)

    def _control_line(self, line: str) -> None:
        self._silent_checks = 0
        word, _, rest = line.partition(" ")
        if word == READY:
            self.served = True
            self.ready.callback(None)
            for each in self._later.items():
                self.send(*each)
        elif word == FAILED:
            self._reason = rest

    def _check(self) -> None:
        # Checks are counted, not seconds: if this process itself was halted (SIGSTOP), only one of them follows.
        self._silent_checks += 1
        if self._silent_checks >= _CHECKS:
            self._reason = f"gave no sign of life for {SILENCE:g} s, killed"
            self.signal(signal.SIGKILL)

    def _ignored_when_replacing(self, failure: Failure) -> Failure | None:
        return failure if self.first else None


def _ending(reason: Failure) -> str:
    """Return how a process ended, for the log."""
    if not isinstance(reason.value, ProcessTerminated):
        return "ended"
    if reason.value.signal is not None:
        return f"killed by {signal.Signals(reason.value.signal).name}"
    return f"ended with exit status {reason.value.exitCode}"


def _environment(parent: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: the parent's, with its module search path."""
    environment = {name: value for name, value in parent.items() if name not in _OWN_VARIABLES}
    # Absolute, because twistd changes the directory; an empty entry means the current one.
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    return environment
