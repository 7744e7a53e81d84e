"""Stage jobs over HTTP: what is asked of the recall engine, what is answered, and how changes are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from doubles import JOB, NOW, job_file, job_status
from support import DATA, Answer, Client, Server, chunked, compose, read_answer, serving
from twisted.internet.error import ConnectionDone

from pacarchive import errors
from pacarchive.model import Estimate, Trouble
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.words import FilesPage, FileState, JobRequest, Pin, Plan, Priority
from pacarchive.settings.server import Compatibility
from pacarchive.web.http.documents import LARGE, SLICE
from pacarchive.web.job_requests import LARGEST_PAGE, PAGE

URL = f"/jobs/{JOB}"
OTHER = "f" * 32
JSON = "Content-Type: application/json"
MOST = 50
"""The setting: how many files a job may have."""


@pytest.fixture(params=list(Compatibility), ids=lambda mode: mode.value)
def either(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server, in both modes: the predecessor had no jobs, so there is nothing to be compatible with."""
    with serving(
        Server(recall=RecallSettings(job_files=MOST, owner_header="X-User"), compatibility=request.param)
    ) as it:
        yield it


@pytest.fixture
def server() -> Iterator[Server]:
    """One that has a job of three files."""
    with serving(Server(recall=RecallSettings(job_files=MOST, owner_header="X-User"))) as server:
        server.recalls.place(job_status(), *(job_file(file_id) for file_id in (12, 13, 2**64 - 1)))
        yield server


def document_of(answer: Answer, status: int = 200) -> Any:
    """The document of a success."""
    assert answer.status == status, answer.body
    assert answer.field("Content-Type") == "application/json"
    return json.loads(answer.body)


def post(server: Server, url: str, document: object, *fields: str) -> Answer:
    return server.ask("POST", url, JSON, *fields, body=json.dumps(document).encode())


def submit(server: Server, **document: Any) -> JobRequest:
    """Submit a job, and return what the engine got."""
    assert post(server, "/jobs", document).status == 201
    ((request,),) = server.recalls.called("submit")
    assert isinstance(request, JobRequest)
    server.recalls.calls.clear()
    return request


def turn(server: Server) -> None:
    """One turn of the reactor; C{Clock.advance} goes on until there is nothing to do."""
    (call,) = [call for call in server.clock.calls if call.getTime() <= server.clock.seconds()]
    server.clock.calls.remove(call)
    call.called = 1
    call.func(*call.args, **call.kw)


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


def test_submit_in_many_chunks(server: Server) -> None:
    """The work grows with the bytes, and not with their square."""
    body = b'{"files": [1]' + b" " * 100_000 + b"}"
    client = server.connect().send(compose("POST", "/jobs", JSON, "Transfer-Encoding: chunked"))
    client.send(chunked(*(body[at : at + 3] for at in range(0, len(body), 3))))
    server.finish_work()
    (answer,) = client.answers()
    assert answer.status == 201


def test_a_long_list_lets_others_have_their_turn() -> None:
    """And a client that leaves meanwhile has asked for nothing."""
    with serving(Server(recall=RecallSettings(job_files=20_000))) as server:
        body = json.dumps({"files": [*range(6000)]}).encode()
        for stays in (True, False):
            client = server.connect().send(compose("POST", "/jobs", JSON, body=body))
            for _ in range(3):
                turn(server)
                assert server.recalls.calls == []
            if not stays:
                client.hang_up()
            server.clock.advance(0)
            assert len(server.recalls.called("submit")) == stays
            server.recalls.calls.clear()


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
        ("POST", URL, "DELETE, GET, HEAD, OPTIONS"),
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


# long lists


def long_job(server: Server, count: int) -> None:
    """A job with many files."""
    server.recalls.place(job_status(files=count), *(job_file(file_id, reason="x" * 30) for file_id in range(count)))


def test_a_long_answer_lets_others_have_their_turn(server: Server) -> None:
    """It is written in slices, and sent when all is."""
    long_job(server, 10 * SLICE + 1)
    client = server.connect().send(compose("GET", f"{URL}/files?limit=10000"))
    turns = 0
    while not (data := client.take()):
        turn(server)
        turns += 1
    assert 10 <= turns <= 40, "it rests between two slices, and not for long"
    answer, rest = read_answer(data)
    assert rest == b""
    assert [each["file"] for each in json.loads(answer.body)["files"]] == [*map(str, range(10 * SLICE + 1))]
    assert client.connected
    assert client.ask("GET", "/").status == 200


@pytest.mark.parametrize("count", [0, 1, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE])
def test_at_the_edges_of_slices(server: Server, count: int) -> None:
    """No entry is lost, nor comes twice."""
    long_job(server, count)
    client = server.connect().send(compose("GET", f"{URL}/files"))
    server.clock.advance(0)
    (answer,) = client.answers()
    assert [each["file"] for each in json.loads(answer.body)["files"]] == [*map(str, range(count))]


def test_a_client_that_leaves_before_a_long_answer(server: Server) -> None:
    """Nothing goes on."""
    long_job(server, 5 * SLICE)
    client = server.connect().send(compose("GET", f"{URL}/files"))
    client.hang_up()
    server.clock.advance(0)  # the turn that it was in line for
    assert server.clock.getDelayedCalls() == []


def test_a_long_answer_waits_for_the_client(server: Server) -> None:
    """What it does not take is not put into the connection's buffer; one that takes nothing is cut off."""
    long_job(server, 5000)
    client = server.connect()
    client.transport.room = 1
    client.send(compose("GET", f"{URL}/files?limit=5000"))
    server.clock.advance(0)
    first = client.take()
    assert LARGE <= len(first) < 2 * LARGE
    received = first
    while not received.endswith(b"]}"):
        client.transport.producer.resumeProducing()  # type: ignore[union-attr]
        received += client.take()
    client.transport.producer.resumeProducing()  # type: ignore[union-attr]
    answer, _ = read_answer(received)
    assert len(json.loads(answer.body)["files"]) == 5000
    client.send(compose("GET", f"{URL}/files?limit=5000"))
    server.clock.advance(0)
    client.take()
    client.transport.kernel[0].send(b"not taken")
    server.clock.pump([server.limits.progress_timeout] * 2)
    assert client.transport.closed == "aborted"
    assert server.site.events["stalled"] == 1


def test_head_of_a_long_answer(server: Server) -> None:
    """It has the length, and nothing of it."""
    long_job(server, 1000)
    client = server.connect().send(compose("HEAD", f"{URL}/files"))
    server.clock.advance(0)
    answer, rest = read_answer(client.take(), "HEAD")
    assert (answer.status, rest) == (200, b"")
    assert int(answer.field("Content-Length") or 0) > LARGE


# events


class Follower:
    """A client of the events of a job."""

    def __init__(self, server: Server, *fields: str, target: str = f"{URL}/events", version: str = "1.1") -> None:
        self.server = server
        self.client: Client = server.connect()
        request = compose("GET", target, *fields).replace(b"HTTP/1.1", b"HTTP/%b" % version.encode())
        self.chunked = version == "1.1"
        self.client.send(request)
        self._raw = self.client.take()
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        self.head = read_answer(
            head.replace(b"Transfer-Encoding: chunked", b"X: y") + b"\r\nContent-Length: 0\r\n\r\n"
        )[0]
        assert (b"\r\nTransfer-Encoding: chunked" in head) == self.chunked
        self.ended = False
        self.text = ""
        self.read()

    def read(self) -> str:
        """What has come since the last call."""
        self._raw += self.client.take()
        before = len(self.text)
        if not self.chunked:
            self.text += self._raw.decode()
            self._raw = b""
        while self._raw:
            size, _, rest = self._raw.partition(b"\r\n")
            length = int(size, 16)
            self.text += rest[:length].decode()
            assert rest[length : length + 2] == b"\r\n"
            self._raw = rest[length + 2 :]
            self.ended = not length
        return self.text[before:]

    def events(self) -> list[dict[str, Any]]:
        """The same, as events."""
        text = self.read()
        assert text.endswith("\n\n")
        found = []
        for block in text[:-2].split("\n\n"):
            lines = [line.partition(": ") for line in block.split("\n")]
            fields = {name: value for name, _, value in lines}
            assert len(fields) == len(lines)
            if fields.keys() != {""} and block != ":":
                found.append({**fields, "data": json.loads(fields["data"])})
        return found


def page(*file_ids: int, cursor: str = "7-all") -> FilesPage:
    """A page of changes."""
    return FilesPage(files=[job_file(file_id, FileState.STARTED) for file_id in file_ids], cursor=cursor, more=False)


def test_events(either: Server) -> None:
    """What changes, with how the job stands; signs of life; and the end."""
    recalls = either.recalls
    recalls.place(job_status(started=NOW))
    follower = Follower(either)
    assert follower.head.status == 200
    assert follower.head.field("Content-Type") == "text/event-stream"
    assert follower.head.field("Cache-Control") == "no-store"
    assert follower.head.field("X-Accel-Buffering") == "no"
    assert follower.text.startswith(":"), "the head goes out before anything changes"
    assert recalls.called("follow") == [[JOB, ""]]
    recalls.tell(page(12, 13))
    (event,) = follower.events()
    assert (event["id"], event["event"]) == ("7-all", "progress")
    data = event["data"]
    assert [each["file"] for each in data.pop("changes")] == ["12", "13"]
    assert (data["state"], data["cursor"], data["files"]) == ("running", "7-all", 3)
    recalls.place(job_status(started=NOW, estimate=Estimate(seconds=2.5, basis="2 drives")))
    recalls.tell(page())
    (event,) = follower.events()
    assert (event["event"], event["data"]["changes"]) == ("progress", [])
    assert event["data"]["estimate"]["seconds"] == 2.5, "what is expected has changed, although no file has"
    recalls.tell(page(13, cursor="8-all"))
    assert [event["id"] for event in follower.events()] == ["8-all"]
    recalls.place(job_status(started=NOW, ended=NOW + 5, left=0, cursor="9-all"))
    recalls.tell(None)
    (event,) = follower.events()
    assert (event["id"], event["event"], event["data"]["state"]) == ("9-all", "end", "ended")
    assert follower.ended
    assert recalls.followers == 0
    assert follower.client.ask("GET", "/").status == 200


def test_events_are_found_again(server: Server) -> None:
    """By the last event's id, or by the URL where the client has none yet."""
    follower = Follower(server, "Last-Event-ID: 2", target=f"{URL}/events?since=1")
    follower.client.hang_up()
    Follower(server, target=f"{URL}/events?since=1").client.hang_up()
    assert server.recalls.called("follow") == [[JOB, "2"], [JOB, "1"]]
    answer = server.ask("GET", f"{URL}/events", "Last-Event-ID: nonsense")
    assert answer.status == 400, "while there still is an answer to give"
    assert len(server.recalls.called("follow")) == 2


def test_events_over_http_1_0(server: Server) -> None:
    """The end of the connection is the end."""
    follower = Follower(server, version="1.0")
    assert follower.head.closes
    server.recalls.tell(page(12))
    assert len(follower.events()) == 1
    server.recalls.tell(None)
    assert follower.client.transport.closed == "closed"


def test_head_of_events(server: Server) -> None:
    """There is nothing to follow."""
    answer = server.ask("HEAD", f"{URL}/events")
    assert (answer.status, answer.field("Content-Type")) == (200, "text/event-stream")
    assert server.recalls.called("follow") == []


def test_a_follower_that_leaves(server: Server) -> None:
    """Nothing is left of it: while it waits for changes, and while a change is being written."""
    follower = Follower(server)
    assert server.recalls.followers == 1
    follower.client.hang_up(ConnectionDone())
    assert server.recalls.followers == 0
    follower = Follower(server)
    server.recalls.tell(page(*range(5 * SLICE)))
    assert len(server.clock.getDelayedCalls()) == 1
    follower.client.hang_up()
    assert server.recalls.followers == 0
    server.clock.advance(0)  # the turn that it was in line for
    assert server.clock.getDelayedCalls() == []


def test_a_slow_follower(server: Server) -> None:
    """The next change is not asked for before there is room for it, so that nothing piles up here."""
    follower = Follower(server)
    transport = follower.client.transport
    transport.room = 1
    server.recalls.tell(page(12))
    server.recalls.tell(page(13))
    server.recalls.tell(page(14, cursor="8-all"))
    assert [event["data"]["changes"][0]["file"] for event in follower.events()] == ["12"]
    server.clock.advance(server.limits.progress_timeout - 1)
    assert follower.read() == ""
    transport.room = None
    transport.producer.resumeProducing()  # type: ignore[union-attr]
    assert [event["data"]["changes"][0]["file"] for event in follower.events()] == ["13", "14"]
    follower.client.hang_up()


def test_a_follower_that_takes_nothing(server: Server) -> None:
    """It is cut off, and what it followed is let go; until then there is one event in its buffer."""
    follower = Follower(server)
    follower.client.transport.room = 1
    follower.client.transport.kernel[0].send(b"not taken")
    server.recalls.tell(page(12))
    server.recalls.tell(page(13))
    server.clock.advance(server.limits.progress_timeout)
    server.clock.advance(0)
    assert follower.client.transport.closed == "aborted"
    assert server.recalls.followers == 0
    assert server.site.events["stalled"] == 1


def test_a_follower_of_what_does_not_change(server: Server) -> None:
    """It is no idle connection, however long it takes."""
    follower = Follower(server)
    for _ in range(20):
        server.clock.pump([10] * 10)
        server.recalls.tell(page())
    assert [event["data"]["changes"] for event in follower.events()] == [[]] * 20
    assert follower.client.connected
    follower.client.hang_up()


def test_the_service_stops_while_a_job_is_followed(server: Server) -> None:
    """The job has not ended, so the client is not told so; it comes again by itself."""
    follower = Follower(server)
    drained = server.site.drain(60)
    server.recalls.stop_waiting()
    assert follower.read() == ""
    assert follower.ended
    server.clock.advance(0)
    assert drained.called


def test_a_job_that_is_deleted_while_it_is_followed(server: Server) -> None:
    """That is an end too."""
    follower = Follower(server)
    server.recalls.tell(errors.NotFound("There is no such job."))
    assert follower.events() == [{"event": "end", "data": {"job": JOB, "state": "deleted"}}]
    assert follower.ended


def test_the_store_fails_while_a_job_is_followed(server: Server) -> None:
    """The answer has begun: it ends, and the client comes again, and hears of the trouble if there still is some."""
    follower = Follower(server)
    server.recalls.tell(errors.BackendUnavailable("The store does not answer."))
    assert follower.read() == ""
    assert follower.ended
    assert server.site.events["BackendUnavailable"] == 1


def test_what_goes_wrong_while_a_job_is_followed(server: Server) -> None:
    """It is an incident, and no part of the events."""
    follower = Follower(server)
    server.recalls.tell(ZeroDivisionError())
    assert follower.read() == ""
    assert follower.client.transport.closed == "aborted"
    (failure,) = server.failures()
    assert failure.check(ZeroDivisionError)


def test_jobs_are_no_files(server: Server) -> None:
    """What has ids keeps its paths."""
    server.archive.place(12, DATA)
    assert server.ask("GET", "/12").body == DATA
    assert server.ask("GET", "/jobs/").status == 404
    assert server.ask("GET", f"{URL}/").status == 404


@pytest.mark.parametrize("number", ["1e-400", "1.5", "9e-324"])
def test_numbers_that_take_long_to_read(server: Server, number: str) -> None:
    """A few are read as any; a document that is full of them is none."""
    few, many = (json.dumps({"files": [1], "note": []}).replace("[]", f"[{','.join([number] * n)}]") for n in (9, 9000))
    assert "Invalid JSON" not in str(server.ask("POST", "/jobs", JSON, body=few.encode()).body)
    answer = server.ask("POST", "/jobs", JSON, body=many.encode())
    assert (answer.status, answer.error["message"]) == (400, "Invalid JSON document")


@pytest.mark.parametrize("element", ["[],", "{},", "1,", '"",'])
def test_elements_that_take_long_to_read(server: Server, element: str) -> None:
    """As many as lists have are read; a document that is full of them is refused before it is read."""
    few, many = (f'{{"files":[1],"note":[{element * count}1]}}'.encode() for count in (30_000, 100_000))
    assert server.ask("POST", "/jobs", JSON, body=few).error["message"] == 'A job has no "note".'
    answer = server.ask("POST", "/jobs", JSON, body=many)
    assert (answer.status, "100000 commas" in answer.error["message"]) == (413, True)
