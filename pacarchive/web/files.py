"""What each verb does with a file id."""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import IRecaller, IStoredFile
from pacarchive.model import Durability, FileStatus, Locality, Overwrite, WriteConditions
from pacarchive.settings.server import Compatibility
from pacarchive.texts import counted
from pacarchive.web import files_described as described
from pacarchive.web.access import access_of, may_everywhere, owner_of, require, require_everywhere
from pacarchive.web.arrival import arrival
from pacarchive.web.auditing import recorded
from pacarchive.web.conditions import ReadOutcome, evaluate_read, range_applies, write_conditions
from pacarchive.web.describing import describe, mtime_of, set_digests, set_validators
from pacarchive.web.description import FILES
from pacarchive.web.http import digest_fields
from pacarchive.web.http.checks import read_checks
from pacarchive.web.http.dates import parse_http_date
from pacarchive.web.http.documents import no_body, read_document, require_json, short_document
from pacarchive.web.http.errors import HTTPRefusal
from pacarchive.web.http.preferences import RESPOND_ASYNC_APPLIED, read_preferences, wait_applied
from pacarchive.web.http.ranges import Unsatisfiable, parse_byte_range, parse_range
from pacarchive.web.job_documents import url_of
from pacarchive.web.propfind import multistatus, write_multistatus
from pacarchive.web.upload import UploadPlan, receive_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pacarchive.access.identity import Access
    from pacarchive.recall.words import Asked
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

JSON_LIMIT = 64 << 10
"""The largest JSON document that is read."""

FILE = "/<file_id:file_id>"


def declare(router: Router) -> None:
    """Declare the routes."""
    # HEAD stands before GET: werkzeug lets a GET route answer HEAD as well, and the first match wins.
    for method, route, needs, operation in (
        ("HEAD", head, Right.STAT, described.HEAD),
        ("GET", get, Right.READ, described.GET),
        ("PUT", put, Right.CREATE, described.PUT),
        ("POST", post, Right.STAGE, described.POST),
        ("PATCH", patch, Right.IMPORT, described.PATCH),
        ("DELETE", delete, Right.MODIFY, described.DELETE),
        ("PROPFIND", propfind, Right.STAT, described.PROPFIND),
    ):
        router.answers(method, FILE, needs=needs, described=operation)(route)
    router.tells_options(FILES, FILE)


async def head(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Tell about a file; 204 and these header fields are the predecessor's contract."""
    with request.phase("status"):
        status = await app.backend.status(file_id)
    request.setResponseCode(HTTPStatus.NO_CONTENT)
    describe(request, status)
    return b""


async def get(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Read a file, or a part of it."""
    stored = await _open(app, request, file_id)
    try:
        status, now = stored.status, app.clock.seconds()
        outcome = evaluate_read(request.field, status, now)
        if outcome is ReadOutcome.FAILED:
            raise errors.PreconditionFailed("The file is not in the state that the request makes a condition.")
        set_validators(request, status, now)
        if outcome is ReadOutcome.NOT_MODIFIED:
            request.setResponseCode(HTTPStatus.NOT_MODIFIED)
            return b""
        offset, length = _select(app, request, status)
        request.set(b"Content-Type", b"application/octet-stream")
        request.set(b"Accept-Ranges", b"bytes")
        request.set(b"Content-Length", b"%d" % length)
        set_digests(request, status)
        with request.phase("send"):
            await app.sender.send(request, stored, offset, length)
        if length == status.size:
            app.recall.was_read(file_id)
        return b""
    finally:
        stored.close()


async def _open(app: RouteContext, request: ArchiveRequest, file_id: int) -> IStoredFile:
    """
    Open a file; one that must be recalled first is asked for, so that it is there when the client comes back.  One
    that wants to wait may.
    """
    try:
        with request.phase("open"):
            return await app.backend.open(file_id)
    except errors.Offline as error:
        if not IRecaller.providedBy(app.backend):
            raise
        offline = error
    require(app, request, Right.STAGE, file_id, "The file is on tape.")
    seconds = _patience(app, request)
    # Before it is asked for again.  One who waits hears of this try, and not of the last.
    failure = None if seconds else await app.recall.reason(file_id)
    asked = await _want(app, request, file_id)
    if seconds:
        stored = await arrival(app, request, file_id, seconds, lambda: app.backend.open(file_id))
        if stored is not None:
            return stored
    request.set(b"Link", _monitor(asked))
    if failure:
        raise errors.BackendUnavailable(failure, retry_after=asked.retry_after)
    raise errors.Offline(str(offline), job=asked.job, retry_after=asked.retry_after)


def _patience(app: RouteContext, request: ArchiveRequest) -> float:
    """For how long a GET is held; sets the field that says so."""
    longest = app.recall_settings.get_wait
    preferred = read_preferences(request.field("prefer"))
    if preferred.wait is None:
        # The predecessor's clients expect an answer that has the bytes, and nothing else.
        unasked = app.compatibility is Compatibility.PACIFICA and not preferred.respond_async
        return longest if unasked else 0
    if seconds := min(preferred.wait, longest):
        request.set(b"Preference-Applied", wait_applied(seconds))
    return seconds


def _select(app: RouteContext, request: ArchiveRequest, status: FileStatus) -> tuple[int, int]:
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


async def put(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Store a file.  All that can be refused is refused before the body is asked for."""
    body = request.body
    if body.length == 0 and not request.field("content-length"):
        raise HTTPRefusal(HTTPStatus.LENGTH_REQUIRED, "Client must specify Content-Length")
    plan = plan_put(app, access_of(request), request.field, body.length, file_id)
    transfers = request.site.transfers
    if not body.complete:
        transfers.require(request.client)  # before it is asked for
    with _adding_only(app, request, file_id), _compared(request, plan.compares):
        if request.tried is not None:
            request.tried.raiseException()
        status = await receive_file(
            request,
            lambda: transfers.enter(request.client),
            app.clock,
            app.backend,
            file_id,
            plan,
            limit=app.body_limit,
            commit=lambda commit: recorded(app, request, "put", commit, file_id, stored_words),
        )
    request.setResponseCode(HTTPStatus.CREATED)
    for name, value in put_fields(app, status, file_id):
        request.set(name, value)
    return short_document(request, put_document(status.size))


def plan_put(
    app: RouteContext, access: Access, get: Callable[[str], Sequence[str]], length: int | None, file_id: int
) -> UploadPlan:
    """
    What a PUT asks for.

    @param access: Who asks.
    @param get: All values of a header field by its name; empty when it is absent.
    @param length: The body's, in bytes, where it is known.
    @raise errors.ArchiveError: It cannot be done.
    """
    if length is not None and length > app.body_limit:
        raise errors.TooLarge(f"The body may have {app.body_limit} bytes at the most.")
    if get("content-range"):
        raise errors.InvalidRequest("A file is stored whole; Content-Range has no place in a PUT.")
    if [coding for coding in get("content-encoding") if coding.strip().lower() != "identity"]:
        raise HTTPRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A file is stored as it is sent, without a coding.")
    conditions = _conditions(app, access, get, file_id)
    return UploadPlan(conditions, read_checks(get, length), _mtime(app, get("last-modified")))


def put_fields(app: RouteContext, status: FileStatus, file_id: int) -> Iterator[tuple[bytes, str]]:
    """What the head of the answer to a PUT says of the file that was stored."""
    yield b"Location", f"/{file_id}"
    yield b"ETag", status.etag
    if (mtime := mtime_of(status)) is not None:
        yield b"X-Pacarchive-Mtime", mtime
    yield b"Repr-Digest", digest_fields.repr_digest_field(status.digests)
    if app.settings.durability is Durability.RELAXED:
        yield b"X-Pacarchive-Durability", "relaxed"


def put_document(size: int) -> dict[str, Any]:
    """The body of the answer to a PUT, which the predecessor's clients read."""
    return {"message": "File added to archive", "total_bytes": size}


async def post(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Stage a file: see to it that its bytes are on disk, without waiting for them unless the client prefers to."""
    await no_body(request, "application/x-www-form-urlencoded")
    staged = {"message": "File was staged", "file": str(file_id)}
    status = await app.backend.status(file_id)
    if not (_is_offline(status) and IRecaller.providedBy(app.backend)):
        return short_document(request, staged)
    failure = await app.recall.reason(file_id)
    asked = await _want(app, request, file_id)
    if app.compatibility is Compatibility.PACIFICA:
        # The predecessor's clients take 200 for an answer only, and look at HEAD afterwards.
        return short_document(request, staged)
    preferred = read_preferences(request.field("prefer"))
    if seconds := min(preferred.wait or 0, app.recall_settings.get_wait):
        request.set(b"Preference-Applied", wait_applied(seconds))
        if await arrival(app, request, file_id, seconds, lambda: _resident(app, file_id)):
            return short_document(request, staged)
    elif preferred.respond_async:
        request.set(b"Preference-Applied", RESPOND_ASYNC_APPLIED)
    request.setResponseCode(HTTPStatus.ACCEPTED)
    request.set(b"Location", url_of(asked.job))
    request.set(b"Link", _monitor(asked))
    request.set(b"Retry-After", str(asked.retry_after))
    document: dict[str, Any] = {
        "message": "File is being staged",
        "file": str(file_id),
        "job": url_of(asked.job),
        "retry_after": asked.retry_after,
    }
    if failure:
        document["reason"] = failure
    return short_document(request, document)


async def _resident(app: RouteContext, file_id: int) -> bool:
    """
    Look whether a file's bytes are on disk.

    @raise errors.Offline: They are not.
    """
    if _is_offline(await app.backend.status(file_id)):
        raise errors.Offline("The file is on tape.", job=None, retry_after=10)
    return True


async def patch(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Move a file that lies in the storage already into its place."""
    require_json(request, "text/javascript")
    document = await read_document(request, JSON_LIMIT)
    source = document.get("path") if isinstance(document, dict) else None
    if not isinstance(source, str) or not source:
        raise errors.InvalidRequest('The body is a JSON object with the source\'s "path", a string.')
    conditions = attrs.evolve(
        _conditions(app, access_of(request), request.field, file_id), from_archive=may_everywhere(request, Right.MODIFY)
    )

    async def move() -> FileStatus:
        return await app.backend.move(file_id, source, conditions)

    with _adding_only(app, request, file_id):
        try:
            await recorded(
                app, request, "move", move, file_id, lambda status: {"source": source, **stored_words(status)}
            )
        except errors.InArchive:
            require_everywhere(app, request, Right.MODIFY, "The source lies in the archive, and may be anybody's file.")
            raise
    return short_document(request, {"message": "File Moved Successfully"})


async def delete(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Remove a file."""
    await no_body(request)
    conditions = _conditions(app, access_of(request), request.field, file_id)

    async def remove() -> None:
        await app.backend.remove(file_id, conditions)
        app.recall.was_removed(file_id)

    await recorded(app, request, "delete", remove, file_id)
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"0")
    return b""


async def propfind(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """Tell a WebDAV client about a file."""
    return write_multistatus(request, multistatus(f"/{file_id}", await app.backend.status(file_id)))


def _conditions(
    app: RouteContext, access: Access, get: Callable[[str], Sequence[str]], file_id: int
) -> WriteConditions:
    """What must hold at the moment of the commit; who may add, and never change, replaces nothing."""
    policy = app.settings.overwrite
    if policy is Overwrite.ALLOW and not access.may(Right.MODIFY, file_id):
        policy = Overwrite.DENY
    return write_conditions(get, policy)


@contextmanager
def _compared(request: ArchiveRequest, given: bool) -> Iterator[None]:
    """Note for the access log what became of the digests that a client has sent, if it has."""
    try:
        yield
    except errors.DigestMismatch:
        request.digest = "mismatch"
        raise
    if given:
        request.digest = "matched"


@contextmanager
def _adding_only(app: RouteContext, request: ArchiveRequest, file_id: int) -> Iterator[None]:
    """Where a taken id is kept because of the caller, and not by the site's policy for all, a right is lacking."""
    try:
        yield
    except errors.AlreadyExists:
        if app.settings.overwrite is Overwrite.ALLOW:
            require(app, request, Right.MODIFY, file_id, "It is there already.")
        raise


async def _want(app: RouteContext, request: ArchiveRequest, file_id: int) -> Asked:
    """Have a file recalled for the caller."""
    owner = owner_of(app, request)
    return await recorded(
        app, request, "stage", lambda: app.recall.want(file_id, owner), file_id, lambda asked: {"job": asked.job}
    )


def stored_words(status: FileStatus) -> dict[str, Any]:
    """What the audit file says of a file that was stored."""
    stored = status.digests.get(PRIMARY)
    return {"bytes": status.size, "digest": None if stored is None else f"{PRIMARY}:{stored.hex()}"}


def _mtime(app: RouteContext, given: Sequence[str]) -> int | None:
    """The time in C{Last-Modified}; the predecessor meant to read it, and ignored what it could not."""
    if not given:
        return None
    try:
        if len(set(given)) > 1:
            raise errors.InvalidRequest("A file has one Last-Modified.")
        return parse_http_date(given[0], now=app.clock.seconds(), asctime_zone=app.settings.asctime_zone)
    except errors.InvalidRequest:
        if app.compatibility is Compatibility.PACIFICA:
            return None
        raise


def _is_offline(status: FileStatus) -> bool:
    return status.locality in (Locality.TAPE, Locality.UNAVAILABLE)


def _monitor(asked: Asked) -> str:
    """The C{Link} to the job that a file is part of."""
    return f'<{url_of(asked.job)}>; rel="monitor"'
