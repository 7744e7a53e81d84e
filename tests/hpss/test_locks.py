"""One writer at a time for each id: among threads, among processes, and after a holder's death."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from pacarchive import errors
from pacarchive.backends.hpss import locks
from pacarchive.backends.hpss.locks import IdLocks

PATIENCE = 30.0

HOLDER = """
import sys
from pacarchive.backends.hpss import locks
locks._DIRECTORIES = (sys.argv[1],)
with locks.IdLocks("/archive").held(int(sys.argv[2])):
    print("held", flush=True)
    input()
print("free", flush=True)
input()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the lock files, so that none outlives the test."""
    monkeypatch.setattr(locks, "_DIRECTORIES", ("/no/such/directory", str(tmp_path)))
    return tmp_path


def is_free(file_id: int, archive: str = "/archive") -> bool:
    """Whether an id can be had at once."""
    clock = count(step=1000)
    try:
        with IdLocks(archive).held(file_id, monotonic=lambda: next(clock), sleep=lambda _: None):
            return True
    except errors.BackendUnavailable:
        return False


@contextmanager
def another_process(place: Path, file_id: int) -> Iterator[subprocess.Popen[str]]:
    """A process that holds an id until it reads a line."""
    command = [sys.executable, "-c", HOLDER, str(place), str(file_id)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert said(process) == "held"
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that a process writes."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("file_id", [0, 1, 2**31, 2**62 - 1, 2**62, 2**63, 2**64 - 1, 10**30])
def test_an_id_is_held_once(file_id: int) -> None:
    """Also by one process, which may have many threads; every id there can be."""
    with IdLocks("/archive").held(file_id):
        assert not is_free(file_id)
    assert is_free(file_id)


def test_other_ids_and_other_archives_are_free() -> None:
    """Neighbours too."""
    with IdLocks("/archive").held(7):
        assert is_free(6)
        assert is_free(8)
        assert is_free(0)
        assert is_free(7, "/archive2")
        with IdLocks("/archive").held(8):
            assert not is_free(7)
        assert not is_free(7), "the end of one lock must not take the other with it"


def test_a_lock_ends_with_an_error() -> None:
    """Of its holder."""
    with pytest.raises(OSError, match="words"), IdLocks("/archive").held(7):
        raise OSError("words")
    assert is_free(7)


def test_threads_exclude_each_other() -> None:
    """With one object, as the threads of a pool have it."""
    shared, inside, most, turns = IdLocks("/archive"), [0], [0], 20

    def work() -> None:
        for _ in range(turns):
            with shared.held(7):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                os.sched_yield()
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert (most[0], inside[0]) == (1, 0)


def test_processes_exclude_each_other(place: Path) -> None:
    """By id; one gets what the other gives back."""
    with another_process(place, 7) as process:
        assert not is_free(7)
        assert is_free(8)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        with IdLocks("/archive").held(7):  # waits its turn
            assert said(process) == "free"


def test_a_killed_holder_holds_nothing(place: Path) -> None:
    """The kernel sees to it, whatever the process was doing."""
    with another_process(place, 7) as process:
        assert not is_free(7)
        process.kill()
        process.wait(PATIENCE)
        assert is_free(7)


def test_a_child_does_not_inherit_the_lock() -> None:
    """A program that is started while it is held does not keep it."""
    with IdLocks("/archive").held(7):
        child = subprocess.Popen(["sleep", str(PATIENCE)], close_fds=False)
    try:
        assert is_free(7)
    finally:
        child.kill()
        child.wait()


def test_patience_has_an_end() -> None:
    """It is 30 seconds, looked for now and then; nothing stays open afterwards."""
    times, naps = [100.0], list[float]()

    def nap(seconds: float) -> None:
        naps.append(seconds)
        times[0] += 7.0

    before = sorted(os.listdir("/proc/self/fd"))
    with IdLocks("/archive").held(7):
        waiting = IdLocks("/archive").held(7, monotonic=lambda: times[0], sleep=nap)
        with pytest.raises(errors.BackendUnavailable), waiting:
            raise AssertionError("two hold the same id")
    assert times == [135.0]
    assert 0 < max(naps) < 0.1
    assert sorted(os.listdir("/proc/self/fd")) == before


# the lock file


def test_the_lock_file_is_its_users_own(place: Path) -> None:
    """It is made by the first who looks, for nobody else, and stays empty."""
    IdLocks("/archive").check()
    (file,) = place.iterdir()
    assert (file.stat().st_mode, file.stat().st_size) == (0o100600, 0)
    with IdLocks("/archive").held(7):
        pass
    assert list(place.iterdir()) == [file]
    assert file.stat().st_size == 0


def test_a_lock_file_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """He could hold all its locks for ever."""
    IdLocks("/archive").check()
    mine = IdLocks("/archive")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert_refused(mine, "is not this user's own file")


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_what_is_no_file_is_refused(place: Path, kind: str) -> None:
    """Somebody has put it there."""
    IdLocks("/archive").check()
    (file,) = place.iterdir()
    file.unlink()
    if kind == "link":
        file.symlink_to(place / "elsewhere")
    elif kind == "directory":
        file.mkdir()
    else:
        os.mkfifo(file)
    before = sorted(os.listdir("/proc/self/fd"))
    assert_refused(IdLocks("/archive"), str(file))
    assert not (place / "elsewhere").exists()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_place_that_cannot_be_written_to_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With words for the operator."""
    mine = IdLocks("/archive")
    monkeypatch.setattr(os, "open", _no_room)
    assert_refused(mine, "No space left on device")


def _no_room(*_: object) -> int:
    raise OSError(28, "No space left on device")


def assert_refused(refused: IdLocks, words: str) -> None:
    """See that neither the check at the start nor a writer gets by."""
    with pytest.raises(errors.BackendUnavailable, match=words):
        refused.check()
    with pytest.raises(errors.BackendUnavailable, match=words), refused.held(7):
        raise AssertionError("held")


def test_those_that_are_free_are_had_without_waiting(place: Path) -> None:
    """Whoever asks for many leaves those out that others hold, in this process or another."""
    mine, other = IdLocks("/archive"), IdLocks("/archive")
    with another_process(place, 7), mine.held_where_free([1, 2, 2]) as held:
        assert held == [1, 2]
        with other.held_where_free([3, 2, 7, 1]) as rest:
            assert rest == [3]
            assert not is_free(3)
        assert is_free(3)
        assert not is_free(1)
    assert is_free(1)
    assert is_free(2)
