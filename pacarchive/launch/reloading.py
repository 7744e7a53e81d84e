"""Handle operators' signals.  Only SIGTERM, SIGINT, and those that cannot be caught end the server.

SIGHUP reloads what can be reloaded, in this process and in its workers.  SIGUSR1, which in twistd rotates the log, does
the same where twistd does not handle it.  SIGUSR2, and a second SIGTERM or SIGINT, do nothing and are logged.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from zope.interface import Interface

from pacarchive.settings.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

_log = Logger()

SIGNALS = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
"""The signals that operators send, and that would end a process which has no handler for them."""


class IReloadable(Interface):
    """A service that can read files again while it runs that it has read at its start."""

    def reload() -> Sequence[str]:
        """
        Read the files again; where one cannot be read, what was in force stays in force.

        @return: What was reloaded, as text for the log.
        @raise ConfigError: What was read cannot be used.
        @raise OSError: A file cannot be read.
        """


def handle_signals(reactor: Any, reload: Callable[[str], None]) -> None:
    """
    Install the handlers, for as long as the process lives.

    @param reactor: The reactor.
    @param reload: Called in the reactor's thread with the signal's name; once for several that arrive together.
    """
    _handle(reactor, signal.SIGHUP, reload)
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # else twistd rotates a log file of its own then
        _handle(reactor, signal.SIGUSR1, reload)
    _handle(reactor, signal.SIGUSR2, _ignore)


def ignore_repeated_stops(reactor: Any, is_running: Callable[[], bool]) -> None:
    """
    Make a second SIGINT or SIGTERM do nothing but log a line, where the reactor's own handlers would fail.

    @param reactor: The reactor, which installs its handlers when it begins to run.
    @param is_running: Returns whether the service has not begun to stop.
    """
    reactor.callWhenRunning(lambda: _wrap_stop_handlers(reactor, is_running))


def _wrap_stop_handlers(reactor: Any, is_running: Callable[[], bool]) -> None:
    ending = False

    def wrap(number: signal.Signals) -> None:
        first = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None) -> None:
            nonlocal ending
            if ending or not is_running():
                reactor.callFromThread(_log_already_stopping, number.name)
            else:
                ending = True
                first(received, frame)  # type: ignore[operator, misc]

        if callable(first):
            signal.signal(number, handle)

    for number in (signal.SIGINT, signal.SIGTERM):
        wrap(number)


def _log_already_stopping(name: str) -> None:
    _log.info("{name}: stopping already, as soon as the transfers under way are over; SIGKILL ends it now", name=name)


def reload_all(*each: Callable[[], Sequence[str]]) -> list[str]:
    """
    Call several C{reload}s, each of them whether or not those before it succeed.

    @return: What was reloaded; failures have been logged.
    """
    done: list[str] = []
    for reload in each:
        try:
            done += reload()
        except (ConfigError, OSError) as error:
            _log.error("cannot reload: {error}; what was in force still is", error=error)
        except Exception:  # noqa: BLE001  (the server goes on after any error)
            _log.failure("cannot reload")
    return done


def _handle(reactor: Any, number: signal.Signals, act: Callable[[str], None]) -> None:
    waiting = False

    def run() -> None:
        nonlocal waiting
        waiting = False
        act(number.name)

    def handle(*_: object) -> None:
        nonlocal waiting
        if not waiting:
            waiting = True
            reactor.callFromThread(run)

    signal.signal(number, handle)


def _ignore(name: str) -> None:
    _log.info("{name} is ignored here", name=name)
