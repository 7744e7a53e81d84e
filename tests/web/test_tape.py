"""The WLCG Tape REST API, as gfal2, XRootD and xrdhttp were seen to use it: jobs, and where files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from doubles import NOW
from support import DATA, compose
from tape_server import JSON, NONE_SUCH, TapeServer, both_spellings, hold_status, problem, read, server

from pacarchive import errors
from pacarchive.model import Locality
from pacarchive.recall.words import FileState
from pacarchive.web import tape

__all__ = ["server"]  # the fixture

CREATED = int(NOW)

STATES = {
    FileState.QUEUED: "SUBMITTED",
    FileState.STARTED: "STARTED",
    FileState.CANCELLING: "STARTED",
    FileState.COMPLETED: "COMPLETED",
    FileState.FAILED: "FAILED",
    FileState.CANCELLED: "CANCELLED",
}


# Staging


@both_spellings
def test_stage(server: TapeServer, slash: str) -> None:
    """Exactly 201, with where to look; the job has each file once, and is its owner's."""
    document = {"files": [{"path": "/5"}, {"path": "/18446744073709551615"}, {"path": "/5"}, {"path": "//0"}]}
    answer = server.call("POST", f"/api/v1/stage{slash}", document)
    assert answer.line == "HTTP/1.1 201 Created"
    (job,) = server.engine.requests
    assert read(answer) == {"requestId": job}
    assert answer.field("Location") == f"http://archive/api/v1/stage/{job}"
    request = server.engine.requests[job]
    assert list(request.file_ids) == [5, 2**64 - 1, 0]
    assert (request.pins, request.deadline, request.others) == ({}, None, [])
    assert request.owner


def test_staging_metadata(server: TapeServer) -> None:
    """
    C{--staging-metadata} of gfal-bringonline, for this site or another, means nothing here; so do members that nobody
    has thought of yet, whatever they are.
    """
    document = {
        "files": [
            {"path": "/1", "targetedMetadata": {"pacarchive": {"activity": "x"}, "elsewhere": {"a": [1, None]}}},
            {"path": "/2", "targetedMetadata": None, "checksum": {"adler32": "x"}, "size": 10**30},
        ],
        "activity": {"deep": [[[{}]]]},
        "n": 1e400,
    }
    body = json.dumps(document).replace("Infinity", "1e400").encode()
    assert server.ask("POST", "/api/v1/stage", JSON, body=body).status == 201
    (request,) = server.engine.requests.values()
    assert list(request.file_ids) == [1, 2]


@pytest.mark.parametrize(
    ("lifetimes", "pins"),
    [
        ({"/1": ["PT1H"], "/2": [None]}, {1: 3600}),
        ({"/1": ["P1D"], "/2": ["PT0S"]}, {1: 86400, 2: 0}),
        ({"/1": ["PT1H", "P1D", None, "PT2H"]}, {1: 86400}),
        ({"/none": ["PT1H"], "/2": ["PT1H"]}, {2: 3600}),
        ({"/1": ["PT18446744073709551615S"]}, {1: 2.0**64}),
    ],
)
def test_disk_lifetimes(server: TapeServer, lifetimes: Mapping[str, list[str | None]], pins: dict[int, float]) -> None:
    """Each file's own; the longest where one is named several times.  Who names none gets the archive's."""
    files = [
        {"path": path, **({} if each is None else {"diskLifetime": each})}
        for path, all_of_it in lifetimes.items() for each in all_of_it
    ]  # fmt: skip
    assert server.call("POST", "/api/v1/stage", {"files": files}).status == 201
    (request,) = server.engine.requests.values()
    assert request.pins == pins


@pytest.mark.parametrize(
    "lifetime", ["", "1h", "P", "PT-1S", "PT1H\n", 3600, None, True, {}, ["PT1H"], "PT" + "9" * 30]
)
def test_what_is_no_lifetime(server: TapeServer, lifetime: object) -> None:
    """Nothing is guessed at, and nothing staged; not even where the file is none."""
    for path in ("/1", "/none"):
        answer = server.call("POST", "/api/v1/stage", {"files": [{"path": path, "diskLifetime": lifetime}]})
        assert problem(answer, 400)
    assert server.engine.requests == {}


NO_FILES = ["12345", "/", "", "/12345/", "/012", "/a", "/1/2", "/-1", "/+1", "/%31", "/1 ", "/1\x00", "/1?x", "/\u0661",
            "/18446744073709551616", "/api/v1/stage", "/é\U0001f600", "/1_0", "/ 1", "/1\n", "/./1",
            "x" * 200]  # fmt: skip


def test_paths_that_name_no_file(server: TapeServer) -> None:
    """They fail by themselves, with words, and never the request; nor do they become ids."""
    job = server.stage("/7", *NO_FILES, "/a", "//a", "/a//b")
    request = server.engine.requests[job]
    assert list(request.file_ids) == [7]
    assert list(request.others) == [*NO_FILES, "/a/b"]
    files = server.files(job)
    assert files.keys() == {"/7", *NO_FILES, "/a/b"}
    for path in NO_FILES:
        assert files[path] == {"path": path, "state": "FAILED", "error": "There is no such file."}
    only = server.stage("/none")
    assert server.files(only) == {"/none": {"path": "/none", "state": "FAILED", "error": "There is no such file."}}


def test_many_paths_that_name_no_file(server: TapeServer) -> None:
    """They are kept with the job, so there is an end to them."""
    fits = [f"/{number}/" + "x" * 190 for number in range(100)]
    assert list(server.engine.requests[server.stage(*fits, "/1")].others) == fits
    for files in ([*fits, "/another"], ["x" * 201]):
        answer = server.call("POST", "/api/v1/stage", {"files": [{"path": path} for path in files]})
        assert "name no file" in problem(answer, 400)
    assert len(server.engine.requests) == 1


def test_a_large_request(server: TapeServer) -> None:
    """It is worked through in slices, and others have their turn meanwhile."""
    client = server.connect()
    body = json.dumps({"files": [{"path": f"/{number}"} for number in range(20_000)]}).encode()
    client.send(compose("POST", "/api/v1/stage", body=body))
    assert client.answers() == []
    assert server.ask("GET", "/").status == 200
    answer = server.answer_to(client)
    assert answer.status == 201
    (request,) = server.engine.requests.values()
    assert list(request.file_ids) == list(range(20_000))


def test_more_files_than_a_job_may_have(server: TapeServer) -> None:
    """The engine knows how many that is."""
    server.engine.trouble["submit"] = errors.TooLarge("A job has 3 files at the most.")
    answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}]})
    assert problem(answer, 413) == "A job has 3 files at the most."


def test_leaving_amid_a_large_request(server: TapeServer) -> None:
    """Nothing is staged that nobody would hear of."""
    client = server.connect()
    body = json.dumps({"files": [{"path": f"/{number}"} for number in range(1000)]}).encode()
    client.send(compose("POST", "/api/v1/stage", body=body))
    client.hang_up()
    server.clock.advance(0)  # the turn that it was in line for
    assert not server.clock.getDelayedCalls()
    assert server.engine.requests == {}


# How a job stands


@both_spellings
@pytest.mark.parametrize("state", list(FileState), ids=lambda state: state.name)
def test_states(server: TapeServer, state: FileState, slash: str) -> None:
    """In the words of the specification; times are whole seconds, and are left out where there are none."""
    job = server.stage("/1")
    reason = "The cartridge is lost." if state is FileState.FAILED else "It waits for a drive."
    for times in ({}, {"started": NOW + 1.9, "ended": NOW + 2.9 if state.ended else None}):
        server.engine.change(job, 1, state, reason=reason, **times)
        document = read(server.call("GET", f"/api/v1/stage/{job}{slash}"))
        expected: dict[str, Any] = {"path": "/1", "state": STATES[state]}
        if times and state is not FileState.QUEUED:
            expected["startedAt"] = CREATED + 2
        if times and state.ended:
            expected["finishedAt"] = CREATED + 3
        if state is FileState.FAILED:
            expected["error"] = reason
        assert document["files"] == [expected]
        assert all(type(value) in (str, int) for value in document["files"][0].values())


def test_no_failure_without_words(server: TapeServer) -> None:
    """XRootD refuses an empty error, and so does whoever has to find out why."""
    job = server.stage("/1")
    server.engine.change(job, 1, FileState.FAILED, reason="")
    assert server.files(job)["/1"]["error"]


def test_times_of_a_job(server: TapeServer) -> None:
    """C{createdAt} and C{startedAt} are always there, C{completedAt} when all is done; all are whole numbers."""
    job = server.stage("/1", "/2")
    target = f"/api/v1/stage/{job}"
    document = read(server.call("GET", target))
    assert list(document) == ["id", "createdAt", "startedAt", "files"]
    assert (document["id"], document["createdAt"], document["startedAt"]) == (job, CREATED, CREATED)
    server.engine.change(job, 1, FileState.STARTED, started=NOW + 5)
    document = read(server.call("GET", target))
    assert (document["createdAt"], document["startedAt"]) == (CREATED, CREATED + 5)
    assert "completedAt" not in document
    server.engine.change(job, 1, FileState.COMPLETED, started=NOW + 5, ended=NOW + 9)
    assert "completedAt" not in read(server.call("GET", target))
    server.engine.change(job, 2, FileState.CANCELLED, ended=NOW + 10)
    document = read(server.call("GET", target))
    assert document["completedAt"] == CREATED + 10
    assert all(type(document[name]) is int for name in ("createdAt", "startedAt", "completedAt"))


def test_every_path_is_in_the_answer(server: TapeServer) -> None:
    """gfal2 fails those that are missing; it takes slashes for one before it compares."""
    job = server.stage("//1", "/2", "/2", "///3", "/none", "/none//else")
    assert server.files(job).keys() == {"/1", "/2", "/3", "/none", "/none/else"}


def test_no_entry_has_two_forms(server: TapeServer) -> None:
    """XRootD refuses C{onDisk} beside C{state}; gfal2 believes the former."""
    job = server.stage("/1", "/2", "/none")
    server.engine.change(job, 2, FileState.COMPLETED, started=NOW, ended=NOW)
    for entry in server.files(job).values():
        assert "state" in entry
        assert "onDisk" not in entry


@pytest.mark.parametrize("count", [0, 99, 100, 101, 1000, 2345])
def test_a_job_of_many_files(server: TapeServer, count: int) -> None:
    """All are told, in one answer with its length, a slice at a time."""
    job = server.stage("/none", *(f"/{number}" for number in range(min(count, 99))))
    for number in range(count):
        server.engine.change(job, number)
    client = server.connect().send(compose("GET", f"/api/v1/stage/{job}"))
    answer = server.answer_to(client)
    document = read(answer)
    assert {entry["path"] for entry in document["files"]} == {"/none", *(f"/{number}" for number in range(count))}
    assert len(document["files"]) == count + 1


def test_files_that_change_meanwhile(server: TapeServer) -> None:
    """Each is in the answer once, and so are those that change before it was their turn."""
    job, engine = server.stage(*(f"/{number}" for number in range(50))), server.engine
    changes = iter([[5, 15, 45], [7, 16, 35], [8, 45]])
    engine.page = 10

    def between() -> None:
        for number in next(changes, []):
            engine.change(job, number, FileState.STARTED)

    engine.between = between
    files = server.files(job)
    assert files.keys() == {f"/{number}" for number in range(50)}
    assert {files[f"/{number}"]["state"] for number in (15, 16, 35, 45)} == {"STARTED"}
    assert files["/49"]["state"] == "SUBMITTED"


def test_leaving_before_the_answer(server: TapeServer) -> None:
    """Nothing is left to do."""
    job = server.stage("/1")
    for number in range(5000):
        server.engine.change(job, number)
    client = server.connect().send(compose("GET", f"/api/v1/stage/{job}"))
    assert client.answers() == []
    client.hang_up()
    server.clock.advance(0)  # the turn that it was in line for
    assert not server.clock.getDelayedCalls()


# Cancelling, releasing, forgetting


@both_spellings
@pytest.mark.parametrize("call", ["cancel", "release"])
def test_cancel_and_release(server: TapeServer, call: str, slash: str) -> None:
    """Exactly 200; the files that are named, and no others; those that are none need nothing done."""
    job = server.stage("/1", "/2", "/3", "/none")
    target = {"cancel": f"/api/v1/stage/{job}/cancel", "release": f"/api/v1/release/{job}"}[call] + slash
    for paths, ids in (
        (["/1"], [1]), (["//2", "/3", "/2"], [2, 3]), (["/none", "/3"], [3]), (["//none"], []), ([], []),
    ):  # fmt: skip
        answer = server.call("POST", target, {"paths": paths, "reason": None})
        assert (answer.line, answer.body) == ("HTTP/1.1 200 OK", b"")
        calls = server.engine.cancelled if call == "cancel" else server.engine.released
        assert calls.pop() == (job, ids), "no list of files at all would mean all of them"
    assert not server.engine.cancelled
    assert not server.engine.released


@pytest.mark.parametrize("call", ["cancel", "release"])
@pytest.mark.parametrize("stranger", ["/4", "/other", "1", "/1/"])
def test_paths_of_another_request(server: TapeServer, call: str, stranger: str) -> None:
    """One is enough: nothing has changed."""
    job = server.stage("/1", "/2", "/none")
    server.stage("/4", "/other")
    target = {"cancel": f"/api/v1/stage/{job}/cancel", "release": f"/api/v1/release/{job}"}[call]
    answer = server.call("POST", target, {"paths": ["/1", stranger, "/none"]})
    assert problem(answer, 400)
    assert (server.engine.cancelled, server.engine.released) == ([], [])


@both_spellings
def test_delete(server: TapeServer, slash: str) -> None:
    """Exactly 200; the request is unknown afterwards."""
    job, other = server.stage("/1"), server.stage("/1")
    answer = server.call("DELETE", f"/api/v1/stage/{job}{slash}")
    assert (answer.line, answer.body) == ("HTTP/1.1 200 OK", b"")
    assert list(server.engine.requests) == [other]
    assert problem(server.call("GET", f"/api/v1/stage/{job}"), 404)
    assert problem(server.call("DELETE", f"/api/v1/stage/{job}"), 404)


def calls_of(job: str) -> list[tuple[str, str, Any]]:
    """All that can be asked about a job."""
    return [
        ("GET", f"/api/v1/stage/{job}", None),
        ("DELETE", f"/api/v1/stage/{job}", None),
        ("POST", f"/api/v1/stage/{job}/cancel", {"paths": ["/1"]}),
        ("POST", f"/api/v1/stage/{job}/cancel", {"paths": ["/none"]}),
        ("POST", f"/api/v1/release/{job}", {"paths": ["/1"]}),
        ("POST", f"/api/v1/release/{job}", {"paths": []}),
    ]


@pytest.mark.parametrize(
    "job", [NONE_SUCH, "req-0", "1", "A" * 32, "0" * 33, "%30" * 32, "..", "%00", "gfal2-placeholder-id", "x" * 4000]
)
def test_unknown_requests(server: TapeServer, job: str) -> None:
    """Those that never were, and those that could not be."""
    for method, target, document in calls_of(job):
        if job != tape.PLACEHOLDER or "release" not in target:
            assert problem(server.call(method, target, document), 404)


@both_spellings
@pytest.mark.parametrize("paths", [["/12345"], ["/12345", "/none"], []])
def test_release_without_a_request(server: TapeServer, paths: list[str], slash: str) -> None:
    """What C{gfal-evict URL} sends must be 200; it names no job, and nobody's pins end."""
    server.stage("/12345")
    answer = server.call("POST", f"/api/v1/release/gfal2-placeholder-id{slash}", {"paths": paths})
    assert (answer.line, answer.body) == ("HTTP/1.1 200 OK", b"")
    assert server.engine.released == []


# Where files are


@both_spellings
def test_archiveinfo(server: TapeServer, slash: str) -> None:
    """An array, in the order of the question; no locality of what does not exist."""
    for number, locality in enumerate(Locality, 1):
        server.archive.place(number, DATA, locality=locality)
    paths = ["/2", "/1", "//3", "/4", "/404", "/5", "/none", "/6", "/1", "///1", "1"]
    answer = server.call("POST", f"/api/v1/archiveinfo{slash}", {"paths": paths})
    assert (answer.line, answer.field("Content-Type")) == ("HTTP/1.1 200 OK", "application/json")
    assert b"null" not in answer.body
    found = json.loads(answer.body)
    assert found[4] == {"path": "/404", "error": found[4]["error"]}
    assert found[4]["error"]
    del found[4]
    assert found == [
        {"path": "/2", "locality": "TAPE"},
        {"path": "/1", "locality": "DISK"},
        {"path": "/3", "locality": "DISK_AND_TAPE"},
        {"path": "/4", "locality": "LOST"},
        {"path": "/5", "locality": "DISK"},  # NONE, an error to gfal2
        {"path": "/none", "error": "There is no such file."},
        {"path": "/6", "locality": "UNAVAILABLE"},
        {"path": "1", "error": "There is no such file."},
    ]


def test_an_empty_file(server: TapeServer) -> None:
    """It is on disk, whatever tape may mean for it."""
    server.archive.place(1, b"")
    assert server.locate("/1") == [{"path": "/1", "locality": "DISK"}]


def test_nothing_is_recalled(server: TapeServer) -> None:
    """To ask is not to want."""
    server.archive.place(1, DATA, locality=Locality.TAPE)
    server.locate("/1", "/2")
    assert set(server.archive.calls) == {"status"}
    assert server.engine.requests == {}


def test_no_paths(server: TapeServer) -> None:
    """Nothing is said of nothing."""
    assert server.locate() == []


def test_the_storage_is_not_flooded(server: TapeServer) -> None:
    """At most 32 files are asked for at once, whatever the request; a client that leaves takes them with it."""
    waits = hold_status(server)
    body = json.dumps({"paths": [f"/{number}" for number in range(1000)]}).encode()
    client = server.connect().send(compose("POST", "/api/v1/archiveinfo", body=body))
    for _ in range(20):
        server.clock.advance(0)
    assert sorted(waits) == list(range(32))
    client.hang_up()
    assert all(wait.called for wait in waits.values())
    assert len(waits) == 32


def test_files_are_asked_for_while_others_wait(server: TapeServer) -> None:
    """Answers come in the order of the paths, whatever order they were found in."""
    waits = hold_status(server)
    for number in range(40):
        server.archive.place(number, DATA, locality=Locality.TAPE if number % 2 else Locality.DISK)
    body = json.dumps({"paths": [f"/{number}" for number in range(40)]}).encode()
    client = server.connect().send(compose("POST", "/api/v1/archiveinfo", body=body))
    for number in [*range(31, -1, -1), *range(39, 31, -1)]:
        assert client.answers() == []
        waits[number].callback(None)
    (answer,) = client.answers()
    assert [entry["path"] for entry in json.loads(answer.body)] == [f"/{number}" for number in range(40)]
    assert [entry["locality"] for entry in json.loads(answer.body)] == ["DISK", "TAPE"] * 20


def test_more_paths_than_are_answered(server: TapeServer) -> None:
    """The specification lets an archive answer for some, and the rest are not asked for."""
    client = server.connect().send(
        compose("POST", "/api/v1/archiveinfo", body=json.dumps({"paths": [f"/{n}" for n in range(10_500)]}).encode())
    )
    answer = server.answer_to(client)
    found = json.loads(answer.body)
    assert [entry["path"] for entry in found] == [f"/{number}" for number in range(10_000)]
    assert len(server.archive.calls) == 10_000


def test_a_storage_that_does_not_answer(server: TapeServer) -> None:
    """To gfal2, UNAVAILABLE means to ask again; it is logged once, however many files there are."""
    server.archive.trouble["status"] = errors.BackendUnavailable("HPSS does not answer.")
    assert server.locate("/1", "/none", "/2") == [
        {"path": "/1", "locality": "UNAVAILABLE"},
        {"path": "/none", "error": "There is no such file."},
        {"path": "/2", "locality": "UNAVAILABLE"},
    ]
    assert server.site.events == {"BackendUnavailable": 1}
    assert sum("HPSS does not answer." in words for words in server.words()) == 1


def test_a_file_that_cannot_be_told_about(server: TapeServer) -> None:
    """Its own entry says why."""
    server.archive.trouble["status"] = errors.NotPermitted("Not this one.")
    assert server.locate("/1") == [{"path": "/1", "error": "Not this one."}]
