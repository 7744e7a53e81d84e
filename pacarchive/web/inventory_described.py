"""What the list of files says of itself."""

from __future__ import annotations

from pacarchive.digests import ALGORITHMS
from pacarchive.ids import MAX_FILE_ID
from pacarchive.model import Locality
from pacarchive.web.description import FILE_ID, FILES, JSON, NDJSON, Answer, Field, Operation, count, field, query
from pacarchive.web.http.schemas import array, choice, integer, members, or_null, record, text
from pacarchive.web.job_requests import LARGEST_PAGE, PAGE

_TIME = "to the nanosecond (ISO 8601); `null` for one outside the years 1 to 9999."

ENTRY = record(
    "ListedFile",
    "A file; `error` is there in place of the rest where storage fails for it.",
    {"file": FILE_ID},
    {
        "bytes": count("The size."),
        "mtime": or_null(text(f"The time of the file, {_TIME}")),
        "ctime": or_null(text(f"When it was last changed, {_TIME}")),
        "locality": choice("Where it is.", *(each.value for each in Locality)),
        "digests": members(
            "The stored digests, in hexadecimal digits; none where none was ever computed.",
            {},
            {name: text(pattern="^[0-9a-f]+$") for name in ALGORITHMS},
        ),
        "error": members("Why nothing can be told.", {"kind": text("Of the failure."), "message": text("For people.")}),
    },
)

LIST = Operation(
    FILES,
    "List the files of the archive",
    (
        Answer(
            200,
            "A page of files, which may have fewer than `limit`, or none, where there is a `next`; or, as lines, all.",
            {
                JSON: record(
                    "Files",
                    "A page of files.",
                    {"files": array(ENTRY)},
                    {"next": text("The path of the next page, if there is one.")},
                ),
                NDJSON: text("A line for each file, with what a page has of it."),
            },
            (Field("Vary", text("That `Accept` counts."), always=True),),
        ),
    ),
    words="In no certain order, and without the files for which the caller lacks the right. Opens and recalls none.",
    takes=(
        query("from", integer("The first id that is wanted.", minimum=0, maximum=MAX_FILE_ID)),
        query("to", integer("The last id that is wanted.", minimum=0, maximum=MAX_FILE_ID)),
        query("fields", text("Some of `bytes`, `mtime`, `ctime`, `locality`, `digests`, with commas; else all.")),
        query("cursor", text("Where to go on; `next` of a page has it.")),
        query(
            "limit",
            integer(f"How many files at the most; {PAGE} without it. For pages.", minimum=1, maximum=LARGEST_PAGE),
        ),
        field("Accept", text(f"`{NDJSON}`: all files, a line each, instead of a page.")),
    ),
    refuses={
        400: "A parameter is malformed, or given twice; or the storage has no place of this cursor.",
        501: "The storage cannot list its files.",
        503: "Too many lists are made at a time, for this client or for all.",
    },
)
