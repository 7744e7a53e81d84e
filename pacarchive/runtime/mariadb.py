"""Connections to MariaDB, or MySQL, over PyMySQL; whoever has none of the two need not import that.

A connection is known to live when it is used: one that lay idle is asked first, and replaced if it is dead.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pymysql
from pymysql.constants import CR
from twisted.enterprise import adbapi

from pacarchive.runtime.databases import DaemonConnectionPool
from pacarchive.runtime.threads import BlockingPool

_FRESH = 1.0
"""A connection that was used within so many seconds is not asked whether it lives."""


class LivingConnection(adbapi.Connection):
    """A thread's connection, which is replaced when it turns out to be dead."""

    def __init__(self, pool: MariaDBPool) -> None:
        super().__init__(pool)
        assert self._connection is not None, "adbapi has just made it"
        now, thread = pool.seconds(), pool.threadID()
        used, losses = pool.last_used.get(thread, (now, pool.losses))
        if now - used > _FRESH or losses != pool.losses:
            try:
                self._connection.ping()
            except pymysql.Error:
                self.reconnect()
        pool.last_used[thread] = now, pool.losses

    def rollback(self) -> None:
        """After a failure: a connection that did not survive it is dropped."""
        if self._connection is None:
            return
        if not self._connection.open:
            self._pool.disconnect(self._connection)
            return
        super().rollback()


class MariaDBPool(DaemonConnectionPool):
    """
    Connections to MariaDB or MySQL.

    @param reactor: The reactor.
    @param threads: The threads; one connection each.
    @param patience: What connecting, and any answer, may take, in seconds.
    @param unix_socket: The server's socket on this machine, instead of host and port; or empty.
    @param arguments: Further ones for PyMySQL.
    @ivar losses: How many connections were lost; no other is trusted untried then.
    @ivar last_used: When each thread last used its connection, and how many had been lost by then.
    """

    connectionFactory = LivingConnection

    def __init__(
        self, reactor: Any, threads: BlockingPool, patience: float, unix_socket: str, **arguments: Any
    ) -> None:
        self.seconds: Callable[[], float] = reactor.seconds
        self.last_used: dict[int, tuple[float, int]] = {}
        self._socket = unix_socket
        super().__init__(
            reactor,
            threads,
            patience,
            "pymysql",
            cp_openfun=self._open,
            defer_connect=True,
            ssl_disabled=bool(unix_socket),  # else TLS where the server offers it
            connect_timeout=patience,
            read_timeout=patience,
            write_timeout=patience,
            program_name="pacarchive",
            **arguments,
        )

    def _open(self, connection: pymysql.Connection[Any]) -> None:
        """Connect; PyMySQL does not close a Unix socket that it could not connect."""
        if not self._socket:
            connection.connect()
            return
        found = socket.socket(socket.AF_UNIX)
        try:
            found.settimeout(self._patience)
            found.connect(self._socket)
        except OSError as error:
            found.close()
            raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, f"cannot connect to the socket: {error}") from error
        connection.connect(found)
