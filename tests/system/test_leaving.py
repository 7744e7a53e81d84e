"""Clients of a real service that leave in the midst of long work, in order (FIN) and not (RST)."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from system.harness import Service, reset, until

_JSON = {"Content-Type": "application/json"}
_MANY = "100000-119999"
_PATHS = [f"/{file_id}" for file_id in range(100_000, 110_000)]
_REQUESTS = [
    ("/jobs", {"files": [_MANY], "dry_run": True}),
    ("/api/v1/archiveinfo", {"paths": _PATHS}),
    ("/jobs", {"files": [*range(20_000)] * 3}),
    ("/api/v1/stage", {"files": [{"path": path} for path in _PATHS]}),
]


def _request(target: str, document: object) -> bytes:
    body = json.dumps(document).encode()
    fields = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"POST {target} HTTP/1.1", *fields, "", ""]).encode() + body


def _cpu(pid: int) -> float:
    """Seconds that a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _leaves(service: Service, request: bytes, wait: float, how: str) -> bool:
    """
    Ask for something, and leave.

    @return: Whether there was something to leave: it was not refused, as those before have not been missed yet.
    """
    connection = service.connect()
    connection.sendall(request)
    time.sleep(wait)  # whenever: each moment is as good as another
    connection.setblocking(False)
    answer = b""
    with suppress(BlockingIOError):
        answer = connection.recv(12, socket.MSG_PEEK)
    assert answer[:10] in (b"", b"HTTP/1.1 2") or answer == b"HTTP/1.1 503"
    if how == "FIN":
        connection.close()
    else:
        reset(connection)
    return not answer.endswith(b"503")


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_nothing_goes_on(serve: Callable[..., Service], how: str) -> None:
    """Whenever they leave: the log has no word of it, and the service comes to rest and is as before."""
    service = serve()
    for wait in (0.0, 0.01, 0.03, 0.1):
        for target, document in _REQUESTS:
            until(lambda: _leaves(service, _request(target, document), wait, how), "there is room for more")  # noqa: B023

    def rests() -> bool:
        (worker,) = service.workers()
        before = _cpu(worker)
        time.sleep(0.5)
        return _cpu(worker) - before < 0.1

    until(rests, "nothing goes on")
    assert service.ask("GET", "/health").status == 200
    assert service.ask("POST", "/jobs", json.dumps({"files": [1], "dry_run": True}), _JSON).status == 200
    service.assert_clean()
    assert "unexpected" not in service.log
