"""What the log says of requests that failed or were refused: which they were, why, and no more than is of use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import DATA, Server, compose, serving

from pacarchive import errors
from pacarchive.web.download import SMALL
from pacarchive.web.http.refusals import LINES, WINDOW


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def test_a_flood_is_counted(server: Server) -> None:
    """Each kind by itself, and anew after a while; what was not logged is told."""
    for _ in range(LINES + 50):
        assert server.ask("GET", "/1").status == 404
    assert len(server.words()) == LINES + 1
    assert "counted only" in server.words()[-1]
    assert server.ask("PUT", "/1", "Content-Range: bytes 0-0/1", body=b"x").status == 400
    assert "InvalidRequest" in server.words()[-1]
    assert server.site.events == {"NotFound": LINES + 50, "InvalidRequest": 1}
    server.clock.advance(WINDOW)
    assert server.words()[-1].endswith("(NotFound): 50 more, which were not logged")
    server.ask("GET", "/1")
    assert "GET /1" in server.words()[-1]
    assert len(server.words()) == LINES + 4
    server.clock.advance(WINDOW)
    assert len(server.words()) == LINES + 4
    assert not server.clock.getDelayedCalls()


def test_a_flood_that_goes_on_is_told_of_each_minute(server: Server) -> None:
    """Whoever comes at the very end of a minute belongs to the next."""
    for _ in range(2):
        for _ in range(LINES + 3):
            server.ask("GET", "/1")
        server.clock.advance(WINDOW)
        assert server.words()[-1].endswith("(NotFound): 3 more, which were not logged")
    assert sum("counted only" in each for each in server.words()) == 2


def test_a_stop_says_what_is_unsaid(server: Server) -> None:
    """And leaves nothing to wait for."""
    for _ in range(LINES + 7):
        server.ask("GET", "/1")
    server.site.drain(300)
    assert server.words()[-1].endswith("(NotFound): 7 more, which were not logged")
    server.clock.advance(0)
    assert not server.clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("where", "method"),
    [("status", "HEAD"), ("open", "GET"), ("receive", "PUT"), ("commit", "PUT"), ("remove", "DELETE"), ("read", "GET")],
)
def test_a_failure_has_its_request(server: Server, where: str, method: str) -> None:
    """Method and path, as a refusal has them, and the cause once."""
    server.archive.place(12, DATA)
    for cause, said in (("timed out", "The storage failed. (timed out)"), ("storage failed", "The storage failed.")):
        error = errors.BackendUnavailable("The storage failed.", retry_after=1)
        error.__cause__ = OSError(cause)
        server.archive.trouble[where] = error
        answer = server.ask(method, "/12?why", body=b"x" if method == "PUT" else None)
        kind, _, rest = server.words()[-1].partition(") ")
        assert kind == "failed (BackendUnavailable"
        assert rest.partition(": ")[2] == f"{method} /12?...: {said} [{answer.field('X-Request-Id')}]"


def test_an_incident_has_its_request(server: Server) -> None:
    """The path as it was asked for, not that of the route."""
    server.archive.place(12, DATA)
    server.archive.trouble["open"] = RuntimeError("a bug")
    answer = server.ask("GET", "/12")
    assert answer.status == 500
    assert server.words()[-1].split(": ")[1] == f"GET /12 [{answer.field('X-Request-Id')}]"
    assert len(server.failures()) == 1


def test_a_request_that_stalls_is_named(server: Server) -> None:
    """As soon as its route has begun; a small body is waited for before that."""
    for length, said in ((1 << 20, "PUT /12: No byte moved for too long."), (9, "No byte moved for too long.")):
        server.connect().send(b"PUT /12 HTTP/1.1\r\nHost: archive\r\nContent-Length: %d\r\n\r\n" % length)
        server.clock.advance(1000)
        assert server.words()[-1].partition(") ")[2].partition(": ")[2] == said


def test_a_flood_of_broken_downloads_is_counted(server: Server) -> None:
    """Whoever begins many and leaves each is no louder than one who is refused."""
    server.archive.place(1, bytes(SMALL + 1))
    for _ in range(LINES + 50):
        client = server.connect()
        client.transport.room = 1
        client.send(compose("GET", "/1"))
        client.hang_up()
    assert len(server.words()) == LINES + 1
    assert server.site.events == {"left": LINES + 50}
