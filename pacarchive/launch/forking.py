"""Workers that are forked from their parent, which has imported all they need: they start at once and share its memory.

Whoever forks must have one thread only.  What others were doing would stop halfway in the child, with their locks held
for ever; so where there are more (a log observer's, a foreign backend's library), or another reactor than epoll's, a
worker is begun from nothing instead (L{is_sound}).  So it is where what was imported opened files, as a C library might
when it is loaded (L{open_files}): the child would find them closed.  The parent opens nothing of the archive, and so
there is nothing that parent and child must not both use: no database, no session, no TLS connection.

The child is made by L{Process}, which gives it its pipes and closes all else.  It never comes back from L{_execChild},
so that of what it has from the parent nothing runs on and nothing is dropped: an object that was dropped might close a
descriptor that has another meaning by then.
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
"""What every Python ignores from its start."""

_kept: list[object] = []
"""What would close descriptors if it were dropped."""


def is_sound(reactor: object) -> bool:
    """Whether this process may fork."""
    return type(reactor) is EPollReactor and _has_one_thread()


def open_files() -> int:
    """How many descriptors this process has; 0 where nobody can tell."""
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
    Start a child that goes on with what this process has imported.  The signals that are blocked are so in the child.

    @param descriptors: As C{IReactorProcess.spawnProcess} takes them.
    @param serve: What the child does; its exit status.
    @raise OSError: No process can be made.
    """
    gc.freeze()  # else a look for garbage would write to each object, and so make a copy of all
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        return _Forked(reactor, protocol, descriptors, environment, mask, serve)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Forked(Process):
    """
    A child that executes no other program.
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
        """In the child, which has its descriptors."""
        status = 1
        try:
            *_, environment = args
            _begin_anew(self._reactor, environment, self._mask)
            status = self._serve()
        except BaseException:  # noqa: BLE001  (the parent's code must not run on here, whatever happens)
            os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
        finally:
            os._exit(status)


def _begin_anew(reactor: Any, environment: Mapping[str, str], mask: set[Any]) -> None:
    """
    Forget what the parent was doing.  What Twisted has one of begins anew in the same object: modules hold it.
    """
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    reapProcessHandlers.clear()
    _kept.append(dict(vars(reactor)))
    vars(reactor).clear()
    reactor.__init__()
    globalLogPublisher.__init__()  # type: ignore[misc]
    globalLogBeginner.__init__(globalLogPublisher, sys.stderr, sys, warnings)  # type: ignore[misc]
    gc.enable()


def _has_one_thread() -> bool:
    """Whether there is no other, of those that Python knows nothing of too."""
    try:
        with open("/proc/self/status") as status:
            return "\nThreads:\t1\n" in status.read()
    except OSError:  # none of /proc in a chroot
        return False
