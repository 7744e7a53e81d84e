"""The dashboard over a real Prometheus that scrapes a real server which has something to do: no answer is empty."""

from __future__ import annotations

import json
import math
import subprocess
import threading
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from ports import free_port
from telemetry.test_dashboard import expressions

from system.harness import HOST, Service, in_background, reset, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 60.0
"""Seconds in which there is an answer to everything; a few, on a machine that is not busy."""


class Prometheus:
    """
    One of its own, as a context manager.

    @param port: Where the server tells its metrics.
    """

    def __init__(self, directory: Path, port: int) -> None:
        directory.mkdir()
        job = {"job_name": "pacarchive", "static_configs": [{"targets": [f"{HOST}:{port}"]}]}
        often = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        (directory / "prometheus.yml").write_text(json.dumps({"global": often, "scrape_configs": [job]}))
        self._url = f"http://{HOST}:{(own := free_port())}"
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={HOST}:{own}",
                ],
                stdout=log,
                stderr=log,
            )

    def values(self, expr: str) -> list[float]:
        """What it answers to an expression; nothing as long as it does not answer."""
        assert self._process.poll() is None, self._log.read_text()
        query = urllib.parse.urlencode({"query": expr})
        with suppress(OSError), urllib.request.urlopen(f"{self._url}/api/v1/query?{query}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            numbers = [float(each["value"][1]) for each in found["data"]["result"]]
            return [each for each in numbers if not math.isnan(each)]
        return []

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def watched(tmp_path: Path, serve: Callable[..., Service]) -> Iterator[tuple[Service, Prometheus]]:
    """A server with two workers, and what scrapes it."""
    port = free_port()
    service = serve(workers=2, settings=f"[metrics]\nendpoint = tcp:{port}:interface={HOST}\n")
    assert service.port
    with Prometheus(tmp_path / "prometheus", port) as prometheus:
        yield service, prometheus


def test_no_answer_is_empty(watched: tuple[Service, Prometheus]) -> None:
    """Under a load of everything: stored, read, looked at, refused, broken off."""
    service, prometheus = watched
    ids = iter(range(10**9))

    def load(ended: threading.Event) -> None:
        mine = next(ids)
        with service.client() as client:
            turn = 0
            while not ended.wait(0.01):
                turn += 1
                file_id = 1000 * mine + turn % 100
                client.ask("PUT", file_id, b"x" * 5000)
                client.ask("GET", file_id)
                client.ask("GET", file_id, fields={"Range": "bytes=0-99"})
                client.ask("HEAD", file_id)
                client.ask("PROPFIND", file_id, fields={"Depth": "0"})
                client.ask("OPTIONS", file_id)
                client.ask("POST", file_id, b"")
                client.ask("GET", 10**9 + turn)
                client.ask("PUT", file_id, b"x", {"Repr-Digest": "sha-256=:bm90IGl0:"})
                client.ask("DELETE", file_id)
                with service.connect() as connection:
                    connection.sendall(b"PUT /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
                    reset(connection)

    with in_background(load, 2):
        empty = dict(expressions())

        def all_answered() -> bool:
            for name, expr in list(empty.items()):
                if prometheus.values(expr):
                    del empty[name]
            return not empty

        try:
            until(all_answered, "every panel has something to show", LIMIT)
        except AssertionError:
            raise AssertionError(f"empty: {empty}") from None
