"""What the access log says of a request: by hand, as nothing else here is done for each of them."""

from __future__ import annotations

import time
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

from pacarchive.telemetry.settings import AccessFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.web.http.answers import QuickAnswer
    from pacarchive.web.http.heads import RequestHead

LONGEST = 1000
"""Characters of what a client chooses that a line has of each."""

_second, _times = 0, ("", "")


def line_of(form: AccessFormat) -> Callable[[RequestHead | QuickAnswer, float, int, bool], bytes]:
    """What writes a line of a request, given when it ended, the code, and whether it was answered."""
    return _json if form is AccessFormat.JSON else _common


def _clock(now: float) -> tuple[str, str]:
    """A moment as ISO 8601 and as NCSA's logs have it, to the second; formatted once for each."""
    global _second, _times
    if int(now) != _second:
        moment = time.gmtime(now)
        _times = time.strftime("%Y-%m-%dT%H:%M:%S", moment), time.strftime("%d/%b/%Y:%H:%M:%S +0000", moment)
        _second = int(now)
    return _times


def _path(request: RequestHead | QuickAnswer) -> str:
    return request.uri.partition(b"?")[0][:LONGEST].decode("latin-1")


def _json(request: RequestHead | QuickAnswer, now: float, code: int, answered: bool) -> bytes:
    """One line of JSON.  What a client chooses is escaped; what cannot be known is left out."""
    first = request.first
    line = (
        f'{{"time": "{_clock(now)[0]}.{int(now % 1 * 1000):03d}Z", "request": "{request.identifier}", '
        f'"method": {quoted(request.method.decode("latin-1"))}, "path": {quoted(_path(request))}, '
        f'"protocol": "{request.clientproto.decode("latin-1")}", "status": {int(code)}, '
        f'"in": {request.received}, "out": {request.sentLength}, "seconds": {now - request.began:.6f}, '
        f'"address": "{getattr(request.client, "host", "local")}"'
    )
    if first:
        line += f', "first": {first - request.began:.6f}'
    if (access := request.access) is not None:
        line += f', "principal": {quoted(access.name)}, "how": "{access.how.value}"'
    if (agent := request.agent) is not None:
        line += f', "agent": {quoted(agent[:LONGEST].decode("latin-1"))}'
    if (trace := request.trace) is not None:
        line += f', "trace": "{trace.trace}"'
    if request.digest is not None:
        line += f', "digest": "{request.digest}"'
    if not answered:
        line += f', "aborted": "{request.broken_by}"'
    return (line + "}\n").encode("ascii")


def _common(request: RequestHead | QuickAnswer, now: float, code: int, answered: bool) -> bytes:
    """A line in the format that NCSA's server had, and all tools read."""
    access = request.access
    user = "-" if access is None or not access.is_known else quoted(access.name)[1:-1].replace(" ", "\\u0020")
    target = quoted(_path(request))[1:-1]
    method = quoted(request.method.decode("latin-1"))[1:-1]
    version = request.clientproto.decode("latin-1")
    return (
        f'{getattr(request.client, "host", "local")} - {user} [{_clock(now)[1]}] "{method} {target} {version}" '
        f"{int(code) or 499} {request.sentLength or '-'}\n"
    ).encode("ascii")
