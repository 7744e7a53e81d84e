"""All the SQL there is, and the rows that come back.  Nothing but C{SELECT}.

Names go both ways as bytes.  The database declares them latin1, SAM puts whatever bytes the file system has into them,
and its collation ignores case and spaces at the end.  So a name is written as a hexadecimal latin1 string, which no
mode or character set of the connection changes and which the indexes serve, and what comes back is compared once more.

C{sam_archive.offset} is not read, because MariaDB 10.6 made its name a reserved word, and later schemata call it
C{off_set}.  C{csum} is not read, because it is a sum of SAM's own; nor C{stale} and C{sam_inode.create_time}, because
they do not mean what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from pacarchive.backends.sideband.names import Place, name_hash
from pacarchive.backends.sideband.residency import Copy, Entry

Row: TypeAlias = tuple[Any, ...]

MOST_PLACES = 32
"""Of one L{look_up}: more would make the text longer than it saves round trips."""


@attrs.frozen
class Query:
    """
    A statement.

    @ivar description: What it finds out, for the log: "cannot ...".
    """

    description: str
    text: str
    parameters: Sequence[object] = ()


VERSION = Query("see whether it is a sideband database", "SELECT version FROM sam_version")

_DIRECTORY = """
SELECT p.path, d.ino, d.gen
  FROM sam_path p
  JOIN sam_inode d ON d.ino = p.ino AND d.gen = p.gen AND d.type = 1
 WHERE p.path IN (_latin1 %s, _latin1 %s)
"""

# Both halves of (ino, gen) everywhere, since numbers are used again and rows of their former owners stay behind; and
# d.type, since the path of a symbolic link is its target.  Each table is entered by the one before, and by its index,
# whatever the server's statistics say: they may be of a time when it was empty.  All names go into one table of their
# own, so that the server plans once for all of them.  Numbers come together in one column: half of what a look-up costs
# this process is taking columns apart.
_WANTED = "SELECT %s AS number, _latin1 %s AS path, %s AS hash, _latin1 %s AS name"
_MORE = "SELECT %s, _latin1 %s, %s, _latin1 %s"
_ENTRIES = """
SELECT STRAIGHT_JOIN w.number, p.path, f.name,
       CONCAT_WS(' ', p.gen, i.ino, i.gen, i.type, i.size, i.modify_time, i.online),
       CONCAT_WS(' ', a.copy, a.seq, a.position, a.size, a.create_time), a.media_type, a.vsn
  FROM ({wanted}) w
  JOIN sam_path p FORCE INDEX (path) ON p.path = w.path
  JOIN sam_inode d FORCE INDEX (PRIMARY) ON d.ino = p.ino AND d.gen = p.gen AND d.type = 1
  JOIN sam_file f FORCE INDEX (PRIMARY) ON f.p_ino = p.ino AND f.p_gen = p.gen {hash} AND f.name = w.name
  JOIN sam_inode i FORCE INDEX (PRIMARY) ON i.ino = f.ino AND i.gen = f.gen
  LEFT JOIN sam_archive a FORCE INDEX (PRIMARY) ON a.ino = i.ino AND a.gen = i.gen
"""


def directory(place: Place) -> Query:
    """Finds the directory of a place."""
    return Query("find the archive's directory", _DIRECTORY, place.directory_spellings)


def directories_found(place: Place, rows: Sequence[Row]) -> list[int]:
    """The inode numbers of a directory."""
    return [ino for path, ino, _ in rows if path in place.directory_spellings]


def look_up(places: Sequence[Place], *, by_hash: bool) -> Query:
    """
    Finds what is under some names, all in one round trip.

    @param places: At most L{MOST_PLACES}.
    @param by_hash: Use C{name_hash}; without, the server reads all rows of each directory.
    """
    parameters: list[object] = []
    for number, place in enumerate(places):
        for spelling in place.directory_spellings:
            parameters += (number, spelling, name_hash(place.name), place.name)
    wanted = " UNION ALL ".join([_WANTED] + [_MORE] * (2 * len(places) - 1))
    text = _ENTRIES.format(wanted=wanted, hash="AND f.name_hash = w.hash" if by_hash else "")
    return Query("look files up", text, parameters)


def entries_found(places: Sequence[Place], rows: Sequence[Row]) -> list[list[Entry]]:
    """
    Put the rows of L{look_up} together.

    @return: For each place all that is there, byte for byte under that name.
    """
    found: list[dict[tuple[Any, ...], list[Copy]]] = [{} for _ in places]
    for number, path, name, file, copy, media_type, vsn in rows:
        place = places[number]
        if name == place.name and path in place.directory_spellings:
            copies = found[number].setdefault((path, file), [])
            if copy:
                copies.append(_copy(copy, media_type, vsn))
    return [[_entry(path, file, copies) for (path, file), copies in each.items()] for each in found]


def _entry(path: bytes, numbers: bytes, copies: list[Copy]) -> Entry:
    directory_gen, ino, gen, kind, size, modified, online = map(int, numbers.split())
    return Entry(
        directory=path,
        directory_gen=directory_gen,
        ino=ino,
        gen=gen,
        type=kind,
        size=size,
        modified=modified,
        online=bool(online),
        copies=tuple(sorted(copies, key=lambda copy: (copy.number, copy.sequence))),
    )


def _copy(numbers: bytes, media_type: bytes, vsn: bytes) -> Copy:
    number, sequence, position, size, created = map(int, numbers.split())
    return Copy(
        number=number,
        sequence=sequence,
        media_type=media_type.decode("latin-1"),
        vsn=vsn.decode("latin-1"),
        position=position,
        size=size,
        created=created,
    )
