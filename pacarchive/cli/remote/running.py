"""Runs a command: the reactor, the client, what ends both, and the exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs
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
from pacarchive.cli.printing import printable
from pacarchive.cli.remote.display import Display, is_screen
from pacarchive.cli.remote.ids import Misunderstood
from pacarchive.cli.remote.words import advice_of, exit_code_of, failure_words
from pacarchive.client import ArchiveClient, ClientError, ConnectionFailed, RetryPolicy, retry
from pacarchive.client.download import together

if TYPE_CHECKING:
    import argparse

    from twisted.logger import LogEvent

T = TypeVar("T")

_SHOW_CURSOR = "\x1b[?25h"
_TELL_RETRIES = 10.0


@attrs.define
class Session:
    """
    A command that runs.

    @ivar quiet: Only failures are told, and results that were asked for.
    @ivar json: Results are told as JSON.
    @ivar live: What is on the screen.
    @ivar lost: The archive cannot be reached, after all tries: nothing more is begun.
    """

    reactor: Any
    archive: ArchiveClient
    connections: int
    quiet: bool
    json: bool
    live: Display | None = None
    lost: bool = False
    _told_lost: bool = False
    _codes: set[int] = attrs.field(factory=set)

    @property
    def draws(self) -> bool:
        """Whether progress is to be shown."""
        return not self.quiet and (not self.json or is_screen(sys.stderr))

    def result(self, record: dict[str, Any], line: str | None) -> None:
        """
        Tell a result.

        @param record: For programs.
        @param line: For people; C{None} where there is nothing to tell them.
        """
        if self.json:
            _write(sys.stdout, json.dumps(record))
        elif line is not None:
            if self.live is not None and is_screen(sys.stderr) and sys.stdout.isatty():
                self.live.say(line)  # both are on the same screen
            else:
                _write(sys.stdout, line)

    def note(self, line: str) -> None:
        """Tell a person something that is no result."""
        if not self.quiet and not self.json:
            self._say(line)

    def failed(self, what: str, error: Exception, record: dict[str, Any] | None = None) -> None:
        """
        Tell of a failure; the command goes on, and ends with its exit code.

        @param what: What it is about.
        """
        if self.is_lost(error):
            if self._told_lost:
                self.note_code(exits.UNAVAILABLE)
                return
            self._told_lost = True
        self.refused(what, failure_words(error), exit_code_of(error), error, record)

    def is_lost(self, error: Exception) -> bool:
        """Whether a failure says that the archive cannot be reached, after all tries; then nothing more is begun."""
        found = isinstance(error, ConnectionFailed) and not error.uncertain
        self.lost |= found
        return found

    def refused(
        self, what: str, words: str, code: int, error: Exception | None = None, record: dict[str, Any] | None = None
    ) -> None:
        """As L{failed}, in other words."""
        self.note_code(code)
        if self.json and record is not None:
            kind = type(error).__name__ if error is not None else "Refused"
            told = {"kind": kind, "message": str(error) if error is not None else words}
            if error is not None and (advice := advice_of(error)):
                told["advice"] = advice
            _write(sys.stdout, json.dumps({**record, "error": told}))
        else:
            separator = " " if words.startswith("is ") else ": "
            self._say(f"pacarchive: {printable(what)}{separator}{words}" if what else f"pacarchive: {words}")

    @contextmanager
    def showing(self, display: Display) -> Iterator[None]:
        """Show progress to the end of the block."""
        self.live = display
        try:
            with display.shown(quiet=not self.draws):
                yield
        finally:
            self.live = None

    def _say(self, line: str) -> None:
        if self.live is not None:
            self.live.say(line)
        else:
            _write(sys.stderr, line)

    def note_code(self, code: int) -> None:
        """Something failed for which there is an exit code."""
        self._codes.add(code)

    @property
    def code(self) -> int:
        """The exit code: that of the failures if all were of one kind."""
        if not self._codes:
            return exits.OK
        return self._codes.pop() if len(self._codes) == 1 else exits.FAILED

    async def each(self, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        """
        Do something to each of many, as many at a time as there are connections.

        @raise Exception: What C{work} raises; the others are given up.
        """
        queue = iter(items)

        async def take() -> None:
            while not self.lost and (item := next(queue, None)) is not None:
                await work(item)

        await together(*(take() for _ in range(self.connections)))


def _write(file: Any, line: str) -> None:
    file.write(f"{line}\n")
    file.flush()


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
        _write(sys.stderr, f"pacarchive: {error}")
        return exits.USAGE
    except OSError as error:
        _write(sys.stderr, f"pacarchive: {failure_words(error)}")
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
        _write(sys.stderr, f"pacarchive: {words}")
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
    url = arguments.url or os.environ.get("PACARCHIVE_URL", "")
    if not url:
        raise Misunderstood("which server? Set PACARCHIVE_URL=http://HOST:PORT, or give --url")
    if not re.match(r"[a-z]+://", url):
        url = f"http://{url}"
    token: str | None = os.environ.get("PACARCHIVE_TOKEN") or None
    if arguments.token_file:
        try:
            token = Path(arguments.token_file).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            words = error.strerror if isinstance(error, OSError) else "is no text of a token"
            raise Misunderstood(f"{arguments.token_file}: {words}") from None
    return {
        "url": url,
        "token": token,
        "ca": arguments.ca or os.environ.get("PACARCHIVE_CA") or None,
        "connections": arguments.connections,
        "retry": RetryPolicy(attempts=arguments.retry + 1),
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
        _write(sys.stderr, "pacarchive: interrupted")
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
    def write(event: LogEvent) -> None:
        sys.stderr.write(f"pacarchive: {formatEvent(event)}\n")

    observer = FilteringLogObserver(write, [LogLevelFilterPredicate(LogLevel.critical)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
