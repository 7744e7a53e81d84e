"""The time of a file between the door and the disk."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from support import disk_server, serving

from pacarchive.settings.server import Compatibility

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
    monkeypatch.setattr("pacarchive.backends.local.filetimes.os.utime", utime)


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


def test_two_versions_of_one_date_are_never_joined(disk: Server) -> None:
    """Who has half of one, and asks for the rest by that date, gets all of the other."""
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    disk.ask("PUT", "/102", f"Last-Modified: {date}", body=b"A" * 10)
    assert disk.ask("GET", "/102", "Range: bytes=0-4").body == b"AAAAA"
    disk.ask("PUT", "/102", f"Last-Modified: {date}", body=b"B" * 10)
    answer = disk.ask("GET", "/102", "Range: bytes=5-", f"If-Range: {date}")
    assert (answer.status, answer.body) == (200, b"B" * 10)
    answer = disk.ask("GET", "/102", f"If-Modified-Since: {date}")
    assert (answer.status, answer.body) == (200, b"B" * 10)
    assert disk.ask("GET", "/102", "Range: bytes=5-", f"If-Unmodified-Since: {date}").status == 412


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_date_does_not_protect_a_file(disk: Server, tmp_path: Path, method: str) -> None:
    """So it is refused as a condition of a write, in words that name the one that does; nothing is changed."""
    disk.ask("PUT", "/102", body=DATA)
    disk.ask("PUT", "/103", body=b"other")
    bodies = {"PUT": b"new", "PATCH": json.dumps({"path": str(tmp_path / "103")}).encode()}
    fields = ["If-Unmodified-Since: Tue, 22 Nov 2050 17:18:49 GMT", "Content-Type: application/json"]
    answer = disk.ask(method, "/102", *fields, body=bodies.get(method))
    assert (answer.status, "If-Match" in answer.error["message"]) == (400, True)
    assert disk.ask("GET", "/102").body == DATA
    assert disk.ask("GET", "/103").body == b"other"


def test_last_modified_is_never_later_than_now(disk: Server) -> None:
    """Else the next version would be taken for this one until then; the file's time is told beside it."""
    disk.ask("PUT", "/102", "Last-Modified: Fri, 01 Jan 2100 00:00:00 GMT", body=DATA)
    answer = disk.ask("GET", "/102")
    assert answer.field("Last-Modified") == "Sun, 22 Nov 2026 17:18:48 GMT"
    assert answer.field("X-Pacarchive-Mtime") == "2100-01-01T00:00:00.000000000Z"
