"""A real server over a store with a cold class: files in it behave as files on tape, for all clients."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from ports import HOST
from system.harness import Service, at_once, content, until
from system.test_command import User

from backends.s3.gate import Gate
from backends.s3.servers import BUCKET
from backends.s3.services import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backends.s3.servers import ObjectServer

ASKERS = 1000
SOON = "[recall]\npoll_interval = 0.2\nbatch_delay = 0\n"


@attrs.frozen
class Site:
    """
    A server, its store, and somebody who types commands.
    """

    service: Service
    gate: Gate
    user: User

    def tape(self, method: str, path: str, document: Any = None) -> Any:
        """Ask the Tape REST API."""
        body = None if document is None else json.dumps(document)
        fields = {} if document is None else {"Content-Type": "application/json"}
        answer = self.service.ask(method, f"/api/v1/{path}", body, fields)
        assert answer.status in (200, 201), answer
        return json.loads(answer.body) if answer.body else None

    def locality(self, file_id: int) -> str:
        """Where a file is."""
        (found,) = self.tape("POST", "archiveinfo", {"paths": [f"/{file_id}"]})
        locality: str = found["locality"]
        return locality


@pytest.fixture
def site(ministack: ObjectServer, tmp_path: Path) -> Iterator[Site]:
    """All of it."""
    with Gate(ministack.endpoint) as gate:
        own: dict[str, Any] = {"small_file": 4, "part_size": 5 << 20}
        own |= {"storage_class": "GLACIER", "cold_classes": "GLACIER, DEEP_ARCHIVE", "idle_connections": 0}
        settings = settings_of(gate.endpoint, move_root=f"/{BUCKET}/{tmp_path.name}-imports", **own) + SOON
        service = Service(tmp_path, "-t", "s3", "--prefix", f"/{BUCKET}/{tmp_path.name}", settings=settings)
        try:
            yield Site(service, gate, User(tmp_path, f"http://{HOST}:{service.port}"))
        finally:
            service.stop()
    service.assert_clean()


def test_from_cold_to_cold(site: Site) -> None:
    """A file is stored, is asked for by a thousand and restored once, is read, and on tape when its time is over."""
    service, gate = site.service, site.gate
    assert "knows restores" in service.log
    large = content("large", 6 << 20)
    for file_id, data in ((1, b"some words"), (2, large), (3, b"tiny")):
        assert service.ask("PUT", file_id, data).status == 201
    assert [site.locality(each) for each in (1, 2, 3)] == ["TAPE", "TAPE", "DISK"]
    plan = site.user.types("stage", "1-3", "--plan").stdout
    assert plan.startswith("2 files on 1 ")
    gate.restores.clear()  # the start asks for one, too
    gate.hold()

    def ask() -> None:
        for _ in range(ASKERS // 20):
            assert service.ask("POST", 1).status == 202

    at_once([ask] * 20)
    until(lambda: gate.restores, "it is asked for")
    answer = service.ask("GET", 1)
    assert answer.status == 503
    assert site.locality(1) == "TAPE"
    gate.open()
    done = site.user.types("stage", "1-2", "--wait")
    assert (done.returncode, done.stdout[:24]) == (0, "2 of 2 files are on disk")
    assert len(gate.restores) == 2
    assert [site.locality(each) for each in (1, 2)] == ["DISK_AND_TAPE"] * 2
    assert [service.ask("GET", each).body for each in (1, 2)] == [b"some words", large]
    gate.expire()
    assert site.locality(1) == "TAPE"
    answer = service.ask("GET", 1)
    assert (answer.status, b"3 to 5 hours" in answer.body) == (503, True)


def test_the_tape_rest_api(site: Site) -> None:
    """A request, its progress and its end."""
    service = site.service
    assert service.ask("PUT", 1, b"some words").status == 201
    request = site.tape("POST", "stage", {"files": [{"path": "/1", "diskLifetime": "PT1H"}]})["requestId"]

    def is_there() -> bool:
        (found,) = site.tape("GET", f"stage/{request}")["files"]
        return bool(found["state"] == "COMPLETED")

    until(is_there, "it is on disk")
    assert site.locality(1) == "DISK_AND_TAPE"
    site.tape("POST", f"release/{request}", {"paths": ["/1"]})
    assert service.ask("GET", 1).body == b"some words"


def test_deadlines_and_cancelling(site: Site) -> None:
    """Who has waited long enough is told so; a cancelled recall is not called one that does not happen."""
    site.gate.hold()
    for file_id in (1, 2):
        assert site.service.ask("PUT", file_id, b"some words").status == 201
    done = site.user.types("stage", "1", "--wait", "--deadline", "2s")
    assert (done.returncode, "deadline" in (done.stderr + done.stdout)) == (1, True), done
    job = site.user.types("stage", "2").stdout.split()[1].rstrip(":")
    until(lambda: len(site.gate.restores) == 3, "it is asked for")
    done = site.user.types("job", job, "--cancel")
    assert done.returncode == 0, done
    assert "cancel" in done.stdout
    site.gate.open()
    until(lambda: site.locality(2) == "DISK_AND_TAPE", "it comes all the same")


def test_what_is_moved_in(site: Site, ministack: ObjectServer, tmp_path: Path) -> None:
    """It is in the cold class, and its digest is that of the source."""
    source = f"/{BUCKET}/{tmp_path.name}-imports/one"
    assert ministack.ask("PUT", source, b"some words")[0] == 200
    moved = site.service.ask("PATCH", 1, json.dumps({"path": source}), {"Content-Type": "application/json"})
    assert moved.status == 200, moved
    assert site.locality(1) == "TAPE"
    assert site.user.types("stage", "1", "--wait").returncode == 0
    answer = site.service.ask("GET", 1)
    assert (answer.body, answer.fields["etag"]) == (b"some words", f'"{hashlib.sha256(b"some words").hexdigest()}"')
