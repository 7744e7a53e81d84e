"""The queue: by drive, cartridge, owner, age and reason, from sums that are kept as it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import Tag, tags

from pacarchive import errors
from pacarchive.recall.views import CartridgeOrder
from pacarchive.texts import counted
from pacarchive.web.console.asking import ROWS, Question, Screen
from pacarchive.web.console.parts import (
    NOTHING,
    Column,
    bar,
    link,
    mark,
    moment,
    pager,
    panel,
    table,
)
from pacarchive.web.console.screens.holding import hold_actions
from pacarchive.web.console.words import size_words, span_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable

    from pacarchive.recall.views import Age, CartridgeRow, Drive, Overview, OwnerRow, Reason, Upcoming

_CARTRIDGES = (
    Column("Cartridge", "name"),
    Column("State"),
    Column("Waiting", "num"),
    Column("Bytes", "num"),
    Column("Being recalled", "num"),
    Column("To retry", "num"),
    Column("Failed", "num"),
    Column("Oldest waits"),
    Column("Done about"),
)
_OWNERS = (
    Column("Owner", "name"),
    Column("Waiting", "num"),
    Column("Bytes", "num"),
    Column("Being recalled", "num"),
    Column("Recalled in a day", "num"),
    Column("Failed", "num"),
    Column("Pinned", "num"),
    Column("Jobs", "num"),
    Column("Oldest job"),
)
_ORDERS = {
    CartridgeOrder.NEXT: "what comes next",
    CartridgeOrder.FILES: "most files",
    CartridgeOrder.OLDEST: "longest wait",
    CartridgeOrder.FAILED: "most failures",
    CartridgeOrder.NAME: "name",
}


# tables of the overview


def drives_table(queue: Overview) -> Tag:
    """What is read now."""
    columns = (
        Column("Cartridge", "name"),
        Column("For", "name"),
        Column("State"),
        Column("Files", "num"),
        Column("Since"),
    )
    rows = [_drive(each, queue.made) for each in queue.drives]
    return table("The cartridges that are being read.", columns, rows, "No cartridge is being read.")


def _drive(drive: Drive, now: float) -> Sequence[Flattenable]:
    if drive.stuck:
        state = mark("bad", f"stuck: nothing for {span_words(now - drive.last)}")
    elif not drive.mounted:
        state = mark("busy", "being mounted")
    else:
        state = mark("busy", "reading, to its end" if drive.ending else "reading")
    submitted = drive.submitted
    return [
        cartridge_link(drive.cartridge),
        drive.owner or NOTHING,
        state,
        f"{submitted.files:,} ({size_words(submitted.size)})",
        moment(drive.begun, now),
    ]


def upcoming_table(queue: Overview) -> Tag:
    """What is read next."""
    columns = (Column("Cartridge", "name"), Column("Files", "num"), Column("Begins"), Column("Done"))
    rows = [_upcoming(each, queue.made) for each in queue.upcoming]
    caption = "The next cartridges, by the forecast; it changes with what is asked for."
    empty = "There is no forecast of what waits." if queue.states.waiting.files else "Nothing waits for a drive."
    return table(caption, columns, rows, empty)


def _upcoming(each: Upcoming, now: float) -> Sequence[Flattenable]:
    return [cartridge_link(each.cartridge), f"{each.files:,}", moment(each.begins, now), moment(each.ends, now)]


def cartridge_link(name: str) -> Flattenable:
    """A link to a cartridge, or words where it is not known which."""
    return link(tags.code(name), "/cartridge", name=name) if name else "not known yet"


# the queue


async def _queue(question: Question) -> Sequence[Flattenable]:
    operations, viewer = question.app.recall.operations, question.viewer
    owner = viewer.owner or question.query.get("owner")
    try:
        order = CartridgeOrder(question.query.get("order", "next"))
    except ValueError:
        raise errors.InvalidRequest("Cartridges cannot be sorted by that.") from None
    page = await operations.cartridges(owner=owner, order=order, after=question.query.get("after"), limit=ROWS)
    rows = [_cartridge(row, page.made) for row in page.rows]
    sums = f"Files of {owner}" if owner is not None else "Files of all owners"
    caption = f"{sums} by cartridge, sorted by {_ORDERS[order]}; each file counts once."
    links = (
        [link("First", "/queue", owner=question.query.get("owner"), order=order.value)]
        if "after" in question.query
        else []
    )
    if page.next is not None:
        links.append(link("Next", "/queue", owner=question.query.get("owner"), order=order.value, after=page.next))
    made = panel(
        "Cartridges",
        _sorting(question, order),
        table(caption, _CARTRIDGES, rows, "No file waits for a cartridge, and none has failed."),
        pager("Pages of cartridges", *links),
        ident="cartridges",
        note=counted(page.total, "cartridge"),
    )
    if not viewer.is_admin:
        return [made]
    queue = await operations.overview()
    return [
        tags.div(
            panel("Drives", drives_table(queue), hold_actions(queue), ident="drives"),
            tags.div(_ages(queue.ages), _reasons(queue.reasons), class_="stack"),
            class_="columns",
        ),
        made,
    ]


def _sorting(question: Question, order: CartridgeOrder) -> Tag:
    owner = question.query.get("owner")
    links = [
        tags.strong(name, **{"aria-current": "true"})
        if each is order
        else link(name, "/queue", owner=owner, order=each.value)
        for each, name in _ORDERS.items()
    ]
    return tags.nav("Sorted by:", *links, class_="pager", **{"aria-label": "Order of cartridges"})


def _cartridge(row: CartridgeRow, now: float) -> Sequence[Flattenable]:
    states = row.states
    return [
        cartridge_link(row.cartridge),
        cartridge_state(row),
        f"{states.waiting.files:,}",
        size_words(states.waiting.size),
        f"{states.started.files:,}",
        f"{states.backing_off.files:,}",
        f"{row.failed.files:,}",
        NOTHING if row.oldest is None else span_words(now - row.oldest),
        moment(row.ends, now),
    ]


def cartridge_state(row: CartridgeRow) -> Tag:
    """How a cartridge stands."""
    if row.hold is not None:
        return mark("off", "held")
    if row.reading:
        return mark("busy", "being read")
    if row.place is not None:
        return mark("wait", f"{row.place:,}. in line")
    if row.states.backing_off.files:
        return mark("bad", "waits for another attempt")
    return mark("wait", "queued") if row.states.waiting.files else mark("bad", "failed")


def _ages(ages: Sequence[Age]) -> Tag:
    total = sum(each.amount.files for each in ages)
    lines = []
    after = 0.0
    for each in ages:
        name = f"less than {span_words(each.below)}" if each.below is not None else f"more than {span_words(after)}"
        after = each.below or after
        words = f"{each.amount.files:,} files"
        lines.append(
            tags.li(
                tags.span(name, class_="name"),
                bar(f"Waiting for {name}", [(each.amount.files, "moving")], total, words),
            )
        )
    return panel("By age", tags.ul(*lines, class_="bars"), ident="ages", note="to an hour")


def _reasons(reasons: Sequence[Reason]) -> Tag:
    columns = (Column("Reason", "wide"), Column("Files", "num"), Column("State"), Column("To do"))
    rows: list[Sequence[Flattenable]] = [
        [
            each.reason or "no reason is known",
            f"{each.amount.files:,}",
            mark("bad", "failed") if each.for_good else mark("wait", "tried again"),
            link("Retry", "/retry", reason=each.reason) if each.reason else "",
        ]
        for each in reasons
    ]
    caption = "Why files are not there, those reasons first that most have."
    return panel("By reason", table(caption, columns, rows, "Nothing has failed."), ident="reasons")


# owners


async def _owners(question: Question) -> Sequence[Flattenable]:
    owner = question.viewer.owner
    page = await question.app.recall.operations.owners(owner=owner, after=question.query.get("after"), limit=ROWS)
    rows = [_owner(row, page.made) for row in page.rows]
    links = [link("First", "/owners")] if "after" in question.query else []
    if page.next is not None:
        links.append(link("Next", "/owners", after=page.next))
    caption = "What each owner waits for; a file that several wait for is the first one's."
    return [
        panel(
            "Owners",
            table(caption, _OWNERS, rows, "Nobody has a job."),
            pager("Pages of owners", *links),
            ident="owners",
            note=counted(page.total, "owner"),
        )
    ]


def _owner(row: OwnerRow, now: float) -> Sequence[Flattenable]:
    states = row.states
    return [
        link(row.owner, "/queue", owner=row.owner),
        f"{states.waiting.files:,}",
        size_words(states.waiting.size),
        f"{states.started.files:,}",
        f"{row.completed_day.files:,}",
        f"{row.failed.files:,}",
        f"{row.pins.files:,}",
        link(f"{row.jobs:,}", "/jobs", owner=row.owner),
        moment(row.oldest, now),
    ]


QUEUE = Screen(
    path="/queue", title=lambda _: "Queue", make=_queue, section="/queue", query=frozenset({"owner", "order", "after"})
)
OWNERS = Screen(path="/owners", title=lambda _: "Owners", make=_owners, section="/owners", query=frozenset({"after"}))
