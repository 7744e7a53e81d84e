"""One piece of work that several wait for, and several that one waits for."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive.runtime.threads import finished

T = TypeVar("T")

_log = Logger()


class Shared(Generic[T]):
    """
    Work that goes on whoever waits for it, and whose result all who do get.

    @param work: Is begun at once.
    """

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._waiting: list[Deferred[T]] = []
        self._result: tuple[T | Failure] | None = None
        Deferred.fromCoroutine(work).addBoth(self._ended)

    @property
    def ended(self) -> bool:
        """Whether there is a result."""
        return self._result is not None

    @property
    def failed(self) -> bool:
        """Whether it has ended without success."""
        return self._result is not None and isinstance(self._result[0], Failure)

    async def result(self) -> T:
        """Wait for the result; whoever is cancelled meanwhile does not disturb the others."""
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


class OwnedWork:
    """
    Work that nobody waits for, until the end.

    @param words: What the log says of a failure, which nobody foresaw.
    """

    def __init__(self, words: str) -> None:
        self._words = words
        self._under_way: set[Deferred[None]] = set()

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin some work, and own it."""
        deferred = Deferred.fromCoroutine(work)
        self._under_way.add(deferred)

        def ended(result: Failure | None) -> None:
            self._under_way.discard(deferred)
            if result is not None:
                _log.failure(self._words, result)

        deferred.addBoth(ended)

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await finished(next(iter(self._under_way)))


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """
    Do several things at the same time, and wait for the end of each, also when one fails.

    @return: Their results, in order.
    @raise Exception: What the first of them failed with.
    """
    ended = await DeferredList([Deferred.fromCoroutine(each) for each in work], consumeErrors=True)
    for succeeded, result in ended:
        if not succeeded:
            assert isinstance(result, Failure), "that is how it failed"
            result.raiseException()
    return [result for _, result in ended]
