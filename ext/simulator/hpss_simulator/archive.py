"""One simulated archive, from the operator's side."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hpss_simulator import library
from hpss_simulator.files import owner_of_principal, put_file, put_many
from hpss_simulator.namespace import connect, entries, find, make_directories, parts
from hpss_simulator.page import Clock, ControlPage, create_page
from hpss_simulator.sdk import functions, play, schema
from hpss_simulator.tables import listed
from hpss_simulator.words import Cartridge, Drive, Entry, Fault, Kind, Request, SimulatorError, Sums

_ACTIONS = ("error", "delay", "hang", "short", "disconnect")
_CHOICES = {
    "server_state": ("up", "down", "busy"),
    "errno_style": ("aix", "linux"),
    "user_attributes": ("on", "off"),
    "drive_failure": ("requeue", "fail"),
}
_STAGE_CODES = ("open", "open_background", "open_asynch", "none")
_CLASS_COLUMNS = {"name", "min_size", "max_size", "enforce_max", "levels", "stage_code"}


_WILD = frozenset("*?[")


def _fits(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) and ("/." in pattern or "/." not in path)


class Archive:
    """
    An archive that exists.

    Everything that looks at tapes or changes them first plays what was due until then.  An instance may be used by
    several threads; any number of processes may use one archive.

    @param directory: Where it is.
    @ivar directory: The same, absolute.
    @ivar clock: Its simulated clock.
    @raise SimulatorError: There is none.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).absolute()
        self._page = ControlPage(self.directory / "control")
        self.clock = Clock(self._page)
        self._database = connect(self.directory / "hpss.db")
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls,
        directory: Path | str,
        *,
        drives: int = 4,
        principal: str = "hpss",
        scale: float = 1,
        start: float | None = None,
        **settings: float | str,
    ) -> Archive:
        """
        Make an archive.

        @param directory: Must not exist, or be empty.
        @param drives: How many tape drives it has.
        @param principal: Whose key is in the key table.
        @param scale: Simulated seconds in a real one.
        @param start: Its first moment; the present when left out.
        @param settings: What differs from the defaults, as for L{set}.
        """
        place = Path(directory).absolute()
        place.mkdir(parents=True, exist_ok=True)
        if any(place.iterdir()):
            raise SimulatorError(f"{place} is not empty", -17)
        (place / "data").mkdir()
        (place / "etc").mkdir()
        keytab = place / "etc" / "hpss.unix.keytab"
        keytab.touch(0o600)
        keytab.write_text(f"archive={place}\nprincipal={principal}\nsecret=simulated\n")
        database = connect(place / "hpss.db")
        try:
            database.executescript(schema())
            moment = int(time.time() if start is None else start)
            database.execute("UPDATE object SET created = ?1, accessed = ?1, written = ?1, changed = ?1", (moment,))
            database.executemany("INSERT INTO drive (id) VALUES (?)", [(number,) for number in range(drives)])
        finally:
            database.close()
        create_page(place / "control", time.time() if start is None else start, scale)
        archive = cls(place)
        try:
            for name, value in settings.items():
                archive.set(name, value)
        except SimulatorError:
            archive.close()
            raise
        return archive

    def close(self) -> None:
        """Release what the instance holds; the archive stays."""
        self._database.close()
        self._page.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _operate(self, action: str, target: object = None, value: float | None = None, *, after: float = 0) -> None:
        """
        Have the library do something at a moment.

        @param after: Simulated seconds from now; what lies in the future is only noted.
        """
        moment = self.clock.now() + after
        with self._lock:
            ordered = self._database.execute(
                "INSERT INTO operation (due, action, target, value) VALUES (?, ?, ?, ?)",
                (moment, action, target, value),
            ).lastrowid
        if after > 0:
            return
        self.play()
        ((code,),) = self._rows("SELECT code FROM operation WHERE id = ?", ordered)
        if code:
            raise SimulatorError(f"{action} {'' if target is None else target}".rstrip(), code)

    def play(self) -> None:
        """Play what is due in the tape library, as any call of a client does."""
        play(self.directory)

    # What a client needs to log in

    @property
    def keytab(self) -> Path:
        """The key table file."""
        return self.directory / "etc" / "hpss.unix.keytab"

    @property
    def principal(self) -> str:
        """Whom the key table is for."""
        return dict(line.split("=", 1) for line in self.keytab.read_text().splitlines())["principal"]

    @property
    def site(self) -> str:
        """The site's name."""
        return str(self.get("site"))

    def expire_credentials(self) -> None:
        """End every login at once."""
        self._page.expire_credentials()

    # Settings and faults

    def settings(self) -> dict[str, Any]:
        """All settings."""
        return dict(map(tuple, self._rows("SELECT name, value FROM setting ORDER BY name")))

    def get(self, name: str) -> Any:
        """A setting."""
        values = self.settings()
        if name not in values:
            raise SimulatorError(f"there is no setting {name}", -22, is_told=False)
        return values[name]

    def set(self, name: str, value: float | str) -> None:
        """
        Change a setting, for all processes and from now on.

        @raise SimulatorError: There is no such setting, or the value is of another kind.
        """
        if isinstance(self.get(name), str) != isinstance(value, str):
            raise SimulatorError(f"{value!r} is no value for {name}", -22, is_told=False)
        if value not in (choices := _CHOICES.get(name, (value,))):
            raise SimulatorError(f"{name} is {listed(choices)}, not {value!r}", -22, is_told=False)
        self.play()  # what was due until now, by the old value
        self._rows("UPDATE setting SET value = ? WHERE name = ?", value, name)
        self._page.settings_changed()

    def set_class(self, number: int, **columns: float | str) -> None:
        """
        Change a class of service.

        @param columns: Of C{name}, C{min_size}, C{max_size}, C{enforce_max}, C{levels}, C{stage_code}.
        """
        if not columns.keys() <= _CLASS_COLUMNS:
            raise SimulatorError(f"a class of service has {', '.join(sorted(_CLASS_COLUMNS))}", -22)
        if (code := columns.get("stage_code", "none")) not in _STAGE_CODES:
            raise SimulatorError(f"stage_code is {listed(_STAGE_CODES)}, not {code!r}", -22, is_told=False)
        if number not in (known := [each for (each,) in self._rows("SELECT id FROM cos ORDER BY id")]):
            raise SimulatorError(
                f"there is no class of service {number}, only {listed(known, 'and')}", -2, is_told=False
            )
        with self._transaction():
            for column, value in columns.items():
                self._database.execute(f"UPDATE cos SET {column} = ? WHERE id = ?", (value, number))
        self._page.settings_changed()

    def fault(
        self, function: str, *, path: str = "*", first: int = 1, count: int = 1, action: str = "error", value: int = -5
    ) -> int:
        """
        Have calls fail: see L{Fault} for the parameters.

        @return: The fault's number.
        """
        if action not in _ACTIONS:
            raise SimulatorError(f"{action!r} is none of {', '.join(_ACTIONS)}", -22, is_told=False)
        if function != "*" and function not in (known := functions()):
            similar = get_close_matches(function, known, n=1)
            hint = f"; do you mean {similar[0]}?" if similar else ""
            raise SimulatorError(f"the library has no function {function}{hint}", -22, is_told=False)
        with self._transaction():
            number = self._database.execute(
                "INSERT INTO fault (function, path, first, count, action, value) VALUES (?, ?, ?, ?, ?, ?)",
                (function, path, first, count, action, value),
            ).lastrowid
            assert number is not None
            self._page.clear_fault(number)
        self._page.settings_changed()
        return number

    def clear_faults(self) -> None:
        """Forget the fault plan; calls that hang go on."""
        self._rows("DELETE FROM fault")
        self._page.settings_changed()

    def fault_hits(self, number: int) -> int:
        """How many calls a fault has struck."""
        return self._page.fault_hits(number)

    def faults(self) -> list[Fault]:
        """The fault plan."""
        return [
            Fault(**row, hits=self.fault_hits(row["number"]))
            for row in self._rows(
                "SELECT id AS number, function, path, first, count, action, value FROM fault ORDER BY id"
            )
        ]

    # Counters of the library

    def calls(self, function: str) -> int:
        """How often a function was called, by all processes since the archive was made."""
        return self._page.calls().get(function, 0)

    def all_calls(self) -> dict[str, int]:
        """The same, for each function that was called."""
        return {function: count for function, count in sorted(self._page.calls().items()) if count}

    def contexts(self) -> int:
        """Thread contexts of all processes that live."""
        return sum(contexts for contexts, _, _ in self._page.living())

    def descriptors(self) -> int:
        """Open files and directories of all processes that live."""
        return sum(descriptors for _, descriptors, _ in self._page.living())

    def calls_in_flight(self) -> int:
        """Calls that have not returned, of all processes that live."""
        return sum(in_flight for _, _, in_flight in self._page.living())

    def callbacks(self) -> tuple[int, int]:
        """How many callbacks were delivered, and how many could not be and lit the operator's console."""
        return self._page.callbacks()

    # Files

    def entries(self, path: str = "/") -> list[Entry]:
        """Everything from a path downwards."""
        self.play()
        with self._transaction():
            return list(entries(self._database, path))

    def entry(self, path: str) -> Entry:
        """What is at a path."""
        self.play()
        with self._transaction():
            return next(entries(self._database, path, below=False))

    def matching(self, patterns: Iterable[str]) -> list[str]:
        """
        Paths of files, by themselves or by patterns (C{*}, C{?}, C{[...]}) that stand for slashes, too, and for names
        that begin with a dot only where the pattern has that.

        @raise SimulatorError: No file fits a pattern.
        """
        found: dict[str, None] = {}
        for pattern in patterns:
            if not _WILD.intersection(pattern) or self._is_file(pattern):
                found[pattern] = None
                continue
            above = re.split(r"[*?\[]", pattern)[0].rpartition("/")[0] or "/"
            fitting = [
                each.path for each in self.entries(above) if each.kind is Kind.FILE and _fits(each.path, pattern)
            ]
            if not fitting:
                raise SimulatorError(f"no file fits {pattern}", -2)
            found.update(dict.fromkeys(fitting))
        return list(found)

    def _is_file(self, path: str) -> bool:
        try:
            self._file(path)
        except SimulatorError:
            return False
        return True

    def _file(self, path: str) -> int:
        with self._lock:
            number = find(self._database, path)
        ((kind,),) = self._rows("SELECT type FROM object WHERE id = ?", number)
        if kind != Kind.FILE.value:
            raise SimulatorError(f"{path} is no file", -22)
        return number

    def read(self, path: str) -> bytes:
        """A file's bytes, wherever they are."""
        number = self._file(path)
        try:
            return (self.directory / "data" / str(number)).read_bytes()
        except FileNotFoundError:  # put in with populate, and never opened
            ((size,),) = self._rows("SELECT size FROM object WHERE id = ?", number)
            return bytes(size)

    def mkdir(self, path: str, *, fileset: int | None = None) -> None:
        """
        See that there is a directory, and all above it.

        @param fileset: If it is made, let a fileset begin there; by itself it belongs to that of its parent, and the
            root to fileset 1.
        """
        now = int(self.clock.now())
        with self._transaction():
            owner = owner_of_principal(self._database)
            make_directories(self._database, parts(path), owner, now, fileset=fileset)

    def write(self, path: str, data: bytes, *, mtime: int | None = None, cos: int | None = None) -> None:
        """
        Put a file in, on disk, with the directories above it; an existing one is written anew.

        @param cos: The class of service of a new one; when left out, the default one, or another that takes the size.
        """
        self.play()
        with self._transaction():
            number = put_file(
                self._database, self.directory / "data", path, data, now=self.clock.now(), mtime=mtime, cos=cos
            )
        self._operate("written", number)

    def populate(
        self,
        count: int,
        size: int | Callable[[str], int],
        prefix: str = "/archive",
        *,
        on_tape: bool = True,
        cos: int | None = None,
        name: Callable[[int], str] = str,
    ) -> list[str]:
        """
        Put many files of zeros in; they take no room.

        @param size: Of each, or a function of its name.
        @param on_tape: Have them on tape only; else they are on disk and on tape.
        @param name: Gives each number from 1 to C{count} a path below the prefix.
        @return: The paths.
        """
        self.play()
        names = [name(number) for number in range(1, count + 1)]
        sizes = size if callable(size) else lambda _name: size
        with self._transaction():
            made = put_many(self._database, prefix, names, sizes, now=self.clock.now(), cos=cos)
        self.play()
        if on_tape:
            with self._transaction():
                self._database.executemany(
                    "DELETE FROM level WHERE object = ? AND level = 0 AND EXISTS"
                    " (SELECT 1 FROM segment s WHERE s.object = level.object AND s.level > 0)",
                    [(number,) for number in made],
                )
        return [f"{prefix.rstrip('/')}/{each}" for each in names]

    def migrate(self, path: str) -> None:
        """Copy a file to tape now."""
        self._operate("migrate", self._file(path))

    def purge(self, path: str) -> None:
        """
        Drop a file's copy on disk.

        @raise SimulatorError: It is the only one, or locked.
        """
        self._operate("purge", self._file(path))

    def stage(self, path: str, *, batch: int = 0) -> None:
        """Ask for a file as another client might; files of one batch are read in tape order."""
        self._operate("stage", self._file(path), batch)

    def stage_all(self, found: list[str], *, batch: bool) -> None:
        """Ask for many files at one moment: in tape order as one batch, or first in, first out."""
        self.play()
        moment = self.clock.now()
        with self._transaction():
            ((number,),) = self._database.execute("SELECT 1 + coalesce(max(batch), 0) FROM request").fetchall()
            self._database.executemany(
                "INSERT INTO operation (due, action, target, value) VALUES (?, 'stage', ?, ?)",
                [(moment, find(self._database, path), number if batch else 0) for path in found],
            )
        self.play()

    def lock(self, path: str) -> None:
        """Protect a file from being purged."""
        self._rows("UPDATE object SET purge_lock = 1 WHERE id = ?", self._file(path))

    def unlock(self, path: str) -> None:
        """Take the protection away."""
        self._rows("UPDATE object SET purge_lock = 0 WHERE id = ?", self._file(path))

    def set_fileset(self, path: str, number: int) -> None:
        """
        Put what is at a path now, and below it, into a fileset, as are the files that clients make there later.

        Files are neither renamed nor linked from one fileset into another.
        """
        found = [(number, entry.number) for entry in self.entries(path)]
        with self._transaction():
            self._database.executemany("UPDATE object SET fileset = ? WHERE id = ?", found)

    # The tape library

    def _require_drive(self, number: int) -> None:
        ((count,),) = self._rows("SELECT count(*) FROM drive")
        if not 0 <= number < count:
            words = f"they are 0 to {count - 1}" if count else "there is none"
            raise SimulatorError(f"there is no drive {number}; {words}", -2, is_told=False)

    def _require_cartridge(self, name: str, after: float) -> None:
        if after <= 0 and name not in [each.name for each in self.cartridges()]:
            raise SimulatorError(f"there is no cartridge {name}", -2, is_told=False)

    def fail_drive(self, number: int, *, after: float = 0) -> None:
        """Break a drive, now or after simulated seconds."""
        self._require_drive(number)
        self._operate("fail_drive", number, after=after)

    def repair_drive(self, number: int, *, after: float = 0) -> None:
        """Make a drive as good as new."""
        self._require_drive(number)
        self._operate("repair_drive", number, after=after)

    def slow_drive(self, number: int, factor: float, *, after: float = 0) -> None:
        """Have a drive take longer for winding and reading, from its next request on."""
        if factor <= 0:
            raise SimulatorError("a drive's slowness is more than 0", -22, is_told=False)
        self._require_drive(number)
        self._operate("slow_drive", number, factor, after=after)

    def lose_cartridge(self, name: str, *, after: float = 0) -> None:
        """Let a cartridge disappear."""
        self._require_cartridge(name, after)
        self._operate("lose_cartridge", name, after=after)

    def restore_cartridge(self, name: str, *, after: float = 0) -> None:
        """Let it be found again."""
        self._require_cartridge(name, after)
        self._operate("restore_cartridge", name, after=after)

    def forget_requests(self, *, after: float = 0) -> None:
        """Drop all stage requests, as a core server that is started anew."""
        self._operate("forget_requests", after=after)

    def requests(self, *, unfinished: bool = False) -> list[Request]:
        """The stage requests, in the order in which they were made."""
        self.play()
        with self._transaction():
            return library.requests(self._database, unfinished=unfinished)

    def drives(self) -> list[Drive]:
        """The drives."""
        self.play()
        with self._transaction():
            return library.drives(self._database)

    def cartridges(self) -> list[Cartridge]:
        """The cartridges that have been written to."""
        self.play()
        with self._transaction():
            return library.cartridges(self._database)

    def mounts(self) -> int:
        """How often a cartridge was mounted."""
        return self.sums().mounts

    def sums(self) -> Sums:
        """What the library has done."""
        self.play()
        with self._transaction():
            return library.sums(self._database)
