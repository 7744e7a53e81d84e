"""Several nodes over one bucket, the job store in MariaDB, and haproxy in front as docs/scaling.md has it."""

from __future__ import annotations

import http.client
import json
import re
import threading
from typing import TYPE_CHECKING

import attrs
import pytest
from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer, SeaweedFS
from campaigns.proxies import proxy
from ports import free_port

from system.harness import Answer, Client, Service, content, in_background, until
from system.pages import MANUAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sideband.server import MariaDB

LARGE = 3 << 20


@pytest.fixture(scope="module")
def seaweedfs() -> Iterator[ObjectServer]:
    """A real store."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture
def database(mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server with a database for the jobs."""
    mariadb.revive()
    mariadb.execute("CREATE DATABASE nodes")
    yield mariadb
    mariadb.execute("DROP DATABASE nodes")


@attrs.define
class Nodes:
    """Two of them, each at a port that stays its own; and the balancer's port."""

    directory: Path
    settings: str
    prefix: str
    ports: tuple[int, int]
    running: dict[int, Service] = attrs.field(factory=dict)
    front: int = 0

    def start(self, number: int) -> Service:
        """Start one."""
        port = self.ports[number]
        service = Service(self.directory / str(number), "--prefix", self.prefix, settings=self.settings, port=port)
        self.running[number] = service
        assert service.port == port
        return service

    def ask(self, method: str, path: str | int, body: bytes | None = None) -> Answer:
        """What a client does that retries: until there is an answer that is not for a time only."""

        def attempt() -> Answer | None:
            try:
                with Client(self.front) as client:
                    answer = client.ask(method, path, body)
            except (OSError, http.client.HTTPException):
                return None
            return None if answer.status in (502, 503, 504) else answer

        return until(attempt, f"{method} {path} is answered")


def balancer(place: Path, at: int, ports: tuple[int, int]) -> list[str]:
    """The command, with the lines of the page."""
    page = (MANUAL / "scaling.md").read_text()
    (lines,) = re.findall(r"^```text\n(defaults\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for shown, real in ((8000, at), (8081, ports[0]), (8082, ports[1])):
        assert f"127.0.0.1:{shown}" in lines
        lines = lines.replace(f"127.0.0.1:{shown}", f"127.0.0.1:{real}")
    (place / "haproxy.cfg").write_text(lines)
    return ["haproxy", "-db", "-q", "-f", str(place / "haproxy.cfg")]


@pytest.fixture
def nodes(tmp_path: Path, seaweedfs: ObjectServer, database: MariaDB) -> Iterator[Nodes]:
    """Two nodes, and the balancer."""
    settings = (
        f"[server]\ntype = s3\ndrain_timeout = 10\n[recall]\nstore = mariadb://root@/nodes?socket={database.socket}\n"
        f"[s3]\nendpoint = {seaweedfs.endpoint}\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\n"
    )
    found = Nodes(tmp_path, settings, f"/{BUCKET}/{tmp_path.name}", (free_port(), free_port()))
    try:
        for number in (0, 1):
            found.start(number)
        with proxy("haproxy", 0, lambda place, at, _: balancer(place, at, found.ports)) as found.front:
            until(lambda: found.ask("GET", "/health").status == 200, "the balancer knows a node")
            yield found
        for each in found.running.values():
            each.stop()
            each.assert_clean()
    finally:
        for each in found.running.values():
            each.kill()


class Load:
    """
    Clients that store and read, and retry.

    @ivar stored: What was acknowledged.
    """

    def __init__(self, nodes: Nodes, first: int) -> None:
        self.stored: dict[int, bytes] = {}
        self._nodes = nodes
        self._next = iter(range(first, 10**6))
        self._lock = threading.Lock()

    def run(self, ended: threading.Event) -> None:
        """Store a file, and read it and another one."""
        while not ended.is_set():
            with self._lock:
                file_id = next(self._next)
            data = content(file_id, LARGE if file_id % 5 == 0 else 1024)
            answer = self._nodes.ask("PUT", file_id, data)
            assert answer.status == 201, answer
            self.stored[file_id] = data
            read = self._nodes.ask("GET", file_id)
            assert (read.status, read.body == data) == (200, True), file_id

    def grows(self, by: int = 8) -> None:
        """Wait until more is stored."""
        goal = len(self.stored) + by
        until(lambda: len(self.stored) >= goal, "more is stored")


def test_two_nodes(nodes: Nodes) -> None:
    """What one takes the other has at once; one is killed, and both are restarted in turn, under load."""
    one, other = nodes.running[0], nodes.running[1]
    for file_id, data in ((1, b"small"), (2, content(2, LARGE))):
        assert one.ask("PUT", file_id, data).status == 201
        assert other.ask("GET", file_id).body == data
        assert other.ask("PUT", file_id, data, {"If-None-Match": "*"}).status == 412
        assert nodes.ask("GET", file_id).body == data
    made = one.ask("POST", "/jobs", json.dumps({"files": ["1-2"]}).encode(), {"Content-Type": "application/json"})
    assert made.status == 201, made
    found = json.loads(other.ask("GET", f"/jobs/{json.loads(made.body)['job']}").body)
    assert found["files"] == 2 or found["counts"]["completed"] == 2
    load = Load(nodes, 100)
    with in_background(load.run, 3):
        load.grows()
        one.kill()
        load.grows()
        nodes.start(0)
        for number in (1, 0):
            load.grows()
            nodes.running[number].stop()
            load.grows()
            nodes.start(number)
        load.grows()
    for number in (0, 1):
        with nodes.running[number].client() as client:
            for file_id, data in load.stored.items():
                assert client.ask("GET", file_id).body == data, file_id
