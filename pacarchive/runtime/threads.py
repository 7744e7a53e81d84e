"""Blocking calls, lifted into coroutines.

Each kind of work has a named pool of its own, apart from the reactor's (which serves DNS), so that none can
starve another.  Its threads are daemons and its stop is bounded: a stuck C call must not keep the process from
ending.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from pacarchive.errors import ArchiveError

P = ParamSpec("P")
T = TypeVar("T")

DELIVERY = 0.003
"""For how long the results of a pool are dealt with in one turn of the reactor, in seconds."""

_log = Logger()


class _DaemonThread(threading.Thread):
    """
    A thread that does not outlive the process.

    @param begin: Called in the thread before anything else; C{None} for nothing.
    @param end: Called in it after everything else, if C{begin} succeeded.
    """

    def __init__(self, *args: Any, begin: Callable[[], None] | None, end: Callable[[], None] | None, **kw: Any) -> None:
        super().__init__(*args, daemon=True, **kw)
        self._begin = begin
        self._end = end

    def run(self) -> None:
        # A signal is for the main thread; here it would only break off a C call that does not expect it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if self._begin is not None:
            self._begin()
        try:
            super().run()
        finally:
            if self._end is not None:
                self._end()


class _DaemonThreadPool(ThreadPool):
    """A thread pool whose threads do not outlive the process, and whose L{stop} does not wait for ever."""

    def __init__(self, name: str, least: int, most: int, make_thread: Callable[..., threading.Thread]) -> None:
        super().__init__(least, most, name)
        self.threadFactory = make_thread  # type: ignore[assignment]

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


class _Delivery:
    """
    Brings results to the reactor thread, in one turn no more of them than there is time for: threads may end hundreds
    of calls while the reactor does something else, and each goes on with a route.

    @param reactor: Whose thread it is; also the clock.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._results: deque[Callable[[], object]] = deque()
        self._goes_on = False

    def callFromThread(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """As that of the reactor, and in the same order."""
        self._results.append(partial(call, *args, **kwargs))
        self._reactor.callFromThread(self._arrived)

    def _arrived(self) -> None:
        if not self._goes_on:
            self._deliver()

    def _deliver(self) -> None:
        self._goes_on = False
        end = self._reactor.seconds() + DELIVERY
        try:
            while self._results:
                self._results.popleft()()
                if self._reactor.seconds() > end:
                    break
        finally:
            if self._results:
                self._goes_on = True
                self._reactor.callFromThread(self._deliver)  # C{callLater} would have it called in the same turn


class BlockingPool:
    """
    A bounded pool of threads for one kind of blocking work.

    @param reactor: Where results are delivered; also the clock.
    @param name: For thread names, logs and metrics.
    @param size: The most threads.
    @param lasting: Make all threads at the start and keep them, for libraries that keep a state in each.
    @param begin: Called in each thread before its first work; must not fail.
    @param end: Called in it after its last.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        size: int,
        *,
        lasting: bool = False,
        begin: Callable[[], None] | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._delivery = _Delivery(reactor)
        self._lasting = lasting
        self.name = name
        self.size = size
        make_thread = partial(_DaemonThread, begin=begin, end=end)
        self._pool = _DaemonThreadPool(name, size if lasting else 0, size, make_thread)

    def start(self) -> None:
        """Accept work.  Threads are made as they are needed, or now if they are to last."""
        self._pool.start()

    def resize(self, size: int) -> None:
        """Change the number of threads; one that is busy is missed when it is free again."""
        self.size = size
        self._pool.adjustPoolsize(size if self._lasting else 0, size)

    def stop(self, seconds: float = 5.0) -> bool:
        """
        End the threads; call it when no work is under way.

        @param seconds: How long to wait for calls that are stuck; they are named in the log and left behind.
        @return: Whether all have ended.
        """
        if stuck := self._pool.stop_within(seconds):
            _log.warn("{pool}: still busy at the end, left behind: {threads}", pool=self.name, threads=stuck)
        return not stuck

    @property
    def threadpool(self) -> ThreadPool:
        """The pool itself, for what works with one of Twisted's."""
        return self._pool

    @property
    def backlog(self) -> int:
        """Calls that wait for a thread."""
        return self._pool.q.qsize()

    def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call in a thread.  The caller must not cancel the Deferred; L{run} is for those who may be cancelled."""
        work: Deferred[T] = deferToThreadPool(self._delivery, self._pool, call, *args, **kwargs)  # type: ignore[arg-type]
        return work

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call in a thread and wait for the end of the call, whatever happens meanwhile.

        Cancelling a bare C{deferToThread} returns at once while the thread goes on using its descriptors; this does
        not.  A result that nobody takes any more is closed where it can be (C{close()}).

        @raise CancelledError: The caller was cancelled; the call has ended.
        """
        return await finished(self.call(call, *args, **kwargs))


async def finished(work: Deferred[T], give_up: Callable[[], bool] = lambda: False) -> T:
    """
    Wait for the end of some work, also when the waiting is cancelled.

    @param work: Is not cancelled itself.
    @param give_up: Called when the waiting is cancelled; tells whether the work had not begun, and never will.
    @return: Its result.  Where nobody takes that any more, it is closed if it can be (C{close()}).
    @raise CancelledError: The caller was cancelled; the work has ended.
    """
    try:
        return await _shield(work)
    except CancelledError:
        work.addCallback(_close_orphan).addErrback(_failed_alone)
        if give_up():
            raise
        while not work.called:  # a caller may be cancelled more than once
            with suppress(CancelledError):
                await _shield(work)
        raise


def _failed_alone(failure: Failure) -> None:
    if failure.check(ArchiveError):  # foreseen: the words are enough
        _log.debug("nobody is left to be told: {error}", error=failure.value)
    else:
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
