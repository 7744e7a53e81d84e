"""The tape library model by itself: C{tape*.c}, compiled without the rest of the simulator and driven by ctypes."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

SIMULATOR = Path(__file__).parents[2] / "ext" / "simulator"

DISK_AND_TAPE, LARGE, DUAL_COPY, TAPE_ONLY = 1, 2, 3, 4
"""Classes of service."""

UNKNOWN, QUEUED, ACTIVE = range(3)
"""What C{tape_status} tells."""

MINUTES = 60.0
MB = 10**6


def build_model(directory: Path) -> Path:
    """Compile the model with all warnings as errors.  @return: The shared object."""
    library = directory / "libtape.so"
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-O1", "-g", "-std=c11", "-D_GNU_SOURCE"),
            *("-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{SIMULATOR / 'include'}"),
            *("-o", str(library), *map(str, sorted(SIMULATOR.glob("tape*.c"))), "-lsqlite3", "-lm"),
        ],
        check=True,
    )
    return library


class LibraryError(Exception):
    """A negative code.  @ivar code: It."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call}: {code}")
        self.code = code


class Library:
    """
    A new archive's tape library, on one connection of its own.

    @param library: What L{build_model} made.
    @param database: A file that does not exist yet.
    @param drives: How many.
    @param settings: In place of the schema's.
    """

    def __init__(self, library: Path, database: Path, *, drives: int = 1, **settings: float | str) -> None:
        self._library = ctypes.CDLL(str(library), mode=os.RTLD_NOW)
        self._library.tape_open.restype = ctypes.c_void_p
        self._python = sqlite3.connect(database, isolation_level=None)
        self._python.executescript((SIMULATOR / "schema.sql").read_text())
        for drive in range(drives):
            self._python.execute("INSERT INTO drive (id) VALUES (?)", (drive,))
        self.set(**settings)
        self._database = ctypes.c_void_p()
        assert self._library.sqlite3_open(str(database).encode(), ctypes.byref(self._database)) == 0
        self._library.sqlite3_busy_timeout(self._database, 10_000)
        self._tape = ctypes.c_void_p(self._library.tape_open(self._database))

    def close(self) -> None:
        """Release both connections; every statement must have been finalised."""
        self._library.tape_close(self._tape)
        assert self._library.sqlite3_close(self._database) == 0, "statements were left behind"
        self._python.close()

    def set(self, **settings: float | str) -> None:
        """Change settings."""
        for name, value in settings.items():
            changed = self._python.execute("UPDATE setting SET value = ? WHERE name = ?", (value, name))
            assert changed.rowcount == 1, f"no setting {name}"

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look into the database."""
        return self._python.execute(query, values).fetchall()

    def value(self, query: str, *values: Any) -> Any:
        """The first column of the only row."""
        ((value,),) = self.rows(query, *values)
        return value

    def execute(self, statement: str, *values: Any) -> int:
        """Change the database.  @return: The new row's id."""
        return self._python.execute(statement, values).lastrowid or 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        for_c = self._library.sqlite3_exec
        assert for_c(self._database, b"BEGIN IMMEDIATE", None, None, None) == 0
        try:
            yield
        except LibraryError:
            assert for_c(self._database, b"ROLLBACK", None, None, None) == 0
            raise
        assert for_c(self._database, b"COMMIT", None, None, None) == 0

    def _call(self, name: str, *arguments: Any) -> int:
        code: int = getattr(self._library, name)(self._tape, *arguments)
        if code < 0:
            raise LibraryError(name, code)
        return code

    def file(self, size: int, *, cos: int = DISK_AND_TAPE, now: float = 0, family: int = 0) -> int:
        """Write a file as a client does.  @return: The object."""
        made = self.execute(
            "INSERT INTO object (type, mode, size, cos, family) VALUES (0x81, 0, ?, ?, ?)", size, cos, family
        )
        self.write(made, size, now)
        return made

    def write(self, made: int, size: int, now: float) -> None:
        """Replace a file's bytes."""
        self.execute(
            "INSERT INTO level VALUES (?, 0, ?) ON CONFLICT (object, level) DO UPDATE SET bytes = excluded.bytes",
            made,
            size,
        )
        with self._transaction():
            self._call("tape_written", ctypes.c_int64(made), ctypes.c_double(now))

    def archived(self, size: int, *, cos: int = DISK_AND_TAPE, family: int = 0, count: int = 1) -> list[int]:
        """Write files, of which only the copies on tape are left."""
        made = [self.file(size, cos=cos, family=family) for _ in range(count)]
        for each in made:
            assert self.migrate(each) > 0
            assert self.purge(each) == size
        return made

    def advance(self, now: float) -> None:
        """Play all events up to C{now}."""
        self._call("tape_advance", ctypes.c_double(now))

    def next_event(self) -> float | None:
        """When something is going to happen."""
        when = ctypes.c_double()
        return when.value if self._call("tape_next_event", ctypes.byref(when)) else None

    def play_all(self) -> float:
        """Play event by event until nothing is left to happen.  @return: The last one's time."""
        last = 0.0
        while (when := self.next_event()) is not None:
            last = when
            self.advance(when)
        return last

    def _counting(self, name: str, made: int) -> int:
        counted = ctypes.c_uint64()
        with self._transaction():
            self._call(name, ctypes.c_int64(made), ctypes.byref(counted))
        return counted.value

    def migrate(self, made: int) -> int:
        """Copy to tape now.  @return: The bytes."""
        return self._counting("tape_migrate", made)

    def purge(self, made: int) -> int:
        """Drop the copy on disk.  @return: The bytes."""
        return self._counting("tape_purge", made)

    def remove(self, made: int, now: float) -> None:
        """Delete a file."""
        with self._transaction():
            self._call("tape_removed", ctypes.c_int64(made), ctypes.c_double(now))
        self.execute("DELETE FROM object WHERE id = ?", made)

    def submit(self, made: int, now: float, *, client: str | None = None, batch: int = 0) -> int:
        """Ask for a file.  @return: The request."""
        request = ctypes.c_int64()
        with self._transaction():
            self._call(
                "tape_submit",
                ctypes.c_int64(made),
                client and client.encode(),
                ctypes.c_int64(batch),
                None,
                ctypes.c_double(now),
                ctypes.byref(request),
            )
        return request.value

    def operate(self, action: str, target: object = None, *, due: float, value: float | None = None) -> int:
        """Have the operator do something.  @return: The row in C{operation}."""
        return self.execute(
            "INSERT INTO operation (due, action, target, value) VALUES (?, ?, ?, ?)", due, action, target, value
        )

    def status(self, client: str, made: int) -> int:
        """How a client's request stands."""
        status = ctypes.c_int()
        self._call("tape_status", client.encode(), ctypes.c_int64(made), ctypes.byref(status))
        return status.value

    def ended(self, request: int) -> int | None:
        """The code of a request that has ended."""
        finished, code = ctypes.c_int(), ctypes.c_int()
        self._call("tape_request_state", ctypes.c_int64(request), ctypes.byref(finished), ctypes.byref(code))
        return code.value if finished.value else None

    def is_moving(self, made: int) -> bool:
        """Whether a stage is under way."""
        return bool(self._call("tape_is_moving", ctypes.c_int64(made)))

    def has_room(self, size: int) -> bool:
        """Whether the disk takes so many bytes more."""
        return bool(self._call("tape_disk_has_room", ctypes.c_uint64(size)))

    def levels(self, made: int) -> dict[int, int]:
        """The bytes at each level that has some."""
        return dict(self.rows("SELECT level, bytes FROM level WHERE object = ?", made))

    def sums(self) -> dict[str, Any]:
        """What the library counts."""
        with closing(self._python.execute("SELECT * FROM library")) as cursor:
            return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that the model decides."""
        tables = ("level", "segment", "cartridge", "drive", "request", "waiting", "migration", "operation", "library")
        return {table: self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}


NewLibrary = Callable[..., Library]
"""Makes a library with C{drives} and settings, which the test need not close."""
