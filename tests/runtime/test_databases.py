"""Pools of connections are pools of threads like any other."""

from __future__ import annotations

from twisted.internet import reactor

from pacarchive.runtime.databases import DaemonConnectionPool
from pacarchive.runtime.threads import BlockingPool, running_pools


def test_one_is_seen_among_those_that_run() -> None:
    """From its start to its end, so that metrics say how busy it is."""
    threads = BlockingPool(reactor, "some-database", 2)
    pool = DaemonConnectionPool(reactor, threads, 5.0, "sqlite3", database=":memory:", check_same_thread=False)
    pool.start()
    assert threads in running_pools()
    pool.close()  # type: ignore[no-untyped-call]
    assert threads not in running_pools()
