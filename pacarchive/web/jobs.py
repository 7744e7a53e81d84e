"""Stage jobs over HTTP: many files at once, how they come along, and for how long they stay.

===========================  ==========================================================================
C{POST /jobs}                make a job, or plan one (C{dry_run})
C{GET /jobs}                 jobs, the youngest first, in pages
C{GET /jobs/JOB}             a job; with C{since}, the files too that have changed since
C{GET /jobs/JOB/files}       its files, in pages
C{GET /jobs/JOB/events}      the same as they happen (Server-Sent Events)
C{POST /jobs/JOB/cancel}     give files up
C{POST /jobs/JOB/release}    end their pins
C{DELETE /jobs/JOB}          both, and forget the job
C{GET /pins}                 pins, by file, in pages
C{DELETE /pins/ID}           end all pins of a file
===========================  ==========================================================================

File ids are strings in answers, as everywhere: a number of 64 bits does not survive every JSON reader.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, ParamSpec

import attrs

from pacarchive import errors
from pacarchive.recall.words import FilesPage, JobRequest
from pacarchive.settings.server import Compatibility
from pacarchive.web.errors import error_answer
from pacarchive.web.http.documents import (
    Stream,
    encode,
    no_body,
    read_document,
    require_json,
    streaming,
    write_document,
)
from pacarchive.web.http.errors import HTTPRefusal
from pacarchive.web.job_documents import (
    file_document,
    job_document,
    job_summary,
    page_url,
    pin_document,
    plan_document,
    url_of,
)
from pacarchive.web.job_requests import (
    check_job,
    duration,
    expand,
    number,
    page_limit,
    pin_key,
    priority,
    query,
    quoted,
    some_files,
)

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Route, Router

P = ParamSpec("P")

_MEMBERS = frozenset({"files", "pin", "deadline", "priority", "dry_run"})


def declare(router: Router) -> None:
    """Declare the routes."""
    allowed: defaultdict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    routes = (
        ("POST", "/jobs", submit),
        ("GET", "/jobs", list_jobs),
        ("GET", "/jobs/<job>", show),
        ("DELETE", "/jobs/<job>", delete),
        ("GET", "/jobs/<job>/files", list_files),
        ("GET", "/jobs/<job>/events", follow),
        ("POST", "/jobs/<job>/cancel", cancel),
        ("POST", "/jobs/<job>/release", release),
        ("GET", "/pins", list_pins),
        ("DELETE", "/pins/<file_id:file_id>", unpin),
    )
    for method, url, _ in routes:
        # A route for GET answers HEAD as well.
        allowed[url] |= {"GET", "HEAD"} if method == "GET" else {method}
    for method, url, route in routes:
        router.answers(method, url)(_of_jobs(route, ", ".join(sorted(allowed[url]))))
    for url, methods in allowed.items():
        router.answers("OPTIONS", url)(_of_jobs(options, ", ".join(sorted(methods))))


def _of_jobs(route: Route[P], allow: str) -> Route[P]:
    """
    Have failures answered with their own status in C{pacifica} mode too: the predecessor had nothing here.

    @param allow: What the URL answers to.
    """

    @wraps(route)
    async def plain(app: RouteContext, request: ArchiveRequest, *args: P.args, **kwargs: P.kwargs) -> bytes:
        request.set(b"Allow", allow)
        try:
            return await route(app, request, *args, **kwargs)
        except errors.ArchiveError as error:
            if app.compatibility is not Compatibility.PACIFICA:
                raise
            answer = error_answer(error, Compatibility.NONE)
            raise HTTPRefusal(answer.status, str(error), answer.headers) from error

    return plain  # type: ignore[return-value]


# jobs


async def submit(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Make a job, or say what it would mean."""
    require_json(request)
    request.site.lookups.require(request.client)  # before there is work for what is refused in the end
    document = await read_document(request)
    if not isinstance(document, dict) or "files" not in document:
        raise errors.InvalidRequest('The body is a JSON object with "files", an array of ids and ranges.')
    if unknown := document.keys() - _MEMBERS:
        raise errors.InvalidRequest(f"A job has no {quoted(min(unknown))}.")
    file_ids = await expand(app, request, document["files"])
    pin, deadline = duration(document, "pin"), duration(document, "deadline")
    if deadline == 0:
        raise errors.InvalidRequest('A "deadline" is more than zero.')
    wanted = JobRequest(
        owner=app.owner_of(request),
        file_ids=file_ids,
        pins={} if pin is None else dict.fromkeys(file_ids, pin),
        deadline=deadline,
        priority=priority(document.get("priority", "normal")),
    )
    dry_run = document.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise errors.InvalidRequest('"dry_run" is true or false.')
    if dry_run:
        with request.looking_up(len(file_ids)):
            plan = await app.recall.plan(file_ids)
        return await write_document(request, plan_document(plan), {"missing": map(str, plan.missing)})
    with request.site.lookups.enter(request.client, len(file_ids)):
        job = await app.recall.submit(wanted)
    status = await app.recall.status(job)
    request.setResponseCode(HTTPStatus.CREATED)
    request.set(b"Location", url_of(job))
    return await write_document(request, job_document(status))


async def list_jobs(app: RouteContext, request: ArchiveRequest) -> bytes:
    """A page of jobs."""
    owner, limit = query(request, "owner"), page_limit(request)
    before = query(request, "before")
    found = await app.recall.jobs(
        owner=owner, before=None if before is None else number("before", before, 0, 2**63 - 1), limit=limit
    )
    document = {}
    if len(found) >= limit:
        document["next"] = page_url("/jobs", owner=owner, before=found[-1].number, limit=limit)
    return await write_document(request, document, {"jobs": map(job_summary, found)})


async def show(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """A job, and what has changed of it."""
    check_job(job)
    if not (request.args and b"since" in request.args):
        return await write_document(request, job_document(await app.recall.status(job)))
    # The files first: then the numbers are as young as they are, or younger.
    page = await _page(app, request, job)
    document = {**job_document(await app.recall.status(job)), "cursor": page.cursor, "more": page.more}
    return await write_document(request, document, {"changes": map(file_document, page.files)})


async def list_files(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """A page of a job's files."""
    check_job(job)
    page = await _page(app, request, job)
    attempts = app.recall_settings.attempts
    document = {"job": job, "most_attempts": attempts, "cursor": page.cursor, "more": page.more}
    if page.more:
        document["next"] = page_url(f"{url_of(job)}/files", since=page.cursor, limit=page_limit(request))
    return await write_document(request, document, {"files": map(file_document, page.files)})


async def _page(app: RouteContext, request: ArchiveRequest, job: str) -> FilesPage:
    """What of a job's files is asked for; a long page ends with its client."""
    limit = page_limit(request)
    with request.listened_to_for(limit):
        return await app.recall.files(job, query(request, "since") or "", limit)


async def cancel(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Give files of a job up."""
    check_job(job)
    effect = await app.recall.cancel(job, await some_files(app, request))
    document = {**job_document(await app.recall.status(job)), "effect": attrs.asdict(effect)}
    return await write_document(request, document)


async def release(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """End pins of a job."""
    check_job(job)
    effect = await app.recall.release(job, await some_files(app, request))
    document = {**job_document(await app.recall.status(job)), "effect": attrs.asdict(effect)}
    return await write_document(request, document)


async def delete(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Forget a job."""
    check_job(job)
    await no_body(request)
    await app.recall.delete(job)
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"0")
    return b""


async def options(app: RouteContext, request: ArchiveRequest, job: str = "", file_id: int = 0) -> bytes:
    """Tell what a URL answers to."""
    request.setResponseCode(HTTPStatus.NO_CONTENT)
    return b""


# events


async def follow(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """The changes of a job as they happen.  A client that lost the connection goes on with C{Last-Event-ID}."""
    check_job(job)
    given = request.field("last-event-id")
    since = given[-1] if given else query(request, "since") or ""
    await app.recall.files(job, since, 1)  # what there is to refuse is refused before the answer begins
    request.set(b"Content-Type", b"text/event-stream")
    request.set(b"X-Accel-Buffering", b"no")  # nginx would keep events until it has a buffer full of them
    if request.method == b"HEAD":
        return b""
    pages = app.recall.follow(job, since)
    try:
        with request.while_listened_to():
            async with streaming(request) as stream:
                await _tell(app, request, job, pages, stream)
    finally:
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()
    return b""


async def _tell(
    app: RouteContext, request: ArchiveRequest, job: str, pages: AsyncIterator[FilesPage], stream: Stream
) -> None:
    await stream.send([b": the changes of a job\n\n"])
    try:
        async for page in pages:
            await stream.send(await _progress(app, request, job, page))
        status = await app.recall.status(job)
        # If it has not ended, the service stops: to the client that is a lost connection.
        if status.summary.ended is not None:
            await stream.send(_event("end", status.cursor, [json.dumps(job_document(status)).encode("ascii")]))
    except errors.NotFound:  # forgotten meanwhile
        await stream.send(_event("end", "", [json.dumps({"job": job, "state": "deleted"}).encode("ascii")]))
    except errors.ArchiveError as error:
        request.site.failed(type(error).__name__, request, error)


async def _progress(app: RouteContext, request: ArchiveRequest, job: str, page: FilesPage) -> Sequence[bytes]:
    # A page without files is a sign of life; what is expected of the job changes all the time.
    document = {**job_document(await app.recall.status(job)), "cursor": page.cursor}
    return _event("progress", page.cursor, await encode(request, document, {"changes": map(file_document, page.files)}))


def _event(kind: str, cursor: str, data: Sequence[bytes]) -> Sequence[bytes]:
    """An event whose data is one line."""
    identifier = f"id: {cursor}\n" if cursor else ""
    pieces = [f"{identifier}event: {kind}\ndata: ".encode("ascii") + data[0], *data[1:]]
    pieces[-1] += b"\n\n"
    return pieces


# pins


async def list_pins(app: RouteContext, request: ArchiveRequest) -> bytes:
    """A page of pins."""
    owner, after, limit = query(request, "owner"), query(request, "after"), page_limit(request)
    found = await app.recall.pins(owner=owner, after=None if after is None else pin_key(after), limit=limit)
    document = {}
    if len(found) >= limit:
        document["next"] = page_url("/pins", owner=owner, after=f"{found[-1].file_id}-{found[-1].job}", limit=limit)
    return await write_document(request, document, {"pins": map(pin_document, found)})


async def unpin(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """End all pins of a file."""
    await no_body(request)
    return await write_document(request, {"released": await app.recall.unpin(file_id)})
