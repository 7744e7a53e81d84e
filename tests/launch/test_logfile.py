"""The log file: written by name, opened again, never renamed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from pacarchive.launch.logfile import LogFile, log_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., LogFile | None]]:
    """Opens log files, and closes them at the end."""
    files: list[LogFile] = []

    def open_for(**twistd: Any) -> LogFile | None:
        made = log_file({"syslog": 0, "logger": None, "logfile": None, "nodaemon": 0, **twistd})
        files.extend([] if made is None else [made])
        return made

    yield open_for
    for each in files:
        each.close()


@pytest.fixture
def log(opened: Callable[..., LogFile | None], tmp_path: Path) -> LogFile:
    """One."""
    made = opened(logfile=str(tmp_path / "log"))
    assert made is not None
    return made


def test_it_grows_and_keeps_its_name(log: LogFile, tmp_path: Path) -> None:
    """Whatever its size; logrotate knows when it is large enough."""
    for _ in range(3):
        log.write("x" * 1_000_000 + "\n")
        log.flush()
    assert os.listdir(tmp_path) == ["log"]
    assert (tmp_path / "log").stat().st_size == 3_000_003


def test_all_of_a_line_is_written(log: LogFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the kernel takes it in pieces, and whatever characters it has."""
    write = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: write(descriptor, data[:3]))
    log.write("Köln \udce9 wörtlich\n")
    monkeypatch.undo()
    assert (tmp_path / "log").read_text() == "Köln \\udce9 wörtlich\n"


def test_the_new_file_has_the_mode_of_the_old(log: LogFile, tmp_path: Path) -> None:
    """Whatever the umask; but one that is there already keeps its own."""
    (tmp_path / "log").chmod(0o640)
    before = os.umask(0o077)
    try:
        (tmp_path / "log").rename(tmp_path / "log.1")
        log.reopen()
        log.write("new\n")
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640
        (tmp_path / "log").rename(tmp_path / "log.2")
        (tmp_path / "log").touch(0o600)
        log.reopen()
        log.write("newer\n")
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert [(tmp_path / name).read_text() for name in ("log.1", "log.2", "log")] == ["", "new\n", "newer\n"]


def test_no_descriptor_is_left(log: LogFile) -> None:
    """However often it is opened again, and whether or not that works."""
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        log.reopen()
    os.unlink(log.path)
    os.mkdir(log.path)
    with pytest.raises(IsADirectoryError):
        log.reopen()
    log.write("goes on\n")
    assert os.listdir("/proc/self/fd") == before


def test_where_twistd_would_write_one(
    opened: Callable[..., LogFile | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nowhere else; its path is that of the directory that twistd was started in."""
    monkeypatch.chdir(tmp_path)
    for options in ({"syslog": 1}, {"logger": print}, {"logfile": "-"}, {"nodaemon": 1}):
        assert opened(**options) is None
    assert log_file(None) is None
    made = opened(logfile="own.log", nodaemon=1)
    assert made is not None
    assert made.path == str(tmp_path / "own.log")
    made = opened()
    assert made is not None
    assert made.path == str(tmp_path / "twistd.log")
