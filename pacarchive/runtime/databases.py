"""Connections to databases, by L{twisted.enterprise.adbapi} in threads of a L{BlockingPool}.

Those are daemons, and their stop has a timeout, so that a stuck connection cannot keep the process from ending.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred

from pacarchive.runtime.threads import BlockingPool, Threads

T = TypeVar("T")


def timed_out(error: BaseException) -> bool:
    """Return whether an error of the driver means that a timeout of the connection has expired."""
    return isinstance(error.__context__, TimeoutError)


class DaemonConnectionPool(adbapi.ConnectionPool):
    """
    A pool of connections, each in a thread of its own.

    @param reactor: The reactor.
    @param threads: The threads; one connection each.
    @param stop_timeout: Seconds that L{finalClose} waits for busy threads.
    @param driver: The name of the driver's module (PEP 249).
    @param arguments: Arguments of the driver and of adbapi.
    @ivar losses: The count of connections that were lost.
    """

    def __init__(self, reactor: Any, threads: BlockingPool, stop_timeout: float, driver: str, **arguments: Any) -> None:
        self._threads = threads
        self._stop_timeout = stop_timeout
        self.losses = 0
        super().__init__(driver, cp_reactor=reactor, cp_min=1, cp_max=threads.size, **arguments)

    @property  # type: ignore[override]
    def threadpool(self) -> Threads:
        """The pool's threads, in place of adbapi's own, which would keep the process from ending."""
        return self._threads.threadpool

    @threadpool.setter
    def threadpool(self, ignored: object) -> None:
        """Ignore the pool that adbapi's constructor makes; it is never started."""

    def start(self) -> None:
        """Open connections when they are needed; its threads count as running."""
        super().start()
        self._threads.start()

    def interact(self, take: Callable[[], None], interaction: Callable[[Any], T]) -> Deferred[T]:
        """
        Run an interaction in a thread, unless it has become pointless by the time that a thread is free.

        @param take: Called in the thread, before a connection is opened.  If it raises an error, the interaction fails
            with that.
        @param interaction: Called next, as by C{runInteraction}.
        @return: Fires with the result of C{interaction}.
        """

        def run() -> T:
            take()
            result: T = self._runInteraction(interaction)
            return result

        return self._threads.call(run)

    def finalClose(self) -> None:
        """Close the connections and end the threads; a thread whose connection hangs is abandoned after the timeout."""
        self.shutdownID = None
        ended = self._threads.stop(self._stop_timeout)
        self.running = False
        if ended:  # else an abandoned thread still uses its connection, which must not be closed under it
            for connection in self.connections.values():
                self._close(connection)
        self.connections.clear()
