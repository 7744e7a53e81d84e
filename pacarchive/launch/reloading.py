"""What operators' signals do.  None of them ends the server but SIGTERM, SIGINT, and what cannot be caught.

SIGHUP: what can be reloaded is, in this process and in its workers.  SIGUSR1, which in twistd rotates the log, does the
same where twistd leaves it to us.  SIGUSR2 means nothing, which is said, as does a second SIGTERM or SIGINT.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from zope.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

_log = Logger()

SIGNALS = frozenset({signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
"""Those that would end a process that knows nothing of them, and that operators send."""


class IReloadable(Interface):
    """What can read again, while it serves, what it has read at its start."""

    def reload() -> Sequence[str]:
        """
        Do so; what cannot be read leaves what was in force in force.

        @return: What was reloaded, in words for the log.
        @raise OSError: Something could not be.
        """


def heed(reactor: Any, reload: Callable[[str], None]) -> None:
    """
    Listen to signals from now on, for as long as the process lives.

    @param reactor: The reactor.
    @param reload: Called in the reactor's thread with the signal's name; once for many that come together.
    """
    _handle(reactor, signal.SIGHUP, reload)
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # else twistd rotates a log file of its own then
        _handle(reactor, signal.SIGUSR1, reload)
    _handle(reactor, signal.SIGUSR2, _ignore)


def bear_repetition(reactor: Any, is_running: Callable[[], bool]) -> None:
    """
    Have a second SIGINT or SIGTERM end nothing that ends already; the reactor's own handlers fail at it.

    @param reactor: The reactor, which has its handlers as soon as it runs.
    @param is_running: Whether nothing has begun to stop the service.
    """
    reactor.callWhenRunning(lambda: _wrap_endings(reactor, is_running))


def _wrap_endings(reactor: Any, is_running: Callable[[], bool]) -> None:
    ending = False

    def wrap(number: signal.Signals) -> None:
        first = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None) -> None:
            nonlocal ending
            if ending or not is_running():
                reactor.callFromThread(_end_already, number.name)
            else:
                ending = True
                first(received, frame)  # type: ignore[operator, misc]

        if callable(first):
            signal.signal(number, handle)

    for number in (signal.SIGINT, signal.SIGTERM):
        wrap(number)


def _end_already(name: str) -> None:
    _log.info("{name}: stopping already, as soon as the transfers under way are over; SIGKILL ends it now", name=name)


def reload_all(*each: Callable[[], Sequence[str]]) -> list[str]:
    """
    Reload several things, each whatever becomes of those before it.

    @return: What was reloaded; what was not has been logged.
    """
    done: list[str] = []
    for reload in each:
        try:
            done += reload()
        except OSError as error:
            _log.error("cannot reload: {error}", error=error)
        except Exception:  # noqa: BLE001  (whatever it was, the server goes on)
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
