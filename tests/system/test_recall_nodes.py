"""Recalls with several nodes over one archive, and several workers of one service: one of them works, all can tell."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sideband.server import MariaDB

from pacarchive.ids import id_to_path
from system.harness import Client, until

if TYPE_CHECKING:
    from system.harness import Service
    from system.hpss import Site

FILES, SIZE = 24, 4 * 10**9

HURRY = 300.0
"""How much faster than ours the time of HPSS goes: a recall takes it minutes."""

SOON = {"batch_delay": 0, "poll_interval": 0.2, "drives": 2, "outstanding": 4}
"""Settings of C{[recall]} with which it goes on in small steps."""


@pytest.fixture
def database(mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server with a database for the jobs."""
    mariadb.revive()
    mariadb.execute("CREATE DATABASE recall")
    yield mariadb
    mariadb.execute("DROP DATABASE recall")


@pytest.fixture
def archive(site: Site) -> Site:
    """An archive whose files are on tape, and in which no time passes."""
    site.archive.populate(FILES, SIZE, name=lambda number: id_to_path(number).lstrip("/"))
    site.archive.clock.freeze()
    return site


def submit(service: Service, files: str) -> str:
    answer = service.ask("POST", "/jobs", json.dumps({"files": [files]}).encode(), {"Content-Type": "application/json"})
    assert answer.status == 201, answer
    job: str = json.loads(answer.body)["job"]
    return job


def look(client: Service | Client, job: str) -> dict[str, Any]:
    answer = client.ask("GET", f"/jobs/{job}")
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def completed(service: Service, job: str) -> int:
    """Files that have come."""
    return int(look(service, job)["counts"]["completed"])


def until_some_have_come(site: Site, service: Service, job: str) -> None:
    """Let time pass in small steps until a job has some files, and others are under way; then it stops."""

    def some() -> bool:
        site.archive.clock.advance(1)
        return completed(service, job) >= 3

    until(some, "some have come")
    until(lambda: site.archive.requests(unfinished=True), "others are under way")
    assert look(service, job)["left"] > 0


def until_ended(service: Service, job: str, files: int) -> None:
    """Wait for its end; all have come."""
    until(lambda: look(service, job)["state"] == "ended", "the job ends")
    assert completed(service, job) == files


def require_each_read_once(site: Site) -> None:
    """The tape library has read each file once, and was asked once."""
    sums = site.archive.sums()
    assert (sums.staged, sums.submitted, sums.duplicates) == (FILES, FILES, 0)


def pid_in(holder: str) -> int:
    """The process that has a lease."""
    return int(holder.split(":")[1])


@pytest.mark.parametrize("loses", ["holder", "other"])
def test_a_node_is_killed(archive: Site, database: MariaDB, tmp_path: Path, loses: str) -> None:
    recall = {**SOON, "store": f"mariadb://root@/recall?socket={database.socket}"}
    nodes = [archive.start(directory=tmp_path / name, recall=recall) for name in ("one", "other")]
    jobs = [submit(node, files) for node, files in zip(nodes, (f"1-{FILES - 4}", f"5-{FILES}"), strict=True)]
    for node in nodes:
        assert [look(node, job)["left"] for job in jobs] == [FILES - 4, FILES - 4]
    until_some_have_come(archive, nodes[0], jobs[0])
    ((holder,),) = database.execute("SELECT holder FROM turn", database="recall")
    (index,) = [index for index, node in enumerate(nodes) if pid_in(holder) in node.workers()]
    lost, left = nodes[index if loses == "holder" else 1 - index], nodes[1 - index if loses == "holder" else index]
    lost.kill()
    archive.archive.clock.set_scale(HURRY)
    for job in jobs:
        until_ended(left, job, FILES - 4)
    require_each_read_once(archive)
    ((after,),) = database.execute("SELECT holder FROM turn", database="recall")
    assert pid_in(after) in left.workers()
    # What is back is told the same.
    again = archive.start(directory=lost.directory, recall=recall)
    assert [look(again, job)["state"] for job in jobs] == ["ended", "ended"]


def holder_in(store: Path) -> str:
    """Who has the lease of a store in SQLite; empty for nobody."""
    with closing(sqlite3.connect(store)) as connection:
        ((holder,),) = connection.execute("SELECT holder FROM turn").fetchall()
        return str(holder)


def test_two_workers(archive: Site, tmp_path: Path) -> None:
    store = tmp_path / "recall.sqlite"
    service = archive.start(workers=2, recall={**SOON, "store": store})
    assert service.port
    workers = set(service.workers())
    clients = connections(service)
    assert clients.keys() == workers
    try:
        _kill_the_dispatcher(archive, service, store, clients)
    finally:
        for each in clients.values():
            each.__exit__()


def _kill_the_dispatcher(archive: Site, service: Service, store: Path, clients: dict[int, Client]) -> None:
    job = submit(service, f"1-{FILES}")
    for client in clients.values():
        assert look(client, job)["left"] == FILES, "what one has taken, both can tell"
    until(lambda: holder_in(store), "one is the dispatcher")
    until_some_have_come(archive, service, job)
    dispatcher = pid_in(holder_in(store))
    (other,) = clients.keys() - {dispatcher}
    os.kill(dispatcher, signal.SIGKILL)
    archive.archive.clock.set_scale(HURRY)
    until(lambda: look(clients[other], job)["state"] == "ended", "the job ends")
    assert look(clients[other], job)["counts"]["completed"] == FILES
    require_each_read_once(archive)


def connections(service: Service) -> dict[int, Client]:
    """A connection to each worker."""
    found: dict[int, Client] = {}
    workers = service.workers()

    def connect() -> bool:
        client = service.client()
        client.ask("GET", "/")
        server = next((pid for pid in workers if _has_connection(pid, client)), None)
        if server is None or server in found:
            client.__exit__()
        else:
            found[server] = client
        return len(found) == len(workers)

    until(connect, "each worker gets a connection")
    return found


def _has_connection(pid: int, client: Client) -> bool:
    """Whether a process is at the other end."""
    sockets = {os.readlink(entry) for entry in _descriptors(pid)}
    local = f":{client._connection.sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(local) and f"socket:[{fields[9]}]" in sockets:
            return True
    return False


def _descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())
