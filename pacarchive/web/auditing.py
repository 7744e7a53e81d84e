"""What the audit file says of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacarchive.texts import printable

if TYPE_CHECKING:
    from http import HTTPStatus

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest


async def record(
    app: RouteContext, request: ArchiveRequest, what: str, file_id: int | None = None, **more: Any
) -> None:
    """
    Write down a change that was made, before it is acknowledged.

    @param what: What was done, in one word.
    @param more: What else there is to say, as C{bytes}, C{digest}, C{job}.
    @raise BackendUnavailable: It cannot be written down.
    """
    if app.audit is not None:
        await app.audit.record(**_who(request), what=what, id=_spoken(file_id), result="done", **more)


def note_refusal(app: RouteContext, request: ArchiveRequest, status: HTTPStatus, why: str) -> None:
    """Write down that a request was refused for want of a right, or of credentials that are valid."""
    if app.audit is not None:
        what = request.method.decode("ascii", "replace")[:20]
        path = printable(request.path[:200].decode("ascii", "backslashreplace"))
        who = _who(request)
        more = {"what": what, "path": path, "result": "refused", "status": status.value, "why": printable(why)}
        app.audit.note(who["address"], {**who, **more})


def _who(request: ArchiveRequest) -> dict[str, Any]:
    access = request.access
    return {
        "principal": None if access is None else access.name,
        "how": None if access is None else access.how.value,
        "address": getattr(request.client, "host", None) or "local",
        "request": request.identifier,
    }


def _spoken(file_id: int | None) -> str | None:
    """Ids are text, as everywhere: not every reader of JSON keeps 64 bits."""
    return None if file_id is None else str(file_id)
