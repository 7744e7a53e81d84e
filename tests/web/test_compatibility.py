"""
C{compatibility = pacifica}: the predecessor's answers where they differ, and its family's clients doing what they do.

The clients below are written after the sources of pacifica-ingest and pacifica-cartd: they look at what those look at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import DATA, Answer, Server, chunked, compose, disk_server, serving

from pacarchive import errors
from pacarchive.model import Overwrite
from pacarchive.settings.server import Compatibility

MESSAGE = "The server encountered an unexpected condition which prevented it from fulfilling the request."
JSON = "Content-Type: application/json"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(compatibility=Compatibility.PACIFICA)) as server:
        server.archive.place(102, DATA)
        yield server


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(disk_server(tmp_path, compatibility=Compatibility.PACIFICA)) as server:
        yield server


def assert_500(answer: Answer, reason: str = "") -> None:
    """See that an answer is the predecessor's 500, with the reason where its tools look for it."""
    assert answer.line == "HTTP/1.1 500 Internal Server Error"
    document = answer.error
    assert document["message"] == MESSAGE
    assert document["traceback"].startswith(reason)
    assert "total_bytes" not in document


def test_put_again(disk: Server) -> None:
    """Nothing is overwritten, and the reason reads like the failed open() that it was."""
    assert disk.ask("PUT", "/102", body=DATA).status == 201
    for body in (DATA, b"other"):
        assert_500(disk.ask("PUT", "/102", body=body), "Can't open posix file with error: [Errno 13] Permission denied")
    assert disk.ask("GET", "/102").body == DATA


def test_put_again_when_it_is_set() -> None:
    """The setting comes before the mode."""
    with serving(Server(compatibility=Compatibility.PACIFICA, overwrite=Overwrite.ALLOW)) as server:
        for body in (DATA, b"other"):
            assert server.ask("PUT", "/102", body=body).status == 201
        assert server.archive.data(102) == b"other"


def test_put_bad_last_modified(server: Server) -> None:
    """A date that cannot be read does not matter."""
    assert server.ask("PUT", "/1", "Last-Modified: yesterday", body=DATA).status == 201
    assert server.ask("HEAD", "/1").field("Last-Modified") == "1795367928.614857"


def test_put_wrong_digest(server: Server) -> None:
    """A wrong digest is 500, and nothing is stored."""
    wrong = "Content-MD5: " + "A" * 22 + "=="
    assert_500(server.ask("PUT", "/1", wrong, body=DATA), "The md5 digest")
    body = chunked(DATA, trailers=[wrong])
    assert_500(
        server.ask("PUT", "/1", "Trailer: Content-MD5", "Transfer-Encoding: chunked", body=body), "The md5 digest"
    )
    assert server.archive.data(1) is None


@pytest.mark.parametrize("fields", [("Expect: 100-continue",), ("X-A: b",)], ids=["early", "at once"])
def test_put_short_body(server: Server, fields: tuple[str, ...]) -> None:
    """A short body is 500, and nothing is stored."""
    client = server.connect()
    client.send(compose("PUT", "/1", *fields, "Content-Length: 100") + DATA)
    client.end()
    *_, answer = client.answers("PUT")
    assert_500(answer)
    assert server.archive.data(1) is None
    server.clock.advance(server.limits.linger_timeout)


@pytest.mark.parametrize("value", ["5-", "-5", "a-b", "5-10,12-14"])
def test_bad_byte_range(server: Server, value: str) -> None:
    """A malformed byte_range is 500, in the predecessor's words."""
    assert_500(server.ask("GET", f"/102?byte_range={value}"), f"Invalid byte range format (int-int) given {value}")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PROPFIND"])
def test_missing(disk: Server, tmp_path: Path, method: str) -> None:
    """A missing file is 500, without a path of the server, and nothing is made for it."""
    answer = disk.ask(method, "/999")
    assert_500(answer, "Can't open posix file with error: [Errno 2] No such file or directory")
    assert str(tmp_path).encode() not in answer.body
    assert disk.ask("HEAD", "/999").status == 500
    assert [path.name for path in tmp_path.iterdir()] == [".pacarchive"]


@pytest.mark.parametrize(
    "document", [b'{"path": 7}', b"[1, 2]", b'{"nope": 1}', b'{"path": "/etc/hostname"}', b'{"path": "PREFIX/absent"}']
)
def test_patch_errors(disk: Server, tmp_path: Path, document: bytes) -> None:
    """What cannot be moved is 500."""
    answer = disk.ask("PATCH", "/201", JSON, body=document.replace(b"PREFIX", str(tmp_path).encode()))
    assert_500(answer)
    assert str(tmp_path).encode() not in answer.body


def test_patch_over(disk: Server, tmp_path: Path) -> None:
    """A taken id is what it is for PUT."""
    disk.ask("PUT", "/201", body=DATA)
    (tmp_path / "incoming").write_bytes(b"new")
    document = json.dumps({"path": str(tmp_path / "incoming")}).encode()
    assert_500(disk.ask("PATCH", "/201", JSON, body=document), "Can't open posix file with error: [Errno 13]")
    assert disk.ask("GET", "/201").body == DATA


def test_errors_of_http_itself(server: Server) -> None:
    """What the predecessor's framework refused keeps its status."""
    assert server.ask("PUT", "/1").error["message"] == "Client must specify Content-Length"
    answer = server.ask("PATCH", "/1", JSON, body=b"{")
    assert (answer.status, answer.error["message"]) == (400, "Invalid JSON document")
    answer = server.ask("PATCH", "/1", body=b"{}")
    assert (answer.status, answer.error["message"]) == (
        415,
        "Expected an entity of content type application/json, text/javascript",
    )
    answer = server.ask("BREW", "/1")
    assert (answer.status, answer.error["message"]) == (405, "Specified method is invalid for this resource")
    assert server.ask("GET", "/102/extra").status == 404
    assert server.ask("GET", "/102", "Range: bytes=99-").status == 416


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (errors.NoSpace("The archive is full."), 500),
        (errors.TooLarge("Too large."), 500),
        (errors.BackendUnavailable("The storage does not answer."), 500),
        (errors.Overloaded("Too much at once."), 503),
    ],
    ids=lambda each: type(each).__name__,
)
def test_failures(server: Server, trouble: errors.ArchiveError, status: int) -> None:
    """Full, too large and down are 500; overloaded is 503."""
    server.archive.trouble = {"receive": trouble, "open": trouble}
    for answer in (server.ask("PUT", "/1", body=DATA), server.ask("GET", "/102")):
        assert (answer.status, answer.error["traceback"]) == (status, str(trouble))
    assert server.ask("PUT", "/1", "If-None-Match: x", body=DATA).status == 500


def test_conditions(server: Server) -> None:
    """Conditions are 412 in this mode too: the predecessor had none."""
    assert server.ask("PUT", "/102", "If-None-Match: *", body=b"x").status == 412
    assert server.ask("GET", "/102", 'If-Match: "x"').status == 412


# Clients


def ingest(server: Server, file_id: int, data: bytes) -> bool:
    """pacifica-ingest: an asctime date, an explicit length; of the answer only the JSON counts."""
    answer = server.ask(
        "PUT", f"//{file_id}", f"Last-Modified: {time.asctime(time.gmtime(784111777))}",
        "Accept-Encoding: gzip, deflate", "Content-Type: application/octet-stream", "Connection: keep-alive",
        "User-Agent: python-requests/2.32.3", body=data,
    )  # fmt: skip
    return bool(json.loads(answer.body).get("total_bytes") == len(data))


def cart_is_on_disk(server: Server, file_id: int) -> bool:
    """pacifica-cartd: reads all of these without looking at the status, and the tuple as Python."""
    answer = server.ask("HEAD", f"/{file_id}", "Accept-Encoding: identity")
    assert answer.field("X-Pacifica-Messsage") == "File was found"
    assert int(answer.field("X-Content-Length") or "") >= 0
    assert float(answer.field("Last-Modified") or "") > 0
    assert float(answer.field("X-Pacifica-Ctime") or "") > 0
    levels = (answer.field("X-Pacifica-Bytes-Per-Level") or "").strip("(),").split(", ")
    assert all(level.isdigit() for level in levels)
    return answer.field("X-Pacifica-File-Storage-Media") == "disk"


def cart_download(server: Server, file_id: int) -> bytes | None:
    """Saves any body that is not 5xx as the file."""
    answer = server.ask("GET", f"/{file_id}", "Accept-Encoding: identity", "Connection: keep-alive")
    return None if answer.status >= 500 else answer.body


def test_the_family(server: Server) -> None:
    """A file's way through the family."""
    data = bytes(range(256)) * 100
    assert ingest(server, 1042, data)
    assert not ingest(server, 1042, b"other"), "the second is told that it failed"
    assert server.ask("POST", "/1042", "Content-Type: application/json", "Content-Length: 0").status == 200
    assert cart_is_on_disk(server, 1042)
    assert server.ask("HEAD", "/1042").field("Last-Modified") == "784111777.0"
    assert cart_download(server, 1042) == data
    assert cart_download(server, 1043) is None, "a 404 would have been saved as the file"
    assert server.ask("DELETE", "/1042").status == 200


def test_ingest_move(disk: Server, tmp_path: Path) -> None:
    """pacifica-ingest moves with PATCH, and looks at the message."""
    (tmp_path / "upload").write_bytes(DATA)
    answer = disk.ask("PATCH", "/7", JSON, body=json.dumps({"path": f"{tmp_path}/upload"}).encode())
    assert json.loads(answer.body)["message"] == "File Moved Successfully"


def test_proxy(server: Server) -> None:
    """pacifica-proxy behind nginx: HTTP/1.0, with the client's address; no chunks, ended by the close."""
    client = server.connect()
    client.send(b"GET /102 HTTP/1.0\r\nHost: archive\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n")
    (answer,) = client.answers()
    assert (answer.status, answer.body, answer.closes) == (200, DATA, True)
    assert not client.connected


def test_curl(server: Server) -> None:
    """The lines of the predecessor's manual: put, status, stage, get, a part, delete."""
    agent = ("User-Agent: curl/7.88.1", "Accept: */*")
    put = server.ask("PUT", "/12345", *agent, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", body=DATA)
    assert put.body == b'{"message": "File added to archive", "total_bytes": 36}'
    assert server.ask("HEAD", "/12345", *agent).line == "HTTP/1.1 204 No Content"
    form = "Content-Type: application/x-www-form-urlencoded"
    assert (
        server.ask("POST", "/12345", *agent, form, body=b"").body == b'{"message": "File was staged", "file": "12345"}'
    )
    assert server.ask("POST", "/12345", *agent).status == 200
    assert server.ask("GET", "/12345", *agent).body == DATA
    assert server.ask("GET", "/12345?byte_range=5-10", *agent).body == b"56789"
    assert server.ask("DELETE", "/12345", *agent).body == b""
    assert_500(server.ask("GET", "/12345", *agent))
