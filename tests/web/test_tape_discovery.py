"""The WLCG Tape REST API is found, under the names that the server is called by."""

from __future__ import annotations

import pytest
from support import serving
from tape_server import JSON, WELL_KNOWN, TapeServer, both_spellings, problem, read, server

from pacarchive.recall.words import FileState
from pacarchive.settings.server import Compatibility

__all__ = ["server"]  # the fixture


@both_spellings
def test_discovery(server: TapeServer, slash: str) -> None:
    """XRootD wants strings and an http URI, gfal2 a version that is v1 or 1; xrdhttp has the path built in."""
    answer = server.ask("GET", WELL_KNOWN + slash, host="archive.example:8080")
    assert answer.line == "HTTP/1.1 200 OK"
    document = read(answer)
    assert isinstance(document.pop("description"), str)
    assert document == {
        "sitename": "pacarchive",
        "endpoints": [{"uri": "http://archive.example:8080/api/v1", "version": "v1", "metadata": {}}],
    }


@pytest.mark.parametrize("host", ["archive", "127.0.0.1:18090", "[::1]:8080", "[fe80::1]", "a_b.example", "A-1.b:443"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_uri_is_the_callers(server: TapeServer, host: str, secure: bool) -> None:
    """As it reached this server; what proxies add is not believed, as anyone can add it."""
    client = server.connect()
    client.protocol._secure = secure
    untrusted = ("X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil", "Forwarded: host=evil;proto=gopher")
    answer = client.ask("GET", WELL_KNOWN, *untrusted, host=host)
    (endpoint,) = read(answer)["endpoints"]
    assert endpoint["uri"] == f"{'https' if secure else 'http'}://{host}/api/v1"
    assert b"evil" not in answer.body


@pytest.mark.parametrize("host", ["", "a,b", "a'b", "a(b)", "a%20b", "a:", ":80", "a:123456", "[::1", "x" * 300])
@pytest.mark.parametrize("call", ["GET", "POST"])
def test_a_host_that_makes_no_uri(server: TapeServer, host: str, call: str) -> None:
    """It would stand in an answer; no job is made that nobody would hear of."""
    body = b'{"files": [{"path": "/1"}]}'
    if call == "GET":
        answer = server.ask("GET", WELL_KNOWN, host=host)
    else:
        answer = server.ask("POST", "/api/v1/stage", host=host, body=body)
    if answer.field("Content-Type") == "application/json":
        assert answer.error["message"] == "The Host is malformed.", "the channel refuses it for every path"
        assert answer.status == 400
    else:
        assert "Host" in problem(answer, 400)
    assert server.engine.requests == {}


@pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)
@pytest.mark.parametrize("call", ["GET", "POST"])
def test_a_host_that_is_another(mode: Compatibility, call: str) -> None:
    """No URI is made of it, wherever it came from; and no job."""
    server = TapeServer(compatibility=mode)
    with serving(server):
        if call == "GET":
            answer = server.ask("GET", WELL_KNOWN, host="evil.example")
        else:
            answer = server.ask("POST", "/api/v1/stage", host="evil.example", body=b'{"files": [{"path": "/1"}]}')
        assert "[server] public_url or hosts" in problem(answer, 421)
        assert server.engine.requests == {}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((JSON,), 201),
        ((), 201),
        (("Content-Type: Application/JSON; charset=utf-8",), 201),
        ((JSON, "Origin: https://evil.example"), 201),  # a browser asks first whether it may
        (("Origin: https://evil.example",), 415),
        (("Content-Type:", "Origin: null"), 415),
        (("Content-Type: text/plain",), 415),
        (("Content-Type: application/x-www-form-urlencoded",), 415),
        (("Content-Type: multipart/form-data; boundary=x",), 415),
        (("Content-Type: application/macaroon-request",), 415),
        ((JSON, JSON), 415),
    ],
)
def test_what_the_document_is_called(server: TapeServer, fields: tuple[str, ...], status: int) -> None:
    """It is JSON, or nothing is said of it, and no page of anybody's is behind it."""
    answer = server.ask("POST", "/api/v1/stage", *fields, body=b'{"files": [{"path": "/1"}]}')
    assert answer.status == status
    assert len(server.engine.requests) == (status == 201)
    answer = server.ask("POST", "/api/v1/archiveinfo", *fields, body=b'{"paths": ["/1"]}')
    assert answer.status == (200 if status == 201 else status)


def test_deletions_have_no_body(server: TapeServer) -> None:
    """A list in there would be taken for less than is done."""
    job = server.stage("/1", "/2")
    url = f"/api/v1/stage/{job}"
    assert "no body" in problem(server.ask("DELETE", url, JSON, body=b'{"paths": ["/1"]}'), 415)
    assert server.call("GET", url).status == 200
    assert server.ask("DELETE", url, body=b"").status == 200


def test_the_targets_host(server: TapeServer) -> None:
    """It is the one, whatever the field says (RFC 9112, section 3.2.2)."""
    answer = server.ask("GET", f"HTTP://archive.example:81{WELL_KNOWN}", host="evil.example")
    (endpoint,) = read(answer)["endpoints"]
    assert endpoint["uri"] == "http://archive.example:81/api/v1"
    assert "evil" in problem(server.ask("GET", f"http://evil.example{WELL_KNOWN}", host="archive"), 421)


def test_no_host(server: TapeServer) -> None:
    """HTTP/1.0 needs none, and then there is no URI."""
    client = server.connect().send(f"GET {WELL_KNOWN} HTTP/1.0\r\n\r\n".encode())
    (answer,) = client.answers()
    assert "Host" in problem(answer, 400)


def test_the_site_name() -> None:
    """It is the operator's, in any script."""
    with serving(TapeServer(site_name="Pražský archiv")) as server:
        assert read(server.ask("GET", WELL_KNOWN))["sitename"] == "Pražský archiv"


def test_the_public_url() -> None:
    """Behind a proxy the operator knows better, and no Host is needed."""
    with serving(TapeServer(public_url="https://archive.example.org")) as server:
        (endpoint,) = read(server.ask("GET", WELL_KNOWN))["endpoints"]
        assert endpoint["uri"] == "https://archive.example.org/api/v1"
        answer = server.ask("POST", "/api/v1/stage", JSON, body=b'{"files": [{"path": "/12345"}]}')
        assert answer.field("Location") == f"https://archive.example.org/api/v1/stage/{read(answer)['requestId']}"


def test_what_gfal2_sends(server: TapeServer) -> None:
    """A whole conversation of Debian 12's, with its odd fields, on one connection."""
    fields = (
        "User-Agent: gfal2-util/1.8.0 gfal2/2.21.3 neon/0.0.29", "Keep-Alive:", "Connection: Keep-Alive",
        "TE: trailers",
    )  # fmt: skip
    client = server.connect()
    (endpoint,) = read(client.ask("GET", WELL_KNOWN, *fields, host="127.0.0.1:18090"))["endpoints"]
    assert endpoint["uri"] == "http://127.0.0.1:18090/api/v1"
    answer = client.ask("POST", "/api/v1/stage/", JSON, *fields, body=b'{"files": [{"path": "/12345"}]}')
    assert answer.status == 201
    job = read(answer)["requestId"]
    for state, shown in ((FileState.STARTED, "STARTED"), (FileState.COMPLETED, "COMPLETED")):
        server.engine.change(job, 12345, state)
        answer = client.ask("GET", f"/api/v1/stage/{job}", *fields)
        assert answer.status == 200
        assert read(answer)["files"] == [{"path": "/12345", "state": shown}]
    answer = client.ask("POST", f"/api/v1/release/{job}", JSON, *fields, body=b'{"paths": ["/12345"]}')
    assert (answer.status, answer.body) == (200, b"")
