"""The audit file, with real threads and files."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from pacarchive.backends.contract.handling import in_reactor
from pacarchive.errors import BackendUnavailable
from pacarchive.runtime.shared import all_of
from pacarchive.telemetry import audit as audits
from pacarchive.telemetry.audit import AuditLog

if TYPE_CHECKING:
    from pathlib import Path

    from pacarchive.telemetry.counts import Counts


def lines(path: Path) -> list[dict[str, Any]]:
    """What the file says."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@in_reactor
async def test_a_line_is_there_when_it_was_recorded(tmp_path: Path) -> None:
    """With the time, and without what is not known."""
    path = tmp_path / "audit"
    audit = AuditLog(reactor, path)
    await audit.start()
    await audit.record(what="put", id="5", digest=None)
    (line,) = lines(path)
    assert line.pop("time").endswith("Z")
    assert line == {"what": "put", "id": "5"}
    await all_of([audit.record(number=number) for number in range(100)])
    assert [line["number"] for line in lines(path)[1:]] == list(range(100))
    await audit.stop()
    assert os.stat(path).st_mode & 0o777 == 0o640


@in_reactor
async def test_what_nobody_waits_for_is_written_before_the_end(tmp_path: Path) -> None:
    """A refusal, and a change whose client has gone."""
    path = tmp_path / "audit"
    audit = AuditLog(reactor, path)
    await audit.start()
    audit.note("192.0.2.1", {"what": "GET"})
    gone = Deferred.fromCoroutine(audit.record(what="put"))
    gone.cancel()
    with pytest.raises(CancelledError):
        await gone
    await audit.stop()
    assert [line["what"] for line in lines(path)] == ["GET", "put"]


@in_reactor
async def test_a_file_that_was_moved_away(tmp_path: Path) -> None:
    """It is written on until it is opened again."""
    path, moved = tmp_path / "audit", tmp_path / "audit.1"
    audit = AuditLog(reactor, path)
    await audit.start()
    os.rename(path, moved)
    await audit.record(number=1)
    audit.reopen()
    await audit.record(number=2)
    await audit.stop()
    assert [[line["number"] for line in lines(each)] for each in (moved, path)] == [[1], [2]]


@in_reactor
async def test_a_file_that_cannot_be_written(tmp_path: Path, heard: Counts) -> None:
    """Nothing is acknowledged while that is so, and all goes on when it is over."""
    directory = tmp_path / "log"
    directory.mkdir()
    audit = AuditLog(reactor, directory / "audit")
    await audit.start()
    os.rename(directory, tmp_path / "elsewhere")
    audit.reopen()
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="could not be written into the audit file"):
            await audit.record(number=1)
    directory.mkdir()
    await audit.record(number=2)
    await audit.stop()
    assert [line["number"] for line in lines(directory / "audit")] == [2]
    assert heard.read()["log_lines_dropped_total", "audit"] == (2.0,)


@in_reactor
async def test_nothing_is_done_while_nothing_can_be_recorded(tmp_path: Path) -> None:
    """And what is done is recorded, though whoever wanted it has gone."""
    directory = tmp_path / "log"
    directory.mkdir()
    audit = AuditLog(reactor, directory / "audit")
    await audit.start()
    os.rename(directory, tmp_path / "elsewhere")
    audit.reopen()
    made: list[int] = []

    async def change() -> int:
        made.append(len(made))
        await audit.record(number=len(made))
        return len(made)

    with pytest.raises(BackendUnavailable, match="was made"):
        await audit.to_the_end(change)
    with pytest.raises(BackendUnavailable, match="nothing was done"):
        await audit.to_the_end(change)
    assert made == [0]
    directory.mkdir()
    gone = Deferred.fromCoroutine(audit.to_the_end(change))
    assert await audit.to_the_end(change) >= 2
    gone.addErrback(lambda failure: failure.trap(CancelledError))
    gone.cancel()
    await audit.stop()
    assert [line["number"] for line in lines(directory / "audit") if "number" in line] == [2, 3]


@in_reactor
async def test_a_line_that_was_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a full disk: the next begins a line of its own."""
    path = tmp_path / "audit"
    audit = AuditLog(reactor, path)
    await audit.start()
    write = os.write

    calls = count()

    def torn(descriptor: int, data: bytes) -> int:
        if descriptor != audit._file._descriptor:  # the reactor's
            return write(descriptor, data)
        if next(calls):
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:9])

    monkeypatch.setattr(os, "write", torn)
    with pytest.raises(BackendUnavailable):
        await audit.record(number=1)
    monkeypatch.setattr(os, "write", write)
    await audit.record(number=2)
    await audit.stop()
    first, second = path.read_text().splitlines()
    assert (len(first), json.loads(second)["number"]) == (9, 2)


@in_reactor
async def test_a_pipe_in_its_place(tmp_path: Path) -> None:
    """Nobody waits for a reader."""
    os.mkfifo(tmp_path / "audit")
    with pytest.raises(OSError, match=r"No such device|regular"):
        await AuditLogOnly(tmp_path / "audit").start()


@in_reactor
async def test_a_link_in_its_place(tmp_path: Path) -> None:
    """It is not followed."""
    (tmp_path / "audit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        await AuditLogOnly(tmp_path / "audit").start()
    assert not (tmp_path / "elsewhere").exists()


class AuditLogOnly(AuditLog):
    """One that gives its thread back when it cannot start."""

    def __init__(self, path: Path) -> None:
        super().__init__(reactor, path)

    async def start(self) -> None:
        """Start, or leave nothing."""
        try:
            await super().start()
        except OSError:
            await self.stop()
            raise


@in_reactor
async def test_a_flood_of_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of an address, and of all, have a line each; of the others it is said how many there were."""
    monkeypatch.setattr(audits, "LINES", 10)
    monkeypatch.setattr(audits, "ALL_LINES", 25)
    monkeypatch.setattr(audits, "ADDRESSES", 2)
    path = tmp_path / "audit"
    audit = AuditLog(reactor, path)
    await audit.start()
    for address in ("a", "b", "c", "d", "e"):
        for number in range(15):
            audit.note(address, {"address": address, "number": number})
    await audit.record(number="change")
    await audit.stop()
    found = lines(path)
    written = Counter(line["address"] for line in found if line.get("number") not in (None, "change"))
    assert written == {"a": 10, "b": 10}
    assert {line["address"]: line["count"] for line in found if "count" in line} == {"a": 5, "b": 5, "others": 45}
    assert found[20]["number"] == "change"


@in_reactor
async def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute the sum is written whether or not there are more, and each has a line again."""
    monkeypatch.setattr(audits, "LINES", 1)
    path = tmp_path / "audit"
    later = Ahead()
    audit = AuditLog(later, path)
    await audit.start()
    for number in range(3):
        audit.note("a", {"number": number})
    later.clock.advance(audits.WINDOW)
    audit.note("a", {"number": 3})
    await audit.record(number=4)
    assert [line.get("count", line.get("number")) for line in lines(path)] == [0, 2, 3, 4]
    await audit.stop()


class Ahead:
    """The reactor, with a clock that a test puts forward."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seconds = self.clock.seconds
        self.callLater = self.clock.callLater

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@in_reactor
async def test_what_it_says_of_a_file(tmp_path: Path) -> None:
    """Read once for all that ask within ten seconds; that it cannot be read is told."""
    path, clock = tmp_path / "audit", Clock()
    audit = AuditLog(_Paced(clock), path)
    await audit.start()
    await audit.record(what="put", id="5")
    first, second = await all_of([audit.history(5), audit.history(5)])
    assert [line["what"] for line in first.lines] == ["put"]
    assert first is second
    await audit.record(what="delete", id="5")
    assert await audit.history(5) is first
    clock.advance(audits.FRESH)
    assert [line["what"] for line in (await audit.history(5)).lines] == ["delete", "put"]
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    clock.advance(audits.FRESH)
    with pytest.raises(BackendUnavailable, match="cannot be read"):
        await audit.history(5)
    await audit.stop()


class _Paced:
    """The reactor, but for the time."""

    def __init__(self, clock: Clock) -> None:
        self.seconds = clock.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)
