"""What moves now, and what was refused or failed of late, in the words of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import Tag, tags

from pacarchive.access.rights import Right
from pacarchive.texts import counted
from pacarchive.web.console.asking import ROWS, Question, Screen, or_words
from pacarchive.web.console.parts import NOTHING, Column, link, mark, moment, panel, share, table
from pacarchive.web.console.rates import rates_of
from pacarchive.web.console.words import rate_words, size_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable

    from pacarchive.telemetry.parts import Event, Totals, Transfer

_LATEST = 6
_LITTLE = 1 << 20
_MOVING = 8
_OUTCOMES = {"refused": ("off", "refused"), "failed": ("bad", "failed"), "incident": ("bad", "incident")}
_EVENTS = (
    Column("When"),
    Column("What"),
    Column("Kind"),
    Column("Words", "wide"),
    Column("Who", "name"),
    Column("Address", "name"),
)
_TRANSFERS = (Column("File"), Column("Direction"), Column("Progress"), Column("Rate", "num"), Column("Whose", "name"))


async def transfers_panel(question: Question) -> Tag:
    """Bodies on their way, and how fast."""
    totals = await or_words(question.app.whole.totals())
    if isinstance(totals, str):
        return panel("Moving now", tags.p(mark("bad", totals)), ident="moving")
    rates = rates_of(question.app).update(totals)
    note = f"in {_rate(rates.received)}, out {_rate(rates.sent)}"
    many = int(totals.value("transfers") or 0)
    rows = [_transfer(each, totals) for each in totals.transfers[:_MOVING]]
    more = tags.p(f"and {many - len(rows):,} more", class_="soft") if many > len(rows) else ""
    caption = "Uploads and downloads under way, the oldest first."
    return panel(
        "Moving now", table(caption, _TRANSFERS, rows, "No file is on its way."), more, ident="moving", note=note
    )


def _rate(rate: float) -> str:
    """What is little is not told: the console's own pages are among it, and would change for themselves."""
    return rate_words(rate) if rate >= _LITTLE else "little"


def _transfer(each: Transfer, totals: Totals) -> Sequence[Flattenable]:
    age = max(1.0, totals.time - each.since)
    done = (
        share("Moved", each.moved, each.total, f"of {size_words(each.total)}") if each.total else size_words(each.moved)
    )
    return [
        link(str(each.file_id), f"/files/{each.file_id}") if each.file_id is not None else each.method,
        mark("busy", "upload" if each.direction == "in" else "download"),
        done,
        rate_words(each.moved / age),
        each.principal or each.address,
    ]


async def latest(question: Question) -> Tag:
    """The last of what was refused or failed."""
    totals = await or_words(question.app.whole.totals())
    if isinstance(totals, str):
        return panel("Trouble of the last hour", tags.p(mark("bad", totals)), ident="trouble")
    failed = sum(each.outcome != "refused" for each in totals.events)
    note = f"{failed:,} failed, {len(totals.events) - failed:,} refused"
    lines = [
        tags.li(_mark(each), f" {each.words} ", moment(each.time, totals.time))
        for each in _last(totals.events, _LATEST)
    ]
    content = (
        tags.ul(*lines, class_="lines") if lines else tags.p("Nothing was refused, and nothing failed.", class_="empty")
    )
    return panel(
        "Trouble of the last hour",
        content,
        tags.p(link("All of it", "/trouble")) if lines else "",
        ident="trouble",
        note=note,
    )


def _mark(event: Event) -> Tag:
    return mark(*_OUTCOMES[event.outcome])


def _last(events: Sequence[Event], most: int) -> Sequence[Event]:
    """The last of them.  However much was refused, at least half of them is what failed, if there is so much."""
    refused = [each for each in events if each.outcome == "refused"]
    failed = [each for each in events if each.outcome != "refused"][: most - min(len(refused), most // 2)]
    return sorted([*refused[: most - len(failed)], *failed], key=lambda each: -each.time)


async def _trouble(question: Question) -> Sequence[Flattenable]:
    totals = await question.app.whole.totals()
    rows = [_event(each, totals.time) for each in _last(totals.events, 2 * ROWS)]
    caption = "What was refused or failed in the last hour, the last first; of each process the last fifty of both."
    moment_words = table(caption, _EVENTS, rows, "Nothing was refused, and nothing failed.")
    return [panel("The last hour", moment_words, ident="hour"), _sums(totals)]


def _event(event: Event, now: float) -> Sequence[Flattenable]:
    return [
        moment(event.time, now),
        _mark(event),
        event.kind,
        event.words,
        event.principal or NOTHING,
        event.address,
    ]


def _sums(totals: Totals) -> Tag:
    names = (("refused_total", "refused"), ("failures_total", "failed"))
    rows: list[Sequence[Flattenable]] = [
        [series[1], mark(*_OUTCOMES[outcome]), f"{int(numbers[0]):,}"]
        for name, outcome in names
        for series, numbers in sorted(totals.counted.items())
        if series[0] == name and numbers[0]
    ]
    caption = "How often each kind of refusal or failure has happened, since the service was started."
    columns = (Column("Kind"), Column("What"), Column("Times", "num"))
    return panel(
        "Since the start",
        table(caption, columns, rows, "Nothing was ever refused."),
        ident="sums",
        note=counted(len(rows), "kind"),
    )


SCREEN = Screen(path="/trouble", title=lambda _: "Trouble", make=_trouble, section="/trouble", needs=Right.ADMIN)
