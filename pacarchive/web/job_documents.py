"""Stage jobs, their files, pins and plans as JSON."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import attrs

from pacarchive.recall.words import JobFile, JobStatus, JobSummary, Pin, Plan


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
