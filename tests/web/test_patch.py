"""PATCH: a file of the archive's own machine becomes one of the archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import DATA, Server, chunked, disk_server, serving

from pacarchive.model import Overwrite

JSON = "Content-Type: application/json"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(disk_server(tmp_path)) as server:
        yield server


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "text/javascript"])
def test_patch(disk: Server, tmp_path: Path, kind: str) -> None:
    """A file that lies below the prefix is moved into its place."""
    source = tmp_path / "incoming"
    source.write_bytes(DATA)
    answer = disk.ask("PATCH", "/201", f"Content-Type: {kind}", body=json.dumps({"path": str(source)}).encode())
    assert (answer.line, answer.body) == ("HTTP/1.1 200 OK", b'{"message": "File Moved Successfully"}')
    assert (answer.field("Content-Type"), answer.field("Content-Length")) == ("application/json", "38")
    assert not source.exists()
    assert disk.ask("GET", "/201").body == DATA


def test_patch_chunked(disk: Server, tmp_path: Path) -> None:
    """Its document may come in chunks."""
    (tmp_path / "incoming").write_bytes(DATA)
    document = json.dumps({"path": f"{tmp_path}/incoming"}).encode()
    body = chunked(*(document[at : at + 1] for at in range(len(document))))
    assert disk.ask("PATCH", "/201", JSON, "Transfer-Encoding: chunked", body=body).status == 200


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ((JSON,), b"", 400),
        ((JSON,), b"{", 400),
        ((JSON,), b"\xff", 400),
        ((JSON,), b"[" * 60000, 400),
        ((JSON,), b"[1, 2]", 400),
        ((JSON,), b'{"nope": 1}', 400),
        ((JSON,), b'{"path": 7}', 400),
        ((JSON,), b'{"path": ""}', 400),
        ((JSON,), b'{"path": "relative"}', 400),
        ((JSON,), b'{"path": "/a\\u0000b"}', 400),
        ((JSON,), b'{"path": "/a\\ud800b"}', 400),
        ((JSON,), b'{"path": "%s"}' % (b"x" * 70000), 413),
        ((JSON,), b'{"path": "/etc/hostname"}', 403),
        ((JSON,), b'{"path": "PREFIX/../outside"}', 403),
        ((JSON,), b'{"path": "PREFIX/link"}', 403),
        ((JSON,), b'{"path": "PREFIX/absent"}', 404),
        ((JSON,), b'{"path": "PREFIX/directory"}', 400),
        (("Content-Type: text/plain",), b'{"path": "PREFIX/incoming"}', 415),
        ((), b'{"path": "PREFIX/incoming"}', 415),
        ((JSON, 'If-Match: "nonsense"'), b'{"path": "PREFIX/incoming"}', 412),
    ],
)
def test_patch_refused(tmp_path: Path, fields: tuple[str, ...], body: bytes, status: int) -> None:
    """What cannot be moved, or must not be, stays where it is; and the answer names no path of the server."""
    prefix = tmp_path / "archive"
    (prefix / "directory").mkdir(parents=True)
    (prefix / "incoming").write_bytes(DATA)
    (tmp_path / "outside").write_bytes(b"secret")
    (prefix / "link").symlink_to(tmp_path / "outside")
    with serving(disk_server(prefix)) as disk:
        answer = disk.ask("PATCH", "/201", *fields, body=body.replace(b"PREFIX", str(prefix).encode()))
        assert answer.status == status
        assert answer.error["message"]
        assert str(tmp_path).encode() not in answer.body
        assert disk.ask("HEAD", "/201").status == 404
    assert (prefix / "incoming").read_bytes() == DATA
    assert (tmp_path / "outside").read_bytes() == b"secret"


@pytest.mark.parametrize(
    ("policy", "moved", "status"),
    [
        (Overwrite.ALLOW, b"new", 200),
        (Overwrite.IDENTICAL, DATA, 200),
        (Overwrite.IDENTICAL, b"new", 409),
        (Overwrite.DENY, DATA, 409),
    ],
)
def test_patch_over(tmp_path: Path, policy: Overwrite, moved: bytes, status: int) -> None:
    """A taken id is what it is for PUT."""
    with serving(disk_server(tmp_path, overwrite=policy)) as disk:
        disk.ask("PUT", "/201", body=DATA)
        (tmp_path / "incoming").write_bytes(moved)
        document = json.dumps({"path": f"{tmp_path}/incoming"}).encode()
        assert disk.ask("PATCH", "/201", JSON, body=document).status == status
        assert disk.ask("GET", "/201").body == (moved if status == 200 else DATA)
