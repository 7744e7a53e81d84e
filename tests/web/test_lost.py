"""Connections that are lost: their routes are cancelled in turns, and do no harm until then."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from doubles import JOB, job_file, job_status
from support import DATA, Client, Server, chunked, compose, serving
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from pacarchive import errors
from pacarchive.recall.words import FilesPage
from pacarchive.web.http.turns import ALLOWANCE

LARGE = bytes(range(256)) * (3 << 12)  # three blocks


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        server.archive.place(102, DATA)
        server.archive.place(103, LARGE)
        server.archive.place(104, LARGE, digests={})
        server.recalls.place(job_status(), *(job_file(file_id) for file_id in range(1000)))
        yield server


def lose(client: Client) -> None:
    """Lose a connection when there is no time left to do anything about it."""
    client.transport.lose(ConnectionLost())


def test_ends_take_turns(server: Server) -> None:
    """A thousand followers may be gone at the same time; nobody else waits until the last is cancelled."""
    clients = [server.connect(f"10.0.0.{each % 4}").send(compose("GET", f"/jobs/{JOB}/events")) for each in range(200)]
    server.finish_work()
    assert server.recalls.followers == 200
    for client in clients:
        lose(client)
    turns = [200 - server.recalls.followers]
    while server.recalls.followers:
        assert len(server.site._connections) >= server.recalls.followers, "a drain waits for what is not ended"
        before = server.recalls.followers
        server.turn()
        turns.append(before - server.recalls.followers)
    assert 0 < max(turns) <= ALLOWANCE // 200
    assert sum(turns) == 200
    server.finish_work()
    assert not server.site._connections
    assert server.site.events == {}


def test_a_drain_waits_for_the_ends(server: Server) -> None:
    """What works for a connection is over before the service goes on to stop."""
    clients = [server.connect().send(compose("GET", f"/jobs/{JOB}/events")) for _ in range(50)]
    server.finish_work()
    drained = server.site.drain(60)
    for client in clients:
        lose(client)
    states = [drained.called]
    server.finish_work()
    assert [*states, drained.called] == [False, True]
    assert not server.recalls.followers


PLAN = json.dumps({"files": ["0-999"], "dry_run": True}).encode()

REQUESTS = {
    "get": (compose("GET", "/103"), ("open", "read")),
    "get without digest": (compose("GET", "/104"), ("open", "read")),
    "get of a part": (compose("GET", "/103", "Range: bytes=5-1500000"), ("open", "read")),
    "get of little": (compose("GET", "/102"), ("open", "read")),
    "head": (compose("HEAD", "/102"), ("status",)),
    "put": (compose("PUT", "/7", body=LARGE), ("receive", "write", "commit")),
    "put in chunks": (
        compose("PUT", "/7", "Transfer-Encoding: chunked") + chunked(LARGE),
        ("receive", "write", "commit"),
    ),
    "part of a put": (compose("PUT", "/7", f"Content-Length: {len(LARGE)}") + LARGE[:-1], ("receive", "write")),
    "patch": (compose("PATCH", "/8", "Content-Type: application/json", body=b'{"path": "/a"}'), ("move",)),
    "delete": (compose("DELETE", "/102"), ("remove",)),
    "health": (compose("GET", "/health"), ("health",)),
}


@pytest.mark.parametrize(
    ("request_", "where"),
    [pytest.param(sent, each, id=f"{name}, {each}") for name, (sent, steps) in REQUESTS.items() for each in steps],
)
@pytest.mark.parametrize("fails", [False, True], ids=["well", "badly"])
def test_what_goes_on_without_a_connection(server: Server, request_: bytes, where: str, fails: bool) -> None:
    """The backend answers after the loss and before the turn in which the route is cancelled: nobody is written to."""
    waiting = server.archive.hold(where)
    client = server.connect().send(request_)
    server.finish_work()
    server.site.turns.spend(2 * ALLOWANCE)
    lose(client)
    assert not waiting.called, "it is not cancelled yet"
    client.take()  # the head of a download
    del server.archive.waits[where]
    if fails:
        waiting.errback(errors.BackendUnavailable("The storage failed."))
    else:
        waiting.callback(None)
    assert client.take() == b""
    server.check()


def test_a_download_ends_without_a_connection(server: Server) -> None:
    """No further block is read for nobody."""
    first = server.archive.hold("read")
    client = server.connect().send(compose("GET", "/103"))
    second = server.archive.hold("read")
    first.callback(None)
    server.site.turns.spend(2 * ALLOWANCE)
    lose(client)
    del server.archive.waits["read"]
    second.callback(None)
    assert server.archive.calls.count("read") == 2
    server.check()


def test_a_follower_that_is_gone_before_it_begins(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not followed."""
    waiting, really = Deferred[None](), server.recalls.files

    async def files(job: str, since: str = "", limit: int = 1000) -> FilesPage:
        await waiting
        return await really(job, since, limit)

    monkeypatch.setattr(server.recalls, "files", files)
    client = server.connect().send(compose("GET", f"/jobs/{JOB}/events"))
    server.site.turns.spend(2 * ALLOWANCE)
    lose(client)
    waiting.callback(None)
    assert not server.recalls.followers
    server.check()


@pytest.mark.parametrize("target", [f"/jobs/{JOB}/events", f"/jobs/{JOB}/files?limit=1000", "/jobs", "/pins"])
def test_long_answers_without_a_connection(server: Server, target: str) -> None:
    """Nor is a socket asked how much of an answer it still has: its number may be somebody else's."""
    client = server.connect()
    client.transport.room = 100
    client.send(compose("GET", target))
    server.site.turns.spend(2 * ALLOWANCE)
    lose(client)
    server.clock.advance(10 * server.limits.progress_timeout)
    server.check()
