"""The parent of the worker processes: starts, watches, replaces and drains them.

It answers no requests and opens nothing of the archive, but has imported all that does, so that the workers which it
forks (L{pacarchive.launch.forking}) need not.  What they say to each other is in L{pacarchive.launch.messages}, one of
them as seen from here in L{pacarchive.launch.supervised}, what all of them count in L{pacarchive.launch.gathering}.
"""

from __future__ import annotations

import os
import signal
import sys
from base64 import b64encode
from functools import partial
from pickle import dumps
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from pacarchive.launch.forking import can_fork, fork
from pacarchive.launch.gathering import Gathering
from pacarchive.launch.jsonlog import relay
from pacarchive.launch.listening import Listener, PortReservation
from pacarchive.launch.messages import CONTROL, COUNTS, RELOAD, RENEW, Assignment
from pacarchive.launch.reloading import SIGNALS, IReloadable
from pacarchive.launch.supervised import SupervisedWorker
from pacarchive.telemetry.memory import CountingMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pacarchive.settings.sections import Settings
    from pacarchive.web.http.credentials import Credentials

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

# Meant for the process that systemd started, and wrong in its children.
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

_log = Logger()


@implementer(IReloadable)
class Supervisor(Service):
    """
    Keeps C{settings.server.workers} worker processes running.

    @param reactor: The reactor, also the source of time.
    @param settings: The settings, for the workers.
    @param serve: Called in a worker that is forked from this process, with what it is to do; returns its exit status.
    @param command: The program of a worker where this process cannot fork, or there is no C{serve}.
    @param secure: The endpoint strings of C{[tls]}.
    @param credentials: Certificate and key, for these.
    @ivar whole: What all workers count, those that are gone included.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        serve: Callable[[Assignment], int] | None = None,
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
        self._workers: dict[int, SupervisedWorker] = {}
        self.whole = Gathering(reactor, settings.server.workers, self._workers)
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

    async def _keep(self, worker: SupervisedWorker) -> None:
        """Replace a worker whenever it ends, until the service stops."""
        index = worker.index
        pause = FIRST_PAUSE
        while True:
            born = self._reactor.seconds()
            reason = await worker.ended
            del self._workers[index]
            self.whole.ended(worker)
            # If it has never served, `ready` has failed with the reason, and so has the start-up, which waits for it.
            if not self.running or (worker.first and not worker.served):
                return
            if self._reactor.seconds() - born >= SETTLED:
                pause = FIRST_PAUSE
            self.whole.replaced(worker)
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

    def _spawn(self, index: int, *, first: bool = True) -> SupervisedWorker:
        memory = CountingMemory()
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r", CONTROL: "r", COUNTS: memory.descriptor}
        listeners = []
        for listener in self._listeners:
            if listener.descriptor is not None:
                number = len(descriptors)
                descriptors[number] = listener.descriptor
                listener = attrs.evolve(listener, descriptor=number)
            listeners.append(listener)
        assignment = Assignment(self._settings, index, tuple(listeners), self._credentials)
        serve = None if self._serve is None or not can_fork(self._reactor) else partial(self._serve, assignment)
        # Who is forked has it already.
        sent = dumps(assignment) if serve is None else b""
        log = relay(self._settings.server.log_format, index)
        worker = SupervisedWorker(self._reactor, index, first, sent, log, memory, self.whole.hear)
        self._workers[index] = worker
        # The worker inherits the mask, so that a signal to the process group waits until it has handlers.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
        environment = _environment(os.environ)
        try:
            if serve is not None:
                fork(self._reactor, worker, descriptors, environment, serve)
            else:
                self._reactor.spawnProcess(
                    worker, self._command[0], self._command, env=environment, childFDs=descriptors
                )
        except OSError as error:  # no memory, too many processes
            worker.end(f"cannot be started: {error.strerror}")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return worker


def _environment(parent: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: the parent's, with its module search path."""
    environment = {name: value for name, value in parent.items() if name not in _OWN_VARIABLES}
    # Absolute, because twistd changes the directory; an empty entry means the current one.
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    return environment
