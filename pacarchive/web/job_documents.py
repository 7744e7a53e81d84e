"""Stage jobs, their files, pins and plans as JSON, and the schemas of these documents."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import attrs

from pacarchive.recall.words import FileState, JobFile, JobStatus, JobSummary, Pin, Plan, Priority
from pacarchive.web.description import FILE_ID, JOB_ID, count, seconds
from pacarchive.web.http.schemas import array, boolean, choice, integer, members, number, or_null, record, text

_NEXT = text("The path of the next page, if there is one.")

_ESTIMATE = record(
    "Estimate",
    "When something will be done, as far as can be told.",
    {"seconds": number("Seconds from now."), "basis": text("What it is based on, for people.")},
)

_SUMMARY = {
    "job": JOB_ID,
    "state": choice("How it stands.", "queued", "running", "ended"),
    "owner": text("Whose it is."),
    "priority": choice("Its priority.", *(each.name.lower() for each in Priority)),
    "created": seconds("When it was made."),
    "started": or_null(seconds("When the first file was submitted to the storage system.")),
    "ended": or_null(seconds("When the last file ended.")),
    "deadline": seconds("When what was not recalled will have failed."),
    "files": count("Its files."),
    "left": count("Those of them that have not ended."),
}
JOB_SUMMARY = record("JobSummary", "A job without its files.", _SUMMARY)
JOBS_PAGE = record("Jobs", "A page of jobs.", {"jobs": array(JOB_SUMMARY)}, {"next": _NEXT})

_CURSOR = text("What `since` has to be to list later changes only.")
_MORE = boolean("Whether there are more by now.")
_JOB = {
    **_SUMMARY,
    "counts": members("Its files by state.", {each.name.lower(): count("") for each in FileState}),
    "bytes": members("Bytes of its files.", {"total": count("Of all."), "done": count("Of those that are on disk.")}),
    "rate": number("Bytes in a second since the first file was submitted; 0 while that is not known."),
    "estimate": or_null(_ESTIMATE),
    "trouble": or_null(
        record(
            "Trouble",
            "Why files are not recalled.",
            {
                "files": count("How many files."),
                "reason": text("Words for people."),
                "attempts": count("How often it was tried."),
                "next_try": or_null(seconds("When it is tried again.")),
            },
        )
    ),
    "most_attempts": count("After how many attempts a file has failed for good."),
    "pin": number("The longest pin that was granted, in seconds."),
    "cursor": _CURSOR,
    "links": members("Paths.", {"self": text("The job."), "files": text("Its files."), "events": text("Its events.")}),
}
_OTHERS = {"others": array(text(), "What was asked for and is no file id.")}
JOB = record("Job", "A job.", _JOB, _OTHERS)

JOB_FILE = record(
    "JobFile",
    "A file of a job.",
    {
        "file": FILE_ID,
        "state": choice("Its state.", *(each.name.lower() for each in FileState)),
        "bytes": or_null(count("Its size, if it is known.")),
        "started": or_null(seconds("When it was submitted to the storage system.")),
        "ended": or_null(seconds("When it ended.")),
        "deadline": seconds("When it will have failed."),
        "heard": or_null(seconds("When the storage system last reported on it.")),
        "attempts": count("How often it was submitted to the storage system."),
        "next_try": or_null(seconds("When it is tried again after an attempt that failed.")),
        "reason": text("Why it is in this state, for people."),
        "pinned": or_null(seconds("When its pin expires.")),
    },
)
FILES_PAGE = record(
    "JobFiles",
    "A page of the files of a job.",
    {
        "job": JOB_ID,
        "most_attempts": count("After how many attempts a file has failed for good."),
        "cursor": _CURSOR,
        "more": _MORE,
        "files": array(JOB_FILE),
    },
    {"next": _NEXT},
)
JOB_CHANGES = record(
    "JobChanges",
    "A job, and those of its files that have changed.",
    {**_JOB, "more": _MORE, "changes": array(JOB_FILE)},
    _OTHERS,
)

JOB_EVENT = {
    "anyOf": [
        JOB,
        record(
            "JobProgress",
            "A job, and those of its files that have changed.",
            {**_JOB, "changes": array(JOB_FILE)},
            _OTHERS,
        ),
        record("JobDeleted", "A job that was forgotten.", {"job": JOB_ID, "state": choice("", "deleted")}),
    ]
}
"""What an event tells."""

CANCELLED = record(
    "JobCancelled",
    "A job of which files were cancelled.",
    {
        **_JOB,
        "effect": members(
            "How many files.",
            {
                "cancelled": count("Were cancelled."),
                "cancelling": count("Will be, when the storage system agrees."),
                "ended": count("Had ended before."),
            },
        ),
    },
    _OTHERS,
)
RELEASED = record(
    "JobReleased",
    "A job of which pins were ended.",
    {
        **_JOB,
        "effect": members(
            "How many files.",
            {
                "released": count("Were pinned, and are not any more."),
                "coming": count("Have not been recalled yet, and will not be pinned."),
                "unpinned": count("Had no pin."),
            },
        ),
    },
    _OTHERS,
)

PINS_PAGE = record(
    "Pins",
    "A page of pins.",
    {
        "pins": array(
            record(
                "Pin",
                "The promise that a file stays on disk.",
                {
                    "file": FILE_ID,
                    "job": JOB_ID,
                    "owner": text("Whose it is."),
                    "bytes": count("The size of the file."),
                    "expires": seconds("When it ends."),
                    "until_read": boolean("Whether the first read of the whole file ends it."),
                },
            )
        )
    },
    {"next": _NEXT},
)

PLAN = record(
    "Plan",
    "What a job would mean.",
    {
        "message": text("All of it in words for people."),
        "files": count("Files that were asked for."),
        "on_disk": count("Those that need no recall."),
        "recalls": count("Those that have to be recalled."),
        "cartridges": count("How many cartridges they are on."),
        "bytes": integer("Bytes of the disk buffer that they take.", minimum=0),
        "estimate": _ESTIMATE,
        "missing": array(FILE_ID, "Ids that have no file."),
    },
)


def url_of(job: str) -> str:
    """The path of a job."""
    return f"/jobs/{job}"


def page_url(path: str, **parameters: object) -> str:
    return f"{path}?{urlencode({name: value for name, value in parameters.items() if value is not None})}"


def job_summary(summary: JobSummary) -> dict[str, Any]:
    running = "queued" if summary.started is None else "running"
    return {
        "job": summary.job,
        "state": running if summary.ended is None else "ended",
        "owner": summary.owner,
        "priority": summary.priority.name.lower(),
        "created": summary.created,
        "started": summary.started,
        "ended": summary.ended,
        "deadline": summary.deadline,
        "files": summary.files,
        "left": summary.left,
    }


def job_document(status: JobStatus) -> dict[str, Any]:
    url = url_of(status.summary.job)
    estimate = status.estimate
    return {
        **job_summary(status.summary),
        "counts": {state.name.lower(): count for state, count in status.counts.items()},
        "bytes": {"total": status.size, "done": status.done},
        "rate": status.rate,
        "estimate": None if estimate is None else attrs.asdict(estimate),
        "trouble": None if status.trouble is None else attrs.asdict(status.trouble),
        "most_attempts": status.most_attempts,
        "pin": status.pin,
        "cursor": status.cursor,
        **({"others": list(status.others)} if status.others else {}),
        "links": {"self": url, "files": f"{url}/files", "events": f"{url}/events"},
    }


def file_document(file: JobFile) -> dict[str, Any]:
    return {
        "file": str(file.file_id),
        "state": file.state.name.lower(),
        "bytes": file.size,
        "started": file.started,
        "ended": file.ended,
        "deadline": file.deadline,
        "heard": file.heard,
        "attempts": file.attempts,
        "next_try": file.next_try,
        "reason": file.reason,
        "pinned": file.pinned,
    }


def pin_document(pin: Pin) -> dict[str, Any]:
    return {
        "file": str(pin.file_id),
        "job": pin.job,
        "owner": pin.owner,
        "bytes": pin.size,
        "expires": pin.expires,
        "until_read": pin.until_read,
    }


def plan_document(plan: Plan) -> dict[str, Any]:
    return {
        "message": (
            f"{_counted(plan.recalls, 'file')} on {_counted(plan.media, 'cartridge')}, "
            f"about {_spoken(plan.estimate.seconds)}, {_counted(plan.size, 'byte')} of buffer"
        ),
        "files": plan.files,
        "on_disk": plan.on_disk,
        "recalls": plan.recalls,
        "cartridges": plan.media,
        "bytes": plan.size,
        "estimate": {"seconds": plan.estimate.seconds, "basis": plan.estimate.basis},
    }


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _spoken(seconds: float) -> str:
    """A duration as people say it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
