"""Retrying what has failed: how many that would be, and then doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.recall.words import RetryFilter
from pacarchive.texts import counted
from pacarchive.web.console.asking import Question, Screen
from pacarchive.web.console.parts import action, field, hidden, panel, url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.web.template import Flattenable


async def _retry(question: Question) -> Sequence[Flattenable]:
    wanted = filter_of(question.query, question.now)
    found = await question.app.recall.operations.count_retries(wanted)
    given = {name: question.query.get(name, "") for name in FILTER}
    words = [f"{name} {value!r}" for name, value in given.items() if value]
    which = ", ".join(words) if words else "all that there is"
    many = found.failed + found.hurried
    choice = tags.form(
        *(field(FILTER[name], name, value=value) for name, value in given.items()),
        tags.button("Count them", type="submit"),
        method="get",
        action=url("/retry"),
        class_="filter",
    )
    do = action(
        f"Retry {counted(many, 'file')}",
        "/retry",
        *(hidden(name, value) for name, value in given.items()),
        title=f"Of {which}: {counted(found.failed, 'request')} that failed will be recalled again, also for jobs that "
        f"have ended, and {counted(found.hurried, 'file')} that would be tried again later will be now.",
        confirm="Retry them",
    )
    return [
        panel(
            "Retry what failed",
            tags.p("After a tape, a drive or the storage system was repaired. Empty fields mean all."),
            choice,
            tags.p(
                tags.strong(counted(found.failed, "request")),
                " failed, and ",
                tags.strong(counted(found.hurried, "file")),
                " to be tried again later.",
            ),
            do if many else tags.p("There is nothing to retry.", class_="empty"),
            ident="retry",
        )
    ]


FILTER = {"cartridge": "Cartridge", "owner": "Owner", "reason": "Reason", "hours": "In how many last hours"}
"""By what those are chosen that are retried, and how it is called."""


def filter_of(given: Mapping[str, str], now: float) -> RetryFilter:
    """
    Which files a form or URL means.

    @param given: Its parameters.
    @raise errors.InvalidRequest: C{hours} is no number.
    """
    hours = given.get("hours") or ""
    if hours and not (hours.isascii() and hours.isdigit() and 0 < len(hours) < 6):
        raise errors.InvalidRequest("Hours are a number.")
    return RetryFilter(
        cartridge=given.get("cartridge") or None,
        owner=given.get("owner") or None,
        reason=given.get("reason") or None,
        since=now - int(hours) * 3600 if hours else None,
        job=given.get("job") or None,
    )


SCREEN = Screen(
    path="/retry",
    title=lambda _: "Retry",
    make=_retry,
    section="/queue",
    needs=Right.ADMIN,
    query=frozenset(FILTER),
    live=False,
)
