"""The dashboard over a real Prometheus that scrapes real servers which have something to do: no answer is empty."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from ports import free_port
from telemetry.test_dashboard import expressions

from system.harness import HOST, Service, in_background, reset, until
from system.test_tls import pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from system.hpss import Site

LIMIT = 60.0
"""Seconds in which there is an answer to everything; a few, on a machine that is not busy."""


class Prometheus:
    """
    One of its own, as a context manager.

    @param ports: Where servers tell their metrics.
    """

    def __init__(self, directory: Path, *ports: int) -> None:
        directory.mkdir()
        job = {"job_name": "pacarchive", "static_configs": [{"targets": [f"{HOST}:{port}" for port in ports]}]}
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


@attrs.frozen
class Watched:
    """
    Servers, and what scrapes them.

    @ivar disk: One with two workers, TLS and an issuer of tokens that does not answer.
    @ivar secure: Where it speaks TLS.
    @ivar tape: One over a simulated HPSS, C{site}.
    """

    disk: Service
    secure: int
    tape: Service
    site: Site
    prometheus: Prometheus


@pytest.fixture
def watched(tmp_path: Path, serve: Callable[..., Service], site: Site) -> Iterator[Watched]:
    """All of them."""
    ports, secure = (free_port(), free_port()), free_port()
    metrics = [f"[metrics]\nendpoint = tcp:{port}:interface={HOST}\n" for port in ports]
    (tmp_path / "pair.pem").write_bytes(pair("ec"))
    tls = f"[tls]\nendpoint = tcp:{secure}:interface={HOST}\ncertificate = {tmp_path}/pair.pem\n"
    issuer = f"[auth]\nanonymous = all\naudience = https://here\n[issuer away]\nurl = https://{HOST}:{free_port()}/\n"
    logs = f"[audit]\nfile = {tmp_path}/audit.log\n[access_log]\nfile = {tmp_path}/access.log\n"
    disk = serve(workers=2, settings=metrics[0] + tls + issuer + logs)
    tape = site.start(directory=tmp_path / "tape", recall={"buffer": "1 GiB"}, beside=metrics[1])
    assert disk.port
    assert tape.port
    with Prometheus(tmp_path / "prometheus", *ports) as prometheus:
        yield Watched(disk, secure, tape, site, prometheus)


def test_no_answer_is_empty(watched: Watched) -> None:
    """Under a load of everything: stored, read, looked at, refused, broken off, recalled."""
    service, prometheus, site = watched.disk, watched.prometheus, watched.site
    ids = iter(range(10**9))

    def recall(ended: threading.Event) -> None:
        file_id = 0
        with watched.tape.client() as client:
            while not ended.wait(0.1):
                file_id += 1
                assert client.ask("PUT", file_id, b"x" * 5000).status == 201
                site.send_to_tape(file_id)
                assert client.ask("POST", file_id).status == 202
                site.wait_until_staged(file_id)

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
                client.ask("HEAD", file_id, fields={"Authorization": f"Bearer {mine}.{turn}"})
                with suppress(OSError), socket.create_connection((HOST, watched.secure)) as connection:
                    connection.sendall(b"This is no TLS.\r\n")
                    connection.recv(100)
                with service.connect() as connection:
                    connection.sendall(b"PUT /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
                    reset(connection)

    with in_background(recall, 1), in_background(load, 2):
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
