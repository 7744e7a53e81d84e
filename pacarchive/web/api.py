"""The REST API: what each verb does with a file id."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from pacarchive import errors
from pacarchive.config import Compatibility, RecallSettings, ServerSettings
from pacarchive.interfaces import IArchiveBackend, IRecaller, IStoredFile
from pacarchive.model import Durability, FileStatus, Locality, WriteConditions
from pacarchive.texts import counted
from pacarchive.web import jobs, tape
from pacarchive.web.arrival import arrival
from pacarchive.web.conditions import ReadOutcome, evaluate_read, range_applies, write_conditions
from pacarchive.web.describing import describe, set_digests, set_mtime, set_validators
from pacarchive.web.download import Sender
from pacarchive.web.health import HealthDesk
from pacarchive.web.http import digest_fields
from pacarchive.web.http.body import receive_file
from pacarchive.web.http.checks import read_checks
from pacarchive.web.http.dates import parse_http_date
from pacarchive.web.http.documents import no_body, read_document, require_json
from pacarchive.web.http.errors import HTTPRefusal
from pacarchive.web.http.hosts import require_known_host
from pacarchive.web.http.preferences import RESPOND_ASYNC_APPLIED, read_preferences, wait_applied
from pacarchive.web.http.ranges import Unsatisfiable, parse_byte_range, parse_range
from pacarchive.web.propfind import CONTENT_TYPE, collection_multistatus, multistatus
from pacarchive.web.routing import Router

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.recall.words import Asked
    from pacarchive.web.http.request import ArchiveRequest

JSON_LIMIT = 64 << 10
"""The largest JSON document that is read."""

FILE = "/<file_id:file_id>"

OWNER_LENGTH = 200
"""The longest name of an owner."""


@attrs.frozen
class ArchiveApplication:
    """
    The routes, bound to what they work with.

    @ivar backend: Where the files are.
    @ivar sender: Sends them.
    @ivar settings: The server's settings.
    @ivar body_limit: The largest body of a PUT, in bytes.
    @ivar clock: The time.
    @ivar recall: Sees to files that are on tape.
    @ivar recall_settings: Its settings.
    @ivar health_desk: Asks how the storage is.
    """

    backend: IArchiveBackend
    sender: Sender
    settings: ServerSettings
    body_limit: int
    clock: IReactorTime
    recall: RecallEngine
    recall_settings: RecallSettings
    health_desk: HealthDesk = attrs.field(init=False)

    router: ClassVar[Router] = Router()

    @health_desk.default
    def _health_desk_default(self) -> HealthDesk:
        return HealthDesk(self.backend, self.clock)

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
        Whether the caller may do this at all; called for every request before anything else.

        Everyone who can connect may, which is why the default address is the loopback interface; but not everyone whom
        a browser on this machine listens to.

        @raise HTTPRefusal: The request is for another host.
        """
        require_known_host(request, self.settings)

    def owner_of(self, request: ArchiveRequest) -> str:
        """Who asks, as far as that is known: whom a trusted proxy names, else where the request comes from."""
        if (field := self.recall_settings.owner_header) and (names := request.field(field)):
            name = names[-1].strip()  # a proxy that adds the field, instead of setting it, adds it behind the client's
            if name and name.isascii() and name.isprintable():
                return name[:OWNER_LENGTH]
        return getattr(request.client, "host", None) or "local"

    # HEAD stands before GET: werkzeug lets a GET route answer HEAD as well, and the first match wins.

    @router.answers("HEAD", FILE)
    async def head(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Tell about a file; 204 and these header fields are the predecessor's contract."""
        status = await self.backend.status(file_id)
        request.setResponseCode(HTTPStatus.NO_CONTENT)
        describe(request, status)
        return b""

    @router.answers("GET", FILE)
    async def get(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Read a file, or a part of it."""
        stored = await self._open(request, file_id)
        try:
            status, now = stored.status, self.clock.seconds()
            outcome = evaluate_read(request.field, status, now)
            if outcome is ReadOutcome.FAILED:
                raise errors.PreconditionFailed("The file is not in the state that the request makes a condition.")
            set_validators(request, status, now)
            if outcome is ReadOutcome.NOT_MODIFIED:
                request.setResponseCode(HTTPStatus.NOT_MODIFIED)
                return b""
            offset, length = self._select(request, status)
            request.set(b"Content-Type", b"application/octet-stream")
            request.set(b"Accept-Ranges", b"bytes")
            request.set(b"Content-Length", b"%d" % length)
            set_digests(request, status)
            await self.sender.send(request, stored, offset, length)
            if length == status.size:
                self.recall.was_read(file_id)
            return b""
        finally:
            stored.close()

    async def _open(self, request: ArchiveRequest, file_id: int) -> IStoredFile:
        """
        Open a file; one that must be recalled first is asked for, so that it is there when the client comes back.  One
        that wants to wait may.
        """
        try:
            return await self.backend.open(file_id)
        except errors.Offline as error:
            if not IRecaller.providedBy(self.backend):
                raise
            offline = error
        seconds = self._patience(request)
        # Before it is asked for again.  One who waits hears of this try, and not of the last.
        failure = None if seconds else await self.recall.reason(file_id)
        asked = await self.recall.want(file_id, self.owner_of(request))
        if seconds:
            stored = await arrival(self, request, file_id, seconds, lambda: self.backend.open(file_id))
            if stored is not None:
                return stored
        request.set(b"Link", _monitor(asked))
        if failure:
            raise errors.BackendUnavailable(failure, retry_after=asked.retry_after)
        raise errors.Offline(str(offline), job=asked.job, retry_after=asked.retry_after)

    def _patience(self, request: ArchiveRequest) -> float:
        """For how long a GET is held; sets the field that says so."""
        longest = self.recall_settings.get_wait
        preferred = read_preferences(request.field("prefer"))
        if preferred.wait is None:
            # The predecessor's clients expect an answer that has the bytes, and nothing else.
            unasked = self.compatibility is Compatibility.PACIFICA and not preferred.respond_async
            return longest if unasked else 0
        if seconds := min(preferred.wait, longest):
            request.set(b"Preference-Applied", wait_applied(seconds))
        return seconds

    def _select(self, request: ArchiveRequest, status: FileStatus) -> tuple[int, int]:
        """Which bytes are asked for; sets the status and header fields that go with them."""
        if request.args and (texts := request.args.get(b"byte_range")) and texts[0]:
            return parse_byte_range(texts[0].decode("latin-1"), status.size)
        ranges = request.field("range")
        if len(ranges) == 1 and range_applies(request.field("if-range"), status.etag):
            wanted = parse_range(ranges[0], status.size)
            if isinstance(wanted, Unsatisfiable):
                raise HTTPRefusal(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    f"The file has {counted(status.size, 'byte')}; the range lies beyond its end.",
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
        checks = read_checks(request.field, body.length)
        transfers = request.site.transfers
        if not body.complete:
            transfers.require(request.client)  # before it is asked for
        status = await receive_file(
            body,
            lambda: transfers.enter(request.client),
            self.clock,
            self.backend,
            file_id,
            conditions=conditions,
            checks=checks,
            limit=self.body_limit,
            mtime_ns=self._mtime(request),
        )
        request.setResponseCode(HTTPStatus.CREATED)
        request.set(b"Location", f"/{file_id}")
        request.set(b"ETag", status.etag)
        set_mtime(request, status)
        request.set(b"Repr-Digest", digest_fields.repr_digest_field(status.digests))
        if self.settings.durability is Durability.RELAXED:
            request.set(b"X-Pacarchive-Durability", b"relaxed")
        return _json(request, {"message": "File added to archive", "total_bytes": status.size})

    @router.answers("POST", FILE)
    async def post(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Stage a file: see to it that its bytes are on disk, without waiting for them unless the client prefers to."""
        await no_body(request, "application/x-www-form-urlencoded")
        staged = {"message": "File was staged", "file": str(file_id)}
        status = await self.backend.status(file_id)
        if not (_is_offline(status) and IRecaller.providedBy(self.backend)):
            return _json(request, staged)
        failure = await self.recall.reason(file_id)
        asked = await self.recall.want(file_id, self.owner_of(request))
        if self.compatibility is Compatibility.PACIFICA:
            # The predecessor's clients take 200 for an answer only, and look at HEAD afterwards.
            return _json(request, staged)
        preferred = read_preferences(request.field("prefer"))
        if seconds := min(preferred.wait or 0, self.recall_settings.get_wait):
            request.set(b"Preference-Applied", wait_applied(seconds))
            if await arrival(self, request, file_id, seconds, lambda: self._resident(file_id)):
                return _json(request, staged)
        elif preferred.respond_async:
            request.set(b"Preference-Applied", RESPOND_ASYNC_APPLIED)
        request.setResponseCode(HTTPStatus.ACCEPTED)
        request.set(b"Location", jobs.url_of(asked.job))
        request.set(b"Link", _monitor(asked))
        request.set(b"Retry-After", str(asked.retry_after))
        document: dict[str, Any] = {
            "message": "File is being staged",
            "file": str(file_id),
            "job": jobs.url_of(asked.job),
            "retry_after": asked.retry_after,
        }
        if failure:
            document["reason"] = failure
        return _json(request, document)

    async def _resident(self, file_id: int) -> bool:
        """
        Look whether a file's bytes are on disk.

        @raise errors.Offline: They are not.
        """
        if _is_offline(await self.backend.status(file_id)):
            raise errors.Offline("The file is on tape.", job=None, retry_after=10)
        return True

    @router.answers("PATCH", FILE)
    async def patch(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Move a file that lies in the storage already into its place."""
        require_json(request, "text/javascript")
        document = await read_document(request, JSON_LIMIT)
        source = document.get("path") if isinstance(document, dict) else None
        if not isinstance(source, str) or not source:
            raise errors.InvalidRequest('The body is a JSON object with the source\'s "path", a string.')
        await self.backend.move(file_id, source, self._conditions(request))
        return _json(request, {"message": "File Moved Successfully"})

    @router.answers("DELETE", FILE)
    async def delete(self, request: ArchiveRequest, file_id: int) -> bytes:
        """Remove a file."""
        await no_body(request)
        await self.backend.remove(file_id, self._conditions(request))
        self.recall.was_removed(file_id)
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
        """As GET, without the words; the predecessor had nothing here."""
        if self.compatibility is Compatibility.PACIFICA:
            raise HTTPRefusal(HTTPStatus.NOT_FOUND, "Missing parameters: filepath")
        return await self.get_root(request)

    @router.answers("GET", "/")
    async def get_root(self, request: ArchiveRequest) -> bytes:
        """Say that the server is there."""
        return _json(request, {"message": "Pacifica Archive Interface Up and Running"})

    @router.answers("GET", "/health")
    async def health(self, request: ArchiveRequest) -> bytes:
        """Say whether requests can be expected to succeed: 200 or 503, for balancers; the words are for people."""
        health = await self.health_desk.ask()
        if obstacle := self.recall.obstacle:
            health = attrs.evolve(health, words=f"{health.words}; recalls: {obstacle}", degraded=True)
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
        return write_conditions(request.field, self.settings.overwrite)

    def _mtime(self, request: ArchiveRequest) -> int | None:
        """The time in C{Last-Modified}; the predecessor meant to read it, and ignored what it could not."""
        if not (given := request.field("last-modified")):
            return None
        try:
            if len(set(given)) > 1:
                raise errors.InvalidRequest("A file has one Last-Modified.")
            return parse_http_date(given[0], now=self.clock.seconds(), asctime_zone=self.settings.asctime_zone)
        except errors.InvalidRequest:
            if self.compatibility is Compatibility.PACIFICA:
                return None
            raise

    jobs.declare(router)
    tape.declare(router)


def _is_offline(status: FileStatus) -> bool:
    return status.locality in (Locality.TAPE, Locality.UNAVAILABLE)


def _monitor(asked: Asked) -> str:
    """The C{Link} to the job that a file is part of."""
    return f'<{jobs.url_of(asked.job)}>; rel="monitor"'


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
