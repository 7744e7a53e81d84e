"""Trial servers, started by somebody who only wants to see: several in one directory, and what they leave there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.harness import HOST, TWISTD, Client, Service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


def make_job(service: Service) -> str:
    """Have it make a list of jobs, which an archive on disk has only when somebody asked for one."""
    assert service.ask("PUT", 5, b"five").status in (200, 201)
    body = json.dumps({"files": [5]})
    answer = service.ask("POST", "/jobs", body, {"Content-Type": "application/json"})
    assert answer.status in (200, 201, 202), answer.body
    return str(json.loads(answer.body)["job"])


def archive_of(store: Path) -> str:
    """Whose list it is."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return str(connection.execute("SELECT archive FROM turn").fetchone()[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_several_in_one_directory(tmp_path: Path, serve: Callable[..., Service], workers: int) -> None:
    """Each has its own list, below its own prefix."""
    first = serve(directory=tmp_path, workers=workers)
    job = make_job(first)
    (tmp_path / "other").mkdir()
    second = serve("--prefix", "other", directory=tmp_path, workers=workers)
    make_job(second)
    for prefix in ("archive", "other"):
        store = tmp_path / prefix / ".pacarchive/recall.sqlite"
        assert archive_of(store) == f"posix:{tmp_path}/{prefix}"
        assert store.parent.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.glob("recall*")) == []
    assert [each["job"] for each in first.jobs()] == [job]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_list_beside_the_archive_is_taken_over(tmp_path: Path, serve: Callable[..., Service], workers: int) -> None:
    """Where an earlier version made it; that of another archive stays where it is."""
    old = f"[recall]\nstore = {tmp_path}/recall.sqlite\n"
    first = serve(directory=tmp_path, settings=old)
    job = make_job(first)
    first.kill()
    assert (tmp_path / "recall.sqlite-wal").exists()
    (tmp_path / "other").mkdir()
    other = serve("--prefix", "other", directory=tmp_path, workers=workers)
    make_job(other)
    assert archive_of(tmp_path / "recall.sqlite") == f"posix:{tmp_path}/archive"
    second = serve(directory=tmp_path, workers=workers)
    assert [each["job"] for each in second.jobs()] == [job]
    assert list(tmp_path.glob("recall*")) == []
    assert second.log.count("the list of stage jobs was moved from ") == 1


def test_one_that_is_in_use_stops_the_start(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """By the old server, which still runs."""
    old = serve(directory=tmp_path, settings=f"[recall]\nstore = {tmp_path}/recall.sqlite\n")
    make_job(old)
    new = serve(directory=tmp_path)
    assert new.ends() == 1
    assert f"cannot start: [recall] store: {tmp_path}/recall.sqlite is in use; stop the server" in new.log


def test_a_list_of_another_archive_is_named(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """Where the settings name it."""
    settings = f"[recall]\nstore = {tmp_path}/jobs.sqlite\n"
    make_job(serve(directory=tmp_path, settings=settings))
    (tmp_path / "other").mkdir()
    second = serve("--prefix", "other", directory=tmp_path, settings=settings)
    assert second.ends() == 1
    words = f"{tmp_path}/jobs.sqlite is that of another archive (posix:{tmp_path}/archive): name another one"
    assert f"cannot start: [recall] store: {words}" in second.log


def test_a_broken_list_does_not_keep_files_from_being_served(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """Or removed, where they are all on disk: the same goes for a disk that is too full for a list."""
    (tmp_path / "archive/.pacarchive").mkdir(0o700, parents=True)
    (tmp_path / "archive/.pacarchive/recall.sqlite").write_text("no database" * 1000)
    service = serve(directory=tmp_path)
    assert service.ask("PUT", 5, b"five").status == 201
    assert service.ask("DELETE", 5).status == 200
    answer = service.ask("POST", "/jobs", '{"files": [5]}', {"Content-Type": "application/json"})
    assert (answer.status, str(tmp_path).encode() in answer.body) == (503, False)
    assert "job store: file is not a database" in service.log


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A directory that is under Git, with this project's idea of what is of no interest."""
    shutil.copy(ROOT / ".gitignore", tmp_path)
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    yield tmp_path
    if (tmp_path / "twistd.pid").exists():
        os.kill(int((tmp_path / "twistd.pid").read_text()), signal.SIGKILL)


def test_git_ignores_what_a_trial_leaves(checkout: Path) -> None:
    """In a checkout: the default archive, the log and the process id, and what is below another prefix."""
    (checkout / "trial").mkdir()
    (checkout / "recall.sqlite").touch()  # of an earlier version
    for prefix in ("archive", "trial"):
        options = ["--prefix", prefix] if prefix == "trial" else []
        twistd = [each for each in TWISTD if each not in ("-n", "--pidfile=")]
        command = [*twistd, "pacarchive", "-c", "/dev/null", "-p", "0", "--workers", "2", *options]
        subprocess.run(command, cwd=checkout, check=True)
        log = checkout / "twistd.log"
        serving = until(lambda log=log: log.read_text().partition(f"http://{HOST}:")[2], "it serves")  # type: ignore[misc]
        port = int(serving.partition("/")[0])
        with Client(port) as client:
            body = json.dumps({"files": ["1-3"]})
            assert client.ask("POST", "/jobs", body, {"Content-Type": "application/json"}).status < 300
        os.kill(int((checkout / "twistd.pid").read_text()), signal.SIGTERM)
        until(lambda: not (checkout / "twistd.pid").exists(), "it ends")
        log.rename(checkout / "twistd.log.1")
    shown = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == "A  .gitignore\n"
