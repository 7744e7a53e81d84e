"""Calls to a database that may hang: they cost at most one timeout, and after that nothing until it answers again.

When an interaction has timed out, those that wait for a connection are refused, and so are new ones, until a probe
succeeds.  There is one probe at a time: the first at once, as a single slow answer does not mean that the database
hangs, the others after a pause.  An interaction that has begun is never refused: whether it was done can only be known
from how it ends, and the connection has timeouts of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.runtime.databases import DaemonConnectionPool, timed_out
from pacarchive.runtime.threads import finished

T = TypeVar("T")

RETRY = 1.0
"""Seconds from a failed probe to the next."""

_LOCK_WAIT_TIMEOUT = 1205
"""MariaDB's ER_LOCK_WAIT_TIMEOUT."""

_log = Logger()


class NotExecuted(errors.BackendUnavailable):
    """The call was not made: the database hangs, or the caller was cancelled before."""


class Call(Generic[T]):
    """
    An interaction with the database, made once.

    @param run: Called in a thread, with adbapi's transaction.
    @ivar answer: Fires with the result; or fails with L{NotExecuted}, maybe before a thread has taken the call.
    @ivar taken: When a thread took it and began to look for a connection; C{None} before.
    @ivar begun: Whether it has a connection.
    @ivar completed: Whether only the commit is left, of which it is not known whether it was done if it fails.
    @ivar timer: The timer for the timeout of getting a connection, if it is running.
    """

    def __init__(self, run: Callable[[Any], T]) -> None:
        self.answer: Deferred[T] = Deferred()
        self.taken: float | None = None
        self.begun = False
        self.completed = False
        self.timer: IDelayedCall | None = None
        self._run = run
        self._decided = Lock()  # whoever acquires it first decides whether the call is made

    def withdraw(self) -> bool:
        """
        Keep the call from being made.

        @return: Whether it had not begun, and never will.
        """
        return self._decided.acquire(blocking=False)

    def take(self, seconds: Callable[[], float]) -> None:
        """
        Note that a thread has taken the call.

        @param seconds: The clock.
        @raise NotExecuted: It was withdrawn, so no connection is needed.
        """
        if self._decided.locked():
            raise NotExecuted("Its caller was cancelled.")
        self.taken = seconds()

    def __call__(self, transaction: Any) -> T:
        try:
            if not self.withdraw():
                raise NotExecuted("Its caller was cancelled.")
            self.begun = True
            result = self._run(transaction)
        except BaseException:
            # adbapi leaves it open as long as the failure exists, and SQLite keeps its files open until then.
            transaction.close()
            raise
        self.completed = True
        return result

    def stop_timer(self) -> None:
        """Stop the timer for the timeout of getting a connection."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Channel:
    """
    A pool of connections, which is not used while the database hangs.

    @param clock: The source of time.
    @param pool: The connections.
    @param probe: Succeeds if the database answers; called in a thread, with adbapi's transaction.
    @param timeout: The timeout of getting a connection, in seconds; C{None} for a database that cannot hang.
    @ivar pool: The connections.
    @ivar hangs: Whether the database has timed out, and no probe has succeeded since.
    """

    def __init__(
        self, clock: Any, pool: DaemonConnectionPool, probe: Callable[[Any], object], timeout: float | None
    ) -> None:
        self._clock = clock
        self.pool = pool
        self._probe_query = probe
        self._timeout = timeout
        self._calls: set[Call[Any]] = set()
        self._hang_count = 0
        self._next_probe: IDelayedCall | None = None
        self._stopped = False
        self.hangs = False

    def stop(self) -> None:
        """Close the connections; calls that are under way are still answered, if that happens soon."""
        self._stopped = True
        if self._next_probe is not None:
            self._next_probe.cancel()
            self._next_probe = None
        for call in self._calls:
            call.stop_timer()
        self.pool.close()

    def distrust(self) -> None:
        """A connection was lost: test every other before its next use."""
        self.pool.losses += 1

    async def run(self, call: Call[T], *, cancellable: bool) -> T:
        """
        Make a call.

        @param call: The call.
        @param cancellable: Whether the call may be left out when the caller is cancelled.
        @return: Its result.
        @raise NotExecuted: The database hangs; nothing was done.
        """
        if self.hangs:
            raise NotExecuted("It has not answered in time.")
        self._calls.add(call)
        if self._timeout is not None:
            call.timer = self._clock.callLater(self._timeout, self._check_timeout, call)
        made = self.pool.interact(partial(call.take, self._clock.seconds), call)
        made.addBoth(self._ended, call, self._hang_count)
        return await finished(call.answer, call.withdraw if cancellable else lambda: False)

    def _check_timeout(self, call: Call[Any]) -> None:
        """Check whether a call has waited too long for its connection; one that has a connection is working."""
        assert self._timeout is not None, "else there is no timer"
        call.timer = None
        if call.begun:
            return
        now = self._clock.seconds()
        due = (now if call.taken is None else call.taken) + self._timeout
        if now < due:
            call.timer = self._clock.callLater(due - now, self._check_timeout, call)
        else:
            self._hang(f"no connection within {self._timeout:g} s")

    def _ended(self, result: Any, call: Call[Any], hang_count: int) -> None:
        """
        Answer a call that has ended.

        @param hang_count: The count of hangs when the call was made; its timeout says nothing of a later one.
        """
        self._calls.discard(call)
        call.stop_timer()
        if isinstance(result, Failure) and hang_count == self._hang_count and self._is_timeout(result.value):
            self._hang(str(result.value))
        if not call.answer.called:
            call.answer.callback(result)

    def _hang(self, message: str) -> None:
        """Refuse all calls that have not begun, and new ones, until a probe succeeds."""
        if self._timeout is None or self._stopped:
            return
        _log.error("job store: it does not answer, and is not used before it does: {error}", error=message)
        self.hangs = True
        self._hang_count += 1
        self.distrust()
        self._next_probe = self._clock.callLater(0, self._probe)
        calls, self._calls = self._calls, set()
        for call in calls:
            call.stop_timer()
            if call.withdraw():
                call.answer.errback(NotExecuted("It has not answered in time."))

    def _probe(self) -> None:
        self._next_probe = None
        call = Call(self._probe_query)
        self.pool.interact(partial(call.take, self._clock.seconds), call).addBoth(self._probed)

    def _probed(self, result: Any) -> None:
        if self._stopped:
            return
        if isinstance(result, Failure):
            if not result.check(self.pool.dbapi.Error):
                _log.failure("job store: unexpected", result)
            self._next_probe = self._clock.callLater(RETRY, self._probe)
            return
        _log.info("job store: it answers again")
        self.hangs = False

    def _is_timeout(self, error: BaseException | None) -> bool:
        """Return whether a timeout has expired: of the connection, or for a lock that another connection holds."""
        if not isinstance(error, self.pool.dbapi.Error):
            return False
        return timed_out(error) or error.args[:1] == (_LOCK_WAIT_TIMEOUT,)
