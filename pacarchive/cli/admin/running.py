"""Using a backend without its service: it is started, used and stopped, in a reactor of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import LogLevel

from pacarchive.cli.admin.archive import require_own, root_of, tree_of
from pacarchive.cli.running import run_in_reactor
from pacarchive.errors import BackendUnavailable
from pacarchive.settings.reading import ConfigError, find_provider
from pacarchive.settings.sections import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.defer import Deferred

    from pacarchive.interfaces import IArchiveBackend


class NotStarted(Exception):
    """The backend could not be started; C{str()} is one line for the operator."""


class Interruption:
    """
    Whether the command was interrupted, by Ctrl-C or SIGTERM, while it uses a backend.

    @ivar received: Whether there was a signal: the step that is under way is finished, and no other begun.
    @ivar waits_for_work: Whether the work has begun, which checks C{received} between its steps.
    """

    received = False
    waits_for_work = False


def with_backend(settings: Settings, work: Callable[[IArchiveBackend, Interruption], Awaitable[None]]) -> None:
    """
    Start a backend, do some work with it, and stop it, in a reactor that can run once in a process.

    @param settings: The settings.
    @param work: Called when the backend has started.
    @raise ConfigError: This machine lacks something that the backend needs, or the user is not the service's.
    @raise NotStarted: The storage cannot be used at present.
    @raise Interrupted: Ctrl-C or SIGTERM; the step of the work that was under way has ended, and the backend is
        stopped.
    """
    if (tree := tree_of(settings)) is not None:
        with root_of(tree) as root:
            require_own(tree, root)
    interruption = Interruption()

    def interrupt(running: Deferred[None]) -> None:
        interruption.received = True
        if not interruption.waits_for_work:
            running.cancel()

    run_in_reactor(
        lambda reactor: _run(reactor, settings, work, interruption), interrupt=interrupt, least=LogLevel.warn
    )


async def _run(
    reactor: Any,
    settings: Settings,
    work: Callable[[IArchiveBackend, Interruption], Awaitable[None]],
    interruption: Interruption,
) -> None:
    name = settings.server.type
    try:
        backend = find_provider(name).make(reactor, settings.backend)
    except ImportError as error:
        raise ConfigError(f"backend {name}", str(error)) from error
    try:
        try:
            await maybeDeferred(backend.startService)
        except BackendUnavailable as error:
            raise NotStarted(str(error)) from error
        interruption.waits_for_work = True
        await work(backend, interruption)
    finally:
        await maybeDeferred(backend.stopService)
