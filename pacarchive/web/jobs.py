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
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ParamSpec
from urllib.parse import urlencode

import attrs

from pacarchive import errors
from pacarchive.config import Compatibility
from pacarchive.ids import MAX_FILE_ID, parse_file_id
from pacarchive.recall.words import FilesPage, JobFile, JobRequest, JobStatus, JobSummary, Pin, Plan, Priority
from pacarchive.web.http.documents import (
    Stream,
    encode,
    no_body,
    parse_in_turn,
    read_document,
    read_text,
    require_json,
    streaming,
    write_document,
)
from pacarchive.web.http.durations import parse_duration
from pacarchive.web.http.errors import HTTPRefusal, error_answer

if TYPE_CHECKING:
    from pacarchive.web.api import ArchiveApplication
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Route, Router

P = ParamSpec("P")

PAGE = 1000
"""How many entries a page has where the client does not say."""

LARGEST_PAGE = 10_000
"""The most that it may ask for."""

_JOB = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,20})-([0-9]{1,20})", re.ASCII)
_PIN = re.compile(r"([0-9]+)-([0-9a-f]{32})", re.ASCII)
_WISHES = frozenset({"files", "pin", "deadline", "priority", "dry_run"})
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_OVERLAP = 4  # how often over a list may name what a job may have: ranges that overlap cost time and say nothing
_LONGEST = 1e10  # seconds, some three centuries: times stay what a calendar can say
_STEPS = 1000  # of the work on a list, before others have their turn: about a millisecond


def url_of(job: str) -> str:
    """The path of a job."""
    return f"/jobs/{job}"


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


def _of_jobs(route: Route[ArchiveApplication, P], allow: str) -> Route[ArchiveApplication, P]:
    """
    Have failures answered with their own status in C{pacifica} mode too: the predecessor had nothing here.

    @param allow: What the URL answers to.
    """

    @wraps(route)
    async def plain(app: ArchiveApplication, request: ArchiveRequest, *args: P.args, **kwargs: P.kwargs) -> bytes:
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


async def submit(app: ArchiveApplication, request: ArchiveRequest) -> bytes:
    """Make a job, or say what it would mean."""
    require_json(request)
    request.site.lookups.require(request.client)  # before there is work for what is refused in the end
    document = await read_document(request)
    if not isinstance(document, dict) or "files" not in document:
        raise errors.InvalidRequest('The body is a JSON object with "files", an array of ids and ranges.')
    if unknown := document.keys() - _WISHES:
        raise errors.InvalidRequest(f"A job has no {_quoted(min(unknown))}.")
    file_ids = await _expand(app, request, document["files"])
    pin, deadline = _duration(document, "pin"), _duration(document, "deadline")
    if deadline == 0:
        raise errors.InvalidRequest('A "deadline" is more than zero.')
    wish = JobRequest(
        owner=app.owner_of(request),
        file_ids=file_ids,
        pins={} if pin is None else dict.fromkeys(file_ids, pin),
        deadline=deadline,
        priority=_priority(document.get("priority", "normal")),
    )
    dry_run = document.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise errors.InvalidRequest('"dry_run" is true or false.')
    if dry_run:
        with request.looking_up(len(file_ids)):
            plan = await app.recall.plan(file_ids)
        return await write_document(app, request, _plan(plan), {"missing": map(str, plan.missing)})
    with request.site.lookups.enter(request.client, len(file_ids)):
        job = await app.recall.submit(wish)
    status = await app.recall.status(job)
    request.setResponseCode(HTTPStatus.CREATED)
    request.set(b"Location", url_of(job))
    return await write_document(app, request, _job(status))


async def list_jobs(app: ArchiveApplication, request: ArchiveRequest) -> bytes:
    """A page of jobs."""
    owner, limit = _query(request, "owner"), _limit(request)
    before = _query(request, "before")
    found = await app.recall.jobs(
        owner=owner, before=None if before is None else _number("before", before, 0, 2**63 - 1), limit=limit
    )
    document = {}
    if len(found) >= limit:
        document["next"] = _url("/jobs", owner=owner, before=found[-1].number, limit=limit)
    return await write_document(app, request, document, {"jobs": map(_summary, found)})


async def show(app: ArchiveApplication, request: ArchiveRequest, job: str) -> bytes:
    """A job, and what has changed of it."""
    _check(job)
    if not (request.args and b"since" in request.args):
        return await write_document(app, request, _job(await app.recall.status(job)))
    # The files first: then the numbers are as young as they are, or younger.
    page = await _page(app, request, job)
    document = {**_job(await app.recall.status(job)), "cursor": page.cursor, "more": page.more}
    return await write_document(app, request, document, {"changes": map(_file, page.files)})


async def list_files(app: ArchiveApplication, request: ArchiveRequest, job: str) -> bytes:
    """A page of a job's files."""
    _check(job)
    page = await _page(app, request, job)
    attempts = app.recall_settings.attempts
    document = {"job": job, "most_attempts": attempts, "cursor": page.cursor, "more": page.more}
    if page.more:
        document["next"] = _url(f"{url_of(job)}/files", since=page.cursor, limit=_limit(request))
    return await write_document(app, request, document, {"files": map(_file, page.files)})


async def _page(app: ArchiveApplication, request: ArchiveRequest, job: str) -> FilesPage:
    """What of a job's files is asked for; a long page ends with its client."""
    limit = _limit(request)
    with request.listened_to_for(limit):
        return await app.recall.files(job, _query(request, "since") or "", limit)


async def cancel(app: ArchiveApplication, request: ArchiveRequest, job: str) -> bytes:
    """Give files of a job up."""
    _check(job)
    effect = await app.recall.cancel(job, await _some_files(app, request))
    document = {**_job(await app.recall.status(job)), "effect": attrs.asdict(effect)}
    return await write_document(app, request, document)


async def release(app: ArchiveApplication, request: ArchiveRequest, job: str) -> bytes:
    """End pins of a job."""
    _check(job)
    effect = await app.recall.release(job, await _some_files(app, request))
    document = {**_job(await app.recall.status(job)), "effect": attrs.asdict(effect)}
    return await write_document(app, request, document)


async def delete(app: ArchiveApplication, request: ArchiveRequest, job: str) -> bytes:
    """Forget a job."""
    _check(job)
    await no_body(request)
    await app.recall.delete(job)
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"0")
    return b""


async def options(app: ArchiveApplication, request: ArchiveRequest, job: str = "", file_id: int = 0) -> bytes:
    """Tell what a URL answers to."""
    request.setResponseCode(HTTPStatus.NO_CONTENT)
    return b""


# events


async def follow(app: ArchiveApplication, request: ArchiveRequest, job: str) -> bytes:
    """The changes of a job as they happen.  A client that lost the connection goes on with C{Last-Event-ID}."""
    _check(job)
    given = request.field("last-event-id")
    since = given[-1] if given else _query(request, "since") or ""
    await app.recall.files(job, since, 1)  # what there is to refuse is refused before the answer begins
    request.set(b"Content-Type", b"text/event-stream")
    request.set(b"X-Accel-Buffering", b"no")  # nginx would keep events until it has a buffer full of them
    if request.method == b"HEAD":
        return b""
    pages = app.recall.follow(job, since)
    try:
        with request.while_listened_to():
            async with streaming(app, request) as stream:
                await _tell(app, request, job, pages, stream)
    finally:
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()
    return b""


async def _tell(
    app: ArchiveApplication, request: ArchiveRequest, job: str, pages: AsyncIterator[FilesPage], stream: Stream
) -> None:
    await stream.send([b": the changes of a job\n\n"])
    try:
        async for page in pages:
            await stream.send(await _progress(app, request, job, page))
        status = await app.recall.status(job)
        # If it has not ended, the service stops: to the client that is a lost connection.
        if status.summary.ended is not None:
            await stream.send(_event("end", status.cursor, [json.dumps(_job(status)).encode("ascii")]))
    except errors.NotFound:  # forgotten meanwhile
        await stream.send(_event("end", "", [json.dumps({"job": job, "state": "deleted"}).encode("ascii")]))
    except errors.ArchiveError as error:
        request.site.failed(type(error).__name__, request, error)


async def _progress(app: ArchiveApplication, request: ArchiveRequest, job: str, page: FilesPage) -> Sequence[bytes]:
    # A page without files is a sign of life; what is expected of the job changes all the time.
    document = {**_job(await app.recall.status(job)), "cursor": page.cursor}
    return _event("progress", page.cursor, await encode(request, document, {"changes": map(_file, page.files)}))


def _event(kind: str, cursor: str, data: Sequence[bytes]) -> Sequence[bytes]:
    """An event whose data is one line."""
    identifier = f"id: {cursor}\n" if cursor else ""
    pieces = [f"{identifier}event: {kind}\ndata: ".encode("ascii") + data[0], *data[1:]]
    pieces[-1] += b"\n\n"
    return pieces


# pins


async def list_pins(app: ArchiveApplication, request: ArchiveRequest) -> bytes:
    """A page of pins."""
    owner, after, limit = _query(request, "owner"), _query(request, "after"), _limit(request)
    found = await app.recall.pins(owner=owner, after=None if after is None else _pin_key(after), limit=limit)
    document = {}
    if len(found) >= limit:
        document["next"] = _url("/pins", owner=owner, after=f"{found[-1].file_id}-{found[-1].job}", limit=limit)
    return await write_document(app, request, document, {"pins": map(_pin, found)})


def _pin_key(text: str) -> tuple[int, str]:
    """The file and the job of the pin that a page ended with."""
    if match := _PIN.fullmatch(text):
        with suppress(ValueError):
            return parse_file_id(match[1]), match[2]
    raise errors.InvalidRequest('"after" is what an earlier page gave.')


async def unpin(app: ArchiveApplication, request: ArchiveRequest, file_id: int) -> bytes:
    """End all pins of a file."""
    await no_body(request)
    return await write_document(app, request, {"released": await app.recall.unpin(file_id)})


# what is asked


def _check(job: str) -> None:
    if _JOB.fullmatch(job) is None:
        raise errors.NotFound("There is no such job.")


def _query(request: ArchiveRequest, name: str) -> str | None:
    """A parameter of the URL; an empty one is none."""
    texts = (request.args or {}).get(name.encode("ascii"), [])
    if len(texts) > 1:
        raise errors.InvalidRequest(f'"{name}" is given twice.')
    return texts[0].decode("latin-1") or None if texts else None


def _number(name: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 20 and least <= (number := int(text)) <= most:
        return number
    raise errors.InvalidRequest(f'"{name}" is a number from {least} to {most}.')


def _limit(request: ArchiveRequest) -> int:
    text = _query(request, "limit")
    return PAGE if text is None else _number("limit", text, 1, LARGEST_PAGE)


def _duration(document: Mapping[str, Any], name: str) -> float | None:
    """Seconds, from a number of them or from text such as C{PT1H}."""
    value = document.get(name)
    seconds = parse_duration(value) if isinstance(value, str) else value
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST:
        raise errors.InvalidRequest(f'"{name}" is a number of seconds, or text such as PT1H or P1D.')
    return float(seconds)


def _priority(value: object) -> Priority:
    if not isinstance(value, str) or value not in _PRIORITIES:
        raise errors.InvalidRequest(f'"priority" is one of {", ".join(_PRIORITIES)}.')
    return _PRIORITIES[value]


async def _some_files(app: ArchiveApplication, request: ArchiveRequest) -> Sequence[int] | None:
    """The files that a body names; C{None} for all: an empty body.  An empty array is a mistake rather than all."""
    text = await read_text(request)
    if not text:
        return None
    require_json(request)
    document = await parse_in_turn(request, text)
    if not isinstance(document, dict) or document.keys() - {"files"}:
        raise errors.InvalidRequest('The body is empty, or a JSON object with "files", an array of ids and ranges.')
    return await _expand(app, request, document["files"]) if "files" in document else None


async def _expand(app: ArchiveApplication, request: ArchiveRequest, entries: object) -> Sequence[int]:
    """
    The ids that ids and ranges name, each once.

    @raise errors.InvalidRequest: It is no array of those.
    @raise errors.TooLarge: They are more than a job may have.
    """
    if not isinstance(entries, list) or not entries:
        raise errors.InvalidRequest('"files" is an array of ids and ranges such as 12, "13", "20-35", and not empty.')
    limit = app.recall_settings.job_files
    file_ids: dict[int, None] = {}
    left = limit * _OVERLAP
    steps = 0
    for entry in entries:
        first, last = _first_and_last(entry)
        left -= last - first + 1
        if left >= 0:
            file_ids.update(dict.fromkeys(range(first, last + 1)))
        if left < 0 or len(file_ids) > limit:
            raise errors.TooLarge(f"A job has {limit} files at the most.")
        steps += 1 + (last - first >> 4)
        if steps >= _STEPS:
            steps = 0
            await request.give_way()
    return list(file_ids)


def _first_and_last(entry: object) -> tuple[int, int]:
    try:
        if isinstance(entry, str):
            if match := _RANGE.fullmatch(entry):
                first, last = parse_file_id(match[1]), parse_file_id(match[2])
            else:
                first = last = parse_file_id(entry)
            if first <= last:
                return first, last
        elif isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry <= MAX_FILE_ID:
            return entry, entry
    except ValueError:
        pass
    raise errors.InvalidRequest(f"{_quoted(entry)} is neither an id nor a range of ids.")


def _quoted(value: object) -> str:
    """What a client wrote, short enough to be said again."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


# what is answered


def _url(path: str, **parameters: object) -> str:
    return f"{path}?{urlencode({name: value for name, value in parameters.items() if value is not None})}"


def _summary(summary: JobSummary) -> dict[str, Any]:
    running = "queued" if summary.started is None else "running"
    return {
        "job": summary.job,
        "state": running if summary.ended is None else "ended",
        "owner": summary.owner,
        "priority": summary.priority.name.lower(),
        "created": summary.created,
        "started": summary.started,
        "ended": summary.ended,
        "deadline": summary.deadline,
        "files": summary.files,
        "left": summary.left,
    }


def _job(status: JobStatus) -> dict[str, Any]:
    url = url_of(status.summary.job)
    estimate = status.estimate
    return {
        **_summary(status.summary),
        "counts": {state.name.lower(): count for state, count in status.counts.items()},
        "bytes": {"total": status.size, "done": status.done},
        "rate": status.rate,
        "estimate": None if estimate is None else attrs.asdict(estimate),
        "trouble": None if status.trouble is None else attrs.asdict(status.trouble),
        "most_attempts": status.most_attempts,
        "pin": status.pin,
        "cursor": status.cursor,
        **({"others": list(status.others)} if status.others else {}),
        "links": {"self": url, "files": f"{url}/files", "events": f"{url}/events"},
    }


def _file(file: JobFile) -> dict[str, Any]:
    return {
        "file": str(file.file_id),
        "state": file.state.name.lower(),
        "bytes": file.size,
        "started": file.started,
        "ended": file.ended,
        "deadline": file.deadline,
        "heard": file.heard,
        "attempts": file.attempts,
        "next_try": file.next_try,
        "reason": file.reason,
        "pinned": file.pinned,
    }


def _pin(pin: Pin) -> dict[str, Any]:
    return {
        "file": str(pin.file_id),
        "job": pin.job,
        "owner": pin.owner,
        "bytes": pin.size,
        "expires": pin.expires,
        "until_read": pin.until_read,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "message": (
            f"{_counted(plan.recalls, 'file')} on {_counted(plan.media, 'cartridge')}, "
            f"about {_spoken(plan.estimate.seconds)}, {_counted(plan.size, 'byte')} of buffer"
        ),
        "files": plan.files,
        "on_disk": plan.on_disk,
        "recalls": plan.recalls,
        "cartridges": plan.media,
        "bytes": plan.size,
        "estimate": {"seconds": plan.estimate.seconds, "basis": plan.estimate.basis},
    }


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _spoken(seconds: float) -> str:
    """A duration as people say it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
