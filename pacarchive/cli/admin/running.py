"""Using backends without their services: they are started, used and stopped, in a reactor of its own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import LogLevel

from pacarchive.cli.admin.archive import require_own, root_of, tree_of
from pacarchive.cli.running import run_in_reactor
from pacarchive.errors import BackendUnavailable
from pacarchive.settings.making import make_backend
from pacarchive.settings.sections import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.defer import Deferred

    from pacarchive.interfaces import IArchiveBackend

    Making = Callable[[Any, Settings], IArchiveBackend]


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


def with_backend(
    settings: Settings,
    work: Callable[[IArchiveBackend, Interruption], Awaitable[None]],
    make: Making = make_backend,
) -> None:
    """
    Start a backend, do some work with it, and stop it, in a reactor that can run once in a process.

    @param settings: The settings.
    @param work: Called when the backend has started.
    @param make: Makes it: by default without what is behind it, which only a server needs.
    @raise Exception: As L{with_backends}.
    """

    async def alone(reactor: Any, backends: Sequence[IArchiveBackend], interruption: Interruption) -> None:
        (backend,) = backends
        await work(backend, interruption)

    with_backends([settings], alone, make)


def with_backends(
    archives: Sequence[Settings],
    work: Callable[[Any, Sequence[IArchiveBackend], Interruption], Awaitable[None]],
    make: Making = make_backend,
) -> None:
    """
    Start the backends of several archives, do some work with them, and stop them, in a reactor that can run once in a
    process.

    @param archives: The settings of each.
    @param work: Called with the reactor and the backends when they have started.
    @param make: Makes each backend.
    @raise ConfigError: This machine lacks something that a backend needs, or the user is not the service's.
    @raise NotStarted: A storage cannot be used at present.
    @raise Interrupted: Ctrl-C or SIGTERM; the step of the work that was under way has ended, and the backends are
        stopped.
    """
    for settings in archives:
        if (tree := tree_of(settings)) is not None:
            with root_of(tree) as root:
                require_own(tree, root)
    interruption = Interruption()

    def interrupt(running: Deferred[None]) -> None:
        interruption.received = True
        if not interruption.waits_for_work:
            running.cancel()

    async def run(reactor: Any) -> None:
        async with AsyncExitStack() as started:
            backends = [await _start(reactor, settings, started, make) for settings in archives]
            interruption.waits_for_work = True
            await work(reactor, backends, interruption)

    run_in_reactor(run, interrupt=interrupt, least=LogLevel.warn)


async def _start(reactor: Any, settings: Settings, started: AsyncExitStack, make: Making) -> IArchiveBackend:
    backend = make(reactor, settings)

    async def stop() -> None:
        await maybeDeferred(backend.stopService)

    started.push_async_callback(stop)  # also of one that fails to start
    try:
        await maybeDeferred(backend.startService)
    except BackendUnavailable as error:
        raise NotStarted(str(error)) from error
    return backend
