"""Run blocking calls in threads, and wait for them in coroutines.

Each kind of work has a named pool of its own, apart from the reactor's (which does DNS look-ups), so that none can hold
up another.  The threads are daemons and the stop of a pool has a timeout: a stuck C call must not keep the process from
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
"""Seconds for which results of a pool are delivered in one iteration of the reactor."""

_log = Logger()

_running: dict[BlockingPool, None] = {}


def running_pools() -> tuple[BlockingPool, ...]:
    """The pools of this process that have been started and not been stopped, to see how busy they are."""
    return tuple(_running)


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
        # Signals are for the main thread; here they would only interrupt a C call that does not expect that.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if self._begin is not None:
            self._begin()
        try:
            super().run()
        finally:
            if self._end is not None:
                self._end()


class _DaemonThreadPool(ThreadPool):
    """A thread pool whose threads do not outlive the process, and whose stop has a timeout."""

    def __init__(self, name: str, least: int, most: int, make_thread: Callable[..., threading.Thread]) -> None:
        super().__init__(least, most, name)
        self.threadFactory = make_thread  # type: ignore[assignment]

    def stop_within(self, seconds: float) -> list[str]:
        """
        Refuse new work, and join the threads.

        @param seconds: The timeout for all of them together.
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
    Delivers results in the reactor's thread, for at most L{DELIVERY} seconds in one iteration of it.  Threads may end
    hundreds of calls while the reactor does something else, and each of them resumes a coroutine.

    @param reactor: The reactor, also the source of time.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._results: deque[Callable[[], object]] = deque()
        self._goes_on = False

    def callFromThread(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function in the reactor's thread, in the order of these calls, as C{IReactorFromThreads} does."""
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
                self._reactor.callFromThread(self._deliver)  # callLater would call it in the same iteration


class BlockingPool:
    """
    A bounded pool of threads for one kind of blocking work.

    @param reactor: The reactor, in whose thread results are delivered; also the source of time.
    @param name: The name of the pool, for thread names, logs and metrics.
    @param size: The most threads.
    @param lasting: Whether to start all threads at once and keep them, for libraries with a state in each thread.
    @param begin: Called in each thread before its first work; must not fail.
    @param end: Called in each thread after its last work.
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
        """Accept work.  Threads are started when they are needed, or now if C{lasting}."""
        self._pool.start()
        _running[self] = None

    def resize(self, size: int) -> None:
        """Change the number of threads; where there are too many, busy ones end when they are free."""
        self.size = size
        self._pool.adjustPoolsize(size if self._lasting else 0, size)

    def stop(self, seconds: float = 5.0) -> bool:
        """
        End the threads; call it when no work is under way.

        @param seconds: The timeout for calls that are stuck; their threads are logged and abandoned.
        @return: Whether all threads have ended.
        """
        _running.pop(self, None)
        if stuck := self._pool.stop_within(seconds):
            _log.warn("{pool}: still busy at the end, left behind: {threads}", pool=self.name, threads=stuck)
        return not stuck

    @property
    def threadpool(self) -> ThreadPool:
        """The pool as one of Twisted's."""
        return self._pool

    @property
    def busy(self) -> int:
        """The number of threads that are at work."""
        return len(self._pool.working)

    @property
    def backlog(self) -> int:
        """The number of calls that wait for a thread."""
        return self._pool.q.qsize()

    def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """
        Run a call in a thread.

        @return: Fires with its result.  Must not be cancelled; use L{run} where the caller may be.
        """
        work: Deferred[T] = deferToThreadPool(self._delivery, self._pool, call, *args, **kwargs)  # type: ignore[arg-type]
        return work

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Run a call in a thread and wait for its end, even when the caller is cancelled.

        A cancelled C{deferToThread} returns at once, while the thread still uses what it was called with; this does
        not.  If the caller was cancelled, the result is closed where it has C{close()}.

        @raise CancelledError: The caller was cancelled, and the call has ended.
        """
        return await finished(self.call(call, *args, **kwargs))


async def finished(work: Deferred[T], cancel: Callable[[], bool] = lambda: False) -> T:
    """
    Wait for the end of some work, even when the caller is cancelled.

    @param work: The work, which is not cancelled itself.
    @param cancel: Called when the caller is cancelled; returns whether the work had not begun, and never will.
    @return: Its result.  If the caller was cancelled, the result is closed where it has C{close()}.
    @raise CancelledError: The caller was cancelled, and the work has ended.
    """
    try:
        return await _shield(work)
    except CancelledError:
        work.addCallback(_close_orphan).addErrback(_failed_alone)
        if cancel():
            raise
        while not work.called:  # the caller may be cancelled more than once
            with suppress(CancelledError):
                await _shield(work)
        raise


def in_passing(reactor: Any, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
    """
    Call in a thread that ends then, for what is seldom done: a process that is to fork has no others.

    @param reactor: Where the result is delivered.
    """
    result: Deferred[T] = Deferred()

    def run() -> None:
        try:
            found = call(*args, **kwargs)
        except Exception:  # noqa: BLE001  (whoever waits for the result is to have it)
            reactor.callFromThread(result.errback, Failure())
        else:
            reactor.callFromThread(result.callback, found)

    _DaemonThread(target=run, begin=None, end=None).start()
    return result


def _failed_alone(failure: Failure) -> None:
    if failure.check(ArchiveError):  # foreseen: the message is enough
        _log.debug("the error of a call whose caller was cancelled: {error}", error=failure.value)
    else:
        _log.debug("a call failed after its caller was cancelled", log_failure=failure)


def _close_orphan(result: Any) -> None:
    """Close a result whose caller was cancelled."""
    if callable(close := getattr(result, "close", None)):
        close()


def _shield(work: Deferred[T]) -> Deferred[T]:
    """Return a Deferred that fires with C{work}, but can be cancelled without it."""
    shield: Deferred[T] = Deferred()

    def forward(result: Any) -> Any:
        if shield.called:
            return result
        shield.callback(result)
        return None

    work.addBoth(forward)
    return shield
