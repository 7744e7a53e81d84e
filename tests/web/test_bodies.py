"""Bodies that mean nothing where they come, and checks that senders ask for: neither is passed over in silence."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator

import pytest
from doubles import JOB, job_status
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, Server, chunked, compose, serving

from pacarchive.settings.server import Compatibility

CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
MACAROON = "Content-Type: application/macaroon-request"
MOVE = b'{"path": "/x"}'


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.fixture(params=list(Compatibility), ids=lambda mode: mode.value)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that has a file and a job, in both modes."""
    with serving(Server(compatibility=request.param)) as server:
        server.archive.place(102, DATA)
        server.recalls.place(job_status())
        yield server


def refusal(server: Server, status: int = 400) -> int:
    """What a refusal is answered with in the mode of the server."""
    return 500 if server.settings.compatibility is Compatibility.PACIFICA else status


# Bodies


@pytest.mark.parametrize("kind", [None, FORM, JSON, "Content-Type: text/plain", "Content-Type: multipart/form-data"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_empty_body(server: Server, method: str, kind: str | None) -> None:
    """It is none, whatever it is called: C{curl -d ''} says that it is a form."""
    fields = [kind] if kind else []
    assert server.ask(method, "/102", *fields, body=b"").status == 200
    server.archive.place(102, DATA)
    assert server.ask(method, "/102", *fields).status == 200
    server.archive.place(102, DATA)
    assert server.ask(method, "/102", *fields, CHUNKED, body=chunked()).status == 200


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ((MACAROON,), b'{"caveats": ["activity:LIST"], "validity": "PT12H"}', 415),
        ((MACAROON,), b"", 415),
        ((MACAROON,), None, 415),
        (("Content-Type: APPLICATION/macaroon-request; x=y",), b"", 415),
        (("Content-Type: multipart/form-data; boundary=x",), b"--x--", 415),
        ((JSON,), b'{"files": [1]}', 415),
        ((), b"x", 415),
        (("Content-Type: text/plain",), b"x", 415),
    ],
)
@pytest.mark.parametrize("target", ["/102", "/jobs/JOB", "/pins/102"])
def test_a_body_that_means_nothing(
    server: Server, target: str, fields: tuple[str, ...], body: bytes | None, status: int
) -> None:
    """Who sends one means something else than what would be done; nothing is."""
    target = target.replace("JOB", JOB)
    for method in ("POST", "DELETE") if target == "/102" else ("DELETE",):
        answer = server.ask(method, target, *fields, body=body)
        assert (answer.status, bool(answer.error["message"])) == (status, True)
        if body:
            answer = server.ask(method, target, *fields, CHUNKED, body=chunked(body))
            assert answer.status == status
    assert server.archive.data(102) == DATA
    assert (server.archive.calls, server.recalls.calls) == ([], [])


def test_a_form(server: Server) -> None:
    """What C{curl -d} makes of anything has always been a wish to stage; it is none to delete."""
    assert server.ask("POST", "/102", f"{FORM}; charset=utf-8", body=b"a=b").status == 200
    assert server.ask("DELETE", "/102", FORM, body=b"a=b").status == 415


def test_a_large_one_is_not_read(server: Server) -> None:
    """Nor invited."""
    client = server.connect()
    client.send(compose("POST", "/102", "Expect: 100-continue", "Content-Length: 1000000"))
    (answer,) = client.answers("POST")
    assert (answer.status, answer.closes) == (415, True)


# Checks


@pytest.mark.parametrize("field", ["Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "rEPR-dIGEST"])
@pytest.mark.parametrize("expect", [True, False])
def test_trailers_cannot_come(server: Server, field: str, expect: bool) -> None:
    """A body of a known length has none, so nobody waits for it."""
    for announced in (field, f"X-Other, {field} ,", f"x,{field},Expires"):
        fields = [f"Trailer: {announced}", *(["Expect: 100-continue"] if expect else [])]
        client = server.connect().send(compose("PUT", "/7", *fields, "Content-Length: 100000"))
        (answer,) = client.answers("PUT")
        assert answer.status == refusal(server)
    for body in (b"", DATA):
        assert server.ask("PUT", "/7", f"Trailer: {field}", body=body).status == refusal(server)
    assert server.archive.data(7) is None
    assert server.archive.calls == []


@pytest.mark.parametrize(
    ("announced", "trailers"),
    [
        ("Repr-Digest", []),
        ("Repr-Digest, Content-MD5", [f"Repr-Digest: sha-256=:{sha256(DATA)}:"]),
        ("Content-MD5", [f"Repr-Digest: sha-256=:{sha256(DATA)}:"]),
        ("Digest", ["X-Digest: md5=x"]),
    ],
)
def test_trailers_do_not_come(server: Server, announced: str, trailers: list[str]) -> None:
    """What was to be checked was not, so nothing is stored."""
    answer = server.ask("PUT", "/7", CHUNKED, f"Trailer: {announced}", body=chunked(DATA, trailers=trailers))
    assert answer.status == refusal(server)
    assert "which has not come" in answer.error["traceback"]
    assert server.archive.data(7) is None
    assert server.archive.data(102) == DATA


@pytest.mark.parametrize("announced", ["X-Other", "Expires, ETag", "", "Want-Digest", "sha-256"])
def test_other_trailers(server: Server, announced: str) -> None:
    """They ask for no check, and come or do not."""
    assert server.ask("PUT", "/7", f"Trailer: {announced}", body=DATA).status == 201
    body = chunked(DATA, trailers=["X-Other: y"])
    assert server.ask("PUT", "/8", CHUNKED, f"Trailer: {announced}", body=body).status == 201
    assert (server.archive.data(7), server.archive.data(8)) == (DATA, DATA)


@given(
    announced=st.sets(st.sampled_from(["Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "X-Other"])),
    sent=st.dictionaries(st.sampled_from(["Content-MD5", "Digest", "Content-Digest", "Repr-Digest"]), st.booleans()),
)
def test_any_trailers(announced: set[str], sent: dict[str, bool]) -> None:
    """Stored where all that was announced has come, all that came was announced or is computed anyway, and is right."""

    def value(field: str, right: bool) -> str:
        data = DATA if right else b"other"
        return {"Content-MD5": md5(data), "Digest": f"sha256={sha256(data)}"}.get(field, f"sha-256=:{sha256(data)}:")

    trailers = [f"{field}: {value(field, right)}" for field, right in sent.items()]
    with serving(Server()) as server:
        fields = [f"Trailer: {', '.join(sorted(announced))}"] if announced else []
        answer = server.ask("PUT", "/7", CHUNKED, *fields, body=chunked(DATA, trailers=trailers))
        computed = "Content-MD5" not in sent or announced & {"Content-MD5", "Digest"}
        stored = announced - {"X-Other"} <= sent.keys() and all(sent.values()) and bool(computed)
        assert answer.status == (201 if stored else 400)
        assert server.archive.data(7) == (DATA if stored else None)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PATCH", "/9", MOVE),
        ("POST", "/jobs", b'{"files": [1]}'),
        ("POST", f"/jobs/{JOB}/cancel", b'{"files": [12]}'),
        ("POST", "/api/v1/archiveinfo", b'{"paths": ["/102"]}'),
    ],
)
def test_documents(server: Server, method: str, target: str, body: bytes) -> None:
    """A document is checked as a file is, before anything is done."""
    server.archive.trouble["move"] = NotImplementedError()
    for field in (f"Content-MD5: {md5(b'x')}", f"Content-Digest: sha-256=:{sha256(b'x')}:", "Content-MD5: nonsense"):
        answer = server.ask(method, target, JSON, field, body=body)
        assert answer.status in (400, refusal(server))
        assert server.ask(method, target, JSON, CHUNKED, field, body=chunked(body)).status in (400, refusal(server))
    for trailers in ([], [f"Digest: md5={md5(b'x')}"]):
        answer = server.ask(method, target, JSON, CHUNKED, "Trailer: Digest", body=chunked(body, trailers=trailers))
        assert answer.status in (400, refusal(server))
    assert server.ask(method, target, JSON, "Trailer: Digest", body=body).status in (400, refusal(server))
    assert (server.archive.calls, server.recalls.calls) == ([], [])
    if method == "POST":
        trailers = [f"Digest: sha256={sha256(body)}"]
        fields = (JSON, CHUNKED, "Trailer: Digest", f"Content-MD5: {md5(body)}")
        answer = server.ask(method, target, *fields, body=chunked(body, trailers=trailers))
        assert answer.status in (200, 201), json.loads(answer.body)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_condition_on_a_time(server: Server, method: str) -> None:
    """A file's time is its sender's, so that no write may depend on it; where there is a tag it does not count."""
    date = "If-Unmodified-Since: Sun, 06 Nov 2094 08:49:37 GMT"
    body = {"PUT": b"new", "PATCH": MOVE}.get(method)
    answer = server.ask(method, "/102", JSON, date, body=body)
    assert answer.status == refusal(server)
    assert "If-Match" in answer.error["traceback"]
    assert server.archive.data(102) == DATA
    if method != "PATCH":  # an archive in memory has nothing to move in
        assert server.ask(method, "/102", date, 'If-Match: "x"', body=body).status == 412


def test_two_times(server: Server) -> None:
    """One of them would not be the file's."""
    dates = ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT")
    pacifica = server.settings.compatibility is Compatibility.PACIFICA
    assert server.ask("PUT", "/7", *dates, body=DATA).status == (201 if pacifica else 400)
    assert server.ask("PUT", "/8", dates[0], dates[0], body=DATA).status == 201
