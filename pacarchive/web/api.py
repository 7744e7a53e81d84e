"""The REST API: what each verb does with a file id."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from pacarchive import errors
from pacarchive.config import Compatibility, ServerSettings
from pacarchive.interfaces import IArchiveBackend, IRecaller, IStoredFile
from pacarchive.model import Durability, FileStatus, Locality, RecallProgress, RecallState, WriteConditions
from pacarchive.web import digest_fields
from pacarchive.web.body import receive_file
from pacarchive.web.conditions import ReadOutcome, evaluate_read, range_applies, write_conditions
from pacarchive.web.dates import format_http_date, parse_http_date
from pacarchive.web.download import Sender
from pacarchive.web.errors import HTTPRefusal
from pacarchive.web.propfind import CONTENT_TYPE, collection_multistatus, multistatus
from pacarchive.web.ranges import Unsatisfiable, parse_byte_range, parse_range
from pacarchive.web.routing import Router

if TYPE_CHECKING:
    from pacarchive.web.request import ArchiveRequest

JSON_LIMIT = 64 << 10
"""The largest JSON document that is read."""

FILE = "/<file_id:file_id>"

_SINGLE_FILES = UUID("7c6e1b52-6a4b-4be5-9c0f-3d2f7b1f0a61")
"""The request that recalls of single files belong to: one wish, however many ask."""


@attrs.frozen
class ArchiveApplication:
    """
    The routes, bound to what they work with.

    @ivar backend: Where the files are.
    @ivar sender: Sends them.
    @ivar settings: The server's settings.
    @ivar body_limit: The largest body of a PUT, in bytes.
    @ivar clock: The time.
    """

    backend: IArchiveBackend
    sender: Sender
    settings: ServerSettings
    body_limit: int
    clock: IReactorTime

    router: ClassVar[Router] = Router()

    @property
    def compatibility(self) -> Compatibility:
        """The mode."""
        return self.settings.compatibility

    def resource(self) -> IResource:
        """The tree of resources for a site."""
        resource: IResource = self.router.__get__(self, type(self)).resource()
        return resource

    def authorise(self, request: ArchiveRequest) -> None:
        """
        Whether the caller may do this at all; called for every route before anything else.

        Everyone who can connect may, which is why the default address is the loopback interface.
        """

    # HEAD stands before GET: werkzeug lets a GET route answer HEAD as well, and the first match wins.

    @router.answers("HEAD", FILE)
    async def head(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Tell about a file; 204 and these header fields are the predecessor's contract."""
        status = await self.backend.status(file_id)
        request.setResponseCode(HTTPStatus.NO_CONTENT)
        request.set(b"Content-Type", b"application/json")
        request.set(b"X-Pacifica-Messsage", b"File was found")  # three s: it is read by this name
        request.set(b"X-Pacifica-File", status.path)
        request.set(b"X-Content-Length", str(status.size))
        request.set(b"Last-Modified", str(status.mtime))
        request.set(b"X-Pacifica-Ctime", str(status.ctime))
        request.set(b"X-Pacifica-Bytes-Per-Level", str(tuple(status.bytes_per_level)))
        request.set(b"X-Pacifica-File-Storage-Media", status.storage_media)
        request.set(b"X-Pacarchive-Locality", status.locality.value)
        request.set(b"ETag", status.etag)
        request.set(b"Accept-Ranges", b"bytes")
        _set_digests(request, status)
        return b""

    @router.answers("GET", FILE)
    async def get(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Read a file, or a part of it."""
        stored = await self._open(file_id)
        try:
            status, now = stored.status, self.clock.seconds()
            outcome = evaluate_read(request.field, etag=status.etag, mtime=status.mtime, now=now)
            if outcome is ReadOutcome.FAILED:
                raise errors.PreconditionFailed("The file is not in the state that the request makes a condition.")
            request.set(b"ETag", status.etag)
            request.set(b"Last-Modified", format_http_date(status.mtime))
            if outcome is ReadOutcome.NOT_MODIFIED:
                request.setResponseCode(HTTPStatus.NOT_MODIFIED)
                return b""
            offset, length = self._select(request, status, now)
            request.set(b"Content-Type", b"application/octet-stream")
            request.set(b"Accept-Ranges", b"bytes")
            request.set(b"Content-Length", b"%d" % length)
            _set_digests(request, status)
            with request.site.transfer():
                await self.sender.send(request, stored, offset, length)
            return b""
        finally:
            stored.close()

    async def _open(self, file_id: int) -> IStoredFile:
        """Open a file; one that must be recalled first is asked for, so that it is there when the client comes back."""
        try:
            return await self.backend.open(file_id)
        except errors.Offline:
            await self._recall(file_id)
            raise

    async def _recall(self, file_id: int) -> RecallProgress:
        """
        Ask the backend to recall a file.

        @raise errors.BackendUnavailable: It cannot, at least not now.
        """
        if not IRecaller.providedBy(self.backend):
            return RecallProgress(RecallState.RESIDENT)
        progress = (await IRecaller(self.backend).recall(_SINGLE_FILES, [file_id]))[file_id]
        if progress.state in (RecallState.UNKNOWN, RecallState.FAILED):
            raise errors.BackendUnavailable(progress.words or "The file cannot be recalled.")
        return progress

    def _select(self, request: ArchiveRequest, status: FileStatus, now: float) -> tuple[int, int]:
        """Which bytes are asked for; sets the status and header fields that go with them."""
        if request.args and (texts := request.args.get(b"byte_range")) and texts[0]:
            return parse_byte_range(texts[0].decode("latin-1"), status.size)
        if ranges := request.field("range"):
            conditions = request.field("if-range")
            if len(ranges) == 1 and range_applies(
                conditions[0] if conditions else None, etag=status.etag, mtime=status.mtime, now=now
            ):
                wanted = parse_range(ranges[0], status.size)
                if isinstance(wanted, Unsatisfiable):
                    raise HTTPRefusal(
                        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                        f"The file has {status.size} bytes; the range lies beyond them.",
                        {"Content-Range": wanted.content_range.decode("ascii")},
                    )
                if wanted is not None:
                    request.setResponseCode(HTTPStatus.PARTIAL_CONTENT)
                    request.set(b"Content-Range", wanted.content_range)
                    return wanted.offset, wanted.length
        return 0, status.size

    @router.answers("PUT", FILE)
    async def put(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Store a file.  All that can be refused is refused before the body is asked for."""
        body = request.body
        if body.length == 0 and not request.field("content-length"):
            raise HTTPRefusal(HTTPStatus.LENGTH_REQUIRED, "Client must specify Content-Length")
        if body.length is not None and body.length > self.body_limit:
            raise errors.TooLarge(f"The body may have {self.body_limit} bytes at the most.")
        if request.field("content-range"):
            raise errors.InvalidRequest("A file is stored whole; Content-Range has no place in a PUT.")
        if [coding for coding in request.field("content-encoding") if coding.strip().lower() != "identity"]:
            raise HTTPRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A file is stored as it is sent, without a coding.")
        conditions = self._conditions(request)
        expected = digest_fields.expected_digests(request.field)
        algorithms = digest_fields.trailer_algorithms(request.field("trailer")).union(expected)
        with request.site.transfer():
            status = await receive_file(
                body,
                self.backend,
                file_id,
                conditions=conditions,
                algorithms=algorithms,
                limit=self.body_limit,
                mtime=self._mtime(request),
                expected=expected,
            )
        request.setResponseCode(HTTPStatus.CREATED)
        request.set(b"Location", f"/{file_id}")
        request.set(b"ETag", status.etag)
        request.set(b"Repr-Digest", digest_fields.repr_digest_field(status.digests))
        if self.settings.durability is Durability.RELAXED:
            request.set(b"X-Pacarchive-Durability", b"relaxed")
        return _json(request, {"message": "File added to archive", "total_bytes": status.size})

    @router.answers("POST", FILE)
    async def post(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Stage a file: see to it that its bytes are on disk, without waiting for them."""
        status = await self.backend.status(file_id)
        if status.locality in (Locality.TAPE, Locality.UNAVAILABLE):
            progress = await self._recall(file_id)
            # The predecessor's clients take 200 for an answer only, and look at HEAD afterwards.
            if progress.state is not RecallState.RESIDENT and self.compatibility is not Compatibility.PACIFICA:
                request.setResponseCode(HTTPStatus.ACCEPTED)
                return _json(request, {"message": "File is being staged", "file": str(file_id)})
        return _json(request, {"message": "File was staged", "file": str(file_id)})

    @router.answers("PATCH", FILE)
    async def patch(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Move a file that lies in the storage already into its place."""
        kinds = [kind.partition(";")[0].strip().lower() for kind in request.field("content-type")]
        if kinds not in (["application/json"], ["text/javascript"]):
            raise HTTPRefusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "Expected an entity of content type application/json, text/javascript",
            )
        text = await request.body.read_all(JSON_LIMIT)
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise HTTPRefusal(HTTPStatus.BAD_REQUEST, "Invalid JSON document") from None
        source = document.get("path") if isinstance(document, dict) else None
        if not isinstance(source, str) or not source:
            raise errors.InvalidRequest('The body is a JSON object with the source\'s "path", a string.')
        await self.backend.move(file_id, source, self._conditions(request))
        return _json(request, {"message": "File Moved Successfully"})

    @router.answers("DELETE", FILE)
    async def delete(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Remove a file."""
        await self.backend.remove(file_id, self._conditions(request))
        request.set(b"Content-Type", b"application/json")
        request.set(b"Content-Length", b"0")
        return b""

    @router.answers("PROPFIND", FILE)
    async def propfind(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Tell a WebDAV client about a file."""
        return _multistatus(request, multistatus(f"/{file_id}", await self.backend.status(file_id)))

    @router.answers("OPTIONS", FILE)
    async def options(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Tell what a file id answers to."""
        request.setResponseCode(HTTPStatus.NO_CONTENT)
        return b""

    @router.answers("HEAD", "/")
    async def head_root(self, request: ArchiveRequest) -> bytes:
        """The predecessor had nothing here."""
        raise HTTPRefusal(HTTPStatus.NOT_FOUND, "Missing parameters: filepath")

    @router.answers("GET", "/")
    async def get_root(self, request: ArchiveRequest) -> bytes:
        """Say that the server is there."""
        return _json(request, {"message": "Pacifica Archive Interface Up and Running"})

    @router.answers("GET", "/health")
    async def health(self, request: ArchiveRequest) -> bytes:
        """Say whether requests can be expected to succeed: 200 or 503, for balancers; the words are for people."""
        health = await self.backend.health()
        if not health.ready:
            request.setResponseCode(HTTPStatus.SERVICE_UNAVAILABLE)
        document = {"ready": health.ready, "degraded": health.degraded, "message": health.words}
        return _json(request, document)

    @router.answers("PROPFIND", "/")
    async def propfind_root(self, request: ArchiveRequest) -> bytes:
        """Tell a WebDAV client that this is a collection; its members are not listed."""
        return _multistatus(request, collection_multistatus("/"))

    @router.answers("OPTIONS", "/")
    async def options_root(self, request: ArchiveRequest) -> bytes:
        """Tell what the server knows; C{OPTIONS *} comes here too."""
        return await self.options(request, 0)

    def _conditions(self, request: ArchiveRequest) -> WriteConditions:
        return write_conditions(request.field("if-match"), request.field("if-none-match"), self.settings.overwrite)

    def _mtime(self, request: ArchiveRequest) -> float | None:
        """The time in C{Last-Modified}; the predecessor meant to read it, and ignored what it could not."""
        if not (given := request.field("last-modified")):
            return None
        try:
            return parse_http_date(given[0], now=self.clock.seconds(), asctime_zone=self.settings.asctime_zone)
        except errors.InvalidRequest:
            if self.compatibility is Compatibility.PACIFICA:
                return None
            raise


def _json(request: ArchiveRequest, document: dict[str, Any]) -> bytes:
    body = json.dumps(document).encode("ascii")
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"%d" % len(body))
    return body


def _multistatus(request: ArchiveRequest, body: bytes) -> bytes:
    depth = request.field("depth")
    if depth and depth[0].strip().lower() not in ("0", "1"):
        raise HTTPRefusal(HTTPStatus.FORBIDDEN, "The Depth of a PROPFIND is 0 or 1 here.")
    request.setResponseCode(HTTPStatus.MULTI_STATUS)
    request.set(b"Content-Type", CONTENT_TYPE)
    request.set(b"Content-Length", b"%d" % len(body))
    return body


def _set_digests(request: ArchiveRequest, status: FileStatus) -> None:
    """Answer C{Want-Repr-Digest} (RFC 9530) and C{Want-Digest} (RFC 3230) with what is known."""
    if (want := request.field("want-repr-digest")) and (value := digest_fields.repr_digest(status.digests, want)):
        request.set(b"Repr-Digest", value)
    if (want := request.field("want-digest")) and (value := digest_fields.digest(status.digests, want)):
        request.set(b"Digest", value)
