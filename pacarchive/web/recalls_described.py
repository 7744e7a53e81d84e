"""What the routes of the queue of recalls say of themselves."""

from __future__ import annotations

from pacarchive.recall.views import CartridgeOrder
from pacarchive.recall.words import Priority
from pacarchive.web.description import JOBS, Answer, Body, Operation, query, seconds
from pacarchive.web.http.schemas import boolean, choice, integer, or_null, record, text
from pacarchive.web.job_documents import JOB
from pacarchive.web.job_requests import LARGEST_PAGE, PAGE
from pacarchive.web.recall_documents import CARTRIDGES, HOLD, HOLDS, KINDS, OVERVIEW, OWNERS, RETRIED

_LIMIT = query("limit", integer(f"How many entries at the most; {PAGE} without it.", minimum=1, maximum=LARGEST_PAGE))
_AFTER = query("after", text("Lists those behind it; `next` of a page has it."))
_BAD_QUERY = "A parameter is malformed, or given twice."
_OTHERS = "It is another's."

_REASON = text("Why, for others to read.", maxLength=250)
_UNTIL = {
    "description": "For how long: a number of seconds, or text such as `PT1H` and `P7D` (ISO 8601).",
    "anyOf": [{"type": "number", "minimum": 0, "maximum": 1e10}, text(pattern="^P"), {"type": "null"}],
}

OVERVIEW_OF_ALL = Operation(
    JOBS,
    "Tell how the queue of recalls stands",
    (Answer(200, "All of it, at most some seconds old.", OVERVIEW),),
    words="For operators: the caller needs the right `admin` for all files.",
    refuses={403: "The caller is no operator."},
)

LIST_CARTRIDGES = Operation(
    JOBS,
    "List cartridges that files wait for",
    (Answer(200, "A page of cartridges, with those that are held.", CARTRIDGES),),
    words="Whoever is no operator sees how many of one's own files wait for them.",
    takes=(
        query("owner", text("Whose files count; those of others only for operators.")),
        query("order", choice("How they are sorted.", *(each.value for each in CartridgeOrder))),
        _AFTER,
        _LIMIT,
    ),
    refuses={400: _BAD_QUERY, 403: _OTHERS},
)

LIST_OWNERS = Operation(
    JOBS,
    "List owners of jobs, and what they wait for",
    (Answer(200, "A page of owners, by name.", OWNERS),),
    words="Whoever is no operator sees only oneself.",
    takes=(query("owner", text("The only one; others only for operators.")), _AFTER, _LIMIT),
    refuses={400: _BAD_QUERY, 403: _OTHERS},
)

LIST_HOLDS = Operation(JOBS, "List what operators hold", (Answer(200, "All holds, as they are now.", HOLDS),))

PUT_HOLD = Operation(
    JOBS,
    "Hold a cartridge, drives or everything",
    (Answer(200, "The hold; it replaces an earlier one of the same.", HOLD),),
    words="Nothing that is held is submitted to the storage system after the answer; what was, is recalled all the "
    "same. For operators: the caller needs the right `admin` for all files.",
    body=Body(
        "What is held.",
        record(
            "HoldRequest",
            "A hold to be made.",
            {"kind": choice("What is held.", *KINDS)},
            {
                "cartridge": text("Which, for this kind.", minLength=1, maxLength=250),
                "drives": integer("How many drives may still be used, for this kind.", minimum=0, maximum=100_000),
                "why": or_null(_REASON),
                "for": _UNTIL,
            },
        ),
    ),
    refuses={400: "The body is no such document.", 403: "The caller is no operator."},
)

END_HOLD = Operation(
    JOBS,
    "End a hold",
    (Answer(200, "What is still held.", HOLDS),),
    words="For operators: the caller needs the right `admin` for all files.",
    takes=(
        query("kind", choice("What is held.", *KINDS), required=True),
        query("cartridge", text("Which, for this kind.")),
        query("why", text("Why, for the audit file.")),
    ),
    refuses={400: _BAD_QUERY, 403: "The caller is no operator.", 404: "There is no such hold."},
)

RETRY = Operation(
    JOBS,
    "Retry what has failed",
    (Answer(200, "What was done, or would be.", RETRIED),),
    words="Requests that have failed are made again, also those of jobs that have ended; files that were to be tried "
    "again after a pause are tried now. Whoever is no operator retries only one's own.",
    body=Body(
        "Which; an empty object is all. With `dry_run`, they are only counted.",
        record(
            "RetryRequest",
            "What is retried.",
            {},
            {
                "cartridge": or_null(text("Files of one cartridge.", maxLength=250)),
                "owner": or_null(text("Those of one owner.")),
                "reason": or_null(text("Those that failed for this reason, in the same words.")),
                "since": or_null(seconds("Those that failed since then.")),
                "job": or_null(text("Those of one job.", pattern="^[0-9a-f]{32}$")),
                "dry_run": boolean("Only counts them."),
                "why": or_null(_REASON),
            },
        ),
    ),
    refuses={400: "The body is no such document.", 403: _OTHERS, 404: "There is no such job."},
)

CHANGE = Operation(
    JOBS,
    "Change the priority of a job",
    (Answer(200, "The job.", JOB),),
    body=Body(
        "What is changed.",
        record(
            "JobChange",
            "A change of a job.",
            {"priority": choice("Its priority from now on.", *(each.name.lower() for each in Priority))},
            {"why": or_null(_REASON)},
        ),
    ),
    refuses={400: "The body is no such document.", 404: "There is no such job, or it is another's."},
)
