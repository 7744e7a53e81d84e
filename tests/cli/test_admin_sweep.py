"""C{pacarchive admin sweep}: what is removed from among the temporaries, and what stays."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING

import pytest

from pacarchive.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def temporaries(tmp_path: Path) -> Iterator[Path]:
    """Those of an archive: two whose writer is gone, and one whose writer holds its lock."""
    directory = tmp_path / "archive/.pacarchive/tmp"
    directory.mkdir(parents=True)
    for name, size in (("one", 1000), ("two", 5)):
        (directory / name).write_bytes(bytes(size))
    with open(directory / "living", "wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        yield directory


def test_what_is_left_over_goes(temporaries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what is being written stays."""
    prefix = str(temporaries.parents[1])
    assert main(["admin", "sweep", "--prefix", prefix]) == 0
    assert os.listdir(temporaries) == ["living"]
    out = capsys.readouterr().out
    assert ".pacarchive/tmp/one  1,000 bytes, " in out
    assert out.endswith("2 left over, 1,005 bytes: 2 removed, 0 not removed\n")
    assert main(["admin", "sweep", "--prefix", prefix]) == 0
    assert capsys.readouterr().out == "0 left over, 0 bytes: 0 removed, 0 not removed\n"


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_dry_run_changes_nothing(temporaries: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    """It lists what would go, with size and age."""
    os.utime(temporaries / "one")
    assert main(["admin", "sweep", "--dry-run", "--prefix", str(temporaries.parents[1]), *more]) == 0
    assert sorted(os.listdir(temporaries)) == ["living", "one", "two"]
    out = capsys.readouterr().out
    if not more:
        assert out.count(" old: would be removed\n") == 2
        return
    *found, summary = map(json.loads, out.splitlines())
    assert {(each["path"], each["size"], each["removed"]) for each in found} == {
        (".pacarchive/tmp/one", 1000, False), (".pacarchive/tmp/two", 5, False)
    }  # fmt: skip
    assert all(0 <= each["age"] < 600 for each in found)
    assert summary == {"summary": {"found": 2, "bytes": 1005, "removed": 0, "failed": 0}}


def test_an_archive_that_was_never_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing, and nothing is made."""
    assert main(["admin", "sweep", "--prefix", str(tmp_path)]) == 0
    assert "0 left over" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []


def test_no_link_is_followed(tmp_path: Path, temporaries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a planted link leads to is not swept."""
    prefix = tmp_path / "other"
    (prefix / ".pacarchive").mkdir(parents=True)
    (prefix / ".pacarchive/tmp").symlink_to(temporaries)
    assert main(["admin", "sweep", "--prefix", str(prefix)]) == 2
    assert f"{prefix}/.pacarchive/tmp: is a symbolic link" in capsys.readouterr().err
    assert sorted(os.listdir(temporaries)) == ["living", "one", "two"]


def test_what_is_no_file_stays(temporaries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No writer makes directories, links or pipes; they neither stop the sweep nor are removed."""
    (temporaries / "directory").mkdir()
    (temporaries / "link").symlink_to("one")
    os.mkfifo(temporaries / "pipe")
    assert main(["admin", "sweep", "--prefix", str(temporaries.parents[1])]) == 0
    assert "2 removed, 0 not removed" in capsys.readouterr().out
    assert sorted(os.listdir(temporaries)) == ["directory", "link", "living", "pipe"]


def test_other_backends_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit code 2 where nobody knows what there is to sweep."""
    settings = tmp_path / "settings.ini"
    settings.write_text(f"[server]\ntype = memory\nprefix = {tmp_path}\n")
    assert main(["admin", "sweep", "-c", str(settings)]) == 2
    assert "of type memory" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["locks/01", "locks/digests"])
def test_what_is_in_the_way_is_named(temporaries: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its whole path."""
    place = temporaries.parent / name
    place.parent.mkdir()
    place.symlink_to("nothing")
    assert main(["admin", "sweep", "--prefix", str(temporaries.parents[1])]) == 1
    assert capsys.readouterr().err == f"pacarchive: {place}: Too many levels of symbolic links\n"
    assert sorted(os.listdir(temporaries)) == ["living", "one", "two"]
