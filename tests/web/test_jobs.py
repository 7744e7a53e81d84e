"""Stage jobs over HTTP: what is asked of the recall engine, and what is answered."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from doubles import JOB, NOW, job_file, job_status
from job_server import JSON, MOST, OTHER, URL, document_of, either, post, server, submit
from support import DATA, Server, compose

from pacarchive import errors
from pacarchive.model import Estimate, Trouble
from pacarchive.recall.words import FileState, JobRequest, Pin, Plan, Priority
from pacarchive.web.job_requests import LARGEST_PAGE, PAGE

__all__ = ["either", "server"]  # the fixtures


# POST /jobs


def test_submit(either: Server) -> None:
    """A job is made, and answered with where it is and how it stands."""
    answer = post(either, "/jobs", {"files": [12, "13", "20-35"]}, "X-User: ada")
    assert answer.line == "HTTP/1.1 201 Created"
    assert answer.field("Location") == URL
    assert document_of(answer, 201) == {
        "job": JOB,
        "state": "queued",
        "owner": "ada",
        "priority": "normal",
        "created": NOW,
        "started": None,
        "ended": None,
        "deadline": NOW + 1000,
        "files": 18,
        "left": 18,
        "counts": {"queued": 3, "started": 0, "cancelling": 0, "completed": 0, "failed": 0, "cancelled": 0},
        "bytes": {"total": 108, "done": 0},
        "rate": 0.0,
        "estimate": None,
        "trouble": None,
        "most_attempts": 20,
        "pin": 86400.0,
        "cursor": "3",
        "links": {"self": URL, "files": f"{URL}/files", "events": f"{URL}/events"},
    }
    ((request,),) = either.recalls.called("submit")
    assert request == JobRequest(owner="ada", file_ids=[12, 13, *range(20, 36)])


def test_submit_with_everything(server: Server) -> None:
    """All that may be said is passed on."""
    document = {"files": [7, 8], "pin": "PT1H", "deadline": 90, "priority": "high", "dry_run": False}
    assert submit(server, **document) == JobRequest(
        owner="192.168.1.1", file_ids=[7, 8], pins={7: 3600.0, 8: 3600.0}, deadline=90.0, priority=Priority.HIGH
    )
    assert submit(server, files=[7], pin=0.5, deadline="P1D", priority="low") == JobRequest(
        owner="192.168.1.1", file_ids=[7], pins={7: 0.5}, deadline=86400.0, priority=Priority.LOW
    )
    assert submit(server, files=[7], pin=0).pins == {7: 0.0}, "no pin, which is not the setting's"


@pytest.mark.parametrize(
    ("files", "file_ids"),
    [
        ([0], [0]),
        (["18446744073709551615", 2**64 - 2], [2**64 - 1, 2**64 - 2]),
        (["18446744073709551614-18446744073709551615"], [2**64 - 2, 2**64 - 1]),
        ([3, 1, "3", "2-4", 1], [3, 1, 2, 4]),
        (["5-5"], [5]),
        ([f"1-{MOST}"], list(range(1, MOST + 1))),
        ([f"1-{MOST}", "1-9", *[1] * MOST], list(range(1, MOST + 1))),
    ],
)
def test_files(server: Server, files: list[Any], file_ids: list[int]) -> None:
    """Ids and ranges, each file once, in the order in which they come."""
    assert list(submit(server, files=files).file_ids) == file_ids


NO_FILES: list[Any] = [
    -1, 2**64, 1.0, True, None, [], {}, "", "x", "007", "1.5", "-1", "1-", "-", "1-2-3", "5-4", "01-02", "1 - 2",
    "1-18446744073709551616", "\u0661", "1\n",
]  # fmt: skip
NO_MEMBERS: dict[str, list[Any]] = {
    "pin": [-1, "1", "1h", "P", True, [], 1e11],
    "deadline": [0, -1, "x", "PT0S", {}],
    "priority": ["urgent", "HIGH", 1, None, []],
    "dry_run": [1, "true", None],
    "prioritiy": ["high"],
}
NO_JOBS: list[Any] = [
    [], 7, None, {}, {"file": [1]}, {"files": 1}, {"files": "1"}, {"files": None}, {"files": []}, {"files": {"1": 2}},
    *({"files": [1, value]} for value in NO_FILES),
    *({"files": [1], name: value} for name, values in NO_MEMBERS.items() for value in values),
]  # fmt: skip


@pytest.mark.parametrize("document", NO_JOBS, ids=lambda document: json.dumps(document)[:60])
def test_submit_what_means_nothing(either: Server, document: object) -> None:
    """It is refused as it stands, and nothing comes of it; what a machine wrote is not guessed at."""
    answer = post(either, "/jobs", document)
    assert (answer.status, bool(answer.error["message"])) == (400, True)
    assert either.recalls.calls == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"files": [NaN]}', b"\xff", b"[" * 100_000, b'{"files": [' + b"1" * 5000 + b"]}"]
)
def test_submit_what_is_no_json(either: Server, body: bytes) -> None:
    """However deep it is."""
    answer = either.ask("POST", "/jobs", JSON, body=body)
    assert (answer.status, answer.error["message"]) == (400, "Invalid JSON document")


@pytest.mark.parametrize(
    "fields", [[], ["Content-Type: text/plain"], [JSON, JSON], ["Content-Type: application/jsonp"]]
)
def test_submit_what_is_not_declared(either: Server, fields: list[str]) -> None:
    """A form of a web page must not be able to."""
    assert either.ask("POST", "/jobs", *fields, body=b'{"files": [1]}').status == 415
    assert either.recalls.calls == []


def test_submit_with_a_charset(server: Server) -> None:
    """It is always the same one."""
    body = b'{"files": [1]}'
    assert server.ask("POST", "/jobs", "Content-Type: Application/JSON; charset=utf-8", body=body).status == 201


@pytest.mark.parametrize(
    "files",
    [
        [f"1-{MOST + 1}"],
        [*range(MOST + 1)],
        ["0-18446744073709551615"],
        [f"1-{MOST}", MOST + 1],
        ["1-40"] * 6,
        [1] * (4 * MOST + 1),
    ],
    ids=str,
)
def test_submit_too_many(either: Server, files: list[Any]) -> None:
    """No more than the setting, and not much more that means the same."""
    assert post(either, "/jobs", {"files": files}).status == 413
    assert either.recalls.calls == []


def test_submit_too_much(server: Server) -> None:
    """A document has an end, whether it is told before or not."""
    body = b'{"files": [1]' + b" " * (1 << 20) + b"}"
    client = server.connect().send(compose("POST", "/jobs", JSON, body=body))
    (answer,) = client.answers()
    assert answer.status == 413
    client = server.connect()
    client.send(compose("POST", "/jobs", JSON, "Transfer-Encoding: chunked"))
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    (answer,) = client.answers()
    assert answer.status == 413


def test_dry_run(either: Server) -> None:
    """What a job would mean, in numbers and in words; nothing is asked for."""
    either.recalls.plans = Plan(
        files=16, on_disk=3, missing=[2**64 - 1], recalls=12, media=1, size=123,
        estimate=Estimate(seconds=2400.0, basis="2 drives"),
    )  # fmt: skip
    answer = post(either, "/jobs", {"files": ["1-16"], "dry_run": True})
    assert document_of(answer) == {
        "message": "12 files on 1 cartridge, about 40 min, 123 bytes of buffer",
        "files": 16,
        "on_disk": 3,
        "recalls": 12,
        "cartridges": 1,
        "bytes": 123,
        "estimate": {"seconds": 2400.0, "basis": "2 drives"},
        "missing": ["18446744073709551615"],
    }
    assert answer.field("Location") is None
    assert either.recalls.calls == [("plan", [*range(1, 17)])]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (864000, "10 d")],
)
def test_dry_run_in_words(server: Server, seconds: float, words: str) -> None:
    """As people say it."""
    server.recalls.plans = attrs.evolve(server.recalls.plans, estimate=Estimate(seconds=seconds, basis=""))
    message = document_of(post(server, "/jobs", {"files": [1], "dry_run": True}))["message"]
    assert message == f"0 files on 0 cartridges, about {words}, 0 bytes of buffer"


def test_when_the_store_does_not_answer(either: Server) -> None:
    """Its own status in both modes, and when to come back."""
    either.recalls.trouble["submit"] = errors.BackendUnavailable("The store does not answer.", retry_after=17)
    answer = post(either, "/jobs", {"files": [1]})
    assert (answer.status, answer.field("Retry-After")) == (503, "17")
    assert answer.error["message"] == "The store does not answer."


# GET /jobs


def test_jobs(server: Server) -> None:
    """Pages of jobs, the youngest first; the last page says that it is."""
    statuses = [job_status(f"{number:032x}", number=number) for number in (9, 8, 7)]
    server.recalls.listed["jobs"] = [status.summary for status in statuses]
    document = document_of(server.ask("GET", "/jobs"))
    assert "next" not in document
    assert [job["job"] for job in document["jobs"]] == [f"{number:032x}" for number in (9, 8, 7)]
    assert document["jobs"][0] == {
        "job": f"{9:032x}", "state": "queued", "owner": "ada", "priority": "normal", "created": NOW, "started": None,
        "ended": None, "deadline": NOW + 1000, "files": 3, "left": 3,
    }  # fmt: skip
    document = document_of(server.ask("GET", "/jobs?limit=2&owner=ada%26bob&before=12"))
    assert len(document["jobs"]) == 2
    assert document["next"] == "/jobs?owner=ada%26bob&before=8&limit=2"
    server.recalls.listed["jobs"] = []
    assert document_of(server.ask("GET", "/jobs?owner=&before=&limit=")) == {"jobs": []}
    assert server.recalls.called("jobs") == [[None, None, PAGE], ["ada&bob", 12, 2], [None, None, PAGE]]


@pytest.mark.parametrize("path", ["/jobs", f"{URL}?since=&", f"{URL}/files", "/pins"])
@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", str(LARGEST_PAGE + 1), "1" * 30, "%d9%a1", "%20"])
def test_a_page_of_no_size(either: Server, path: str, limit: str) -> None:
    """It is refused, not cut."""
    either.recalls.place(job_status())
    answer = either.ask("GET", f"{path}{'' if '?' in path else '?'}limit={limit}")
    assert (answer.status, answer.error["message"]) == (400, f'"limit" is a number from 1 to {LARGEST_PAGE}.')


@pytest.mark.parametrize(
    "target",
    [
        "/jobs?before=x",
        "/jobs?before=9223372036854775808",
        "/jobs?owner=a&owner=b",
        "/pins?after=7",
        f"/pins?after=x-{JOB}",
        f"/pins?after=18446744073709551616-{JOB}",
        f"/pins?after={2**63 + 2**64}-{JOB}",
        f"/pins?after=07-{JOB}",
        f"/pins?after={'9' * 5000}-{JOB}",
    ],
)
def test_parameters_that_mean_nothing(either: Server, target: str) -> None:
    """Likewise."""
    assert either.ask("GET", target).status == 400
    assert either.recalls.calls == []


# one job


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "queued"),
        ({"started": NOW + 1}, "running"),
        ({"started": NOW + 1, "ended": NOW + 2}, "ended"),
        ({"ended": NOW + 2}, "ended"),
    ],
)
def test_job(server: Server, changes: dict[str, Any], state: str) -> None:
    """All that is known without its files."""
    estimate = Estimate(seconds=12.5, basis="2 drives")
    status = job_status(done=36, rate=1.5, estimate=estimate, others=("/x",), priority=Priority.LOW, **changes)
    server.recalls.place(status)
    document = document_of(server.ask("GET", URL))
    assert document["state"] == state
    assert (document["started"], document["ended"]) == (changes.get("started"), changes.get("ended"))
    assert document["bytes"] == {"total": 108, "done": 36}
    assert (document["rate"], document["estimate"]) == (1.5, {"seconds": 12.5, "basis": "2 drives"})
    assert (document["priority"], document["cursor"], document["others"]) == ("low", "3", ["/x"])
    assert server.recalls.called("files") == []
    head = server.ask("HEAD", URL)
    assert (head.status, head.body) == (200, b"")


def test_changes(server: Server) -> None:
    """With a cursor, what has changed since comes with the job, and the next cursor."""
    file = {
        "file": "18446744073709551615", "state": "failed", "bytes": 36, "started": NOW, "ended": NOW + 2,
        "deadline": NOW + 1000, "heard": NOW + 1, "attempts": 2, "next_try": None,
        "reason": "The cartridge is lost.", "pinned": NOW + 9,
    }  # fmt: skip
    server.recalls.changes[JOB][2] = job_file(
        2**64 - 1, FileState.FAILED, size=36, started=NOW, ended=NOW + 2, heard=NOW + 1, attempts=2,
        reason="The cartridge is lost.", pinned=NOW + 9,
    )  # fmt: skip
    document = document_of(server.ask("GET", f"{URL}?since=2"))
    assert document["changes"] == [file]
    assert (document["cursor"], document["more"], document["files"]) == ("3", False, 3)
    document = document_of(server.ask("GET", f"{URL}?since=&limit=2"))
    assert [each["file"] for each in document["changes"]] == ["12", "13"]
    assert (document["cursor"], document["more"]) == ("2", True)
    assert server.recalls.called("files") == [[JOB, "2", PAGE], [JOB, "", 2]]
    assert server.ask("GET", f"{URL}?since=x").status == 400


def test_job_files(server: Server) -> None:
    """Pages of all files; the last one says where changes begin."""
    document = document_of(server.ask("GET", f"{URL}/files?limit=2"))
    assert [each["file"] for each in document.pop("files")] == ["12", "13"]
    rest = {"job": JOB, "most_attempts": 20}
    assert document == {**rest, "cursor": "2", "more": True, "next": f"{URL}/files?since=2&limit=2"}
    document = document_of(server.ask("GET", document["next"]))
    assert [each["file"] for each in document.pop("files")] == ["18446744073709551615"]
    assert document == {**rest, "cursor": "3", "more": False}
    assert document_of(server.ask("GET", f"{URL}/files"))["more"] is False
    assert server.ask("GET", f"{URL}/files?since=x").status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("HEAD", ""),
        ("GET", "?since="),
        ("GET", "/files"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/release"),
        ("DELETE", ""),
    ],
)
@pytest.mark.parametrize("job", [OTHER, JOB.upper(), JOB[:-1], JOB + "0", "12", "%30" * 32])
def test_there_is_no_such_job(either: Server, method: str, path: str, job: str) -> None:
    """404 in both modes, and what cannot be the name of a job is not looked for."""
    either.recalls.place(job_status())
    answer = either.ask(method, f"/jobs/{job}{path}")
    assert answer.status == 404
    assert method == "HEAD" or answer.error["message"] == "There is no such job."
    assert {job for name, job, *_ in either.recalls.calls} <= {OTHER}


@pytest.mark.parametrize("call", ["cancel", "release"])
def test_cancel_and_release(server: Server, call: str) -> None:
    """Some files, or all of them; the answer is the job."""
    url = f"{URL}/{call}"
    assert document_of(post(server, url, {"files": [12, "12-13"]}))["job"] == JOB
    assert document_of(server.ask("POST", url))["job"] == JOB
    assert document_of(server.ask("POST", url, "Content-Type: text/plain", body=b""))["job"] == JOB
    assert document_of(server.ask("POST", url, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"))["job"] == JOB
    assert document_of(post(server, url, {}))["job"] == JOB
    assert server.recalls.called(call) == [[JOB, [12, 13]], *[[JOB, None]] * 4]


def test_what_cancel_and_release_have_done(server: Server) -> None:
    """It is told, beside the job as it stands then."""
    document = document_of(server.ask("POST", f"{URL}/cancel"))
    assert document["effect"] == {"cancelled": 2, "cancelling": 1, "ended": 0}
    document = document_of(server.ask("POST", f"{URL}/release"))
    assert document["effect"] == {"released": 1, "coming": 2, "unpinned": 0}
    assert "effect" not in document_of(server.ask("GET", URL))


def test_trouble(server: Server) -> None:
    """Why files do not come, how often they were asked for, and when the next try is; and what was granted."""
    trouble = Trouble(files=2, reason="The tape system dropped the request.", attempts=4, next_try=NOW + 320)
    server.recalls.place(
        job_status(trouble=trouble, pin=60.0),
        job_file(12, FileState.STARTED, attempts=4, next_try=NOW + 320, reason="The tape system dropped the request."),
    )
    document = document_of(server.ask("GET", f"{URL}?since="))
    expected = {"files": 2, "reason": "The tape system dropped the request.", "attempts": 4, "next_try": NOW + 320}
    assert (document["trouble"], document["most_attempts"], document["pin"]) == (expected, 20, 60.0)
    (file,) = document["changes"]
    assert (file["attempts"], file["next_try"]) == (4, NOW + 320)
    server.recalls.place(job_status())
    assert document_of(server.ask("GET", URL))["trouble"] is None


@pytest.mark.parametrize("call", ["cancel", "release"])
def test_what_means_nothing_means_not_all(server: Server, call: str) -> None:
    """A program that found nothing to give up, or says it wrongly, does not give up everything."""
    url = f"{URL}/{call}"
    documents: list[Any] = [{"files": []}, {"files": None}, {"files": ["x"]}, {"file": [12]}, [], None]
    for document in documents:
        assert post(server, url, document).status == 400
    assert server.ask("POST", url, JSON, body=b" ").status == 400
    assert server.ask("POST", url, body=b'{"files": [12]}').status == 415
    server.recalls.trouble[call] = errors.InvalidRequest("14 is none of the job's files.")
    assert post(server, url, {"files": [14]}).status == 400
    assert server.recalls.called(call) == [[JOB, [14]]]


def test_delete(server: Server) -> None:
    """As a file's."""
    answer = server.ask("DELETE", URL)
    assert (answer.status, answer.body, answer.field("Content-Length")) == (200, b"", "0")
    assert server.ask("DELETE", URL).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", "GET, HEAD, OPTIONS, POST"),
        ("POST", URL, "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", f"{URL}/cancel", "OPTIONS, POST"),
    ],
)
def test_other_verbs(server: Server, method: str, path: str, allowed: str) -> None:
    """They say which would do."""
    answer = server.ask(method, path, body=b"" if method != "GET" else None)
    assert (answer.status, answer.field("Allow")) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/jobs", "GET, HEAD, OPTIONS, POST"), ("/pins/7", "DELETE, OPTIONS"), (f"{URL}/events", "GET, HEAD, OPTIONS")],
)
def test_options(server: Server, path: str, allowed: str) -> None:
    """A URL says what it answers to, also in other answers."""
    answer = server.ask("OPTIONS", path)
    assert (answer.status, answer.field("Allow")) == (204, allowed)


# pins


def test_pins(server: Server) -> None:
    """Pages by file and job."""
    server.recalls.listed["pins"] = [
        Pin(file_id=file_id, job=JOB, owner="ada", size=36, expires=NOW + 5, until_read=False) for file_id in (7, 9)
    ]
    document = document_of(server.ask("GET", "/pins"))
    assert document["pins"][0] == {
        "file": "7", "job": JOB, "owner": "ada", "bytes": 36, "expires": NOW + 5, "until_read": False,
    }  # fmt: skip
    assert "next" not in document
    document = document_of(server.ask("GET", "/pins?limit=2&owner=ada"))
    assert document["next"] == f"/pins?owner=ada&after=9-{JOB}&limit=2"
    server.ask("GET", document["next"])
    assert server.recalls.called("pins") == [[None, None, PAGE], ["ada", None, 2], ["ada", (9, JOB), 2]]


def test_unpin(server: Server) -> None:
    """However many there were."""
    server.recalls.released = 2
    assert document_of(server.ask("DELETE", "/pins/12")) == {"released": 2}
    assert server.ask("DELETE", "/pins/007").status == 404
    assert server.recalls.called("unpin") == [[12]]


def test_jobs_are_no_files(server: Server) -> None:
    """What has ids keeps its paths."""
    server.archive.place(12, DATA)
    assert server.ask("GET", "/12").body == DATA
    assert server.ask("GET", "/jobs/").status == 404
    assert server.ask("GET", f"{URL}/").status == 404


@pytest.mark.parametrize("path", ["", "/files"])
@pytest.mark.parametrize("since", ["", "?since=1-all", "?since="])
@pytest.mark.parametrize("limit", ["0", "10001", "x"])
def test_a_limit_that_is_none(server: Server, path: str, since: str, limit: str) -> None:
    """It is refused, be it that it counts or not."""
    answer = server.ask("GET", f"{URL}{path}{since}{'&' if since else '?'}limit={limit}")
    assert answer.status == 400
