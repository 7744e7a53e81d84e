"""Metrics of a real service: their sums are what its clients have counted, whatever becomes of its workers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from pacarchive.launch.metrics import MOST
from system.harness import HOST, PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.harness import Service

FILES = 20


def scraped(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples, by their names and labels."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200
    families = text_string_to_metric_families(text)
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for one in families for each in one.samples}


def requests_of(port: int) -> dict[tuple[str, str], float]:
    """How many requests there were, by method and code."""
    name = "pacarchive_http_requests_total"
    found = {dict(labels)["method"]: None for each, labels in scraped(port) if each == name}
    assert "GET" in found
    return {
        (dict(labels)["method"], dict(labels)["code"]): value
        for (each, labels), value in scraped(port).items()
        if each == name and value
    }


class Load:
    """Clients that count what they are answered."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.answers: Counter[tuple[str, str]] = Counter()
        self.sent = self.received = 0

    def run(self) -> None:
        """Store, read, and ask for what is not there; each connection goes to a worker of the system's choice."""
        for number in range(FILES):
            body = os.urandom(1000 + number)
            for method, path, sent in (("PUT", number, body), ("GET", number, None), ("GET", 10_000 + number, None)):
                answer = self.service.ask(method, path, sent)
                self.answers[method, str(answer.status)] += 1
                self.sent += len(sent or b"")
                self.received += len(answer.body)


def test_sums_over_two_workers_of_which_one_is_killed(serve: Callable[..., Service]) -> None:
    """What the killed one had counted stays, to the last request and byte, and its successor's comes on top."""
    port = free_port()
    service = serve(workers=2, settings=f"[metrics]\nendpoint = {port}\n")
    load = Load(service)
    load.run()
    assert requests_of(port) == load.answers
    os.kill(service.workers()[0], signal.SIGKILL)
    until(lambda: len(service.workers()) == 2, "there is a successor")
    until(lambda: scraped(port)["pacarchive_workers_reporting", ()] == 2, "both say how they are")
    load.run()
    assert requests_of(port) == load.answers
    found = scraped(port)
    assert found["pacarchive_transfer_bytes_total", (("direction", "in"),)] == load.sent
    assert found["pacarchive_transfer_bytes_total", (("direction", "out"),)] == load.received
    assert found["pacarchive_worker_restarts_total", (("reason", "signal"),)] == 1
    durations = {
        labels: value for (name, labels), value in found.items() if name.endswith("request_duration_seconds_count")
    }
    assert durations[(("method", "GET"),)] == 4 * FILES
    assert found["pacarchive_commit_duration_seconds_count", ()] == 2 * FILES
    assert found["pacarchive_sync_duration_seconds_count", ()] >= 4 * FILES, "of each file, and of its directory"


def test_a_worker_that_hangs_holds_up_nobody(serve: Callable[..., Service]) -> None:
    """What it has counted is known; what it would say is left out."""
    port = free_port()
    service = serve(workers=2, settings=f"[metrics]\nendpoint = {port}\n")
    load = Load(service)
    load.run()
    hung = service.workers()[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        found = scraped(port)
    finally:
        os.kill(hung, signal.SIGCONT)
    assert found["pacarchive_workers", ()] == 2
    assert found["pacarchive_workers_reporting", ()] == 1
    assert requests_of(port) == load.answers


@pytest.mark.parametrize("workers", [1, 2])
def test_the_route_and_the_access_log(serve: Callable[..., Service], workers: int, tmp_path: Path) -> None:
    """Any worker tells of all; each request has a line, of whichever worker."""
    log = tmp_path / "access.log"
    service = serve(workers=workers, settings=f"[access_log]\nfile = {log}\n")
    load = Load(service)
    load.run()
    body = service.ask("GET", "/metrics").body.decode()
    assert f'\npacarchive_http_requests_total{{code="201",method="PUT"}} {FILES}.0\n' in body
    assert f"\npacarchive_workers_reporting {workers}.0\n" in body
    assert '\npacarchive_backend_up{backend="posix"} 1.0\n' in body
    assert "\npacarchive_recall_store_up 1.0\n" in body
    assert "\npacarchive_storage_free_bytes{" in body
    until(lambda: len(log.read_text().splitlines()) == 3 * FILES + 1, "all lines are written")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert (
        Counter((line["method"], str(line["status"])) for line in lines if line["path"] != "/metrics") == load.answers
    )
    assert len({line["request"] for line in lines}) == len(lines)


def test_what_the_endpoint_does_not_take(serve: Callable[..., Service]) -> None:
    """Neither bodies, which would fill a disk, nor any number of connections; then it answers as before."""
    port = free_port()
    service = serve(workers=1, settings=f"[metrics]\nendpoint = {port}\n")
    assert service.ask("GET", 1).status == 404
    with socket.create_connection((HOST, port), timeout=PATIENCE) as sender:
        sender.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            sender.sendall(bytes(64 << 20))
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection((HOST, port), timeout=PATIENCE)) for _ in range(MOST)]
        for each in (held[0], held[-1]):  # they are connections, and not only accepted by the system
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert each.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection((HOST, port), timeout=PATIENCE) as more, suppress(ConnectionError):
            more.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert more.recv(1) == b""
    until(lambda: _answers(port), "it answers again")


def _answers(port: int) -> bool:
    """Whether it does: the system may have a connection for a while that the service has closed already."""
    try:
        return bool(scraped(port))
    except (OSError, http.client.HTTPException):
        return False
