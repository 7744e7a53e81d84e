"""Threads for calls of the HPSS client library, which keeps a state in each, and may keep a call for hours.

The threads are made at the start and stay.  A call that takes longer than it may is given up: its request is answered,
another thread takes the place of the one that is stuck, and what the call holds is released when it ends after all.
It gives no names then (L{pacarchive.backends.hpss.wanted}).
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
from pacarchive.backends.hpss.client import HpssError
from pacarchive.backends.hpss.wanted import working_for
from pacarchive.runtime.threads import BlockingPool, finished

P = ParamSpec("P")
T = TypeVar("T")

_THREADS_MAY_TAKE = 10.0
"""How long threads may take to begin, in seconds."""

_LAST_CALLS_MAY_TAKE = 5.0
"""How long calls may still take when the pool stops, in seconds."""

_IDLE_THREADS_MAY_TAKE = 0.5
"""How long threads without a call may take to end, in seconds, where there are others that do not end."""

_log = Logger()


class StuckCall(errors.BackendUnavailable):
    """A call was given up: it has not ended, and whatever it uses is still in use.  It changes no name any more."""


class HpssPool:
    """
    A fixed number of threads that wait for nothing but HPSS.

    @param reactor: Delivers results; also the clock.
    @param name: For thread names and logs.
    @param size: How many threads; as many again may be stuck before no new ones are made.
    @param timeout: How long a call may take, in seconds, the wait for a thread included.
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
        """The name."""
        return self._pool.name

    @property
    def exhausted(self) -> bool:
        """Whether all threads are stuck, the further ones too that were made for them."""
        return self.stuck >= 2 * self._size

    async def start(self) -> None:
        """Make the threads; ends when each has its state in the library.  Log in before."""
        self._pool.start()
        everyone = threading.Barrier(self._size, timeout=_THREADS_MAY_TAKE)
        with suppress(FirstError):  # those that are late will begin later
            await gatherResults([self._pool.call(everyone.wait) for _ in range(self._size)], consumeErrors=True)

    async def stop(self) -> None:
        """Wait for the last calls, though not for long, and end the threads; those that are stuck are left behind."""
        if self._jobs:
            self._idle = Deferred()
            limit = self._clock.callLater(_LAST_CALLS_MAY_TAKE, self._wait_no_longer)
            await self._idle
            if limit.active():
                limit.cancel()
        for job in list(self._jobs):
            job.limit.cancel()
            self._give_up(job)
        self._pool.stop(_IDLE_THREADS_MAY_TAKE if self.stuck else _LAST_CALLS_MAY_TAKE)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call in a thread and wait for the end, also when the caller is cancelled.

        @raise StuckCall: It takes too long.  A result that comes after all is closed where it can be (C{close()}).
        """
        result: T = await finished(self._submit(partial(call, *args, **kwargs)))
        return result

    def run_unattended(self, call: Callable[[], None]) -> None:
        """
        Call in a thread, however long it takes until one is free; nobody waits.

        @param call: What must be done in the end, such as closing a file.  A failure is logged.
        """
        self._pool.call(call).addErrback(lambda failure: _log.failure("{pool}", failure, pool=self.name))

    def _submit(self, call: Callable[[], Any]) -> Deferred[Any]:
        job = _Job(call, Deferred())
        if self.exhausted:
            job.outcome.errback(errors.BackendUnavailable("HPSS does not answer."))
            return job.outcome
        job.limit = self._clock.callLater(self._timeout, self._give_up, job)
        self._jobs.add(job)
        self._pool.call(job.run).addBoth(self._ended, job)
        return job.outcome

    def _ended(self, result: Any, job: _Job) -> None:
        if job not in self._jobs:
            self._ended_after_all(result, job)
            return
        job.limit.cancel()
        self._forget(job)
        job.outcome.callback(result)

    def _give_up(self, job: _Job) -> None:
        self._forget(job)
        if not job.has_begun_when_called_off():
            job.outcome.errback(errors.BackendUnavailable("HPSS is busy: no thread became free in time."))
            return
        self.stuck += 1
        self._fit()
        _log.error("{pool}: given up, as it does not come back: {call}", pool=self.name, call=job.words)
        job.outcome.errback(StuckCall("HPSS does not answer."))

    def _ended_after_all(self, result: Any, job: _Job) -> None:
        if job.called_off:
            return
        self.stuck -= 1
        self._fit()
        _log.warn("{pool}: ended after it was given up: {call}", pool=self.name, call=job.words)
        if callable(close := getattr(result, "close", None)):
            close()

    def _fit(self) -> None:
        """Make up for the threads that are stuck."""
        self._pool.resize(self._size + min(self.stuck, self._size))

    def _forget(self, job: _Job) -> None:
        self._jobs.discard(job)
        if not self._jobs:
            self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)


class _Job:
    """
    A call that can be called off as long as it has not begun.

    @param outcome: What its caller waits for.
    @ivar limit: Fires when it has taken too long.
    @ivar called_off: Whether it will never begin.
    """

    limit: IDelayedCall

    def __init__(self, call: Callable[[], Any], outcome: Deferred[Any]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._begun = False
        self._given_up = threading.Event()
        self.outcome = outcome
        self.called_off = False

    @property
    def words(self) -> str:
        """For the log."""
        function = getattr(self._call, "func", self._call)
        return str(getattr(function, "__qualname__", function))

    def run(self) -> Any:
        """In a thread."""
        with self._lock:
            if self.called_off:
                return None
            self._begun = True
        with working_for(self._given_up):
            return self._call()

    def has_begun_when_called_off(self) -> bool:
        """Call it off, if there is time; else it is wanted no more."""
        with self._lock:
            self.called_off = not self._begun
            self._given_up.set()
            return self._begun


def begin_thread() -> None:
    """Give the calling thread its state in the library."""
    try:
        client.thread_start()
    except HpssError as error:  # the thread's first call tries again
        _log.warn("HPSS: a thread could not begin: {error}", error=error)


def end_thread() -> None:
    """Take it back."""
    with suppress(HpssError):  # there is nothing left that it could be used for
        client.thread_end()
