"""Work on local files, in threads of this client's own: the reactor's serve the resolution of names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """
    A few threads, made when there is work, which do not keep the process from ending.

    @param reactor: Where results are delivered.
    """

    def __init__(self, reactor: Any, size: int = 4) -> None:
        self._reactor = reactor
        self._size = size
        self._pool: ThreadPool | None = None
        self._calls = 0
        self._stopped = False

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call in a thread, and wait for the end of the call also when the caller is cancelled: what the call works with
        must not be closed before.
        """
        if self._pool is None:
            self._pool = ThreadPool(0, self._size, "pacarchive-client")
            self._pool.threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment]
            self._pool.start()
        self._calls += 1
        try:
            return await _finished(deferToThreadPool(self._reactor, self._pool, call, *args, **kwargs))
        finally:
            self._calls -= 1
            self._let_go()

    def stop(self) -> None:
        """
        Let the threads end when they have nothing to do: not before what is under way has tidied up, which takes
        threads.  Does not wait for one that hangs in a file system.
        """
        self._stopped = True
        self._let_go()

    def _let_go(self) -> None:
        if self._stopped and not self._calls and self._pool is not None:
            self._pool.adjustPoolsize(0, 0)
            self._pool = None


class NoThreads(Threads):
    """Calls at once, in the caller's thread; for tests."""

    def __init__(self) -> None:
        super().__init__(None)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)


async def _finished(work: Deferred[T]) -> T:
    cancelled = False
    while True:
        shield = _shield(work)
        try:
            result = await shield
        except CancelledError:
            cancelled = True
            continue
        except BaseException:
            if cancelled:
                raise CancelledError from None
            raise
        break
    if cancelled:
        if callable(close := getattr(result, "close", None)):
            with suppress(OSError):
                close()  # the caller is gone
        raise CancelledError
    return result


def _shield(work: Deferred[T]) -> Deferred[T]:
    """A Deferred that follows another, and is cancelled without it."""
    shield: Deferred[T] = Deferred()

    def forward(result: Any) -> Any:
        if shield.called:
            return result
        shield.callback(result) if not isinstance(result, Failure) else shield.errback(result)
        return None

    work.addBoth(forward)
    return shield
