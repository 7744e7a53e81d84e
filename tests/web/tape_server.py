"""
What the tests of the Tape REST API share: a server, and a small engine in memory, which does what the real one's
documentation says and nothing by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from doubles import NOW
from support import Answer, Client, Server, compose, serving
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.model import FileStatus
from pacarchive.recall.words import FilesPage, FileState, JobFile, JobRequest, JobStatus, JobSummary, Priority
from pacarchive.settings.server import Compatibility
from pacarchive.web.application import archive_resource
from pacarchive.web.http.documents import DOCUMENT_LIMIT

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine

WELL_KNOWN = "/.well-known/wlcg-tape-rest-api"
JSON = "Content-Type: application/json"
LIMIT = DOCUMENT_LIMIT
NONE_SUCH = "0" * 32


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


LISTS = [("/api/v1/stage", "files"), (f"/api/v1/stage/{NONE_SUCH}/cancel", "paths"),
         (f"/api/v1/release/{NONE_SUCH}", "paths"), ("/api/v1/release/gfal2-placeholder-id", "paths"),
         ("/api/v1/archiveinfo", "paths")]  # fmt: skip
