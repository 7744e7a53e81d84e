"""The memory that a transfer takes does not depend on its size.

C{PACARCHIVE_BIG_GIB} sets the largest size, in GiB (1).
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.harness import HOST, PATIENCE, content, until

if TYPE_CHECKING:
    from system.harness import Service

MIB = 1 << 20
BIG = int(os.environ.get("PACARCHIVE_BIG_GIB", "1")) * 1024 * MIB
ABOVE_IDLE = 60 * MIB
FLAT = 8 * MIB

BLOCK = content("block", MIB)


def _memory(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what}")


class Gauge:
    """
    The memory of the one process of a service.

    @ivar idle: What it takes when nothing goes on.
    """

    def __init__(self, service: Service) -> None:
        assert service.port
        (self._pid,) = service.workers()
        self.idle = _memory(self._pid, "VmRSS")

    def reset(self) -> None:
        """Forget the peak: see C{proc(5)}, C{clear_refs}."""
        before = _memory(self._pid, "VmRSS")
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        # Else this would measure nothing but the past.  Memory of the last transfer may still be given back meanwhile.
        assert _memory(self._pid, "VmHWM") <= max(before, _memory(self._pid, "VmRSS")) + MIB

    def peak(self) -> int:
        """The most since the last L{reset}, above what it takes when idle."""
        return _memory(self._pid, "VmHWM") - self.idle


Connect = Callable[[], socket.socket]


def _upload(connect: Connect, file_id: int, size: int) -> None:
    with connect() as connection:
        connection.sendall(f"PUT /{file_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // MIB):
            connection.sendall(BLOCK)
        connection.settimeout(120)  # for the disk
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 201 "), answer


def _download(connect: Connect, file_id: int, size: int) -> None:
    """Compare block for block; only one is in memory here.  Beside it, another client asks for it and takes nothing."""
    with connect() as stalled, connect() as connection, connection.makefile("rb", buffering=MIB) as stream:
        for each in (stalled, connection):
            each.sendall(f"GET /{file_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        fields = dict(line.lower().split(b": ") for line in iter(stream.readline, b"\r\n"))
        assert int(fields[b"content-length"]) == size
        for number in range(size // MIB):
            assert stream.read(MIB) == BLOCK, f"block {number}"


def _measure(service: Service, connect: Connect, sizes: list[int]) -> None:
    """Up and down in each size; each peak must be small, and the same."""
    gauge = Gauge(service)
    for transfer in (_upload, _download):
        peaks = {}
        for file_id, size in enumerate(sizes):
            gauge.reset()
            transfer(connect, file_id, size)
            peaks[size] = gauge.peak()
        assert max(peaks.values()) <= ABOVE_IDLE, (transfer, peaks)
        assert max(peaks.values()) - min(peaks.values()) < FLAT, (transfer, peaks)


@pytest.mark.timeout(900)
def test_a_large_file(serve: Callable[..., Service]) -> None:
    """Gigabytes go through a worker that stays small, and no bigger for more of them."""
    service = serve()
    try:
        _measure(service, service.connect, [BIG // 4, BIG])
    finally:
        service.kill()
        shutil.rmtree(service.prefix)


def _certificate(directory: Path) -> Path:
    assert shutil.which("openssl"), "openssl is needed to make a certificate"
    path = directory / "pair.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [*command, "-keyout", str(directory / "key"), "-out", str(directory / "certificate")],
        check=True,
        capture_output=True,
    )
    path.write_text((directory / "key").read_text() + (directory / "certificate").read_text())
    return path


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("own", "sizes"), [(True, [64 * MIB, 1024 * MIB]), (False, [64 * MIB, 256 * MIB])])
def test_over_tls(serve: Callable[..., Service], tmp_path: Path, own: bool, sizes: list[int]) -> None:
    """The same where every byte passes through the process, to be encrypted."""
    pair = _certificate(tmp_path)
    if own:
        service = serve(settings=f"[tls]\nendpoint = tcp:0:interface={HOST}\ncertificate = {pair}\n", port=None)
    else:
        service = serve("--endpoint", f"ssl:0:interface={HOST}:privateKey={pair}:certKey={pair}", port=None)
    context = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
    context.check_hostname = False

    def connect() -> socket.socket:
        plain = service.connect()
        plain.settimeout(PATIENCE)
        return context.wrap_socket(plain)

    _measure(service, connect, sizes)


@pytest.mark.timeout(300)
def test_many_readers_that_stop(serve: Callable[..., Service]) -> None:
    """Clients that ask for much and take nothing, or send half and stop, cost little each, whatever they asked for."""
    service, count, size = serve(), 40, 64 * MIB
    _upload(service.connect, 1, size)
    gauge = Gauge(service)
    gauge.reset()
    connections = [service.connect(receive_buffer=4096) for _ in range(count)]
    try:
        for number, connection in enumerate(connections):
            if number % 2:
                connection.sendall(b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
            else:
                head = f"PUT /{number + 2} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
                connection.sendall(head.encode())
                connection.sendall(BLOCK[:-1] * 2)
        assert service.ask("GET", "/").status == 200
        # Two blocks may wait for each upload, and nothing for a download.
        assert gauge.peak() <= ABOVE_IDLE + count // 2 * 3 * MIB
    finally:
        for connection in connections:
            connection.close()
    until(lambda: service.temporaries() == [], "nothing is left of the uploads")
