"""Threads for calls of the HPSS client library, which has a state in each thread and may block for hours.

The threads are started once and stay.  A call that exceeds its timeout is abandoned: its caller gets an error, another
thread is started in place of the one that is stuck, and what the call holds is released when it returns after all.  It
must not change anything then (L{pacarchive.backends.hpss.abandoned}).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.abandoned import abandoned_by
from pacarchive.backends.hpss.client import HpssError
from pacarchive.runtime.threads import BlockingPool, finished

P = ParamSpec("P")
T = TypeVar("T")

_START_TIMEOUT = 10.0
"""Seconds that threads may take to start."""

_STOP_TIMEOUT = 5.0
"""Seconds that calls under way may take when the pool stops."""

_IDLE_STOP_TIMEOUT = 0.5
"""Seconds that idle threads may take to end, where others are stuck and will not end."""

_log = Logger()


class StuckCall(errors.BackendUnavailable):
    """A call was abandoned: it has not ended, and still uses what it was called with, but will not change a name."""


class HpssPool:
    """
    A pool of a fixed number of threads for calls into HPSS.

    @param reactor: The reactor, in whose thread results are delivered; also the source of time.
    @param name: The name of the pool, for thread names and logs.
    @param size: The number of threads.  Up to as many are started in place of stuck ones.
    @param timeout: The timeout of a call in seconds, including the wait for a thread.
    @ivar stuck: How many threads are stuck in a call that was abandoned.
    """

    def __init__(self, reactor: Any, name: str, size: int, timeout: float) -> None:
        self._clock = reactor
        self._size = size
        self._timeout = timeout
        self._pool = BlockingPool(reactor, name, size, lasting=True, begin=begin_thread, end=end_thread)
        self._jobs: set[_Job] = set()
        self._idle: Deferred[None] | None = None
        self.stuck = 0

    @property
    def name(self) -> str:
        """The name of the pool."""
        return self._pool.name

    @property
    def exhausted(self) -> bool:
        """Whether all threads are stuck, including those started in place of others."""
        return self.stuck >= 2 * self._size

    async def start(self) -> None:
        """Start the threads, and wait until each is set up in the library.  Log in before."""
        self._pool.start()
        everyone = threading.Barrier(self._size, timeout=_START_TIMEOUT)
        with suppress(FirstError):  # those that take longer are waited for no more, but start all the same
            await gatherResults([self._pool.call(everyone.wait) for _ in range(self._size)], consumeErrors=True)

    async def stop(self) -> None:
        """Wait a few seconds for the calls under way, and end the threads; those that are stuck are abandoned."""
        if self._jobs:
            self._idle = Deferred()
            limit = self._clock.callLater(_STOP_TIMEOUT, self._end_wait)
            await self._idle
            if limit.active():
                limit.cancel()
        # First those that wait for a thread: each that is stuck gets a thread in its place.
        for job in sorted(self._jobs, key=lambda job: job.begun):
            job.limit.cancel()
            self._abandon(job)
        self._pool.stop(_IDLE_STOP_TIMEOUT if self.stuck else _STOP_TIMEOUT)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Run a call in a thread and wait for its end, even when the caller is cancelled.

        @raise StuckCall: It has timed out.  If it returns later, its result is closed where it has C{close()}.
        @raise errors.BackendUnavailable: No thread became free in time, or all are stuck.
        """
        result: T = await finished(self._submit(partial(call, *args, **kwargs)))
        return result

    def run_unattended(self, call: Callable[[], None]) -> None:
        """
        Run a call in a thread without a timeout, and without waiting for it.

        @param call: Something that must be done in the end, such as closing a file.  A failure is logged.
        """
        self._pool.call(call).addErrback(lambda failure: _log.failure("{pool}", failure, pool=self.name))

    def _submit(self, call: Callable[[], Any]) -> Deferred[Any]:
        job = _Job(call, Deferred())
        if self.exhausted:
            job.outcome.errback(errors.BackendUnavailable("HPSS does not answer."))
            return job.outcome
        job.limit = self._clock.callLater(self._timeout, self._abandon, job)
        self._jobs.add(job)
        self._pool.call(job.run).addBoth(self._ended, job)
        return job.outcome

    def _ended(self, result: Any, job: _Job) -> None:
        if job not in self._jobs:
            self._ended_late(result, job)
            return
        job.limit.cancel()
        self._forget(job)
        job.outcome.callback(result)

    def _abandon(self, job: _Job) -> None:
        self._forget(job)
        if not job.had_begun_when_cancelled():
            job.outcome.errback(errors.BackendUnavailable("HPSS is busy: no thread became free in time."))
            return
        self.stuck += 1
        self._replace_stuck_threads()
        _log.error("{pool}: abandoned, as it does not return: {call}", pool=self.name, call=job.description)
        job.outcome.errback(StuckCall("HPSS does not answer."))

    def _ended_late(self, result: Any, job: _Job) -> None:
        if job.cancelled:
            return
        self.stuck -= 1
        self._replace_stuck_threads()
        _log.warn("{pool}: ended after it was abandoned: {call}", pool=self.name, call=job.description)
        if callable(close := getattr(result, "close", None)):
            close()

    def _replace_stuck_threads(self) -> None:
        """Have as many threads that are free as the pool should have, up to twice its size in all."""
        self._pool.resize(self._size + min(self.stuck, self._size))

    def _forget(self, job: _Job) -> None:
        self._jobs.discard(job)
        if not self._jobs:
            self._end_wait()

    def _end_wait(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)


class _Job:
    """
    A call that can be cancelled until it has begun, and abandoned afterwards.

    @param call: The call.
    @param outcome: Fires with its result, for the caller.
    @ivar limit: The timer of its timeout.
    @ivar begun: Whether a thread has taken it.
    @ivar cancelled: Whether it was cancelled before it began.
    """

    limit: IDelayedCall

    def __init__(self, call: Callable[[], Any], outcome: Deferred[Any]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self.begun = False
        self._abandoned = threading.Event()
        self.outcome = outcome
        self.cancelled = False

    @property
    def description(self) -> str:
        """The name of the function, for the log."""
        function = getattr(self._call, "func", self._call)
        return str(getattr(function, "__qualname__", function))

    def run(self) -> Any:
        """Run the call, unless it was cancelled; in a thread of the pool."""
        with self._lock:
            if self.cancelled:
                return None
            self.begun = True
        with abandoned_by(self._abandoned):
            return self._call()

    def had_begun_when_cancelled(self) -> bool:
        """Cancel the call if it has not begun, else mark it as abandoned; return whether it had begun."""
        with self._lock:
            self.cancelled = not self.begun
            self._abandoned.set()
            return self.begun


def begin_thread() -> None:
    """Set up the calling thread in the library."""
    try:
        client.thread_start()
    except HpssError as error:  # the thread's first call sets it up again
        _log.warn("HPSS: a thread could not be set up: {error}", error=error)


def end_thread() -> None:
    """Release what the library holds for the calling thread."""
    with suppress(HpssError):  # the thread ends in any case
        client.thread_end()
