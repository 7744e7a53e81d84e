"""A private MariaDB server with sideband databases as C{samdb create} makes them."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs
import pymysql
from ports import free_port
from pymysql.constants.CR import CR_CONN_HOST_ERROR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

HOST = "127.0.0.1"
PATIENCE = 30.0
"""What a start or a stop of the server may take, in seconds; far more than it ever does."""

STRICT = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
LAX = ""
"""The two SQL modes that are met."""

_LONGEST_SOCKET = 99
_ROOM = 2 << 30
_LOG_SIZE = "--innodb-log-file-size=4M"
_PASSWORD = "s3cret'\"%\\x"

_SCHEMA = (
    """
    CREATE TABLE sam_inode (
        ino INT UNSIGNED NOT NULL, gen INT UNSIGNED NOT NULL, type TINYINT UNSIGNED NOT NULL,
        size BIGINT UNSIGNED NOT NULL DEFAULT 0, csum CHAR(32) NULL,
        create_time INT UNSIGNED NOT NULL DEFAULT 0, modify_time INT UNSIGNED NOT NULL DEFAULT 0,
        uid INT UNSIGNED NOT NULL, gid INT UNSIGNED NOT NULL, online TINYINT UNSIGNED NOT NULL,
        PRIMARY KEY (ino, gen)
    )""",
    """
    CREATE TABLE sam_path (
        ino INT UNSIGNED NOT NULL, gen INT UNSIGNED NOT NULL, path VARCHAR(4096) NULL,
        PRIMARY KEY (ino, gen), INDEX (path)
    )""",
    """
    CREATE TABLE sam_file (
        p_ino INT UNSIGNED NOT NULL, p_gen INT UNSIGNED NOT NULL, name_hash SMALLINT UNSIGNED NOT NULL,
        name VARCHAR(256) NOT NULL, ino INT UNSIGNED NOT NULL, gen INT UNSIGNED NOT NULL,
        PRIMARY KEY (p_ino, p_gen, name_hash, name), INDEX (ino, gen)
    )""",
    """
    CREATE TABLE sam_archive (
        ino INT UNSIGNED NOT NULL, gen INT UNSIGNED NOT NULL, copy TINYINT UNSIGNED NOT NULL,
        seq SMALLINT UNSIGNED NOT NULL, media_type CHAR(4) NOT NULL, vsn CHAR(32) NOT NULL,
        position BIGINT UNSIGNED NOT NULL, `{column}` INT UNSIGNED NOT NULL, size BIGINT UNSIGNED NOT NULL,
        create_time INT UNSIGNED NOT NULL DEFAULT 0, stale TINYINT UNSIGNED NOT NULL DEFAULT 0,
        PRIMARY KEY (ino, gen, copy, seq), INDEX (media_type, vsn)
    )""",
    "CREATE TABLE sam_version (id INT UNSIGNED NOT NULL, version DOUBLE NOT NULL)",
)
_SEED = (
    "INSERT INTO sam_inode VALUES (2, 2, 1, 0, NULL, 0, 0, 0, 0, 1)",
    "INSERT INTO sam_path VALUES (2, 2, '/')",
    "INSERT INTO sam_version VALUES (0, 1.0)",
)


def _as_user() -> list[str]:
    """The server does not run as root unless it is told to."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    assert found is not None, f"{name} is not installed"
    return found


def _scratch(prefix: str) -> Path:
    """A new directory: in memory, where a start and a change take a fraction of the time, if that has room."""
    memory = "/dev/shm"
    roomy = os.path.isdir(memory) and shutil.disk_usage(memory).free > _ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if roomy else None))


@functools.cache
def shared_template() -> Path:
    """An initialised data directory, made once per process, to copy for each server."""
    directory = _scratch("pa-template-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    done = subprocess.run(
        [
            _program("mariadb-install-db"),
            "--no-defaults",
            *_as_user(),
            f"--datadir={directory / 'data'}",
            f"--tmpdir={directory}",  # two that begin at the same time would have the same names in one for all
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            _LOG_SIZE,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "data"


class MariaDB:
    """
    A server over a data directory of its own, which is gone after C{with}.

    @param directory: Where the data are to be; where that is too long for a socket, or C{None}, a new one.
    @param tcp: Whether to listen at a port also.
    @param sql_mode: The global SQL mode; what L{set_sql_mode} sets lasts over restarts.
    @param durable: Whether what was committed outlives L{kill}; else about a second of it may be lost.
    @ivar socket: The path of its unix socket.
    @ivar port: Its port at L{HOST}, the same after a restart; C{None} without C{tcp}.
    """

    def __init__(
        self, directory: Path | None = None, *, tcp: bool = False, sql_mode: str = STRICT, durable: bool = False
    ) -> None:
        self._temporary: Path | None = None
        if directory is None or len(os.fsencode(directory / "sock")) > _LONGEST_SOCKET:
            directory = self._temporary = _scratch("pa-")
        self.directory = directory
        self.socket = str(directory / "sock")
        self.port = free_port() if tcp else None
        self._sql_mode = sql_mode
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """All that it has said so far."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it serves."""
        assert self._process is None, "the server runs already"
        data = self.directory / "data"
        if not data.exists():
            shutil.copytree(shared_template(), data)
        listening = ["--skip-networking"] if self.port is None else [f"--bind-address={HOST}", f"--port={self.port}"]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    # It does not outlive the tests, however they end.
                    *(_program("setpriv"), "--pdeathsig", "KILL"),
                    _program("mariadbd"),
                    "--no-defaults",
                    *_as_user(),
                    f"--datadir={data}",
                    f"--socket={self.socket}",
                    f"--pid-file={self.directory / 'pid'}",
                    f"--sql-mode={self._sql_mode}",
                    *listening,
                    _LOG_SIZE,
                    "--innodb-buffer-pool-size=32M",
                    f"--innodb-flush-log-at-trx-commit={2 if self._durable else 0}",
                    "--innodb-flush-method=nosync",
                    "--debug-no-sync",
                    "--innodb-use-native-aio=0",
                    "--performance-schema=OFF",
                    "--skip-name-resolve",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._serves():
            assert self._process.poll() is None, f"the server has ended: {self.log}"
            assert time.monotonic() < deadline, f"the server does not start: {self.log}"
            time.sleep(0.01)

    def _serves(self) -> bool:
        try:
            self.connect(read_timeout=5).close()
        except pymysql.err.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it in order."""
        self.thaw()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """C{kill -9}; also where it is frozen."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it in order, and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Have it accept connections and answer nothing, until L{thaw}."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Have it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Have it serve, whatever became of it."""
        self.thaw()
        if self._process is None:
            self.start()

    def _end(self, signal_number: int) -> None:
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(PATIENCE)
            self._process = None

    def close(self) -> None:
        """End it whatever its state, and remove its data."""
        self.kill()
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def connect(self, user: str = "root", database: str | None = None, **more: Any) -> Connection[Cursor]:
        """
        A connection over the socket, for the caller to close; by default each statement is a transaction.

        @param more: As for C{pymysql.connect}; a C{read_timeout} is for the server's greeting also.
        """
        # Without ssl_disabled, each connection reads all certificates of the system.
        options: dict[str, Any] = {"charset": "latin1", "autocommit": True, "ssl_disabled": True, **more}
        connection: Connection[Cursor] = pymysql.connect(user=user, database=database, defer_connect=True, **options)
        # PyMySQL does not close a socket of its own that nobody listens at.
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.settimeout(PATIENCE)
            try:
                channel.connect(self.socket)
            except OSError as error:
                raise pymysql.err.OperationalError(CR_CONN_HOST_ERROR, str(error)) from error
            connection.connect(channel)
        except BaseException:
            channel.close()
            raise
        return connection

    def execute(
        self, statement: str, values: Sequence[object] | None = None, *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """One statement as root, on a connection of its own.  @return: The rows."""
        with self.connect(database=database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall())

    def set_sql_mode(self, sql_mode: str) -> None:
        """The mode of all connections from now on."""
        self.execute("SET GLOBAL sql_mode = %s", [sql_mode])
        self._sql_mode = sql_mode

    def create_database(
        self,
        name: str,
        *,
        column: Literal["off_set", "offset"] = "off_set",
        charset: str = "latin1",
        sql_mode: str | None = None,
        engine: Literal["InnoDB", "MyISAM"] = "InnoDB",
    ) -> None:
        """
        What C{samdb create} does.

        @param column: How the column of C{sam_archive} is called.
        @param charset: With MyISAM only one of single bytes, else the keys are too long.
        @param sql_mode: That of the session, where it is not to be the global one.
        """
        with self.connect() as connection, connection.cursor() as cursor:
            if sql_mode is not None:
                cursor.execute("SET SESSION sql_mode = %s", [sql_mode])
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET {charset}")
            cursor.execute(f"USE `{name}`")
            for statement in _SCHEMA:
                cursor.execute(f"{statement.format(column=column)} ENGINE={engine}")
            for statement in _SEED:
                cursor.execute(statement)

    def drop_database(self, name: str) -> None:
        """What C{samdb drop} does."""
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def create_reader(self, database: str) -> tuple[str, str]:
        """An account that may read this database only.  @return: The name and the password."""
        user = f"{database}_reader"
        # In a grant, an underscore of the name would stand for any character.
        pattern = database.replace("_", "\\_")
        for host in ("localhost", HOST):
            self.execute("CREATE USER %s@%s IDENTIFIED BY %s", [user, host, _PASSWORD])
            self.execute(f"GRANT SELECT ON `{pattern}`.* TO %s@%s", [user, host])
        return user, _PASSWORD

    def drop_reader(self, user: str) -> None:
        """Remove an account of L{create_reader}."""
        for host in ("localhost", HOST):
            self.execute("DROP USER IF EXISTS %s@%s", [user, host])


@attrs.frozen
class Sideband:
    """
    A sideband database, and who may read it.

    @ivar name: That of the database.
    @ivar user: An account with no other right than to read it.
    """

    server: MariaDB
    name: str
    user: str
    password: str = attrs.field(repr=False)
