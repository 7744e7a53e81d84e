"""How a service ends, in order and otherwise, and that one worker and several are the same service."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from ports import free_port

from system.harness import HOST, PATIENCE, content, group_members, read_to_the_end, status_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.harness import Service

MIB = 1 << 20
BIG = content("big", 8 * MIB)
"""More than the sockets' buffers hold."""

BOTH = pytest.mark.parametrize("workers", [1, 2])


def _begin_download(service: Service, file_id: int) -> socket.socket:
    """A reader that has taken only the first bytes; most of the file is still to be sent."""
    connection = service.connect(receive_buffer=64 << 10)
    connection.sendall(f"GET /{file_id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert connection.recv(17, socket.MSG_WAITALL | socket.MSG_PEEK) == b"HTTP/1.1 200 OK\r\n"
    return connection


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def _begin_upload(service: Service, file_id: int, data: bytes) -> socket.socket:
    """A writer that has sent only half."""
    connection = service.connect()
    connection.sendall(f"PUT /{file_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode())
    connection.sendall(data[: len(data) // 2])
    return connection


@BOTH
def test_transfers_complete(serve: Callable[..., Service], workers: int) -> None:
    """After SIGTERM nobody new gets in, and those within get all of theirs; then the service ends as twistd does."""
    service = serve(workers=workers)
    assert service.ask("PUT", 1, BIG).status == 201
    upload = BIG[: 4 * MIB]
    with (
        _begin_download(service, 1) as reader,
        _begin_upload(service, 2, upload) as writer,
        service.connect() as idle,
    ):
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"  # all three are with a worker by now
        service.process.terminate()
        until(service.refuses, "new connections are refused")
        assert service.process.poll() is None
        writer.sendall(upload[len(upload) // 2 :])
        answer = read_to_the_end(writer)
        assert status_of(answer) == 201
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert _body(read_to_the_end(reader)) == BIG
    assert service.ends(PATIENCE) == -signal.SIGTERM
    assert (service.prefix / "2").read_bytes() == upload


@BOTH
def test_drain_has_a_limit(serve: Callable[..., Service], workers: int) -> None:
    """Transfers that do not get done within the limit are cut, and leave nothing."""
    service = serve(workers=workers, settings="[server]\ndrain_timeout = 1\n")
    assert service.ask("PUT", 1, BIG).status == 201
    with _begin_download(service, 1) as reader, _begin_upload(service, 2, BIG) as writer:
        assert service.ask("GET", "/").status == 200
        began = time.monotonic()
        service.process.terminate()
        assert service.ends() == -signal.SIGTERM
        assert time.monotonic() - began >= 1
        assert status_of(read_to_the_end(writer)) in (0, 400)
        assert len(_body(read_to_the_end(reader))) < len(BIG)
    assert service.visible().keys() == {"1"}


@BOTH
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_impatience(serve: Callable[..., Service], workers: int, number: signal.Signals) -> None:
    """A second Ctrl-C, also at once behind the first, breaks no drain; the log says what is waited for."""
    service = serve(workers=workers)
    assert service.ask("PUT", 1, BIG).status == 201
    with _begin_download(service, 1) as reader:
        for _ in range(3):
            os.kill(service.process.pid, number)
        until(lambda: "stopping: waits for 1 request, at most " in service.log, "it says so")
        os.kill(service.process.pid, number)
        until(lambda: f"{number.name}: stopping already" in service.log, "it says that it does already")
        assert _body(read_to_the_end(reader)) == BIG
    assert service.ends(PATIENCE) == -number
    assert "Traceback" not in service.log
    assert service.log.count("waits for") == 1


@BOTH
def test_idle_service_ends_at_once(serve: Callable[..., Service], workers: int) -> None:
    """Also with connections that are kept alive but ask for nothing."""
    service = serve(workers=workers)
    with service.client() as client:
        assert client.ask("GET", "/").status == 200
        with service.connect():
            began = time.monotonic()
            assert service.stop(PATIENCE) == -signal.SIGTERM
            assert time.monotonic() - began < PATIENCE / 2


@BOTH
def test_senders_that_left_do_not_delay_the_end(serve: Callable[..., Service], workers: int) -> None:
    """Clients that broke off an upload, or were refused in the midst of one, are gone."""
    service = serve(workers=workers)
    for target in ("/1", "/not-an-id"):
        with service.connect() as connection:
            connection.sendall(f"PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MIB}\r\n\r\n".encode())
            connection.sendall(BIG[:1000])
            connection.shutdown(socket.SHUT_WR)
            assert status_of(read_to_the_end(connection)) in (400, 404)
    began = time.monotonic()
    assert service.stop(PATIENCE) == -signal.SIGTERM
    assert time.monotonic() - began < PATIENCE / 2


def _can_be_bound(port: int) -> bool:
    with socket.socket() as successor:
        successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT are no matter
        with suppress(OSError):
            successor.bind((HOST, port))
            return True
    return False


def test_workers_follow_their_parent(serve: Callable[..., Service]) -> None:
    """After C{kill -9} of the parent the workers end within seconds, and the port is free."""
    service = serve(workers=2, port=free_port())
    assert service.ask("PUT", 1, b"data").status == 201
    os.kill(service.process.pid, signal.SIGKILL)
    service.ends(PATIENCE)
    # A process counts as ended a moment before its last thread has given up the port.
    until(lambda: _can_be_bound(service.port), "the port is free", 5)
    assert serve(workers=2, port=service.port).ask("GET", 1).body == b"data"


def test_a_killed_worker_is_replaced(serve: Callable[..., Service]) -> None:
    """The other goes on with what it does, and soon there are two again."""
    service = serve(workers=2)
    assert service.ask("PUT", 1, BIG).status == 201
    before = service.workers()
    with ExitStack() as stack:
        readers = [stack.enter_context(_begin_download(service, 1)) for _ in range(12)]
        os.kill(before[0], signal.SIGKILL)
        until(lambda: before[0] not in service.workers() and len(service.workers()) == 2, "it is replaced")
        assert before[1] in service.workers()
        # Connections are spread by chance; one of twelve was with the other.
        taken = [_body(read_to_the_end(reader)) for reader in readers]
        assert all(BIG.startswith(data) for data in taken)
        assert BIG in taken
    assert service.log.count("killed by SIGKILL") == 1
    until(lambda: service.ask("GET", 1).body == BIG, "the service goes on")
    for file_id in range(2, 12):
        assert service.ask("PUT", file_id, b"more").status == 201
    assert len(group_members(service.process.pid)) == 3


def _table(moved: str) -> list[tuple[str, str, bytes, dict[str, str]]]:
    """Requests of every kind: verb, target, body, header fields."""
    data, date = b"0123456789", {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
    kind = {"Content-Type": "application/json"}
    return [
        ("GET", "/", b"", {}),
        ("HEAD", "/", b"", {}),
        ("PUT", "/1", data, date),
        ("PUT", "/1", data, {**date, "If-None-Match": "*"}),
        ("PUT", "/2", data, {"Last-Modified": "yesterday"}),
        ("PUT", "/2", data, {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        ("PUT", "/2", data, {"Content-Range": "bytes 0-9/20"}),
        ("PUT", "/2", b"", date),
        ("GET", "/1", b"", {}),
        ("GET", "/1", b"", {"Want-Repr-Digest": "sha-256=1", "Want-Digest": "sha-256,md5"}),
        ("GET", "/1", b"", {"Range": "bytes=2-4"}),
        ("GET", "/1", b"", {"Range": "bytes=-3"}),
        ("GET", "/1", b"", {"Range": "bytes=10-"}),
        ("GET", "/1", b"", {"Range": "bytes=0-1,3-4"}),
        ("GET", "/1", b"", {"Range": "lines=1-2"}),
        ("GET", "/1", b"", {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}),
        ("GET", "/1", b"", {"If-None-Match": "*"}),
        ("GET", "/1", b"", {"If-Match": '"other"'}),
        ("GET", "/1?byte_range=2-5", b"", {}),
        ("GET", "/1?byte_range=2-", b"", {}),
        ("GET", "//1", b"", {}),
        ("GET", "/2", b"", {}),
        ("GET", "/3", b"", {}),
        ("GET", "/01", b"", {}),
        ("GET", "/..%2f1", b"", {}),
        ("HEAD", "/1", b"", {"Want-Digest": "sha-256"}),
        ("HEAD", "/3", b"", {}),
        ("POST", "/1", b"", {}),
        ("POST", "/3", b"", {}),
        ("PATCH", "/4", json.dumps({"path": moved}).encode(), kind),
        ("PATCH", "/4", json.dumps({"path": "/etc/passwd"}).encode(), kind),
        ("PATCH", "/4", b"{", kind),
        ("PATCH", "/4", b"{}", {"Content-Type": "text/plain"}),
        ("PROPFIND", "/1", b"", {"Depth": "0"}),
        ("PROPFIND", "/", b"", {"Depth": "infinity"}),
        ("OPTIONS", "/1", b"", {}),
        ("BREW", "/1", b"", {}),
        ("DELETE", "/2", b"", {}),
        ("DELETE", "/2", b"", {}),
    ]


_OF_THE_MOMENT = re.compile(
    rb'(?<=\nDate: )[^\r]*|(?<=\nX-Request-Id: )[^\r]*|(?<=\nETag: ")[^"]*|(?<=\nX-Pacifica-Ctime: )[\d.]*'
    rb"|(?<=<D:getetag>)[^<]*|(?<=<D:creationdate>)[^<]*"
)
"""The time of the answer, and what its request is called; and what tells one version of a file from every other."""


def _transcript(service: Service) -> list[bytes]:
    moved = service.prefix / "incoming"
    moved.write_bytes(b"moved")
    os.utime(moved, (784111777, 784111777))
    transcript = []
    for method, target, body, fields in _table(str(moved)):
        head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in fields.items()]
        with service.connect() as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
            answer = read_to_the_end(connection)
        transcript.append(_OF_THE_MOMENT.sub(b"*", answer))
    service.stop()
    for path in service.visible().values():
        path.unlink()
    return transcript


def test_one_worker_answers_as_several(serve: Callable[..., Service]) -> None:
    """Byte for byte."""
    alone = _transcript(serve(workers=1))
    assert len(set(map(status_of, alone))) >= 13  # else the table shows little
    assert _transcript(serve(workers=3)) == alone
