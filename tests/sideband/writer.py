"""What SAM's daemon writes into the sideband database, event by event, and how it fails to."""

from __future__ import annotations

import functools
import os
import time
from collections import Counter, deque
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import attrs
import pymysql
import pymysql.constants.FIELD_TYPE
import pymysql.converters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

    from sideband.server import MariaDB

FILE, DIRECTORY, SEGMENT, SEGMENT_INDEX, SYMLINK, OTHER = range(6)
"""The types of C{sam_inode}."""

ROOT = b"/"
ROOT_IDENTITY = (2, 2)
FIRST_INO = 1025

_ROWS = 2000
"""How many go into one statement."""

_INSERT_INODE = "INSERT INTO sam_inode VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_INSERT_PATH = "INSERT INTO sam_path VALUES (%s, %s, %s)"
_INSERT_FILE = "INSERT INTO sam_file VALUES (%s, %s, %s, %s, %s, %s)"
# The offset is not named, as it has two spellings.
_REPLACE_ARCHIVE = "REPLACE INTO sam_archive VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0)"


def name_hash(name: bytes) -> int:
    """The hash of a name that directory entries have; written apart from the backend's, from the description."""
    if len(name) <= 2:
        return 0
    even = odd = 0
    for number, start in enumerate(range(0, len(name), 4)):
        word = 0
        for place, byte in enumerate(name[start : start + 4]):
            signed = byte - 256 if byte >= 0x80 else byte
            word |= signed << (24 - 8 * place)
        word %= 1 << 32
        if number % 2 == 0:
            even ^= word
        else:
            odd ^= word
    total = 7 * (even - 1) + (even >> 8) - 1
    for each in (even >> 16, even >> 24, odd, odd >> 8, odd >> 16, odd >> 24):
        total = 7 * total + each - 1
    total %= 1 << 32
    return (total % (1 << 16)) | (total >> 16)


@attrs.frozen
class _Raw:
    """
    Bytes for a column of text, as the daemon sends them: on a connection that says nothing but latin1.

    PyMySQL's own way for bytes makes a binary string, of no character set.
    """

    data: bytes


def _escape_raw(value: _Raw, _: object) -> str:
    return f"_latin1 X'{value.data.hex()}'"


_CONVERSIONS = {
    **pymysql.converters.conversions,
    _Raw: _escape_raw,
    # PyMySQL's does not take bytes.
    pymysql.constants.FIELD_TYPE.NEWDECIMAL: lambda data: Decimal(data.decode()),
}


@attrs.define
class Inode:
    """An object of the file system, as it is there: what rows are made from at an event."""

    ino: int
    gen: int
    kind: int = FILE
    size: int = 0
    csum: str | None = ""
    create_time: int = 0
    modify_time: int = 0
    uid: int = 0
    gid: int = 0
    online: int = 1
    links: int = 1

    @property
    def identity(self) -> tuple[int, int]:
        """Inode number and generation."""
        return self.ino, self.gen


class SidebandWriter:
    """
    Both the file system and the daemon: each method is an event, and has the daemon's effect on the rows.

    Paths are relative to the mount point; they are bytes, or text for C{os.fsencode}.  A parent must be there.

    @param server: The server; the connection is root's.
    @param database: A database with nothing but the rows of C{samdb create}, or else see L{adopt}.
    @param delay: How long after its event a row is changed, at L{pump}; 0 for at once.
    @param clock: Seconds since the epoch, for the delay and for times that are not given.
    @param sql_mode: That of the session, where it is not to be the global one.
    @ivar lost: How many events were dropped.
    """

    def __init__(
        self,
        server: MariaDB,
        database: str,
        *,
        delay: float = 0.0,
        clock: Callable[[], float] = time.time,
        sql_mode: str | None = None,
    ) -> None:
        self.delay = delay
        self.lost = 0
        self._clock = clock
        settings: dict[str, Any] = {"use_unicode": False, "conv": _CONVERSIONS}
        if sql_mode is not None:
            settings["sql_mode"] = sql_mode
        self._connect = functools.partial(server.connect, database=database, **settings)
        self._connection = self._connect()
        self._entries = {ROOT: Inode(*ROOT_IDENTITY, kind=DIRECTORY)}
        self._generations = {2: 2}
        self._next_ino = FIRST_INO
        self._to_lose: Counter[str] = Counter()
        self._pending: deque[tuple[float, Callable[[], object]]] = deque()
        self._collected: dict[str, list[Sequence[object]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_connection()

    def close_connection(self) -> None:
        """Write no more."""
        if self._connection.open:
            self._connection.close()

    # What is there.

    def inode(self, path: str | bytes) -> Inode:
        """The object at a path, whatever the database says."""
        return self._entries[_normal(path)]

    def identity(self, path: str | bytes) -> tuple[int, int]:
        """Inode number and generation of the object at a path."""
        return self.inode(path).identity

    def adopt(self, path: str | bytes, inode: Inode) -> None:
        """Know an object whose rows are there already."""
        self._entries[_normal(path)] = inode
        self._generations[inode.ino] = max(inode.gen, self._generations.get(inode.ino, 0))
        self._next_ino = max(self._next_ino, inode.ino + 1)

    # Statements.

    @property
    def connection(self) -> Connection[Cursor]:
        """Its connection to the database; another one where the server was gone."""
        if self._collected is None:
            try:
                self._connection.ping()
            except pymysql.err.Error:
                self.close_connection()
                self._connection = self._connect()
        return self._connection

    def execute(self, statement: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """
        Any statement, at once.

        @param values: Bytes go into columns as they are.
        @return: The rows, with bytes for text.
        """
        self._write_collected()
        with self.connection.cursor() as cursor:
            cursor.execute(statement, None if values is None else _values(values))
            return list(cursor.fetchall())

    def _insert(self, statement: str, *values: object) -> None:
        if self._collected is None:
            self.execute(statement, values)
        else:
            self._collected.setdefault(statement, []).append(_values(values))

    def _write_collected(self) -> None:
        if self._collected:
            collected, self._collected = self._collected, {}
            with self._connection.cursor() as cursor:
                for statement, rows in collected.items():
                    # Not executemany(), which takes one row at a time where a value stands in the statement.
                    beginning, _, row = statement.partition("VALUES ")
                    for start in range(0, len(rows), _ROWS):
                        some = rows[start : start + _ROWS]
                        values = [value for each in some for value in each]
                        cursor.execute(f"{beginning}VALUES {', '.join([row] * len(some))}", values)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Make what is written meanwhile one transaction of long statements; delays and losses hold as ever."""
        self.connection.begin()
        self._collected = {}
        try:
            yield
            self._write_collected()
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise
        finally:
            self._collected = None

    # Delays and losses.

    def lose(self, kind: str, count: int = 1) -> None:
        """Drop the next event, or events, of a kind: the name of the method."""
        assert kind in _EVENTS, kind
        self._to_lose[kind] += count

    @property
    def pending(self) -> int:
        """How many events are yet to have an effect."""
        return len(self._pending)

    def pump(self, now: float | None = None) -> int:
        """
        Apply the events whose time has come, in order.

        @param now: The time, where it is not that of the clock.
        @return: How many.
        """
        now = self._clock() if now is None else now
        applied = 0
        while self._pending and self._pending[0][0] <= now:
            # One that fails is to be tried again.
            self._pending[0][1]()
            self._pending.popleft()
            applied += 1
        return applied

    def flush(self) -> int:
        """Apply all events now.  @return: How many."""
        return self.pump(float("inf"))

    def _event(self, kind: str, effect: Callable[[], object]) -> None:
        if self._to_lose[kind]:
            self._to_lose[kind] -= 1
            self.lost += 1
        elif self.delay or self._pending:
            # None overtakes another.
            earliest = self._pending[-1][0] if self._pending else 0.0
            self._pending.append((max(earliest, self._clock() + self.delay), effect))
        else:
            effect()

    def _now(self) -> int:
        return int(self._clock())

    # Events.

    def create(
        self,
        path: str | bytes,
        *,
        ino: int | None = None,
        gen: int | None = None,
        kind: int = FILE,
        size: int = 0,
        create_time: int | None = None,
        modify_time: int | None = None,
        uid: int = 0,
        gid: int = 0,
    ) -> tuple[int, int]:
        """
        A file is created; it has no size until L{close}, unless one is given.

        @param ino: Its inode number, by default the next.
        @param gen: Its generation, by default one more than that of the inode's last use.
        @return: Inode number and generation.
        """
        inode = self._new(ino, gen, kind, size, create_time, modify_time, uid, gid)
        return self._add("create", path, inode, None)

    def mkdir(
        self,
        path: str | bytes,
        *,
        ino: int | None = None,
        gen: int | None = None,
        create_time: int | None = None,
        modify_time: int | None = None,
        uid: int = 0,
        gid: int = 0,
    ) -> tuple[int, int]:
        """A directory is created.  @return: Inode number and generation."""
        inode = self._new(ino, gen, DIRECTORY, 4096, create_time, modify_time, uid, gid)
        return self._add("mkdir", path, inode, _with_slash(_normal(path)))

    def mkdirs(self, path: str | bytes) -> tuple[int, int]:
        """A directory is created, and those above it, where they are missing."""
        made = ROOT
        for name in _normal(path).split(b"/"):
            if name:
                made = _with_slash(made) + name
                if made not in self._entries:
                    self.mkdir(made)
        return self.identity(made)

    def symlink(
        self,
        path: str | bytes,
        target: str | bytes,
        *,
        ino: int | None = None,
        gen: int | None = None,
        create_time: int | None = None,
        modify_time: int | None = None,
        uid: int = 0,
        gid: int = 0,
    ) -> tuple[int, int]:
        """A symbolic link is created.  @return: Inode number and generation."""
        text = os.fsencode(target)
        inode = self._new(ino, gen, SYMLINK, len(text), create_time, modify_time, uid, gid)
        return self._add("symlink", path, inode, text)

    def _new(
        self,
        ino: int | None,
        gen: int | None,
        kind: int,
        size: int,
        create_time: int | None,
        modify_time: int | None,
        uid: int,
        gid: int,
    ) -> Inode:
        if ino is None:
            ino = self._next_ino
        self._next_ino = max(self._next_ino, ino + 1)
        if gen is None:
            gen = self._generations.get(ino, 0) + 1
        self._generations[ino] = gen
        create_time = self._now() if create_time is None else create_time
        modify_time = create_time if modify_time is None else modify_time
        return Inode(ino, gen, kind, size, "", create_time, modify_time, uid, gid)

    def _add(self, event: str, path: str | bytes, inode: Inode, path_row: bytes | None) -> tuple[int, int]:
        entry = self._enter(path, inode)
        row = _inode_row(inode)

        def effect() -> None:
            self._insert(_INSERT_INODE, *row)
            self._insert(_INSERT_FILE, *entry, *inode.identity)
            if path_row is not None:
                self._insert(_INSERT_PATH, *inode.identity, path_row)

        self._event(event, effect)
        return inode.identity

    def _enter(self, path: str | bytes, inode: Inode) -> tuple[int, int, int, bytes]:
        """Add a directory entry.  @return: Its key in C{sam_file}."""
        path = _normal(path)
        if path in self._entries:
            raise FileExistsError(path)
        key = self._key(path)
        self._entries[path] = inode
        return key

    def _key(self, path: bytes) -> tuple[int, int, int, bytes]:
        directory, _, name = path.rpartition(b"/")
        return *self._entries[directory or ROOT].identity, name_hash(name), name

    def segment(self, path: str | bytes, size: int, *, online: int = 1) -> tuple[int, int]:
        """A segmented file gets one more segment, which has no entry.  @return: Inode number and generation."""
        index = self.inode(path)
        assert index.kind == SEGMENT_INDEX
        made = self._new(None, None, SEGMENT, size, index.create_time, index.modify_time, index.uid, index.gid)
        made.online = online
        row = _inode_row(made)
        self._event("segment", lambda: self._insert(_INSERT_INODE, *row))
        return made.identity

    def link(self, path: str | bytes, new: str | bytes) -> None:
        """A file gets one more name."""
        inode = self.inode(path)
        entry = self._enter(new, inode)
        inode.links += 1
        self._event("link", lambda: self._insert(_INSERT_FILE, *entry, *inode.identity))

    def close(self, path: str | bytes, size: int, *, modify_time: int | None = None, csum: str | None = None) -> None:
        """The last writer of a file closes it."""
        inode = self.inode(path)
        inode.size = size
        inode.modify_time = self._now() if modify_time is None else modify_time
        if csum is not None:
            inode.csum = csum
        self._refresh("close", inode)

    def change(self, path: str | bytes, *, uid: int | None = None, gid: int | None = None) -> None:
        """The owner or the group of an object is changed."""
        inode = self.inode(path)
        inode.uid = inode.uid if uid is None else uid
        inode.gid = inode.gid if gid is None else gid
        self._refresh("change", inode)

    def utime(self, path: str | bytes, modify_time: int) -> None:
        """The time of an object is set: this is no event, and shows at the next refresh."""
        self.inode(path).modify_time = modify_time

    def _refresh(self, event: str, inode: Inode) -> None:
        values = (inode.size, inode.csum, inode.modify_time, inode.uid, inode.gid, inode.online, *inode.identity)
        self._event(event, lambda: self._write_refresh(values))

    def _write_refresh(self, values: Sequence[object]) -> None:
        self.execute(
            "UPDATE sam_inode SET size = %s, csum = %s, modify_time = %s, uid = %s, gid = %s, online = %s"
            " WHERE ino = %s AND gen = %s",
            values,
        )

    def rename(self, old: str | bytes, new: str | bytes) -> None:
        """
        An object is renamed; another at the new name is removed.

        As SAM does it, the paths below a directory are found by a pattern that matches others also.
        """
        old, new = _normal(old), _normal(new)
        inode = self._entries[old]
        if new in self._entries:
            self.remove(new)
        before, after = self._key(old), self._key(new)
        below = [each for each in self._entries if inode.kind == DIRECTORY and each.startswith(old + b"/")]
        for each in (old, *below):
            self._entries[new + each[len(old) :]] = self._entries.pop(each)

        def effect() -> None:
            self.execute(
                "UPDATE sam_file SET p_ino = %s, p_gen = %s, name_hash = %s, name = %s"
                " WHERE p_ino = %s AND p_gen = %s AND name_hash = %s AND name = %s",
                [*after, *before],
            )
            if inode.kind == DIRECTORY:
                self.execute(
                    "UPDATE sam_path SET path = CONCAT(%s, SUBSTR(path, %s)) WHERE path LIKE %s",
                    [new + b"/", len(old) + 2, old + b"/%"],
                )

        self._event("rename", effect)

    def remove(self, path: str | bytes) -> None:
        """A name is removed, and with the last one the object."""
        path = _normal(path)
        assert not any(each.startswith(path + b"/") for each in self._entries), "the directory is not empty"
        key = self._key(path)
        inode = self._entries.pop(path)
        inode.links -= 1
        gone = inode.links == 0

        def effect() -> None:
            self.execute("DELETE FROM sam_file WHERE p_ino = %s AND p_gen = %s AND name_hash = %s AND name = %s", key)
            if gone:
                for table in ("sam_archive", "sam_path", "sam_inode"):
                    self.execute(f"DELETE FROM {table} WHERE ino = %s AND gen = %s", inode.identity)

        self._event("remove", effect)

    def offline(self, path: str | bytes) -> None:
        """The data of a file are released."""
        self._set_online("offline", path, 0)

    def online(self, path: str | bytes) -> None:
        """A file has been staged whole."""
        self._set_online("online", path, 1)

    def _set_online(self, event: str, path: str | bytes, online: int) -> None:
        inode = self.inode(path)
        inode.online = online
        values = (online, *inode.identity)
        self._event(event, lambda: self.execute("UPDATE sam_inode SET online = %s WHERE ino = %s AND gen = %s", values))

    def archive(
        self,
        path: str | bytes,
        copy: int = 0,
        media_type: str = "li",
        vsn: str = "A00001",
        *,
        seq: int = 0,
        position: int = 1,
        offset: int = 0,
        size: int | None = None,
        create_time: int | None = None,
        csum: str | None = None,
    ) -> None:
        """
        A copy is made, or the part of one that is on one volume.

        @param copy: 0 to 3.
        @param size: How much of the file is there, by default all.
        @param csum: The checksum that is found at this.
        """
        inode = self.inode(path)
        if csum is not None:
            inode.csum = csum
        size = inode.size if size is None else size
        create_time = self._now() if create_time is None else create_time
        row = (*inode.identity, copy, seq, media_type, vsn, position, offset, size, create_time)
        refresh = (inode.size, inode.csum, inode.modify_time, inode.uid, inode.gid, inode.online, *inode.identity)

        def effect() -> None:
            self._insert(_REPLACE_ARCHIVE, *row)
            if csum is not None:
                self._write_refresh(refresh)

        self._event("archive", effect)

    def unarchive(self, path: str | bytes, copy: int) -> None:
        """A copy is given up."""
        values = (*self.identity(path), copy)
        self._event(
            "unarchive",
            lambda: self.execute("DELETE FROM sam_archive WHERE ino = %s AND gen = %s AND copy = %s", values),
        )

    def modify(self, path: str | bytes) -> None:
        """
        A file is written to after it was archived.

        This was to mark its copies stale; but the time of the event comes first among the values of the
        statement, so each is at the place of the next.
        """
        ino, _ = self.identity(path)
        values = (self._now(), 1, ino)

        def effect() -> None:
            try:
                self.execute("UPDATE sam_archive SET stale = %s WHERE ino = %s AND gen = %s", values)
            except pymysql.err.DataError:
                # In a strict mode the time is out of range, which the daemon writes to its log.
                return

        self._event("modify", effect)

    # Very many.

    def fill_directory(
        self,
        path: str | bytes,
        names: Iterable[str | bytes],
        *,
        size: int = 0,
        modify_time: int | None = None,
        online: int = 1,
    ) -> None:
        """Have closed files in a directory, in one transaction; never delayed nor lost."""
        directory = _normal(path)
        parent = self._entries[directory].identity
        modify_time = self._now() if modify_time is None else modify_time
        prefix = _with_slash(directory)
        # What is the same for all is not left to PyMySQL, for which every value takes its time.
        insert_inode = (
            f"INSERT INTO sam_inode VALUES (%s, %s, {FILE}, {size}, '', {modify_time}, {modify_time}, 0, 0, {online})"
        )
        insert_file = "INSERT INTO sam_file VALUES ({}, {}, %s, %s, %s, %s)".format(*parent)
        with self.bulk():
            for each in names:
                name = os.fsencode(each)
                inode = self._new(None, None, FILE, size, modify_time, modify_time, 0, 0)
                inode.online = online
                self._entries[prefix + name] = inode
                self._insert(insert_inode, *inode.identity)
                self._insert(insert_file, name_hash(name), name, *inode.identity)


_EVENTS = {
    *("create", "mkdir", "symlink", "segment", "link", "close", "change", "rename", "remove"),
    *("offline", "online", "archive", "unarchive", "modify"),
}


def _normal(path: str | bytes) -> bytes:
    return ROOT + os.fsencode(path).strip(b"/")


def _with_slash(path: bytes) -> bytes:
    return path.rstrip(b"/") + b"/"


def _values(values: Sequence[object]) -> list[object]:
    return [_Raw(each) if isinstance(each, bytes) else each for each in values]


def _inode_row(inode: Inode) -> tuple[object, ...]:
    times = (inode.create_time, inode.modify_time)
    return (*inode.identity, inode.kind, inode.size, inode.csum, *times, inode.uid, inode.gid, inode.online)
