"""The test's own sideband: the server, and the writer that does what SAM's daemon does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from sideband import base
from sideband.server import HOST, LAX, STRICT, MariaDB, Sideband
from sideband.writer import DIRECTORY, FILE, SEGMENT, SEGMENT_INDEX, SYMLINK, SidebandWriter, name_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = {
    "a": 0, "ab": 0, "39": 0, "00": 0, "abc": 56766, "Foo": 24495, "foo": 62975, "file.1": 65323, "file.f": 23996,
    "file.ff": 56290, "file_10": 57295, "data": 27991, "archive_copy_0001.bin": 65419, "3039": 56191, "303a": 64509,
    "303b": 64254, "100": 15345, "ffff": 62718, "75bcd15": 61363, "80000000": 16378, "12345678901": 61398,
    "archive": 64375, "Übung.txt": 38141, "link": 57310,
}  # fmt: skip

NOW = 1_800_000_000


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the writer."""
    return Clock()


@pytest.fixture
def writer(database: Sideband, clock: Clock) -> Iterator[SidebandWriter]:
    """A writer of the database."""
    with SidebandWriter(database.server, database.name, clock=clock) as made:
        yield made


EVERY_KIND = pytest.mark.parametrize(
    "database",
    [
        {"column": column, "charset": charset, "sql_mode": mode, "engine": engine}
        for column, charset, mode, engine in (
            ("off_set", "latin1", STRICT, "InnoDB"),
            ("offset", "latin1", LAX, "InnoDB"),
            ("offset", "latin1", STRICT, "MyISAM"),
            ("off_set", "utf8mb4", LAX, "InnoDB"),
        )
    ],
    indirect=True,
    ids=["off_set", "offset", "MyISAM", "utf8mb4"],
)


def inode(writer: SidebandWriter, path: str | bytes) -> dict[str, Any] | None:
    """The row of C{sam_inode} for a path that is there, but for its key."""
    rows = writer.execute("SELECT * FROM sam_inode WHERE ino = %s AND gen = %s", writer.identity(path))
    names = ["type", "size", "csum", "create_time", "modify_time", "uid", "gid", "online"]
    return dict(zip(names, rows[0][2:], strict=True)) if rows else None


def files(writer: SidebandWriter) -> set[tuple[Any, ...]]:
    """All of C{sam_file}."""
    return set(writer.execute("SELECT * FROM sam_file"))


def paths(writer: SidebandWriter) -> dict[tuple[int, int], bytes]:
    """All of C{sam_path}."""
    return {(ino, gen): path for ino, gen, path in writer.execute("SELECT * FROM sam_path")}


def copies(writer: SidebandWriter) -> list[tuple[Any, ...]]:
    """All of C{sam_archive}."""
    return writer.execute("SELECT * FROM sam_archive ORDER BY ino, gen, copy, seq")


def count(writer: SidebandWriter, table: str) -> int:
    """How many rows a table has."""
    return int(writer.execute(f"SELECT COUNT(*) FROM {table}")[0][0])


@pytest.mark.parametrize(("name", "expected"), VECTORS.items())
def test_name_hash(name: str, expected: int) -> None:
    """The vectors that come from the compiled C."""
    assert name_hash(name.encode()) == expected


def test_seed(writer: SidebandWriter) -> None:
    """What is there after C{samdb create}."""
    assert writer.execute("SELECT * FROM sam_inode") == [(2, 2, 1, 0, None, 0, 0, 0, 0, 1)]
    assert paths(writer) == {(2, 2): b"/"}
    assert writer.execute("SELECT * FROM sam_version") == [(0, 1.0)]
    assert writer.execute("SELECT @@character_set_database, @@collation_database") == [
        (b"latin1", b"latin1_swedish_ci")
    ]


@EVERY_KIND
def test_life_of_a_file(writer: SidebandWriter, clock: Clock) -> None:
    """Each event of a plain file has its effect."""
    assert writer.mkdirs("archive/39") == (1026, 1)
    path = "/archive/39/3039"
    identity = writer.create(path, ino=5000, uid=7, gid=8)
    assert identity == (5000, 1)
    row = {
        "type": FILE,
        "size": 0,
        "csum": b"",
        "create_time": NOW,
        "modify_time": NOW,
        "uid": 7,
        "gid": 8,
        "online": 1,
    }
    assert inode(writer, path) == row
    assert files(writer) == {
        (2, 2, 64375, b"archive", 1025, 1),
        (1025, 1, 0, b"39", 1026, 1),
        (1026, 1, 56191, b"3039", 5000, 1),
    }
    assert paths(writer) == {(2, 2): b"/", (1025, 1): b"/archive/", (1026, 1): b"/archive/39/"}

    clock.now += 5
    writer.close(path, 1234)
    row |= {"size": 1234, "modify_time": NOW + 5}
    assert inode(writer, path) == row

    writer.utime(path, 99)
    assert inode(writer, path) == row
    writer.change(path, uid=9)
    row |= {"uid": 9, "modify_time": 99}
    assert inode(writer, path) == row

    clock.now += 5
    writer.archive(path, 0, "li", "A00017", position=3, offset=4, csum="ab" * 16)
    writer.archive(path, 1, "dk", "disk01", size=1000)
    writer.archive(path, 1, "dk", "disk02", seq=1, size=234, create_time=5)
    assert copies(writer) == [
        (5000, 1, 0, 0, b"li", b"A00017", 3, 4, 1234, NOW + 10, 0),
        (5000, 1, 1, 0, b"dk", b"disk01", 1, 0, 1000, NOW + 10, 0),
        (5000, 1, 1, 1, b"dk", b"disk02", 1, 0, 234, 5, 0),
    ]
    row |= {"csum": b"ab" * 16}
    assert inode(writer, path) == row

    writer.offline(path)
    assert inode(writer, path) == row | {"online": 0}
    writer.online(path)
    assert inode(writer, path) == row

    writer.modify(path)
    assert [each[-1] for each in copies(writer)] == [0, 0, 0]

    writer.unarchive(path, 1)
    assert len(copies(writer)) == 1

    writer.remove(path)
    assert (count(writer, "sam_inode"), len(files(writer)), copies(writer)) == (3, 2, [])
    assert writer.create(path, ino=5000) == (5000, 2)
    assert writer.create("/other") == (5001, 1)


@pytest.mark.parametrize(("mode", "stale"), [(LAX, 255), (STRICT, 0)])
def test_modify_marks_another(database: Sideband, mode: str, stale: int) -> None:
    """The broken statement hits the row that it should not, where the mode lets it."""
    with SidebandWriter(database.server, database.name, sql_mode=mode) as writer:
        writer.create("/victim", ino=1, gen=1030)
        writer.archive("/victim")
        writer.create("/modified", ino=1030)
        writer.archive("/modified")
        writer.modify("/modified")
        assert [(row[0], row[-1]) for row in copies(writer)] == [(1, stale), (1030, 0)]


def test_directories(writer: SidebandWriter) -> None:
    """A renamed directory takes along what is below it."""
    writer.mkdirs("/a/b/c")
    writer.mkdir("/abc")
    identity = writer.create("/a/b/data")
    assert inode(writer, "/a/b") == {
        "type": DIRECTORY, "size": 4096, "csum": b"", "create_time": NOW, "modify_time": NOW, "uid": 0, "gid": 0,
        "online": 1,
    }  # fmt: skip
    writer.rename("/a", "/longer")
    assert sorted(paths(writer).values()) == [b"/", b"/abc/", b"/longer/", b"/longer/b/", b"/longer/b/c/"]
    assert writer.identity("/longer/b/data") == identity
    writer.rename("/longer/b/data", "/abc/Foo")
    assert (*writer.identity("/abc"), 24495, b"Foo", *identity) in files(writer)
    writer.remove("/longer/b/c")
    assert b"/longer/b/c/" not in paths(writer).values()


def test_rename_hits_others(writer: SidebandWriter) -> None:
    """The pattern of a renamed directory is not escaped: siblings and targets of links change too."""
    writer.mkdirs("/a_b")
    sibling, link = writer.mkdirs("/axb/c"), writer.symlink("/link", "/a_b/x")
    writer.rename("/a_b", "/n")
    assert (paths(writer)[sibling], paths(writer)[link]) == (b"/n/c/", b"/n/x")


def test_rename_over(writer: SidebandWriter) -> None:
    """What had the new name is gone."""
    old, gone = writer.create("/old"), writer.create("/new")
    writer.rename("/old", "/new")
    assert files(writer) == {(2, 2, name_hash(b"new"), b"new", *old)}
    assert writer.execute("SELECT * FROM sam_inode WHERE ino = %s", gone[:1]) == []


def test_links(writer: SidebandWriter) -> None:
    """Of two names the last one takes the object along; a symbolic link has its target as a path."""
    identity = writer.create("/first")
    writer.archive("/first")
    writer.link("/first", "/second")
    assert {row[3] for row in files(writer) if row[4:] == identity} == {b"first", b"second"}
    writer.remove("/first")
    assert inode(writer, "/second") is not None
    assert len(copies(writer)) == 1
    writer.remove("/second")
    assert (files(writer), copies(writer), count(writer, "sam_inode")) == (set(), [], 1)

    link = writer.symlink("/link", "/archive/39/")
    assert paths(writer)[link] == b"/archive/39/"
    row = inode(writer, "/link")
    assert row is not None
    assert (row["type"], row["size"]) == (SYMLINK, 12)


def test_segments(writer: SidebandWriter) -> None:
    """Segments have no entries."""
    writer.create("/large", kind=SEGMENT_INDEX, size=30)
    made = [writer.segment("/large", 20), writer.segment("/large", 10, online=0)]
    rows = writer.execute("SELECT ino, gen, size, online FROM sam_inode WHERE type = %s", [SEGMENT])
    assert rows == [(*made[0], 20, 1), (*made[1], 10, 0)]
    assert len(files(writer)) == 1


@EVERY_KIND
@pytest.mark.parametrize("name", ["Übung.txt".encode(), b'it\'s \\ %s_%d "x"', bytes(range(128, 256)), b"\x81\x8d\x8f"])
def test_bytes(writer: SidebandWriter, database: Sideband, name: bytes) -> None:
    """The bytes of a name come back as they are; in latin1 columns they are in there as such."""
    identity = writer.create(b"/" + name)
    writer.mkdir(b"/d" + name)
    assert (2, 2, name_hash(name), name, *identity) in files(writer)
    assert b"/d" + name + b"/" in paths(writer).values()
    found = writer.execute("SELECT ino FROM sam_file WHERE name_hash = %s AND name = %s", [name_hash(name), name])
    assert found == [identity[:1]]
    stored = writer.execute("SELECT HEX(name) FROM sam_file WHERE ino = %s", identity[:1])[0][0]
    if writer.execute("SELECT @@character_set_database") == [(b"latin1",)]:
        assert bytes.fromhex(stored.decode()) == name
    assert writer.identity(os.fsdecode(b"/" + name)) == identity


def test_lost(writer: SidebandWriter) -> None:
    """A lost event has no effect on the rows, but has happened."""
    writer.lose("create")
    writer.create("/unknown")
    assert inode(writer, "/unknown") is None
    assert files(writer) == set()

    old = writer.create("/known", ino=1030)
    writer.lose("remove")
    writer.remove("/known")
    new = writer.create("/other", ino=1030)
    assert (old, new) == ((1030, 1), (1030, 2))
    assert writer.execute("SELECT ino, gen FROM sam_inode WHERE ino = 1030") == [old, new]

    writer.lose("offline", 2)
    for online in (1, 1, 0):
        writer.offline("/other")
        assert (row := inode(writer, "/other")) is not None
        assert row["online"] == online
    assert writer.lost == 4


def test_delayed(writer: SidebandWriter, clock: Clock) -> None:
    """Events have their effect later, in order, and with what was there when they happened."""
    writer.delay = 15
    writer.create("/first")
    clock.now += 1
    writer.close("/first", 10)
    writer.delay = 0
    writer.offline("/first")
    assert (writer.pending, count(writer, "sam_inode")) == (3, 1)

    assert writer.pump() == 0
    clock.now += 14
    assert writer.pump() == 1
    row = inode(writer, "/first")
    assert row is not None
    assert (row["size"], row["online"]) == (0, 1)

    assert writer.pump(NOW + 16) == 2
    row = inode(writer, "/first")
    assert row is not None
    assert (row["size"], row["online"], row["modify_time"]) == (10, 0, NOW + 1)

    writer.delay = 1000
    writer.remove("/first")
    assert (writer.flush(), writer.pending, count(writer, "sam_inode")) == (1, 0, 1)


def test_bulk(writer: SidebandWriter, database: Sideband) -> None:
    """Many events are one transaction, in order; one that fails leaves nothing."""
    with writer.bulk():
        writer.mkdirs("/archive")
        for number in range(100):
            writer.create(f"/archive/{number}")
        writer.offline("/archive/7")
        writer.archive("/archive/8")
        assert database.server.execute("SELECT COUNT(*) FROM sam_inode", database=database.name) == [(1,)]
    assert count(writer, "sam_inode") == 102
    assert writer.execute("SELECT COUNT(*) FROM sam_inode WHERE online = 0") == [(1,)]
    assert len(copies(writer)) == 1

    def conflict() -> None:
        with writer.bulk():
            writer.create("/more", ino=9000)
            writer.create("/again", ino=9000, gen=1)

    with pytest.raises(pymysql.err.IntegrityError):
        conflict()
    assert count(writer, "sam_inode") == 102


def test_large_directory(writer: SidebandWriter) -> None:
    """A hundred thousand files are soon there."""
    parent = writer.mkdirs("/archive/39")
    writer.fill_directory("/archive/39", (f"{number:x}39" for number in range(100_000)), size=5)
    assert count(writer, "sam_file") == 100_002
    assert writer.execute(
        "SELECT ino, gen FROM sam_file WHERE p_ino = %s AND p_gen = %s AND name_hash = %s AND name = %s",
        [*parent, 56191, "3039"],
    ) == [writer.identity("/archive/39/3039")]


@EVERY_KIND
def test_base(writer: SidebandWriter) -> None:
    """The base rows, which the writer then goes on from."""
    base.write_base(writer, {base.OFFLINE: 77})
    assert [count(writer, f"sam_{table}") for table in ("inode", "path", "file", "archive")] == [14, 7, 11, 4]
    for _, _, hashed, name, _, _ in files(writer):
        assert name_hash(name) == hashed
    rows = writer.execute("SELECT gen, size, online FROM sam_inode WHERE ino = 1031")
    assert rows == [(3, 84, 1), (4, 77, 0)]
    assert writer.execute("SELECT SUM(size) FROM sam_archive WHERE ino = 1031") == [(77,)]
    assert writer.execute(
        "SELECT COUNT(*) FROM sam_archive a JOIN sam_inode i USING (ino, gen) WHERE a.create_time >= i.modify_time"
    ) == [(4,)]
    writer.online(base.OFFLINE)
    row = inode(writer, base.OFFLINE)
    assert row is not None
    assert (row["size"], row["online"]) == (77, 1)
    assert writer.create("/archive/39/new") == (1037, 1)


def test_base_over_a_connection(database: Sideband) -> None:
    """A plain connection will do, also one that does not commit by itself."""
    with database.server.connect(database=database.name, autocommit=False) as connection:
        base.write_base(connection)
    assert database.server.execute("SELECT COUNT(*) FROM sam_file", database=database.name) == [(11,)]


def test_reader(database: Sideband, mariadb: MariaDB) -> None:
    """The account reads its database, writes nothing, and sees no other; a wrong password does not do."""
    other = database.name.replace("_", "x")
    mariadb.create_database(other)
    try:
        with (
            mariadb.connect(database.user, database.name, password=database.password) as connection,
            connection.cursor() as cursor,
        ):
            assert cursor.execute("SELECT * FROM sam_version") == 1
            for statement in (
                "DELETE FROM sam_version",
                "INSERT INTO sam_version VALUES (0, 1.0)",
                "DROP TABLE sam_path",
            ):
                with pytest.raises(pymysql.err.OperationalError, match="denied"):
                    cursor.execute(statement)
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(f"SELECT * FROM {other}.sam_version")
    finally:
        mariadb.drop_database(other)
    for user in (database.user, "nobody"):
        with pytest.raises(pymysql.err.OperationalError) as caught:
            mariadb.connect(user, password="wrong")
        assert caught.value.args[0] == 1045
    assert database.password not in repr(database)


def test_sql_mode(own_mariadb: MariaDB) -> None:
    """The global mode is that of new connections, over restarts too."""
    assert own_mariadb.execute("SELECT @@sql_mode") == [(STRICT,)]
    own_mariadb.set_sql_mode(LAX)
    assert own_mariadb.execute("SELECT @@sql_mode") == [(LAX,)]
    own_mariadb.restart()
    assert own_mariadb.execute("SELECT @@sql_mode") == [(LAX,)]


def test_server_fails(own_mariadb: MariaDB) -> None:
    """A server goes and comes back with its rows at the same places, and meanwhile fails in all three ways."""
    own_mariadb.create_database("sam")
    user, password = own_mariadb.create_reader("sam")
    reader: dict[str, Any] = {"user": user, "password": password, "database": "sam"}

    def over_tcp() -> int:
        assert own_mariadb.port is not None
        with pymysql.connect(
            host=HOST, port=own_mariadb.port, connect_timeout=1, ssl_disabled=True, **reader
        ) as connection:
            return int(connection.cursor().execute("SELECT * FROM sam_file"))

    with SidebandWriter(own_mariadb, "sam") as writer:
        writer.create("/first")
        assert over_tcp() == 1

        with own_mariadb.connect(**reader, read_timeout=0.1) as connection, connection.cursor() as cursor:
            own_mariadb.freeze()
            with pytest.raises(pymysql.err.OperationalError) as caught:
                cursor.execute("SELECT 1")
            assert caught.value.args[0] == 2013
        own_mariadb.thaw()
        assert over_tcp() == 1

        with own_mariadb.connect(**reader) as connection, connection.cursor() as cursor:
            own_mariadb.kill()
            with pytest.raises(pymysql.err.OperationalError) as caught:
                cursor.execute("SELECT 1")
            assert caught.value.args[0] in {2006, 2013}
        with pytest.raises(pymysql.err.OperationalError) as caught:
            over_tcp()
        assert caught.value.args[0] == 2003

        own_mariadb.start()
        assert over_tcp() == 1
        writer.create("/second")
        own_mariadb.restart()
        writer.create("/third")
        assert over_tcp() == 3
        own_mariadb.freeze()
        own_mariadb.stop()
        with pytest.raises(pymysql.err.OperationalError):
            own_mariadb.connect()


def test_nothing_is_left() -> None:
    """A server that is frozen, too, is ended and removed."""
    with MariaDB() as server:
        process, directory = server.pid, server.directory
        assert len(server.socket) < 100
        with pytest.raises(AssertionError, match="runs already"):
            server.start()
        server.freeze()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
