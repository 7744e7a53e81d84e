"""Connections to databases: L{twisted.enterprise.adbapi} with what it leaves out.

Its threads are daemons, whose stop is bounded, so that a stuck connection cannot keep the process from ending.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from pacarchive.runtime.threads import BlockingPool

T = TypeVar("T")


def timed_out(error: BaseException) -> bool:
    """Whether this is because a time limit of the connection has run out."""
    return isinstance(error.__context__, TimeoutError)


class DaemonConnectionPool(adbapi.ConnectionPool):
    """
    A pool with threads of its own.

    @param reactor: The reactor.
    @param threads: The threads; one connection each.
    @param patience: Seconds for which a busy thread is waited for at the end.
    @param driver: The module with the driver (PEP 249).
    @param arguments: The driver's, and adbapi's.
    @ivar losses: How many connections were lost.
    """

    def __init__(self, reactor: Any, threads: BlockingPool, patience: float, driver: str, **arguments: Any) -> None:
        self._threads = threads
        self._patience = patience
        self.losses = 0
        super().__init__(driver, cp_reactor=reactor, cp_min=1, cp_max=threads.size, **arguments)

    @property
    def threadpool(self) -> ThreadPool:
        """Ours, from the start on: adbapi's constructor makes one whose threads would keep the process from ending."""
        return self._threads.threadpool

    @threadpool.setter
    def threadpool(self, ignored: ThreadPool) -> None:
        """It is never started, and holds nothing."""

    def interact(self, take: Callable[[], None], interaction: Callable[[Any], T]) -> Deferred[T]:
        """
        Make an interaction that may not be worth a connection any more when its turn comes.

        @param take: Is called in the thread before a connection is looked for; what it raises, the interaction fails
            with.
        @param interaction: Is called then, as by C{runInteraction}.
        """

        def run() -> T:
            take()
            result: T = self._runInteraction(interaction)
            return result

        return self._threads.call(run)

    def finalClose(self) -> None:
        """End the threads; one whose connection hangs is left behind after its time limit."""
        self.shutdownID = None
        ended = self._threads.stop(self._patience)
        self.running = False
        if ended:  # else a thread is left behind with its own, and would fail in it, or worse
            for connection in self.connections.values():
                self._close(connection)
        self.connections.clear()
