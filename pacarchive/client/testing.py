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

    archive.tokens = {"secret"}         # from now on, it is required
    client = archive.client(token="secret")

    archive.answer_with(503)            # the next request, and no other
    waiting = Deferred.fromCoroutine(client.status(12345))
    archive.clock.advance(60)           # it is asked again after a pause

It answers as the archive does, as far as the client looks.  It is a resource of Twisted's, so that it can be served by
C{twisted.web.server.Site} over a real port as well.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import attrs
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.http import datetimeToString
from twisted.web.resource import Resource
from twisted.web.server import Request

from pacarchive.client._fakes import FakeFile, Jobs
from pacarchive.client.client import ArchiveClient
from pacarchive.client.credentials import basic, bearer
from pacarchive.client.documents import span
from pacarchive.client.fields import digest_fields, parse_repr_digest
from pacarchive.client.words import UP
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.ids import MAX_FILE_ID, parse_file_id
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


class _Refusal(Exception):
    def __init__(self, status: int, message: str, **fields: str) -> None:
        super().__init__(message)
        self.status = status
        self.fields = {name.replace("_", "-"): value for name, value in fields.items()}


class FakeArchive(Resource):
    """
    The archive.

    @ivar files: What it has, by id.
    @ivar sources: What L{ArchiveClient.move} can take, by path.
    @ivar requests: Method and path of all that was asked, in order.
    @ivar tokens: The tokens that it accepts.  If there are any, or users, other requests are answered with 401.
    @ivar users: The users that it accepts, with their passwords.
    @ivar clock: The time of its clients.
    """

    isLeaf = True

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.files: dict[int, FakeFile] = {}
        self.sources: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.users: dict[str, str] = {}
        self.clock = Clock() if clock is None else clock
        self._jobs = Jobs(self.files)
        self._answers: deque[tuple[int, dict[str, str]]] = deque()

    def client(self, reactor: Any = None, **options: Any) -> ArchiveClient:
        """
        A client of this archive.

        @param reactor: The real one, where there are things to wait for beside the archive; this archive's clock
            else, with which no thread is used.
        @param options: Those of L{ArchiveClient}.  Tokens and passwords are sent, although there is no TLS.
        """
        options = {"allow_plain_http": True, **options}
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
            self._authenticate(request)
            body = self._route(method, path)(request)
        except _Refusal as refusal:
            request.setResponseCode(refusal.status)
            for name, value in refusal.fields.items():
                request.setHeader(name, value)
            words = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
            body = _json({"status": words, "message": str(refusal), "traceback": str(refusal), "version": "fake"})
        request.setHeader("Content-Length", str(len(body)))
        return b"" if method == "HEAD" else body

    def _authenticate(self, request: Request) -> None:
        known = [*map(bearer, self.tokens), *(basic(*each) for each in self.users.items())]
        if not known or (given := request.getHeader("Authorization")) in known:
            return
        schemes = [scheme for scheme, those in (("Bearer", self.tokens), ("Basic", self.users)) if those]
        challenges = ", ".join(f'{scheme} realm="in memory"' for scheme in schemes)
        words = "The credentials are not valid." if given else "The request has no credentials."
        raise _Refusal(401, words, WWW_Authenticate=challenges)

    def _route(self, method: str, path: str) -> Callable[[Request], bytes]:
        parts = path.strip("/").split("/")
        fixed: dict[tuple[str, str], Callable[[Request], bytes]] = {
            ("GET", "/"): lambda request: _json({"message": f"Pacifica {UP}"}),
            ("GET", "/health"): self._health,
            ("GET", "/files"): self._list,
            ("POST", "/jobs"): self._submit,
            ("POST", "/api/v1/archiveinfo"): self._archiveinfo,
        }
        if route := fixed.get((method, path)):
            return route
        if parts[0] == "jobs" and len(parts) == 2 and method == "GET" and parts[1] in self._jobs:
            return lambda request: self._show(request, parts[1])
        if parts[0] == "jobs" and len(parts) == 3 and method == "POST" and parts[1] in self._jobs:
            return lambda request: _json(self._jobs.document(parts[1]))
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
            link = f'</jobs/{self._jobs.recalling(file_id)}>; rel="monitor"'
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

    def _list(self, request: Request) -> bytes:
        given = {name.decode(): values[0].decode() for name, values in request.args.items()}
        low, high = int(given.get("from", 0)), int(given.get("to", MAX_FILE_ID))
        ids = sorted(each for each in self.files if max(low, int(given.get("cursor", 0))) <= each <= high)
        limit = int(given.get("limit", 1000))
        document: dict[str, Any] = {"files": [self._listed(each) for each in ids[:limit]]}
        if len(ids) > limit:
            document["next"] = f"/files?{urlencode({**given, 'cursor': ids[limit]})}"
        return _json(document)

    def _listed(self, file_id: int) -> dict[str, Any]:
        stored = self.files[file_id]
        time = format_iso(stored.mtime_ns)
        digests = {name: digest.hex() for name, digest in stored.digests.items()}
        locality = "TAPE" if stored.on_tape else "DISK"
        size = len(stored.data)
        return {
            "file": str(file_id),
            "bytes": size,
            "mtime": time,
            "ctime": time,
            "locality": locality,
            "digests": digests,
        }

    def _archiveinfo(self, request: Request) -> bytes:
        found = []
        for path in json.loads(_body(request))["paths"]:
            stored = self.files.get(int(path.strip("/")))
            if stored is None:
                found.append({"path": path, "error": "No file has this id."})
            else:
                found.append({"path": path, "locality": "TAPE" if stored.on_tape else "DISK"})
        return json.dumps(found).encode("ascii")

    # jobs

    def _submit(self, request: Request) -> bytes:
        document = json.loads(_body(request))
        ids = [file_id for first, last in map(span, document["files"]) for file_id in range(first, last + 1)]
        if document.get("dry_run"):
            return _json(self._jobs.plan(ids))
        request.setResponseCode(201)
        return _json(self._jobs.document(self._jobs.make(ids)))

    def _show(self, request: Request, job: str) -> bytes:
        document = self._jobs.document(job)
        if b"since" in request.args:
            document |= {"more": False, "changes": self._jobs.changes(job)}
        return _json(document)


def _body(request: Request) -> bytes:
    assert request.content is not None
    data: bytes = request.content.read()
    return data


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode("ascii")
