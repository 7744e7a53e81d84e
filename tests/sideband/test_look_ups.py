"""What the database is asked for by name, and what comes back: byte for byte, and together where that is cheaper."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from pacarchive.backends.contract.handling import in_reactor, running
from pacarchive.backends.sideband import names, queries
from pacarchive.backends.sideband.catalogue import CatalogueUnavailable, SidebandCatalogue
from pacarchive.backends.sideband.database import SidebandPool
from pacarchive.backends.sideband.names import Place
from pacarchive.backends.sideband.queries import MOST_PLACES, Query, Row
from pacarchive.backends.sideband.settings import SidebandSettings
from sideband.base import SIZES, write_base
from sideband.server import LAX, STRICT, Sideband
from sideband.watching import UNHURRIED
from sideband.writer import SidebandWriter

KINDS = pytest.mark.parametrize(
    "database",
    [
        {"column": "off_set", "sql_mode": STRICT},
        {"column": "offset", "sql_mode": LAX},
        {"column": "off_set", "charset": "utf8mb4"},
        {"column": "offset", "engine": "MyISAM"},
    ],
    indirect=True,
    ids=["latin1", "offset", "utf8mb4", "MyISAM"],
)


@asynccontextmanager
async def catalogue_of(database: Sideband, home: bytes = b"/archive", **own: Any) -> AsyncIterator[SidebandCatalogue]:
    """A catalogue that has begun."""
    values: dict[str, Any] = {
        "schema": database.name,
        "user": database.user,
        "password": database.password,
        "unix_socket": database.server.socket,
        "remember": 0,
        "database_timeout": UNHURRIED,
    }
    catalogue = SidebandCatalogue(reactor, SidebandSettings(**(values | own)), Place(home, b""))
    await catalogue.start(0)
    try:
        yield catalogue
    finally:
        await catalogue.stop()


@pytest.fixture
def writer(database: Sideband) -> Iterator[SidebandWriter]:
    with SidebandWriter(database.server, database.name) as writer:
        yield writer


def size_of(path: bytes) -> int:
    return SIZES[path.decode()]


@KINDS
@in_reactor
async def test_names_are_bytes(database: Sideband, writer: SidebandWriter) -> None:
    """C{foo} never answers for C{Foo}, nor anything for what only the collation takes for the same."""
    write_base(writer)
    async with catalogue_of(database) as catalogue:
        assert catalogue.trouble == ""
        for path in (b"/archive/39/Foo", b"/archive/39/foo", b"/archive/39/3039", b"/archive/3a/303a"):
            directory, _, name = path.rpartition(b"/")
            (entry,) = await catalogue.find(Place(directory, name))
            assert entry.size == size_of(path)
        for directory, name in (
            (b"/archive/39", b"FOO"),
            (b"/archive/39", b"foo "),
            (b"/archive/39", b"fo\xf6"),
            (b"/archive/39", b"f%"),
            (b"/archive/39", b"fo_"),
            (b"/archive/39", b"foo\0"),
            (b"/ARCHIVE/39", b"foo"),
            (b"/archive/39 ", b"foo"),
            (b"/archive//39", b"foo"),
            (b"/archive/__", b"foo"),
            (b"/archive/39", b""),
            (b"/archive/39' OR '1' = '1", b"foo"),
            (b"/archive/39", b"foo' OR '1' = '1"),
        ):
            assert await catalogue.find(Place(directory, name)) == []


@KINDS
@in_reactor
async def test_one_twin_is_gone(database: Sideband, writer: SidebandWriter) -> None:
    """Then the other, which the server takes for the same, does not stand in for it; by its hash it would."""
    write_base(writer)
    writer.remove("/archive/39/foo")
    writer.execute("UPDATE sam_file SET name_hash = %s WHERE name = BINARY 'Foo'", (names.name_hash(b"foo"),))
    place = Place(b"/archive/39", b"foo")
    with database.server.connect(database=database.name, use_unicode=False) as connection:
        for by_hash in (True, False):
            query = queries.look_up([place], by_hash=by_hash)
            with connection.cursor() as cursor:
                cursor.execute(query.text, query.parameters)
                rows = cursor.fetchall()
            assert len(rows) == 1
            assert queries.entries_found([place], rows) == [[]]
    async with catalogue_of(database) as catalogue:
        assert await catalogue.find(place) == []


@KINDS
@in_reactor
async def test_left_overs_never_answer(database: Sideband, writer: SidebandWriter) -> None:
    """Rows of former owners of an inode's number, and of directories that are gone, belong to nobody."""
    write_base(writer)
    async with catalogue_of(database) as catalogue:
        (offline,) = await catalogue.find(Place(b"/archive/3a", b"303a"))
        assert (offline.ino, offline.gen, offline.online) == (1031, 4, False)
        assert [copy.medium for copy in offline.copies] == ["li.A00018", "li.A00019"]
        assert sum(copy.size for copy in offline.copies) == offline.size
        (unarchived,) = await catalogue.find(Place(b"/archive/3b", b"303b"))
        assert (unarchived.directory_gen, unarchived.copies) == (2, ())
        assert await catalogue.find(Place(b"/old/3b", b"303b")) == []
        (online,) = await catalogue.find(Place(b"/archive/39", b"3039"))
        assert [(copy.number, copy.medium, copy.position) for copy in online.copies] == [
            (0, "li.A00017", 1201),
            (1, "dk.disk01", 77),
        ]
        assert [copy.number for copy in online.fresh_copies] == [0, 1]


@in_reactor
async def test_a_symbolic_link_is_no_directory(database: Sideband, writer: SidebandWriter) -> None:
    """Although its row in C{sam_path}, which is its target, reads like one: neither for the archive nor for a file."""
    writer.mkdir("/archive")
    ino, gen = writer.symlink("/link", "/gone/")
    async with catalogue_of(database, home=b"/gone") as catalogue:
        assert "does not know the archive's directory" in catalogue.trouble
    writer.execute("INSERT INTO sam_inode VALUES (9000, 1, 0, 5, '', 0, 0, 0, 0, 1)")
    writer.execute(
        "INSERT INTO sam_file VALUES (%s, %s, %s, 'file.1', 9000, 1)", (ino, gen, names.name_hash(b"file.1"))
    )
    async with catalogue_of(database) as catalogue:
        assert catalogue.trouble == ""
        assert await catalogue.find(Place(b"/gone", b"file.1")) == []


NAMES = [
    b"\xc3\x9cbung",
    b"\xdcbung",
    b"\x81\x8d\x8f\x90\x9d",
    b"\xff",
    b"\x7f",
    b"'\"\\%_",
    b" ",
    b"a ",
    b"%s",
    b"a\nb",
]


@pytest.mark.parametrize("name", NAMES)
@in_reactor
async def test_any_bytes_are_a_name(database: Sideband, writer: SidebandWriter, name: bytes) -> None:
    """As a file's and as a directory's, with their hash (10)."""
    writer.mkdirs(b"/archive/" + name)
    writer.create(b"/archive/" + name + b"/" + name, size=7)
    async with catalogue_of(database) as catalogue:
        (entry,) = await catalogue.find(Place(b"/archive/" + name, name))
        assert entry.size == 7
        assert catalogue.counts["found only without name_hash"] == 0


@in_reactor
async def test_many_at_once(database: Sideband, writer: SidebandWriter) -> None:
    """Each gets its own answer, however they are put together; and one name may be asked for often."""
    writer.mkdir("/archive")
    count = 3 * MOST_PLACES + 1
    for number in range(count):
        writer.create(f"/archive/{number:x}.f", size=number)
    places = [Place(b"/archive", f"{number:x}.f".encode()) for number in range(count)]
    places += [Place(b"/archive", b"none"), *places[:5]]
    async with catalogue_of(database) as catalogue:
        found = await gatherResults([running(catalogue.find(place)) for place in places])
        sizes = [entries[0].size if entries else None for entries in found]
        assert sizes == [*range(count), None, 0, 1, 2, 3, 4]


@in_reactor
async def test_full_round_trips_go_side_by_side(
    database: Sideband, writer: SidebandWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On as many connections as the setting has; the rest waits, and goes when one is back."""
    writer.mkdir("/archive")
    under_way: list[int] = []
    ask = SidebandPool.ask

    async def counting(pool: SidebandPool, query: Query) -> Sequence[Row]:
        under_way.append(under_way[-1] + 1)
        try:
            return await ask(pool, query)
        finally:
            under_way.append(under_way[-1] - 1)

    async with catalogue_of(database, connections=3) as catalogue:
        monkeypatch.setattr(SidebandPool, "ask", counting)
        under_way.append(0)
        places = [Place(b"/archive", b"%x" % number) for number in range(5 * MOST_PLACES)]
        found = await gatherResults([running(catalogue.find(place)) for place in places])
        assert found == [[]] * len(places)
    assert (max(under_way), under_way[-1]) == (3, 0)


@in_reactor
async def test_another_platforms_hash(
    database: Sideband, writer: SidebandWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no name is found by its hash it is looked for without, and that is counted."""
    writer.mkdir("/archive")
    writer.create("/archive/file.1", size=5)
    monkeypatch.setattr(queries, "name_hash", lambda name: 7)
    async with catalogue_of(database) as catalogue:
        (entry,) = await catalogue.find(Place(b"/archive", b"file.1"))
        assert entry.size == 5
        assert catalogue.counts["found only without name_hash"] == 1


@in_reactor
async def test_answers_are_remembered(database: Sideband, writer: SidebandWriter) -> None:
    """For as long as the setting says, and not when it is 0."""
    writer.mkdir("/archive")
    path, place = "/archive/file.1", Place(b"/archive", b"file.1")
    writer.create(path, size=5)
    for remember, expected in ((0, False), (60, True)):
        writer.online(path)
        async with catalogue_of(database, remember=remember) as catalogue:
            assert [entry.online for entry in await catalogue.find(place)] == [True]
            writer.offline(path)
            assert [entry.online for entry in await catalogue.find(place)] == [expected]


@in_reactor
async def test_the_end(database: Sideband, writer: SidebandWriter) -> None:
    """Whoever waits is told that nothing is known, and so is whoever comes later."""
    writer.mkdir("/archive")
    async with catalogue_of(database) as catalogue:
        waiting = running(catalogue.find(Place(b"/archive", b"file.1")))
    with pytest.raises(CatalogueUnavailable):
        await waiting
    with pytest.raises(CatalogueUnavailable):
        await catalogue.find(Place(b"/archive", b"file.1"))


@in_reactor
async def test_whoever_asks_may_leave(database: Sideband, writer: SidebandWriter) -> None:
    """The others get their answers."""
    writer.mkdir("/archive")
    writer.create("/archive/file.1", size=5)
    place = Place(b"/archive", b"file.1")
    async with catalogue_of(database) as catalogue:
        work = [running(catalogue.find(place)) for _ in range(4)]
        work[0].addErrback(lambda _: None)
        work[0].cancel()
        found = await gatherResults(work[1:])
        assert [entries[0].size for entries in found] == [5, 5, 5]
        assert catalogue.trouble == ""
