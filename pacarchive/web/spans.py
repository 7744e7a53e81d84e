"""What the span of a request says: OpenTelemetry's names for HTTP, and its request id and file id; no query, nobody's
name, and no credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.telemetry.table import METHODS
from pacarchive.web.description import path_template
from pacarchive.web.files import FILE
from pacarchive.web.http.answers import QuickAnswer
from pacarchive.web.http.traces import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.telemetry.tracing import Tracing
    from pacarchive.web.http.heads import RequestHead

LONGEST = 200
"""Characters of what a client chooses that a span has of each."""

_METHODS = {each.encode("ascii"): each for each in METHODS}
_FILE = path_template(FILE)


def note_spans(tracing: Tracing) -> Callable[[RequestHead | QuickAnswer, float, int, bool], None]:
    """
    What has a span made of a request, given when it ended, the code, and whether it was answered.  A trace that begins
    with it is the request's from then on.
    """

    def note(request: RequestHead | QuickAnswer, now: float, code: int, answered: bool) -> None:
        trace = request.trace
        if not tracing.wants(None if trace is None else trace.sampled):
            return
        method = _METHODS.get(request.method)
        route = _route(request)
        attributes = _attributes(request, code)
        if method is None:
            attributes["http.request.method_original"] = _text(request.method)
        attributes["http.request.method"] = method or "_OTHER"
        if route is not None:
            attributes["http.route"] = route
        if not answered:
            attributes["pacarchive.aborted"] = request.broken_by
        error = _error(request, code, answered)
        if error is not None:
            attributes["error.type"] = error
        made = tracing.add(
            f"{method or 'HTTP'} {route}" if route is not None else method or "HTTP",
            request.began,
            now,
            attributes,
            () if isinstance(request, QuickAnswer) else request.phases,
            None if trace is None else (int(trace.trace, 16), int(trace.parent, 16)),
            failed=error is not None,
        )
        if trace is None and made is not None:
            request.trace = Trace(f"{made:032x}", "", sampled=True)

    return note


def _route(request: RequestHead | QuickAnswer) -> str | None:
    if isinstance(request, QuickAnswer):
        return _FILE if request.routed else None
    return request.route


def _attributes(request: RequestHead | QuickAnswer, code: int) -> dict[str, str | int]:
    path = _text(request.uri.partition(b"?")[0])
    attributes: dict[str, str | int] = {
        "url.path": path,
        "url.scheme": "https" if not isinstance(request, QuickAnswer) and request.isSecure() else "http",
        "network.protocol.version": request.clientproto[5:].decode("latin-1"),
        "http.request.body.size": request.received,
        "http.response.body.size": request.sentLength,
        "pacarchive.request.id": request.identifier,
    }
    if code:
        attributes["http.response.status_code"] = int(code)
    if (route := _route(request)) is not None and route == _FILE:
        attributes["pacarchive.file.id"] = path.strip("/")  # text: not every id is below 2**63
    if (agent := request.agent) is not None:
        attributes["user_agent.original"] = _text(agent)
    return attributes


def _error(request: RequestHead | QuickAnswer, code: int, answered: bool) -> str | None:
    """What the server failed in; a client that leaves, or asks for what it cannot have, is no failure."""
    if code >= 500:
        return str(int(code))
    return None if answered or request.broken_by == "client" else request.broken_by


def _text(given: bytes) -> str:
    return given[:LONGEST].decode("latin-1")
