"""Taking over the list of stage jobs from where an earlier version had it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.moving import InUse, make_store_directory, take_over
from pacarchive.recall.places import DefaultStore
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import StoreRefused, StoreSettings, StoreUnavailable
from recall.surroundings import ARCHIVE, Surroundings, VirtualReactor, done, logged

_SERVER = """
import os, sqlite3, sys
path, archive, jobs = sys.argv[1:]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE turn (archive)")
connection.execute("INSERT INTO turn VALUES (?)", [archive])
connection.execute("CREATE TABLE jobs (number)")
connection.executemany("INSERT INTO jobs VALUES (?)", [(number,) for number in range(int(jobs))])
os._exit(0)
"""


def make(path: Path, archive: str = ARCHIVE, jobs: int = 3) -> None:
    """A list as a server of an earlier version leaves it when it is killed: most of it is still in the log."""
    subprocess.run([sys.executable, "-c", _SERVER, str(path), archive, str(jobs)], check=True)
    assert os.path.getsize(f"{path}-wal")


def jobs_of(path: Path) -> int:
    """How many are in a list."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT COUNT(*) FROM jobs").fetchone()
        return int(count)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """Where an earlier version has it."""
    (tmp_path / "old").mkdir()
    return tmp_path / "old/recall.sqlite"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where it is to be."""
    (tmp_path / HIDDEN).mkdir(0o700)
    return tmp_path / HIDDEN / "recall.sqlite"


def test_it_moves_with_all_that_it_has(former: Path, store: Path) -> None:
    """What was in the log alone too; nothing is left where it was."""
    make(former)
    take_over(str(former), str(store), ARCHIVE)
    assert (jobs_of(store), os.listdir(former.parent), os.listdir(store.parent)) == (3, [], ["recall.sqlite"])


def test_one_that_is_there_stays(former: Path, store: Path) -> None:
    """The old one is of no interest any more."""
    make(former)
    make(store, jobs=5)
    take_over(str(former), str(store), ARCHIVE)
    assert (jobs_of(former), jobs_of(store)) == (3, 5)


@pytest.mark.parametrize("kind", ["another's", "text", "empty", "directory", "link", "other user's", "none"])
def test_what_is_not_this_archives_is_left_alone(
    former: Path, store: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies there under this name."""
    match kind:
        case "another's":
            make(former, "posix:/other")
        case "text":
            former.write_text("This is no database, and quite long for one that is none.\n" * 100)
        case "empty":
            former.touch()
        case "directory":
            former.mkdir()
        case "link":
            make(former.with_name("real"))
            former.symlink_to("real")
        case "other user's":
            make(former)
            monkeypatch.setattr("os.geteuid", lambda: 4711)
    there = os.path.lexists(former)
    take_over(str(former), str(store), ARCHIVE)
    assert (os.path.lexists(former), os.listdir(store.parent)) == (there, [])


def test_one_in_use_is_not_moved(former: Path, store: Path) -> None:
    """By whoever has it open, writing or not; and it can be used as before."""
    make(former)
    with closing(sqlite3.connect(former, isolation_level=None)) as server:
        server.execute("SELECT * FROM jobs").fetchall()
        with pytest.raises(InUse, match=f"{former} is in use"):
            take_over(str(former), str(store), ARCHIVE)
        server.execute("INSERT INTO jobs VALUES (7)")
    assert (jobs_of(former), os.path.lexists(store)) == (4, False)
    take_over(str(former), str(store), ARCHIVE)
    assert jobs_of(store) == 4


def test_a_move_that_fails_changes_nothing(former: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing at the new place; the next one works."""
    make(former)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.rename", full)
        with pytest.raises(OSError, match="No space"):
            take_over(str(former), str(store), ARCHIVE)
    assert (jobs_of(former), os.listdir(store.parent)) == (3, [])
    take_over(str(former), str(store), ARCHIVE)
    assert jobs_of(store) == 3


def test_workers_that_start_together(former: Path, store: Path) -> None:
    """One of them moves it, and the others find it there."""
    make(former, jobs=1000)
    failures: list[BaseException] = []
    barrier = Barrier(8)

    def start() -> None:
        barrier.wait()
        try:
            take_over(str(former), str(store), ARCHIVE)
            assert jobs_of(store) == 1000
        except BaseException as error:  # noqa: BLE001  (told by the test's own thread)
            failures.append(error)

    threads = [Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []


@pytest.mark.parametrize("planted", ["link", "file", "other user's"])
def test_a_directory_of_somebody_elses_is_refused(
    tmp_path: Path, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made behind a link."""
    (tmp_path / "elsewhere").mkdir()
    match planted:
        case "link":
            (tmp_path / HIDDEN).symlink_to("elsewhere")
        case "file":
            (tmp_path / HIDDEN).touch()
        case _:
            (tmp_path / HIDDEN).mkdir()
            monkeypatch.setattr("os.geteuid", lambda: 4711)
    path = str(tmp_path / HIDDEN / "recall.sqlite")
    settings = StoreSettings(address=path, archive=ARCHIVE, default=DefaultStore(path, True, ""))
    with logged() as log, pytest.raises(StoreUnavailable):
        make_store_directory(settings)
    assert log == [f"{tmp_path}/{HIDDEN} is not a directory of this user"]
    assert os.listdir(tmp_path / "elsewhere") == []


async def _wait(deferred: Deferred[None]) -> None:
    await deferred


class TestEngine:
    """An engine whose store nobody has named."""

    @pytest.fixture
    def start(self, locally: Surroundings, tmp_path: Path) -> Iterator[Callable[..., RecallEngine]]:
        """Starts engines one after the other, each as a process of its own would."""
        started: list[RecallEngine] = []
        place = DefaultStore(str(tmp_path / HIDDEN / "recall.sqlite"), True, str(tmp_path / "recall.sqlite"))

        def start(archive: str = ARCHIVE, backend: object = locally.tapes) -> RecallEngine:
            while started:
                done(_wait(started.pop().stopService()))
            reactor = VirtualReactor()
            settings = RecallSettings(store=place.path, default_store=place)
            engine = RecallEngine(reactor, cast("Any", backend), settings, archive, reactor.make_pool)
            started.append(engine)
            done(_wait(engine.startService()))
            return engine

        yield start
        while started:
            done(_wait(started.pop().stopService()))

    def test_makes_its_directory(self, start: Callable[..., RecallEngine], tmp_path: Path) -> None:
        start()
        assert (tmp_path / HIDDEN).stat().st_mode & 0o777 == 0o700
        assert (tmp_path / HIDDEN / "recall.sqlite").exists()

    def test_may_be_mounted_elsewhere(self, start: Callable[..., RecallEngine]) -> None:
        start()
        start("memory:/mnt/archive")
        start()

    def test_over_an_archive_on_disk_makes_none(self, start: Callable[..., RecallEngine], tmp_path: Path) -> None:
        make(tmp_path / "recall.sqlite", "posix:/other")
        start(backend=object())
        assert not (tmp_path / HIDDEN / "recall.sqlite").exists()

    @pytest.mark.parametrize("on_disk", [True, False])
    def test_whose_store_is_broken(
        self, start: Callable[..., RecallEngine], tmp_path: Path, locally: Surroundings, on_disk: bool
    ) -> None:
        # What serves files from disk does so all the same: a full disk must not keep anybody from deleting.
        (tmp_path / HIDDEN).mkdir(0o700)
        (tmp_path / HIDDEN / "recall.sqlite").write_text("no database" * 1000)
        with logged() as log:
            if on_disk:
                assert start(backend=object()).obstacle == "The list of recalls does not answer."
            else:
                with pytest.raises(StoreUnavailable):
                    start(backend=locally.tapes)
        assert log == ["file is not a database"]

    def test_whose_former_store_is_in_use(self, start: Callable[..., RecallEngine], tmp_path: Path) -> None:
        make(tmp_path / "recall.sqlite")
        with closing(sqlite3.connect(tmp_path / "recall.sqlite")) as server:
            server.execute("SELECT * FROM jobs").fetchall()
            with pytest.raises(StoreRefused) as caught:
                start(backend=object())
        assert str(tmp_path) not in str(caught.value), "clients may see it"
        assert f"{tmp_path}/recall.sqlite is in use" in str(caught.value.__cause__)
