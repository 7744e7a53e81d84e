"""The rows that most tests start from: plain files, and beside each of them what a careless query would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sideband.writer import DIRECTORY, FILE, SYMLINK, Inode, SidebandWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

ONLINE = "/archive/39/3039"
"""Id 12345: on disk, with two copies."""
OFFLINE = "/archive/3a/303a"
"""Id 12346: released, with one copy on two volumes."""
UNARCHIVED = "/archive/3b/303b"
"""Id 12347: without copies."""
SINGLE = "/archive/file.1"
"""Id 1, in the archive's root."""
UPPER, LOWER = "/archive/39/Foo", "/archive/39/foo"
LINK = "/link"

SIZES: dict[str, int] = {ONLINE: 1000, OFFLINE: 2001, UNARCHIVED: 3000, SINGLE: 10, UPPER: 41, LOWER: 52}
"""Those of the files, where no others are given."""

CREATED, MODIFIED, COPIED = 1_700_000_000, 1_700_000_060, 1_700_003_600
"""When files were created and written, and copies were made."""

_INODE = "INSERT INTO sam_inode VALUES (%s, %s, %s, %s, %s, %s, %s, 0, 0, %s)"
_PATH = "INSERT INTO sam_path VALUES (%s, %s, %s)"
_FILE = "INSERT INTO sam_file VALUES (%s, %s, %s, %s, %s, %s)"
# The offset is not named, as it has two spellings.
_ARCHIVE = "INSERT INTO sam_archive VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0)"


def write_base(
    target: SidebandWriter | Connection[Cursor],
    sizes: Mapping[str, int] | None = None,
    *,
    modified: int = MODIFIED,
) -> None:
    """
    Write the rows.

    @param target: A connection that may write, or a writer, which then knows what there is, but not the left-overs.
    @param sizes: Those of files by path, beside L{SIZES}.
    @param modified: When all of them were last written; they were created before and copied after that.
    """
    size = {**SIZES, **(sizes or {})}
    created, copied = modified - (MODIFIED - CREATED), modified + (COPIED - MODIFIED)
    first = size[OFFLINE] // 2

    inodes = [
        # ino, gen, type, size, online, path
        (1025, 1, DIRECTORY, 4096, 1, "/archive"),
        (1026, 1, DIRECTORY, 4096, 1, "/archive/39"),
        (1027, 1, DIRECTORY, 4096, 1, "/archive/3a"),
        (1028, 2, DIRECTORY, 4096, 1, "/archive/3b"),
        (1028, 1, DIRECTORY, 4096, 1, None),
        (1030, 1, FILE, size[ONLINE], 1, ONLINE),
        (1031, 4, FILE, size[OFFLINE], 0, OFFLINE),
        (1031, 3, FILE, size[OFFLINE] + 7, 1, None),
        (1032, 1, FILE, size[UNARCHIVED], 1, UNARCHIVED),
        (1033, 1, FILE, size[SINGLE], 1, SINGLE),
        (1034, 1, SYMLINK, 12, 1, LINK),
        (1035, 1, FILE, size[UPPER], 1, UPPER),
        (1036, 1, FILE, size[LOWER], 1, LOWER),
    ]
    paths = [
        (1025, 1, "/archive/"),
        (1026, 1, "/archive/39/"),
        (1027, 1, "/archive/3a"),
        (1028, 2, "/archive/3b/"),
        (1028, 1, "/old/3b/"),
        (1034, 1, "/archive/39/"),
    ]
    files = [
        (2, 2, 64375, "archive", 1025, 1),
        (1025, 1, 0, "39", 1026, 1),
        (1025, 1, 0, "3a", 1027, 1),
        (1025, 1, 0, "3b", 1028, 2),
        (1026, 1, 56191, "3039", 1030, 1),
        (1027, 1, 64509, "303a", 1031, 4),
        (1028, 2, 64254, "303b", 1032, 1),
        (1025, 1, 65323, "file.1", 1033, 1),
        (2, 2, 57310, "link", 1034, 1),
        (1026, 1, 24495, "Foo", 1035, 1),
        (1026, 1, 62975, "foo", 1036, 1),
    ]
    copies = [
        # ino, gen, copy, seq, media_type, vsn, position, offset, size, create_time
        (1030, 1, 0, 0, "li", "A00017", 1201, 3, size[ONLINE], copied),
        (1030, 1, 1, 0, "dk", "disk01", 77, 1, size[ONLINE], copied + 60),
        (1031, 4, 0, 0, "li", "A00018", 9, 0, first, copied),
        (1031, 4, 0, 1, "li", "A00019", 1, 0, size[OFFLINE] - first, copied),
    ]

    connection = target.connection if isinstance(target, SidebandWriter) else target
    with connection.cursor() as cursor:
        cursor.executemany(_INODE, [(*row[:4], "", created, modified, row[4]) for row in inodes])
        cursor.executemany(_PATH, paths)
        cursor.executemany(_FILE, files)
        cursor.executemany(_ARCHIVE, copies)
    connection.commit()
    if isinstance(target, SidebandWriter):
        for ino, gen, kind, length, online, path in inodes:
            if path is not None:
                target.adopt(path, Inode(ino, gen, kind, length, "", created, modified, online=online))
