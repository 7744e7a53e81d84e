"""
The WLCG Tape REST API: what gfal2, XRootD and xrdhttp were seen to send, and to trip over.

The engine is a small one in memory, which does what its documentation says and nothing by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from doubles import NOW
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, Answer, Client, Server, chunked, compose, serving
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.model import FileStatus, Locality
from pacarchive.recall.words import FilesPage, FileState, JobFile, JobRequest, JobStatus, JobSummary, Priority
from pacarchive.settings.server import Compatibility
from pacarchive.web import tape
from pacarchive.web.application import archive_resource
from pacarchive.web.http.documents import DOCUMENT_LIMIT
from pacarchive.web.http.settings import LimitSettings

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine

WELL_KNOWN = "/.well-known/wlcg-tape-rest-api"
JSON = "Content-Type: application/json"
LIMIT = DOCUMENT_LIMIT
CREATED = int(NOW)
NONE_SUCH = "0" * 32

STATES = {
    FileState.QUEUED: "SUBMITTED",
    FileState.STARTED: "STARTED",
    FileState.CANCELLING: "STARTED",
    FileState.COMPLETED: "COMPLETED",
    FileState.FAILED: "FAILED",
    FileState.CANCELLED: "CANCELLED",
}


class Engine:
    """
    Jobs in memory, by the signatures of L{pacarchive.recall.engine.RecallEngine}.

    @ivar requests: All requests, by job.
    @ivar page: The most files that it tells of at once.
    @ivar trouble: What the method of a name raises.
    @ivar between: Called after each page.
    @ivar cancelled: What was given up: jobs, and the files of each.
    @ivar released: What was released, likewise.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self.requests: dict[str, JobRequest] = {}
        self.page = 1000
        self.trouble: dict[str, Exception] = {}
        self.between: Any = lambda: None
        self.cancelled: list[tuple[str, list[int] | None]] = []
        self.released: list[tuple[str, list[int] | None]] = []
        self._files: dict[str, dict[int, tuple[int, JobFile]]] = {}
        self._changes = 0

    async def submit(self, request: JobRequest) -> str:
        """Make a job."""
        self._pass_by("submit")
        job = f"{len(self.requests) + 1:032x}"
        self.requests[job] = request
        self._files[job] = {}
        for file_id in request.file_ids:
            self.change(job, file_id)
        return job

    def change(self, job: str, file_id: int, state: FileState = FileState.QUEUED, **changes: Any) -> None:
        """Let a file stand otherwise."""
        self._changes += 1
        file = JobFile(
            file_id=file_id, state=state, size=None, started=changes.get("started"), ended=changes.get("ended"),
            deadline=self._now + 1000, heard=None, attempts=0, reason=changes.get("reason", ""), pinned=None,
        )  # fmt: skip
        self._files[job][file_id] = (self._changes, file)

    def _of(self, job: str) -> dict[int, tuple[int, JobFile]]:
        assert re.fullmatch("[0-9a-f]{32}", job), "the engine is asked for nothing that cannot be"
        if job not in self._files:
            raise errors.NotFound("There is no such job.")
        return self._files[job]

    def _pass_by(self, name: str) -> None:
        if name in self.trouble:
            raise self.trouble[name]

    async def status(self, job: str) -> JobStatus:
        """How a job stands."""
        self._pass_by("status")
        files = [file for _, file in self._of(job).values()]
        ended = [file.ended or self._now for file in files if file.state.ended]
        summary = JobSummary(
            job=job, number=1, owner=self.requests[job].owner, priority=Priority.NORMAL, created=self._now,
            deadline=self._now + 1000, started=min((file.started for file in files if file.started), default=None),
            ended=max(ended, default=self._now) if len(ended) == len(files) else None,
            files=len(files), left=len(files) - len(ended),
        )  # fmt: skip
        counts = {state: sum(file.state is state for file in files) for state in FileState}
        others = self.requests[job].others
        return JobStatus(
            summary=summary, counts=counts, size=0, done=0, rate=0, estimate=None, pin=0, most_attempts=20, cursor="9",
            others=others,
        )  # fmt: skip

    async def files(self, job: str, since: str = "", limit: int = 1000) -> FilesPage:
        """Its files, in the order of their changes."""
        self._pass_by("files")
        later = sorted((each for each in self._of(job).values() if each[0] > int(since or 0)), key=lambda each: each[0])
        page = later[: min(limit, self.page)]
        cursor = str(page[-1][0]) if page else since
        found = FilesPage(files=[file for _, file in page], cursor=cursor, more=len(later) > len(page))
        self.between()
        return found

    async def cancel(self, job: str, file_ids: Collection[int] | None = None) -> None:
        """Give files up."""
        self._check(job, file_ids)
        self.cancelled.append((job, None if file_ids is None else list(file_ids)))

    async def release(self, job: str, file_ids: Collection[int] | None = None) -> None:
        """End pins."""
        self._check(job, file_ids)
        self.released.append((job, None if file_ids is None else list(file_ids)))

    def _check(self, job: str, file_ids: Collection[int] | None) -> None:
        if not self._of(job).keys() >= set(file_ids or ()):
            raise errors.InvalidRequest("A file is none of the job's.")

    async def delete(self, job: str) -> None:
        """Forget a job."""
        self._of(job)
        del self._files[job], self.requests[job]


HOSTS = ("archive", "archive.example", "a_b.example", "a-1.b", "fe80::1")
"""What the server is called."""


class TapeServer(Server):
    """A server with an engine in memory."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"hosts": HOSTS, **settings})
        self.engine = Engine(NOW)
        self.site.resource = archive_resource(attrs.evolve(self.application, recall=cast("RecallEngine", self.engine)))

    def call(self, method: str, target: str, document: Any = None, *fields: str) -> Answer:
        """Send a request with a document, if there is one."""
        body = None if document is None else json.dumps(document).encode()
        client = self.connect().send(compose(method, target, JSON, *fields, body=body))
        answer = self.answer_to(client)
        assert answer.closes != client.connected
        client.hang_up()
        return answer

    def stage(self, *paths: str) -> str:
        """Make a job.  @return: Its identifier."""
        answer = self.call("POST", "/api/v1/stage", {"files": [{"path": path} for path in paths]})
        assert answer.status == 201, answer.body
        job: str = read(answer)["requestId"]
        return job

    def files(self, job: str) -> dict[str, dict[str, Any]]:
        """The entries of a job, each path once."""
        entries = read(self.call("GET", f"/api/v1/stage/{job}"))["files"]
        found = {entry["path"]: entry for entry in entries}
        assert len(found) == len(entries)
        return found

    def locate(self, *paths: str) -> list[dict[str, str]]:
        """What is said of where files are."""
        answer = self.call("POST", "/api/v1/archiveinfo", {"paths": paths})
        assert answer.status == 200, answer.body
        found: list[dict[str, str]] = json.loads(answer.body)
        return found

    def answer_to(self, client: Client) -> Answer:
        """The one answer that a client gets, after as many turns of the reactor as that takes."""
        for _ in range(1000):
            if answers := client.answers():
                (answer,) = answers
                return answer
            self.clock.advance(0)
        raise AssertionError("no answer")


def read(answer: Answer) -> dict[str, Any]:
    """The document of a success."""
    assert answer.status in (200, 201), (answer.line, answer.body)
    assert answer.field("Content-Type") == "application/json"
    assert b"null" not in answer.body, "gfal2 before 2.23.3 dies of it"
    document: dict[str, Any] = json.loads(answer.body)
    return document


def problem(answer: Answer, status: int) -> str:
    """The words of an error, checked for what all of them have in common."""
    assert (answer.status, answer.field("Content-Type")) == (status, "application/problem+json"), answer.body
    document = json.loads(answer.body)
    assert list(document) == ["status", "title", "detail"]
    assert document["status"] == status
    assert f"{status} {document['title']}" == answer.line.partition(" ")[2]
    assert document["detail"]
    detail: str = document["detail"]
    return detail


@pytest.fixture(params=list(Compatibility), ids=lambda mode: mode.value)
def server(request: pytest.FixtureRequest) -> Iterator[TapeServer]:
    """In both modes, which make no difference here."""
    with serving(TapeServer(compatibility=request.param)) as server:
        yield server  # type: ignore[misc]


both_spellings = pytest.mark.parametrize("slash", ["", "/"], ids=["bare", "slash"])


# Discovery


@both_spellings
def test_discovery(server: TapeServer, slash: str) -> None:
    """XRootD wants strings and an http URI, gfal2 a version that is v1 or 1; xrdhttp has the path built in."""
    answer = server.ask("GET", WELL_KNOWN + slash, host="archive.example:8080")
    assert answer.line == "HTTP/1.1 200 OK"
    document = read(answer)
    assert isinstance(document.pop("description"), str)
    assert document == {
        "sitename": "pacarchive",
        "endpoints": [{"uri": "http://archive.example:8080/api/v1", "version": "v1", "metadata": {}}],
    }


@pytest.mark.parametrize("host", ["archive", "127.0.0.1:18090", "[::1]:8080", "[fe80::1]", "a_b.example", "A-1.b:443"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_uri_is_the_callers(server: TapeServer, host: str, secure: bool) -> None:
    """As it reached this server; what proxies add is not believed, as anyone can add it."""
    client = server.connect()
    client.protocol._secure = secure
    untrusted = ("X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil", "Forwarded: host=evil;proto=gopher")
    answer = client.ask("GET", WELL_KNOWN, *untrusted, host=host)
    (endpoint,) = read(answer)["endpoints"]
    assert endpoint["uri"] == f"{'https' if secure else 'http'}://{host}/api/v1"
    assert b"evil" not in answer.body


@pytest.mark.parametrize("host", ["", "a,b", "a'b", "a(b)", "a%20b", "a:", ":80", "a:123456", "[::1", "x" * 300])
@pytest.mark.parametrize("call", ["GET", "POST"])
def test_a_host_that_makes_no_uri(server: TapeServer, host: str, call: str) -> None:
    """It would stand in an answer; no job is made that nobody would hear of."""
    body = b'{"files": [{"path": "/1"}]}'
    if call == "GET":
        answer = server.ask("GET", WELL_KNOWN, host=host)
    else:
        answer = server.ask("POST", "/api/v1/stage", host=host, body=body)
    if answer.field("Content-Type") == "application/json":
        assert answer.error["message"] == "The Host is malformed.", "the channel refuses it for every path"
        assert answer.status == 400
    else:
        assert "Host" in problem(answer, 400)
    assert server.engine.requests == {}


@pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)
@pytest.mark.parametrize("call", ["GET", "POST"])
def test_a_host_that_is_another(mode: Compatibility, call: str) -> None:
    """No URI is made of it, wherever it came from; and no job."""
    server = TapeServer(compatibility=mode)
    with serving(server):
        if call == "GET":
            answer = server.ask("GET", WELL_KNOWN, host="evil.example")
        else:
            answer = server.ask("POST", "/api/v1/stage", host="evil.example", body=b'{"files": [{"path": "/1"}]}')
        assert "[server] public_url or hosts" in problem(answer, 421)
        assert server.engine.requests == {}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((JSON,), 201),
        ((), 201),
        (("Content-Type: Application/JSON; charset=utf-8",), 201),
        ((JSON, "Origin: https://evil.example"), 201),  # a browser asks first whether it may
        (("Origin: https://evil.example",), 415),
        (("Content-Type:", "Origin: null"), 415),
        (("Content-Type: text/plain",), 415),
        (("Content-Type: application/x-www-form-urlencoded",), 415),
        (("Content-Type: multipart/form-data; boundary=x",), 415),
        (("Content-Type: application/macaroon-request",), 415),
        ((JSON, JSON), 415),
    ],
)
def test_what_the_document_is_called(server: TapeServer, fields: tuple[str, ...], status: int) -> None:
    """It is JSON, or nothing is said of it, and no page of anybody's is behind it."""
    answer = server.ask("POST", "/api/v1/stage", *fields, body=b'{"files": [{"path": "/1"}]}')
    assert answer.status == status
    assert len(server.engine.requests) == (status == 201)
    answer = server.ask("POST", "/api/v1/archiveinfo", *fields, body=b'{"paths": ["/1"]}')
    assert answer.status == (200 if status == 201 else status)


def test_deletions_have_no_body(server: TapeServer) -> None:
    """A list in there would be taken for less than is done."""
    job = server.stage("/1", "/2")
    url = f"/api/v1/stage/{job}"
    assert "no body" in problem(server.ask("DELETE", url, JSON, body=b'{"paths": ["/1"]}'), 415)
    assert server.call("GET", url).status == 200
    assert server.ask("DELETE", url, body=b"").status == 200


def test_the_targets_host(server: TapeServer) -> None:
    """It is the one, whatever the field says (RFC 9112, section 3.2.2)."""
    answer = server.ask("GET", f"HTTP://archive.example:81{WELL_KNOWN}", host="evil.example")
    (endpoint,) = read(answer)["endpoints"]
    assert endpoint["uri"] == "http://archive.example:81/api/v1"
    assert "evil" in problem(server.ask("GET", f"http://evil.example{WELL_KNOWN}", host="archive"), 421)


def test_no_host(server: TapeServer) -> None:
    """HTTP/1.0 needs none, and then there is no URI."""
    client = server.connect().send(f"GET {WELL_KNOWN} HTTP/1.0\r\n\r\n".encode())
    (answer,) = client.answers()
    assert "Host" in problem(answer, 400)


def test_the_site_name() -> None:
    """It is the operator's, in any script."""
    with serving(TapeServer(site_name="Pražský archiv")) as server:
        assert read(server.ask("GET", WELL_KNOWN))["sitename"] == "Pražský archiv"


def test_the_public_url() -> None:
    """Behind a proxy the operator knows better, and no Host is needed."""
    with serving(TapeServer(public_url="https://archive.example.org")) as server:
        (endpoint,) = read(server.ask("GET", WELL_KNOWN))["endpoints"]
        assert endpoint["uri"] == "https://archive.example.org/api/v1"
        answer = server.ask("POST", "/api/v1/stage", JSON, body=b'{"files": [{"path": "/12345"}]}')
        assert answer.field("Location") == f"https://archive.example.org/api/v1/stage/{read(answer)['requestId']}"


def test_what_gfal2_sends(server: TapeServer) -> None:
    """A whole conversation of Debian 12's, with its odd fields, on one connection."""
    fields = (
        "User-Agent: gfal2-util/1.8.0 gfal2/2.21.3 neon/0.0.29", "Keep-Alive:", "Connection: Keep-Alive",
        "TE: trailers",
    )  # fmt: skip
    client = server.connect()
    (endpoint,) = read(client.ask("GET", WELL_KNOWN, *fields, host="127.0.0.1:18090"))["endpoints"]
    assert endpoint["uri"] == "http://127.0.0.1:18090/api/v1"
    answer = client.ask("POST", "/api/v1/stage/", JSON, *fields, body=b'{"files": [{"path": "/12345"}]}')
    assert answer.status == 201
    job = read(answer)["requestId"]
    for state, shown in ((FileState.STARTED, "STARTED"), (FileState.COMPLETED, "COMPLETED")):
        server.engine.change(job, 12345, state)
        answer = client.ask("GET", f"/api/v1/stage/{job}", *fields)
        assert answer.status == 200
        assert read(answer)["files"] == [{"path": "/12345", "state": shown}]
    answer = client.ask("POST", f"/api/v1/release/{job}", JSON, *fields, body=b'{"paths": ["/12345"]}')
    assert (answer.status, answer.body) == (200, b"")


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


def hold_status(server: TapeServer) -> dict[int, Deferred[None]]:
    """Let each file's status wait.  @return: For what, by file."""
    waits: dict[int, Deferred[None]] = {}
    status = server.archive.status

    async def wait(file_id: int) -> FileStatus:
        waits[file_id] = Deferred()
        await waits[file_id]
        found: FileStatus = await status(file_id)
        return found

    server.archive.status = wait
    return waits


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


# What is refused


LISTS = [("/api/v1/stage", "files"), (f"/api/v1/stage/{NONE_SUCH}/cancel", "paths"),
         (f"/api/v1/release/{NONE_SUCH}", "paths"), ("/api/v1/release/gfal2-placeholder-id", "paths"),
         ("/api/v1/archiveinfo", "paths")]  # fmt: skip


@pytest.mark.parametrize(("target", "name"), LISTS)
@pytest.mark.parametrize(
    "body",
    [
        None, b"", b"{", b"[]", b"null", b"1", b'"files"', b"{}", b'{"NAME": null}', b'{"NAME": {}}', b'{"NAME": "/1"}',
        b'{"NAME": [NaN]}', b'{"NAME": [1]}', b'{"NAME": [null]}', b'{"NAME": [true]}', b'{"NAME": [[]]}',
        b'{"NAME": ["/1"', b"\xff", b'{"NAME": ["/\xff"]}', b'{"NAME": ["\\ud800"]}', b"[" * 100_000,
        b'{"NAME": ' + b"[" * 90_000, b'{"a":' * 100_000, b'{"NAME": [' + b"9" * 100_000 + b"]}",
        b'{"NAME": ["/' + b"1" * 1000 + b'"]}', b'{"NAME": ["/1", {"path": "/1"}, false]}', b'{"name": ["/1"]}',
        '{"NAME": ["/1"]}'.encode("utf-16-be") + b"x",
    ],
    ids=lambda body: None if body is None else repr(body[:20]),
)  # fmt: skip
def test_documents_that_mean_nothing(server: TapeServer, target: str, name: str, body: bytes | None) -> None:
    """Whatever is sent: 400, in words, and nothing is done."""
    answer = server.ask("POST", target, JSON, body=body and body.replace(b"NAME", name.encode()))
    assert problem(answer, 400)
    assert server.engine.requests == {}
    assert not server.failures()


@pytest.mark.parametrize(
    "file", ["/1", 1, None, True, [], {}, {"path": None}, {"path": 1}, {"path": True}, {"path": ["/1"]}, {"Path": "/1"},
             {"path": {}}, {"path": "/" + "x" * 1000}, {"path": "\ud800"}, {"path": "/1\udfff"}]
)  # fmt: skip
def test_files_that_mean_nothing(server: TapeServer, file: object) -> None:
    """One is enough: the document is not what it should be."""
    answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}, file, {"path": "/2"}]})
    assert problem(answer, 400)
    assert server.engine.requests == {}


def test_no_files(server: TapeServer) -> None:
    """A request for nothing is a mistake."""
    assert "one file" in problem(server.call("POST", "/api/v1/stage", {"files": []}), 400)


@pytest.mark.parametrize(("target", "name"), LISTS)
@pytest.mark.parametrize("form", ["whole", "chunks"])
def test_large_documents(server: TapeServer, target: str, name: str, form: str) -> None:
    """Up to a limit they are read; of more, no more."""
    document = f'{{"{name}": [], "x": ""}}'.encode()
    fits = document.replace(b'""', b'"' + b"x" * (LIMIT - len(document)) + b'"')
    assert len(fits) == LIMIT
    for body, status in ((fits, {400, 404, 200}), (fits + b" ", {413})):
        if form == "whole":
            answer = server.ask("POST", target, JSON, body=body)
        else:
            pieces = chunked(*(body[start : start + 65536] for start in range(0, len(body), 65536)))
            answer = server.ask("POST", target, JSON, "Transfer-Encoding: chunked", body=pieces)
        assert answer.status in status
        if answer.status != 200:
            problem(answer, answer.status)


def test_a_document_in_very_small_chunks(server: TapeServer) -> None:
    """What is to be done for each of them does not grow with their number."""
    body = json.dumps({"paths": ["/1"], "x": "x" * 400_000}).encode()
    message = compose(
        "POST",
        "/api/v1/archiveinfo",
        "Transfer-Encoding: chunked",
        body=chunked(*(body[at : at + 3] for at in range(0, len(body), 3))),
    )
    # The square of their number would take longer than any test may.
    client = server.connect().send(message)
    server.finish_work()
    (answer,) = client.answers()
    assert answer.status == 200


def test_a_refusal_costs_no_body(server: TapeServer) -> None:
    """A client that asks before it sends is told at once."""
    client = server.connect()
    client.send(compose("POST", "/api/v1/stage", "Expect: 100-continue", f"Content-Length: {LIMIT + 1}"))
    (answer,) = client.answers()
    assert problem(answer, 413)
    assert answer.closes


@pytest.mark.parametrize(
    ("methods", "target"),
    [
        ("GET, HEAD, OPTIONS", WELL_KNOWN),
        ("OPTIONS, POST", "/api/v1/stage"),
        ("DELETE, GET, HEAD, OPTIONS", f"/api/v1/stage/{NONE_SUCH}"),
        ("OPTIONS, POST", f"/api/v1/stage/{NONE_SUCH}/cancel"),
        ("OPTIONS, POST", f"/api/v1/release/{NONE_SUCH}"),
        ("OPTIONS, POST", "/api/v1/release/gfal2-placeholder-id"),
        ("OPTIONS, POST", "/api/v1/archiveinfo"),
    ],
)
@both_spellings
def test_methods(server: TapeServer, methods: str, target: str, slash: str) -> None:
    """What is not for a path is 405, and which are is told."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW", "HEAD"):
        if method in methods.split(", "):
            continue
        answer = server.ask(method, target + slash, JSON, body=b"{}" if method in ("PUT", "POST", "PATCH") else None)
        assert answer.field("Allow") == methods
        if method == "HEAD":
            assert (answer.status, answer.body) == (405, b"")
        else:
            assert problem(answer, 405)
    answer = server.ask("OPTIONS", target + slash)
    assert (answer.status, answer.field("Allow"), answer.body) == (204, methods, b"")


def test_head(server: TapeServer) -> None:
    """As GET, without the document."""
    job = server.stage("/1")
    for target in (WELL_KNOWN, f"/api/v1/stage/{job}"):
        get, head = server.ask("GET", target), server.ask("HEAD", target)
        assert (head.status, head.body, head.field("Content-Length")) == (200, b"", str(len(get.body)))
    answer = server.ask("HEAD", f"/api/v1/stage/{NONE_SUCH}")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    "target",
    ["/api/", "/api/v1", "/api/v1/", "/api/v2/stage", "/api/v1/stages", "/api/v1/stage//", "/api//v1/stage",
     f"/api/v1/stage/{NONE_SUCH}/x", f"/api/v1/stage/{NONE_SUCH}/cancel//", "/api/v1/release", "/api/v1/release/",
     "/api/v1/%73tage", "/api/x?byte_range=1-2", f"{WELL_KNOWN}//"]
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
def test_paths_that_are_not_there(server: TapeServer, method: str, target: str) -> None:
    """Their errors are those of the API as well."""
    answer = server.ask(method, target, body=b"{}" if method == "POST" else None)
    if target == f"{WELL_KNOWN}//":
        assert answer.status == 404
        assert answer.error["message"]
    else:
        assert problem(answer, 404)


def test_more_slashes_before_the_path(server: TapeServer) -> None:
    """A client that joins a URL that ends in a slash."""
    assert server.ask("GET", f"/{WELL_KNOWN}").status == 200
    assert server.call("POST", "//api/v1/stage", {"files": [{"path": "/1"}]}).status == 201
    assert problem(server.ask("GET", f"//api/v1/stage/{NONE_SUCH}"), 404)


@pytest.mark.parametrize("target", ["/x", "/apix", "/api", "/.well-known/x", f"{WELL_KNOWN}x", "/1/api/", "/x?/api/"])
def test_errors_of_other_paths(server: TapeServer, target: str) -> None:
    """Are the predecessor's, as before."""
    assert server.ask("GET", target).error["status"] == "404 Not Found"
    assert server.ask("GET", target).error["message"] == "No such resource: a path here is one file id."


# Failures


@pytest.mark.parametrize("where", ["submit", "status", "files"])
@pytest.mark.parametrize(
    ("trouble", "status", "retry"),
    [
        (errors.BackendUnavailable("The store does not answer.", retry_after=17), 503, "17"),
        (errors.Overloaded("Too much at once.", retry_after=3), 503, "3"),
        (errors.NoSpace("The store is full."), 507, None),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_the_engines_troubles(
    server: TapeServer, where: str, trouble: Exception, status: int, retry: str | None
) -> None:
    """With their true status in both modes, and when to come back."""
    job = server.stage("/1")
    server.engine.trouble[where] = trouble
    if where == "submit":
        answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}]})
    else:
        answer = server.call("GET", f"/api/v1/stage/{job}")
    assert problem(answer, status) == str(trouble)
    assert answer.field("Retry-After") == retry
    assert sum(server.site.events.values()) == 1


@pytest.mark.parametrize("where", ["submit", "files", "backend"])
def test_what_nobody_foresaw(server: TapeServer, where: str) -> None:
    """500, with a number to find it in the log by, and no word of what it was; nothing else is left running."""
    job = server.stage("/1")
    server.archive.trouble["status"] = server.engine.trouble[where] = RuntimeError("secret")
    if where == "backend":
        answer = server.call("POST", "/api/v1/archiveinfo", {"paths": ["/1", "/2"]})
    elif where == "submit":
        answer = server.call("POST", "/api/v1/stage", {"files": [{"path": "/1"}]})
    else:
        answer = server.call("GET", f"/api/v1/stage/{job}")
    assert re.fullmatch(r"Incident [0-9a-f]{12} in the server's log", problem(answer, 500))
    (failure,) = server.failures()
    assert failure.check(RuntimeError)
    assert server.site.events == {"incident": 1}


def test_an_incident_ends_all_that_goes_with_it(server: TapeServer) -> None:
    """The storage is not asked any more on behalf of a request that cannot be answered."""
    waits = hold_status(server)
    body = json.dumps({"paths": [f"/{number}" for number in range(240)]}).encode()
    client = server.connect().send(compose("POST", "/api/v1/archiveinfo", body=body))
    server.clock.pump([0] * 5)
    for number in range(200):
        assert client.answers() == []
        if number == 7:
            waits[number].errback(RuntimeError("secret"))
        else:
            waits[number].callback(None)
    (answer,) = client.answers()
    assert problem(answer, 500)
    assert len(server.failures()) == 1
    assert len(waits) == 200


def test_a_body_that_is_cut_off(server: TapeServer) -> None:
    """It stages nothing."""
    client = server.connect()
    body = json.dumps({"files": [{"path": "/1"}]}).encode()
    client.send(compose("POST", "/api/v1/stage", body=body + b" " * 20_000)[:-1])
    client.end()
    (answer,) = client.answers()
    assert problem(answer, 400)
    assert server.engine.requests == {}


KEYS = st.sampled_from(["files", "paths", "path", "diskLifetime", "x"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["/1", "//2", "/x"])
)
PIECES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12)


@given(st.sampled_from(LISTS), PIECES | st.builds(lambda inner: {"files": inner, "paths": inner}, PIECES))
def test_any_document(target: tuple[str, str], document: Any) -> None:
    """It means something, or is refused in words; nothing unforeseen happens."""
    with serving(TapeServer(limits=LimitSettings())) as server:
        answer = server.ask("POST", target[0], JSON, body=json.dumps(document).encode())
        if answer.status not in (200, 201):
            assert answer.status in (400, 404)
            problem(answer, answer.status)
        assert "incident" not in server.site.events
