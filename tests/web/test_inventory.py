"""The list of files: C{GET /files}, in pages and as lines."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from doubles import Archive
from support import Answer, Client, Server, compose, disk_server, result_of, serving
from test_access import ELSEWHERE, KINDS, governed, rule
from zope.interface import classImplementsOnly

from pacarchive import errors
from pacarchive.access.rights import NOTHING, Right
from pacarchive.interfaces import IArchiveBackend
from pacarchive.model import FileStatus, InventoryPage
from pacarchive.settings.server import Compatibility
from pacarchive.times import format_iso
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.inventory import LOOKED_AT, SLICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES = "Accept: application/x-ndjson"
MANY = 3000
"""Whose lines are more than is sent at once."""


@pytest.fixture
def server() -> Iterator[Server]:
    """With three files."""
    with serving(Server()) as server:
        for file_id in (7, 2**64 - 1, 12):
            server.archive.place(file_id, b"x" * (file_id % 100), mtime_ns=784111777_750000000)
        yield server


@pytest.fixture
def full() -> Iterator[Server]:
    """With many files, whose ids are far from each other."""
    with serving(Server()) as server:
        for number in range(MANY):
            server.archive.place(number << 40, b"data")
        yield server


def document(answer: Answer) -> dict[str, Any]:
    """What a page says."""
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def ids(answer: Answer) -> list[int]:
    """The files of a page."""
    return [int(each["file"]) for each in document(answer)["files"]]


def pages(server: Server, target: str) -> Iterator[list[int]]:
    """All pages from one on."""
    following: str | None = target
    while following is not None:
        answer = server.ask("GET", following)
        following = document(answer).get("next")
        yield ids(answer)


def unchunked(data: bytes) -> tuple[str, str, bool]:
    """The head of an answer, what has come of its body, and whether that is all."""
    head, _, rest = data.partition(b"\r\n\r\n")
    body, ended = b"", False
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        rest = rest[length + 2 :]
        ended = not length
    return head.decode(), body.decode(), ended


def begin(server: Server, client: Client | None = None, *fields: str) -> Client:
    """Ask for lines."""
    client = client or server.connect()
    client.send(compose("GET", "/files", LINES, *fields))
    server.finish_work()
    return client


def resume(server: Server, client: Client) -> None:
    """Take all that comes, after a pause."""
    client.transport.room = None
    assert client.transport.producer is not None
    client.transport.producer.resumeProducing()
    server.finish_work()


class TestPages:
    """JSON."""

    def test_what_is_told(self, server: Server) -> None:
        """Of each file all that is cheap: id, size, times, where it is, digests."""
        answer = server.ask("GET", "/files")
        (first, *_) = document(answer)["files"]
        assert first == {
            "file": "7",
            "bytes": 7,
            "mtime": "1994-11-06T08:49:37.750000000Z",
            "ctime": format_iso(result_of(server.archive.status(7)).ctime_ns),
            "locality": "DISK",
            "digests": {"sha256": sha256(b"x" * 7).hexdigest()},
        }
        assert answer.field("Vary") == "Accept"
        assert ids(answer) == [7, 12, 2**64 - 1]

    @pytest.mark.parametrize("limit", [1, 2, 3, 1000])
    def test_pages(self, server: Server, limit: int) -> None:
        """Each has as many files as were asked for, and the URL of the next; the last has none."""
        found = list(pages(server, f"/files?limit={limit}"))
        assert [file_id for page in found for file_id in page] == [7, 12, 2**64 - 1]
        assert max(map(len, found)) <= limit

    def test_fields(self, server: Server) -> None:
        """Only what is asked for is told."""
        assert document(server.ask("GET", "/files?fields=bytes"))["files"][0] == {"file": "7", "bytes": 7}
        assert document(server.ask("GET", "/files?fields=locality,bytes&limit=1"))["files"] == [
            {"file": "7", "bytes": 7, "locality": "DISK"}
        ]

    @pytest.mark.parametrize("limit", [1, 1000])
    def test_a_range_is_looked_up(self, server: Server, limit: int) -> None:
        """Few ids are looked up each, in order, and no list of all is made; nor need the backend be able to make it."""
        server.archive.place(20, b"")
        cannot_list(server)
        assert [each for page in pages(server, f"/files?from=8&to=5000&limit={limit}") for each in page] == [12, 20]
        assert "inventory" not in server.archive.calls

    def test_a_large_range_is_walked_through(self, full: Server) -> None:
        """Others are passed over; ids that are far from each other are no reason to look each up."""
        low, high = 5 << 40, (1500 << 40) - 1
        found = list(pages(full, f"/files?from={low}&to={high}&limit=700"))
        assert sorted(each for page in found for each in page) == [number << 40 for number in range(5, 1500)]
        assert "status" not in full.archive.calls

    def test_a_page_of_nothing(self, full: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where many others are to be passed over, a page ends all the same, and says where to go on."""
        monkeypatch.setattr("pacarchive.web.inventory.LOOKED_AT", 1000)
        assert LOOKED_AT > 1000
        found = list(pages(full, f"/files?from={2999 << 40}"))
        assert found[:2] == [[], []]
        assert found[-1] == [2999 << 40]

    def test_a_file_that_cannot_be_told_of(self, server: Server) -> None:
        """Is in the list all the same, with words."""
        server.archive.inventory = partial(
            _page, {5: errors.BackendUnavailable("The storage failed."), 6: OSError("a path")}
        )
        assert document(server.ask("GET", "/files"))["files"] == [
            {"file": "5", "error": {"kind": "BackendUnavailable", "message": "The storage failed."}},
            {"file": "6", "error": {"kind": "BackendUnavailable", "message": "The storage failed."}},
        ]

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("limit=0", "limit"),
            ("limit=10001", "limit"),
            ("from=-1", "from"),
            ("to=18446744073709551616", "to"),
            ("from=2&to=1", "not more"),
            ("fields=bytes,color", "fields"),
            ("cursor=x", "cursor"),
            ("cursor=i0", "cursor"),
            ("cursor=pnowhere", "place"),
            ("from=1&to=5&cursor=ix", "cursor"),
            ("cursor=i1&cursor=i1", "twice"),
        ],
    )
    def test_what_makes_no_sense(self, server: Server, query: str, words: str) -> None:
        """Is refused, with words."""
        answer = server.ask("GET", f"/files?{query}")
        assert answer.status == 400
        assert words in answer.error["message"]

    @pytest.mark.parametrize("compatibility", list(Compatibility))
    def test_storage_that_cannot_list(self, compatibility: Compatibility) -> None:
        """Is a matter of words, in either mode."""
        with serving(Server(compatibility=compatibility)) as server:
            cannot_list(server)
            answer = server.ask("GET", "/files")
            assert answer.status == 501
            assert "cannot list" in answer.error["message"]

    def test_other_methods(self, server: Server) -> None:
        """HEAD tells what would come, and walks nowhere."""
        answer = server.ask("HEAD", "/files", LINES)
        assert (answer.status, answer.field("Content-Type")) == (200, "application/x-ndjson")
        assert server.ask("OPTIONS", "/files").field("Allow") == "GET, HEAD, OPTIONS"
        assert server.ask("PUT", "/files", body=b"").status == 405
        assert "inventory" not in server.archive.calls


class TestLines:
    """NDJSON."""

    def test_all_files(self, full: Server) -> None:
        """A line for each, and the end of the last chunk says that these are all."""
        head, body, ended = unchunked(begin(full).take())
        assert "\r\nContent-Type: application/x-ndjson" in head
        assert ended
        assert [int(json.loads(line)["file"]) for line in body.splitlines()] == [n << 40 for n in range(MANY)]

    def test_nothing(self) -> None:
        """An empty archive has no lines."""
        with serving(Server()) as server:
            assert unchunked(begin(server).take())[1:] == ("", True)

    def test_no_page(self, server: Server) -> None:
        """A limit is that of a page."""
        assert server.ask("GET", "/files?limit=5", LINES).status == 400

    def test_a_slow_reader(self, full: Server) -> None:
        """Nothing is looked at before there is room for it; then the list goes on."""
        client = full.connect()
        client.transport.room = 1
        begin(full, client)
        walked = full.archive.calls.count("inventory")
        assert 0 < walked < MANY // SLICE // 2
        full.finish_work()
        assert full.archive.calls.count("inventory") == walked
        resume(full, client)
        assert unchunked(client.take())[2]

    def test_a_slow_reader_takes_no_place(self, full: Server) -> None:
        """While nothing moves, others may list."""
        client = full.connect()
        client.transport.room = 1
        begin(full, client)
        assert full.site.listings.shares.held == 1
        full.clock.advance(11)
        assert full.site.listings.shares.held == 0

    def test_a_reader_that_takes_nothing(self, full: Server) -> None:
        """Is cut off."""
        client = full.connect()
        client.transport.room = 1
        begin(full, client)
        full.clock.advance(61)
        assert client.transport.closed == "aborted"

    @pytest.mark.parametrize("how", ["hang_up", "end"])
    def test_a_reader_that_leaves(self, full: Server, how: str) -> None:
        """Ends the walk at once, be it in the middle of a step."""
        waiting = full.archive.hold("inventory")
        client = begin(full)
        getattr(client, how)()
        full.finish_work()
        waiting.callback(None)
        full.finish_work()
        assert full.archive.calls.count("inventory") == 1
        assert not full.site.listings.shares.held

    def test_trouble_before_the_first_line(self, full: Server) -> None:
        """Is an answer like others."""
        full.archive.trouble["inventory"] = errors.BackendUnavailable("The storage failed.")
        assert full.ask("GET", "/files", LINES).status == 503

    def test_trouble_on_the_way(self, full: Server) -> None:
        """Cuts the connection, so that nobody takes it for all."""
        client = full.connect()
        client.transport.room = 1
        begin(full, client)
        full.archive.trouble["inventory"] = errors.BackendUnavailable("The storage failed.")
        resume(full, client)
        assert not unchunked(client.take())[2]
        assert client.transport.closed == "aborted"


class TestCollection:
    """PROPFIND of the archive with the Depth 1, for clients of WebDAV."""

    def test_all_files(self, full: Server) -> None:
        """The collection first, and its members, each with what a PROPFIND of it alone tells."""
        client = full.connect()
        client.send(compose("PROPFIND", "/", "Depth: 1"))
        full.finish_work()
        head, body, ended = unchunked(client.take())
        assert head.startswith("HTTP/1.1 207 ")
        assert ended
        collection, *members = ET.fromstring(body)
        assert collection.find("{DAV:}propstat/{DAV:}prop/{DAV:}resourcetype/{DAV:}collection") is not None
        assert [each.findtext("{DAV:}href") for each in members] == [f"/{number << 40}" for number in range(MANY)]
        (alone,) = ET.fromstring(full.ask("PROPFIND", f"/{5 << 40}", "Depth: 0").body)
        assert ET.tostring(members[5]).strip() == ET.tostring(alone).strip()

    def test_a_slow_reader(self, full: Server) -> None:
        """Keeps nothing in memory here."""
        client = full.connect()
        client.transport.room = 1
        client.send(compose("PROPFIND", "/", "Depth: 1"))
        full.finish_work()
        assert full.archive.calls.count("inventory") < MANY // SLICE
        resume(full, client)
        assert unchunked(client.take())[2]

    def test_a_file_that_cannot_be_told_of(self, server: Server) -> None:
        """Has the status of the failure."""
        server.archive.inventory = partial(_page, {5: errors.BackendUnavailable("The storage failed.")})
        client = server.connect()
        client.send(compose("PROPFIND", "/", "Depth: 1"))
        server.finish_work()
        _, member = ET.fromstring(unchunked(client.take())[1])
        assert member.findtext("{DAV:}status") == "HTTP/1.1 503 Service Unavailable"

    def test_storage_that_cannot_list(self, server: Server) -> None:
        """It says so, rather than that there is nothing; and still that it is a collection."""
        cannot_list(server)
        assert server.ask("PROPFIND", "/", "Depth: 1").status == 501
        assert server.ask("PROPFIND", "/", "Depth: 0").status == 207
        assert server.ask("PROPFIND", "/", "Depth: infinity").status == 403


class TestLimits:
    """Lists are long work, of which there is only so much."""

    def test_too_many(self) -> None:
        """In sum, and for one client, with words; others go on being served."""
        limits = LimitSettings(listings=2, client_share=50)
        with serving(Server(limits=limits)) as server:
            waiting = server.archive.hold("inventory")
            begin(server, server.connect("192.0.2.1"))
            answer = server.connect("192.0.2.1").ask("GET", "/files")
            assert answer.status == 503
            assert "Your address has as many lists" in answer.error["message"]
            assert answer.field("Retry-After") == "5"
            begin(server, server.connect("192.0.2.2"))
            answer = server.connect("192.0.2.3").ask("GET", "/files?from=1&to=2")
            assert answer.status == 503
            assert "[limits] listings" in answer.error["message"]
            assert server.ask("HEAD", "/5").status == 404
            waiting.callback(None)
            server.finish_work()
            assert server.ask("GET", "/files").status == 200


class TestRights:
    """A list has what its caller may see."""

    def test_ranges(self) -> None:
        """Ids that the caller has no right for are left out, in pages and lines."""
        allowed = rule("token:robot", Right.STAT, "12, 1000000-18446744073709551615")
        with serving(Server(gate=lambda clock: governed(clock, NOTHING, allowed))) as server:
            for file_id in (7, 12, 999_999, 2**64 - 1):
                server.archive.place(file_id, b"")
            _, _, credentials = KINDS["token"]
            answer = server.connect(ELSEWHERE).ask("GET", "/files", *credentials)
            assert ids(answer) == [12, 2**64 - 1]
            answer = server.connect(ELSEWHERE).ask("GET", "/files?from=0&to=100", *credentials)
            assert ids(answer) == [12]
            client = begin(server, server.connect(ELSEWHERE), *credentials)
            assert [json.loads(line)["file"] for line in unchunked(client.take())[1].splitlines()] == [
                "12",
                str(2**64 - 1),
            ]
            assert server.connect(ELSEWHERE).ask("GET", "/files").status == 401

    def test_ranges_of_lines_of_the_storage(self, tmp_path: Path) -> None:
        """Also where the storage writes the lines itself."""
        for name in ("7", "12", "999999", "1000000"):
            (tmp_path / name).write_text("data")
        allowed = rule("token:robot", Right.STAT, "12, 1000000-18446744073709551615")
        with serving(disk_server(tmp_path, gate=lambda clock: governed(clock, NOTHING, allowed))) as server:
            _, _, credentials = KINDS["token"]
            _, text, ended = unchunked(begin(server, server.connect(ELSEWHERE), *credentials).take())
            assert sorted(json.loads(line)["file"] for line in text.splitlines()) == ["1000000", "12"]
            assert ended


def test_what_is_no_file_of_an_id(tmp_path: Path) -> None:
    """Temporaries, other names, links and directories are not listed."""
    for name in ("5", "007", "README", "12.tmp"):
        (tmp_path / name).write_text("data")
    (tmp_path / "6").symlink_to(tmp_path / "5")
    (tmp_path / "8").mkdir()
    with serving(disk_server(tmp_path)) as server:
        (tmp_path / ".pacarchive/tmp/9").write_text("data")
        assert ids(server.ask("GET", "/files")) == [5]
        _, text, ended = unchunked(begin(server).take())
        assert [json.loads(line) for line in text.splitlines()] == document(server.ask("GET", "/files"))["files"]
        assert ended


async def _page(files: dict[int, FileStatus | Exception], *_: object, **__: object) -> InventoryPage:
    return InventoryPage(files, None)


def cannot_list(server: Server) -> None:
    """Let the storage be one that cannot list its files."""

    class Unlisted(Archive):
        pass

    classImplementsOnly(Unlisted, IArchiveBackend)
    server.archive.__class__ = Unlisted
