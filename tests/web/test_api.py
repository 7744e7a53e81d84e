"""
Every row of the wire contract that holds in both modes: what each verb answers, to the byte where clients look at it.

PUT and PATCH are in C{test_put} and C{test_patch}, what differs in C{pacifica} mode is in C{test_compatibility}; broken
connections and framing are elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import os
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from doubles import NOW
from support import DATA, Server, compose, disk_server, serving

from pacarchive import __version__, errors
from pacarchive.model import Locality, Overwrite
from pacarchive.settings.server import Compatibility

ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
ADLER32 = f"{zlib.adler32(DATA):08x}"
ALLOW = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PROPFIND, PUT"
JSON = "Content-Type: application/json"

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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(disk_server(tmp_path)) as server:
        yield server


# GET /


@both_modes
def test_root(mode: Compatibility) -> None:
    """The root says that the server is there, in the predecessor's words; the path of an empty URL is the root too."""
    with serving(Server(compatibility=mode)) as server:
        for target in ("/", "//", "http://archive", "http://archive/", "/?foo=bar"):
            answer = server.ask("GET", target)
            assert (answer.line, answer.field("Content-Type")) == ("HTTP/1.1 200 OK", "application/json")
            assert answer.body == b'{"message": "Pacifica Archive Interface Up and Running"}'
        answer = server.ask("HEAD", "/")
        assert (answer.status, answer.body) == (404 if mode is Compatibility.PACIFICA else 200, b"")
        assert server.ask("PUT", "/", body=b"x").status == 405


# GET


@both_modes
def test_get(mode: Compatibility) -> None:
    """A file comes whole, plain, and with what a client needs to resume and to check."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        answer = server.ask("GET", "/102", "Accept-Encoding: gzip", "User-Agent: rclone/v1.60.1")
        assert (answer.line, answer.body) == ("HTTP/1.1 200 OK", DATA)
        assert answer.field("Content-Type") == "application/octet-stream"
        assert answer.field("Content-Length") == "36"
        assert answer.field("Last-Modified") == "Sun, 22 Nov 2026 17:18:48 GMT"
        assert answer.field("ETag") == ETAG
        assert answer.field("Accept-Ranges") == "bytes"
        assert answer.field("Content-Encoding") is answer.field("Digest") is answer.field("Repr-Digest") is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("Want-Repr-Digest: sha-256=10", "Repr-Digest", f"sha-256=:{SHA256}:"),
        ("Want-Repr-Digest: sha-512=10, sha-256=1", "Repr-Digest", f"sha-256=:{SHA256}:"),
        ("Want-Digest: SHA-512;q=1, SHA-256;q=1, SHA;q=0.1", "Digest", f"SHA-256={SHA256}"),
        ("Want-Digest: ADLER32", "Digest", f"ADLER32={ADLER32}"),
        ("Want-Digest: adler32,sha-256", "Digest", f"adler32={ADLER32},sha-256={SHA256}"),
        ("Want-Digest: md5", "Digest", None),
        ("Want-Repr-Digest: nonsense", "Repr-Digest", None),
    ],
)
def test_wanted_digests(server: Server, method: str, field: str, name: str, value: str | None) -> None:
    """Digests that are wanted and known are told, to GET and to HEAD, as aria2 and davix read them."""
    digests = {"sha256": hashlib.sha256(DATA).digest(), "adler32": bytes.fromhex(ADLER32)}
    server.archive.place(102, DATA, digests=digests)
    assert server.ask(method, "/102", field).field(name) == value


@both_modes
@pytest.mark.parametrize(
    ("ranges", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=30-", 30, 35), ("bytes=-6", 30, 35), ("bytes=30-99", 30, 35), ("bytes=0-", 0, 35)],
)
def test_range(mode: Compatibility, ranges: str, first: int, last: int) -> None:
    """One range: 206, and just these bytes."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        answer = server.ask("GET", "/102", f"Range: {ranges}")
        assert (answer.line, answer.body) == ("HTTP/1.1 206 Partial Content", DATA[first : last + 1])
        assert answer.field("Content-Range") == f"bytes {first}-{last}/36"
        assert (answer.field("ETag"), answer.field("Accept-Ranges")) == (ETAG, "bytes")


@both_modes
def test_range_not_satisfiable(mode: Compatibility) -> None:
    """A range beyond the end: 416, and how long the file is."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        for ranges in ("bytes=36-", "bytes=100-200", "bytes=-0"):
            answer = server.ask("GET", "/102", f"Range: {ranges}")
            assert (answer.status, answer.field("Content-Range")) == (416, "bytes */36")
            assert answer.error["message"]


@pytest.mark.parametrize("ranges", ["bytes=5-2", "bytes", "lines=0-9", "bytes=a-b", "bytes=0-1,4-5", "bytes=-"])
def test_range_ignored(stored: Server, ranges: str) -> None:
    """A range that is malformed, or several: the whole file, once."""
    answer = stored.ask("GET", "/102", f"Range: {ranges}")
    assert (answer.status, answer.body) == (200, DATA)
    many = ",".join(f"{start}-" for start in range(36))
    assert len(stored.ask("GET", "/102", f"Range: bytes={many}").body) <= 2 * len(DATA)


PAST, FUTURE, LATER, EXACT = (
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Tue, 22 Nov 2050 17:18:49 GMT",
    "Sun, 22 Nov 2026 17:18:58 GMT",
    "Sun, 22 Nov 2026 17:18:48 GMT",
)


@both_modes
@pytest.mark.parametrize(
    ("field", "status"),
    [
        (f"If-Range: {ETAG}", 206),
        ('If-Range: "other"', 200),
        (f"If-Range: W/{ETAG}", 200),
        (f"If-Range: {EXACT}", 200),
        (f"If-Range: {PAST}", 200),
        (f"If-None-Match: {ETAG}", 304),
        (f"If-None-Match: W/{ETAG}", 304),
        ("If-None-Match: *", 304),
        ('If-None-Match: "other"', 206),
        (f"If-Modified-Since: {EXACT}", 206),
        (f"If-Modified-Since: {LATER}", 304),
        (f"If-Modified-Since: {FUTURE}", 206),
        (f"If-Modified-Since: {PAST}", 206),
        ("If-Modified-Since: nonsense", 206),
        (f"If-Unmodified-Since: {PAST}", 412),
        (f"If-Unmodified-Since: {EXACT}", 412),
        (f"If-Unmodified-Since: {LATER}", 206),
        (f"If-Unmodified-Since: {FUTURE}", 412),
        (f"If-Match: {ETAG}", 206),
        ("If-Match: *", 206),
        ('If-Match: "other"', 412),
    ],
)
def test_read_conditions(mode: Compatibility, field: str, status: int) -> None:
    """The conditions of RFC 9110, on a request for a range."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        server.clock.advance(100)
        answer = server.ask("GET", "/102", "Range: bytes=5-9", field)
        assert answer.status == status
        if status == 304:
            assert (answer.field("ETag"), answer.field("Last-Modified"), answer.body) == (ETAG, EXACT, b"")
        elif status == 412:
            assert answer.error["message"]
        else:
            assert answer.body == (DATA if status == 200 else DATA[5:10])


@both_modes
@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("byte_range=5-10", DATA[5:10]),
        ("byte_range=0-36", DATA),
        ("byte_range=30-100", DATA[30:]),
        ("byte_range=100-200", b""),
        ("byte_range=10-5", b""),
        ("byte_range=5-5", b""),
        ("byte_range=", DATA),
        ("foo=bar", DATA),
    ],
)
def test_byte_range(mode: Compatibility, query: str, body: bytes) -> None:
    """The predecessor's parameter: 200, and the end does not belong to it."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        answer = server.ask("GET", f"/102?{query}")
        assert (answer.line, answer.body, answer.field("Content-Range")) == ("HTTP/1.1 200 OK", body, None)


@pytest.mark.parametrize("value", ["5-", "-5", "a-b", "5-10,12-14", "5", "0x1-2", "%D9%A1-%D9%A2", "1--2", "+1-2"])
def test_bad_byte_range(stored: Server, value: str) -> None:
    """A malformed one is 400."""
    answer = stored.ask("GET", f"/102?byte_range={value}")
    assert answer.status == 400
    assert answer.error["traceback"].startswith("Invalid byte range format (int-int) given ")


# HEAD


@both_modes
def test_head(mode: Compatibility) -> None:
    """204 and header fields, spelled as the predecessor did: they are read by these names and in these forms."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        client = server.connect()
        client.send(compose("HEAD", "/102"))
        head = client.take()
        assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
        assert head.endswith(b"\r\n\r\n")
        for line in (
            b"Content-Type: application/json",
            b"X-Pacifica-Messsage: File was found",
            b"X-Pacifica-File: memory:102",
            b"X-Content-Length: 36",
            b"Last-Modified: 1795367928.614857",
            b"X-Pacifica-Ctime: 1795367928.614857",
            b"X-Pacifica-Bytes-Per-Level: (36,)",
            b"X-Pacifica-File-Storage-Media: disk",
            b"X-Pacarchive-Locality: DISK",
            b"ETag: " + ETAG.encode(),
            b"Accept-Ranges: bytes",
        ):
            assert b"\r\n" + line + b"\r\n" in head
        assert b"Content-Length:" not in head.replace(b"X-Content-Length:", b"")
        assert client.connected


def test_head_tape(server: Server) -> None:
    """A file on tape, in the predecessor's words."""
    server.archive.place(102, DATA, bytes_per_level=(0, 36), media=("disk", "tape"), locality=Locality.TAPE)
    answer = server.ask("HEAD", "/102")
    assert answer.field("X-Pacifica-Bytes-Per-Level") == "(0, 36)"
    assert answer.field("X-Pacifica-File-Storage-Media") == "tape"
    assert answer.field("X-Pacarchive-Locality") == "TAPE"
    assert server.archive.calls == ["status"], "HEAD opens nothing"


def test_head_on_disk(disk: Server, tmp_path: Path) -> None:
    """What the file system says, in full precision."""
    disk.ask("PUT", "/102", "Last-Modified: 2026-11-22T17:18:48.614857Z", body=DATA)
    answer = disk.ask("HEAD", "/102")
    state = os.stat(tmp_path / "102")
    assert answer.field("X-Pacifica-File") == f"{tmp_path}/102"
    assert answer.field("Last-Modified") == str(state.st_mtime) == str(NOW)
    assert answer.field("X-Pacifica-Ctime") == str(state.st_ctime)


# POST


@both_modes
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ((), None),
        ((), b""),
        (("Content-Type: application/x-www-form-urlencoded",), b""),
        (("Content-Type: application/json",), None),
        (("Content-Type: application/x-www-form-urlencoded",), b"a=b"),
    ],
)
def test_post(mode: Compatibility, fields: tuple[str, ...], body: bytes | None) -> None:
    """A file that is on disk is staged, whatever is said about a body that does not matter."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        answer = server.ask("POST", "/102", *fields, body=body)
        assert (answer.line, answer.body) == (
            "HTTP/1.1 200 OK",
            b'{"message": "File was staged", "file": "102"}',
        )
        assert (answer.field("Content-Type"), answer.field("Content-Length")) == ("application/json", "45")


# DELETE


@both_modes
def test_delete(mode: Compatibility) -> None:
    """200 and nothing, in JSON."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        answer = server.ask("DELETE", "/102")
        assert (answer.line, answer.body) == ("HTTP/1.1 200 OK", b"")
        assert (answer.field("Content-Type"), answer.field("Content-Length")) == ("application/json", "0")
        assert server.archive.data(102) is None


def test_delete_condition(stored: Server) -> None:
    """C{If-Match} keeps a version that the client does not know."""
    assert stored.ask("DELETE", "/102", 'If-Match: "other"').status == 412
    assert stored.ask("DELETE", "/102", f"If-Match: {ETAG}").status == 200


# PROPFIND and OPTIONS


@both_modes
@pytest.mark.parametrize("depth", ["0", "1"])
def test_propfind(mode: Compatibility, depth: str) -> None:
    """Size, date and tag for gfal2, davix and rclone; the body is not looked at."""
    with serving(Server(compatibility=mode)) as server:
        server.archive.place(102, DATA)
        bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
        for body in (None, b"", b"<nonsense", bomb):
            answer = server.ask("PROPFIND", "/102", f"Depth: {depth}", body=body)
            assert (answer.line, answer.field("Content-Type")) == (
                "HTTP/1.1 207 Multi-Status",
                'application/xml; charset="utf-8"',
            )
            root = ET.fromstring(answer.body)
            assert root.findtext("*/{DAV:}href") == "/102"
            prop = root.find("*/{DAV:}propstat/{DAV:}prop")
            assert prop is not None
            assert prop.findtext("{DAV:}getcontentlength") == "36"
            assert prop.findtext("{DAV:}getetag") == ETAG
            assert parsedate_to_datetime(prop.findtext("{DAV:}getlastmodified") or "").timestamp() == int(NOW)
            assert {"{DAV:}resourcetype", "{DAV:}creationdate"} < {each.tag for each in prop}
        for fields in ([], ["Depth: 0"]):
            answer = server.ask("PROPFIND", "/", *fields)
            root = ET.fromstring(answer.body)
            assert (answer.status, len(root)) == (207, 1)
            assert root.find(".//{DAV:}collection") is not None


def test_propfind_refused(stored: Server) -> None:
    """No endless depth; no file: 404."""
    assert stored.ask("PROPFIND", "/", "Depth: infinity").status == 403
    assert stored.ask("PROPFIND", "/7", "Depth: 0").status == 404


@both_modes
@pytest.mark.parametrize(
    ("target", "allowed"),
    [("/102", ALLOW), ("*", ALLOW), ("/", "GET, HEAD, OPTIONS, PROPFIND")],
)
def test_options(mode: Compatibility, target: str, allowed: str) -> None:
    """204, and what is allowed there; C{*} is the whole server."""
    with serving(Server(compatibility=mode)) as server:
        answer = server.ask("OPTIONS", target)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.field("Allow") == allowed


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS, PROPFIND"),
        ("/health", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/jobs", "GET, HEAD, OPTIONS, POST"),
        ("/.well-known/wlcg-tape-rest-api/", "GET, HEAD, OPTIONS"),
    ],
)
def test_what_other_resources_allow(server: Server, target: str, allowed: str) -> None:
    """Every answer says it, and what is refused as well."""
    assert [server.ask(method, target).field("Allow") for method in ("GET", "PATCH")] == [allowed] * 2


@both_modes
@pytest.mark.parametrize("method", ["MKCOL", "MOVE", "TRACE", "LOCK", "BREW", "CONNECT"])
def test_other_verbs(mode: Compatibility, method: str) -> None:
    """405, and what is allowed."""
    with serving(Server(compatibility=mode)) as server:
        answer = server.ask(method, "/102")
        assert answer.status == 405
        assert answer.error["message"] == "Specified method is invalid for this resource"
        assert answer.field("Allow") == ALLOW


# Ids


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PROPFIND"])
def test_missing(server: Server, method: str) -> None:
    """An id without file is 404 for every verb."""
    answer = server.ask(method, "/999")
    assert answer.status == 404
    if method == "HEAD":
        assert answer.field("Content-Length") is None, "curl -X HEAD would wait for so many bytes"
    else:
        assert answer.error["status"] == "404 Not Found"
        assert "total_bytes" not in answer.error


@both_modes
@pytest.mark.parametrize("target", ["//102", "///102", "http://archive/102", "http://archive//102", "/102?"])
def test_slashes(mode: Compatibility, target: str) -> None:
    """Clients join a base URL that ends in a slash; the absolute form is for proxies.  No redirect."""
    with serving(Server(compatibility=mode)) as server:
        assert server.ask("PUT", target, body=DATA).status == 201
        assert server.ask("GET", target).body == DATA
        assert server.archive.data(102) == DATA


BAD_IDS = [
    "/12/", "/012", "/00", "/+1", "/-1", "/1_0", "/1.0", "/0x10", "/abc", "/12a", "/%31", "/1%32", "/%2012", "/12%00",
    "/%D9%A1%D9%A2", "/a%2fb", "/1%2f2", "/12/extra", "/12//", "/12/13", "/..", "/../12", "/./12", "/12;x",
    f"/{2**64}", "/" + "9" * 20, "/" + "9" * 5000, "/%2e%2e%2fetc%2fpasswd", "/..%2f..%2fetc%2fpasswd", "12", "x12",
    "*12",     "ftp://archive/12", "http:/12", "http://archive/12/", "/12,13", "/12#x", "/.pacarchive/tmp",
]  # fmt: skip


@both_modes
@pytest.mark.parametrize("target", BAD_IDS, ids=lambda target: target[:24])
def test_bad_id(mode: Compatibility, target: str) -> None:
    """An id has one spelling; nothing else reaches the storage."""
    with serving(Server(compatibility=mode)) as server:
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "PROPFIND"):
            answer = server.ask(method, target, body=DATA if method == "PUT" else None)
            assert answer.status == 404
            assert method == "HEAD" or answer.error["message"]
        assert server.archive.calls == []


@both_modes
@pytest.mark.parametrize("file_id", [0, 1, 9, 10, 2**32, 2**63, 2**64 - 1])
def test_good_id(mode: Compatibility, file_id: int) -> None:
    """Every id up to the largest."""
    with serving(Server(compatibility=mode)) as server:
        assert server.ask("PUT", f"/{file_id}", body=DATA).field("Location") == f"/{file_id}"
        assert server.archive.data(file_id) == DATA


# Failures


WRITES = [("receive", "PUT"), ("write", "PUT"), ("commit", "PUT"), ("move", "PATCH")]
ALL = [
    *WRITES, ("open", "GET"), ("read", "GET"), ("status", "HEAD"), ("status", "POST"), ("remove", "DELETE"),
    ("status", "PROPFIND"),
]  # fmt: skip
TROUBLES: list[tuple[errors.ArchiveError, int, str | None, list[tuple[str, str]]]] = [
    (errors.NoSpace("The archive is full."), 507, None, ALL),
    (errors.BackendUnavailable("The storage does not answer.", retry_after=17), 503, "17", ALL),
    (errors.Overloaded("Too much at once.", retry_after=3), 503, "3", ALL),
    (errors.TooLarge("The file system takes no file of this size."), 413, None, WRITES),
    (errors.NotPermitted("Not here."), 403, None, ALL),
    (errors.Locked("The file is locked."), 403, None, [("commit", "PUT"), ("move", "PATCH"), ("remove", "DELETE")]),
]


@pytest.mark.parametrize(
    ("where", "method", "trouble", "status", "retry"),
    [(*each, *rest) for *rest, where in TROUBLES for each in where],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_backend_failure(
    stored: Server, where: str, method: str, trouble: Exception, status: int, retry: str | None
) -> None:
    """What a backend says becomes the status of the contract's table, wherever it says it."""
    stored.archive.trouble[where] = trouble
    body = {"PUT": DATA, "PATCH": b'{"path": "/x"}'}.get(method)
    answer = stored.ask(method, "/102", JSON, body=body)
    assert (answer.status, answer.field("Retry-After")) == (status, retry)
    if method != "HEAD":
        assert answer.error["message"] == str(trouble)
    assert stored.archive.data(102) == DATA
    assert sum(stored.site.events.values()) == 1
    assert sum(str(trouble) in words for words in stored.words()) == 1, "logged once"


@pytest.mark.parametrize(
    ("where", "method"), [("receive", "PUT"), ("commit", "PUT"), ("open", "GET"), ("read", "GET"), ("status", "HEAD")]
)
@both_modes
def test_unforeseen_failure(mode: Compatibility, where: str, method: str) -> None:
    """A bug: 500 with a number to find it in the log by, and no word of what it was."""
    with serving(Server(compatibility=mode, overwrite=Overwrite.ALLOW)) as server:
        server.archive.place(102, DATA)
        server.archive.trouble[where] = RuntimeError("secret: /srv/archive/102")
        answer = server.ask(method, "/102", body=DATA if method == "PUT" else None)
        assert answer.status == 500
        (failure,) = server.failures()
        assert failure.check(RuntimeError)
        assert server.site.events == {"incident": 1}
        if method != "HEAD":
            assert b"secret" not in answer.body
            assert b"RuntimeError" not in answer.body
            incident = answer.error["traceback"].split()[1]
            assert answer.error["traceback"] == f"Incident {incident} in the server's log"
            assert len(incident) == 12


def test_no_path_of_the_server(tmp_path: Path) -> None:
    """The storage's own failures are told without its paths."""
    with serving(disk_server(tmp_path)) as disk:
        (tmp_path / "1").mkdir()
        (tmp_path / "2").symlink_to("/etc/passwd")
        (tmp_path / "3").write_bytes(DATA)
        os.chmod(tmp_path / "3", 0)
        for target, status in (("/1", 409), ("/2", 404), ("/4", 404)):
            answer = disk.ask("GET", target)
            assert answer.status == status
            assert answer.error["traceback"].startswith("Can't open posix file")
            assert str(tmp_path).encode() not in answer.body
        answer = disk.ask("PUT", "/1", body=DATA)
        assert answer.status >= 400
        assert str(tmp_path).encode() not in answer.body
        assert (tmp_path / "1").is_dir()
        if os.geteuid():
            answer = disk.ask("GET", "/3")
            assert answer.status >= 400
            assert str(tmp_path).encode() not in answer.body


REQUESTS = [
    ("GET", "/", None), ("GET", "/102", None), ("HEAD", "/102", None), ("PUT", "/103", DATA), ("PUT", "/103", None),
    ("POST", "/102", None), ("PATCH", "/102", b"{}"), ("DELETE", "/103", None), ("PROPFIND", "/102", None),
    ("OPTIONS", "*", None), ("GET", "/999", None), ("HEAD", "/999", None), ("GET", "/x", None), ("BREW", "/102", None),
    ("GET", "/102?byte_range=x", None), ("PUT", "/x", DATA), ("DELETE", "/999", b"body"), ("GET", "/102", b"body"),
    ("HEAD", "/", None), ("OPTIONS", "/102", b"body"),
]  # fmt: skip


def test_keep_alive(stored: Server) -> None:
    """Every kind of answer says who gives it and what is allowed, and leaves the connection good for the next."""
    client = stored.connect()
    for method, target, body in REQUESTS:
        answer = client.ask(method, target, body=body)
        allowed = "GET, HEAD, OPTIONS, PROPFIND" if target == "/" else ALLOW
        assert answer.field("Allow") == allowed, (method, target)
        assert answer.field("Server") == f"pacarchive/{__version__}"
        assert answer.field("Date")
        assert not answer.closes
        assert client.connected


def test_pipeline(stored: Server) -> None:
    """The same, sent at once, and byte by byte."""
    requests = b"".join(compose(method, target, body=body) for method, target, body in REQUESTS)
    methods = [method for method, _, _ in REQUESTS]
    whole, bitwise = stored.connect(), stored.connect()
    whole.send(requests)
    first = [(answer.status, answer.body) for answer in whole.answers(*methods)]
    bitwise.send(requests, piece=1)
    assert [(answer.status, answer.body) for answer in bitwise.answers(*methods)] == first
    assert len(first) == len(REQUESTS)


def test_requests_share_nothing(stored: Server) -> None:
    """One request that waits holds up no other connection."""
    waits = stored.archive.hold("open")
    slow, quick = stored.connect(), stored.connect()
    slow.send(compose("GET", "/102") + compose("HEAD", "/102"))
    assert quick.ask("HEAD", "/102").status == 204
    assert slow.take() == b""
    del stored.archive.waits["open"]
    waits.callback(None)
    assert [answer.status for answer in slow.answers("GET", "HEAD")] == [200, 204], "in order"
