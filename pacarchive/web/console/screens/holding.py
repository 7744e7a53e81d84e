"""Holds: what operators keep from being recalled, for all to see, and their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import Tag, tags

from pacarchive.recall.words import HoldKind
from pacarchive.web.console.asking import Question, or_words
from pacarchive.web.console.parts import action, field, hidden, mark, moment

if TYPE_CHECKING:
    from pacarchive.recall.views import Overview
    from pacarchive.recall.words import Hold

_HOLDS = 5
"""So many are on every page; what is more is counted."""


def hold_banner(hold: Hold, now: float) -> Tag:
    """Who holds what, since when, and why; on every page."""
    what = {
        HoldKind.ALL: "All recalls are held",
        HoldKind.DRIVES: f"All drives but {hold.drives} are held" if hold.drives else "All drives are held",
        HoldKind.CARTRIDGE: f"Cartridge {hold.cartridge} is held",
    }[hold.kind]
    until = tags.span(", until ", moment(hold.until, now)) if hold.until is not None else ""
    why = f": {hold.why}" if hold.why else ""
    return tags.p(
        mark("wait", what), f" by {hold.who}", tags.span(", ", moment(hold.since, now)), until, why, class_="hold"
    )


async def holds(question: Question) -> Tag:
    """
    What is held: it stands on every page, as nobody else knows why the queue grows.  The element is there where nothing
    is: what else is on an open page keeps its place when something is held.
    """
    queue = await or_words(question.app.recall.operations.overview())
    found = []
    if not isinstance(queue, str):  # pages that are about the queue say so themselves
        found = [hold_banner(each, queue.made) for each in queue.holds[:_HOLDS]]
        if len(queue.holds) > _HOLDS:
            found.append(tags.p(f"and {len(queue.holds) - _HOLDS} more holds", class_="hold"))
    return tags.div(*found, class_="holds")


async def is_held(question: Question, reason: str) -> bool:
    """Whether the reason why something waits is that somebody holds it, which is no fault, and nothing to retry."""
    queue = await or_words(question.app.recall.operations.overview())
    return not isinstance(queue, str) and any(each.by_whom in reason for each in queue.holds)


def hold_actions(queue: Overview) -> Tag:
    """What can be held."""
    kinds = {each.kind for each in queue.holds}
    everything, drives = HoldKind.ALL in kinds, HoldKind.DRIVES in kinds
    done = [
        resume_action("End the hold of all recalls", HoldKind.ALL)
        if everything
        else action(
            "Hold all recalls",
            "/hold",
            hidden("kind", "all"),
            hours_field(),
            title="Nothing more is submitted to the storage system; what was, is recalled all the same.",
            confirm="Hold all recalls",
            kind="danger",
        ),
        action(
            "Use fewer drives",
            "/hold",
            hidden("kind", "drives"),
            field(
                "Drives that may be used (0 drains them)",
                "drives",
                type="number",
                min="0",
                max=str(queue.drive_limit),
                value="0",
            ),
            hours_field(),
            title="Cartridges that are being read are read to their end.",
            confirm="Hold the other drives",
            kind="danger",
        ),
    ]
    if drives:
        done.append(resume_action("Use all drives again", HoldKind.DRIVES))
    return tags.div(*done, class_="actions")


def hours_field() -> Tag:
    """How long a hold lasts."""
    return field("For how many hours (empty: until it is ended)", "hours", type="number", min="1", max="8760")


def resume_action(name: str, kind: HoldKind, cartridge: str = "") -> Tag:
    """Ends a hold."""
    fields = [hidden("kind", kind.name.lower()), hidden("cartridge", cartridge)]
    return action(name, "/resume", *fields, title="The hold ends.", confirm=name)
