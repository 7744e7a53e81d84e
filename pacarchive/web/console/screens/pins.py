"""Pins, and what they take of the disk buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.web.console.asking import ROWS, Question, Screen
from pacarchive.web.console.parts import NOTHING, Column, action, link, moment, pager, panel, table
from pacarchive.web.console.words import size_words
from pacarchive.web.job_requests import pin_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable

    from pacarchive.recall.words import Pin

_COLUMNS = (
    Column("File"),
    Column("Size", "num"),
    Column("Owner", "name"),
    Column("Job"),
    Column("Ends"),
    Column("Also ends"),
    Column("To do"),
)


async def _pins(question: Question) -> Sequence[Flattenable]:
    owner, after = question.viewer.owner or question.query.get("owner"), question.query.get("after")
    found = await question.app.recall.pins(owner=owner, after=None if after is None else pin_key(after), limit=ROWS)
    whose = f"Pins of {owner}" if owner is not None else "Pins of all owners"
    rows = [_row(pin, question) for pin in found]
    links = []
    if after is not None:
        links.append(link("First", "/pins", owner=question.query.get("owner")))
    if len(found) >= ROWS:
        last = found[-1]
        key = f"{last.file_id}-{last.job}"
        links.append(link("Next", "/pins", owner=question.query.get("owner"), after=key))
    caption = f"{whose}, by file: recalled files that stay on disk until then."
    empty = "Nothing is pinned: no recalled file has to stay on disk."
    columns = _COLUMNS if question.viewer.may_stage else _COLUMNS[:-1]
    return [panel("Pins", table(caption, columns, rows, empty), ident="pins"), pager("Pages of pins", *links)]


def _row(pin: Pin, question: Question) -> Sequence[Flattenable]:
    file_id = str(pin.file_id)
    cells: list[Flattenable] = [
        link(file_id, f"/files/{file_id}"),
        size_words(pin.size),
        pin.owner,
        link(tags.code(pin.job[:8]), f"/jobs/{pin.job}"),
        moment(pin.expires, question.now),
        "when it was read" if pin.until_read else NOTHING,
    ]
    if question.viewer.may_stage:
        words = f"File {file_id} need not stay on disk any more."
        cells.append(action("End", f"/pins/{file_id}/end", title=words, confirm=f"End the pins of {file_id}"))
    return cells


SCREEN = Screen(path="/pins", title=lambda _: "Pins", make=_pins, section="/pins", query=frozenset({"owner", "after"}))
