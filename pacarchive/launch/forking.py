"""Fork workers from their parent, which has imported all they need: they start at once and share its memory.

A process that forks must have a single thread.  Other threads would stop halfway in the child, with their locks held
for ever; so where there are any (a log observer's, a foreign backend's library), or another reactor than epoll's, a
worker is started as a program of its own instead (L{can_fork}).  The same holds where an import opened files, as a C
library might when it is loaded (L{count_descriptors}): the child would find them closed.  The parent opens nothing of
the archive, and so there is nothing that parent and child must not both use: no database, no session, no TLS
connection.

The child is made by L{Process}, which gives it its pipes and closes all other descriptors.  It never returns from
L{_execChild}, so that none of the parent's code runs on in it and none of the parent's objects is dropped: that might
close a descriptor which has another meaning by then.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.process import Process, reapProcessHandlers
from twisted.logger import globalLogBeginner, globalLogPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IProcessTransport
    from twisted.internet.protocol import ProcessProtocol

_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""The signals that Python itself ignores from its start."""

_never_closed: list[object] = []
"""Objects that would close descriptors if they were collected."""


def can_fork(reactor: object) -> bool:
    """Return whether a worker may be forked from this process, which runs C{reactor}."""
    return type(reactor) is EPollReactor and _is_single_threaded()


def count_descriptors() -> int:
    """Return how many descriptors this process has open, or 0 where C{/proc} does not say."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def fork(
    reactor: Any,
    protocol: ProcessProtocol,
    descriptors: dict[int, Any],
    environment: Mapping[str, str],
    serve: Callable[[], int],
) -> IProcessTransport:
    """
    Start a child process that runs C{serve} with the modules that this process has imported.  Signals that are blocked
    in this process are blocked in the child.

    @param reactor: The reactor, which is started again in the child.
    @param protocol: Receives what the child writes, and how it ends.
    @param descriptors: The child's descriptors, as C{IReactorProcess.spawnProcess} takes them (C{childFDs}).
    @param environment: The child's environment variables.
    @param serve: Called in the child; returns its exit status.
    @return: The child, for signals and for its pipes.
    @raise OSError: The system cannot make another process.
    """
    gc.freeze()  # else the garbage collector would write to each object, and so copy every shared page
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        return _Forked(reactor, protocol, descriptors, environment, mask, serve)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Forked(Process):
    """
    A child process that goes on in this program instead of executing another one.

    @param mask: The signals to block in the child once it has handlers of its own.
    @param serve: Called in the child; returns its exit status.
    """

    def __init__(
        self,
        reactor: Any,
        protocol: ProcessProtocol,
        descriptors: dict[int, Any],
        environment: Mapping[str, str],
        mask: set[Any],
        serve: Callable[[], int],
    ) -> None:
        self._mask = mask
        self._serve = serve
        super().__init__(reactor, "", (), environment, None, protocol, childFDs=descriptors)

    def _trySpawnInsteadOfFork(self, *args: object) -> bool:
        return False

    def _execChild(self, *args: Any) -> NoReturn:
        """Run C{serve} and exit; called in the child, once its descriptors are in place."""
        status = 1
        try:
            *_, environment = args
            _reset_process(self._reactor, environment, self._mask)
            status = self._serve()
        except BaseException:  # noqa: BLE001  (the parent's code must not run on here, whatever happens)
            os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
        finally:
            os._exit(status)


def _reset_process(reactor: Any, environment: Mapping[str, str], mask: set[Any]) -> None:
    """
    Reset, in the child, signal handlers, environment, standard streams, reactor and logging to those of a new process.

    Twisted's reactor and log publisher are initialised again in place, because modules hold references to them.
    """
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Only what differs: each variable that is set takes a page of the memory that is shared.
    for name in [each for each in os.environ if each not in environment]:
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    reapProcessHandlers.clear()
    _never_closed.append(dict(vars(reactor)))
    vars(reactor).clear()
    reactor.__init__()
    globalLogPublisher.__init__()  # type: ignore[misc]
    globalLogBeginner.__init__(globalLogPublisher, sys.stderr, sys, warnings)  # type: ignore[misc]
    gc.enable()


def _is_single_threaded() -> bool:
    """Return whether this process has one thread, counting also those that Python did not start."""
    try:
        with open("/proc/self/status") as status:
            return "\nThreads:\t1\n" in status.read()
    except OSError:  # there may be no /proc in a chroot
        return False
