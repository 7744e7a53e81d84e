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
from itertools import count
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

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


Work = tuple[Callable[[bool, Any], None], Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""What is to be told the result (whether there is one, and it or the failure), the call, and its arguments."""


class _DaemonThread(threading.Thread):
    """
    A thread that does not outlive the process.

    @param queue: Where its work comes from; C{None} there is its end.
    @param begin: Called in the thread before anything else; C{None} for nothing.
    @param end: Called in it after everything else, if C{begin} succeeded.
    @ivar done: How much work it has done.
    """

    def __init__(
        self,
        name: str,
        queue: SimpleQueue[Work | None],
        begin: Callable[[], None] | None,
        end: Callable[[], None] | None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.done = 0
        self._queue = queue
        self._begin = begin
        self._end = end

    def run(self) -> None:
        _leave_signals()
        if self._begin is not None:
            self._begin()
        try:
            while self._has_done_more():
                self.done += 1
        finally:
            if self._end is not None:
                self._end()

    def _has_done_more(self) -> bool:
        # A call of its own for each, so that nothing of it is kept while the next is waited for.
        if (work := self._queue.get()) is None:
            return False
        tell, call, args, kwargs = work
        try:
            result = call(*args, **kwargs)
        except BaseException:  # noqa: BLE001  (whoever waits for the result is to have it)
            tell(False, Failure())
        else:
            tell(True, result)
        return True


def _leave_signals() -> None:
    """Signals are for the main thread; in another they would only interrupt a C call that does not expect that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


class Threads:
    """
    Daemon threads that take their work from one queue: as much of L{twisted.python.threadpool.ThreadPool} as
    L{deferToThreadPool} and L{twisted.enterprise.adbapi} use, at a third of its cost.

    All but the work is done in the reactor's thread, so that nothing has to be locked.

    @param name: Part of the names of threads.
    @param least: How many threads there are from the start.
    @param most: How many there are where there is work for them.
    @param begin: Called in each thread before its first work.
    @param end: Called in each thread after its last work.
    """

    def __init__(
        self, name: str, least: int, most: int, begin: Callable[[], None] | None, end: Callable[[], None] | None
    ) -> None:
        self._name = name
        self._least = least
        self._most = most
        self._begin = begin
        self._end = end
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: list[_DaemonThread] = []
        self._numbers = count()
        self._goes_on = False
        self._has_ended = False
        self._given = 0
        self._done = 0  # by threads that are not in the list any more
        self._leaving = 0  # threads of the list that are to end when they are free

    @property
    def waiting(self) -> int:
        """How much work no thread has taken yet."""
        return self._queue.qsize()

    @property
    def busy(self) -> int:
        """How much work is done at this moment."""
        return max(0, self._under_way() - self.waiting)

    def start(self) -> None:
        """Begin with what is there to be done, and with what will be."""
        self._goes_on = True
        self._start_threads()

    def adjust(self, least: int, most: int) -> None:
        """Change how many threads there are; where there are too many, busy ones end when they are free."""
        self._least, self._most = least, most
        if self._goes_on:
            self._start_threads()
            for _ in range(self._count() - most):
                self._leaving += 1
                self._queue.put(None)

    def callInThreadWithCallback(
        self, tell: Callable[[bool, Any], None], call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """
        Have a call made in a thread.

        @param tell: Called in that thread, with whether there is a result, and with it or the L{Failure}.
        @raise RuntimeError: The threads are told to end already.
        """
        if self._has_ended:
            raise RuntimeError(f"{self._name}: work that comes after the end")
        self._given += 1
        self._queue.put((tell, call, args, kwargs))
        if self._goes_on and len(self._threads) - self._leaving < self._most:
            self._start_threads()

    def stop_within(self, seconds: float) -> list[str]:
        """
        Refuse new work, and join the threads.

        @param seconds: The timeout for all of them together.
        @return: The names of the threads that are still busy.
        """
        self._goes_on = False
        self._has_ended = True
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _count(self) -> int:
        """How many threads there are, and will be."""
        ended = [each for each in self._threads if not each.is_alive()]
        if ended:
            self._threads = [each for each in self._threads if each.is_alive()]
            self._done += sum(each.done for each in ended)
            self._leaving -= len(ended)
        return len(self._threads) - self._leaving

    def _under_way(self) -> int:
        """How much work has been given and is not done."""
        return self._given - self._done - sum(each.done for each in self._threads)

    def _start_threads(self) -> None:
        """As many as there is work for now."""
        there = self._count()
        for _ in range(min(self._most, max(self._least, self._under_way())) - there):
            name = f"{self._name}-thread-{next(self._numbers)}"
            thread = _DaemonThread(name, self._queue, self._begin, self._end)
            thread.start()
            self._threads.append(thread)


class _Delivery:
    """
    Delivers results in the reactor's thread, for at most L{DELIVERY} seconds in one iteration of it.  Threads may end
    hundreds of calls while the reactor does something else, and each of them resumes a coroutine.

    @param reactor: The reactor, also the source of time.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._results: deque[Callable[[], object]] = deque()
        self._is_called = False

    def callFromThread(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function in the reactor's thread, in the order of these calls, as C{IReactorFromThreads} does."""
        self._results.append(partial(call, *args, **kwargs))
        if not self._is_called:  # many results need one call, and the reactor is woken once
            self._is_called = True
            self._reactor.callFromThread(self._deliver)

    def _deliver(self) -> None:
        # First: what comes from now on may not be seen below, and has to call again.
        self._is_called = False
        end = self._reactor.seconds() + DELIVERY
        try:
            while self._results:
                self._results.popleft()()
                if self._reactor.seconds() > end:
                    break
        finally:
            if self._results and not self._is_called:
                self._is_called = True
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
        self._pool = Threads(name, size if lasting else 0, size, begin, end)

    def start(self) -> None:
        """Accept work.  Threads are started when they are needed, or now if C{lasting}."""
        self._pool.start()
        _running[self] = None

    def resize(self, size: int) -> None:
        """Change the number of threads; where there are too many, busy ones end when they are free."""
        self.size = size
        self._pool.adjust(size if self._lasting else 0, size)

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
    def threadpool(self) -> Threads:
        """Its threads, for who takes those of Twisted."""
        return self._pool

    @property
    def busy(self) -> int:
        """The number of threads that are at work."""
        return self._pool.busy

    @property
    def backlog(self) -> int:
        """The number of calls that wait for a thread."""
        return self._pool.waiting

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
        _leave_signals()
        try:
            found = call(*args, **kwargs)
        except Exception:  # noqa: BLE001  (whoever waits for the result is to have it)
            reactor.callFromThread(result.errback, Failure())
        else:
            reactor.callFromThread(result.callback, found)

    threading.Thread(target=run, daemon=True).start()
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
