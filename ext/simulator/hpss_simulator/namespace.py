"""Paths and objects of a simulated archive.

Names need not be UTF-8: what is not goes by surrogate escapes, as in C{os.fsdecode}.  Symbolic links are not followed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hpss_simulator.words import Entry, Kind, Locality, Segment, SimulatorError

ROOT = 1
_DIRECTORY_MODE = 0o755


def connect(database: Path) -> sqlite3.Connection:
    """Open an archive's database; transactions are begun by hand."""
    connection = sqlite3.connect(database, timeout=60, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return connection


def bare(name: str) -> bytes:
    """A name as it is bound to C{CAST(? AS TEXT)}."""
    return name.encode("utf-8", "surrogateescape")


def parts(path: str) -> list[str]:
    """The names along a path from the root."""
    if not path.startswith("/"):
        raise SimulatorError(f"{path!r} does not begin with a slash", -22)
    return [part for part in path.split("/") if part]


def child(database: sqlite3.Connection, parent: int, name: str) -> int | None:
    """The object of a name in a directory."""
    found = database.execute(
        "SELECT object FROM name WHERE parent = ? AND name = CAST(? AS TEXT)", (parent, bare(name))
    ).fetchone()
    return None if found is None else int(found[0])


def find(database: sqlite3.Connection, path: str) -> int:
    """
    The object of a path.

    @raise SimulatorError: There is none.
    """
    number = ROOT
    for part in parts(path):
        below = child(database, number, part)
        if below is None:
            raise SimulatorError(f"there is no {path}", -2, is_told=False)
        number = below
    return number


def path_of(database: sqlite3.Connection, number: int) -> str:
    """One path of an object, or C{""} when it has no name any more."""
    path = ""
    while found := database.execute(
        "SELECT parent, name FROM name WHERE object = ? ORDER BY parent, name LIMIT 1", (number,)
    ).fetchone():
        path = f"/{found['name']}{path}"
        number = found["parent"]
    return path


def make_directories(
    database: sqlite3.Connection, names: Iterable[str], owner: tuple[int, int], now: int, *, fileset: int | None = None
) -> int:
    """
    See that there are directories, from the root down; within a transaction.

    @param fileset: Of the last one, if it is made; that of its parent when left out.
    @return: The last one.
    """
    parent, made = ROOT, False
    for name in names:
        number = child(database, parent, name)
        made = number is None
        if number is None:
            number = new_object(
                database, parent, name, Kind.DIRECTORY, mode=_DIRECTORY_MODE, owner=owner, now=now, mtime=now
            )
            database.execute("UPDATE object SET nlink = 2 WHERE id = ?", (number,))
            database.execute("UPDATE object SET nlink = nlink + 1 WHERE id = ?", (parent,))
        parent = number
    if database.execute("SELECT type FROM object WHERE id = ?", (parent,)).fetchone()[0] != Kind.DIRECTORY.value:
        raise SimulatorError("not a directory", -20)
    if made and fileset is not None:
        database.execute("UPDATE object SET fileset = ? WHERE id = ?", (fileset, parent))
    return parent


def new_object(
    database: sqlite3.Connection,
    parent: int,
    name: str,
    kind: Kind,
    *,
    mode: int,
    owner: tuple[int, int],
    now: int,
    mtime: int,
    size: int = 0,
    cos: int = 0,
) -> int:
    """Make an object under a name that is free; within a transaction.  @return: Its number."""
    (fileset,) = database.execute("SELECT fileset FROM object WHERE id = ?", (parent,)).fetchone()
    made = database.execute(
        "INSERT INTO object (type, mode, uid, gid, size, cos, fileset, created, accessed, written, changed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (kind.value, mode, *owner, size, cos, fileset, now, mtime, mtime, now),
    )
    number = made.lastrowid or 0
    database.execute("INSERT INTO name VALUES (?, CAST(? AS TEXT), ?)", (parent, bare(name), number))
    return number


_TREE = """
    WITH RECURSIVE tree(path, object) AS (
        SELECT CAST(? AS TEXT), ?
        UNION ALL
        SELECT rtrim(tree.path, '/') || '/' || name.name, name.object FROM tree JOIN name ON name.parent = tree.object
    )
    SELECT tree.path, o.*, c.levels AS media
    FROM tree JOIN object o ON o.id = tree.object LEFT JOIN cos c ON c.id = o.cos ORDER BY tree.path
"""


def entries(database: sqlite3.Connection, path: str, *, below: bool = True) -> Iterator[Entry]:
    """
    What is at a path, and everything below it in the order of the paths; within a transaction.

    @param below: Whether to go below it.
    """
    top = "/" + "/".join(parts(path))
    rows = database.execute(_TREE, (bare(top), find(database, top)))
    lost = {row[0] for row in database.execute("SELECT name FROM cartridge WHERE state <> 'ok'")}
    for row in rows:
        yield _entry(database, row, lost)
        if not below:
            rows.close()
            return


def _entry(database: sqlite3.Connection, row: sqlite3.Row, lost: set[str]) -> Entry:
    number, kind = row["id"], Kind(row["type"])
    media = tuple(row["media"].split(",")) if kind is Kind.FILE and row["media"] else ()
    levels = dict(map(tuple, database.execute("SELECT level, bytes FROM level WHERE object = ?", (number,))))
    segments = tuple(
        Segment(*found)
        for found in database.execute(
            "SELECT level, cartridge, position, offset, bytes FROM segment WHERE object = ? ORDER BY level", (number,)
        )
    )
    attributes = database.execute("SELECT key, value FROM attribute WHERE object = ? ORDER BY key", (number,))
    return Entry(
        path=row["path"],
        kind=kind,
        number=number,
        size=row["size"],
        mode=row["mode"],
        uid=row["uid"],
        gid=row["gid"],
        links=row["nlink"],
        mtime=row["written"],
        cos=row["cos"],
        family=row["family"],
        purge_locked=bool(row["purge_lock"]),
        locality=_locality(kind, row["size"], media, levels, segments, lost),
        levels=levels,
        media=media,
        segments=segments,
        attributes=dict(map(tuple, attributes)),
        target=row["target"] or "",
    )


def _locality(
    kind: Kind, size: int, media: tuple[str, ...], levels: dict[int, int], segments: Sequence[Segment], lost: set[str]
) -> Locality:
    """Like the client, by bytes at levels, and not by the file's length: files may have holes."""
    if kind is not Kind.FILE:
        return Locality.NONE
    on_tape = max((levels.get(segment.level, 0) for segment in segments), default=0)
    readable = any(segment.cartridge not in lost for segment in segments)
    on_disk = media[:1] == ("disk",) and (0 in levels or size == 0) and levels.get(0, 0) >= on_tape
    if on_disk:
        return Locality.DISK_AND_TAPE if readable else Locality.DISK
    if readable:
        return Locality.TAPE
    return Locality.LOST if segments else Locality.NONE
