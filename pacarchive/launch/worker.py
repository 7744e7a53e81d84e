"""One worker process, started by L{pacarchive.launch.workers.Supervisor} only.

L{pacarchive.launch.workers} says what the two tell each other.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.internet import main as endings
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import FileLogObserver, LogEvent, Logger, eventAsText, globalLogBeginner
from zope.interface import implementer

from pacarchive.launch.listening import worker_endpoints
from pacarchive.launch.notify import failure_words
from pacarchive.launch.reloading import IReloadable, reload_all
from pacarchive.launch.workers import ALIVE, CONTROL, FAILED, GROUP_SIGNALS, HEARTBEAT, READY, RELOAD, Assignment

if TYPE_CHECKING:
    from twisted.python.failure import Failure

_log = Logger()

_LONGEST_READ = 4096
_LONGEST_REASON = 1000  # a write to a pipe is all or nothing up to 4096 bytes

# Twisted's, of each listening socket and of each end.
_NOISY = ("log_legacy", "twisted.internet.base")
_NOISE = re.compile(r"pacarchive starting on |\(\S+ Port \S+ Closed\)|Main loop terminated\.")

MakeService = Callable[[Any, Any, Sequence[IStreamServerEndpoint]], IService]
"""From reactor, settings and endpoints to what serves; its C{startService} may return a Deferred."""


def run(make_service: MakeService) -> int:
    """
    Serve until SIGTERM, and drain then; or until the parent is gone, and end at once.

    @param make_service: Makes what serves.
    @return: The exit status.
    """
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    assignment: Assignment = pickle.load(sys.stdin.buffer)  # noqa: S301  (the parent's own)
    globalLogBeginner.beginLoggingTo([FileLogObserver(sys.stderr, _log_line)])
    from twisted.internet import reactor

    return _Process(reactor, assignment, make_service).run()


class _Process:
    """
    The worker's life between start and exit.
    """

    def __init__(self, reactor: Any, assignment: Assignment, make_service: MakeService) -> None:
        self._reactor = reactor
        self._assignment = assignment
        self._make_service = make_service
        self._reloadable: Any = None
        self._status = 0
        self._stopping = False

    def run(self) -> int:
        os.set_blocking(CONTROL, False)
        self._reactor.addReader(_Lifeline(self._told))
        beat = LoopingCall(_tell, ALIVE)
        beat.clock = self._reactor
        beat.start(HEARTBEAT)
        self._reactor.callWhenRunning(self._start)
        self._reactor.run()
        return self._status

    def _start(self) -> None:
        # Instead of the reactor's handler, which cannot bear a second one: the parent's may come on top of one that a
        # terminal or an operator sent to the whole group.
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._stop))
        Deferred.fromCoroutine(self._serve()).addCallbacks(lambda _: _tell(READY), self._failed)

    async def _serve(self) -> None:
        endpoints = worker_endpoints(self._reactor, self._assignment.listeners, self._assignment.index)
        service = self._make_service(self._reactor, self._assignment.settings, endpoints)
        self._reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        self._reloadable = IReloadable(service, None)
        await maybeDeferred(service.startService)

    def _told(self, line: bytes) -> None:
        if line == RELOAD.encode() and self._reloadable is not None and (done := reload_all(self._reloadable.reload)):
            _log.info("reloaded {what}", what=", ".join(done))

    def _failed(self, failure: Failure) -> None:
        _tell(f"{FAILED} {failure_words(failure)[:_LONGEST_REASON]}")
        self._status = 1
        self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()


def _tell(line: str) -> None:
    # A parent that is gone ends this process through the lifeline; one that does not read can miss a sign of life.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(CONTROL, f"{line}\n".encode())


@implementer(IReadDescriptor)
class _Lifeline:
    """
    Standard input, which ends when the parent is gone, however it went.

    Nothing is drained then: nobody replaces this process, and a new parent may already wait for its port.  It is as if
    the whole server had been killed, which loses no acknowledged file.

    @param told: Takes each line that the parent sends meanwhile.
    """

    def __init__(self, told: Callable[[bytes], None]) -> None:
        self._told = told
        self._rest = b""

    def fileno(self) -> int:
        return 0

    def logPrefix(self) -> str:
        return "lifeline"

    def doRead(self) -> Any:
        if not (data := os.read(0, _LONGEST_READ)):
            return endings.CONNECTION_DONE
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._told(line)
        return None

    def connectionLost(self, reason: Failure) -> None:
        # The reactor's own end comes here too, with another reason.
        if isinstance(reason.value, ConnectionDone):
            os._exit(1)


def _log_line(event: LogEvent) -> str | None:
    """As twistd would write it, but without the time, which the parent adds, and what the parent says itself."""
    if event.get("log_namespace") in _NOISY and _NOISE.match(event.get("log_text") or event.get("log_format") or ""):
        return None
    text = eventAsText(event, includeTimestamp=False)
    return f"{text}\n" if text else None
