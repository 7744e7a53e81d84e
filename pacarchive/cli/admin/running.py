"""A backend without its service: started, used and stopped, in a reactor of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from twisted.internet import task
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive.cli.admin.archive import require_own, root_of, tree_of
from pacarchive.errors import BackendUnavailable
from pacarchive.settings.reading import ConfigError, find_provider
from pacarchive.settings.sections import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.logger import LogEvent

    from pacarchive.interfaces import IArchiveBackend


class NotStarted(Exception):
    """The backend does not start; C{str()} is one line for the operator."""


class Interruption:
    """
    Ctrl-C.

    @ivar came: Whether it did: what is at hand is brought to its end, and nothing else begun.
    @ivar waits_for_work: Whether work is under way that looks at C{came}.
    """

    came = False
    waits_for_work = False


def with_backend(settings: Settings, work: Callable[[IArchiveBackend, Interruption], Awaitable[None]]) -> None:
    """
    Run the reactor, once in a process, until some work is done.

    @param work: Is called when the backend has started.
    @raise ConfigError: This machine lacks something that the backend needs, or this is another user than the service's.
    @raise NotStarted: The storage cannot be used at present.
    @raise KeyboardInterrupt: Ctrl-C; what was at hand has ended, and the backend is stopped.
    """
    if (tree := tree_of(settings)) is not None:
        with root_of(tree) as root:
            require_own(tree, root)
    _log_to_stderr()
    interruption = Interruption()
    outcome: list[Failure | None] = []

    def main(reactor: Any) -> Deferred[None]:
        running = Deferred.fromCoroutine(_run(_make(reactor, settings), work, interruption))
        running.addBoth(outcome.append)
        # Ctrl-C: the reactor waits with its end for this.
        reactor.addSystemEventTrigger("before", "shutdown", _end, running, interruption)
        return running

    try:
        task.react(main)
    except SystemExit as ended:
        if not outcome:  # main itself failed; the reactor has told of it
            raise NotStarted(f"the reactor ended: {ended.code}") from None
    (failure,) = outcome
    if interruption.came:
        raise KeyboardInterrupt
    if failure is not None:
        failure.raiseException()


def _make(reactor: Any, settings: Settings) -> IArchiveBackend | ConfigError:
    name = settings.server.type
    try:
        return find_provider(name).make(reactor, settings.backend)
    except ImportError as error:
        return ConfigError(f"backend {name}", str(error))


async def _run(
    backend: IArchiveBackend | ConfigError,
    work: Callable[[IArchiveBackend, Interruption], Awaitable[None]],
    interruption: Interruption,
) -> None:
    if isinstance(backend, ConfigError):
        raise backend
    try:
        try:
            await maybeDeferred(backend.startService)
        except BackendUnavailable as error:
            raise NotStarted(str(error)) from error
        interruption.waits_for_work = True
        await work(backend, interruption)
    finally:
        await maybeDeferred(backend.stopService)


def _end(running: Deferred[None], interruption: Interruption) -> Deferred[None]:
    if not running.called:
        interruption.came = True
        if not interruption.waits_for_work:
            running.cancel()
    return running


def _log_to_stderr() -> None:
    """What the backend warns of is for the operator; what else it tells is the service's log's."""

    globalLogBeginner.beginLoggingTo([_Warnings()], redirectStandardIO=False, discardBuffer=True)


@implementer(ILogObserver)
class _Warnings:
    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            sys.stderr.write(f"pacarchive: {formatEvent(event)}\n")
