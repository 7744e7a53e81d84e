"""The database in every kind of trouble: nobody waits for it beyond its time limit, and nothing else depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from backends.handling import content, in_reactor, store

from pacarchive import errors
from pacarchive.backends.sideband.archive import SidebandArchive
from pacarchive.model import Locality
from sideband.archives import Daemon, SlowMount, serving
from sideband.server import HOST, Sideband
from sideband.watching import SLACK, Watch, all_words, logged, until

LIMIT = 0.3
"""What the database may take, in all of these tests."""

DATA = b"words on disk"
MTIME = 1_000_000_000.25

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
    await backend.remove(2, errors_are_none)
    assert watch.seconds < LIMIT + SLACK
    watch = Watch()
    health = await backend.health()
    assert watch.seconds < LIMIT + SLACK
    assert health.ready
    assert health.degraded
    assert words in health.words
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
    (_locked, "not answered within 0.3 s"),
    (_no_right, "(error 1044)"),
    (_wrong_password, "it does not accept the account"),
]


@pytest.mark.parametrize("database", [{}, {"engine": "MyISAM"}], indirect=True, ids=["InnoDB", "MyISAM"])
@pytest.mark.parametrize(("trouble", "words"), TROUBLES, ids=[each.__name__[1:] for each, _ in TROUBLES])
@in_reactor
async def test_trouble_comes_and_goes(
    database: Sideband,
    tmp_path: Path,
    trouble: Callable[[Sideband], AbstractContextManager[None]],
    words: str,
) -> None:
    """While it lasts the mount answers alone, and residency is unknown; then all is as before."""
    with logged() as log, Daemon(tmp_path, database) as daemon:
        async with serving(tmp_path, database, mount=SlowMount(), database_timeout=LIMIT) as backend:
            await store(backend, 1, DATA, mtime=MTIME)
            daemon.to_tape(1)
            assert await locality(backend) is Locality.TAPE
            with trouble(database):
                # What is asked for before anybody has noticed is late by no more than the limit.
                await backend.health()
                await require_degraded(backend, database, words)
            await require_recovery(backend)
        assert database.password not in all_words(log)
        assert any("where the bytes of files are is not known" in (each.get("log_format") or "") for each in log)
