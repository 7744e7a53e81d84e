"""What can be done from the console: each by a form, with a line in the audit file, and back to a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.ids import parse_file_id
from pacarchive.recall.words import HoldKind, RetryFilter
from pacarchive.texts import counted
from pacarchive.web.access import may, owner_of, require_own
from pacarchive.web.auditing import recorded
from pacarchive.web.console.live import snapshots_of
from pacarchive.web.console.parts import url
from pacarchive.web.console.screens.retry import FILTER, filter_of
from pacarchive.web.console.signing_in import see_other
from pacarchive.web.console.viewing import Form, read_form
from pacarchive.web.job_requests import check_job, number, priority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest

_NOTICES = {
    "cancelled": "{} cancelled.",
    "released": "The pins of {} ended.",
    "unpinned": "{} ended.",
    "retried": "{} recalled again.",
    "held": "It is held.",
    "resumed": "{} ended.",
    "priority": "The priority of {} is changed.",
}
"""What is said of what was done, by the word in the URL; C{{}} is how many, of what."""

_NOUNS = {
    "cancelled": "file",
    "released": "file",
    "unpinned": "pin",
    "retried": "file",
    "held": "hold",
    "resumed": "hold",
    "priority": "job",
}


def notice_of(query: Mapping[str, str]) -> str:
    """What has just been done, as the URL says that an action led to; nothing but known words and a number."""
    did, count = query.get("did", ""), query.get("count", "")
    if did not in _NOTICES or not (count.isascii() and count.isdigit() and len(count) < 10):
        return ""
    return _NOTICES[did].format(counted(int(count), _NOUNS[did]))


async def _job_form(app: RouteContext, request: ArchiveRequest, job: str) -> tuple[Form, Sequence[int] | None]:
    """
    A form that changes a job of the viewer's own.

    @return: It, and the files that it names; C{None} for all.
    """
    form = await read_form(app, request)
    check_job(job)
    await require_own(app, request, job)
    if form.one("which") != "some":
        return form, None
    try:
        some = [parse_file_id(each) for each in form.fields.get("file", ())]
    except ValueError:
        raise errors.InvalidRequest("The form names what is no file id.") from None
    if not some:
        raise errors.InvalidRequest("No file was chosen, and nothing was done. Go back, and choose some.")
    return form, some


async def cancel(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Cancel files of a job."""
    form, some = await _job_form(app, request, job)
    effect = await recorded(
        app,
        request,
        "cancel",
        lambda: app.recall.cancel(job, some),
        more=lambda _: {"job": job, "files": some and len(some), "why": form.why},
    )
    return _done(app, request, f"/jobs/{job}", "cancelled", effect.cancelled + effect.cancelling)


async def release(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """End pins of a job."""
    form, some = await _job_form(app, request, job)
    effect = await recorded(
        app,
        request,
        "release",
        lambda: app.recall.release(job, some),
        more=lambda _: {"job": job, "files": some and len(some), "why": form.why},
    )
    return _done(app, request, f"/jobs/{job}", "released", effect.released + effect.coming)


async def unpin(app: RouteContext, request: ArchiveRequest, file_id: int) -> bytes:
    """End the viewer's pins of a file; an operator ends everyone's."""
    form = await read_form(app, request)
    owner = None if may(request, Right.ADMIN, file_id) else owner_of(app, request)
    released = await recorded(
        app,
        request,
        "unpin",
        lambda: app.recall.unpin(file_id, owner),
        file_id,
        more=lambda _: {"why": form.why},
    )
    return _done(app, request, "/pins", "unpinned", released)


async def retry_job(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Recall again what of a job has failed, and try again now what is to be tried again later."""
    form, _ = await _job_form(app, request, job)
    done = await _retried(app, request, RetryFilter(job=job), form)
    return _done(app, request, f"/jobs/{job}", "retried", done)


async def retry(app: RouteContext, request: ArchiveRequest) -> bytes:
    """The same, of all that a filter means."""
    form = await read_form(app, request)
    wanted = filter_of({name: form.one(name) for name in FILTER}, app.clock.seconds())
    return _done(app, request, "/retry", "retried", await _retried(app, request, wanted, form))


async def _retried(app: RouteContext, request: ArchiveRequest, wanted: RetryFilter, form: Form) -> int:
    done = await recorded(
        app,
        request,
        "retry",
        lambda: app.recall.operations.retry(wanted),
        more=lambda done: {
            **attrs.asdict(wanted),
            "reason": wanted.reason,
            "files": done.failed + done.hurried,
            "why": form.why,
        },
    )
    return done.failed + done.hurried


async def prioritise(app: RouteContext, request: ArchiveRequest, job: str) -> bytes:
    """Change the priority of a job."""
    form, _ = await _job_form(app, request, job)
    wanted = priority(form.one("priority"))
    await recorded(
        app,
        request,
        "priority",
        lambda: app.recall.operations.change_priority(job, wanted),
        more=lambda _: {"job": job, "priority": wanted.name.lower(), "why": form.why},
    )
    return _done(app, request, f"/jobs/{job}", "priority", 1)


async def hold(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Hold all recalls, drives or a cartridge."""
    form = await read_form(app, request)
    kind, cartridge = _kind(form), form.one("cartridge")
    hours = form.one("hours")
    until = app.clock.seconds() + 3600 * number("hours", hours, 1, 8760) if hours else None
    drives = number("drives", form.one("drives"), 0, 10_000) if kind is HoldKind.DRIVES else None
    who = owner_of(app, request)
    await recorded(
        app,
        request,
        "hold",
        lambda: app.recall.operations.hold(
            kind, who, cartridge=cartridge, drives=drives, why=form.why or "", until=until
        ),
        more=lambda _: {
            **_held(kind, cartridge),
            "drives": drives,
            "why": form.why,
        },
    )
    return _done(app, request, _where(cartridge), "held", 1, name=cartridge or None)


async def resume(app: RouteContext, request: ArchiveRequest) -> bytes:
    """End a hold."""
    form = await read_form(app, request)
    kind, cartridge = _kind(form), form.one("cartridge")
    await recorded(
        app,
        request,
        "resume",
        lambda: app.recall.operations.resume(kind, cartridge),
        more=lambda _: {**_held(kind, cartridge), "why": form.why},
    )
    return _done(app, request, _where(cartridge), "resumed", 1, name=cartridge or None)


def _kind(form: Form) -> HoldKind:
    """
    What is held.

    @raise errors.InvalidRequest: The form does not say, or it is a cartridge without a name.
    """
    try:
        kind = HoldKind[form.one("kind").upper()]
    except KeyError:
        raise errors.InvalidRequest("All recalls, drives or a cartridge can be held.") from None
    if (kind is HoldKind.CARTRIDGE) is not bool(form.one("cartridge")):
        raise errors.InvalidRequest("Say which cartridge is held; what else is held has no name.")
    return kind


def _held(kind: HoldKind, cartridge: str) -> dict[str, str | None]:
    """What the audit file says of it."""
    return {"kind": kind.name.lower(), "cartridge": cartridge or None}


def _where(cartridge: str) -> str:
    return "/cartridge" if cartridge else "/queue"


async def look_up(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Lead to the page of a file."""
    given = (request.args or {}).get(b"id", [b""])[0].decode("latin-1").strip()
    try:
        file_id = parse_file_id(given)
    except ValueError:
        raise errors.InvalidRequest("A file id is a number, of digits alone and below 2^64.") from None
    return see_other(request, url(f"/files/{file_id}"))


def _done(
    app: RouteContext, request: ArchiveRequest, path: str, did: str, count: int, name: str | None = None
) -> bytes:
    snapshots_of(app).forget()
    return see_other(request, url(path, name=name, did=did, count=count))


ACTIONS = (
    ("/jobs/<job>/cancel", Right.STAGE, cancel),
    ("/jobs/<job>/release", Right.STAGE, release),
    ("/jobs/<job>/retry", Right.STAGE, retry_job),
    ("/jobs/<job>/priority", Right.STAGE, prioritise),
    ("/pins/<file_id:file_id>/end", Right.STAGE, unpin),
    ("/retry", Right.ADMIN, retry),
    ("/hold", Right.ADMIN, hold),
    ("/resume", Right.ADMIN, resume),
)
"""Path, the right that it needs, what does it."""
