"""Files that are put into a simulated archive without a client."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from hpss_simulator.namespace import child, make_directories, new_object, parts
from hpss_simulator.words import Kind, SimulatorError

_FILE_MODE = 0o644


def path_of_id(file_id: int) -> str:
    """Where pacarchive has a file, below its prefix: by the bytes of its id, the lowest first (12345: C{39/3039})."""
    digits = f"{file_id:x}"
    if len(digits) <= 2:
        return f"file.{digits}"
    directories = [digits[max(0, end - 2) : end] for end in range(len(digits), 2, -2)]
    return "/".join([*directories, digits])


def owner_of_principal(database: sqlite3.Connection) -> tuple[int, int]:
    """User and group that the archive's principal has."""
    settings = dict(map(tuple, database.execute("SELECT name, value FROM setting WHERE name LIKE 'principal%'")))
    return int(settings["principal_uid"]), int(settings["principal_gid"])


def class_for(database: sqlite3.Connection, size: int) -> int:
    """The class of service that a file of this size is given where nobody asks for one."""
    (default,) = database.execute("SELECT value FROM setting WHERE name = 'default_cos'").fetchone()
    fitting = database.execute(
        "SELECT id FROM cos WHERE ? BETWEEN min_size AND max_size ORDER BY id <> ?, id LIMIT 1", (size, default)
    ).fetchone()
    return int(default if fitting is None else fitting[0])


def _media(database: sqlite3.Connection, cos: int) -> list[str]:
    found = database.execute("SELECT levels FROM cos WHERE id = ?", (cos,)).fetchone()
    if found is None:
        raise SimulatorError(f"there is no class of service {cos}", -22)
    return list(found[0].split(","))


def put_file(
    database: sqlite3.Connection,
    folder: Path,
    path: str,
    data: bytes,
    *,
    now: float,
    mtime: int | None,
    cos: int | None,
) -> int:
    """
    Make a file, or replace the one that has the path; within a transaction.

    @param folder: Of the bytes.
    @return: The object; that it was written is left to be played.
    """
    *above, name = parts(path)
    seconds = int(now)
    owner = owner_of_principal(database)
    parent = make_directories(database, above, owner, seconds)
    service = class_for(database, len(data)) if cos is None else cos
    _media(database, service)
    number = child(database, parent, name)
    if number is None:
        number = new_object(
            database,
            parent,
            name,
            Kind.FILE,
            mode=_FILE_MODE,
            owner=owner,
            now=seconds,
            mtime=seconds if mtime is None else mtime,
            size=len(data),
            cos=service,
        )
    else:
        database.execute(
            "UPDATE object SET size = ?, written = ?, changed = ? WHERE id = ?",
            (len(data), seconds if mtime is None else mtime, seconds, number),
        )
    # Not in place: whoever reads the bytes of an earlier version keeps them.
    (folder / f"{number}.new").write_bytes(data)
    (folder / f"{number}.new").replace(folder / str(number))
    if data:
        database.execute(
            "INSERT INTO level VALUES (?, 0, ?) ON CONFLICT (object, level) DO UPDATE SET bytes = excluded.bytes",
            (number, len(data)),
        )
    else:
        database.execute("DELETE FROM level WHERE object = ? AND level = 0", (number,))
    return number


def put_many(
    database: sqlite3.Connection,
    prefix: str,
    names: Iterable[str],
    sizes: Callable[[str], int],
    *,
    now: float,
    cos: int | None,
) -> list[int]:
    """
    Make many files of zeros, whose bytes the library makes when someone opens them; within a transaction.

    They are due for migration at once.

    @param names: Relative to the prefix; none may exist.
    @param sizes: Tells how long each is.
    @return: The objects.
    """
    seconds = int(now)
    owner = owner_of_principal(database)
    directories: dict[str, int] = {}
    made = []
    for name in names:
        *above, last = parts(f"{prefix}/{name}")
        directory = "/".join(above)
        if directory not in directories:
            directories[directory] = make_directories(database, above, owner, seconds)
        size = sizes(name)
        service = class_for(database, size) if cos is None else cos
        number = new_object(
            database,
            directories[directory],
            last,
            Kind.FILE,
            mode=_FILE_MODE,
            owner=owner,
            now=seconds,
            mtime=seconds,
            size=size,
            cos=service,
        )
        made.append((number, size, service))
    on_disk = {service: _media(database, service)[0] == "disk" for service in {service for _, _, service in made}}
    database.executemany("INSERT INTO level VALUES (?, 0, ?)", [(number, size) for number, size, _ in made if size])
    database.executemany(
        "INSERT INTO migration VALUES (?, ?)", [(number, now) for number, size, cos in made if size and on_disk[cos]]
    )
    database.executemany(
        "INSERT INTO operation (due, action, target) VALUES (?, 'written', ?)",
        [(now, number) for number, _, service in made if not on_disk[service]],
    )
    return [number for number, _, _ in made]
