"""What the routes of files say of themselves."""

from __future__ import annotations

from pacarchive.web.description import BYTES, FILE_ID, FILES, JSON, XML, Answer, Body, Field, Operation, field, query
from pacarchive.web.http.schemas import choice, integer, members, record, text

# What requests have

IF_MATCH = field("If-Match", text("Does it only if the file is in one of these versions (entity tags)."))
IF_NONE_MATCH = field("If-None-Match", text("Entity tags of versions that the client has."))
IF_FREE = field("If-None-Match", text("`*`: does it only if the id is free.", pattern=r"^\*$"))
PREFER = field(
    "Prefer",
    text("`wait=N`: waits up to N seconds for a file that is on tape. `respond-async`: does not wait."),
)
DIGESTS = (
    field("Content-MD5", text("The MD5 of the body, in base64, which it is compared with.")),
    field("Digest", text("Digests of the body (RFC 3230), which it is compared with.")),
    field("Content-Digest", text("Digests of the body (RFC 9530), which it is compared with.")),
    field("Repr-Digest", text("Digests of the body (RFC 9530), which it is compared with.")),
    field("Trailer", text("Which of these fields follow the body, if it is sent in chunks.")),
)
WANT_DIGESTS = (
    field("Want-Repr-Digest", text("Asks for the digest (RFC 9530): `sha-256=1`.")),
    field("Want-Digest", text("Asks for the digest (RFC 3230): `sha-256`.")),
)

# What answers have

ETAG = Field("ETag", text("The version of the file.", pattern='^"[^"]*"$'), always=True)
MTIME = Field("X-Pacarchive-Mtime", text("The time of the file, to the nanosecond (ISO 8601)."))
TIME = Field("Last-Modified", text("The time of the file, not later than now."), always=True)
ACCEPT_RANGES = Field("Accept-Ranges", choice("Parts can be asked for.", "bytes"), always=True)
WANTED_DIGESTS = (
    Field("Repr-Digest", text("The digest of the whole file, if it was asked for and is known.")),
    Field("Digest", text("The digest of the whole file, if it was asked for and is known.")),
)
APPLIED = Field("Preference-Applied", text("Which preference counted."))
LINK = Field("Link", text('The job that brings the file from tape, with `rel="monitor"`.'))
VERSION = (ETAG, TIME, MTIME)

_NO_FILE = "No file has this id."
_PLACE = "Something that is no file has the place of this id in the storage."
_CONDITION = "A condition of the request does not hold."
_FULL = "The storage is full."
_LACKS = "A file that is there may not be replaced by the caller."
_QUOTA = "The caller has as many recalls as one may have."

HEAD = Operation(
    FILES,
    "Tell about a file",
    (
        Answer(
            204,
            "The file is there. The names and forms of the fields are the predecessor's.",
            fields=(
                Field("X-Pacifica-Messsage", text("`File was found`; the three s are right."), always=True),
                Field("X-Pacifica-File", text("The path in the storage system."), always=True),
                Field("X-Content-Length", integer("The size in bytes.", minimum=0), always=True),
                Field("Last-Modified", text("The time of the file, in seconds since 1970."), always=True),
                Field("X-Pacifica-Ctime", text("When it was last changed, in seconds since 1970."), always=True),
                Field(
                    "X-Pacifica-Bytes-Per-Level",
                    text("How many bytes are on each level of the storage, the fastest first: `(36,)`, `(0, 36)`."),
                    always=True,
                ),
                Field(
                    "X-Pacifica-File-Storage-Media",
                    choice("Where it would be read from.", "disk", "tape", "error"),
                    always=True,
                ),
                Field(
                    "X-Pacarchive-Locality",
                    choice("Where it is.", "DISK", "TAPE", "DISK_AND_TAPE", "LOST", "NONE", "UNAVAILABLE"),
                    always=True,
                ),
                MTIME,
                ETAG,
                ACCEPT_RANGES,
                *WANTED_DIGESTS,
            ),
        ),
    ),
    words="Nothing is recalled.",
    takes=WANT_DIGESTS,
    refuses={404: _NO_FILE, 409: _PLACE, 507: _FULL},
)

GET = Operation(
    FILES,
    "Read a file, or a part of it",
    (
        Answer(
            200,
            "The file; or the part that `byte_range` names.",
            {BYTES: {}},
            (*VERSION, ACCEPT_RANGES, *WANTED_DIGESTS, APPLIED),
        ),
        Answer(
            206,
            "The part that `Range` names.",
            {BYTES: {}},
            (
                *VERSION,
                ACCEPT_RANGES,
                Field("Content-Range", text("Which part it is, and of how many bytes."), always=True),
                *WANTED_DIGESTS,
                APPLIED,
            ),
        ),
        Answer(304, "The file is still the one that the client has.", fields=VERSION),
    ),
    words="A file on tape is recalled, for which the caller needs the right `stage`; meanwhile the answer is 503.",
    takes=(
        query(
            "byte_range",
            text("The predecessor's range, whose end is not included: `0-100`.", pattern="^([0-9]+-[0-9]+)?$"),
        ),
        field(
            "Range", text("One range (RFC 9110): `bytes=0-99`. Of several, and of what is malformed, nothing is made.")
        ),
        field("If-Range", text("The version that the range is of; of another the whole file is sent.")),
        IF_MATCH,
        IF_NONE_MATCH,
        field("If-Modified-Since", text("A date: asks for the file only if it was stored later.")),
        field("If-Unmodified-Since", text("A date: asks for the file only if it was not stored later.")),
        PREFER,
        *WANT_DIGESTS,
    ),
    refuses={
        400: "`byte_range` is malformed.",
        404: _NO_FILE,
        409: _PLACE,
        412: _CONDITION,
        416: "The range lies beyond the end of the file.",
        429: _QUOTA,
        500: "The stored bytes are not those that were stored.",
        503: "The file is on tape, and is being recalled; `Link` has the job.",
        507: _FULL,
    },
)

PUT = Operation(
    FILES,
    "Store a file",
    (
        Answer(
            201,
            "The file is stored, complete and on stable storage.",
            record(
                "Stored",
                "What was stored.",
                {
                    "message": choice("The predecessor's words.", "File added to archive"),
                    "total_bytes": integer("How many bytes were stored.", minimum=0),
                },
            ),
            (
                Field("Location", text("The path of the file."), always=True),
                ETAG,
                MTIME,
                Field("Repr-Digest", text("The digest of what was stored (RFC 9530)."), always=True),
                Field("X-Pacarchive-Durability", choice("It is not on stable storage yet, by a setting.", "relaxed")),
            ),
        ),
    ),
    words="A file that is there is replaced, if the settings have it so and the caller has the right `modify`.",
    takes=(
        field(
            "Last-Modified", text("The time of the file: a date in any form of HTTP's, or ISO 8601. Without it, now.")
        ),
        IF_MATCH,
        IF_FREE,
        *DIGESTS,
    ),
    body=Body("The file, of any media type, in chunks or with a length.", {"*/*": {}}),
    refuses={
        400: "A date, a condition or a digest is malformed, or what came is not what was said; nothing is stored.",
        403: _LACKS,
        409: f"The id is taken, and is to stay as it is. {_PLACE}",
        411: "The body has neither a length, nor is it sent in chunks.",
        412: _CONDITION,
        415: "The body has a coding, and is to be stored as it is sent.",
        507: _FULL,
    },
)

_STAGED = {
    "message": choice("The predecessor's words.", "File was staged"),
    "file": FILE_ID,
}

POST = Operation(
    FILES,
    "Bring a file to disk",
    (
        Answer(200, "The file is on disk.", record("Staged", "A file that is on disk.", _STAGED), (APPLIED,)),
        Answer(
            202,
            "The file is on tape, and is being recalled.",
            record(
                "Staging",
                "A file that is being recalled.",
                {
                    "message": choice("Words for people.", "File is being staged"),
                    "file": FILE_ID,
                    "job": text("The path of the job that brings it."),
                    "retry_after": integer("Seconds after which it is worth asking again.", minimum=0),
                },
                {"reason": text("Why the last attempt to recall it failed.")},
            ),
            (
                Field("Location", text("The path of the job."), always=True),
                Field("Retry-After", integer("Seconds after which it is worth asking again."), always=True),
                LINK,
                APPLIED,
            ),
        ),
    ),
    words="A form is taken for no body, as curl makes one of anything.",
    takes=(PREFER,),
    refuses={404: _NO_FILE, 409: _PLACE, 429: _QUOTA, 507: _FULL},
)

PATCH = Operation(
    FILES,
    "Move a file that lies in the storage already to this id",
    (
        Answer(
            200,
            "It was moved.",
            record(
                "Moved",
                "A file that was moved.",
                {"message": choice("The predecessor's words.", "File Moved Successfully")},
            ),
        ),
    ),
    words=(
        "A file that is there is replaced as a PUT does. A source within the archive itself takes the right "
        "`modify` for all ids."
    ),
    takes=(IF_MATCH, IF_FREE),
    body=Body(
        "What is moved.",
        {
            kind: members("", {"path": text("The source, an absolute path.", minLength=1)})
            for kind in (JSON, "text/javascript")
        },
    ),
    refuses={
        400: "The body is no such document, or a condition is malformed.",
        403: f"The source is outside of the directories from which files may be taken. {_LACKS}",
        404: "There is no such source.",
        409: f"The id is taken, and is to stay as it is; or the source is no file. {_PLACE}",
        412: _CONDITION,
        507: _FULL,
    },
)

DELETE = Operation(
    FILES,
    "Remove a file",
    (Answer(200, "It is gone; the answer has no body."),),
    takes=(IF_MATCH,),
    refuses={400: "A condition is malformed.", 404: _NO_FILE, 409: _PLACE, 412: _CONDITION, 507: _FULL},
)

DEPTH = field("Depth", choice("How deep to look: the URL alone, or also what is in it.", "0", "1"))

PROPFIND = Operation(
    FILES,
    "Tell a WebDAV client about a file",
    (Answer(207, "A multistatus with size, date and entity tag.", {XML: text()}),),
    words="A body is not looked at.",
    takes=(DEPTH,),
    refuses={403: "`Depth` is another.", 404: _NO_FILE, 409: _PLACE, 507: _FULL},
)
