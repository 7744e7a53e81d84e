"""Jobs: all of them, the youngest first, and the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.template import tags

from pacarchive.recall.words import FileState, JobFile, JobStatus, JobSummary, Priority
from pacarchive.texts import counted
from pacarchive.web.access import require_job
from pacarchive.web.console.asking import ROWS, Question, Screen
from pacarchive.web.console.parts import (
    NOTHING,
    Column,
    action,
    bar,
    facts,
    form,
    link,
    mark,
    moment,
    pager,
    panel,
    reason_field,
    share,
    table,
)
from pacarchive.web.console.screens.holding import is_held
from pacarchive.web.console.words import clock_words, percent_of, rate_words, size_words, span_words
from pacarchive.web.job_requests import check_job, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.web.template import Flattenable, Tag

STATES = {
    FileState.QUEUED: ("wait", "queued"),
    FileState.STARTED: ("busy", "being recalled"),
    FileState.CANCELLING: ("off", "being cancelled"),
    FileState.COMPLETED: ("good", "on disk"),
    FileState.FAILED: ("bad", "failed"),
    FileState.CANCELLED: ("off", "cancelled"),
}
"""The sign of each state of a file, and what people call it."""

_COLUMNS = (
    Column("Job"),
    Column("Owner", "name"),
    Column("State"),
    Column("Progress"),
    Column("Files", "num"),
    Column("Priority"),
    Column("Submitted"),
    Column("Deadline"),
)
_FILES = (
    Column("File"),
    Column("State"),
    Column("Size", "num"),
    Column("Attempts", "num"),
    Column("Since"),
    Column("Why", "wide"),
    Column("Pinned until"),
)


# all


async def _list(question: Question) -> Sequence[Flattenable]:
    owner = question.viewer.owner or question.query.get("owner")
    before = question.query.get("before")
    found = await question.app.recall.jobs(
        owner=owner, before=None if before is None else number("before", before, 0, 2**63 - 1), limit=ROWS
    )
    return [jobs_panel(question, found, owner), _more(question, found)]


def jobs_panel(
    question: Question, found: Sequence[JobSummary], owner: str | None, title: str = "Jobs", note: Flattenable = ""
) -> Tag:
    """A table of jobs."""
    whose = f"Jobs of {owner}" if owner is not None else "Jobs of all owners"
    rows = [_row(job, question.now) for job in found]
    caption = f"{whose}, the latest first; those that ended a while ago are forgotten."
    found_table = table(caption, _COLUMNS, rows, "There are no jobs: nothing was asked of the tapes.")
    return panel(title, found_table, ident="jobs", note=note)


def _row(job: JobSummary, now: float) -> Sequence[Flattenable]:
    done = job.files - job.left
    return [
        link(tags.code(job.job[:8]), f"/jobs/{job.job}"),
        job.owner,
        state_of(job),
        share("Files that have ended", done, job.files, ""),
        f"{job.left:,} of {job.files:,} left" if job.left else f"{job.files:,}",
        job.priority.name.lower(),
        moment(job.created, now),
        moment(job.deadline, now) if job.ended is None else NOTHING,
    ]


def state_of(job: JobSummary) -> Tag:
    """How a job stands."""
    if job.ended is not None:
        return mark("off", "ended")
    return mark("wait", "queued") if job.started is None else mark("busy", "running")


def _more(question: Question, found: Sequence[JobSummary]) -> Flattenable:
    links = []
    owner = question.query.get("owner")
    if "before" in question.query:
        links.append(link("Latest", "/jobs", owner=owner))
    if len(found) >= ROWS:
        links.append(link("Earlier", "/jobs", owner=owner, before=found[-1].number))
    return pager("Pages of jobs", *links)


LIST = Screen(path="/jobs", title=lambda _: "Jobs", make=_list, section="/jobs", query=frozenset({"owner", "before"}))


# one


async def _job(question: Question) -> Sequence[Flattenable]:
    job = question.names["job"]
    check_job(job)
    app = question.app
    await require_job(app, question.viewer.owner, job)
    since = question.query.get("since", "")
    page = await app.recall.files(job, since, ROWS)
    status = await app.recall.status(job)
    held = status.trouble is not None and await is_held(question, status.trouble.reason)
    may_act = question.viewer.may_stage
    return [
        _progress(question, status, held),
        _actions(status, held) if may_act else "",
        _files(question, status, page.files, may_act),
        pager(
            "Pages of files",
            *([link("First", f"/jobs/{job}")] if since else []),
            *([link("Next", f"/jobs/{job}", since=page.cursor)] if page.more else []),
        ),
    ]


def _progress(question: Question, status: JobStatus, held: bool) -> Tag:
    summary, counts, now = status.summary, status.counts, question.now
    done, failed = counts[FileState.COMPLETED], counts[FileState.FAILED]
    moving = counts[FileState.STARTED]
    words = f"{percent_of(done, summary.files)} %, {done:,} of {counted(summary.files, 'file')} on disk"
    pairs: list[tuple[str, Flattenable]] = [
        ("Job", tags.code(summary.job)),
        ("State", state_of(summary)),
        ("Owner", link(summary.owner, "/jobs", owner=summary.owner)),
        ("Priority", summary.priority.name.lower()),
        ("Submitted", moment(summary.created, now)),
        ("Bytes", f"{size_words(status.done)} of {size_words(status.size)}"),
        ("Rate", rate_words(status.rate) if status.rate else NOTHING),
    ]
    if summary.ended is None:
        estimate = status.estimate
        pairs += [
            ("Done", f"in about {span_words(estimate.seconds)}" if estimate else "not known yet"),
            ("Deadline", moment(summary.deadline, now)),
        ]
        if estimate:
            pairs.append(("Estimated from", estimate.basis))
    else:
        pairs.append(("Ended", moment(summary.ended, now)))
    states = [
        tags.li(mark(kind, f"{counts[state]:,} {name}")) for state, (kind, name) in STATES.items() if counts[state]
    ]
    trouble = status.trouble
    return panel(
        "Progress",
        bar("Files", [(done, "done"), (moving, "moving"), (failed, "bad")], summary.files, words),
        tags.ul(*states, class_="marks"),
        tags.p(mark("wait" if held else "bad", f"{counted(trouble.files, 'file')}: {trouble.reason}"), class_="trouble")
        if trouble
        else "",
        facts(pairs),
        ident="progress",
    )


def _actions(status: JobStatus, held: bool) -> Tag:
    summary, counts = status.summary, status.counts
    path = f"/jobs/{summary.job}"
    done = []
    if summary.left:
        words = f"{counted(summary.left, 'file')} of this job will not be recalled for it."
        done.append(_priority(path, summary.priority))
        done.append(action("Cancel all", f"{path}/cancel", title=words, confirm="Cancel the job", kind="danger"))
    if counts[FileState.COMPLETED]:
        words = "Its files need not stay on disk any more; those that were not recalled yet will not be pinned."
        done.append(action("Release pins", f"{path}/release", title=words, confirm="Release the pins"))
    if counts[FileState.FAILED] or (status.trouble is not None and not held):
        words = "What has failed is recalled again, and what is to be tried again later is tried now."
        done.insert(0, action("Retry now", f"{path}/retry", title=words, confirm="Retry now"))
    return tags.div(*done, class_="actions") if done else tags.div()


def _priority(path: str, now: Priority) -> Tag:
    choices = [
        tags.option(each.name.lower(), value=each.name.lower(), **({"selected": "selected"} if each is now else {}))
        for each in reversed(Priority)
    ]
    choice = tags.label("Among jobs of the same owner", tags.select(*choices, name="priority"))
    words = "Its files that wait are put where that priority has them."
    return action("Priority", f"{path}/priority", choice, title=words, confirm="Change the priority")


def _files(question: Question, status: JobStatus, files: Sequence[JobFile], may_act: bool) -> Tag:
    job, now = status.summary.job, question.now
    live = may_act and any(not each.state.ended for each in files)
    caption = "Its files, in the order in which something last changed; those that nothing happened to for long first."
    found = table(caption, _FILES, [_file(each, now, live) for each in files], "There are no files on this page.")
    if not live:
        return panel("Files", found, ident="files")
    return panel(
        "Files",
        form(
            f"/jobs/{job}/cancel",
            found,
            tags.input(type="hidden", name="which", value="some"),
            tags.div(
                reason_field(), tags.button("Cancel chosen files", type="submit", class_="danger"), class_="choose"
            ),
        ),
        ident="files",
    )


def _file(file: JobFile, now: float, choosable: bool) -> Sequence[Flattenable]:
    file_id = str(file.file_id)
    kind, name = STATES[file.state]
    which: Flattenable = link(file_id, f"/files/{file_id}")
    if choosable and not file.state.ended:
        which = [
            tags.input(type="checkbox", name="file", value=file_id, **{"aria-label": f"Choose file {file_id}"}),
            which,
        ]
    why = file.reason
    if file.next_try is not None:
        why = f"{why} Next attempt in {span_words(file.next_try - now)}."
    return [
        which,
        mark(kind, name),
        NOTHING if file.size is None else size_words(file.size),
        str(file.attempts) if file.attempts else NOTHING,
        moment(file.ended or file.started, now),
        why,
        clock_words(file.pinned) if file.pinned is not None else NOTHING,
    ]


def _title(names: Mapping[str, object]) -> str:
    return f"Job {str(names['job'])[:8]}"


JOB = Screen(path="/jobs/<job>", title=_title, make=_job, section="/jobs", query=frozenset({"since"}))
