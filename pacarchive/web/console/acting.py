"""What can be done from the console: each by a form, with a line in the audit file, and back to a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.ids import parse_file_id
from pacarchive.texts import counted
from pacarchive.web.access import may, owner_of, require_own
from pacarchive.web.auditing import recorded
from pacarchive.web.console.live import snapshots_of
from pacarchive.web.console.parts import url
from pacarchive.web.console.signing_in import see_other
from pacarchive.web.console.viewing import Form, read_form
from pacarchive.web.job_requests import check_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest

_NOTICES = {
    "cancelled": "{} cancelled.",
    "released": "The pins of {} ended.",
    "unpinned": "{} ended.",
}
"""What is said of what was done, by the word in the URL; C{{}} is how many, of what."""

_NOUNS = {"cancelled": "file", "released": "file", "unpinned": "pin"}


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
        more=lambda _: {"job": job, "files": some and len(some), "reason": form.reason},
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
        more=lambda _: {"job": job, "files": some and len(some), "reason": form.reason},
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
        more=lambda _: {"reason": form.reason},
    )
    return _done(app, request, "/pins", "unpinned", released)


async def look_up(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Lead to the page of a file."""
    given = (request.args or {}).get(b"id", [b""])[0].decode("latin-1").strip()
    try:
        file_id = parse_file_id(given)
    except ValueError:
        raise errors.InvalidRequest("A file id is a number, of digits alone and below 2^64.") from None
    return see_other(request, url(f"/files/{file_id}"))


def _done(app: RouteContext, request: ArchiveRequest, path: str, did: str, count: int) -> bytes:
    snapshots_of(app).forget()
    return see_other(request, url(path, did=did, count=count))


ACTIONS = (
    ("/jobs/<job>/cancel", Right.STAGE, cancel),
    ("/jobs/<job>/release", Right.STAGE, release),
    ("/pins/<file_id:file_id>/end", Right.STAGE, unpin),
)
"""Path, the right that it needs, what does it."""
