"""What the tape library of a simulated archive is doing; within a transaction."""

from __future__ import annotations

import sqlite3

from hpss_simulator.namespace import path_of
from hpss_simulator.words import Cartridge, Drive, Request, Sums


def requests(database: sqlite3.Connection, *, unfinished: bool) -> list[Request]:
    """The stage requests, in the order in which they were made."""
    condition = "WHERE finished IS NULL" if unfinished else ""
    return [
        Request(
            number=row["id"],
            client_id=row["client_id"] or "",
            batch=row["batch"],
            object=row["object"],
            path=path_of(database, row["object"]),
            cartridge=row["cartridge"] or "",
            submitted=row["submitted"],
            started=row["started"],
            finished=row["finished"],
            state=row["state"],
            code=row["code"],
        )
        for row in database.execute(f"SELECT * FROM request {condition} ORDER BY id")
    ]


def drives(database: sqlite3.Connection) -> list[Drive]:
    """The drives."""
    return [
        Drive(*row)
        for row in database.execute(
            "SELECT id, state, slowness, coalesce(cartridge, ''), head, coalesce(request, 0), busy_until, mounts"
            " FROM drive ORDER BY id"
        )
    ]


def cartridges(database: sqlite3.Connection) -> list[Cartridge]:
    """The cartridges."""
    return [
        Cartridge(*row)
        for row in database.execute(
            "SELECT name, state, copy, family, capacity, used,"
            " (SELECT count(*) FROM segment s WHERE s.cartridge = c.name), mounts FROM cartridge c ORDER BY name"
        )
    ]


def sums(database: sqlite3.Connection) -> Sums:
    """What the library has done."""
    return Sums(*database.execute(f"SELECT {', '.join(Sums.__dataclass_fields__)} FROM library").fetchone())
