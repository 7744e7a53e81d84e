"""The first page: what an operator sees within five seconds.

Is anything stuck, and what needs somebody? What moves, how fast, for whom? What comes next, and when is the queue
through? Is there room? Is anything damaged?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.texts import counted
from pacarchive.web.console.asking import Question, Screen, or_words
from pacarchive.web.console.parts import NOTHING, figures, link, mark, moment, panel
from pacarchive.web.console.screens.capacity import room, to_trend
from pacarchive.web.console.screens.jobs import jobs_panel
from pacarchive.web.console.screens.queue import drives_table, upcoming_table
from pacarchive.web.console.screens.trouble import latest, transfers_panel
from pacarchive.web.console.words import clock_words, size_words, span_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable, Tag

    from pacarchive.model import Health
    from pacarchive.recall.views import Overview, OwnerRow

_JOBS = 10


async def _overview(question: Question) -> Sequence[Flattenable]:
    viewer = question.viewer
    health = await question.app.health_probe.ask()
    queue = await or_words(question.app.recall.operations.overview())
    jobs = await or_words(question.app.recall.jobs(owner=viewer.owner, limit=_JOBS))
    state = _state(question, health, queue)
    if isinstance(jobs, str):
        latest_jobs = panel("Latest jobs", tags.p(mark("bad", jobs)), ident="jobs")
    else:
        latest_jobs = jobs_panel(question, jobs, viewer.owner, "Latest jobs", link("All jobs", "/jobs"))
    if viewer.owner is not None:
        return [state, await _own(question, viewer.owner), latest_jobs]
    moving = await transfers_panel(question)
    trouble = await latest(question)
    if isinstance(queue, str):
        return [
            state,
            tags.div(moving, trouble, class_="columns"),
            tags.div(room(question, None, to_trend()), class_="columns"),
            latest_jobs,
        ]
    return [
        state,
        _figures(queue, question.now),
        tags.div(
            tags.div(_tapes(queue), _next(queue), class_="stack"),
            tags.div(moving, room(question, queue, to_trend()), trouble, class_="stack"),
            class_="columns",
        ),
        latest_jobs,
    ]


def _state(question: Question, health: Health, queue: Overview | str) -> Tag:
    obstacle = question.app.recall.obstacle
    problems = [obstacle] if obstacle else []
    if isinstance(queue, str):
        problems += [queue] if queue not in problems else []
    else:
        problems += [each for each in queue.problems if each not in problems]
    failed = 0 if isinstance(queue, str) or not question.viewer.is_admin else queue.failed.files
    if not health.ready:
        state = mark("bad", "Not ready: files cannot be read or stored")
    elif health.degraded or obstacle or isinstance(queue, str):
        state = mark("bad", "Serving, but not all of it works")
    elif problems:
        state = mark("wait", "Serving; the queue needs somebody")
    elif failed:
        state = mark("wait", "Serving; requests have failed")
    else:
        state = mark("good", "Well: nothing needs anybody")
    held = [] if isinstance(queue, str) else [each.by_whom for each in queue.holds]  # somebody wants that
    lines: list[Flattenable] = [
        tags.li(mark("wait" if number or any(words in each for words in held) else "bad", each))
        for number, each in enumerate(problems)
    ]
    if failed:
        words = f"{counted(failed, 'request')} failed, and can be tried again. "
        lines.append(tags.li(mark("wait", words), link("See them, and retry", "/retry")))
    return panel(
        "How it is",
        tags.p(state, class_="state", **{"aria-live": "polite"}),
        tags.p("Storage: ", health.words, class_="soft"),
        tags.p("Fixity: ", mark("off", "not watched yet"), class_="soft"),
        tags.ul(*lines, class_="lines") if lines else "",
        ident="health",
        kind="health",
    )


def _figures(queue: Overview, now: float) -> Tag:
    states = queue.states
    waiting, started = states.waiting, states.started
    busy = f"{len(queue.drives)} of {queue.drive_limit}"
    held = "" if queue.drives_usable == queue.drive_limit else f"{queue.drives_usable} usable: held"
    through, when = NOTHING, "not known yet" if waiting.files else "nothing waits"
    if waiting.files and queue.through is not None:
        through, when = f"in {span_words(queue.through - now)}", clock_words(queue.through)
    return figures(
        [
            ("Waiting", f"{waiting.files:,}", f"{size_words(waiting.size)} for {counted(queue.owners, 'owner')}"),
            ("On cartridges", f"{queue.cartridges:,}", f"{states.looked_up.files:,} files being looked up"),
            ("Being recalled", f"{started.files:,}", size_words(started.size)),
            ("Drives at work", busy, held or "none held"),
            (
                "Recalled lately",
                f"{queue.completed_hour.files:,}",
                f"{size_words(queue.completed_hour.size)} in 1 to 2 h",
            ),
            ("Queue through", through, when),
            ("To be retried", f"{states.backing_off.files:,}", "by themselves, later"),
            ("Failed", f"{queue.failed.files:,}", "kept, can be retried"),
        ]
    )


def _tapes(queue: Overview) -> Tag:
    age = "" if queue.planned is None else tags.span("as planned ", moment(queue.planned, queue.made))
    return panel("Drives", drives_table(queue), ident="drives", note=age)


def _next(queue: Overview) -> Tag:
    return panel("What comes next", upcoming_table(queue), ident="next", note=link("The whole queue", "/queue"))


async def _own(question: Question, owner: str) -> Tag:
    page = await or_words(question.app.recall.operations.owners(owner=owner))
    if isinstance(page, str):
        return panel("Yours", tags.p(mark("bad", page)), ident="own")
    return own_figures(page.rows[0]) if page.rows else panel("Yours", tags.p("Nothing of yours waits."), ident="own")


def own_figures(row: OwnerRow) -> Tag:
    """What one owner has."""
    states = row.states
    return figures(
        [
            ("Waiting", f"{states.waiting.files:,}", size_words(states.waiting.size)),
            ("Being recalled", f"{states.started.files:,}", size_words(states.started.size)),
            ("Recalled in a day", f"{row.completed_day.files:,}", size_words(row.completed_day.size)),
            ("To be retried", f"{states.backing_off.files:,}", "by themselves, later"),
            ("Failed", f"{row.failed.files:,}", "see the job for why"),
            ("Pinned", f"{row.pins.files:,}", size_words(row.pins.size)),
        ]
    )


SCREEN = Screen(path="", title=lambda _: "Overview", make=_overview, section="")
