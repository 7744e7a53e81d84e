"""PUT, in both modes: what is stored, under which conditions, and with which digests."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from support import DATA, Server, chunked, serving

from pacarchive.model import Durability, Overwrite
from pacarchive.settings.server import Compatibility

ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(DATA).digest()).decode()
SHA1 = base64.b64encode(hashlib.sha1(DATA).digest()).decode()
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
ADLER32 = f"{zlib.adler32(DATA):08x}"
WRONG = base64.b64encode(bytes(32)).decode()

both_modes = pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


@pytest.fixture
def stored(server: Server) -> Server:
    """A server that has C{DATA} as 102."""
    server.archive.place(102, DATA)
    return server


@both_modes
def test_put(mode: Compatibility) -> None:
    """A new file: 201, the number of bytes that are stored, where it is and what it is."""
    with serving(Server(compatibility=mode)) as server:
        answer = server.ask("PUT", "/102", body=DATA)
        assert answer.line == "HTTP/1.1 201 Created"
        assert answer.body == b'{"message": "File added to archive", "total_bytes": 36}'
        assert answer.field("Content-Type") == "application/json"
        assert answer.field("Content-Length") == "55"
        assert answer.field("Location") == "/102"
        assert answer.field("ETag") == ETAG
        assert answer.field("Repr-Digest") == f"sha-256=:{SHA256}:"
        assert server.archive.data(102) == DATA


@pytest.mark.parametrize(("durability", "words"), [(Durability.FULL, None), (Durability.RELAXED, "relaxed")])
def test_put_says_what_it_promises(durability: Durability, words: str | None) -> None:
    """Where a file is not on stable storage when it is acknowledged, the answer says so; nowhere else."""
    with serving(Server(durability=durability)) as server:
        assert server.ask("PUT", "/102", body=DATA).field("X-Pacarchive-Durability") == words


@both_modes
def test_put_nothing(mode: Compatibility) -> None:
    """A file may be empty."""
    with serving(Server(compatibility=mode)) as server:
        answer = server.ask("PUT", "/1", body=b"")
        assert (answer.status, answer.body) == (201, b'{"message": "File added to archive", "total_bytes": 0}')
        assert server.archive.data(1) == b""
        answer = server.ask("GET", "/1")
        assert (answer.status, answer.field("Content-Length"), answer.body) == (200, "0", b"")


@both_modes
def test_put_without_length(mode: Compatibility) -> None:
    """Neither a length nor chunks: 411; in chunks: stored exactly."""
    with serving(Server(compatibility=mode)) as server:
        answer = server.ask("PUT", "/1")
        assert (answer.status, answer.error["message"]) == (411, "Client must specify Content-Length")
        assert server.archive.data(1) is None
        answer = server.ask("PUT", "/1", "Transfer-Encoding: chunked", body=chunked(DATA[:1], DATA[1:30], DATA[30:]))
        assert (answer.status, json.loads(answer.body)["total_bytes"]) == (201, 36)
        assert server.archive.data(1) == DATA
        assert server.ask("PUT", "/2", "Transfer-Encoding: chunked", body=chunked()).status == 201
        assert server.archive.data(2) == b""


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
def test_put_form(server: Server, kind: str) -> None:
    """C{curl -X PUT --data-binary} declares a form; the body is stored as it is."""
    assert server.ask("PUT", "/1", f"Content-Type: {kind}", body=b"a=b&c=%31").status == 201
    assert server.archive.data(1) == b"a=b&c=%31"


@pytest.mark.parametrize(
    ("policy", "body", "status"),
    [
        (Overwrite.ALLOW, b"other", 201),
        (Overwrite.ALLOW, DATA, 201),
        (Overwrite.IDENTICAL, DATA, 201),
        (Overwrite.IDENTICAL, b"other", 409),
        (Overwrite.DENY, DATA, 409),
        (Overwrite.DENY, b"other", 409),
    ],
)
def test_put_again(policy: Overwrite, body: bytes, status: int) -> None:
    """Whether a taken id is replaced is a setting; a refusal leaves the old file as it was."""
    with serving(Server(overwrite=policy)) as server:
        assert server.ask("PUT", "/102", body=DATA).status == 201
        before = server.ask("GET", "/102")
        answer = server.ask("PUT", "/102", body=body)
        assert answer.status == status
        assert server.archive.data(102) == (body if status == 201 else DATA)
        if status == 409:
            assert answer.error["message"]
            after = server.ask("GET", "/102").fields
            assert set(after) - set(before.fields) == {each for each in after if each[0] == "X-Request-Id"}


@both_modes
@pytest.mark.parametrize(
    ("there", "field", "status"),
    [
        (False, "If-None-Match: *", 201),
        (True, "If-None-Match: *", 412),
        (True, f"If-Match: {ETAG}", 201),
        (True, f'If-Match: "nonsense", {ETAG}', 201),
        (True, "If-Match: *", 201),
        (True, 'If-Match: "nonsense"', 412),
        (True, f"If-Match: W/{ETAG}", 412),
        (False, "If-Match: *", 412),
        (False, f"If-Match: {ETAG}", 412),
    ],
)
def test_put_conditions(mode: Compatibility, there: bool, field: str, status: int) -> None:
    """Conditions are 412 in both modes when they do not hold."""
    with serving(Server(compatibility=mode, overwrite=Overwrite.ALLOW)) as server:
        if there:
            server.archive.place(102, DATA)
        assert server.ask("PUT", "/102", field, body=b"new").status == status
        assert server.archive.data(102) == (b"new" if status == 201 else DATA if there else None)


@pytest.mark.parametrize("field", ['If-None-Match: "x"', "If-Match: x", 'If-Match: "x'])
def test_put_conditions_not_understood(stored: Server, field: str) -> None:
    """A condition that is not understood must not have the file replaced."""
    assert stored.ask("PUT", "/102", field, body=b"new").status == 400
    assert stored.archive.data(102) == DATA


@both_modes
@pytest.mark.parametrize(
    ("date", "seconds", "exact"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0, "37.000000000Z"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0, "37.000000000Z"),
        ("Sun Nov  6 08:49:37 1994", 784111777.0, "37.000000000Z"),
        ("1994-11-06T08:49:37Z", 784111777.0, "37.000000000Z"),
        ("1994-11-06T08:49:37.25", 784111777.25, "37.250000000Z"),
        ("1994-11-06 10:49:37.5+02:00", 784111777.5, "37.500000000Z"),
        ("1994-11-06T08:49:37.999999999Z", 784111778.0, "37.999999999Z"),
    ],
)
def test_put_last_modified(mode: Compatibility, date: str, seconds: float, exact: str) -> None:
    """The sender's date is the file's, in every form that a client writes, to the nanosecond."""
    with serving(Server(compatibility=mode)) as server:
        answers = [server.ask("PUT", "/102", f"Last-Modified: {date}", body=DATA)]
        assert answers[0].status == 201
        assert server.ask("HEAD", "/102").field("Last-Modified") == str(seconds)
        answers += [
            server.ask("HEAD", "/102"),
            server.ask("GET", "/102"),
            server.ask("GET", "/102", "Range: bytes=1-2"),
        ]
        assert {each.field("X-Pacarchive-Mtime") for each in answers} == {f"1994-11-06T08:49:{exact}"}
        assert server.ask("GET", "/102").field("Last-Modified") == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_put_last_modified_zone() -> None:
    """C{time.ctime()} says its sender's zone, which a setting names."""
    with serving(Server(asctime_zone=ZoneInfo("America/Los_Angeles"))) as server:
        server.ask("PUT", "/102", "Last-Modified: Sun Nov  6 00:49:37 1994", body=DATA)
        assert server.ask("HEAD", "/102").field("Last-Modified") == "784111777.0"


def test_put_bad_last_modified(server: Server) -> None:
    """A date that cannot be read is refused, and nothing is stored."""
    answer = server.ask("PUT", "/102", "Last-Modified: yesterday", body=DATA)
    assert answer.status == 400
    assert answer.error["message"]
    assert server.archive.data(102) is None


DIGESTS = [
    f"Content-MD5: {MD5}",
    f"Digest: md5={MD5}",
    f"Digest: SHA={SHA1}",
    f"Digest: SHA-256={SHA256}",
    f"Digest: sha-512={SHA512}",
    f"Digest: adler32={ADLER32},md5={MD5}",
    f"Content-Digest: sha-256=:{SHA256}:",
    f"Repr-Digest: sha-512=:{SHA512}:, sha-256=:{SHA256}:",
]


@both_modes
@pytest.mark.parametrize("field", [*DIGESTS, "Digest: crc32c=AAAA", "Content-Digest: unixsum=:AAAA:"])
def test_put_digest(mode: Compatibility, field: str) -> None:
    """Right digests, and those of unknown algorithms, let the file in; before the body and after it."""
    with serving(Server(compatibility=mode)) as server:
        assert server.ask("PUT", "/1", field, body=DATA).status == 201
        name = field.partition(":")[0]
        body = chunked(DATA, trailers=[field])
        answer = server.ask("PUT", "/2", f"Trailer: {name}", "Transfer-Encoding: chunked", body=body)
        assert (answer.status, server.archive.data(2)) == (201, DATA)


@pytest.mark.parametrize("field", DIGESTS)
def test_put_wrong_digest(server: Server, field: str) -> None:
    """Any wrong digest keeps the file out, before the body and after it."""
    name = field.partition(":")[0]
    bent = b"_" + DATA[1:]
    answer = server.ask("PUT", "/1", field, body=bent)
    assert (answer.status, server.archive.data(1)) == (400, None)
    assert "digest" in answer.error["message"]
    body = chunked(bent, trailers=[field])
    answer = server.ask("PUT", "/2", f"Trailer: {name}", "Transfer-Encoding: chunked", body=body)
    assert (answer.status, server.archive.data(2)) == (400, None)


def test_put_one_of_many_digests_wrong(server: Server) -> None:
    """All that are given are checked, not one of them."""
    fields = (f"Content-MD5: {MD5}", f"Digest: SHA-256={SHA256}", f"Content-Digest: sha-256=:{WRONG}:")
    assert server.ask("PUT", "/1", *fields, body=DATA).status == 400
    assert server.ask("PUT", "/1", f"Digest: SHA-256={SHA256},adler32=1", body=DATA).status == 400
    assert server.archive.data(1) is None


@pytest.mark.parametrize(
    ("trailers", "status"),
    [
        ([f"Repr-Digest: sha-256=:{SHA256}:"], 201),
        ([f"Repr-Digest: sha-256=:{WRONG}:"], 400),
        ([f"Content-MD5: {MD5}"], 400),
        (["Expires: never"], 201),
    ],
)
def test_put_trailer_not_announced(server: Server, trailers: list[str], status: int) -> None:
    """A digest that comes unannounced is checked where it was computed anyway, and refused where it was not."""
    answer = server.ask("PUT", "/1", "Transfer-Encoding: chunked", body=chunked(DATA, trailers=trailers))
    assert answer.status == status
    assert server.archive.data(1) == (DATA if status == 201 else None)


def test_put_trailer_announced_and_missing(server: Server) -> None:
    """The check that the sender asked for cannot be made."""
    answer = server.ask("PUT", "/1", "Trailer: Content-MD5", "Transfer-Encoding: chunked", body=chunked(DATA))
    assert answer.status == 400
    assert server.archive.data(1) is None


def test_put_trailer_contradicts_header(server: Server) -> None:
    """A right trailer does not make up for a wrong header."""
    answer = server.ask(
        "PUT", "/1", "Trailer: Repr-Digest", f"Repr-Digest: sha-256=:{WRONG}:", "Transfer-Encoding: chunked",
        body=chunked(DATA, trailers=[f"Repr-Digest: sha-256=:{SHA256}:"]),
    )  # fmt: skip
    assert (answer.status, server.archive.data(1)) == (400, None)


@pytest.mark.parametrize(
    ("field", "status"),
    [("Content-Range: bytes 0-35/36", 400), ("Content-Encoding: gzip", 415), ("Content-Encoding: identity", 201)],
)
def test_put_representation(server: Server, field: str, status: int) -> None:
    """A part of a file, or a coded one, must not be stored as the file."""
    assert server.ask("PUT", "/1", field, body=DATA).status == status
    assert (server.archive.data(1) is not None) == (status == 201)
