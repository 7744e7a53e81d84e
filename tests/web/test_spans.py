"""What spans say of requests, on both roads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from support import DATA, HOST, Server, compose, serving
from test_offline import Tapes
from test_quick import QuickArchive, furnish

from pacarchive import errors
from pacarchive.model import Locality
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.server import VerifyReads
from pacarchive.telemetry.phases import MOST_PHASES
from pacarchive.telemetry.settings import AccessFormat
from pacarchive.web.http.accesslines import line_of
from pacarchive.web.spans import LONGEST, note_spans

if TYPE_CHECKING:
    from pacarchive.telemetry.phases import Phase
    from pacarchive.telemetry.tracing import Tracing
    from pacarchive.web.http.request import ArchiveRequest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


OWN = 0xABC
"""The trace of a request that is part of no other."""


@attrs.frozen
class Span:
    """One of them."""

    name: str
    attributes: dict[str, Any]
    phases: list[tuple[str, str | None]]
    parent: tuple[int, int] | None
    failed: bool


class Spans:
    """Keeps all that it is given, where it wants them."""

    def __init__(self) -> None:
        self.kept: list[Span] = []
        self.asked: list[bool | None] = []
        self.answer = True
        self.made: int | None = OWN

    def wants(self, sampled: bool | None) -> bool:
        """What is said of a request."""
        self.asked.append(sampled)
        return self.answer

    def add(
        self,
        name: str,
        began: float,
        ended: float,
        attributes: Mapping[str, Any],
        phases: Sequence[Phase],
        parent: tuple[int, int] | None,
        *,
        failed: bool,
    ) -> int | None:
        """One more."""
        assert 0 < began <= ended
        assert all(began <= each.began <= (each.ended or ended) <= ended for each in phases)
        self.kept.append(Span(name, dict(attributes), [(each.name, each.error) for each in phases], parent, failed))
        return self.made


def traced(server: Server) -> Spans:
    """Have a server make spans."""
    spans = Spans()
    server.site.when_over = note_spans(cast("Tracing", spans))
    server.site.notes_phases = True
    furnish(server)
    return spans


@pytest.fixture
def server() -> Iterator[Server]:
    """One with files."""
    with serving(Server(QuickArchive)) as it:
        yield it


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/1", "/2", "/7", "/99"])
def test_both_roads_say_the_same(method: str, target: str) -> None:
    """But for the phases: of what is answered at once there are none."""
    found = []
    for quick in (True, False):
        with serving(Server(QuickArchive)) as server:
            spans = traced(server)
            if not quick:
                server.site.quick = None
            client = server.connect()
            client.send(compose("OPTIONS", "*"))
            client.take()
            client.send(compose(method, target, "User-Agent: curl"))
            server.finish_work()
            (_, span) = spans.kept
            assert span.attributes.pop("pacarchive.request.id")
            assert bool(span.phases) is (not quick or target == "/99")
            found.append(attrs.evolve(span, phases=[]))
    assert found[0] == found[1]
    assert found[0].name == f"{method} /{{file_id}}"
    assert found[0].attributes["pacarchive.file.id"] == target[1:]
    assert found[0].attributes["user_agent.original"] == "curl"


def test_what_is_not_wanted(server: Server) -> None:
    """Each is asked about once, with what its client has said."""
    spans = traced(server)
    spans.answer = False
    server.ask("GET", "/1")
    server.ask("GET", "/1", TRACEPARENT)
    server.ask("GET", "/1", TRACEPARENT[:-1] + "0")
    server.ask("GET", "/1", "traceparent: what")
    assert (spans.asked, spans.kept) == ([None, True, False, None], [])


def test_the_parent(server: Server) -> None:
    """The caller's ids, as numbers."""
    spans = traced(server)
    server.ask("GET", "/1", TRACEPARENT)
    assert spans.kept[0].parent == (int(TRACE, 16), 0x00F067AA0BA902B7)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("fields", "changes", "trace"),
    [
        ((), {}, f"{OWN:032x}"),
        ((), {"made": None}, None),
        ((), {"answer": False}, None),
        ((TRACEPARENT,), {}, TRACE),
        ((TRACEPARENT,), {"made": None}, TRACE),
    ],
    ids=["its own", "dropped", "no span", "the client's", "the client's, dropped"],
)
def test_what_comes_after_knows_the_trace(
    server: Server, quick: bool, fields: tuple[str, ...], changes: dict[str, Any], trace: str | None
) -> None:
    """As the access log does, which is written then: a trace that begins here can be found by it."""
    spans = traced(server)
    for name, value in changes.items():
        setattr(spans, name, value)
    if not quick:
        server.site.quick = None
    note, line = server.site.when_over, line_of(AccessFormat.JSON)
    assert note is not None
    found: list[str | None] = []

    def both(*over: Any) -> None:
        note(*over)
        found.append(json.loads(line(*over)).get("trace"))

    server.site.when_over = both
    server.ask("GET", "/1", *fields)
    assert found == [trace]


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("PUT", "/x", "PUT"),
        ("GET", "/jobs/0123", "GET /jobs/{job}"),
        ("GET", "/" + "9" * 1000, "GET"),
        ("OPTIONS", "*", "OPTIONS /"),
        ("BREW", "/1", "HTTP"),
    ],
)
def test_names(server: Server, method: str, target: str, name: str) -> None:
    """Of those that there is a route for, its pattern; nothing that a client could choose freely is one."""
    spans = traced(server)
    server.ask(method, target)
    (span,) = spans.kept
    assert span.name == name
    assert len(span.attributes["url.path"]) <= LONGEST
    if method == "BREW":
        assert span.attributes["http.request.method"] == "_OTHER"
        assert span.attributes["http.request.method_original"] == "BREW"
    assert "pacarchive.file.id" not in span.attributes


def test_nothing_secret(server: Server) -> None:
    """No query, and no credentials."""
    spans = traced(server)
    server.ask("GET", "/1?authz=secret", "Authorization: Bearer secret", "Cookie: secret")
    assert "secret" not in repr(spans.kept)
    assert len(spans.kept) == 1


def test_phases(server: Server) -> None:
    """What takes the time of a request, in its order."""
    spans = traced(server)
    server.ask("PUT", "/50", body=DATA)
    server.ask("GET", "/50?")
    server.ask("DELETE", "/50")
    server.ask("HEAD", "/50")
    assert [each.phases for each in spans.kept] == [
        [("put", None)],
        [("open", None), ("send", None)],
        [("delete", None)],
        [("status", "NotFound")],
    ]
    assert not any(each.failed for each in spans.kept)


def test_without_spans(server: Server) -> None:
    """Nothing is noted."""
    seen = []
    server.site.when_over = lambda request, *more: seen.append(request.phases)
    server.archive.place(1, DATA)
    server.ask("GET", "/1?")
    assert seen == [()]


def test_failures(server: Server) -> None:
    """The server's are ones, with the code as their type; a client that leaves is none, and is told apart."""
    spans = traced(server)
    client = server.connect()
    client.send(f"PUT /1 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n".encode())
    client.hang_up()
    (left,) = spans.kept
    assert not left.failed
    assert left.attributes["pacarchive.aborted"] == "client"
    assert "http.response.status_code" not in left.attributes
    assert "error.type" not in left.attributes
    server.archive.trouble["open"] = errors.BackendUnavailable("it is broken")
    server.ask("GET", "/1?")
    failed = spans.kept[1]
    assert failed.failed
    assert failed.attributes["error.type"] == "503"
    assert failed.attributes["http.response.status_code"] == 503
    assert failed.phases == [("open", "BackendUnavailable")]


def test_what_the_server_breaks_off() -> None:
    """It is its own failure, though its answer began with 200."""
    with serving(Server(verify_reads=VerifyReads.ALWAYS)) as server:
        spans = traced(server)
        server.archive.place(20, bytes(4 << 20))
        server.archive.spoil(20, b"_" + bytes((4 << 20) - 1))
        client = server.connect()
        client.send(compose("GET", "/20"))
        server.finish_work()
        (span,) = spans.kept
        assert span.failed
        assert span.attributes["http.response.status_code"] == 200
        assert span.attributes["pacarchive.aborted"] == span.attributes["error.type"] == "server"


def test_many_phases(server: Server) -> None:
    """Of a request that has more, the first are noted."""
    noted: list[int] = []

    def look(request: ArchiveRequest, *over: object) -> None:
        for _ in range(2 * MOST_PHASES):
            with request.phase("more"):
                pass
        noted.append(len(request.phases))

    server.site.when_over = look
    server.site.notes_phases = True
    server.ask("GET", "/1?")
    assert noted == [MOST_PHASES]


def test_a_recall_that_is_waited_for() -> None:
    """And one whose client has gone meanwhile: that is the end of both."""
    with serving(Server(Tapes, recall=RecallSettings(get_wait=100))) as server:
        spans = traced(server)
        server.archive.place(102, b"abc", locality=Locality.TAPE)
        client = server.connect()
        client.send(compose("GET", "/102", "Prefer: wait=60"))
        server.finish_work()
        client.hang_up()
        (span,) = spans.kept
        assert span.phases == [("open", "Offline"), ("stage", None), ("wait for recall", None)]
