"""A look-up reads the rows that it is about, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from pacarchive.backends.sideband import queries
from pacarchive.backends.sideband.names import place_of
from pacarchive.backends.sideband.queries import MOST_PLACES
from sideband.server import Sideband
from sideband.writer import SidebandWriter

MANY = 20_000


@pytest.mark.parametrize(
    "database", [{"charset": "latin1"}, {"charset": "utf8mb4"}], indirect=True, ids=["latin1", "utf8mb4"]
)
def test_no_look_up_scans(database: Sideband) -> None:
    """Not even one directory, of 20,000 files, whose rows lie next to each other."""
    names = [f"{number:x}" for number in range(MANY)]
    with SidebandWriter(database.server, database.name) as writer:
        writer.mkdir("/archive")
        with writer.bulk():
            for number in range(400):
                writer.mkdir(f"/archive/{number:03}.d")
            writer.fill_directory("/archive", names)
        writer.archive("/archive/3fff", vsn="A00017")
    with database.server.connect(
        user=database.user, password=database.password, database=database.name, use_unicode=False
    ) as connection:
        for count in (1, MOST_PLACES):
            places = [place_of("/archive", f"/{name}") for name in names[1000 : 1000 + count]]
            query = queries.look_up(places, by_hash=True)
            with connection.cursor() as cursor:
                before = _reads(cursor)
                cursor.execute(query.text, tuple(query.parameters))
                assert [len(found) for found in queries.entries_found(places, cursor.fetchall())] == [1] * count
                reads = {name: number - before[name] for name, number in _reads(cursor).items()}
                cursor.execute(f"EXPLAIN {query.text}", tuple(query.parameters))
                plan = _plan(cursor)
            # Two spellings of the directory, and then one row of each table; and the names that were asked for.
            assert reads["Handler_read_key"] + reads["Handler_read_next"] <= 10 * count
            assert reads["Handler_read_rnd_next"] <= 2 * count + 20  # some are the question's own
            assert plan["p"][:2] == ("ref", "path")
            for table in ("d", "f", "i"):
                assert plan[table] == ("eq_ref", "PRIMARY", 1)
            assert plan["a"][:2] == ("ref", "PRIMARY")
            assert set(plan) == {"<derived2>", "p", "d", "f", "i", "a"}


def _reads(cursor: Any) -> dict[str, int]:
    """How many rows the session has read, by how."""
    cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return {name.decode(): int(number) for name, number in cursor.fetchall()}


def _plan(cursor: Any) -> dict[str, tuple[str, str, int]]:
    """For each table the type of access, the index, and how many rows are expected."""
    rows = [[each.decode() if isinstance(each, bytes) else each for each in row] for row in cursor.fetchall()]
    return {table: (kind, index, int(count)) for _, _, table, kind, _, index, _, _, count, _ in rows if table}
