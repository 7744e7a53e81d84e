"""Connections to the sideband database: L{twisted.enterprise.adbapi} over PyMySQL.

A statement is sent on a connection that is known to live, and once more if it was lost in spite of that.  No call waits
longer than the time limits of its socket, and the caller's own limit is the reactor's: the catalogue keeps it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from twisted.enterprise import adbapi
from twisted.python.threadpool import ThreadPool

from pacarchive.backends.sideband.queries import Query, Row
from pacarchive.config import SidebandSettings
from pacarchive.threads import BlockingPool

_FRESH = 1.0
"""A connection that was used within so many seconds is not asked whether it lives."""

_KILLED = 1927  # MariaDB's ER_CONNECTION_KILLED
_LOST = frozenset({CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, _KILLED})
_DEADLOCK = frozenset({ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK})

_WORDS = {
    ER.ACCESS_DENIED_ERROR: "it does not accept the account",
    ER.DBACCESS_DENIED_ERROR: "the account may not use it",
    ER.TABLEACCESS_DENIED_ERROR: "the account may not read a table",
    ER.BAD_DB_ERROR: "there is no database of this name",
    ER.NO_SUCH_TABLE: "a table is missing: it is no sideband database",
    ER.BAD_FIELD_ERROR: "a column is missing: its schema is not one that is known",
    ER.KEY_DOES_NOT_EXITS: "an index is missing: without it each look-up would read a whole table",
    ER.LOCK_WAIT_TIMEOUT: "a lock was not released in time",
    CR.CR_CONN_HOST_ERROR: "it cannot be connected to",
    CR.CR_SERVER_GONE_ERROR: "the connection was lost",
    CR.CR_SERVER_LOST: "the connection was lost, or nothing came in time",
}


class DatabaseError(Exception):
    """
    The database could not be asked.  C{str()} is for people, and names neither account nor host.

    @ivar detail: What was said by the database, or of it: for the log.
    """

    def __init__(self, words: str, detail: object = "") -> None:
        super().__init__(words)
        self.detail = str(detail)


class _LivingConnection(adbapi.Connection):
    """
    A thread's connection, which is made anew when it turns out to be dead.

    Every statement is a transaction of its own (autocommit), so there is nothing to commit or roll back, and no read
    sees an old snapshot.
    """

    def __init__(self, pool: SidebandPool) -> None:
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

    def commit(self) -> None:
        """Autocommit is on: the server would only be asked for nothing."""

    def rollback(self) -> None:
        """After a failure: a connection that did not survive it is dropped."""
        if self._connection is not None and not self._connection.open:
            self._pool.disconnect(self._connection)


class SidebandPool(adbapi.ConnectionPool):
    """
    The pool, with threads that a stuck connection cannot keep from ending.

    @param reactor: The reactor.
    @param settings: How to connect.
    @ivar losses: How many connections were lost.
    @ivar last_used: When each thread last used its connection, and how many had been lost by then.
    """

    connectionFactory = _LivingConnection

    def __init__(self, reactor: Any, settings: SidebandSettings) -> None:
        self.seconds: Callable[[], float] = reactor.seconds
        self.losses = 0
        self.last_used: dict[int, tuple[float, int]] = {}
        self._threads = BlockingPool(reactor, "sideband-db", settings.connections)
        self._patience = settings.database_timeout
        self._socket = settings.unix_socket
        super().__init__(
            "pymysql",
            cp_reactor=reactor,
            cp_min=1,
            cp_max=settings.connections,
            cp_openfun=self._open,
            defer_connect=True,
            host=settings.host,
            port=settings.port,
            ssl_disabled=bool(settings.unix_socket),  # else TLS where the server offers it
            user=settings.user,
            password=settings.password.encode(),
            database=settings.schema,
            charset="latin1",
            use_unicode=False,
            autocommit=True,
            connect_timeout=settings.database_timeout,
            read_timeout=settings.database_timeout,
            write_timeout=settings.database_timeout,
            program_name="pacarchive",
        )

    @property
    def threadpool(self) -> ThreadPool:
        """Ours, from the start on: adbapi's constructor makes one whose threads would keep the process from ending."""
        return self._threads.threadpool

    @threadpool.setter
    def threadpool(self, ignored: ThreadPool) -> None:
        """It is never started, and holds nothing."""

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

    def finalClose(self) -> None:
        """End the threads; one whose connection hangs is left behind after its time limit."""
        self.shutdownID = None
        self._threads.stop(self._patience)
        self.running = False
        for connection in self.connections.values():
            self._close(connection)
        self.connections.clear()

    async def ask(self, query: Query) -> Sequence[Row]:
        """
        Run a statement, which only reads: once more, where the connection was lost, or a lock was in the way.

        @raise DatabaseError: It failed.
        """
        try:
            try:
                rows: Sequence[Row] = await self.runQuery(query.text, tuple(query.parameters))
            except pymysql.OperationalError as error:
                if not _is_passing(error):
                    raise
                self.losses += 1  # no other is trusted untried
                rows = await self.runQuery(query.text, tuple(query.parameters))
        except pymysql.Error as error:
            number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            words = _WORDS.get(number, "it answers with an error")
            raise DatabaseError(f"cannot {query.description}: {words} (error {number})", error) from error
        return rows


def _is_passing(error: pymysql.OperationalError) -> bool:
    number = error.args[0] if error.args else 0
    # What was waited for in vain is not waited for again.
    return number in _DEADLOCK or (number in _LOST and not isinstance(error.__context__, TimeoutError))
