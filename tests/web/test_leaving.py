"""Clients that leave: what nobody waits for any more ends, and that is no failure.

One that ends its side (FIN) may still read, as C{nc -N} does, and what is soon done is answered.  What is long is not.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from doubles import JOB, job_file, job_status
from support import Client, Server, compose, serving
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost

from pacarchive.model import FileStatus
from pacarchive.recall.words import FilesPage
from pacarchive.web.http.channel import LOOK_FOR_END
from pacarchive.web.http.sockets import has_ended
from pacarchive.web.http.working import FEW, OFTEN

JSON = "Content-Type: application/json"
MANY = 300

Leave = Callable[[Client], None]

LEAVE: list[Any] = [
    pytest.param(Client.end, id="FIN"),
    pytest.param(lambda client: client.hang_up(ConnectionDone()), id="closed"),
    pytest.param(lambda client: client.hang_up(ConnectionLost()), id="RST"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def post(target: str, document: object) -> bytes:
    """A request with a document."""
    return compose("POST", target, JSON, body=json.dumps(document).encode())


def assert_left(server: Server, client: Client) -> None:
    """The connection is over, nothing goes on, and nothing was said of it."""
    server.clock.advance(0)
    assert client.transport.lost
    assert client.take() == b""
    server.clock.advance(0)
    assert server.clock.getDelayedCalls() == []
    assert server.site.lookups.shares.held == 0
    assert server.words() == []
    assert server.site.events == {}


def hold_plan(server: Server, monkeypatch: pytest.MonkeyPatch) -> Deferred[None]:
    """Let plans wait."""
    waiting: Deferred[None] = Deferred()
    plan = server.recalls.plan

    async def wait(file_ids: Sequence[int]) -> Any:
        await waiting
        return await plan(file_ids)

    monkeypatch.setattr(server.recalls, "plan", wait)
    return waiting


UNSEEN: list[Any] = [
    pytest.param(lambda peer: peer.shutdown(socket.SHUT_WR), id="FIN"),
    pytest.param(socket.socket.close, id="closed"),
]
"""What the kernel knows of a peer, and nobody is told of who does not read."""


@pytest.mark.parametrize("leave", UNSEEN)
def test_a_plan_ends_of_a_client_that_is_held_back(
    server: Server, monkeypatch: pytest.MonkeyPatch, leave: Callable[[socket.socket], None]
) -> None:
    """Who has sent so much behind it that no more is read, and then left."""
    waiting = hold_plan(server, monkeypatch)
    client = server.connect().send(post("/jobs", {"files": [f"0-{MANY}"], "dry_run": True}))
    client.send(compose("GET", "/1") * 2000)
    assert client.unsent, "it is held back"
    server.clock.pump([LOOK_FOR_END] * 3)
    before = waiting.called
    leave(client.transport.kernel[1])
    server.clock.advance(LOOK_FOR_END)
    assert (before, waiting.called) == (False, True), "it was cancelled, but not as long as it listened"
    assert_left(server, client)


def test_a_client_that_is_held_back_and_waits_for_its_plan(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has it, and the answers to the rest; nothing looks for its end any more."""
    waiting = hold_plan(server, monkeypatch)
    client = server.connect().send(post("/jobs", {"files": [f"0-{MANY}"], "dry_run": True}))
    client.send(compose("HEAD", "/") * 500)
    server.clock.advance(LOOK_FOR_END)
    waiting.callback(None)
    server.pass_turns()
    client.send()
    assert [answer.status for answer in client.answers("POST", *["HEAD"] * 500)] == [200] * 501
    client.hang_up()
    server.clock.advance(0)
    assert server.clock.getDelayedCalls() == []


def test_the_end_is_seen_behind_what_is_unread() -> None:
    """Over real TCP: of a peer that ended its side, of one that is gone, and not of one that waits."""
    for how, ends in (("waits", False), ("FIN", True), ("closes", True), ("RST", True)):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        with ours, peer:
            peer.sendall(bytes(1 << 16))
            assert not has_ended(ours.fileno())
            if how == "FIN":
                peer.shutdown(socket.SHUT_WR)
            elif how == "RST":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how in ("closes", "RST"):
                peer.close()
            assert has_ended(ours.fileno()) is ends, how
    assert has_ended(-1)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_plan_ends(server: Server, monkeypatch: pytest.MonkeyPatch, leave: Leave) -> None:
    waiting = hold_plan(server, monkeypatch)
    client = server.connect().send(post("/jobs", {"files": [f"0-{MANY}"], "dry_run": True}))
    leave(client)
    server.clock.advance(0)
    assert waiting.called, "it was cancelled"
    assert_left(server, client)


def test_a_plan_of_one_that_has_ended_its_side_before(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """That comes to the same."""
    first = server.archive.hold("status")
    waiting = hold_plan(server, monkeypatch)
    client = server.connect()
    client.send(compose("HEAD", "/1") + post("/jobs", {"files": [f"0-{MANY}"], "dry_run": True}))
    client.end()
    first.callback(None)
    server.clock.pump([0] * 5)
    assert waiting.called
    assert [answer.status for answer in client.answers("HEAD")] == [404]
    assert client.transport.lost


def test_a_short_plan_is_answered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """To C{printf ... | nc -N}."""
    waiting = hold_plan(server, monkeypatch)
    client = server.connect().send(post("/jobs", {"files": [f"1-{FEW}"], "dry_run": True}))
    client.end()
    waiting.callback(None)
    assert [answer.status for answer in client.answers()] == [200]


def hold_pages(server: Server, monkeypatch: pytest.MonkeyPatch) -> Deferred[FilesPage]:
    """Let the look for a page of a job's files wait."""
    server.recalls.place(job_status(files=MANY), *map(job_file, range(MANY)))
    waiting = Deferred[FilesPage]()

    async def files(job: str, since: str = "", limit: int = 1000) -> FilesPage:
        return await waiting

    monkeypatch.setattr(server.recalls, "files", files)
    return waiting


@pytest.mark.parametrize("target", [f"/jobs/{JOB}/files", f"/jobs/{JOB}?since=0&limit={FEW + 1}"])
@pytest.mark.parametrize("leave", LEAVE)
def test_a_page_of_files_ends(server: Server, monkeypatch: pytest.MonkeyPatch, leave: Leave, target: str) -> None:
    """It is long: a page has a thousand of them, and ten thousand if that is asked for."""
    waiting = hold_pages(server, monkeypatch)
    client = server.connect().send(compose("GET", target))
    leave(client)
    server.clock.advance(0)
    assert waiting.called, "it was cancelled"
    assert_left(server, client)


def test_a_short_page_of_files_is_answered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = hold_pages(server, monkeypatch)
    client = server.connect().send(compose("GET", f"/jobs/{JOB}/files?limit={FEW}"))
    client.end()
    waiting.callback(FilesPage(files=[job_file(1)], cursor="1", more=False))
    assert [answer.status for answer in client.answers()] == [200]


@pytest.mark.parametrize("leave", LEAVE)
def test_archiveinfo_ends(server: Server, leave: Leave) -> None:
    waits: dict[int, Deferred[None]] = {}

    async def wait(file_id: int) -> FileStatus:
        waits[file_id] = Deferred()
        await waits[file_id]
        raise AssertionError("it goes on")

    server.archive.status = wait
    client = server.connect().send(post("/api/v1/archiveinfo", {"paths": [f"/{each}" for each in range(MANY)]}))
    server.clock.pump([0] * 5)
    begun = len(waits)
    assert begun
    leave(client)
    server.clock.pump([0] * 5)
    assert all(each.called for each in waits.values())
    assert len(waits) == begun, "no more were asked for"
    assert_left(server, client)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_long_list_of_files_is_not_read_to_its_end(server: Server, leave: Leave) -> None:
    """Nor is a job made of it."""
    client = server.connect().send(post("/jobs", {"files": [*range(20_000)] * 3}))
    leave(client)
    server.clock.pump([0] * (OFTEN + 2))
    assert server.recalls.calls == []
    assert_left(server, client)


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("target", [f"/jobs/{JOB}?since=0&limit=10000", f"/jobs/{JOB}/files?limit=10000"])
def test_a_long_page_is_not_written_to_its_end(server: Server, target: str, leave: Leave) -> None:
    written: list[int] = []

    class Counting(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for each in super().__iter__():
                written.append(each.file_id)
                yield each

    async def files(job: str, since: str = "", limit: int = 1000) -> FilesPage:
        return FilesPage(files=Counting(job_file(each) for each in range(10_000)), cursor="9", more=False)

    server.recalls.place(job_status())
    server.recalls.files = files  # type: ignore[method-assign]
    client = server.connect().send(compose("GET", target))
    leave(client)
    server.clock.pump([0] * 100)
    assert len(written) < 2000
    assert_left(server, client)


@pytest.mark.parametrize("leave", LEAVE)
def test_a_follower_is_not_told_any_more(server: Server, leave: Leave) -> None:
    server.recalls.place(job_status())
    client = server.connect().send(compose("GET", f"/jobs/{JOB}/events"))
    client.take()
    assert server.recalls.followers == 1
    leave(client)
    server.clock.advance(0)
    assert server.recalls.followers == 0
    assert_left(server, client)
