"""Connections to the sideband database.

A statement is sent on a connection that has been tested, and retried once if the connection is lost all the same.  No
call blocks longer than its socket's timeouts; the caller's own timeout is kept by the catalogue, in the reactor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymysql
from pymysql.constants import CR, ER

from pacarchive.backends.sideband.queries import Query, Row
from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.runtime.databases import timed_out
from pacarchive.runtime.mariadb import LivingConnection, MariaDBPool
from pacarchive.runtime.threads import BlockingPool

_KILLED = 1927  # MariaDB's ER_CONNECTION_KILLED
_LOST = frozenset({CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, _KILLED})
_DEADLOCK = frozenset({ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK})

_MESSAGES = {
    ER.ACCESS_DENIED_ERROR: "it does not accept the account",
    ER.DBACCESS_DENIED_ERROR: "the account may not use it",
    ER.TABLEACCESS_DENIED_ERROR: "the account may not read a table",
    ER.BAD_DB_ERROR: "there is no database of this name",
    ER.NO_SUCH_TABLE: "a table is missing: it is not a sideband database",
    ER.BAD_FIELD_ERROR: "a column is missing: its schema is not one that is known",
    ER.KEY_DOES_NOT_EXITS: "an index is missing: without it each look-up would read a whole table",
    ER.LOCK_WAIT_TIMEOUT: "a lock was not released in time",
    CR.CR_CONN_HOST_ERROR: "it cannot be connected to",
    CR.CR_SERVER_GONE_ERROR: "the connection was lost",
    CR.CR_SERVER_LOST: "the connection was lost, or nothing came in time",
}


class DatabaseError(Exception):
    """
    A query failed.  C{str()} is for people, and names neither account nor host.

    @ivar detail: The error as the database or the driver reported it, for the log.
    """

    def __init__(self, message: str, detail: object = "") -> None:
        super().__init__(message)
        self.detail = str(detail)


class _ReadingConnection(LivingConnection):
    """A connection on which every statement is a transaction of its own (autocommit): none sees an old snapshot."""

    def commit(self) -> None:
        """Do nothing: autocommit is on, and so this would be a round trip without effect."""

    def rollback(self) -> None:
        """Drop the connection after a failure, if that has closed it."""
        if self._connection is not None and not self._connection.open:
            self._pool.disconnect(self._connection)


class SidebandPool(MariaDBPool):
    """
    The pool of connections, which only read.

    @param reactor: The reactor.
    @param settings: How to connect.
    """

    connectionFactory = _ReadingConnection

    def __init__(self, reactor: Any, settings: SidebandSettings) -> None:
        super().__init__(
            reactor,
            BlockingPool(reactor, "sideband-db", settings.connections),
            settings.database_timeout,
            settings.unix_socket,
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=settings.password.encode(),
            database=settings.schema,
            charset="latin1",
            use_unicode=False,
            autocommit=True,
        )

    async def ask(self, query: Query) -> Sequence[Row]:
        """
        Run a query; retry it once where the connection was lost, or a lock was not released in time.

        @raise DatabaseError: It failed.
        """
        try:
            try:
                rows: Sequence[Row] = await self.runQuery(query.text, tuple(query.parameters))
            except pymysql.OperationalError as error:
                if not _is_transient(error):
                    raise
                self.losses += 1  # so that other connections are tested before they are used
                rows = await self.runQuery(query.text, tuple(query.parameters))
        except pymysql.Error as error:
            number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            message = _MESSAGES.get(number, "it answers with an error")
            raise DatabaseError(f"cannot {query.description}: {message} (error {number})", error) from error
        return rows


def _is_transient(error: pymysql.OperationalError) -> bool:
    number = error.args[0] if error.args else 0
    # A timeout is not retried.
    return number in _DEADLOCK or (number in _LOST and not timed_out(error))
