"""The first page: what an operator sees within five seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.web.console.asking import Question, Screen, or_words
from pacarchive.web.console.parts import link, mark, panel
from pacarchive.web.console.screens.jobs import jobs_panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable, Tag

_JOBS = 10


async def _overview(question: Question) -> Sequence[Flattenable]:
    return [await _health(question), await _jobs(question)]


async def _health(question: Question) -> Tag:
    health = await question.app.health_probe.ask()
    obstacle = question.app.recall.obstacle
    if not health.ready:
        state = mark("bad", f"Not ready: {health.words}")
    elif health.degraded or obstacle:
        state = mark("wait", f"Serving, but not all is well. {health.words}")
    else:
        state = mark("good", f"Well. {health.words}")
    lines = [tags.p(state, class_="state", **{"aria-live": "polite"})]
    if obstacle:
        lines.append(tags.p(mark("bad", f"Recalls: {obstacle}"), class_="trouble"))
    return panel("How it is", *lines, ident="health", kind="health")


async def _jobs(question: Question) -> Tag:
    found = await or_words(question.app.recall.jobs(owner=question.viewer.owner, limit=_JOBS))
    if isinstance(found, str):
        return panel("Jobs", tags.p(mark("bad", found)), ident="jobs")
    return tags.div(jobs_panel(question, found, question.viewer.owner), tags.p(link("All jobs", "/jobs")))


SCREEN = Screen(path="", title=lambda _: "Overview", make=_overview, section="")
