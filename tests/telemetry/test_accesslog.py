"""The access log, with real threads and files."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.task import deferLater

from pacarchive.backends.contract.handling import in_reactor
from pacarchive.telemetry.accesslog import MOST, AccessLog
from pacarchive.telemetry.counts import Counts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DROPPED = ("log_lines_dropped_total", "access")


@in_reactor
async def test_all_lines_are_written(tmp_path: Path) -> None:
    """In their order, whole, and those that wait before the end."""
    path, counts = tmp_path / "access", Counts()
    log = AccessLog(reactor, path, counts)
    await log.start()
    for number in range(1000):
        log.add(b"%d\n" % number)
    await log.stop()
    assert path.read_text() == "".join(f"{number}\n" for number in range(1000))
    assert counts.read()[DROPPED] == (0.0,)
    assert os.stat(path).st_mode & 0o777 == 0o640


@in_reactor
async def test_a_file_that_was_moved_away(tmp_path: Path) -> None:
    """The next line is in a new one."""
    path, moved = tmp_path / "access", tmp_path / "access.1"
    log = AccessLog(reactor, path, Counts())
    await log.start()
    os.rename(path, moved)
    log.reopen()
    log.add(b"new\n")
    await log.stop()
    assert (path.read_text(), moved.read_text()) == ("new\n", "")


@in_reactor
async def test_too_many_lines(tmp_path: Path) -> None:
    """What there is no room for is dropped and counted, and what fits is written."""
    path, counts = tmp_path / "access", Counts()
    log = AccessLog(reactor, path, counts)
    await log.start()
    line = b"x" * 1023 + b"\n"
    for _ in range(MOST // 1024 + 7):
        log.add(line)
    assert set(log.sample()) == {(("log_waiting_bytes", "access"), MOST), (("log_waiting_limit_bytes", "access"), MOST)}
    await log.stop()
    assert path.stat().st_size == MOST
    assert counts.read()[DROPPED] == (7.0,)


@in_reactor
async def test_a_disk_that_refuses(tmp_path: Path) -> None:
    """Its lines are dropped and counted."""
    directory = tmp_path / "logs"
    directory.mkdir()
    path, counts = directory / "access", Counts()
    log = AccessLog(reactor, path, counts)
    await log.start()
    os.rename(directory, tmp_path / "away")
    log.reopen()
    log.add(b"lost\n")
    await log.stop()
    assert counts.read()[DROPPED] == (1.0,)


@in_reactor
async def test_a_line_that_was_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a full disk: those that are not there are counted, and the next begins a line of its own."""
    path, counts = tmp_path / "access", Counts()
    log = AccessLog(reactor, path, counts)
    await log.start()
    write, calls = os.write, itertools.count()

    def torn(descriptor: int, data: memoryview) -> int:
        if descriptor != log._file._descriptor:  # the reactor's
            return write(descriptor, data)
        if next(calls):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:9])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", torn)
        for number in range(4):
            log.add(b"line %d\n" % number)
        while not counts.read()[DROPPED][0]:
            await deferLater(reactor, 0.01)
    log.add(b"line 4\n")
    await log.stop()
    assert path.read_text() == "line 0\nli\nline 4\n"
    assert counts.read()[DROPPED] == (3.0,)
