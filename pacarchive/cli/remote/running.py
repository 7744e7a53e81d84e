"""Runs a command: the reactor, the client, what ends both, and the exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from zope.interface import provider

from pacarchive.cli import exits
from pacarchive.cli.printing import is_screen
from pacarchive.cli.remote.ids import Misunderstood
from pacarchive.cli.remote.session import Session, write
from pacarchive.cli.remote.words import failure_words
from pacarchive.client import ArchiveClient, ClientError, RetryPolicy, retry
from pacarchive.texts import NotText, printable, read_text

if TYPE_CHECKING:
    import argparse

    from twisted.logger import LogEvent

T = TypeVar("T")

_SHOW_CURSOR = "\x1b[?25h"
_TELL_RETRIES = 10.0
_TLS = "twisted.internet._sslverify"


def run(
    arguments: argparse.Namespace,
    prepare: Callable[[], T],
    command: Callable[[Session, T], Coroutine[Any, Any, None]],
) -> int:
    """
    Run a command.

    @param prepare: Finds out what is wanted, before the reactor runs, so that it may read files.  It raises
        L{Misunderstood} where that means nothing.
    @param command: Does it.
    @return: The exit code.
    """
    try:
        wanted = prepare()
        options = _options(arguments)
    except Misunderstood as error:
        write(sys.stderr, f"pacarchive: {error}")
        return exits.USAGE
    except OSError as error:
        write(sys.stderr, f"pacarchive: {failure_words(error)}")
        return exits.FAILED
    _log_to_stderr()
    return _react(lambda reactor: _command(reactor, arguments, options, lambda session: command(session, wanted)))


async def _command(
    reactor: Any,
    arguments: argparse.Namespace,
    options: dict[str, Any],
    command: Callable[[Session], Coroutine[Any, Any, None]],
) -> int:
    url = options.pop("url")
    try:
        archive = ArchiveClient(reactor, url, **options)
    except (ValueError, OSError) as error:
        words = failure_words(error) if isinstance(error, OSError) else error
        write(sys.stderr, f"pacarchive: {words}")
        return exits.USAGE
    async with archive:
        session = Session(reactor, archive, arguments.connections, arguments.quiet, arguments.json)
        try:
            with _retries_told(session):
                await command(session)
        except (ClientError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            session.failed("", error)
        return session.code


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """
    What the client is made with.

    @raise Misunderstood: There is no URL, or a file cannot be read.
    """
    url = (arguments.url or os.environ.get("PACARCHIVE_URL", "")).strip()
    if not url:
        raise Misunderstood("which server? Set PACARCHIVE_URL=http://HOST:PORT, or give --url")
    if arguments.connections < 1:
        raise Misunderstood("--connections must be at least 1")
    if not re.match(r"[A-Za-z]+:/", url):
        url = f"http://{url}"
    token: str | None = os.environ.get("PACARCHIVE_TOKEN") or None
    if arguments.token_file:
        try:
            token = read_text(arguments.token_file).strip()
        except (OSError, NotText) as error:
            words = error.strerror if isinstance(error, OSError) else error
            raise Misunderstood(f"{arguments.token_file}: {words}") from None
    return {
        "url": url,
        "token": token,
        "ca": arguments.ca or os.environ.get("PACARCHIVE_CA") or None,
        "connections": arguments.connections,
        "retry": RetryPolicy(attempts=arguments.retry + 1, restarts=arguments.retry),
    }


def _react(main: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """Run the reactor until the command has ended, or was interrupted and has ended."""
    from twisted.internet import reactor as installed  # which is made here

    reactor: Any = installed
    outcome: list[int | Failure] = []
    received: list[int] = []
    running: list[Deferred[int]] = []

    def begin() -> None:
        command = Deferred.fromCoroutine(main(reactor))
        running.append(command)
        command.addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    def give_up() -> None:
        for each in running:
            each.cancel()

    def interrupt(number: int, frame: object) -> None:
        if received:
            _end_at_once(number)
        received.append(number)
        reactor.callFromThread(give_up)

    reactor.callWhenRunning(begin)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    reactor.run(installSignalHandlers=False)
    (result,) = outcome
    if received:
        write(sys.stderr, "pacarchive: interrupted")
        return exits.INTERRUPTED if received[0] == signal.SIGINT else 128 + received[0]
    if isinstance(result, Failure):
        if result.check(CancelledError):
            return exits.INTERRUPTED
        result.raiseException()
    return result


def _end_at_once(number: int) -> NoReturn:
    """The user does not want to wait for what is being ended."""
    if is_screen(sys.stderr):
        os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())
    os._exit(128 + number)


@contextmanager
def _retries_told(session: Session) -> Iterator[None]:
    """Say why nothing goes on: what the client logs of that, now and then."""
    next_time = 0.0

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        nonlocal next_time
        if event.get("log_namespace") == retry.__name__ and session.reactor.seconds() >= next_time:
            next_time = session.reactor.seconds() + _TELL_RETRIES
            session.note(printable(f"pacarchive: {str(event['error']).rstrip('.')}; trying again"))

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)


def _log_to_stderr() -> None:
    """Nothing is logged but what nobody had foreseen."""

    @provider(ILogObserver)
    def tell(event: LogEvent) -> None:
        if event.get("log_namespace") != _TLS:  # of a certificate that is refused, the failure tells
            sys.stderr.write(f"pacarchive: {formatEvent(event)}\n")

    observer = FilteringLogObserver(tell, [LogLevelFilterPredicate(LogLevel.critical)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
