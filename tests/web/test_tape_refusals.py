"""The WLCG Tape REST API: what is refused, and what fails."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import chunked, compose, serving
from tape_server import (
    JSON,
    LIMIT,
    LISTS,
    NONE_SUCH,
    WELL_KNOWN,
    TapeServer,
    both_spellings,
    hold_status,
    problem,
    server,
)

from pacarchive import errors
from pacarchive.web.http.settings import LimitSettings

__all__ = ["server"]  # the fixture


@pytest.mark.parametrize(("target", "name"), LISTS)
@pytest.mark.parametrize(
    "body",
    [
        None, b"", b"{", b"[]", b"null", b"1", b'"files"', b"{}", b'{"NAME": null}', b'{"NAME": {}}', b'{"NAME": "/1"}',
        b'{"NAME": [NaN]}', b'{"NAME": [1]}', b'{"NAME": [null]}', b'{"NAME": [true]}', b'{"NAME": [[]]}',
        b'{"NAME": ["/1"', b"\xff", b'{"NAME": ["/\xff"]}', b'{"NAME": ["\\ud800"]}', b"[" * 100_000,
        b'{"NAME": ' + b"[" * 90_000, b'{"a":' * 100_000, b'{"NAME": [' + b"9" * 100_000 + b"]}",
        b'{"NAME": ["/' + b"1" * 1000 + b'"]}', b'{"NAME": ["/1", {"path": "/1"}, false]}', b'{"name": ["/1"]}',
        '{"NAME": ["/1"]}'.encode("utf-16-be") + b"x",
    ],
    ids=lambda body: None if body is None else repr(body[:20]),
)  # fmt: skip
def test_documents_that_mean_nothing(server: TapeServer, target: str, name: str, body: bytes | None) -> None:
    """Whatever is sent: 400, in words, and nothing is done."""
    answer = server.ask("POST", target, JSON, body=body and body.replace(b"NAME", name.encode()))
    assert problem(answer, 400)
    assert server.engine.requests == {}
    assert not server.failures()


@pytest.mark.parametrize(
    "file", ["/1", 1, None, True, [], {}, {"path": None}, {"path": 1}, {"path": True}, {"path": ["/1"]}, {"Path": "/1"},
             {"path": {}}, {"path": "/" + "x" * 1000}, {"path": "\ud800"}, {"path": "/1\udfff"}]
)  # fmt: skip
def test_files_that_mean_nothing(server: TapeServer, file: object) -> None:
    """One is enough: the document is not what it should be."""
    answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}, file, {"path": "/2"}]})
    assert problem(answer, 400)
    assert server.engine.requests == {}


def test_no_files(server: TapeServer) -> None:
    """A request for nothing is a mistake."""
    assert "one file" in problem(server.call("POST", "/api/v1/stage", {"files": []}), 400)


@pytest.mark.parametrize(("target", "name"), LISTS)
@pytest.mark.parametrize("form", ["whole", "chunks"])
def test_large_documents(server: TapeServer, target: str, name: str, form: str) -> None:
    """Up to a limit they are read; of more, no more."""
    document = f'{{"{name}": [], "x": ""}}'.encode()
    fits = document.replace(b'""', b'"' + b"x" * (LIMIT - len(document)) + b'"')
    assert len(fits) == LIMIT
    for body, status in ((fits, {400, 404, 200}), (fits + b" ", {413})):
        if form == "whole":
            answer = server.ask("POST", target, JSON, body=body)
        else:
            pieces = chunked(*(body[start : start + 65536] for start in range(0, len(body), 65536)))
            answer = server.ask("POST", target, JSON, "Transfer-Encoding: chunked", body=pieces)
        assert answer.status in status
        if answer.status != 200:
            problem(answer, answer.status)


def test_a_document_in_very_small_chunks(server: TapeServer) -> None:
    """What is to be done for each of them does not grow with their number."""
    body = json.dumps({"paths": ["/1"], "x": "x" * 400_000}).encode()
    message = compose(
        "POST",
        "/api/v1/archiveinfo",
        "Transfer-Encoding: chunked",
        body=chunked(*(body[at : at + 3] for at in range(0, len(body), 3))),
    )
    # The square of their number would take longer than any test may.
    client = server.connect().send(message)
    server.finish_work()
    (answer,) = client.answers()
    assert answer.status == 200


def test_a_refusal_costs_no_body(server: TapeServer) -> None:
    """A client that asks before it sends is told at once."""
    client = server.connect()
    client.send(compose("POST", "/api/v1/stage", "Expect: 100-continue", f"Content-Length: {LIMIT + 1}"))
    (answer,) = client.answers()
    assert problem(answer, 413)
    assert answer.closes


@pytest.mark.parametrize(
    ("methods", "target"),
    [
        ("GET, HEAD, OPTIONS", WELL_KNOWN),
        ("OPTIONS, POST", "/api/v1/stage"),
        ("DELETE, GET, HEAD, OPTIONS", f"/api/v1/stage/{NONE_SUCH}"),
        ("OPTIONS, POST", f"/api/v1/stage/{NONE_SUCH}/cancel"),
        ("OPTIONS, POST", f"/api/v1/release/{NONE_SUCH}"),
        ("OPTIONS, POST", "/api/v1/release/gfal2-placeholder-id"),
        ("OPTIONS, POST", "/api/v1/archiveinfo"),
    ],
)
@both_spellings
def test_methods(server: TapeServer, methods: str, target: str, slash: str) -> None:
    """What is not for a path is 405, and which are is told."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW", "HEAD"):
        if method in methods.split(", "):
            continue
        answer = server.ask(method, target + slash, JSON, body=b"{}" if method in ("PUT", "POST", "PATCH") else None)
        assert answer.field("Allow") == methods
        if method == "HEAD":
            assert (answer.status, answer.body) == (405, b"")
        else:
            assert problem(answer, 405)
    answer = server.ask("OPTIONS", target + slash)
    assert (answer.status, answer.field("Allow"), answer.body) == (204, methods, b"")


def test_head(server: TapeServer) -> None:
    """As GET, without the document."""
    job = server.stage("/1")
    for target in (WELL_KNOWN, f"/api/v1/stage/{job}"):
        get, head = server.ask("GET", target), server.ask("HEAD", target)
        assert (head.status, head.body, head.field("Content-Length")) == (200, b"", str(len(get.body)))
    answer = server.ask("HEAD", f"/api/v1/stage/{NONE_SUCH}")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    "target",
    ["/api/", "/api/v1", "/api/v1/", "/api/v2/stage", "/api/v1/stages", "/api/v1/stage//", "/api//v1/stage",
     f"/api/v1/stage/{NONE_SUCH}/x", f"/api/v1/stage/{NONE_SUCH}/cancel//", "/api/v1/release", "/api/v1/release/",
     "/api/v1/%73tage", "/api/x?byte_range=1-2", f"{WELL_KNOWN}//"]
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
def test_paths_that_are_not_there(server: TapeServer, method: str, target: str) -> None:
    """Their errors are those of the API as well."""
    answer = server.ask(method, target, body=b"{}" if method == "POST" else None)
    if target == f"{WELL_KNOWN}//":
        assert answer.status == 404
        assert answer.error["message"]
    else:
        assert problem(answer, 404)


def test_more_slashes_before_the_path(server: TapeServer) -> None:
    """A client that joins a URL that ends in a slash."""
    assert server.ask("GET", f"/{WELL_KNOWN}").status == 200
    assert server.call("POST", "//api/v1/stage", {"files": [{"path": "/1"}]}).status == 201
    assert problem(server.ask("GET", f"//api/v1/stage/{NONE_SUCH}"), 404)


@pytest.mark.parametrize("target", ["/x", "/apix", "/api", "/.well-known/x", f"{WELL_KNOWN}x", "/1/api/", "/x?/api/"])
def test_errors_of_other_paths(server: TapeServer, target: str) -> None:
    """Are the predecessor's, as before."""
    assert server.ask("GET", target).error["status"] == "404 Not Found"
    assert server.ask("GET", target).error["message"] == "No such resource: a path here is one file id."


# Failures


@pytest.mark.parametrize("where", ["submit", "status", "files"])
@pytest.mark.parametrize(
    ("trouble", "status", "retry"),
    [
        (errors.BackendUnavailable("The store does not answer.", retry_after=17), 503, "17"),
        (errors.Overloaded("Too much at once.", retry_after=3), 503, "3"),
        (errors.NoSpace("The store is full."), 507, None),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_the_engines_troubles(
    server: TapeServer, where: str, trouble: Exception, status: int, retry: str | None
) -> None:
    """With their true status in both modes, and when to come back."""
    job = server.stage("/1")
    server.engine.trouble[where] = trouble
    if where == "submit":
        answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}]})
    else:
        answer = server.call("GET", f"/api/v1/stage/{job}")
    assert problem(answer, status) == str(trouble)
    assert answer.field("Retry-After") == retry
    assert sum(server.site.events.values()) == 1


@pytest.mark.parametrize("where", ["submit", "files", "backend"])
def test_what_nobody_foresaw(server: TapeServer, where: str) -> None:
    """500, with a number to find it in the log by, and no word of what it was; nothing else is left running."""
    job = server.stage("/1")
    server.archive.trouble["status"] = server.engine.trouble[where] = RuntimeError("secret")
    if where == "backend":
        answer = server.call("POST", "/api/v1/archiveinfo", {"paths": ["/1", "/2"]})
    elif where == "submit":
        answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}]})
    else:
        answer = server.call("GET", f"/api/v1/stage/{job}")
    assert re.fullmatch(r"Incident [0-9a-f]{12} in the server's log", problem(answer, 500))
    (failure,) = server.failures()
    assert failure.check(RuntimeError)
    assert server.site.events == {"incident": 1}


def test_an_incident_ends_all_that_goes_with_it(server: TapeServer) -> None:
    """The storage is not asked any more on behalf of a request that cannot be answered."""
    waits = hold_status(server)
    body = json.dumps({"paths": [f"/{number}" for number in range(240)]}).encode()
    client = server.connect().send(compose("POST", "/api/v1/archiveinfo", body=body))
    server.clock.pump([0] * 5)
    for number in range(200):
        assert client.answers() == []
        if number == 7:
            waits[number].errback(RuntimeError("secret"))
        else:
            waits[number].callback(None)
    (answer,) = client.answers()
    assert problem(answer, 500)
    assert len(server.failures()) == 1
    assert len(waits) == 200


def test_a_body_that_is_cut_off(server: TapeServer) -> None:
    """It stages nothing."""
    client = server.connect()
    body = json.dumps({"files": [{"path": "/1"}]}).encode()
    client.send(compose("POST", "/api/v1/stage", body=body + b" " * 20_000)[:-1])
    client.end()
    (answer,) = client.answers()
    assert problem(answer, 400)
    assert server.engine.requests == {}


KEYS = st.sampled_from(["files", "paths", "path", "diskLifetime", "x"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["/1", "//2", "/x"])
)
PIECES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12)


@given(st.sampled_from(LISTS), PIECES | st.builds(lambda inner: {"files": inner, "paths": inner}, PIECES))
def test_any_document(target: tuple[str, str], document: Any) -> None:
    """It means something, or is refused in words; nothing unforeseen happens."""
    with serving(TapeServer(limits=LimitSettings())) as server:
        answer = server.ask("POST", target[0], JSON, body=json.dumps(document).encode())
        if answer.status not in (200, 201):
            assert answer.status in (400, 404)
            problem(answer, answer.status)
        assert "incident" not in server.site.events
