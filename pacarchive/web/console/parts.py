"""What screens are built of: tables, bars, lists of facts, forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlencode

import attrs
from twisted.web.template import Tag, tags

from pacarchive.web.console.words import clock_words, machine_words, percent_of, span_words
from pacarchive.web.sessions import CONSOLE

if TYPE_CHECKING:
    from twisted.web.template import Flattenable

FORM_TOKEN = "@form-token@"  # noqa: S105  (what stands for it)
"""Stands in forms for the viewer's own token: what all viewers see is made once for all of them."""

NOTHING = "–"  # noqa: RUF001
"""Stands for what there is not."""

_NIL = ("", "0", "0 B", NOTHING)
"""What is less worth reading than the rest of a table."""

Cell: TypeAlias = "Flattenable"


@attrs.frozen
class Column:
    """
    A column of a table.

    @ivar name: Its heading.
    @ivar kind: C{num} for numbers, C{wide} for words; C{name} for names, which may be long and without a blank.
    """

    name: str
    kind: str = ""


def element(name: str, *content: Cell, **attributes: str) -> Tag:
    """An element of a kind that Twisted's own list does not have."""
    return Tag(name)(*content, **attributes)


def url(path: str = "", **query: object) -> str:
    """The URL of a screen, without what is C{None} of its query."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{CONSOLE}{path}{'?' if given else ''}{urlencode(given)}"


def link(words: Cell, path: str, **query: object) -> Tag:
    """A link to a screen."""
    return tags.a(words, href=url(path, **query))


def panel(title: str, *content: Cell, ident: str, note: Cell = "", kind: str = "") -> Tag:
    """
    A part of a screen, with a heading.

    @param note: What stands beside the heading.
    """
    head = tags.div(tags.h2(title, id=ident), tags.p(note, class_="note") if note else "", class_="head")
    return tags.section(head, *content, class_=f"panel {kind}".strip(), **{"aria-labelledby": ident})


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], empty: str) -> Tag:
    """
    A table, or the words that there is nothing.

    @param caption: A line on what it holds.
    @param rows: Cells, as many as columns; the first is the heading of its row.
    """
    if not rows:
        return tags.p(empty, class_="empty")
    heads = [tags.th(each.name, scope="col", class_=each.kind, role="columnheader") for each in columns]
    body = [tags.tr(*_cells(columns, row), role="row") for row in rows]
    return tags.table(
        tags.caption(caption),
        tags.thead(tags.tr(*heads, role="row"), role="rowgroup"),
        tags.tbody(*body, role="rowgroup"),
        role="table",  # said again: where there is no room, the style makes blocks of the rows
    )


def _cells(columns: Sequence[Column], row: Sequence[Cell]) -> Iterable[Tag]:
    for number, (column, cell) in enumerate(zip(columns, row, strict=True)):
        if number == 0:
            yield tags.th(cell, scope="row", class_=column.kind, role="rowheader")
        else:
            kind = f"{column.kind} nothing" if isinstance(cell, str) and cell in _NIL else column.kind
            yield tags.td(cell, class_=kind, role="cell", **{"data-name": column.name})


def facts(pairs: Iterable[tuple[str, Cell]]) -> Tag:
    """Names and what they are."""
    return tags.dl(*(tags.div(tags.dt(name), tags.dd(value)) for name, value in pairs), class_="facts")


def figures(given: Iterable[tuple[str, Cell, Cell]]) -> Tag:
    """Numbers that are seen first, each with its name and a word more."""
    made = (tags.div(tags.dt(name), tags.dd(value, tags.small(more))) for name, value, more in given)
    return tags.dl(*made, class_="figures")


def bar(label: str, parts: Sequence[tuple[float, str]], whole: float, words: str) -> Tag:
    """
    A bar that is filled from the left.

    @param label: What it is, for those who do not see it.
    @param parts: How much of C{whole} each part has, and its kind (C{done}, C{moving}, C{bad}).
    @param words: The same in words, which stand beside it.
    """
    drawn, left = [], 0.0
    for amount, kind in parts:
        # There may be more than the whole, as of pins beyond the high-water mark.
        width = min(100 * amount / whole if whole > 0 else 0.0, 100 - left)
        if width > 0:
            drawn.append(element("rect", x=f"{left:.2f}", y="0", width=f"{width:.2f}", height="8", class_=kind))
            left += width
    picture = element(
        "svg",
        element("rect", x="0", y="0", width="100", height="8", class_="empty"),
        *drawn,
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        role="img",
        **{"aria-label": f"{label}: {words}"},
    )
    return tags.div(picture, tags.span(words, class_="words", **{"aria-hidden": "true"}), class_="bar")


def share(label: str, part: float, whole: float, words: str) -> Tag:
    """A bar of one part, with percent."""
    return bar(label, [(part, "done")], whole, f"{percent_of(part, whole)} % {words}".strip())


def moment(when: float | None, now: float, never: str = NOTHING) -> Cell:
    """When something was or will be."""
    if when is None:
        return never
    if abs(now - when) < 60:  # no finer: what is open all day should not flicker
        words = "just now" if when <= now else "within a minute"
    else:
        words = f"{span_words(now - when)} ago" if when <= now else f"in {span_words(when - now)}"
    return tags.time(words, datetime=machine_words(when), title=clock_words(when))


def mark(kind: str, words: str) -> Tag:
    """A state: a sign and words, never a colour alone.  C{kind} is C{good}, C{wait}, C{busy}, C{bad} or C{off}."""
    sign = {"good": "✓", "wait": "○", "busy": "▸", "bad": "✕", "off": NOTHING}[kind]
    return tags.span(tags.span(sign, **{"aria-hidden": "true"}), f" {words}", class_=f"mark {kind}")


def action(name: str, path: str, *fields: Cell, title: str, confirm: str, kind: str = "") -> Tag:
    """
    Something that can be done: it opens, takes a reason, and is confirmed, with the keyboard, too, and without a
    script.

    @param name: What opens it.
    @param path: Where the form goes.
    @param title: What will be done, in a sentence.
    @param confirm: What the button says.
    """
    return tags.details(
        tags.summary(name),
        form(path, tags.p(title), *fields, reason_field(), tags.button(confirm, type="submit", class_=kind)),
        class_="action",
    )


def form(path: str, *content: Cell, ident: str | None = None) -> Tag:
    """A form that changes something."""
    token = tags.input(type="hidden", name="token", value=FORM_TOKEN)
    made = tags.form(token, *content, method="post", action=url(path))
    return made(id=ident) if ident else made


def field(words: str, name: str, **attributes: str) -> Tag:
    """A field of a form, with what it means."""
    return tags.label(words, tags.input(name=name, autocomplete="off", **attributes))


def hidden(name: str, value: str) -> Tag:
    """A field that nobody fills in."""
    return tags.input(type="hidden", name=name, value=value)


def reason_field() -> Tag:
    """Where a reason can be given, which the audit file keeps."""
    return tags.label(
        "Reason (optional, for the audit file)", tags.input(name="why", maxlength="200", autocomplete="off")
    )


def pager(label: str, *links: Tag) -> Cell:
    """Links to other pages of a list."""
    return tags.nav(*links, class_="pager", **{"aria-label": label}) if links else ""
