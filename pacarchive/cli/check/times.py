"""The time of a file: as it was given, however old, and wherever it can be read."""

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


async def _see(session: Session, given: str, seconds: float) -> float:
    """
    Put a file with a time, and see that it has it.

    @return: What it has.
    @raise Failed: It has another.
    """
    content, answer = await session.new(fields={"Last-Modified": given})
    require(answer.status == 201, f"201 with Last-Modified: {given}", answer, _WHY)
    found = await session.wire.ask("HEAD", content.file_id)
    told = found.field("Last-Modified") or ""
    try:
        kept = float(told)
    except ValueError:
        kept = float("nan")
    # Some storage keeps whole seconds only.
    require(
        kept == int(seconds) or abs(kept - seconds) < 1e-5, f"{seconds} as the time of the file", told or "none", _WHY
    )
    got = await session.wire.ask("GET", content.file_id)
    if seconds < time.time():  # what is newer than the present is told as the present (RFC 9110, section 8.8.2.1)
        require(
            got.field("Last-Modified") == http_date(int(seconds)), http_date(int(seconds)), got.field("Last-Modified"),
            "GET and HEAD tell different times",
        )  # fmt: skip
    if exact := got.field("X-Pacarchive-Mtime"):
        require(exact == found.field("X-Pacarchive-Mtime"), exact, found, "GET and HEAD tell different times")
        require((parse_iso(exact) or 0) // SECOND == int(seconds), f"the second {int(seconds)}", exact, _WHY)
    return kept


@GROUP.check("mtime", "Last-Modified of a PUT becomes the time of the file")
async def mtime(session: Session) -> None:
    await _see(session, "Sun, 06 Nov 1994 08:49:37 GMT", 784111777)


@GROUP.check("mtime-fraction", "a time with a fraction of a second is kept, by storage that can")
async def mtime_fraction(session: Session) -> str:
    kept = await _see(session, "2001-02-03T04:05:06.75Z", 981173106.75)
    return "to the fraction" if kept % 1 else "in whole seconds"


@GROUP.check("mtime-old", "a time of long ago is kept")
async def mtime_old(session: Session) -> None:
    await _see(session, "Fri, 02 Jan 1970 00:00:01 GMT", 86401)


@GROUP.check("mtime-future", "a time beyond what 31 bits hold is kept")
async def mtime_future(session: Session) -> None:
    await _see(session, "Thu, 31 Dec 2099 23:59:59 GMT", 4102444799)


@GROUP.check("mtime-wrong", "a time that cannot be read is refused, or does not matter, by the archive's mode")
async def mtime_wrong(session: Session) -> str:
    content, answer = await session.new(fields={"Last-Modified": "the day before yesterday"})
    if session.strict:
        require(answer.status == 400, "400", answer, "the file would get a time that nobody meant")
        await session.see_absent(content.file_id, "what was refused was stored all the same")
        return "refused"
    require(answer.status == 201, "201", answer, "clients of this mode send such times")
    await session.get(content)
    return "ignored"
