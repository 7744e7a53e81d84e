"""What the routes of jobs and pins say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.recall.words import Priority
from pacarchive.web.description import EVENTS, JOBS, JSON, Answer, Body, Field, Operation, field, query
from pacarchive.web.http.schemas import Named, array, boolean, choice, closed, integer, members, record, text
from pacarchive.web.job_documents import (
    CANCELLED,
    FILES_PAGE,
    JOB,
    JOB_CHANGES,
    JOB_EVENT,
    JOBS_PAGE,
    PINS_PAGE,
    PLAN,
    RELEASED,
)
from pacarchive.web.job_requests import LARGEST_PAGE, PAGE

if TYPE_CHECKING:
    from pacarchive.web.http.schemas import Schema

_FILES = array(
    {
        "anyOf": [
            integer("An id.", minimum=0, maximum=2**64 - 1),
            text("An id, or a range of ids.", pattern="^[0-9]{1,20}(-[0-9]{1,20})?$"),
        ]
    },
    'Ids, and ranges of ids: `12`, `"13"`, `"20-35"`.',
    minItems=1,
)


def _duration(words: str) -> Schema:
    return {
        "description": f"{words} A number of seconds, or text such as `PT1H` and `P7D` (ISO 8601).",
        "anyOf": [{"type": "number", "minimum": 0, "maximum": 1e10}, text(pattern="^P"), {"type": "null"}],
    }


_LIMIT = query("limit", integer(f"How many entries at the most; {PAGE} without it.", minimum=1, maximum=LARGEST_PAGE))
_OWNER = query("owner", text("Whose; those of others only for operators."))
_SINCE = query("since", text("A cursor of an earlier answer: lists what has changed after it."))
_BAD_QUERY = "A parameter is malformed, or given twice."
_OTHERS = "The owner is another."
_NO_JOB = "There is no such job, or it is another's."
_QUOTA = "The owner has as many jobs, or files in them, as one may have."

_SOME = Body(
    "Which files; without a body, all.",
    closed(members("", {}, {"files": _FILES})),
    required=False,
)

SUBMIT = Operation(
    JOBS,
    "Make a job, or say what it would mean",
    (
        Answer(200, "What the job would mean (`dry_run`); nothing is recalled.", PLAN),
        Answer(201, "The job.", JOB, (Field("Location", text("The path of the job."), always=True),)),
    ),
    words="The caller needs the right `stage` for each of the files.",
    body=Body(
        "What is recalled, and how.",
        Named(
            "JobRequest",
            closed(
                members(
                    "A job to be made.",
                    {"files": _FILES},
                    {
                        "pin": _duration("For how long each file stays on disk."),
                        "deadline": _duration("After how long what was not recalled has failed; more than zero."),
                        "priority": choice("Its priority.", *(each.name.lower() for each in Priority)),
                        "dry_run": boolean("Only says what it would mean."),
                    },
                )
            ),
        ),
    ),
    refuses={400: "The body is no such document.", 429: _QUOTA},
)

LIST = Operation(
    JOBS,
    "List jobs, the youngest first",
    (Answer(200, "A page of jobs.", JOBS_PAGE),),
    takes=(
        _OWNER,
        query("before", integer("Lists those that are older; `next` of a page has it.", minimum=0, maximum=2**63 - 1)),
        _LIMIT,
    ),
    refuses={400: _BAD_QUERY, 403: _OTHERS},
)

SHOW = Operation(
    JOBS,
    "Tell how a job stands",
    (Answer(200, "The job; with `since`, the files too that have changed.", {"anyOf": [JOB_CHANGES, JOB]}),),
    takes=(_SINCE, _LIMIT),
    refuses={400: _BAD_QUERY, 404: _NO_JOB},
)

LIST_FILES = Operation(
    JOBS,
    "List the files of a job",
    (Answer(200, "A page of files.", FILES_PAGE),),
    takes=(_SINCE, _LIMIT),
    refuses={400: _BAD_QUERY, 404: _NO_JOB},
)

FOLLOW = Operation(
    JOBS,
    "Follow a job as it changes",
    (
        Answer(
            200,
            "Server-Sent Events: `progress` with the job and its files that have changed, and `end` with the job.",
            {
                EVENTS: members(
                    "One event.",
                    {
                        "event": choice("What it is.", "progress", "end"),
                        "data": {
                            "type": "string",
                            "contentMediaType": JSON,
                            "contentSchema": JOB_EVENT,
                        },
                    },
                    {"id": text("A cursor, for `Last-Event-ID`.")},
                )
            },
            (Field("X-Accel-Buffering", choice("A proxy is to pass them on at once.", "no"), always=True),),
        ),
    ),
    takes=(
        query("since", text("A cursor of an earlier answer: begins after it.")),
        field("Last-Event-ID", text("Goes on after a lost connection.")),
    ),
    refuses={400: _BAD_QUERY, 404: _NO_JOB},
)

CANCEL = Operation(
    JOBS,
    "Cancel files of a job",
    (Answer(200, "The job, and what was done.", CANCELLED),),
    body=_SOME,
    refuses={400: "The body is no such document, or a file is not the job's.", 404: _NO_JOB},
)

RELEASE = Operation(
    JOBS,
    "End pins of a job",
    (Answer(200, "The job, and what was done.", RELEASED),),
    body=_SOME,
    refuses={400: "The body is no such document, or a file is not the job's.", 404: _NO_JOB},
)

FORGET = Operation(
    JOBS,
    "Cancel a job, end its pins, and forget it",
    (Answer(200, "It is gone; the answer has no body."),),
    refuses={404: _NO_JOB},
)

LIST_PINS = Operation(
    JOBS,
    "List pins, by file",
    (Answer(200, "A page of pins.", PINS_PAGE),),
    takes=(
        _OWNER,
        query("after", text("Lists those behind it; `next` of a page has it.", pattern="^([0-9]+-[0-9a-f]{32})?$")),
        _LIMIT,
    ),
    refuses={400: _BAD_QUERY, 403: _OTHERS},
)

UNPIN = Operation(
    JOBS,
    "End the caller's pins of a file; an operator ends everyone's",
    (
        Answer(
            200,
            "How many were ended.",
            record("Unpinned", "What was done.", {"released": integer("How many pins were ended.", minimum=0)}),
        ),
    ),
)
