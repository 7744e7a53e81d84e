"""What requests are called, and what is written and counted of each at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support import DATA, Server, compose, serving
from twisted.internet.defer import Deferred

from pacarchive.settings.server import VerifyReads
from pacarchive.telemetry.parts import Totals
from pacarchive.telemetry.settings import AccessFormat
from pacarchive.web.download import SMALL
from pacarchive.web.http.accesslines import line_of
from pacarchive.web.http.traces import parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Logged:
    """A server, and the lines of its access log."""

    def __init__(self, server: Server, form: AccessFormat = AccessFormat.JSON) -> None:
        self.server = server
        self.lines: list[bytes] = []
        write = line_of(form)
        server.site.when_over = lambda *over: self.lines.append(write(*over))

    @property
    def last(self) -> dict[str, Any]:
        """The last line, of several that all are whole."""
        assert all(each.endswith(b"}\n") and each.count(b"\n") == 1 for each in self.lines)
        found: dict[str, Any] = json.loads(self.lines[-1])
        return found


@pytest.fixture
def server() -> Iterator[Server]:
    """One with a file."""
    with serving(Server()) as it:
        it.archive.place(1, DATA)
        yield it


def counted(server: Server, *series: str) -> float:
    """What the server has counted."""
    numbers = server.application.telemetry.counts.read().get(series, (0.0,))
    return numbers[0]


# Ids


def test_each_request_has_a_name(server: Server) -> None:
    """Also one that is refused before its route is looked for."""
    answers = [server.ask(*each) for each in (("GET", "/1"), ("GET", "/2"), ("GET", "/x"), ("HEAD", "/1"))]
    assert len({each.field("X-Request-Id") for each in answers}) == 4


@pytest.mark.parametrize("given", ["abc", "A-z_0.9:", "x" * 64])
def test_a_name_is_taken_over(server: Server, given: str) -> None:
    """As it is."""
    assert server.ask("GET", "/1", f"X-Request-Id: {given}").field("X-Request-Id") == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "\u00e9", '"', "a\tb", "{format}"])
def test_no_name(server: Server, given: str) -> None:
    """What could be taken for something else in a log, or is too long, is as if it were not there."""
    own = server.ask("GET", "/1", f"X-Request-Id: {given}").field("X-Request-Id")
    assert own not in ("", given)


def test_the_log_has_names(server: Server) -> None:
    """So that what somebody was answered is found in it."""
    answer = server.ask("GET", "/2", "X-Request-Id: mine", f"traceparent: {TRACEPARENT}")
    assert answer.status == 404
    assert server.words()[-1].endswith(" [mine]")
    totals: list[Totals] = []
    Deferred.fromCoroutine(server.application.telemetry.totals()).addCallback(totals.append)
    (event,) = totals[0].events
    assert (event.outcome, event.kind, event.request) == ("refused", "NotFound", "mine")


# Traces


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (TRACEPARENT, TRACE),
        (f" {TRACEPARENT} ", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-00-more", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-00-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-00", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-00", None),
        (f"00-{TRACE}-{'0' * 16}-00", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-00", None),
        ("", None),
        ("x" * 4000, None),
    ],
)
def test_traceparent(given: str, trace: str | None) -> None:
    """As W3C's Trace Context says it."""
    found = parse_traceparent(given.encode())
    assert (None if found is None else found.trace) == trace


def test_whether_a_trace_is_kept() -> None:
    """By the last of its flags; others may come."""
    for flags, sampled in (("00", False), ("01", True), ("03", True), ("fe", False)):
        trace = parse_traceparent(f"00-{TRACE}-00f067aa0ba902b7-{flags}".encode())
        assert trace is not None
        assert trace.sampled is sampled


# The access log


def test_a_line(server: Server) -> None:
    """What came, what went, when, for whom."""
    log = Logged(server)
    server.ask("GET", "/1?secret=1", "X-Request-Id: mine", "User-Agent: probe/1", f"traceparent: {TRACEPARENT}")
    line = log.last
    assert line.pop("time").endswith("Z")
    assert (line.pop("seconds"), line.pop("first")) == (0.0, 0.0)
    assert line == {
        "request": "mine",
        "method": "GET",
        "path": "/1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "in": 0,
        "out": len(DATA),
        "address": "192.168.1.1",
        "principal": "anonymous",
        "how": "none",
        "agent": "probe/1",
        "trace": TRACE,
        "digest": "matched",
    }


def test_times(server: Server) -> None:
    """To the first byte, and to the last."""
    log = Logged(server)
    client = server.connect()
    client.send(b"PUT /5 HTTP/1.1\r\nHost: archive\r\nContent-Length: 100000\r\n\r\n")
    server.clock.advance(2)
    client.send(b"x" * 100000)
    assert (log.last["status"], log.last["in"], log.last["seconds"]) == (201, 100000, 2.0)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (None, None),
        ("Repr-Digest: sha-256=:hNiYdiu+2I0aFKXCtGM2ZuKhZ5xY1u1XTMwfN8Qlu5A=:", "mismatch"),
        ("Content-MD5: bfsOZ7e9sBL2z6spL4OLzQ==", "mismatch"),
    ],
)
def test_digests_of_uploads(server: Server, field: str | None, said: str | None) -> None:
    """Whether they were compared, and what came of it."""
    log = Logged(server)
    server.ask("PUT", "/7", *([] if field is None else [field]), body=DATA)
    assert log.last.get("digest") == said


def test_a_digest_that_matches(server: Server) -> None:
    """As GET tells it."""
    log = Logged(server)
    digest = server.ask("GET", "/1", "Want-Repr-Digest: sha-256=1").field("Repr-Digest")
    server.ask("PUT", "/7", f"Repr-Digest: {digest}", body=DATA)
    assert (log.last["status"], log.last["digest"]) == (201, "matched")


def test_nothing_a_client_sends_makes_a_line(server: Server) -> None:
    """Nor ends a string, in either format."""
    for form in AccessFormat:
        log = Logged(server, form)
        for target in ("/1%0A", '/"}', "/\\", "/~", "/" + "x" * 1500):
            server.ask("GET", target, 'User-Agent: "\\\u00ff{}', "X-Request-Id: {x}")
        assert len(log.lines) == 5
        for line in log.lines:
            assert line.endswith(b"\n")
            assert line.isascii()
            assert line[:-1].decode().isprintable()
            assert len(line) < 8000
        if form is AccessFormat.JSON:
            assert log.last["path"].startswith("/xxx")
        else:
            assert all(line.count(b'"') - line.count(b'\\"') == 2 for line in log.lines)


def test_the_common_format(server: Server) -> None:
    """As tools for it read it."""
    log = Logged(server, AccessFormat.COMMON)
    server.ask("GET", "/1?secret")
    start, _, rest = log.lines[0].decode().partition(" [")
    assert start == "192.168.1.1 - -"
    assert rest.partition("] ")[2] == f'"GET /1 HTTP/1.1" 200 {len(DATA)}\n'


def test_a_client_that_leaves(server: Server) -> None:
    """Amid an answer, or before there is one: it has a line and is counted, once."""
    log = Logged(server)
    server.archive.place(2, bytes(SMALL * 100))
    client = server.connect()
    client.transport.room = 1
    client.send(compose("GET", "/2"))
    client.hang_up()
    assert (log.last["status"], log.last["aborted"]) == (200, "client")
    assert counted(server, "transfers_aborted_total", "out", "client") == 1
    assert not any(server.application.telemetry.counts.read()["transfer_size_bytes", "out"]), "it was not sent whole"
    client = server.connect()
    client.send(b"PUT /3 HTTP/1.1\r\nHost: archive\r\nContent-Length: 900000\r\n\r\n" + bytes(100))
    client.hang_up()
    assert (log.last["status"], log.last["aborted"], log.last["in"]) == (0, "client", 100)
    assert counted(server, "http_requests_total", "PUT", "none") == 1
    assert counted(server, "transfers_aborted_total", "in", "client") == 1
    assert len(log.lines) == 2


@pytest.mark.parametrize("by", ["server", "timeout"])
def test_what_the_server_breaks_off(by: str) -> None:
    """It is not taken for an answer, though its route has come to its end."""
    with serving(Server(verify_reads=VerifyReads.ALWAYS)) as server:
        log = Logged(server)
        server.archive.place(20, bytes(4 << 20))
        client = server.connect()
        if by == "server":
            server.archive.spoil(20, b"_" + bytes((4 << 20) - 1))
        else:
            client.transport.room = 1
        client.send(compose("GET", "/20"))
        server.finish_work()
        server.clock.advance(server.limits.progress_timeout)
        server.finish_work()
        assert client.transport.closed == "aborted"
        assert (log.last["status"], log.last["aborted"], len(log.lines)) == (200, by, 1)
        assert counted(server, "transfers_aborted_total", "out", by) == 1


# Counting


def test_what_is_counted(server: Server) -> None:
    """Each answer once, with its code and its bytes, however it was given."""
    for method, target in (("GET", "/1"), ("GET", "/1"), ("HEAD", "/1"), ("GET", "/2"), ("BREW", "/1")):
        server.ask(method, target)
    server.ask("PUT", "/3", body=b"x" * 5000)
    client = server.connect()
    client.send(b"GET / HTTP/9\r\n\r\n")
    expected = {
        ("GET", "200"): 2,
        ("HEAD", "204"): 1,
        ("GET", "404"): 1,
        ("other", "405"): 1,
        ("PUT", "201"): 1,
        ("other", "505"): 1,
    }
    numbers = server.application.telemetry.counts.read()
    found = {key[1:]: value[0] for key, value in numbers.items() if key[0] == "http_requests_total" and value[0]}
    assert found == expected
    assert counted(server, "transfer_bytes_total", "in") == 5000
    assert counted(server, "refused_total", "NotFound") == 1
    assert counted(server, "refused_total", "framing") == 1
    sizes = numbers["transfer_size_bytes", "out"]
    assert (sum(sizes[:-1]), sizes[-1]) == (2, 2 * len(DATA))


def test_what_is_under_way(server: Server) -> None:
    """An upload, as far as it is, and the request that asks for metrics."""
    client = server.connect()
    client.send(b"PUT /3 HTTP/1.1\r\nHost: archive\r\nContent-Length: 900000\r\n\r\n" + bytes(1000))
    (transfer,) = server.application.telemetry.transfers()
    assert (transfer.direction, transfer.file_id, transfer.moved, transfer.total) == ("in", 3, 1000, 900000)
    answer = server.ask("GET", "/metrics")
    assert answer.status == 200
    assert b"\npacarchive_http_requests_in_flight 2.0\n" in answer.body
    client.hang_up()
    assert list(server.application.telemetry.transfers()) == []
