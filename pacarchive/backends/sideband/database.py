"""Connections to the sideband database.

A statement is sent on a connection that is known to live, and once more if it was lost in spite of that.  No call waits
longer than the time limits of its socket, and the caller's own limit is the reactor's: the catalogue keeps it.
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

_WORDS = {
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
    The database could not be asked.  C{str()} is for people, and names neither account nor host.

    @ivar detail: What was said by the database, or of it: for the log.
    """

    def __init__(self, words: str, detail: object = "") -> None:
        super().__init__(words)
        self.detail = str(detail)


class _ReadingConnection(LivingConnection):
    """Every statement is a transaction of its own (autocommit): no read sees an old snapshot."""

    def commit(self) -> None:
        """Autocommit is on: the server would only be asked for nothing."""

    def rollback(self) -> None:
        """After a failure: a connection that did not survive it is dropped."""
        if self._connection is not None and not self._connection.open:
            self._pool.disconnect(self._connection)


class SidebandPool(MariaDBPool):
    """
    The pool, which only reads.

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
    # What did not come in time is not waited for again.
    return number in _DEADLOCK or (number in _LOST and not timed_out(error))
