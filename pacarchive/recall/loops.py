"""Steps that are repeated, each in a loop of its own, so that none waits for another.

What may take long, because the storage system does not answer, is a task, beside which the loop continues.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.recall.store import LeaseLost

LONGEST_PAUSE = 30.0
"""The most seconds between two attempts of a step that fails."""

_DOUBLINGS = 20
"""The most doublings of a pause: it has reached the longest by then, and the number does not grow without limit."""

_log = Logger()

Step = Callable[[], Awaitable[bool]]
"""Does some of the work; returns whether there is more to do at once."""


class Loop:
    """
    Repeats a step, with a pause whenever there is nothing to do.

    @param clock: The source of time.
    @param name: What the step does, for the log.
    @param step: The step.
    @param interval: The pause, in seconds.
    @param lost: Called when the step fails because this process is not the dispatcher any more; the loop ends then.
    @ivar trouble: Why the last step failed; empty if it did not.
    """

    def __init__(self, clock: Any, name: str, step: Step, interval: float, lost: Callable[[], None]) -> None:
        self._clock = clock
        self._name = name
        self._step = step
        self._interval = interval
        self._lost = lost
        self._next: IDelayedCall | None = None
        self._busy = False
        self._poked = False
        self._running = False
        self._ended: Deferred[None] | None = None
        self._failures = 0
        self.trouble = ""

    def start(self) -> None:
        """Start the loop."""
        self._running = True
        self._begin()

    async def stop(self) -> None:
        """Stop the loop, and wait for the step that is under way."""
        self._running = False
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._busy:
            self._ended = Deferred()
            await self._ended

    def poke(self) -> None:
        """Make a step now, or after the one that is under way, as there is something to do."""
        if self._busy:
            self._poked = True
        elif self._next is not None and not self._failures:
            self._next.cancel()
            self._begin()

    def _begin(self) -> None:
        self._next = None
        self._poked = False
        self._busy = True
        Deferred.fromCoroutine(self._once()).addCallback(self._done)

    async def _once(self) -> float | None:
        """Make a step.  @return: The pause after it, in seconds; C{None} if the loop ends."""
        try:
            more = await self._step()
        except LeaseLost:
            self._lost()
            return None
        except errors.ArchiveError as error:
            if str(error) != self.trouble:
                _log.warn("recalls: {name}: {error}", name=self._name, error=error)
            return self._pause(str(error))
        except Exception:  # noqa: BLE001  (logged; a retry may succeed)
            _log.failure("recalls: {name}: unexpected", name=self._name)
            return self._pause("An unexpected failure; it is in the server's log.")
        self._failures, self.trouble = 0, ""
        return 0.0 if more else self._interval

    def _pause(self, message: str) -> float:
        self._failures += 1
        self.trouble = message
        pause: float = min(LONGEST_PAUSE, self._interval * 2 ** min(self._failures, _DOUBLINGS))
        return pause

    def _done(self, pause: float | None) -> None:
        self._busy = False
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended.callback(None)
        elif self._running and pause is not None:
            poked = self._poked and not self._failures
            self._next = self._clock.callLater(0.0 if poked else pause, self._begin)


class Tasks:
    """
    Tasks that a loop starts and does not wait for: at most one of each name at a time.

    A failure is kept until the loop calls L{check} in a step: so it is logged, and the loop pauses.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, Deferred[None]] = {}
        self._failure: Failure | None = None
        self._idle: Deferred[None] | None = None

    def is_under_way(self, name: str) -> bool:
        """Return whether a task of this name has not ended."""
        return name in self._under_way

    def begin(self, name: str, task: Coroutine[Any, Any, None]) -> None:
        """Start a task; none of the same name may be under way."""
        assert name not in self._under_way, name
        self._under_way[name] = begun = Deferred.fromCoroutine(task)
        begun.addBoth(self._ended, name)

    def check(self) -> None:
        """
        Raise the failure of a task since the last call, if there was one.

        @raise Exception: The error of the first task that failed.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            failure.raiseException()

    async def stop(self) -> None:
        """Wait for the end of all tasks; their failures are ignored."""
        if self._under_way:
            self._idle = Deferred()
            await self._idle

    def _ended(self, result: Failure | None, name: str) -> None:
        del self._under_way[name]
        if self._failure is None:
            self._failure = result
        if self._idle is not None and not self._under_way:
            idle, self._idle = self._idle, None
            idle.callback(None)
