"""What caches are told: to ask again each time for a file, and to keep nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from doubles import JOB, job_status
from support import DATA, Server, compose, read_answer, serving

from pacarchive import errors
from pacarchive.settings.server import Compatibility
from pacarchive.web.http.settings import LimitSettings

ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
JSON = "Content-Type: application/json"
CACHED, UNCACHED = "no-cache", "no-store"


@pytest.fixture(params=list(Compatibility), ids=lambda mode: mode.value)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that has a file and a job, in both modes."""
    with serving(Server(compatibility=request.param, limits=LimitSettings(connections=1))) as server:
        server.archive.place(102, DATA)
        server.recalls.place(job_status())
        yield server


@pytest.mark.parametrize(
    ("method", "target", "field", "status"),
    [
        ("GET", "/102", "X: y", 200),
        ("GET", "/102?byte_range=0-5", "X: y", 200),
        ("HEAD", "/102", "X: y", 204),
        ("GET", "/102", "Range: bytes=0-5", 206),
        ("GET", "/102", f"If-None-Match: {ETAG}", 304),
    ],
)
def test_files(server: Server, method: str, target: str, field: str, status: int) -> None:
    """A copy is not given away before the archive was asked: the file may be gone, or replaced."""
    answer = server.ask(method, target, field)
    assert (answer.status, answer.field("Cache-Control")) == (status, CACHED)


@pytest.mark.parametrize(
    ("method", "target", "fields", "body"),
    [
        ("GET", "/", (), None),
        ("HEAD", "/", (), None),
        ("OPTIONS", "*", (), None),
        ("GET", "/health", (), None),
        ("GET", "/102", ('If-Match: "x"',), None),
        ("GET", "/102", ("Range: bytes=100-",), None),
        ("GET", "/103", (), None),
        ("HEAD", "/103", (), None),
        ("GET", "/nothing", (), None),
        ("BREW", "/102", (), None),
        ("PUT", "/104", (), DATA),
        ("PUT", "/104", ("Content-MD5: x",), DATA),
        ("POST", "/102", (), b""),
        ("PATCH", "/105", (JSON,), b'{"path": "/x"}'),
        ("DELETE", "/102", (), None),
        ("OPTIONS", "/102", (), None),
        ("PROPFIND", "/102", ("Depth: 0",), None),
        ("PROPFIND", "/", ("Depth: 0",), None),
        ("GET", "/jobs", (), None),
        ("GET", f"/jobs/{JOB}", (), None),
        ("GET", f"/jobs/{'f' * 32}", (), None),
        ("POST", "/jobs", (JSON,), b'{"files": [1]}'),
        ("GET", "/pins", (), None),
        ("GET", "/.well-known/wlcg-tape-rest-api", (), None),
        ("POST", "/api/v1/archiveinfo", (JSON,), b'{"paths": ["/102"]}'),
        ("POST", "/api/v1/archiveinfo", (JSON,), b"{"),
    ],
)
def test_all_else(server: Server, method: str, target: str, fields: tuple[str, ...], body: bytes | None) -> None:
    """How things stand is true for a moment; and what is refused may be granted in the next."""
    assert server.ask(method, target, *fields, body=body).field("Cache-Control") == UNCACHED


def test_failures(server: Server) -> None:
    """What the archive could not do, foreseen or not, is said of no file either; not where its sending had begun."""
    for trouble, status in ((errors.BackendUnavailable("Not now.", retry_after=7), 503), (ZeroDivisionError(), 500)):
        server.archive.trouble["read"] = trouble
        answer = server.ask("GET", "/102")
        if server.settings.compatibility is Compatibility.NONE:
            assert answer.status == status
        assert answer.field("Cache-Control") == UNCACHED
    server.failures()


def test_before_any_route(server: Server) -> None:
    """A head that is refused, and a connection too many."""
    client = server.connect().send(b"GET /102 HTTP/1.1\r\n\r\n")
    (answer,) = client.answers("GET")
    assert (answer.status, answer.field("Cache-Control")) == (400, UNCACHED)
    busy = server.connect()
    answer, _ = read_answer(busy.take())
    assert (answer.status, answer.field("Cache-Control")) == (503, UNCACHED)


def test_outside_of_every_route(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last resort."""

    def fail(request: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.site.resource, "render", fail)
    client = server.connect().send(compose("GET", "/102"))
    (answer,) = client.answers("GET")
    assert (answer.status, answer.field("Cache-Control")) == (500, UNCACHED)
    assert server.failures()
