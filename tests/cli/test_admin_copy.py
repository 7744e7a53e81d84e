"""C{pacarchive admin copy}: between doubles, on a clock that is moved."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pacarchive import errors
from pacarchive.backends.memory import MemoryArchive
from pacarchive.cli.admin import copying
from pacarchive.cli.admin.copying import Copying, Counts, Pace, side_of
from pacarchive.digests import Hasher
from pacarchive.model import FileStatus, InventoryPage, Locality, WriteConditions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from pathlib import Path

    from pacarchive.interfaces import IIncomingFile, IStoredFile

KIB = 1024
MTIME = 981173096_123456789
ANYHOW = WriteConditions()


def ended(work: Coroutine[Any, Any, Any], clock: Clock | None = None) -> Any:
    """The result of work that needs nothing but time."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    while not results and clock is not None:
        clock.advance(0.25)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def put(archive: MemoryArchive, **files: bytes) -> None:
    """Store files, whose names are an C{f} and the id."""

    async def store() -> None:
        for name, data in files.items():
            incoming = await archive.receive(int(name[1:]), len(data), ANYHOW, ())
            await incoming.write([data])
            await incoming.commit(MTIME, {})

    ended(store())


def contents(archive: MemoryArchive) -> dict[int, tuple[bytes, int]]:
    """The bytes and times of all files."""

    async def look() -> dict[int, tuple[bytes, int]]:
        found = {}
        for file_id in (await archive.inventory("", 1000)).files:
            stored = await archive.open(file_id)
            found[file_id] = await stored.read(0, stored.status.size), stored.status.mtime_ns
        return found

    found: dict[int, tuple[bytes, int]] = ended(look())
    return found


@attrs.define(eq=False)
class Site:
    """Two archives, and what was told while files were copied."""

    clock: Clock = attrs.field(factory=Clock)
    source: MemoryArchive = attrs.field(default=attrs.Factory(lambda self: MemoryArchive(self.clock), takes_self=True))
    target: MemoryArchive = attrs.field(default=attrs.Factory(lambda self: MemoryArchive(self.clock), takes_self=True))
    refused: dict[int, tuple[str, str]] = attrs.field(factory=dict)
    read: int = 0
    stops: Callable[[], bool] = lambda: False

    def copy(self, *, rate: float | None = None, jobs: int = 3, trial: bool = False) -> Counts:
        """Copy all."""
        task = self.task(rate=rate, jobs=jobs, trial=trial)
        ended(task.run(), self.clock)
        return task.counts

    def task(self, *, rate: float | None = None, jobs: int = 3, trial: bool = False) -> Copying:
        """The copying, not begun."""
        self.refused.clear()
        self.read = 0

        def refuse(file_id: int, error: errors.ArchiveError) -> None:
            self.refused[file_id] = type(error).__name__, side_of(error)

        def moved(status: FileStatus, size: int | None) -> None:
            self.read += size or 0

        return Copying(
            source=self.source, target=self.target, pace=Pace(rate, self.clock, self.stops), jobs=jobs, trial=trial,
            stopped=self.stops, refused=refuse, moved=moved,
        )  # fmt: skip


class Wrapped:
    """A file that is read or written, to have something else done to it."""

    status: Any

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_all_files() -> None:
    """Bytes and times; and then there is nothing left to do, and nothing is read."""
    site = Site()
    put(site.source, f0=b"", f5=b"five", f6=bytes(64 * KIB), f18446744073709551615=b"last")
    put(site.target, f7=b"another")
    counts = site.copy()
    assert counts == Counts(copied=4, bytes=64 * KIB + 8, complete=True)
    assert contents(site.target) == {**contents(site.source), 7: (b"another", MTIME)}
    assert site.copy() == Counts(there=4, complete=True)
    assert (site.read, site.refused) == (0, {})


def test_a_trial() -> None:
    """Counts what would be done, and does nothing."""
    site = Site()
    put(site.source, f1=b"one", f2=b"two", f3=b"three")
    put(site.target, f2=b"two", f3=b"other")
    before = contents(site.target)
    assert site.copy(trial=True) == Counts(copied=1, bytes=3, there=1, failed=1, complete=True)
    assert (contents(site.target), site.read, site.refused) == (before, 0, {3: ("Conflict", "")})


def test_other_files() -> None:
    """What the target has is never replaced, whether the size is the same or not."""
    site = Site()
    put(site.source, f1=b"one", f2=b"two", f3=b"three")
    put(site.target, f1=b"eno", f2=b"zwei")
    counts = site.copy()
    assert (counts.copied, counts.failed, counts.complete) == (1, 2, True)
    assert site.refused == {1: ("Conflict", ""), 2: ("Conflict", "")}
    assert {file_id: data for file_id, (data, _) in contents(site.target).items()} == {
        1: b"eno",
        2: b"zwei",
        3: b"three",
    }


@pytest.mark.parametrize("data", [b"five", b"evif"])
def test_somebody_is_faster(data: bytes) -> None:
    """A file that appears in the target meanwhile is compared, not replaced."""
    site = Site()

    class Raced(MemoryArchive):
        async def receive(
            self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
        ) -> IIncomingFile:
            incoming = await super().receive(file_id, size, conditions, algorithms)
            other = await super().receive(file_id, size, ANYHOW, ())
            await other.write([data])
            await other.commit(1, {})
            return incoming

    site.target = Raced(site.clock)
    put(site.source, f5=b"five")
    counts = site.copy()
    assert (counts.there, counts.failed) == ((1, 0) if data == b"five" else (0, 1))
    assert contents(site.target) == {5: (data, 1)}


def test_damaged_in_the_source() -> None:
    """Bytes that are not those of the stored digest are not stored anywhere else."""

    class Damaged(MemoryArchive):
        async def open(self, file_id: int) -> IStoredFile:
            class Read(Wrapped):
                async def read(self, offset: int, length: int) -> bytes:
                    data: bytes = await self._real.read(offset, length)
                    return b"x" + data[1:] if file_id == 5 else data

            return Read(await super().open(file_id))  # type: ignore[return-value]

    site = Site()
    site.source = Damaged(site.clock)
    put(site.source, f5=b"five", f6=b"six")
    counts = site.copy()
    assert (counts.copied, counts.failed) == (1, 1)
    assert site.refused == {5: ("DigestMismatch", "the source")}
    assert contents(site.target).keys() == {6}


def test_damaged_on_the_way() -> None:
    """A target that says that it has stored other bytes is believed."""

    class Damaging(MemoryArchive):
        async def receive(
            self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
        ) -> IIncomingFile:
            class Written(Wrapped):
                async def commit(self, mtime_ns: int | None, expected: object) -> FileStatus:
                    status: FileStatus = await self._real.commit(mtime_ns, expected)
                    return attrs.evolve(status, digests={"sha256": bytes(32)})

            return Written(await super().receive(file_id, size, conditions, algorithms))  # type: ignore[return-value]

    site = Site()
    site.target = Damaging(site.clock)
    put(site.source, f5=b"five")
    counts = site.copy()
    assert (counts.copied, counts.failed) == (0, 1)
    assert site.refused == {5: ("DigestMismatch", "the target")}


class Undigested(MemoryArchive):
    """An archive whose files have no digest until somebody has read them; the ids that have one are kept apart."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.known: set[int] = set()

    async def status(self, file_id: int) -> FileStatus:
        return self._without(await super().status(file_id))

    async def inventory(self, place: str, most: int, **options: Any) -> InventoryPage:
        page = await super().inventory(place, most, **options)
        return attrs.evolve(page, files={each: self._without(status) for each, status in page.files.items()})  # type: ignore[arg-type]

    async def open(self, file_id: int) -> IStoredFile:
        archive = self

        class Read(Wrapped):
            async def remember(self, digests: dict[str, bytes]) -> None:
                assert digests["sha256"] == self._real.status.digests["sha256"]
                archive.known.add(file_id)

        stored = Read(await super().open(file_id))
        stored.status = self._without(stored.status)
        return stored  # type: ignore[return-value]

    def _without(self, status: FileStatus) -> FileStatus:
        return status if status.file_id in self.known else attrs.evolve(status, digests={})


def test_files_without_digests() -> None:
    """They get one by being copied; and those of the target are read once, to compare them."""
    site = Site()
    site.source, site.target = Undigested(site.clock), Undigested(site.clock)
    put(site.source, f5=b"five", f6=b"six", f7=b"7")
    put(site.target, f6=b"six", f7=b"8")
    assert site.copy(trial=True) == Counts(copied=1, bytes=4, compared=2, complete=True)
    assert site.source.known == set()
    counts = site.copy()
    assert (counts.copied, counts.there, site.refused) == (1, 1, {7: ("Conflict", "")})
    assert (site.source.known, site.target.known) == ({5, 6, 7}, {6, 7})
    site.target.known.add(5)
    assert site.copy() == Counts(there=2, failed=1, complete=True)
    assert site.read == 0


def test_files_on_tape() -> None:
    """They are named, and not opened where that is known before; nothing is recalled."""

    class Tape(MemoryArchive):
        opened: list[int] = []  # noqa: RUF012

        async def inventory(self, place: str, most: int, **options: Any) -> InventoryPage:
            page = await super().inventory(place, most, **options)
            on_tape = attrs.evolve(await self.status(5), locality=Locality.TAPE)
            return attrs.evolve(page, files={**page.files, 5: on_tape})

        async def open(self, file_id: int) -> IStoredFile:
            self.opened.append(file_id)
            if file_id == 6:
                raise errors.Offline("It is on tape.", job=None, retry_after=10)
            return await super().open(file_id)

    site = Site()
    site.source = Tape(site.clock)
    put(site.source, f5=b"five", f6=b"six", f7=b"7")
    assert site.copy() == Counts(copied=1, bytes=1, on_tape=2, complete=True)
    assert site.refused == {5: ("Offline", ""), 6: ("Offline", "the source")}
    assert sorted(Tape.opened) == [6, 7]


def test_removed_meanwhile() -> None:
    """A file that goes away after it was listed is no failure."""

    class Removing(MemoryArchive):
        async def open(self, file_id: int) -> IStoredFile:
            await self.remove(file_id, ANYHOW)
            return await super().open(file_id)

    site = Site()
    site.source = Removing(site.clock)
    put(site.source, f5=b"five")
    assert site.copy() == Counts(gone=1, complete=True)
    assert site.refused == {}


class Failing(MemoryArchive):
    """One that takes some files, and then no more."""

    good: int = 0
    error: errors.ArchiveError = errors.NoSpace("The storage is full.")
    tried: int = 0

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        self.tried += 1
        if self.tried > self.good:
            raise type(self.error)("No more.")
        return await super().receive(file_id, size, conditions, algorithms)


@pytest.mark.parametrize("error", [errors.NoSpace("x"), errors.BackendUnavailable("x")], ids=["full", "silent"])
def test_no_more_is_tried_in_vain(error: errors.ArchiveError) -> None:
    """A target that is full, or does not answer, ends it; it goes on from there when that is over."""
    site = Site()
    site.target = Failing(site.clock)
    site.target.good, site.target.error = 300, error
    put(site.source, **{f"f{number}": b"x" for number in range(500)})
    task = site.task(jobs=1)
    with pytest.raises(type(error), match="No more"):
        ended(task.run())
    assert task.counts == Counts(copied=300, bytes=300, failed=copying.GIVE_UP)
    site.target.good = 10**6
    assert site.copy() == Counts(copied=200, bytes=200, there=300, complete=True)


def test_the_source_ends_its_list_early() -> None:
    """That is told of, by all who wait for the list; what was listed is copied."""

    class Broken(MemoryArchive):
        async def inventory(self, place: str, most: int, **options: Any) -> InventoryPage:
            if place:
                raise errors.BackendUnavailable("It is broken.")
            return await super().inventory(place, most, **options)

    site = Site()
    site.source = Broken(site.clock)
    put(site.source, **{f"f{number}": b"x" for number in range(copying.PAGE + 5)})
    task = site.task()
    with pytest.raises(errors.BackendUnavailable, match="broken") as caught:
        ended(task.run())
    assert side_of(caught.value) == "the source"
    assert (task.counts.copied, task.counts.complete) == (copying.PAGE, False)


def test_the_rate() -> None:
    """All files together come no faster than that, in small pieces."""
    site = Site()
    put(site.source, **{f"f{number}": bytes(256 * KIB) for number in range(4)})
    counts = site.copy(rate=64 * KIB, jobs=4)
    assert counts.copied == 4
    assert 14.5 <= site.clock.seconds() <= 16.5  # the first piece is read at once
    assert contents(site.target) == contents(site.source)


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_stopped_amid_a_file(pieces: int) -> None:
    """Nothing of it is visible, and the target has let go of it; the same again copies it."""
    aborted: list[int] = []

    class Watched(MemoryArchive):
        async def receive(
            self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
        ) -> IIncomingFile:
            class Written(Wrapped):
                async def abort(self) -> None:
                    aborted.append(file_id)
                    await self._real.abort()

            return Written(await super().receive(file_id, size, conditions, algorithms))  # type: ignore[return-value]

    site = Site()
    site.target = Watched(site.clock)
    put(site.source, f5=bytes(256 * KIB), f6=bytes(256 * KIB))
    site.stops = lambda: site.read >= pieces * 64 * KIB and site.clock.seconds() > 0
    counts = site.copy(rate=64 * KIB, jobs=1)
    assert (counts.copied, counts.complete, site.refused) == (0, False, {})
    assert (contents(site.target), aborted) == ({}, [5])
    assert site.clock.seconds() < 5
    site.stops = lambda: False
    assert site.copy(rate=256 * KIB).copied == 2


class Endless(MemoryArchive):
    """An archive of so many equal files, which are nowhere in memory."""

    def __init__(self, clock: Clock, files: int) -> None:
        super().__init__(clock)
        self._files = files
        self.publish(0, b"data", MTIME, _digests(b"data"), ANYHOW)
        self._one = ended(super().status(0))

    async def inventory(self, place: str, most: int, **_: Any) -> InventoryPage:
        first = int(place or 0)
        end = min(first + most, self._files)
        some = {each: attrs.evolve(self._one, file_id=each) for each in range(first, end)}
        return InventoryPage(some, str(end) if end < self._files else None)

    async def open(self, file_id: int) -> IStoredFile:
        return await super().open(0)


class Forgetting(MemoryArchive):
    """A target that keeps nothing of what it has stored."""

    def publish(self, file_id: int, *rest: Any) -> FileStatus:
        status: FileStatus = super().publish(file_id, *rest)
        del self._versions[file_id]
        return status


def _digests(data: bytes) -> dict[str, bytes]:
    hasher = Hasher({"sha256"})
    hasher.update(data)
    return hasher.digests()


def test_memory_does_not_grow() -> None:
    """Ten times as many files need no more of it."""

    def peak(files: int) -> int:
        site = Site()
        site.source, site.target = Endless(site.clock, files), Forgetting(site.clock)
        tracemalloc.reset_peak()
        assert site.copy().copied == files
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(300)
        few, many = peak(300), peak(3000)
    finally:
        tracemalloc.stop()
    assert many < few + 100 * KIB


# The command


def run(directory: Path, *options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A process, as the reactor runs once in each."""
    command = "import sys; from pacarchive.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", command, "admin", "copy", *options], cwd=directory,
        env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Two, and their settings: C{old.ini} and C{new.ini}."""
    for name, layout in (("old", "false"), ("new", "true")):
        (tmp_path / name).mkdir()
        words = f"[server]\nprefix = {name}\ndurability = relaxed\n[posix]\nuse_id2filename = {layout}\n"
        (tmp_path / f"{name}.ini").write_text(words)
    for file_id in (5, 300, 12345):
        (tmp_path / "old" / str(file_id)).write_bytes(b"data%d" % file_id)
        os.utime(tmp_path / "old" / str(file_id), ns=(MTIME, MTIME))
    return tmp_path


def test_between_directories(archives: Path) -> None:
    """Into the other layout, with times and digests, of files that had none."""
    done = run(archives, "-c", "old.ini", "--to", "new.ini", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "3 files would be copied, 21 B (21 bytes), 0 there already\n")
    assert not (archives / "new/39/3039").exists()
    done = run(archives, "-c", "old.ini", "--to", "new.ini")
    assert (done.returncode, done.stdout) == (0, "3 files copied, 21 B (21 bytes), 0 there already\n"), done.stderr
    place = archives / "new/39/3039"
    assert (place.read_bytes(), place.stat().st_mtime_ns) == (b"data12345", MTIME)
    for each in (place, archives / "old/12345"):
        assert os.getxattr(each, "user.pacarchive.sha256") == hashlib.sha256(b"data12345").digest()
    done = run(archives, "-c", "old.ini", "--to", "new.ini", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert '{"summary": {"copied": 0, "bytes": 0, "there": 3, ' in done.stdout


def test_a_conflict(archives: Path) -> None:
    """It is named, makes the exit code 1, and nothing is changed."""
    (archives / "new/file.5").write_text("x")
    done = run(archives, "-c", "old.ini", "--to", "new.ini")
    assert (done.returncode, done.stdout) == (1, "2 files copied, 16 B (16 bytes), 0 there already, 1 not copied\n")
    assert "pacarchive: file 5: not copied: the target has another file of this id, of 1 byte, not 5\n" in done.stderr
    assert (archives / "new/file.5").read_text() == "x"
    done = run(archives, "-c", "old.ini", "--to", "new.ini", "--json")
    assert '{"file": "5", "error": {"kind": "Conflict", ' in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "old.ini"], "names the same archive"),
        (["--to", "absent.ini"], "absent.ini"),
        ([], "--to"),
        (["--to", "new.ini", "--rate", "0"], "is not a valid rate"),
        (["--to", "new.ini", "--rate", "nan"], "is not a valid rate"),
        (["--to", "new.ini", "--jobs", "0"], "is not a valid number"),
    ],
    ids=["itself", "absent", "nowhere", "no rate", "nan", "no jobs"],
)
def test_wrong_use(archives: Path, options: Sequence[str], words: str) -> None:
    """Words, and exit code 2."""
    done = run(archives, "-c", "old.ini", *options)
    assert done.returncode == 2
    assert words in done.stderr


def test_the_environment_is_about_the_source(archives: Path) -> None:
    """A prefix in the environment does not make both archives the same one."""
    done = run(archives, "-c", "old.ini", "--to", "new.ini", environment={"PAI_PREFIX": str(archives / "old")})
    assert (done.returncode, done.stdout[:15]) == (0, "3 files copied,")
