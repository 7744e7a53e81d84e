"""The WLCG Tape REST API, version 1: how the grid's clients (gfal2, and FTS with it, XRootD, xrdhttp) stage files.

A path of this API is the path of a file's URL: C{/ID}, and nothing else is a file.  Whatever else is asked for is told
as a file that does not exist, by itself; it fails no request.  All errors are problem details, with their true status
in both modes: these clients know nothing of the predecessor.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from pacarchive import __version__, errors
from pacarchive.access.rights import Right
from pacarchive.ids import parse_file_id
from pacarchive.model import FileStatus, Locality
from pacarchive.recall.words import FileState, JobFile, JobRequest
from pacarchive.runtime.statuses import statuses_of
from pacarchive.web import tape_described as described
from pacarchive.web.access import may, owner_of, require_each, require_own
from pacarchive.web.auditing import recorded
from pacarchive.web.description import TAPE
from pacarchive.web.http.documents import media_types, no_body, read_document, require_json, write_document
from pacarchive.web.http.durations import parse_duration
from pacarchive.web.http.hosts import authority
from pacarchive.web.routing import Open

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

T = TypeVar("T")

DISCOVERY = "/.well-known/wlcg-tape-rest-api"
BASE = "/api/v1"

PLACEHOLDER = "gfal2-placeholder-id"
"""What gfal-evict names as the request whose files it releases, where its user names none."""

LOCATED = 10_000
"""How many paths C{archiveinfo} answers for; the specification leaves it free to answer for some."""

LONGEST_PATH = 1000
"""Characters; far more than any that names a file."""

OTHERS, LONGEST_OTHER = 100, 200
"""How many paths that name no file a stage request may have, and of how many characters each: they are kept."""

_SLICE = 200
"""How much of a list is worked on before others have their turn: a few milliseconds' work at the most."""

_STATES = {
    FileState.QUEUED: "SUBMITTED",
    FileState.STARTED: "STARTED",
    FileState.CANCELLING: "STARTED",  # it may still come
    FileState.COMPLETED: "COMPLETED",
    FileState.FAILED: "FAILED",
    FileState.CANCELLED: "CANCELLED",
}

_SLASHES = re.compile("//+")
_JOB = re.compile("[0-9a-f]{32}", re.ASCII)

_NO_FILE = "There is no such file."
_ABSENT = errors.NotFound(_NO_FILE)
_FORBIDDEN = errors.NotPermitted("The caller lacks the right 'poll' for this file.")


def declare(router: Router) -> None:
    """Register the routes.  gfal2 before 2.22.2 ends some URLs in a slash, the others do not: all take both."""
    for method, url, route, needs, operation in (
        ("GET", DISCOVERY, discover, Open.TO_ALL, described.DISCOVER),
        ("POST", f"{BASE}/stage", stage, Right.STAGE, described.STAGE),
        ("GET", f"{BASE}/stage/<job>", stage_status, Right.POLL, described.STATUS),
        ("DELETE", f"{BASE}/stage/<job>", forget, Right.STAGE, described.FORGET),
        ("POST", f"{BASE}/stage/<job>/cancel", cancel, Right.STAGE, described.CANCEL),
        ("POST", f"{BASE}/release/<job>", release, Right.STAGE, described.RELEASE),
        ("POST", f"{BASE}/archiveinfo", archiveinfo, Right.POLL, described.ARCHIVEINFO),
    ):
        router.answers(method, url, f"{url}/", needs=needs, described=operation)(route)
    paths = ("stage", "stage/<job>", "stage/<job>/cancel", "release/<job>", "archiveinfo")
    for url in (DISCOVERY, *(f"{BASE}/{path}" for path in paths)):
        router.tells_options(TAPE, url, f"{url}/")


# The calls


async def discover(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Say where the API is: at the address that this request came to."""
    endpoint = {"uri": _uri(app, request), "version": "v1", "metadata": {}}
    document = {
        "sitename": app.settings.site_name,
        "description": f"pacarchive {__version__}",
        "endpoints": [endpoint],
    }
    return await write_document(request, document)


async def stage(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Make a job of a list of files.  What is on disk already, or does not exist, is the job's to tell."""
    uri = _uri(app, request)  # before there is a job that nobody would hear of
    request.site.lookups.require(request.client)
    files = await _read_list(request, "files")
    if not files:
        raise errors.InvalidRequest("A stage request names one file at least.")
    request.site.lookups.require(request.client, len(files))
    ids: dict[int, None] = {}
    others: dict[str, None] = {}
    pins: dict[int, float] = {}
    async for some in _slices(request, files):
        for each in some:
            name, lifetime = _requested(each)
            if isinstance(name, str):
                others[name] = None
                continue
            ids[name] = None
            if lifetime is not None:
                pins[name] = max(lifetime, pins.get(name, 0.0))
        _check_others(others)
    await require_each(app, request, Right.STAGE, ids)
    wanted = JobRequest(owner=owner_of(app, request), file_ids=list(ids), pins=pins, others=list(others))
    with request.site.lookups.enter(request.client, len(ids)):
        job = await recorded(
            app, request, "stage", lambda: app.recall.submit(wanted), more=lambda job: {"job": job, "files": len(ids)}
        )
    request.setResponseCode(HTTPStatus.CREATED)
    request.set(b"Location", f"{uri}/stage/{job}")
    return await write_document(request, {"requestId": job})


async def stage_status(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Tell how a job stands, and each of its files."""
    job = await _own(app, request, job)
    status = await app.recall.status(job)
    summary = status.summary
    files: dict[int, JobFile] = {}  # one that changes meanwhile comes again
    cursor, more = "", True
    while more and len(files) < summary.files:
        page = await app.recall.files(job, since=cursor)
        files.update((each.file_id, each) for each in page.files)
        cursor, more = page.cursor, page.more
        if more:
            await request.give_way()
    created = int(summary.created)
    started = created if summary.started is None else int(summary.started)
    document = {"id": job, "createdAt": created, "startedAt": started}
    if summary.ended is not None:
        document["completedAt"] = int(summary.ended)
    entries = map(_entry, files.values())  # one by one, as they are written: there may be many
    others = ({"path": path, "state": "FAILED", "error": _NO_FILE} for path in status.others)
    return await write_document(request, document, {"files": chain(entries, others)})


async def cancel(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Give up some files of a job; all of the paths must be the job's."""
    job = await _own(app, request, job)
    some = await _files_of(app, request, job)
    await recorded(app, request, "cancel", lambda: app.recall.cancel(job, some), more=lambda _: {"job": job})
    return _done(request)


async def forget(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Give up all files of a job, and forget it."""
    job = await _own(app, request, job)
    await no_body(request)
    await recorded(app, request, "forget", lambda: app.recall.delete(job), more=lambda _: {"job": job})
    return _done(request)


async def release(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """
    End a job's pins of some files; all of the paths must be the job's.

    For L{PLACEHOLDER}, which names no job, this answers as if it did, and does nothing: to end all pins of a file would
    let anyone end anyone's.
    """
    if job == PLACEHOLDER:
        await _read_paths(request)
        return _done(request)
    job = await _own(app, request, job)
    some = await _files_of(app, request, job)
    await recorded(app, request, "release", lambda: app.recall.release(job, some), more=lambda _: {"job": job})
    return _done(request)


async def archiveinfo(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Tell where files are, in the order in which they were asked for; nothing is recalled."""
    request.site.lookups.require(request.client)
    paths = await _read_list(request, "paths")
    request.site.lookups.require(request.client, min(len(paths), LOCATED))  # before there is more work with them
    names = (await _names(request, paths))[:LOCATED]
    troubles: list[errors.Unavailable] = []
    with request.looking_up(len(names)):
        pieces = [
            json.dumps(await _locate(app, request, some, troubles))[1:-1] async for some in _slices(request, names)
        ]
    if troubles:  # reported for each file; logged and counted once
        request.site.failed(type(troubles[0]).__name__, request, troubles[0])
    body = f"[{', '.join(pieces)}]".encode("ascii")
    request.hold("answer", len(body))
    request.set(b"Content-Type", b"application/json")
    request.set(b"Content-Length", b"%d" % len(body))
    return body


# What is asked for


def _uri(app: RouteContext, request: ArchiveRequest) -> str:
    """
    The URI of the API, as the caller reaches this server.

    If the settings do not tell: of the header fields only C{Host} is believed, where it names this server; those that a
    proxy may add, anyone may add.
    """
    if app.settings.public_url:
        return f"{app.settings.public_url}{BASE}"
    host = authority(request, app.settings)
    secure = request.isSecure()  # type: ignore[no-untyped-call]
    return f"{'https' if secure else 'http'}://{host}{BASE}"


async def _own(app: RouteContext, request: ArchiveRequest, text: str) -> str:
    """
    The identifier of one of the caller's jobs, out of a URL.

    @raise errors.NotFound: It is none, or another's.
    """
    if not _JOB.fullmatch(text):
        raise errors.NotFound("There is no such stage request.")
    await require_own(app, request, text)
    return text


async def _read_list(request: ArchiveRequest, name: str) -> list[Any]:
    """The list that a request's document holds under a name; all else in there is ignored, as the API wants it."""
    # A page of anybody's can send such a document through a browser of the site, but not as JSON; and where it says
    # nothing of what it sends, the browser says where the page is from.
    if media_types(request) or request.field("origin"):
        require_json(request)
    document = await read_document(request)
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise errors.InvalidRequest(f'The body is a JSON object with a list "{name}".')
    return found


async def _read_paths(request: ArchiveRequest) -> list[int | str]:
    """The names (L{_name}) that a request's document lists, each once."""
    return await _names(request, await _read_list(request, "paths"))


async def _names(request: ArchiveRequest, paths: Sequence[object]) -> list[int | str]:
    """What paths name, each once."""
    names: dict[int | str, None] = {}
    async for some in _slices(request, paths):
        names.update((_name(each), None) for each in some)
    return list(names)


async def _files_of(app: RouteContext, request: ArchiveRequest, job: str) -> list[int]:
    """
    The ids that a request about some files of a job lists.  Whether they are the job's is left to the engine.

    @raise errors.InvalidRequest: A path is no id, and none of those that the job was asked for either.
    """
    names = await _read_paths(request)
    others = {name for name in names if isinstance(name, str)}
    if others and not others.issubset((await app.recall.status(job)).others):
        raise errors.InvalidRequest("A path is none of this stage request's; nothing has changed.")
    return [name for name in names if isinstance(name, int)]


def _requested(given: object) -> tuple[int | str, float | None]:
    """What an entry of a stage request names, and for how many seconds it is to stay on disk, if it says so."""
    if not isinstance(given, dict):
        raise errors.InvalidRequest('Each of the files is an object with a "path".')
    name = _name(given.get("path"))
    if "diskLifetime" not in given:
        return name, None
    if not isinstance(lifetime := given["diskLifetime"], str):
        raise errors.InvalidRequest("A diskLifetime is text.")
    return name, parse_duration(lifetime)


def _name(given: object) -> int | str:
    """What a path names: a file id, or else no file, and is kept as it is but for slashes that are there twice."""
    if not isinstance(given, str):
        raise errors.InvalidRequest("A path is text.")
    if len(given) > LONGEST_PATH:
        raise errors.InvalidRequest(f"A path has {LONGEST_PATH} characters at the most.")
    path = _SLASHES.sub("/", given)
    if path.startswith("/"):
        try:
            return parse_file_id(path[1:])
        except ValueError:
            pass
    try:
        path.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can say it, and a database cannot keep it
        raise errors.InvalidRequest("A path is Unicode text.") from None
    return path


def _check_others(others: Collection[str]) -> None:
    """See that what is kept of a request, and means nothing, is not much."""
    if len(others) > OTHERS or any(len(path) > LONGEST_OTHER for path in others):
        raise errors.InvalidRequest(
            f"Of the paths that name no file (/ID), a request may have {OTHERS}, of {LONGEST_OTHER} characters each."
        )


# What is answered


async def _slices(request: ArchiveRequest, items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Pieces of a long list, between which others have their turn."""
    for start in range(0, len(items), _SLICE):
        if start:
            await request.give_way()
        yield items[start : start + _SLICE]


def _done(request: ArchiveRequest) -> bytes:
    request.set(b"Content-Length", b"0")
    return b""


def _path(name: int | str) -> str:
    return f"/{name}" if isinstance(name, int) else name


def _entry(file: JobFile) -> dict[str, Any]:
    """A file of a job.  Its C{state} says all: C{onDisk} beside it would be refused; so would an empty C{error}."""
    entry: dict[str, Any] = {"path": _path(file.file_id), "state": _STATES[file.state]}
    if file.started is not None and file.state is not FileState.QUEUED:
        entry["startedAt"] = int(file.started)
    if file.ended is not None and file.state.ended:
        entry["finishedAt"] = int(file.ended)
    if file.state is FileState.FAILED:
        entry["error"] = file.reason or "The file could not be recalled."
    return entry


async def _locate(
    app: RouteContext, request: ArchiveRequest, names: Sequence[int | str], troubles: list[errors.Unavailable]
) -> list[dict[str, str]]:
    """
    Where files are.

    @param troubles: Takes the failures of the storage.
    """
    allowed = [name for name in names if isinstance(name, int) and may(request, Right.POLL, name)]
    found: Mapping[int, FileStatus | Exception] = await statuses_of(app.backend, allowed)
    return [
        _located(name, found.get(name, _FORBIDDEN) if isinstance(name, int) else _ABSENT, troubles) for name in names
    ]


def _located(name: int | str, status: FileStatus | Exception, troubles: list[errors.Unavailable]) -> dict[str, str]:
    entry = {"path": _path(name)}
    match status:
        case errors.Unavailable():
            troubles.append(status)
            entry["locality"] = Locality.UNAVAILABLE.value
        case errors.ArchiveError():
            entry["error"] = str(status) or _NO_FILE
        case Exception():
            raise status
        case _:
            # An empty file needs no tape, and is no error, which NONE is to gfal2.
            locality = Locality.DISK if status.locality is Locality.NONE else status.locality
            entry["locality"] = locality.value
    return entry
