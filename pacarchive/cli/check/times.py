"""Checks of the time of a file: it is stored as it was sent, and all methods answer with the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Group
from pacarchive.cli.check.contents import http_date
from pacarchive.cli.check.words import require
from pacarchive.times import SECOND, parse_iso

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

GROUP = Group()

_WHY = "what is archived should keep its date; backups and catalogues go by it"


async def _require_time(session: Session, given: str, seconds: float) -> float:
    """
    Put a file with a time, and require that it has that.

    @param given: The time as it is sent.
    @param seconds: The same in seconds since the epoch.
    @return: The time that it has.
    @raise Failed: It has another.
    """
    content, answer = await session.put_new(fields={"Last-Modified": given})
    require(answer.status == 201, f"201 with Last-Modified: {given}", answer, _WHY)
    found = await session.wire.ask("HEAD", content.file_id)
    stored = found.field("Last-Modified") or ""
    try:
        kept = float(stored)
    except ValueError:
        kept = float("nan")
    # Some storage keeps whole seconds only.
    require(
        kept == int(seconds) or abs(kept - seconds) < 1e-5, f"{seconds} as the time of the file", stored or "none", _WHY
    )
    got = await session.wire.ask("GET", content.file_id)
    if seconds < time.time():  # a time in the future is replaced by the present (RFC 9110, section 8.8.2.1)
        require(
            got.field("Last-Modified") == http_date(int(seconds)), http_date(int(seconds)), got.field("Last-Modified"),
            "GET and HEAD answer with different times",
        )  # fmt: skip
    if exact := got.field("X-Pacarchive-Mtime"):
        require(exact == found.field("X-Pacarchive-Mtime"), exact, found, "GET and HEAD answer with different times")
        require((parse_iso(exact) or 0) // SECOND == int(seconds), f"the second {int(seconds)}", exact, _WHY)
    return kept


@GROUP.check("mtime", "Last-Modified of a PUT becomes the time of the file")
async def mtime(session: Session) -> None:
    await _require_time(session, "Sun, 06 Nov 1994 08:49:37 GMT", 784111777)


@GROUP.check("mtime-fraction", "a time with a fraction of a second is kept, by storage that can")
async def mtime_fraction(session: Session) -> str:
    kept = await _require_time(session, "2001-02-03T04:05:06.75Z", 981173106.75)
    return "to the fraction" if kept % 1 else "in whole seconds"


@GROUP.check("mtime-old", "a time of long ago is kept")
async def mtime_old(session: Session) -> None:
    await _require_time(session, "Fri, 02 Jan 1970 00:00:01 GMT", 86401)


@GROUP.check("mtime-future", "a time beyond what 31 bits hold is kept")
async def mtime_future(session: Session) -> None:
    await _require_time(session, "Thu, 31 Dec 2099 23:59:59 GMT", 4102444799)


@GROUP.check("mtime-wrong", "an invalid time is refused, or ignored with compatibility = pacifica")
async def mtime_wrong(session: Session) -> str:
    content, answer = await session.put_new(fields={"Last-Modified": "the day before yesterday"})
    if session.strict:
        require(answer.status == 400, "400", answer, "the file would get a wrong time")
        await session.require_absent(content.file_id, "what was refused was stored all the same")
        return "refused"
    require(answer.status == 201, "201", answer, "clients of this mode send such times")
    await session.get(content)
    return "ignored"
