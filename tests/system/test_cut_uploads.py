"""An upload that ends too early, wherever and however, leaves nothing: no file, no temporary, a free id."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from system.harness import content, read_to_the_end, repr_digest, reset, status_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.harness import Service

DENY = "[server]\noverwrite = deny\ndrain_timeout = 1\n"


def _upload(file_id: int, size: int) -> tuple[bytes, int]:
    """A whole request with a length, and where its body begins."""
    head = (
        f"PUT /{file_id} HTTP/1.1\r\nHost: localhost\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode()
    return head + content(file_id, size), len(head)


def _chunked_upload(file_id: int, size: int) -> tuple[bytes, int]:
    """The same with a length that nobody announces: two chunks, and a trailer field."""
    head = f"PUT /{file_id} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: Repr-Digest\r\n\r\n"
    data = content(file_id, size)
    first, second = data[: size // 3], data[size // 3 :]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (first, second))
    body = b"%b0\r\nRepr-Digest: %b\r\n\r\n" % (chunks, repr_digest(data).encode())
    return head.encode() + body, len(head)


def _places(total: int, head: int) -> list[int]:
    """How many bytes get through: all in the head that matter, around what is done in one piece, and at the end."""
    in_head = [1, 2, *range(4, head, 9)]
    at_edges = [head + edge for edge in (-3, -2, -1, 0, 1, 2, 64 << 10, 256 << 10, (256 << 10) + 1, 1 << 20)]
    spread = [head + (total - head) * part // 16 for part in range(1, 16)]
    at_end = list(range(total - 12, total))
    return sorted({place for place in in_head + at_edges + spread + at_end if 0 < place < total})


def _close(connection: socket.socket) -> None:
    connection.close()


def _half_close(connection: socket.socket) -> None:
    """The client ends its side, and waits for the answer."""
    connection.shutdown(socket.SHUT_WR)
    answer = read_to_the_end(connection)
    connection.close()
    assert status_of(answer) in (0, 400), answer


def _assert_nothing(service: Service, file_id: int) -> None:
    assert service.ask("GET", file_id).status == 404
    assert str(file_id) not in service.visible()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cut", [_close, reset, _half_close], ids=["close", "reset", "half-close"])
@pytest.mark.parametrize("make", [_upload, _chunked_upload], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1000, 2 << 20], ids=["small", "large"])
def test_cut_by_the_client(
    serve: Callable[..., Service],
    make: Callable[[int, int], tuple[bytes, int]],
    size: int,
    cut: Callable[[socket.socket], None],
) -> None:
    """At any byte: the id is free for the next writer, although overwriting is denied."""
    service = serve(settings=DENY)
    whole, head = make(100_000, size)
    places = _places(len(whole), head)
    assert len(places) > 40
    for file_id, place in enumerate(places, 100_000):
        connection = service.connect()
        connection.sendall(make(file_id, size)[0][:place])
        cut(connection)
        _assert_nothing(service, file_id)
        assert service.ask("PUT", file_id, content(file_id, 10)).status == 201, place
        assert service.ask("GET", file_id).body == content(file_id, 10)
    until(lambda: not service.temporaries(), "no temporary is left")
    assert len(service.visible()) == len(places)


@pytest.mark.parametrize("make", [_upload, _chunked_upload], ids=["length", "chunked"])
def test_an_early_end_is_told(serve: Callable[..., Service], make: Callable[[int, int], tuple[bytes, int]]) -> None:
    """A client that still listens after it ended its body gets 400, in JSON, as the last answer."""
    service = serve()
    whole, head = make(5, 1 << 20)
    for place in (head, head + 100, head + 300_000, len(whole) - 1):
        with service.connect() as connection:
            connection.sendall(whole[:place])
            connection.shutdown(socket.SHUT_WR)
            answer = read_to_the_end(connection)
        assert status_of(answer) == 400
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert b'"status": "400 Bad Request"' in answer
        _assert_nothing(service, 5)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_cut_by_the_end_of_the_server(serve: Callable[..., Service], number: signal.Signals, workers: int) -> None:
    """What is not whole when the server stops or is killed was never there; its successor takes it at once."""
    service = serve(settings=DENY, workers=workers)
    uploads = {file_id: _upload(file_id, 1 << 20) for file_id in range(20, 32)}
    connections = []
    for file_id, (whole, head) in uploads.items():
        connection = service.connect()
        connections.append(connection)
        # From the middle of the head over the body to all but one byte.
        connection.sendall(whole[: head // 2 + (len(whole) - head // 2 - 1) * (file_id - 20) // 11])
    _assert_nothing(service, 20)  # asked last, so the server has seen something of all the others
    if number == signal.SIGTERM:
        assert service.stop() == -signal.SIGTERM
    else:
        service.kill()
    for connection in connections:
        read_to_the_end(connection)
        connection.close()
    assert service.visible() == {}
    service = serve(settings=DENY, workers=workers)
    for file_id in uploads:
        _assert_nothing(service, file_id)
        assert service.ask("PUT", file_id, content(file_id, 1 << 20)).status == 201
    assert service.temporaries() == []
