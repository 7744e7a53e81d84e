"""Wait with several callers for one piece of work, or with one caller for several."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive.runtime.threads import finished

T = TypeVar("T")

_log = Logger()


class Shared(Generic[T]):
    """
    Work whose result any number of callers can wait for, and which goes on even if none does.

    @param work: The work, which is begun at once.
    """

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._waiting: list[Deferred[T]] = []
        self._result: tuple[T | Failure] | None = None
        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(self._ended)

    @property
    def ended(self) -> bool:
        """Whether the work has ended."""
        return self._result is not None

    @property
    def failed(self) -> bool:
        """Whether the work has ended with an error."""
        return self._result is not None and isinstance(self._result[0], Failure)

    async def result(self) -> T:
        """
        Wait for the result; a caller that is cancelled does not affect the others.

        @raise Exception: The work has failed with it.
        """
        done: Deferred[T] = Deferred()
        if self._result is None:
            self._waiting.append(done)
        else:
            done.callback(self._result[0])
        return await done

    def _ended(self, result: T | Failure) -> None:
        self._result = (result,)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(result)


class Wanted(Shared[T]):
    """
    The same, but when all callers have been cancelled the work is cancelled, too.

    @ivar is_over: Whether the work has ended, or been cancelled: another caller needs work of its own.
    """

    _is_cancelled = False

    @property
    def is_over(self) -> bool:
        return self.ended or self._is_cancelled

    async def result(self) -> T:
        try:
            return await super().result()
        except CancelledError:
            if not self.ended and all(each.called for each in self._waiting):
                self._is_cancelled = True
                self._work.cancel()
            raise


class OwnedWork:
    """
    Work in the background, which no caller waits for before the end.

    @param message: The log message of a failure; none is foreseen.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._under_way: set[Deferred[None]] = set()

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin some work, and keep a reference to it until it ends."""
        deferred = Deferred.fromCoroutine(work)
        self._under_way.add(deferred)

        def ended(result: Failure | None) -> None:
            self._under_way.discard(deferred)
            if result is not None:
                _log.failure(self._message, result)

        deferred.addBoth(ended)

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await finished(next(iter(self._under_way)))


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """
    Do several pieces of work at the same time, and wait until all of them have ended, even if one fails.

    @return: Their results, in order.
    @raise Exception: The error of the first of them that failed, in that order.
    """
    ended = await DeferredList([Deferred.fromCoroutine(each) for each in work], consumeErrors=True)
    for succeeded, result in ended:
        if not succeeded:
            assert isinstance(result, Failure), "that is how it failed"
            result.raiseException()
    return [result for _, result in ended]
