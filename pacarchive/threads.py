"""Blocking calls, lifted into coroutines.

Each kind of work has a named pool of its own, apart from the reactor's (which serves DNS), so that none can
starve another.  Its threads are daemons and its stop is bounded: a stuck C call must not keep the process from
ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")

_log = Logger()


class _DaemonThreadPool(ThreadPool):
    """A thread pool whose threads do not outlive the process, and whose L{stop} does not wait for ever."""

    threadFactory = staticmethod(partial(threading.Thread, daemon=True))  # type: ignore[assignment]

    def stop_within(self, seconds: float) -> list[str]:
        """
        Refuse new work, and join the threads.

        @param seconds: How long to wait for all of them together.
        @return: The names of the threads that are still busy.
        """
        self.joined = True
        self.started = False
        self._team.quit()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in self.threads if thread.is_alive()]


class BlockingPool:
    """
    A bounded pool of threads for one kind of blocking work.

    @param reactor: Where results are delivered.
    @param name: For thread names, logs and metrics.
    @param size: The most threads.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str, size: int) -> None:
        self._reactor = reactor
        self.name = name
        self._pool = _DaemonThreadPool(0, size, name)

    def start(self) -> None:
        """Accept work.  Threads are made as they are needed."""
        self._pool.start()

    def stop(self, seconds: float = 5.0) -> None:
        """
        End the threads; call it when no work is under way.

        @param seconds: How long to wait for calls that are stuck; they are named in the log and left behind.
        """
        if stuck := self._pool.stop_within(seconds):
            _log.warn("{pool}: still busy at the end, left behind: {threads}", pool=self.name, threads=stuck)

    @property
    def backlog(self) -> int:
        """Calls that wait for a thread."""
        return self._pool.q.qsize()

    def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call in a thread.  The caller must not cancel the Deferred; L{run} is for those who may be cancelled."""
        return deferToThreadPool(self._reactor, self._pool, call, *args, **kwargs)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call in a thread and wait for the end of the call, whatever happens meanwhile.

        Cancelling a bare C{deferToThread} returns at once while the thread goes on using its descriptors; this does
        not.  A result that nobody takes any more is closed where it can be (C{close()}).

        @raise CancelledError: The caller was cancelled; the call has ended.
        """
        return await finished(self.call(call, *args, **kwargs))


async def finished(work: Deferred[T]) -> T:
    """
    Wait for the end of some work, also when the waiting is cancelled.

    @param work: Is not cancelled itself.
    @return: Its result.  Where nobody takes that any more, it is closed if it can be (C{close()}).
    @raise CancelledError: The caller was cancelled; the work has ended.
    """
    try:
        return await _shield(work)
    except CancelledError:
        work.addCallback(_close_orphan).addErrback(_failed_alone)
        while not work.called:  # a caller may be cancelled more than once
            with suppress(CancelledError):
                await _shield(work)
        raise


def _failed_alone(failure: Failure) -> None:
    _log.debug("a call failed after its caller had left", log_failure=failure)


def _close_orphan(result: Any) -> None:
    """Release a result that nobody takes any more."""
    if callable(close := getattr(result, "close", None)):
        close()


def _shield(work: Deferred[T]) -> Deferred[T]:
    """A Deferred that follows C{work} but can be cancelled without it."""
    shield: Deferred[T] = Deferred()

    def forward(result: Any) -> Any:
        if shield.called:
            return result
        shield.callback(result)
        return None

    work.addBoth(forward)
    return shield
