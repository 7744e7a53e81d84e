"""The time of a file between the door and the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support import disk_server, serving

from pacarchive.config import Compatibility

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Server

DATA = b"0123456789"
LARGE = DATA * 100_000
LAST_OF_31_BITS = 2**31 - 1
"""The last second of ext4 with small inodes, of XFS before 2020 and of many others."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(disk_server(tmp_path)) as server:
        yield server


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system as the kernel presents it: what does not fit becomes, without a word, the nearest that does."""

    def utime(descriptor: int, *, ns: tuple[int, int]) -> None:
        seconds, rest = divmod(ns[1], 10**9)
        kept = min(max(seconds, -(2**31)), LAST_OF_31_BITS)
        when = kept * 10**9 + (rest if kept == seconds else 0)
        os_utime(descriptor, ns=(when, when))

    os_utime = os.utime
    monkeypatch.setattr("pacarchive.backends.filetimes.os.utime", utime)


@pytest.mark.parametrize("body", [DATA, LARGE])
def test_nanoseconds_reach_the_disk_and_come_back(disk: Server, tmp_path: Path, body: bytes) -> None:
    """All nine digits, which no float has; and what an answer tells can be sent with the next PUT."""
    date = "2024-03-31T02:30:00.999999999Z"
    assert disk.ask("PUT", "/102", f"Last-Modified: {date}", body=body).status == 201
    assert os.stat(tmp_path / "102").st_mtime_ns == 1711852200_999999999
    told = disk.ask("GET", "/102")
    assert told.field("Last-Modified") == "Sun, 31 Mar 2024 02:30:00 GMT"
    assert told.field("X-Pacarchive-Mtime") == date
    disk.ask("PUT", "/103", f"Last-Modified: {told.field('X-Pacarchive-Mtime')}", body=body)
    assert os.stat(tmp_path / "103").st_mtime_ns == 1711852200_999999999


@pytest.mark.parametrize("body", [DATA, LARGE])
@pytest.mark.parametrize("condition", [[], ["If-Match: *"]])
@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 GMT", "0001-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "1901-12-13T20:45:51Z"]
)
@pytest.mark.usefixtures("narrow")
def test_a_time_that_cannot_be_kept_is_refused(
    disk: Server, tmp_path: Path, date: str, condition: list[str], body: bytes
) -> None:
    """In words, and what was there stays; nothing is stored under another time."""
    assert disk.ask("PUT", "/102", "Last-Modified: 2038-01-19T03:14:07.9Z", body=b"before").status == 201
    before = os.stat(tmp_path / "102")
    answer = disk.ask("PUT", "/102", f"Last-Modified: {date}", *condition, body=body)
    assert (answer.status, "cannot keep a time" in answer.error["message"]) == (400, True)
    assert os.stat(tmp_path / "102") == before
    if not condition:
        assert disk.ask("PUT", "/103", f"Last-Modified: {date}", body=body).status == 400
        assert not (tmp_path / "103").exists()
    assert os.listdir(tmp_path / ".pacarchive/tmp") == []


@pytest.mark.usefixtures("narrow")
def test_in_the_mode_of_the_predecessor_it_is_refused_too(tmp_path: Path) -> None:
    """What cannot be read is ignored there, as it always was; what can be read is kept, or the file is not stored."""
    with serving(disk_server(tmp_path, compatibility=Compatibility.PACIFICA)) as server:
        assert server.ask("PUT", "/101", "Last-Modified: yesterday", body=DATA).status == 201
        answer = server.ask("PUT", "/102", "Last-Modified: Fri, 31 Dec 9999 23:59:59 GMT", body=DATA)
        assert (answer.status, "cannot keep a time" in answer.error["traceback"]) == (500, True)
        assert not (tmp_path / "102").exists()


def test_a_time_that_no_date_can_say_is_not_told(disk: Server, tmp_path: Path) -> None:
    """A file that others made may have one; it is read all the same."""
    (tmp_path / "102").write_bytes(DATA)
    os.utime(tmp_path / "102", ns=(0, 300_000_000_000 * 10**9))
    beyond = os.stat(tmp_path / "102").st_mtime_ns > 253402300799 * 10**9
    answer = disk.ask("GET", "/102")
    assert (answer.status, answer.body) == (200, DATA)
    assert (answer.field("X-Pacarchive-Mtime") is None) is beyond
