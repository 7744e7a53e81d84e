"""The job store: a small database, SQLite or MariaDB, through L{twisted.enterprise.adbapi}.

There is one writer at a time.  Each writing transaction begins with an update of the only row of the table C{turn}: in
MariaDB all other writers wait there until it ends, and SQLite admits only one writer anyway.  So both behave alike,
there are no deadlocks, the counter in that row is the order of all changes, and a transaction of the dispatcher can
check that its lease still holds.  Reads run beside writes, each on a snapshot.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.recall.channel import Call, Channel, NotExecuted
from pacarchive.recall.places import DefaultStore
from pacarchive.recall.schema import MARIADB, SQLITE, STEPS, Dialect, statements
from pacarchive.runtime.databases import DaemonConnectionPool
from pacarchive.runtime.threads import BlockingPool

T = TypeVar("T")
Row = Sequence[Any]

READERS = 2
"""Connections for reading only."""

AT_ONCE = 500
"""The most parameters of one C{IN (...)}."""

_ATTEMPTS, _PAUSE = 100, 0.02
"""The most attempts to prepare a new file while other processes do the same, and the seconds between two."""

_LOST = frozenset({2006, 2013, 1927, 4031})
"""PyMySQL's CR_SERVER_GONE_ERROR and CR_SERVER_LOST, MariaDB's ER_CONNECTION_KILLED and idle_transaction_timeout."""

_NO_ANSWER = "The list of recalls does not answer."

_log = Logger()


class StoreUnavailable(errors.BackendUnavailable):
    """The job store does not answer, or answers with errors."""


class StoreRefused(StoreUnavailable):
    """The job store belongs to another archive or a later version: the operator has to act."""


class OutcomeUnknown(StoreUnavailable):
    """The store failed during a commit: it is not known whether the change was made."""


class LeaseLost(Exception):
    """Another process is the dispatcher now."""


class Cursor:
    """
    A snapshot to read from.

    @param transaction: adbapi's transaction, or a cursor of the driver.
    @param dialect: The dialect of the database.
    """

    def __init__(self, transaction: Any, dialect: Dialect) -> None:
        self._transaction = transaction
        self._dialect = dialect

    def execute(self, text: str, *arguments: Any) -> Any:
        """
        Run a statement.

        @return: The driver's cursor, with C{rowcount} and C{lastrowid}.
        """
        self._transaction.execute(self._dialect.render(text), arguments)
        return self._transaction

    def many(self, text: str, rows: Sequence[Row]) -> None:
        """Run a statement for each of some rows."""
        if rows:
            self._transaction.executemany(self._dialect.render(text), rows)

    def rows(self, text: str, *arguments: Any) -> list[Row]:
        """Return all rows of a query."""
        return list(self.execute(text, *arguments).fetchall())

    def row(self, text: str, *arguments: Any) -> Row | None:
        """Return the first row of a query, or C{None}."""
        row: Row | None = self.execute(text, *arguments).fetchone()
        return row

    def among(self, text: str, keys: Iterable[Any], *arguments: Any) -> Iterator[Row]:
        """Return the rows of a query with C{IN (*)}, for any number of keys, which follow the other arguments."""
        for some in slices(keys):
            yield from self.rows(text.replace("(*)", f"({', '.join('?' * len(some))})"), *arguments, *some)

    def execute_among(self, text: str, keys: Iterable[Any], *arguments: Any) -> int:
        """
        Run a statement with C{IN (*)}, for any number of keys, which follow the other arguments.

        @return: The count of rows that changed.
        """
        changed = 0
        for some in slices(keys):
            marked = text.replace("(*)", f"({', '.join('?' * len(some))})")
            changed += self.execute(marked, *arguments, *some).rowcount
        return changed


class Transaction(Cursor):
    """
    The writing transaction; there is one at a time.

    @ivar seq: The number of this change; it is larger than that of every earlier one.
    @ivar now: The time, in seconds since the epoch.
    """

    def __init__(self, transaction: Any, dialect: Dialect, now: float) -> None:
        super().__init__(transaction, dialect)
        self.now = now
        self.execute("UPDATE turn SET seq = seq + 1 WHERE one = 1")
        row = self.row("SELECT seq, term FROM turn WHERE one = 1")
        assert row is not None, "the schema has put it there"
        self.seq: int = row[0]
        self._term: int = row[1]

    def require(self, term: int) -> None:
        """
        Make sure that the caller is still the dispatcher.

        @param term: The number of the caller's lease.
        @raise LeaseLost: Another process has taken the lease.
        """
        if self._term != term:
            raise LeaseLost


def slices(keys: Iterable[Any]) -> Iterator[list[Any]]:
    """Split keys into lists that fit into one statement."""
    keys = list(keys)
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]


class Write(Protocol):
    """A function that changes the store."""

    async def __call__(self, change: Callable[[Transaction], T]) -> T:
        """Call C{change} in a transaction."""


class Read(Protocol):
    """A function that reads from the store."""

    async def __call__(self, query: Callable[[Cursor], T]) -> T:
        """Call C{query} in a transaction."""


@attrs.frozen(kw_only=True)
class StoreSettings:
    """
    How to reach the store.

    @ivar address: A file, or C{mariadb://user@host:port/database}, C{mariadb://user@/database?socket=/path}.
    @ivar archive: The name of the archive; a store of another archive is refused.
    @ivar timeout: The timeout of connecting, and of each answer, in seconds.
    @ivar default: How C{address} was found, if the settings do not name it.
    """

    address: str
    password: str = attrs.field(default="", repr=False)
    archive: str
    timeout: float = 10.0
    default: DefaultStore | None = None


MakePool = Callable[[Any, str, int], BlockingPool]
"""Makes threads, from the reactor, a name and a size."""


class Store:
    """
    The database, opened once.

    @param reactor: The reactor, also the source of time.
    @param settings: How to reach the database.
    @param make_pool: Makes the threads for its connections.
    """

    def __init__(self, reactor: Any, settings: StoreSettings, make_pool: MakePool = BlockingPool) -> None:
        self._reactor = reactor
        self._settings = settings
        self._make_pool = make_pool
        self._shared = settings.address.startswith("mariadb:")
        self._dialect = MARIADB if self._shared else SQLITE
        self._make_connections = self._mariadb() if self._shared else self._sqlite
        self._writer: Channel | None = None
        self._readers: Channel | None = None

    async def start(self) -> None:
        """
        Open the database, and create the tables or bring them up to date.

        @raise StoreUnavailable: It cannot be opened, or is another archive's.
        """
        self._writer = self._open("recall-write", 1, _probe_writing)
        self._readers = self._open("recall-read", READERS, _probe_reading)
        try:
            await self._run(self._writer, self._prepare)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the database."""
        for channel in (self._writer, self._readers):
            if channel is not None:
                channel.stop()
        self._writer = self._readers = None

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """
        Change something, durably: all of it or nothing.

        @param change: Called in a thread.
        @return: The result of C{change}.
        @raise StoreUnavailable: It cannot be done now.
        @raise OutcomeUnknown: It may have been done, or not.
        """

        def run(transaction: Any) -> T:
            if not self._shared:
                transaction.execute("BEGIN IMMEDIATE")
            return change(Transaction(transaction, self._dialect, self._reactor.seconds()))

        return await self._run(self._writer, run)

    async def read(self, query: Callable[[Cursor], T]) -> T:
        """
        Read from a snapshot.

        @param query: Called in a thread, unless the caller has been cancelled by then.
        @return: The result of C{query}.
        @raise StoreUnavailable: It cannot be done now.
        """

        def run(transaction: Any) -> T:
            transaction.execute("START TRANSACTION READ ONLY" if self._shared else "BEGIN")
            return query(Cursor(transaction, self._dialect))

        return await self._run(self._readers, run, cancellable=True)

    @property
    def trouble(self) -> str:
        """That the database does not answer, from the first timeout until it answers again; else empty."""
        hangs = any(channel is not None and channel.hangs for channel in (self._writer, self._readers))
        return _NO_ANSWER if hangs else ""

    async def _run(self, channel: Channel | None, interaction: Callable[[Any], T], *, cancellable: bool = False) -> T:
        if channel is None:
            raise StoreUnavailable("The server is about to stop.")
        call = Call(interaction)
        try:
            try:
                return await channel.run(call, cancellable=cancellable)
            except channel.pool.dbapi.OperationalError as error:
                if call.completed or not error.args or error.args[0] not in _LOST:
                    raise
                channel.distrust()
                call = Call(interaction)  # refused, if the first was not answered
                return await channel.run(call, cancellable=cancellable)
        except NotExecuted as error:  # it was logged when the database was found to hang
            raise StoreUnavailable(_NO_ANSWER) from error
        except channel.pool.dbapi.Error as error:
            _log.error("job store: {error}", error=error)
            kind = OutcomeUnknown if call.completed and channel is self._writer else StoreUnavailable
            raise kind(_NO_ANSWER) from error

    def _open(self, name: str, size: int, probe: Callable[[Any], object]) -> Channel:
        threads = self._make_pool(self._reactor, name, size)
        pool = self._make_connections(threads)
        pool.start()
        # SQLite only waits for the write of another process, which ends; and a file system has no timeout.
        return Channel(self._reactor, pool, probe, self._settings.timeout if self._shared else None)

    def _sqlite(self, threads: BlockingPool) -> DaemonConnectionPool:
        return DaemonConnectionPool(
            self._reactor,
            threads,
            self._settings.timeout,
            "sqlite3",
            cp_openfun=_prepare_sqlite,
            database=self._settings.address,
            timeout=self._settings.timeout,
            isolation_level=None,
            check_same_thread=False,  # the reactor's thread closes them, after the others have ended
        )

    def _mariadb(self) -> Callable[[BlockingPool], DaemonConnectionPool]:
        from pacarchive.runtime.mariadb import MariaDBPool  # here, as it imports 8 MiB

        url = urlsplit(self._settings.address)
        return partial(
            MariaDBPool,
            self._reactor,
            timeout=self._settings.timeout,
            unix_socket=parse_qs(url.query).get("socket", [""])[0],
            host=url.hostname or "localhost",
            port=url.port or 3306,
            user=unquote(url.username or ""),
            password=self._settings.password.encode(),
            database=unquote(url.path.strip("/")),
            charset="utf8mb4",
            # A read is a snapshot, whatever the server's default.
            init_command=f"SET SESSION innodb_lock_wait_timeout = {max(1, round(self._settings.timeout))},"
            " SESSION tx_isolation = 'REPEATABLE-READ'",
        )

    def _prepare(self, transaction: Any) -> None:
        """Bring the tables up to date, while no other process does."""
        cursor = Cursor(transaction, self._dialect)
        if self._shared:
            cursor.execute("SELECT GET_LOCK('pacarchive-recall', 60)")
            try:
                _migrate(cursor, "information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'version'")
                cursor.execute("COMMIT")  # before the next process gets the lock
            finally:
                cursor.execute("SELECT RELEASE_LOCK('pacarchive-recall')")
        else:
            cursor.execute("BEGIN IMMEDIATE")
            _migrate(cursor, "sqlite_master WHERE name = 'version'")
        archive, default = self._settings.archive, self._settings.default
        if default is not None and default.is_inside:
            # The store lies in the archive, and so is its own, also after that was mounted in another place.
            cursor.execute("UPDATE turn SET archive = ?", archive)
        cursor.execute("UPDATE turn SET archive = ? WHERE archive = ''", archive)
        row = cursor.row("SELECT archive FROM turn")
        if row is None or row[0] != archive:
            owner = row[0] if row else "nobody's"
            message = f"{self._settings.address} is that of another archive ({owner}): name another one"
            raise StoreRefused("The list of recalls is that of another archive.") from ValueError(message)


def _probe_writing(transaction: Any) -> None:
    """Begin to write, and change nothing."""
    transaction.execute("SELECT seq FROM turn WHERE one = 1 FOR UPDATE")


def _probe_reading(transaction: Any) -> None:
    transaction.execute("SELECT seq FROM turn")


def _prepare_sqlite(connection: sqlite3.Connection) -> None:
    _write_ahead(connection)
    for pragma in ("synchronous = FULL", "cache_size = -32768", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """
    Switch to write-ahead logging.  Every process does so when it starts, and SQLite itself does not wait for others
    here.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not attempts_left:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _migrate(cursor: Cursor, version_table: str) -> None:
    if cursor.row(f"SELECT 1 FROM {version_table}") is None:  # noqa: S608  (one of two constants)
        cursor.execute("CREATE TABLE version (version INTEGER NOT NULL PRIMARY KEY)")
    row = cursor.row("SELECT MAX(version) FROM version")
    version = (row[0] if row else None) or 0
    if version > len(STEPS):
        raise StoreRefused("The list of recalls was made by a later version of pacarchive.")
    for number, step in enumerate(STEPS[version:], version + 1):
        for statement in statements(step):
            cursor.execute(statement)
        cursor.execute("INSERT INTO version VALUES (?)", number)
