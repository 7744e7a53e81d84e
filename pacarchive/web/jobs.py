"""Stage jobs over HTTP: many files at once, how they come along, and for how long they stay.

===========================  ==========================================================================
C{POST /jobs}                make a job, or plan one (C{dry_run})
C{GET /jobs}                 jobs, the youngest first, in pages
C{GET /jobs/JOB}             a job; with C{since}, the files too that have changed since
C{GET /jobs/JOB/files}       its files, in pages
C{GET /jobs/JOB/events}      the same as they happen (Server-Sent Events)
C{POST /jobs/JOB/cancel}     give files up
C{POST /jobs/JOB/release}    end their pins
C{PATCH /jobs/JOB}           change its priority
C{DELETE /jobs/JOB}          both, and forget the job
C{GET /pins}                 pins, by file, in pages
C{DELETE /pins/ID}           end one's pins of a file
===========================  ==========================================================================

File ids are strings in answers, as everywhere: a number of 64 bits does not survive every JSON reader.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.recall.words import FilesPage, JobRequest
from pacarchive.web import jobs_described as described
from pacarchive.web.access import may, owner_of, require_each, require_own, shown_owner
from pacarchive.web.auditing import recorded
from pacarchive.web.description import JOBS
from pacarchive.web.http.documents import (
    Stream,
    encode,
    no_body,
    read_document,
    require_json,
    streaming,
    write_document,
)
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
    json_object,
    line,
    number,
    page_limit,
    pin_key,
    priority,
    query,
    quoted,
    some_files,
)
from pacarchive.web.newer import newer
from pacarchive.web.recalls_described import CHANGE

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

_MEMBERS = frozenset({"files", "pin", "deadline", "priority", "dry_run"})


def declare(router: Router) -> None:
    """Declare the routes."""
    routes = (
        ("POST", "/jobs", submit, Right.STAGE, described.SUBMIT),
        ("GET", "/jobs", list_jobs, Right.POLL, described.LIST),
        ("GET", "/jobs/<job>", show, Right.POLL, described.SHOW),
        ("PATCH", "/jobs/<job>", change, Right.STAGE, CHANGE),
        ("DELETE", "/jobs/<job>", delete, Right.STAGE, described.FORGET),
        ("GET", "/jobs/<job>/files", list_files, Right.POLL, described.LIST_FILES),
        ("GET", "/jobs/<job>/events", follow, Right.POLL, described.FOLLOW),
        ("POST", "/jobs/<job>/cancel", cancel, Right.STAGE, described.CANCEL),
        ("POST", "/jobs/<job>/release", release, Right.STAGE, described.RELEASE),
        ("GET", "/pins", list_pins, Right.POLL, described.LIST_PINS),
        ("DELETE", "/pins/<file_id:file_id>", unpin, Right.STAGE, described.UNPIN),
    )
    for method, url, route, needs, operation in routes:
        router.answers(method, url, needs=needs, described=operation)(newer(route))
    for url in dict.fromkeys(url for _, url, *_ in routes):
        router.tells_options(JOBS, url)


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
    await require_each(app, request, Right.STAGE, file_ids)
    pin, deadline = duration(document, "pin"), duration(document, "deadline")
    if deadline == 0:
        raise errors.InvalidRequest('A "deadline" is more than zero.')
    wanted = JobRequest(
        owner=owner_of(app, request),
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
        job = await recorded(
            app,
            request,
            "stage",
            lambda: app.recall.submit(wanted),
            more=lambda job: {"job": job, "files": len(file_ids)},
        )
    status = await app.recall.status(job)
    request.setResponseCode(HTTPStatus.CREATED)
    request.set(b"Location", url_of(job))
    return await write_document(request, job_document(status))


async def list_jobs(app: RouteContext, request: ArchiveRequest) -> bytes:
    """A page of jobs."""
    owner, limit = shown_owner(app, request, query(request, "owner")), page_limit(request)
    before = query(request, "before")
    found = await app.recall.jobs(
        owner=owner, before=None if before is None else number("before", before, 0, 2**63 - 1), limit=limit
    )
    document = {}
    if len(found) >= limit:
        document["next"] = page_url("/jobs", owner=query(request, "owner"), before=found[-1].number, limit=limit)
    return await write_document(request, document, {"jobs": map(job_summary, found)})


async def _own(app: RouteContext, request: ArchiveRequest, job: str) -> None:
    """
    See that there is such a job, and that it is the caller's.

    @raise errors.NotFound: There is none, or it is another's.
    """
    check_job(job)
    await require_own(app, request, job)


async def show(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """A job, and what has changed of it."""
    await _own(app, request, job)
    page_limit(request)  # refused where it is malformed, be it that it counts or not
    if not (request.args and b"since" in request.args):
        return await write_document(request, job_document(await app.recall.status(job)))
    # The files first: then the numbers are as young as they are, or younger.
    page = await _page(app, request, job)
    document = {**job_document(await app.recall.status(job)), "cursor": page.cursor, "more": page.more}
    return await write_document(request, document, {"changes": map(file_document, page.files)})


async def list_files(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """A page of a job's files."""
    await _own(app, request, job)
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
    await _own(app, request, job)
    some = await some_files(app, request)
    effect = await recorded(app, request, "cancel", lambda: app.recall.cancel(job, some), more=lambda _: {"job": job})
    document = {**job_document(await app.recall.status(job)), "effect": attrs.asdict(effect)}
    return await write_document(request, document)


async def release(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """End pins of a job."""
    await _own(app, request, job)
    some = await some_files(app, request)
    effect = await recorded(app, request, "release", lambda: app.recall.release(job, some), more=lambda _: {"job": job})
    document = {**job_document(await app.recall.status(job)), "effect": attrs.asdict(effect)}
    return await write_document(request, document)


async def change(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Change the priority of a job."""
    await _own(app, request, job)
    document = await json_object(request, {"priority", "why"}, "change of a job")
    wanted, why = priority(document.get("priority")), line(document, "why")
    await recorded(
        app,
        request,
        "priority",
        lambda: app.recall.operations.change_priority(job, wanted),
        more=lambda _: {"job": job, "priority": wanted.name.lower(), "why": why},
    )
    return await write_document(request, job_document(await app.recall.status(job)))


async def delete(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Forget a job."""
    await _own(app, request, job)
    await no_body(request)
    await recorded(app, request, "forget", lambda: app.recall.delete(job), more=lambda _: {"job": job})
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"0")
    return b""


# events


async def follow(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """The changes of a job as they happen.  A client that lost the connection goes on with C{Last-Event-ID}."""
    await _own(app, request, job)
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
    owner, after, limit = (
        shown_owner(app, request, query(request, "owner")),
        query(request, "after"),
        page_limit(request),
    )
    found = await app.recall.pins(owner=owner, after=None if after is None else pin_key(after), limit=limit)
    document = {}
    if len(found) >= limit:
        document["next"] = page_url(
            "/pins", owner=query(request, "owner"), after=f"{found[-1].file_id}-{found[-1].job}", limit=limit
        )
    return await write_document(request, document, {"pins": map(pin_document, found)})


async def unpin(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """End all of the caller's pins of a file; an operator ends everyone's."""
    await no_body(request)
    owner = None if may(request, Right.ADMIN, file_id) else owner_of(app, request)
    released = await recorded(app, request, "unpin", lambda: app.recall.unpin(file_id, owner), file_id)
    return await write_document(request, {"released": released})
