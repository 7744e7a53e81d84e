"""All statements to the sideband database, and what is made of their rows.  Nothing but C{SELECT}.

Names are bytes in both directions.  The database declares them latin1, SAM stores whatever bytes the file system has,
and the collation ignores case and spaces at the end.  So a name is sent as a hexadecimal latin1 string, which no mode
or character set of the connection changes and which the indexes serve, and the name of each row is compared again.

C{sam_archive.offset} is not read, because MariaDB 10.6 made its name a reserved word, and later schemata call it
C{off_set}.  C{csum} is not read, because it is a checksum of SAM's own kind; nor are C{stale} and
C{sam_inode.create_time}, because they do not mean what their names say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from pacarchive.backends.sideband.names import Place, name_hash
from pacarchive.backends.sideband.residency import Copy, Entry

Row: TypeAlias = tuple[Any, ...]

MOST_PLACES = 32
"""The most places of one L{look_up}: with more, the longer text costs more than the round trips that it saves."""


@attrs.frozen
class Query:
    """
    A statement.

    @ivar description: What it does, for messages that begin with "cannot".
    @ivar text: The SQL, with C{%s} for each parameter.
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

# Rows are joined by both ino and gen, since inode numbers are reused and the rows of former files stay behind; and by
# d.type, since the path of a symbolic link is its target.  The order of the join and the indexes are prescribed,
# because the server's statistics may be from a time when the tables were empty.  All names are put into one derived
# table, so that the server plans once for all of them.  Numbers are returned in one column: half of what a look-up
# costs this process is decoding columns.
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
    """Return the query that finds the directory of a place."""
    return Query("find the archive's directory", _DIRECTORY, place.directory_spellings)


def directories_found(place: Place, rows: Sequence[Row]) -> list[int]:
    """Return the inode numbers of a directory, from the rows of L{directory}."""
    return [ino for path, ino, _ in rows if path in place.directory_spellings]


def look_up(places: Sequence[Place], *, by_hash: bool) -> Query:
    """
    Return the query that finds the entries under some names, in one round trip.

    @param places: At most L{MOST_PLACES}.
    @param by_hash: Whether to use C{name_hash}; without it, the server reads all rows of each directory.
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
    Build entries from the rows of L{look_up}.

    @return: For each place, the entries whose name is equal to it byte for byte.
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
