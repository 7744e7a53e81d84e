"""What the access log says of a request: by hand, as nothing else here is done for each of them."""

from __future__ import annotations

import time
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

from pacarchive.telemetry.settings import AccessFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.access.identity import Access
    from pacarchive.web.http.answers import QuickAnswer
    from pacarchive.web.http.heads import RequestHead
    from pacarchive.web.http.ledger import Asking, Entry, Sort

LONGEST = 1000
"""Characters of what a client chooses that a line has of each."""

_second, _times = 0, ("", "")


def line_of(form: AccessFormat) -> Callable[[RequestHead | QuickAnswer, float, int, bool], bytes]:
    """What writes a line of a request, given when it ended, the code, and whether it was answered."""
    return _json if form is AccessFormat.JSON else _common


def lines_of(form: AccessFormat, run: str) -> Callable[[list[Entry]], bytes]:
    """
    What writes the lines of all that was answered at once: what L{line_of} does, when most of each is known.

    @param run: What the names of requests begin with.
    """
    lines = partial(_json_lines, run) if form is AccessFormat.JSON else _common_lines
    return lambda entries: b"".join(lines(entries))


def _json_lines(run: str, entries: list[Entry]) -> list[bytes]:
    lines, second, moment = [], 0, b""
    for sort, asking, target, size, number, began, ended in entries:
        try:
            line = asking.lines[sort]
        except KeyError:
            line = asking.lines[sort] = _json_line(run, sort, asking)
        if int(ended) != second:
            second, moment = int(ended), _clock(ended)[0].encode("ascii")
        took = b"%.6f" % (ended - began)
        lines.append(line % (moment, int(ended % 1 * 1000), number, target, size, took, took))
    return lines


def _json_line(run: str, sort: Sort, asking: Asking) -> bytes:
    """What a line has between that which each has for itself."""
    access, agent = asking.access, asking.agent
    address, method = getattr(asking.client, "host", "local"), sort.method.decode("ascii")
    pieces = [
        f'"request": "{run}-', f'", "method": "{method}", "path": "',
        f'", "protocol": "HTTP/1.1", "status": {int(sort.status)}, "in": 0, "out": ',
        ', "seconds": ', f', "address": "{address}"' + ("" if sort.refused else ', "first": '),
        "" if access is None else f', "principal": {quoted(access.name)}, "how": "{access.how.value}"',
        "" if agent is None else f', "agent": {quoted(agent[:LONGEST].decode("latin-1"))}',
        "" if sort.digest is None else f', "digest": "{sort.digest}"',
    ]  # fmt: skip
    named, path, out, seconds, first, *last = [each.replace("%", "%%") for each in pieces]
    began = "%.0b" if sort.refused else "%b"  # of what is refused, it is not noted
    return f'{{"time": "%b.%03dZ", {named}%x{path}%b{out}%d{seconds}%b{first}{began}{"".join(last)}}}\n'.encode("ascii")


def _common_lines(entries: list[Entry]) -> list[bytes]:
    lines, second, moment = [], 0, b""
    for sort, asking, target, size, _, _, ended in entries:
        try:
            line = asking.lines[sort]
        except KeyError:
            line = asking.lines[sort] = _common_line(sort, asking)
        if int(ended) != second:
            second, moment = int(ended), _clock(ended)[1].encode("ascii")
        lines.append(line % (moment, target, b"%d" % size if size else b"-"))
    return lines


def _common_line(sort: Sort, asking: Asking) -> bytes:
    before = f"{getattr(asking.client, 'host', 'local')} - {_user(asking.access)} [".replace("%", "%%")
    return f'{before}%b] "{sort.method.decode("ascii")} %b HTTP/1.1" {int(sort.status)} %b\n'.encode("ascii")


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
    target = quoted(_path(request))[1:-1]
    method = quoted(request.method.decode("latin-1"))[1:-1]
    version = request.clientproto.decode("latin-1")
    who = f"{getattr(request.client, 'host', 'local')} - {_user(request.access)}"
    return (
        f'{who} [{_clock(now)[1]}] "{method} {target} {version}" {int(code) or 499} {request.sentLength or "-"}\n'
    ).encode("ascii")


def _user(access: Access | None) -> str:
    if access is None or not access.is_known:
        return "-"
    return quoted(access.name)[1:-1].replace(" ", "\\u0020")
