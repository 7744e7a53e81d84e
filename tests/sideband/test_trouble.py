"""The database in every kind of trouble: nobody waits for it beyond its time limit, and nothing else depends on it."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import gatherResults

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, running, store
from pacarchive.backends.sideband import catalogue
from pacarchive.backends.sideband.archive import SidebandArchive
from pacarchive.model import FileStatus, Locality
from pacarchive.runtime import mariadb as connections
from sideband.archives import Daemon, SlowMount, serving
from sideband.server import HOST, MariaDB, Sideband
from sideband.watching import SLACK, Watch, all_words, logged, until

LIMIT = 0.3
"""What the database may take, in all of these tests."""

ROUNDS = 40
"""In which nobody waits: what one costs that waits is seen on a busy machine, too."""

DATA = b"words on disk"
MTIME = 1_000_000_000

NO_ANSWER = "not answered within 0.3 s|nothing came in time"
"""Whose limit is over first, that of the call or that of the connection, is not for sure."""

TABLES = ("sam_inode", "sam_path", "sam_file", "sam_archive", "sam_version")


async def locality(backend: SidebandArchive, file_id: int = 1) -> Locality:
    return (await backend.status(file_id)).locality


async def require_degraded(backend: SidebandArchive, database: Sideband, words: str) -> None:
    """All goes on without the database, each call within the limit; and the operator hears why."""
    watch = Watch()
    status = await backend.status(1)
    assert watch.seconds < LIMIT + SLACK
    assert (status.locality, status.size, status.mtime) == (Locality.UNAVAILABLE, len(DATA), MTIME)
    watch = Watch()
    assert await content(backend, 1) == DATA
    await store(backend, 2, DATA)
    await backend.remove(2, ALLOW)
    assert watch.seconds < LIMIT + SLACK
    watch = Watch()
    health = await backend.health()
    assert watch.seconds < LIMIT + SLACK
    assert health.ready
    assert health.degraded
    assert re.search(words, health.words)
    require_no_secrets(health.words, database)
    with pytest.raises(errors.BackendUnavailable) as caught:
        await backend.locate([1])
    require_no_secrets(str(caught.value), database)


def require_no_secrets(words: str, database: Sideband) -> None:
    for secret in (database.password, database.user, HOST, database.server.socket):
        assert secret not in words


async def require_recovery(backend: SidebandArchive) -> None:
    """Nobody has to do anything."""

    async def knows() -> bool:
        return await locality(backend) is Locality.TAPE

    await until(knows)
    health = await backend.health()
    assert (health.ready, health.degraded) == (True, False)


# Troubles that come and go.


@contextmanager
def _without(database: Sideband, *tables: str) -> Iterator[None]:
    away = f"{database.name}_away"
    database.server.execute(f"CREATE DATABASE {away}")
    try:
        for table in tables:
            database.server.execute(f"RENAME TABLE {database.name}.{table} TO {away}.{table}")
        yield
        for table in tables:
            database.server.execute(f"RENAME TABLE {away}.{table} TO {database.name}.{table}")
    finally:
        database.server.drop_database(away)


def _missing_table(database: Sideband) -> AbstractContextManager[None]:
    return _without(database, "sam_file")


def _missing_version_table(database: Sideband) -> AbstractContextManager[None]:
    return _without(database, "sam_version")


def _empty_database(database: Sideband) -> AbstractContextManager[None]:
    return _without(database, *TABLES)


@contextmanager
def _missing_column(database: Sideband) -> Iterator[None]:
    database.server.execute("ALTER TABLE sam_inode RENAME COLUMN online TO off", database=database.name)
    yield
    database.server.execute("ALTER TABLE sam_inode RENAME COLUMN off TO online", database=database.name)


@contextmanager
def _no_version(database: Sideband) -> Iterator[None]:
    database.server.execute("DELETE FROM sam_version", database=database.name)
    yield
    database.server.execute("INSERT INTO sam_version VALUES (0, 1.0)", database=database.name)


@contextmanager
def _no_directory(database: Sideband) -> Iterator[None]:
    """The prefix is not known: the database is that of another file system, or the setting is wrong."""
    database.server.execute("UPDATE sam_path SET path = '/other/' WHERE path = '/archive/'", database=database.name)
    yield
    database.server.execute("UPDATE sam_path SET path = '/archive/' WHERE path = '/other/'", database=database.name)


@contextmanager
def _locked(database: Sideband) -> Iterator[None]:
    with database.server.connect(database=database.name) as root, root.cursor() as cursor:
        cursor.execute(f"LOCK TABLES {', '.join(f'{table} WRITE' for table in TABLES)}")
        yield
        cursor.execute("UNLOCK TABLES")


@contextmanager
def _no_right(database: Sideband) -> Iterator[None]:
    pattern = database.name.replace("_", "\\_")
    database.server.execute(f"REVOKE SELECT ON `{pattern}`.* FROM %s@localhost", [database.user])
    drop_connections(database)
    yield
    database.server.execute(f"GRANT SELECT ON `{pattern}`.* TO %s@localhost", [database.user])


@contextmanager
def _wrong_password(database: Sideband) -> Iterator[None]:
    database.server.execute("ALTER USER %s@localhost IDENTIFIED BY 'other'", [database.user])
    drop_connections(database)
    yield
    database.server.execute("ALTER USER %s@localhost IDENTIFIED BY %s", [database.user, database.password])


def drop_connections(database: Sideband) -> int:
    """The server ends all connections of the account.  @return: How many."""
    found = database.server.execute("SELECT id FROM information_schema.processlist WHERE user = %s", [database.user])
    for (number,) in found:
        database.server.execute("KILL %s", [number])
    return len(found)


TROUBLES: list[tuple[Callable[[Sideband], AbstractContextManager[None]], str]] = [
    (_missing_table, "a table is missing"),
    (_missing_version_table, "a table is missing"),
    (_empty_database, "a table is missing"),
    (_missing_column, "a column is missing"),
    (_no_version, "it has no version"),
    (_no_directory, "does not know the archive's directory"),
    (_locked, NO_ANSWER),
    (_no_right, "error 1044"),
    (_wrong_password, "it does not accept the account"),
]

NOTICED_BY_CHECKS = {_missing_version_table, _no_version, _no_directory}
"""Others are noticed by whoever asks first."""


@pytest.mark.parametrize(
    ("database", "trouble", "words"),
    [({}, *each) for each in TROUBLES] + [({"engine": "MyISAM"}, *each) for each in TROUBLES if each[0] is _locked],
    indirect=["database"],
    ids=[each.__name__[1:] for each, _ in TROUBLES] + ["a bulk load's lock"],
)
@in_reactor
async def test_trouble_comes_and_goes(
    database: Sideband,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[Sideband], AbstractContextManager[None]],
    words: str,
) -> None:
    """While it lasts the mount answers alone, and residency is unknown; then all is as before."""
    monkeypatch.setattr(catalogue, "_RETRY", 0.1)
    with logged() as log, Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database, mount=SlowMount(), database_timeout=LIMIT) as backend:
            await store(backend, 1, DATA, mtime=MTIME)
            daemon.to_tape(1)
            await require_recovery(backend)
            with trouble(database):
                if trouble in NOTICED_BY_CHECKS:
                    await backend.health()
                await require_degraded(backend, database, words)
            await require_recovery(backend)
        assert database.password not in all_words(log)
        assert any("where the bytes of files are is not known" in (each.get("log_format") or "") for each in log)


@pytest.mark.parametrize("trouble", [_locked, _wrong_password, _no_version], ids=lambda trouble: trouble.__name__[1:])
@in_reactor
async def test_a_start_in_trouble(
    database: Sideband, tmp_path: Path, trouble: Callable[[Sideband], AbstractContextManager[None]]
) -> None:
    """The service starts within the limit, and hears later that the trouble is over."""
    with Daemon(tmp_path, database) as daemon:
        with trouble(database):
            watch = Watch()
            context = serving(tmp_path, database, database_timeout=LIMIT)
            backend = await context.__aenter__()
            try:
                assert watch.seconds < LIMIT + SLACK
                await store(backend, 1, DATA, mtime=MTIME)
                assert await locality(backend) is Locality.UNAVAILABLE
            except BaseException:
                await context.__aexit__(None, None, None)
                raise
        try:
            daemon.to_tape(1)
            await require_recovery(backend)
        finally:
            await context.__aexit__(None, None, None)


@in_reactor
async def test_versions_may_be_repeated(database: Sideband, tmp_path: Path) -> None:
    """Each C{samdb create} adds one (11)."""
    database.server.execute("INSERT INTO sam_version VALUES (0, 1.0)", database=database.name)
    with Daemon(tmp_path, database):
        async with serving(tmp_path, database) as backend:
            health = await backend.health()
            assert (health.ready, health.degraded) == (True, False)


@pytest.mark.parametrize("what", ["user", "schema"])
@in_reactor
async def test_wrong_settings(database: Sideband, tmp_path: Path, what: str) -> None:
    """They are told apart in words, without what they are."""
    wrong: dict[str, Any] = {what: "no such thing"}
    async with serving(tmp_path, database, database_timeout=LIMIT, **wrong) as backend:
        await store(backend, 1, DATA, mtime=MTIME)
        words = {"user": "it does not accept the account", "schema": "error 10"}[what]
        await require_degraded(backend, database, words)
        assert "no such thing" not in (await backend.health()).words


# Trouble with the server itself.


async def _well(backend: SidebandArchive, daemon: Daemon) -> None:
    await store(backend, 1, DATA, mtime=MTIME)
    daemon.to_tape(1)
    await require_recovery(backend)


@in_reactor
async def test_a_server_that_is_killed(own_mariadb: MariaDB, tmp_path: Path) -> None:
    """Its socket refuses connections, and then it is back."""
    database = make_database(own_mariadb)
    with Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database, mount=SlowMount(), database_timeout=LIMIT) as backend:
            await _well(backend, daemon)
            own_mariadb.kill()
            await require_degraded(backend, database, "cannot be connected to")
            own_mariadb.start()
            await require_recovery(backend)


@in_reactor
async def test_a_port_where_nobody_answers(own_mariadb: MariaDB, tmp_path: Path) -> None:
    """A connection is accepted, and then nothing comes; in the end it is the server that listens there."""
    database = make_database(own_mariadb)
    daemon = Daemon(tmp_path, database)
    own_mariadb.stop()
    own: dict[str, Any] = {"unix_socket": "", "port": own_mariadb.port, "database_timeout": LIMIT}
    with socket.create_server((HOST, own_mariadb.port or 0)):
        watch = Watch()
        context = serving(tmp_path, database, mount=SlowMount(), **own)
        backend = await context.__aenter__()
        try:
            assert watch.seconds < LIMIT + SLACK
            await store(backend, 1, DATA, mtime=MTIME)
            await require_degraded(backend, database, NO_ANSWER)
        except BaseException:
            await context.__aexit__(None, None, None)
            raise
    try:
        own_mariadb.start()
        with daemon:
            daemon.to_tape(1)
        await require_recovery(backend)
    finally:
        await context.__aexit__(None, None, None)


@pytest.mark.parametrize("most", [1, 4], ids=["one connection", "four"])
@in_reactor
async def test_a_frozen_server(own_mariadb: MariaDB, tmp_path: Path, most: int) -> None:
    """It costs what is asked meanwhile one limit, however much that is; what is asked next waits no more."""
    database = make_database(own_mariadb)
    with Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database, mount=SlowMount(), database_timeout=LIMIT, connections=most) as backend:
            await _well(backend, daemon)
            own_mariadb.freeze()
            watch = Watch()
            found = await many(backend, 100)
            assert watch.seconds < LIMIT + SLACK
            assert {each.locality for each in found} == {Locality.UNAVAILABLE}
            watch = Watch()
            for _ in range(ROUNDS):
                await many(backend, 10)
            assert watch.seconds < ROUNDS * LIMIT / 2
            await require_degraded(backend, database, NO_ANSWER)
            own_mariadb.thaw()
            await require_recovery(backend)


@in_reactor
async def test_a_server_that_froze_long_ago(
    own_mariadb: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs one limit also where a connection is tried first, and made anew when it does not answer."""
    monkeypatch.setattr(connections, "_FRESH", -1.0)
    limit = 3.0
    database = make_database(own_mariadb)
    with Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database, database_timeout=limit) as backend:
            await _well(backend, daemon)
            own_mariadb.freeze()
            watch = Watch()
            await many(backend, 50)
            assert watch.seconds < 1.8 * limit
            own_mariadb.thaw()


@pytest.mark.parametrize("fresh", [-1.0, 60.0], ids=["long idle", "just used"])
@in_reactor
async def test_connections_that_were_ended(
    database: Sideband, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: float
) -> None:
    """By the server, between two look-ups: none fails for that, as each is sent once more on a new connection."""
    monkeypatch.setattr(connections, "_FRESH", fresh)
    with Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database, remember=0, connections=4) as backend:
            await _well(backend, daemon)
            for _ in range(3):
                # As many at once as keep all four connections busy.
                assert {each.locality for each in await many(backend, 200)} == {Locality.TAPE}
                assert drop_connections(database)
                for _ in range(8):
                    assert await locality(backend) is Locality.TAPE
                assert not (await backend.health()).degraded


async def many(backend: SidebandArchive, count: int) -> list[FileStatus]:
    """Ask often at once."""
    return await gatherResults([running(backend.status(1)) for _ in range(count)])


def make_database(server: MariaDB) -> Sideband:
    """A database of a server of its own."""
    server.create_database("sam_own")
    return Sideband(server, "sam_own", *server.create_reader("sam_own"))
