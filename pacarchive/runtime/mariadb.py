"""Connections to MariaDB or MySQL, by PyMySQL; imported only where one of them is used.

A connection that has been idle is tested before it is used, and replaced if it has been lost.
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
"""Seconds since its last use within which a connection is not tested."""


class LivingConnection(adbapi.Connection):
    """A thread's connection, which is tested if need be, and replaced if it has been lost."""

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
        """Roll back after a failure; if that has closed the connection, drop it instead."""
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
    @param timeout: The timeout of connecting, and of each answer, in seconds.
    @param unix_socket: The server's socket on this machine, instead of host and port; or empty.
    @param arguments: Further arguments for PyMySQL.
    @ivar losses: The count of connections that were lost; after each loss, all others are tested.
    @ivar last_used: When each thread last used its connection, and the count of losses at that time.
    """

    connectionFactory = LivingConnection

    def __init__(self, reactor: Any, threads: BlockingPool, timeout: float, unix_socket: str, **arguments: Any) -> None:
        self.seconds: Callable[[], float] = reactor.seconds
        self.last_used: dict[int, tuple[float, int]] = {}
        self._timeout = timeout
        self._socket = unix_socket
        super().__init__(
            reactor,
            threads,
            timeout,
            "pymysql",
            cp_openfun=self._open,
            defer_connect=True,
            ssl_disabled=bool(unix_socket),  # else TLS where the server offers it
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
            program_name="pacarchive",
            **arguments,
        )

    def _open(self, connection: pymysql.Connection[Any]) -> None:
        """Connect.  A Unix socket is connected here, as PyMySQL does not close one that it cannot connect."""
        if not self._socket:
            connection.connect()
            return
        found = socket.socket(socket.AF_UNIX)
        try:
            found.settimeout(self._timeout)
            found.connect(self._socket)
        except OSError as error:
            found.close()
            raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, f"cannot connect to the socket: {error}") from error
        connection.connect(found)
