"""What the routes of the WLCG Tape REST API say of themselves."""

from __future__ import annotations

from pacarchive.model import Locality
from pacarchive.web.description import JOB_ID, TAPE, Answer, Body, Field, Operation, path
from pacarchive.web.http.schemas import array, choice, integer, members, record, text

_PATH = text("The path of a file's URL: `/ID`. Whatever else is asked for is told as a file that does not exist.")
_NO_REQUEST = "There is no such stage request, or it is another's."
_NO_LIST = "The body is no such document."
_NOT_THE_JOBS = "The body is no such document, or a path is none of the request's; nothing has changed."
_DONE = (Answer(200, "It was done; the answer has no body."),)
_PATHS = Body("Which files.", record("TapePaths", "Paths of files.", {"paths": array(_PATH)}))

DISCOVER = Operation(
    TAPE,
    "Tell where the API is",
    (
        Answer(
            200,
            "Where it is.",
            record(
                "TapeEndpoints",
                "Where the API is.",
                {
                    "sitename": text("The name of the site."),
                    "description": text("What serves it."),
                    "endpoints": array(
                        members(
                            "",
                            {
                                "uri": text("Where it is."),
                                "version": choice("Its version.", "v1"),
                                "metadata": members("Nothing.", {}),
                            },
                        )
                    ),
                },
            ),
        ),
    ),
)

STAGE = Operation(
    TAPE,
    "Recall files",
    (
        Answer(
            201,
            "They are being recalled.",
            record("TapeRequest", "A stage request.", {"requestId": JOB_ID}),
            (Field("Location", text("The URL of the stage request."), always=True),),
        ),
    ),
    words="The caller needs the right `stage` for each of the files.",
    body=Body(
        "Which files, and for how long they stay on disk.",
        record(
            "TapeStage",
            "Files to recall.",
            {
                "files": array(
                    members(
                        "",
                        {"path": _PATH},
                        {"diskLifetime": text("For how long it stays on disk (ISO 8601): `PT1H`.", pattern="^P")},
                    ),
                    minItems=1,
                )
            },
        ),
    ),
    refuses={400: _NO_LIST, 429: "The caller has as many recalls as one may have."},
)

_AT = "in seconds since 1970"

STATUS = Operation(
    TAPE,
    "Tell how a stage request stands",
    (
        Answer(
            200,
            "How it stands.",
            record(
                "TapeStatus",
                "How a stage request stands.",
                {
                    "id": JOB_ID,
                    "createdAt": integer(f"When it was made, {_AT}."),
                    "startedAt": integer(f"When its first file was submitted, {_AT}; before that, when it was made."),
                    "files": array(
                        members(
                            "",
                            {
                                "path": _PATH,
                                "state": choice(
                                    "How it stands.", "SUBMITTED", "STARTED", "COMPLETED", "FAILED", "CANCELLED"
                                ),
                            },
                            {
                                "startedAt": integer(f"When it was submitted, {_AT}."),
                                "finishedAt": integer(f"When it ended, {_AT}."),
                                "error": text("Why it failed.", minLength=1),
                            },
                        )
                    ),
                },
                {"completedAt": integer(f"When its last file ended, {_AT}.")},
            ),
        ),
    ),
    refuses={404: _NO_REQUEST},
)

FORGET = Operation(TAPE, "Cancel a stage request, and forget it", _DONE, refuses={404: _NO_REQUEST})

CANCEL = Operation(
    TAPE,
    "Cancel files of a stage request",
    _DONE,
    body=_PATHS,
    refuses={400: _NOT_THE_JOBS, 404: _NO_REQUEST},
)

RELEASE = Operation(
    TAPE,
    "End pins of a stage request",
    _DONE,
    takes=(path("job", text("The id of a stage request, or `gfal2-placeholder-id`, for which nothing is done.")),),
    body=_PATHS,
    refuses={400: _NOT_THE_JOBS, 404: _NO_REQUEST},
)

ARCHIVEINFO = Operation(
    TAPE,
    "Tell where files are",
    (
        Answer(
            200,
            "Where they are, in the order in which they were asked for; each once.",
            array(
                record(
                    "TapeLocality",
                    "Where a file is, or why that is not told.",
                    {"path": _PATH},
                    {
                        "locality": choice("Where it is.", *(each.value for each in Locality)),
                        "error": text("Why that is not told.", minLength=1),
                    },
                )
            ),
        ),
    ),
    words="Nothing is recalled.",
    body=_PATHS,
    refuses={400: _NO_LIST},
)
