"""What the server and the log see of the backend: nothing is written, and nobody learns the password."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends.posix import put_for_move

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, DENY, IDENTICAL, content, in_reactor, store
from pacarchive.backends.sideband import queries
from pacarchive.backends.sideband.archive import SidebandArchive
from pacarchive.backends.sideband.names import Place
from sideband.archives import Daemon, SlowMount, serving, settings_for
from sideband.server import Sideband
from sideband.watching import all_words, logged

DATA = b"words on disk"

TABLES = ("sam_inode", "sam_path", "sam_file", "sam_archive", "sam_version")

READING = re.compile(r"\s*(SELECT|SET (AUTOCOMMIT|NAMES)) ", re.IGNORECASE)


@pytest.fixture
def recorded(database: Sideband) -> Iterator[Sideband]:
    """The database, while its server records all commands, for L{sent}."""
    execute = database.server.execute
    ((enabled, output),) = execute("SELECT @@global.general_log, @@global.log_output")
    execute("SET GLOBAL log_output = 'TABLE'")
    execute("TRUNCATE mysql.general_log")
    execute("SET GLOBAL general_log = 1")
    try:
        yield database
    finally:
        execute("SET GLOBAL general_log = %s", [enabled])
        execute("SET GLOBAL log_output = %s", [output])
        execute("TRUNCATE mysql.general_log")


def sent(database: Sideband) -> list[tuple[str, str]]:
    """What the reader's connections have sent so far: the kinds of the commands, and their texts."""
    rows = database.server.execute(
        "SELECT command_type, argument FROM mysql.general_log WHERE user_host LIKE %s", [f"%{database.user}%"]
    )
    return [(str(kind), bytes(text).decode("latin1") if isinstance(text, bytes) else str(text)) for kind, text in rows]


def checksums(database: Sideband) -> list[tuple[object, ...]]:
    return database.server.execute(f"CHECKSUM TABLE {', '.join(TABLES)}", database=database.name)


async def use_everything(backend: SidebandArchive, daemon: Daemon, directory: Path) -> None:
    """Every call that a backend has, on files of every kind."""
    for file_id in (1, 2, 300):
        await store(backend, file_id, DATA)
    await store(backend, 1, DATA, IDENTICAL)
    with pytest.raises(errors.AlreadyExists):
        await store(backend, 2, DATA, DENY)
    await backend.move(301, put_for_move(directory, "one", DATA), ALLOW)
    daemon.hear_of(1)
    daemon.to_tape(2)
    daemon.to_tape(300)
    with pytest.raises(errors.NotFound):
        await backend.status(404)
    for file_id in (1, 2, 300, 301):
        await backend.status(file_id)
    assert await content(backend, 1) == DATA
    with pytest.raises(errors.Offline):
        await backend.open(300)
    await backend.health()
    await backend.locate([1, 2, 300, 404])
    request = uuid.uuid4()
    await backend.recall(request, [1, 2, 300, 404])
    await backend.poll(request, [1, 2, 300, 404])
    await backend.cancel(request, [1, 2, 300])
    await backend.release(1)
    await backend.remove(301, ALLOW)
    await backend.health()


@in_reactor
async def test_nothing_is_ever_written(recorded: Sideband, tmp_path: Path) -> None:
    """Each statement reads or is about the connection alone; and no transaction is begun that would hold anything."""
    with Daemon(tmp_path, recorded) as daemon:
        async with serving(tmp_path, recorded, mount=SlowMount()) as backend:
            await use_everything(backend, daemon, tmp_path)
        before = checksums(recorded)
        async with serving(tmp_path, recorded, mount=SlowMount()) as backend:
            await backend.status(300)
            await backend.locate([1, 2, 300])
            await backend.recall(uuid.uuid4(), [1, 2, 300])
            await backend.remove(2, ALLOW)
            await backend.health()
        assert checksums(recorded) == before
    statements = sent(recorded)
    assert {kind for kind, _ in statements} <= {"Connect", "Query", "Ping", "Quit"}
    texts = [text for kind, text in statements if kind == "Query"]
    assert any("sam_file" in text for text in texts)
    assert [text for text in texts if not READING.match(text)] == []
    assert [text for text in texts if re.search(r"FOR UPDATE|LOCK IN|INTO\s+(OUTFILE|@)|;", text)] == []


@in_reactor
async def test_the_account_cannot_write(database: Sideband) -> None:
    """So that these tests would fail if the backend tried."""
    with database.server.connect(database.user, database.name, password=database.password) as reader:
        for table in TABLES:
            with reader.cursor() as cursor, pytest.raises(Exception, match="command denied"):
                cursor.execute(f"DELETE FROM {table}")


def test_columns_that_differ_or_lie_are_not_read() -> None:
    """Whatever the spelling of the offset, the statements are the same."""
    for query in (
        queries.VERSION,
        queries.directory(Place(b"/a", b"b")),
        queries.look_up([Place(b"/a", b"b")], by_hash=True),
        queries.look_up([Place(b"/a", b"b")], by_hash=False),
    ):
        assert re.search(r"off_?set|csum|stale|\*", query.text) is None


@pytest.mark.parametrize("trouble", ["none", "wrong password", "no server", "no tables"])
@in_reactor
async def test_nobody_learns_the_password(database: Sideband, tmp_path: Path, trouble: str) -> None:
    """It is in no log event, in none of its values, and not in how any object of the backend is printed."""
    if trouble == "wrong password":
        database.server.execute("ALTER USER %s@localhost IDENTIFIED BY 'other'", [database.user])
    own: dict[str, Any] = {"unix_socket": str(tmp_path / "nobody")} if trouble == "no server" else {}
    secrets = {database.password, repr(database.password)[1:-1], repr(database.password.encode())[2:-1]}
    with logged() as log, Daemon(tmp_path, database) as daemon:
        if trouble == "no tables":
            for table in TABLES:
                database.server.execute(f"DROP TABLE {table}", database=database.name)
        async with serving(tmp_path, database, **own) as backend:
            await store(backend, 1, DATA)
            if trouble == "none":
                daemon.to_tape(1)
            await backend.status(1)
            health = await backend.health()
            assert health.degraded == (trouble != "none")
            settings = settings_for(tmp_path, database)
            printed = [repr(settings), str(settings), str(settings.own), health.words, *_printed(backend)]
    words = all_words(log)
    assert "sideband database" in words
    for secret in secrets:
        assert secret not in words
        assert not any(secret in each for each in printed)


def _printed(thing: object, depth: int = 3) -> Iterator[str]:
    """How an object and its parts are printed, but for the settings in adbapi, which are for the driver."""
    yield repr(thing)
    if depth and hasattr(thing, "__dict__"):
        for name, value in vars(thing).items():
            if name not in {"connkw", "_reactor", "reactor", "_clock"}:
                yield from _printed(value, depth - 1)
