"""What clients of a real service break off, or are refused, when it is under way: the log has no traceback of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from system.harness import Service, read_to_the_end, reset, status_of, until

MIB = 1 << 20
_PUT = "PUT /1 HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\nContent-Length: {}\r\n\r\n"


@pytest.fixture
def service(serve: Callable[..., Service]) -> Iterator[Service]:
    """A service with a file, whose log is looked at in the end."""
    service = serve()
    assert service.ask("PUT", 1, bytes(64 * MIB)).status == 201
    yield service
    assert service.ask("GET", "/health").status == 200
    service.assert_clean()
    for word in ("failed", "unexpected", "Unhandled"):
        assert word not in service.log


@pytest.mark.parametrize("size", [100_000, MIB, 2 * MIB, 3 * MIB], ids=str)
def test_a_refusal_and_the_end_of_the_body_at_the_same_time(service: Service, size: int) -> None:
    """Whichever is first, in forty tries."""
    data = _PUT.format(size).encode() + bytes(size)
    for _ in range(40):
        with service.connect() as connection:
            connection.sendall(data)
            assert status_of(connection.recv(1 << 16)) == 412


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("fields", ["", "Range: bytes=1-\r\n", "Range: bytes=0-60000\r\n"], ids=repr)
def test_downloads(service: Service, how: str, fields: str) -> None:
    """At once, and after some of it; whatever fits into the socket is complete before anybody sees that."""
    request = f"GET /1 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()
    for number in range(24):
        connection = service.connect(receive_buffer=4096 if number % 2 else None)
        connection.sendall(request)
        for _ in range(number // 4 if "60000" not in fields else number % 2):
            connection.recv(MIB)
        time.sleep(0.005 * (number % 3))  # whenever: each moment is as good as another
        if how == "FIN":
            connection.close()
        else:
            reset(connection)
    if "60000" not in fields:
        until(lambda: "left 127.0.0.1" in service.log, "it is said of some")


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_uploads(service: Service, how: str) -> None:
    """The same in the other direction, with and without a refusal on the way."""
    for number in range(24):
        connection = service.connect()
        size = 3 * MIB
        head = _PUT.format(size).encode()
        if number % 2:
            head = head.replace(b"/1 ", b"/2 ")
        with suppress(ConnectionError):
            connection.sendall(head + bytes(size * (number // 2) // 12))
        if how == "FIN":
            connection.close()
        else:
            reset(connection)
    until(lambda: service.temporaries() == [], "nothing is left of the uploads")


def test_a_pipeline_that_nobody_reads(service: Service) -> None:
    """Many requests, and nobody there for the answers."""
    for number in range(12):
        connection = service.connect(receive_buffer=4096)
        connection.sendall(b"HEAD /1 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
        time.sleep(0.005 * (number % 3))
        reset(connection)
    with service.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert status_of(read_to_the_end(connection)) == 200
