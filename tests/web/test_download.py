"""
How bytes leave: in one piece, or in blocks that are checked.  All in memory; what needs real connections is in
C{test_sendfile}.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import DATA, Client, Server, compose, disk_server, read_answer, serving

from pacarchive import errors
from pacarchive.settings.server import Compatibility, VerifyReads
from pacarchive.web.http.settings import LimitSettings

MIB = 1 << 20
LARGE = os.urandom(3 * MIB + 12345)
BENT = LARGE[:-1] + bytes([LARGE[-1] ^ 1])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def digest_of(server: Server, file_id: int) -> str | None:
    return server.ask("HEAD", f"/{file_id}", "Want-Repr-Digest: sha-256=1").field("Repr-Digest")


# Verified reads


@pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)
@pytest.mark.parametrize("verify", list(VerifyReads), ids=lambda verify: verify.value)
def test_small_spoilt_file(mode: Compatibility, verify: VerifyReads) -> None:
    """A small file that is not what was stored is not sent; it is the server's failure, a 5xx, which clients retry."""
    with serving(Server(verify_reads=verify, compatibility=mode)) as server:
        server.archive.place(102, DATA)
        server.archive.spoil(102, b"_" + DATA[1:])
        answer = server.ask("GET", "/102")
        if verify is VerifyReads.NEVER:
            assert (answer.status, answer.body) == (200, b"_" + DATA[1:])
        else:
            assert answer.status == 500
            assert "no longer" in answer.error["traceback"]
            assert answer.field("ETag") is answer.field("Last-Modified") is None
            assert server.site.events == {"Corrupted": 1}
        part = server.ask("GET", "/102", "Range: bytes=0-9")
        assert (part.status, part.body) == (206, b"_123456789"), "a part cannot be checked"


@pytest.mark.parametrize("verify", list(VerifyReads), ids=lambda verify: verify.value)
def test_large_spoilt_file(verify: VerifyReads) -> None:
    """A large one is broken off before its end: never a complete answer with wrong bytes."""
    with serving(Server(verify_reads=verify)) as server:
        server.archive.place(102, LARGE)
        server.archive.spoil(102, BENT)
        client = server.connect()
        client.send(compose("GET", "/102") + compose("GET", "/102"))
        data = client.take()
        if verify is VerifyReads.NEVER:
            assert read_answer(data)[0].body == BENT
            return
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(LARGE) in head
        assert body == LARGE[: 3 * MIB], "the last block is not sent"
        assert client.transport.closed == "aborted"
        assert server.site.events == {"download": 1}
        assert sum("no longer" in words for words in server.words()) == 1


def test_large_sound_file(server: Server) -> None:
    """A sound one comes whole, and the connection goes on."""
    server.archive.place(102, LARGE)
    client = server.connect()
    client.send(compose("GET", "/102") + compose("GET", "/102", "Range: bytes=5-2000000") + compose("GET", "/"))
    whole, part, root = client.answers()
    assert whole.body == LARGE
    assert part.body == LARGE[5:2000001]
    assert root.status == 200
    assert client.connected


@pytest.mark.parametrize("data", [DATA, b"", LARGE], ids=["small", "empty", "large"])
def test_digest_of_a_foreign_file(tmp_path: Path, data: bytes) -> None:
    """A file that the predecessor wrote has no digest; its first whole read gives it one, and nothing else does."""
    (tmp_path / "102").write_bytes(data)
    other = b"#" if data[:1] != b"#" else b"!"
    with serving(disk_server(tmp_path)) as server:
        assert digest_of(server, 102) is None
        etag = server.ask("HEAD", "/102").field("ETag")
        assert server.ask("GET", "/102", "Range: bytes=0-9").status in (206, 416)
        assert digest_of(server, 102) is None
        assert server.ask("GET", "/102").body == data
        assert (digest_of(server, 102) or "").startswith("sha-256=:")
        assert server.ask("HEAD", "/102").field("ETag") == f'"{hashlib.sha256(data).hexdigest()}"' != etag
        (tmp_path / "102").chmod(0o644)
        with open(tmp_path / "102", "r+b") as file:
            file.write(other)
        if len(data) > 1:
            assert server.ask("GET", "/102", "Range: bytes=0-0").body == other
            client = server.connect()
            client.send(compose("GET", "/102"))
            assert not client.connected or client.answers()[0].status == 500, "and is then held against it"


def test_spoilt_on_disk(tmp_path: Path) -> None:
    """The same through the real backend: bytes that change on the disk are not sent."""
    with serving(disk_server(tmp_path)) as server:
        assert server.ask("PUT", "/102", body=DATA).status == 201
        path = tmp_path / "102"
        path.chmod(0o644)
        path.write_bytes(b"_" + DATA[1:])
        assert server.ask("GET", "/102").status == 500


# Blocks


def test_read_fails_at_once(server: Server) -> None:
    """A failure before the first byte is an answer; a later one breaks the connection off."""
    server.archive.place(102, LARGE)
    server.archive.trouble["read"] = errors.BackendUnavailable("The storage failed.")
    assert server.ask("GET", "/102").status == 503
    del server.archive.trouble["read"]
    waiting = server.archive.hold("read")
    client = server.connect()
    client.send(compose("GET", "/102"))
    second = server.archive.hold("read")
    waiting.callback(None)
    second.errback(errors.BackendUnavailable("The storage failed."))
    assert client.take().partition(b"\r\n\r\n")[2] == LARGE[:MIB]
    assert client.transport.closed == "aborted"


def test_gone(server: Server) -> None:
    """A client that hangs up in mid-file: the file is closed, and that is no failure of the server."""
    server.archive.place(102, LARGE)
    for wait in (True, False):
        client = server.connect()
        if wait:
            server.archive.hold("read")
        else:
            server.archive.waits.clear()
            client.transport.room = 100_000
        client.send(compose("GET", "/102"))
        assert server.archive.unclosed == 1
        client.hang_up()
        assert server.archive.unclosed == 0
    assert server.site.events == {"left": 2}
    assert all("failed" not in words for words in server.words())


def stalled(server: Server) -> Client:
    """A client that takes no more; in what stands for the kernel are a hundred pieces that it has not fetched."""
    server.archive.place(102, LARGE)
    client = server.connect()
    for _ in range(100):  # apart, since the buffer of a local socket is counted in messages that are fetched whole
        client.transport.kernel[0].send(bytes(10))
    client.transport.room = 100_000
    client.send(compose("GET", "/102"))
    assert 100_000 <= client.transport.unread < 300_000, "what waits for a slow reader is bounded"
    return client


def test_stalled_reader(server: Server) -> None:
    """A reader that takes nothing for too long is dropped."""
    client = stalled(server)
    server.clock.advance(server.limits.progress_timeout - 1)
    assert client.connected
    server.clock.advance(1)
    assert client.transport.closed == "aborted"
    assert server.site.events == {"stalled": 1}


def test_slow_reader() -> None:
    """One that takes enough every now and then is not, however slow; when it has room again, it gets the rest."""
    with serving(Server(limits=LimitSettings(progress_bytes=10))) as server:
        _read_slowly(server)


def _read_slowly(server: Server) -> None:
    client = stalled(server)
    for _ in range(50):
        client.transport.kernel[1].recv(10)
        server.clock.advance(server.limits.progress_timeout)
        assert client.connected
    client.transport.room = None
    client.protocol.resumeProducing()
    (answer,) = client.answers()
    assert answer.body == LARGE
    assert client.connected


def test_reader_that_takes_too_little(server: Server) -> None:
    """One that takes a byte now and then, so that it is not taken for dead, is dropped like one that is."""
    client = stalled(server)
    for _ in range(5):
        client.transport.kernel[1].recv(10)
        assert client.connected
        server.clock.advance(server.limits.progress_timeout / 5)
    assert client.transport.closed == "aborted"
    (words,) = [each for each in server.words() if "progress_bytes" in each]
    assert re.search(r"took \d+ bytes in 60 seconds; 61440 is the least", words)


def test_not_modified_reads_nothing(server: Server) -> None:
    """What sends no bytes reads none."""
    server.archive.place(102, LARGE)
    etag = server.ask("HEAD", "/102").field("ETag")
    assert server.ask("GET", "/102", f"If-None-Match: {etag}").status == 304
    assert server.ask("GET", "/102?byte_range=5-5").body == b""
    assert "read" not in server.archive.calls
