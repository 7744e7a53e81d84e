"""Runs Twisted's reactor for one command, with its logging and its signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import provider

from pacarchive.cli.printing import is_screen
from pacarchive.cli.streams import Interrupted

T = TypeVar("T")

_SHOW_CURSOR = "\x1b[?25h"
_TLS = "twisted.internet._sslverify"


def run_in_reactor(
    main: Callable[[Any], Coroutine[Any, Any, T]],
    *,
    interrupt: Callable[[Deferred[T]], object] = Deferred.cancel,
    unfinished: str = "",
    least: Any = LogLevel.critical,
) -> T:
    """
    Run the reactor until a command has ended.  A process can do that once.

    SIGINT and SIGTERM interrupt the command, and are raised when it has ended; a second one ends the process at once.

    @param main: The command; called with the reactor.
    @param interrupt: Called with the command's Deferred at the first signal, to end the command in order.
    @param unfinished: Printed on stderr when a second signal ends the process.
    @param least: The least level of what is logged to stderr.
    @return: What the command returns.
    @raise Interrupted: There was a signal, and the command has ended.
    @raise Exception: What the command raises.
    """
    from twisted.internet import reactor as installed  # importing it installs it

    reactor: Any = installed
    outcome: list[T | Failure] = []
    received: list[int] = []
    running: list[Deferred[T]] = []

    def begin() -> None:
        running.append(command := Deferred.fromCoroutine(main(reactor)))
        command.addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    def on_signal(number: int, frame: object) -> None:
        if received:
            _end_at_once(number, unfinished)
        received.append(number)
        reactor.callFromThread(lambda: [interrupt(each) for each in running if not each.called])

    _log_to_stderr(least)
    reactor.callWhenRunning(begin)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    reactor.run(installSignalHandlers=False)
    if received:
        raise Interrupted(received[0])
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result


def _end_at_once(number: int, unfinished: str) -> NoReturn:
    """End the process, as the user does not wait for the command to end in order."""
    if is_screen(sys.stderr):
        os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
    sys.stderr.write(unfinished)
    os._exit(128 + number)


def _log_to_stderr(least: Any) -> None:
    @provider(ILogObserver)
    def write(event: LogEvent) -> None:
        if event.get("log_namespace") != _TLS:  # the failure of the request says why a certificate is refused
            sys.stderr.write(f"pacarchive: {formatEvent(event)}\n")

    observer = FilteringLogObserver(write, [LogLevelFilterPredicate(least)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
