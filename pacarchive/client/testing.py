"""
An archive in memory, for the tests of programs that use the client.

No sockets, no threads, no files of the archive's, and no time but that of a C{Clock}: a call is over when it returns,
unless it waits for time to pass::

    archive = FakeArchive()
    client = archive.client()
    stored = result_of(client.put(12345, b"data"))
    assert archive.files[12345].data == b"data"

    archive.to_tape(12345)
    with pytest.raises(Offline):
        result_of(client.get(12345, print))

    archive.answer_with(503)            # the next request, and no other
    waiting = Deferred.fromCoroutine(client.status(12345))
    archive.clock.advance(60)           # it is asked again after a pause

It answers as the archive does, as far as the client looks.  It is a resource of Twisted's, so that it can be served by
C{twisted.web.server.Site} over a real port as well.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.http import datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import Request

from pacarchive.client.client import ArchiveClient
from pacarchive.client.documents import span
from pacarchive.client.fields import digest_fields, parse_repr_digest
from pacarchive.client.words import UP, FileState
from pacarchive.digests import PRIMARY, Digests, Hasher
from pacarchive.ids import parse_file_id
from pacarchive.times import SECOND, format_iso, parse_iso, seconds_of

T = TypeVar("T")

URL = "http://archive.example.org"


def result_of(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    """
    The result of a call that has nothing to wait for.

    @raise AssertionError: It waits for something: give it to C{Deferred.fromCoroutine}, and advance the clock.
    """
    results: list[T] = []
    failures: list[BaseException] = []
    done = Deferred.fromCoroutine(coroutine)
    done.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    assert results, "the call waits for something"
    return results[0]


@attrs.frozen
class FakeFile:
    """
    A file of the archive's.

    @ivar on_tape: Whether it has to be recalled first.
    """

    data: bytes
    mtime_ns: int
    digests: Digests
    on_tape: bool = False

    @property
    def etag(self) -> str:
        """Its entity tag."""
        return f'"{self.digests[PRIMARY].hex()}"'


class _Refusal(Exception):
    def __init__(self, status: int, message: str, **fields: str) -> None:
        super().__init__(message)
        self.status = status
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


@attrs.define
class _Job:
    ids: Sequence[int]
    created: float
    changed: int = 0


class FakeArchive(Resource):
    """
    The archive.

    @ivar files: What it has, by id.
    @ivar sources: What L{ArchiveClient.move} can take, by path.
    @ivar requests: Method and path of all that was asked, in order.
    @ivar clock: The time of its clients.
    """

    isLeaf = True

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.files: dict[int, FakeFile] = {}
        self.sources: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.clock = Clock() if clock is None else clock
        self._jobs: dict[str, _Job] = {}
        self._answers: deque[tuple[int, dict[str, str]]] = deque()

    def client(self, reactor: Any = None, **options: Any) -> ArchiveClient:
        """
        A client of this archive.

        @param reactor: The real one, where there are things to wait for beside the archive; this archive's clock
            else, with which no thread is used.
        @param options: Those of L{ArchiveClient}.
        """
        return ArchiveClient(reactor or self.clock, URL, treq=StubTreq(self), **options)

    # what a test does behind the client's back

    def add(self, file_id: int, data: bytes, *, on_tape: bool = False) -> FakeFile:
        """Have a file."""
        hasher = Hasher([PRIMARY])
        hasher.update(data)
        self.files[file_id] = FakeFile(data, time.time_ns(), hasher.digests(), on_tape)
        return self.files[file_id]

    def to_tape(self, *file_ids: int) -> None:
        """Have files on tape only."""
        for file_id in file_ids:
            self.files[file_id] = attrs.evolve(self.files[file_id], on_tape=True)

    def recall(self, *file_ids: int) -> None:
        """Bring files back: those, or all."""
        for file_id in file_ids or list(self.files):
            self.files[file_id] = attrs.evolve(self.files[file_id], on_tape=False)

    def spoil(self, file_id: int, data: bytes) -> None:
        """Exchange a file's bytes, and not its digest."""
        self.files[file_id] = attrs.evolve(self.files[file_id], data=data)

    def answer_with(self, status: int, **fields: str) -> None:
        """
        Answer the next request with this status, whatever it is; several calls are for several requests.

        @param fields: Header fields, C{Retry_After="5"}.
        """
        self._answers.append((status, {name.replace("_", "-"): value for name, value in fields.items()}))

    # what clients ask

    def render(self, request: Request) -> bytes:
        method, path = request.method.decode("ascii"), request.path.decode("ascii")
        self.requests.append((method, path))
        request.setHeader("Content-Type", "application/json")
        try:
            if self._answers:
                status, fields = self._answers.popleft()
                raise _Refusal(status, "The test wants it so.", **fields)
            body = self._route(method, path)(request)
        except _Refusal as refusal:
            request.setResponseCode(refusal.status)
            for name, value in refusal.fields.items():
                request.setHeader(name, value)
            words = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
            body = _json({"status": words, "message": str(refusal), "traceback": str(refusal), "version": "fake"})
        request.setHeader("Content-Length", str(len(body)))
        return b"" if method == "HEAD" else body

    def _route(self, method: str, path: str) -> Callable[[Request], bytes]:
        parts = path.strip("/").split("/")
        fixed: dict[tuple[str, str], Callable[[Request], bytes]] = {
            ("GET", "/"): lambda request: _json({"message": f"Pacifica {UP}"}),
            ("GET", "/health"): self._health,
            ("POST", "/jobs"): self._submit,
            ("POST", "/api/v1/archiveinfo"): self._archiveinfo,
        }
        if route := fixed.get((method, path)):
            return route
        if parts[0] == "jobs" and len(parts) == 2 and method == "GET" and parts[1] in self._jobs:
            return lambda request: self._show(request, parts[1])
        if parts[0] == "jobs" and len(parts) == 3 and method == "POST" and parts[1] in self._jobs:
            return lambda request: _json(self._job(parts[1]))
        try:
            file_id = parse_file_id(parts[0]) if len(parts) == 1 else -1
        except ValueError:
            file_id = -1
        routes = {"PUT": self._put, "GET": self._get, "HEAD": self._head, "DELETE": self._delete, "PATCH": self._patch}
        if file_id < 0 or method not in routes:
            raise _Refusal(404, "There is nothing here.")
        return lambda request: routes[method](request, file_id)

    def _file(self, file_id: int) -> FakeFile:
        if file_id not in self.files:
            raise _Refusal(404, "No file has this id.")
        return self.files[file_id]

    def _conditions(self, request: Request, file_id: int) -> None:
        now = self.files.get(file_id)
        if request.getHeader("If-None-Match") == "*" and now is not None:
            raise _Refusal(412, "The id is taken, and was to be free.")
        wanted = request.getHeader("If-Match")
        if wanted is not None and (now is None or wanted not in ("*", now.etag)):
            raise _Refusal(412, "The file is not the one that If-Match names.")

    def _put(self, request: Request, file_id: int) -> bytes:
        self._conditions(request, file_id)
        data = _body(request)
        given = parse_repr_digest(request.getHeader("Repr-Digest") or "")
        hasher = Hasher({PRIMARY, *given})
        hasher.update(data)
        digests = hasher.digests()
        for name, digest in given.items():
            if digests[name] != digest:
                raise _Refusal(400, f"The {name} digest of the body is {digests[name].hex()}, not {digest.hex()}.")
        mtime_ns = parse_iso(request.getHeader("Last-Modified") or "")
        self.files[file_id] = stored = FakeFile(data, time.time_ns() if mtime_ns is None else mtime_ns, digests)
        request.setResponseCode(201)
        request.setHeader("Location", f"/{file_id}")
        self._tell(request, stored)
        return _json({"message": "File added to archive", "total_bytes": len(data)})

    def _tell(self, request: Request, stored: FakeFile) -> None:
        request.setHeader("Repr-Digest", digest_fields({PRIMARY: stored.digests[PRIMARY]})["Repr-Digest"])
        request.setHeader("ETag", stored.etag)
        request.setHeader("X-Pacarchive-Mtime", format_iso(stored.mtime_ns))

    def _get(self, request: Request, file_id: int) -> bytes:
        stored = self._file(file_id)
        if stored.on_tape:
            job = next((name for name, job in self._jobs.items() if file_id in job.ids), None) or self._make([file_id])
            link = f'</jobs/{job}>; rel="monitor"'
            raise _Refusal(503, "The file is on tape; it is being recalled.", Retry_After="10", Link=link)
        self._tell(request, stored)
        request.setHeader("Last-Modified", datetimeToString(stored.mtime_ns // SECOND))
        request.setHeader("Content-Type", "application/octet-stream")
        data, wanted = stored.data, request.getHeader("Range")
        if wanted is None or request.getHeader("If-Range") not in (None, stored.etag):
            return data
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
        if start >= len(data):
            raise _Refusal(416, "The range lies beyond the file.", Content_Range=f"bytes */{len(data)}")
        request.setResponseCode(206)
        request.setHeader("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        return data[start:end]

    def _head(self, request: Request, file_id: int) -> bytes:
        stored = self._file(file_id)
        size = len(stored.data)
        self._tell(request, stored)
        fields = {
            "X-Pacifica-Messsage": "File was found",
            "X-Pacifica-File": f"/archive/{file_id}",
            "X-Content-Length": str(size),
            "Last-Modified": str(seconds_of(stored.mtime_ns)),
            "X-Pacifica-Ctime": str(seconds_of(stored.mtime_ns)),
            "X-Pacifica-Bytes-Per-Level": str((0, size) if stored.on_tape else (size,)),
            "X-Pacifica-File-Storage-Media": "tape" if stored.on_tape else "disk",
            "X-Pacarchive-Locality": "TAPE" if stored.on_tape else "DISK",
        }
        for name, value in fields.items():
            request.setHeader(name, value)
        request.setResponseCode(204)
        return b""

    def _delete(self, request: Request, file_id: int) -> bytes:
        self._file(file_id)
        self._conditions(request, file_id)
        del self.files[file_id]
        return b""

    def _patch(self, request: Request, file_id: int) -> bytes:
        self._conditions(request, file_id)
        path = json.loads(_body(request))["path"]
        if path not in self.sources:
            raise _Refusal(404, "The source is not there.")
        self.add(file_id, self.sources.pop(path))
        return _json({"message": "File Moved Successfully"})

    def _health(self, request: Request) -> bytes:
        return _json({"ready": True, "degraded": False, "message": "in memory"})

    def _archiveinfo(self, request: Request) -> bytes:
        found = []
        for path in json.loads(_body(request))["paths"]:
            stored = self.files.get(int(path.strip("/")))
            if stored is None:
                found.append({"path": path, "error": "No file has this id."})
            else:
                found.append({"path": path, "locality": "TAPE" if stored.on_tape else "DISK"})
        return json.dumps(found).encode("ascii")

    # jobs: a file of one has come as soon as the test brings it

    def _submit(self, request: Request) -> bytes:
        document = json.loads(_body(request))
        ids = [file_id for first, last in map(span, document["files"]) for file_id in range(first, last + 1)]
        if document.get("dry_run"):
            return _json(self._plan(ids))
        request.setResponseCode(201)
        return _json(self._job(self._make(ids)))

    def _make(self, ids: Sequence[int]) -> str:
        job = secrets.token_hex(16)
        self._jobs[job] = _Job(list(ids), time.time())
        return job

    def _plan(self, ids: Sequence[int]) -> dict[str, Any]:
        recalls = [self.files[each] for each in ids if each in self.files and self.files[each].on_tape]
        missing = [str(each) for each in ids if each not in self.files]
        return {
            "message": f"{len(recalls)} files on {len(recalls)} cartridges",
            "files": len(ids),
            "on_disk": len(ids) - len(recalls) - len(missing),
            "missing": missing,
            "recalls": len(recalls),
            "cartridges": len(recalls),
            "bytes": sum(len(each.data) for each in recalls),
            "estimate": {"seconds": 60.0 * len(recalls), "basis": "a minute a file"},
        }

    def _state(self, file_id: int) -> FileState:
        if file_id not in self.files:
            return FileState.FAILED
        return FileState.STARTED if self.files[file_id].on_tape else FileState.COMPLETED

    def _job(self, job: str) -> dict[str, Any]:
        made = self._jobs[job]
        states = [self._state(each) for each in made.ids]
        left = sum(not each.ended for each in states)
        there = [self.files[each] for each in made.ids if each in self.files]
        made.changed += 1
        return {
            "job": job,
            "state": "running" if left else "ended",
            "owner": "test",
            "priority": "normal",
            "created": made.created,
            "started": made.created,
            "ended": None if left else made.created,
            "deadline": made.created + 86400,
            "files": len(states),
            "left": left,
            "counts": {state.value: states.count(state) for state in FileState},
            "bytes": {
                "total": sum(len(each.data) for each in there),
                "done": sum(len(each.data) for each in there if not each.on_tape),
            },
            "rate": 0.0,
            "estimate": None,
            "cursor": str(made.changed),
        }

    def _show(self, request: Request, job: str) -> bytes:
        document = self._job(job)
        if b"since" in request.args:
            document |= {"more": False, "changes": [self._file_document(job, each) for each in self._jobs[job].ids]}
        return _json(document)

    def _file_document(self, job: str, file_id: int) -> dict[str, Any]:
        made, state = self._jobs[job], self._state(file_id)
        return {
            "file": str(file_id),
            "state": state.value,
            "bytes": len(self.files[file_id].data) if file_id in self.files else None,
            "started": made.created,
            "ended": made.created if state.ended else None,
            "deadline": made.created + 86400,
            "heard": made.created,
            "attempts": 1,
            "reason": "No file has this id." if state is FileState.FAILED else "",
            "pinned": None,
        }


def _body(request: Request) -> bytes:
    assert request.content is not None
    data: bytes = request.content.read()
    return data


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode("ascii")
