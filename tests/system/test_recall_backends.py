"""Stage jobs over real services, on every backend: the same requests, and the same answers where they can be."""

from __future__ import annotations

import json
import socket
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from system.harness import HOST, PATIENCE, Service, at_once, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from system import hpss, sideband

JSON = {"Content-Type": "application/json"}
ASKERS = 1000


def ask(service: Service, method: str, path: str, document: object = None) -> tuple[int, Any]:
    """A request and its answer in JSON."""
    body = None if document is None else json.dumps(document).encode()
    answer = service.ask(method, path, body, JSON if body else None)
    return answer.status, json.loads(answer.body) if answer.body else None


def submit(service: Service, *files: object, **more: object) -> str:
    """Make a job.  @return: Its path."""
    status, job = ask(service, "POST", "/jobs", {"files": list(files), **more})
    assert status == 201, job
    return f"/jobs/{job['job']}"


def has_ended(service: Service, job: str) -> bool:
    """Whether nothing of it is left."""
    return bool(ask(service, "GET", job)[1]["state"] == "ended")


def states(service: Service, job: str) -> dict[str, str]:
    """How each of its files stands."""
    return {each["file"]: each["state"] for each in ask(service, "GET", f"{job}/files")[1]["files"]}


def test_posix(serve: Callable[..., Service]) -> None:
    """Everything is on disk, which is said at once; jobs, pins and dry runs work as everywhere."""
    service = serve(workers=2)
    for file_id in (1, 2):
        assert service.ask("PUT", file_id, b"data").status == 201
    status, plan = ask(service, "POST", "/jobs", {"files": [1, 2, 3], "dry_run": True})
    assert (status, plan["on_disk"], plan["recalls"], plan["missing"]) == (200, 2, 0, ["3"])
    assert plan["estimate"] == {"seconds": 0, "basis": "nothing has to be recalled"}
    job = submit(service, "1-3", pin="P1D")
    until(lambda: has_ended(service, job), "it ends")
    assert states(service, job) == {"1": "completed", "2": "completed", "3": "failed"}
    document = ask(service, "GET", job)[1]
    assert document["bytes"] == {"total": 8, "done": 8}
    assert [pin["file"] for pin in ask(service, "GET", "/pins")[1]["pins"]] == ["1", "2"]
    assert ask(service, "POST", f"{job}/release", {"files": [1]})[0] == 200
    assert ask(service, "DELETE", "/pins/2") == (200, {"released": 1})
    assert ask(service, "GET", "/pins")[1]["pins"] == []
    assert service.ask("DELETE", job).status == 200
    assert ask(service, "GET", job)[0] == 404


def test_hpss(site: hpss.Site) -> None:
    """Files on tape come as a job; one that is cancelled comes all the same, as HPSS has no call to give it up."""
    service = site.start(workers=2)
    for file_id in range(1, 7):
        site.put(file_id, b"data")
        site.send_to_tape(file_id)
    site.put(7, b"data")
    site.archive.clock.freeze()
    status, plan = ask(service, "POST", "/jobs", {"files": ["1-8"], "dry_run": True})
    assert (status, plan["recalls"], plan["on_disk"], plan["missing"]) == (200, 6, 1, ["8"])
    assert plan["message"].startswith(f"6 files on {plan['cartridges']} cartridge")
    assert plan["message"].endswith(f"{plan['bytes']} bytes of buffer")
    assert site.archive.requests() == []
    job = submit(service, "1-8")
    until(lambda: len(site.archive.requests(unfinished=True)) == 6, "they are asked for")
    assert ask(service, "POST", f"{job}/cancel", {"files": [6]})[0] == 200
    assert states(service, job) | {"7": ""} == {
        **dict.fromkeys("12345", "started"), "6": "cancelling", "7": "", "8": "failed",
    }  # fmt: skip
    assert ask(service, "POST", f"{job}/cancel", {"files": [1, 99]})[0] == 400
    for file_id in range(1, 7):
        site.wait_until_staged(file_id)
    until(lambda: has_ended(service, job), "it ends")
    assert states(service, job) == {**dict.fromkeys("123457", "completed"), "6": "cancelled", "8": "failed"}
    for file_id in range(1, 8):
        assert service.ask("GET", file_id).body == b"data"


def test_sideband(sam: sideband.Site) -> None:
    """Files on tape come as a job, by the stage command; a request may wait for its file."""
    service = sam.start(workers=2)
    ids = range(300, 306)
    for file_id in ids:
        assert service.ask("PUT", file_id, b"data").status == 201
    sam.to_tape(*ids[:-1])
    job = submit(service, f"{ids[0]}-{ids[-1]}")
    answer = service.ask("GET", 300, None, {"Prefer": "wait=30"})
    assert (answer.status, answer.body, answer.fields["preference-applied"]) == (200, b"data", "wait=30")
    until(lambda: has_ended(service, job), "it ends")
    assert set(states(service, job).values()) == {"completed"}
    assert sorted(sam.asked_for) == sorted(str(sam.path_of(file_id)) for file_id in ids[:-1])


def test_a_thousand_who_ask_for_one_file(site: hpss.Site) -> None:
    """Half of them by GET, half by POST, all at the same time: one recall, and every one is answered."""
    service = site.start(workers=2)
    site.put(1, b"data")
    site.send_to_tape(1)
    site.archive.clock.freeze()
    port = service.port
    connections = [socket.create_connection((HOST, port), PATIENCE) for _ in range(ASKERS)]
    try:
        fields = b"Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n"

        def send(method: bytes, some: list[socket.socket]) -> list[int]:
            for each in some:
                each.sendall(method + b" /1 HTTP/1.1\r\n" + fields + b"\r\n")
            statuses = []
            for each in some:
                with each.makefile("rb") as answer:
                    statuses.append(int(answer.readline().split()[1]))
            return statuses

        answers = at_once([partial(send, (b"GET", b"POST")[start % 2], connections[start::8]) for start in range(8)])
    finally:
        for each in connections:
            each.close()
    assert Counter(status for some in answers for status in some) == {202: ASKERS // 2, 503: ASKERS // 2}
    until(site.archive.requests, "it is asked for")
    site.wait_until_staged(1)
    until(lambda: service.ask("GET", 1).body == b"data", "it is there")
    assert len(site.archive.requests()) == 1
    assert len({each["job"] for each in service.jobs()}) == 1
