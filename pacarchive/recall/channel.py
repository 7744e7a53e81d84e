"""Asking a database that may hang: that costs whoever asks one time limit at the most, and then nobody anything.

Once an interaction has run into its time limit, those that wait for a connection are refused, and so are all that come,
until a probe succeeds.  One is made at a time: the first at once, as one slow answer is no hanging database, and others
after a pause.  What has begun is never refused: whether it was done is found out from how it ends, and the connection's
own time limits see to that.
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
"""Seconds from a probe that failed to the next."""

_LOCK_WAIT_TIMEOUT = 1205
"""MariaDB's ER_LOCK_WAIT_TIMEOUT."""

_log = Logger()


class NotAsked(errors.BackendUnavailable):
    """The database hangs and was not asked; or nobody waited for its answer any more."""


class Call(Generic[T]):
    """
    An interaction, to be made once.

    @param run: Is called in a thread, with adbapi's transaction.
    @ivar answer: Its result; or C{NotAsked}, which may come before a thread has come to it.
    @ivar taken: When a thread took it and began to look for a connection; C{None} before.
    @ivar begun: Whether it has a connection.
    @ivar completed: Whether what is left is the commit, of which nobody knows whether it was done when it fails.
    @ivar limit: When the looking for a connection is looked after, if it is.
    """

    def __init__(self, run: Callable[[Any], T]) -> None:
        self.answer: Deferred[T] = Deferred()
        self.taken: float | None = None
        self.begun = False
        self.completed = False
        self.limit: IDelayedCall | None = None
        self._run = run
        self._decided = Lock()  # whether it is done: by who takes the lock first

    def withdraw(self) -> bool:
        """Have it not made any more.  @return: Whether it had not begun, and never will."""
        return self._decided.acquire(blocking=False)

    def take(self, seconds: Callable[[], float]) -> None:
        """
        A thread has come to it.

        @param seconds: The clock.
        @raise NotAsked: It was withdrawn; no connection needs to be looked for.
        """
        if self._decided.locked():
            raise NotAsked("Nobody waits for it any more.")
        self.taken = seconds()

    def __call__(self, transaction: Any) -> T:
        try:
            if not self.withdraw():
                raise NotAsked("Nobody waits for it any more.")
            self.begun = True
            result = self._run(transaction)
        except BaseException:
            # adbapi leaves that to whoever forgets the failure last, and SQLite keeps its files open until then.
            transaction.close()
            raise
        self.completed = True
        return result

    def look_no_more(self) -> None:
        """Its looking for a connection need not be looked after."""
        if self.limit is not None:
            self.limit.cancel()
            self.limit = None


class Channel:
    """
    A pool of connections, which is not asked while it hangs.

    @param clock: The time.
    @param pool: The connections.
    @param probe: Tells by its success that the database answers; is called in a thread, with adbapi's transaction.
    @param limit: What it may take to have a connection, in seconds; C{None}: this is no database that hangs.
    @ivar pool: The connections.
    @ivar hangs: Whether it has not answered in time, and no probe has succeeded since.
    """

    def __init__(
        self, clock: Any, pool: DaemonConnectionPool, probe: Callable[[Any], object], limit: float | None
    ) -> None:
        self._clock = clock
        self.pool = pool
        self._look = probe
        self._limit = limit
        self._calls: set[Call[Any]] = set()
        self._times = 0
        self._next_probe: IDelayedCall | None = None
        self._stopped = False
        self.hangs = False

    def stop(self) -> None:
        """End; what was asked is answered, if it is soon."""
        self._stopped = True
        if self._next_probe is not None:
            self._next_probe.cancel()
            self._next_probe = None
        for call in self._calls:
            call.look_no_more()
        self.pool.close()

    def distrust(self) -> None:
        """A connection was lost: no other is trusted untried."""
        self.pool.losses += 1

    async def ask(self, call: Call[T], *, may_leave: bool) -> T:
        """
        Make a call.

        @param may_leave: Whether it need not be made when the caller is cancelled.
        @raise NotAsked: The database hangs; nothing was done.
        """
        if self.hangs:
            raise NotAsked("It has not answered in time.")
        self._calls.add(call)
        if self._limit is not None:
            call.limit = self._clock.callLater(self._limit, self._look_after, call)
        made = self.pool.interact(partial(call.take, self._clock.seconds), call)
        made.addBoth(self._ended, call, self._times)
        return await finished(call.answer, call.withdraw if may_leave else lambda: False)

    def _look_after(self, call: Call[Any]) -> None:
        """See whether a call has waited too long for its connection; not for those who have theirs, and are at work."""
        assert self._limit is not None, "else nothing is looked after"
        call.limit = None
        if call.begun:
            return
        now = self._clock.seconds()
        due = (now if call.taken is None else call.taken) + self._limit
        if now < due:
            call.limit = self._clock.callLater(due - now, self._look_after, call)
        else:
            self._hang(f"no connection within {self._limit:g} s")

    def _ended(self, result: Any, call: Call[Any], times: int) -> None:
        """@param times: How often it had hung when this was asked: what hung since then says nothing of now."""
        self._calls.discard(call)
        call.look_no_more()
        if isinstance(result, Failure) and times == self._times and self._has_run_out(result.value):
            self._hang(str(result.value))
        if not call.answer.called:
            call.answer.callback(result)

    def _hang(self, words: str) -> None:
        """Ask no more, and refuse what has not begun, until a probe succeeds."""
        if self._limit is None or self._stopped:
            return
        _log.error("job store: it does not answer, and is not asked before it does: {error}", error=words)
        self.hangs = True
        self._times += 1
        self.distrust()
        self._next_probe = self._clock.callLater(0, self._probe)
        calls, self._calls = self._calls, set()
        for call in calls:
            call.look_no_more()
            if call.withdraw():
                call.answer.errback(NotAsked("It has not answered in time."))

    def _probe(self) -> None:
        self._next_probe = None
        call = Call(self._look)
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

    def _has_run_out(self, error: BaseException | None) -> bool:
        """Whether a time limit has: that of the connection, or of waiting for a lock that somebody else has."""
        if not isinstance(error, self.pool.dbapi.Error):
            return False
        return timed_out(error) or error.args[:1] == (_LOCK_WAIT_TIMEOUT,)
