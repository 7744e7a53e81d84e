"""The page of one cartridge: what waits for it, and holding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.access.rights import Right
from pacarchive.recall.words import HoldKind
from pacarchive.texts import counted
from pacarchive.web.console.asking import Question, Screen
from pacarchive.web.console.parts import NOTHING, action, facts, hidden, link, moment, panel
from pacarchive.web.console.screens.holding import hours_field, resume_action
from pacarchive.web.console.screens.queue import cartridge_state
from pacarchive.web.console.words import size_words, span_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable

    from pacarchive.recall.views import CartridgeRow


async def _one(question: Question) -> Sequence[Flattenable]:
    name, now = question.query.get("name", ""), question.now
    operations = question.app.recall.operations
    row = await operations.cartridge(name) if name else None
    if row is None:
        return [
            panel(
                "Cartridge",
                tags.p(f"Nothing waits for {name or 'it'}, and nothing of it has failed."),
                *_acts(name, None),
                ident="cartridge",
            )
        ]
    states = row.states
    pairs: list[tuple[str, Flattenable]] = [
        ("State", cartridge_state(row)),
        ("Waiting", f"{counted(states.waiting.files, 'file')}, {size_words(states.waiting.size)}"),
        ("Being recalled", counted(states.started.files, "file")),
        ("To be retried", counted(states.backing_off.files, "file")),
        ("Failed", counted(row.failed.files, "request")),
        ("Oldest waits", NOTHING if row.oldest is None else span_words(now - row.oldest)),
        ("Begins", moment(row.begins, now)),
        ("Done", moment(row.ends, now)),
    ]
    return [panel(f"Cartridge {name}", facts(pairs), *_acts(name, row), ident="cartridge")]


def _acts(name: str, row: CartridgeRow | None) -> Sequence[Flattenable]:
    if not name:
        return []
    done: list[Flattenable] = []
    if row is not None and row.hold is not None:
        done.append(resume_action("End the hold", HoldKind.CARTRIDGE, name))
    else:
        done.append(
            action(
                "Hold this cartridge",
                "/hold",
                hidden("kind", "cartridge"),
                hidden("cartridge", name),
                hours_field(),
                title="No more of its files are submitted to the storage system.",
                confirm="Hold the cartridge",
                kind="danger",
            )
        )
    if row is not None and (row.failed.files or row.states.backing_off.files):
        done.append(link("Retry what failed", "/retry", cartridge=name)(class_="button"))
    return [tags.div(*done, class_="actions")]


SCREEN = Screen(
    path="/cartridge",
    title=lambda _: "Cartridge",
    make=_one,
    section="/queue",
    needs=Right.ADMIN,
    query=frozenset({"name"}),
)
