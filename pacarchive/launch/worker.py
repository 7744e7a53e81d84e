"""Run one worker process; only L{pacarchive.launch.workers.Supervisor} starts it.

L{pacarchive.launch.messages} describes what is said between the two.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.internet import main as endings
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import FileLogObserver, LogEvent, Logger, eventAsText, globalLogBeginner
from zope.interface import implementer

from pacarchive.launch.jsonlog import json_line
from pacarchive.launch.listening import worker_endpoints
from pacarchive.launch.messages import (
    ALIVE,
    CONTROL,
    COUNTS,
    FAILED,
    HEARTBEAT,
    MEASURE,
    MEASURED,
    READY,
    RELOAD,
    RENEW,
    SHARED,
    TOTALS,
    Assignment,
)
from pacarchive.launch.notify import failure_message
from pacarchive.launch.parent import Parent
from pacarchive.launch.reloading import IReloadable, reload_all
from pacarchive.launch.workers import GROUP_SIGNALS
from pacarchive.runtime.shared import OwnedWork
from pacarchive.settings.server import LogFormat
from pacarchive.telemetry.counts import write_document
from pacarchive.telemetry.memory import CountingMemory
from pacarchive.telemetry.parts import write_part
from pacarchive.telemetry.process import Telemetry

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pacarchive.web.http.credentials import Context

_log = Logger()

_LONGEST_READ = 64 << 10
_LONGEST_REASON = 1000  # a write to a pipe is atomic up to 4096 bytes (PIPE_BUF)

# Twisted's lines about each listening socket and about the end of the reactor.
_NOISY = ("log_legacy", "twisted.internet.base")
_NOISE = re.compile(r"pacarchive starting on |\(\S+ Port \S+ Closed\)|Main loop terminated\.")

MakeService = Callable[[Any, Any, Sequence[IStreamServerEndpoint], Telemetry], IService]
"""Makes the service from the reactor, the settings, the endpoints and what it counts with; its C{startService}
may return a Deferred."""


def run(make_service: MakeService, assignment: Assignment | None = None) -> int:
    """
    Serve until SIGTERM, and then drain; or until the parent is gone, and then exit at once.

    @param make_service: Makes the service.
    @param assignment: What to do; C{None} where the parent sends it.
    @return: The exit status.
    """
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    if assignment is None:
        assignment = pickle.load(sys.stdin.buffer)  # noqa: S301  (the parent's own)
    assert isinstance(assignment, Assignment)
    is_json = assignment.settings.server.log_format is LogFormat.JSON
    globalLogBeginner.beginLoggingTo([FileLogObserver(sys.stderr, partial(_log_line, json_line if is_json else _text))])
    from twisted.internet import reactor

    return _Process(reactor, assignment, make_service).run()


class _Process:
    """
    The worker between its start and its exit.
    """

    def __init__(self, reactor: Any, assignment: Assignment, make_service: MakeService) -> None:
        self._reactor = reactor
        self._assignment = assignment
        self._make_service = make_service
        self._reloadable: Any = None
        self._context: Context | None = None
        self._status = 0
        self._stopping = False
        self._memory = CountingMemory(COUNTS)
        self._telemetry = Telemetry(reactor, self._memory.view, str(assignment.index))
        self._telemetry.whole = self._parent = Parent(reactor, partial(_report, TOTALS))
        self._work = OwnedWork("saying how this worker is")

    def run(self) -> int:
        os.set_blocking(CONTROL, False)
        self._reactor.addReader(_ParentPipe(self._command))
        heartbeat = LoopingCall(_report, ALIVE)
        heartbeat.clock = self._reactor
        heartbeat.start(HEARTBEAT)
        self._reactor.callWhenRunning(self._start)
        self._reactor.run()
        return self._status

    def _start(self) -> None:
        # Instead of the reactor's handler, which fails at a second signal: a terminal or an operator may have sent one
        # to the whole process group before the parent does.
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._stop))
        Deferred.fromCoroutine(self._serve()).addCallbacks(lambda _: _report(READY), self._failed)

    async def _serve(self) -> None:
        if self._assignment.credentials is not None:
            from pacarchive.web.http.credentials import Context  # only now: others need no OpenSSL

            self._context = Context(self._assignment.credentials)
        endpoints = worker_endpoints(self._reactor, self._assignment.listeners, self._assignment.index, self._context)
        service = self._make_service(self._reactor, self._assignment.settings, endpoints, self._telemetry)
        self._reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        self._reloadable = IReloadable(service, None)
        await maybeDeferred(service.startService)

    def _command(self, line: bytes) -> None:
        word, _, rest = line.decode("ascii").partition(" ")
        if word == MEASURE:
            number, _, more = rest.partition(" ")
            self._work.keep(self._measure(number, shared=more == SHARED))
        elif word == TOTALS:
            self._parent.tells(rest)
        elif word == RENEW and self._context is not None:
            reload_all(partial(_renew, self._context, rest))
        elif word == RELOAD and self._reloadable is not None and (done := reload_all(self._reloadable.reload)):
            _log.info("reloaded {what}", what=", ".join(done))

    async def _measure(self, number: str, *, shared: bool) -> None:
        write_document(self._memory.view, write_part(await self._telemetry.part(shared=shared)))
        _report(f"{MEASURED} {number}")

    def _failed(self, failure: Failure) -> None:
        _report(f"{FAILED} {failure_message(failure)[:_LONGEST_REASON]}")
        self._status = 1
        self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()


def _renew(context: Context, encoded: str) -> list[str]:
    context.renew(pickle.loads(b64decode(encoded)))  # noqa: S301  (the parent's own)
    return []


def _report(line: str) -> None:
    # If the parent is gone, _ParentPipe ends this process; a parent that does not read can do without a heartbeat.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(CONTROL, f"{line}\n".encode())


@implementer(IReadDescriptor)
class _ParentPipe:
    """
    Standard input, on which the parent sends commands, and whose end means that the parent is gone.

    This process exits then without draining: nobody supervises it, and a new parent may already wait for its port.  It
    is as if the whole server had been killed, which loses no acknowledged file.

    @param deliver: Called with each line that the parent sends.
    """

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._partial: list[bytes] = []

    def fileno(self) -> int:
        return 0

    def logPrefix(self) -> str:
        return "parent pipe"

    def doRead(self) -> Any:
        if not (data := os.read(0, _LONGEST_READ)):
            return endings.CONNECTION_DONE
        if b"\n" not in data:  # of a long line, which is not put together over and over
            self._partial.append(data)
            return None
        *lines, rest = (b"".join(self._partial) + data).split(b"\n")
        self._partial = [rest]
        for line in lines:
            self._deliver(line)
        return None

    def connectionLost(self, reason: Failure) -> None:
        # The stop of the reactor calls this too, with another reason.
        if isinstance(reason.value, ConnectionDone):
            os._exit(1)


def _log_line(write: Callable[[LogEvent], str | None], event: LogEvent) -> str | None:
    """
    Format a log event for the parent.

    @param write: How.
    @return: C{None} for lines that the parent logs itself.
    """
    if event.get("log_namespace") in _NOISY and _NOISE.match(event.get("log_text") or event.get("log_format") or ""):
        return None
    return write(event)


def _text(event: LogEvent) -> str | None:
    """Format a log event as twistd does, but without the time, which the parent adds."""
    text = eventAsText(event, includeTimestamp=False)
    return f"{text}\n" if text else None
