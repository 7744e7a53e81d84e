"""What a route says of itself: what it does, what it takes, and what it answers.

Each route is declared with an L{Operation} (L{pacarchive.web.routing.Router.answers}).  What all routes have in common,
what follows from the right that one needs, from its method and from its body, is not written here: it is added where
the description of the whole API is made of them (L{pacarchive.web.openapi}).

A route that lists things, say, in C{thing_documents.py} beside the function that makes the document::

    THINGS = record("Things", "A page of things.", {"things": array(THING)}, {"next": NEXT})

and with the route::

    LIST = Operation(
        THINGS_TAG,
        "List things, the youngest first",
        (Answer(200, "A page of them.", THINGS),),
        takes=(query("limit", integer("How many at the most.", minimum=1, maximum=100)),),
        refuses={400: "C{limit} is no such number."},
    )
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from pacarchive.web.http.schemas import AnySchema, Named, Schema, integer, text

JSON = "application/json"
BYTES = "application/octet-stream"
XML = "application/xml"
EVENTS = "text/event-stream"
NDJSON = "application/x-ndjson"


@attrs.frozen
class Tag:
    """
    What an operation is about; the pages of the API are in the order of these.

    @ivar name: One or two words.
    @ivar words: A sentence.
    """

    name: str
    words: str


SERVER = Tag("server", "Whether the server is there and well, and what it can do.")
FILES = Tag("files", "Files, by their ids.")
JOBS = Tag("jobs", "Recalls of many files from tape, and the pins that keep them on disk.")
TAPE = Tag("tape", "The WLCG Tape REST API, for the clients of the grid.")
TAGS = (SERVER, FILES, JOBS, TAPE)


@attrs.frozen
class Parameter:
    """
    A part of a request beside its body; made by L{query}, L{field} and L{path}.

    @ivar where: C{query}, C{header} or C{path}.
    """

    name: str
    where: str
    schema: Schema
    required: bool = False


def query(name: str, schema: Schema, *, required: bool = False) -> Parameter:
    """A parameter of the URL; the schema's words are its own."""
    return Parameter(name, "query", schema, required)


def field(name: str, schema: Schema, *, required: bool = False) -> Parameter:
    """A header field of the request; the schema's words are its own."""
    return Parameter(name, "header", schema, required)


def path(name: str, schema: Schema) -> Parameter:
    """A part of the URL's path, where it is not among L{PATHS}."""
    return Parameter(name, "path", schema, required=True)


def _contents(given: AnySchema | Mapping[str, AnySchema] | None) -> Mapping[str, AnySchema]:
    """JSON, where nothing else is said: a mapping whose keys are media types has a slash in each."""
    if given is None:
        return {}
    if isinstance(given, Named) or not all("/" in key for key in given):
        return {JSON: given}
    return given


@attrs.frozen
class Field:
    """
    A header field of an answer.

    @ivar always: Whether each such answer has it.
    """

    name: str
    schema: Schema
    always: bool = False


@attrs.frozen
class Answer:
    """
    An answer with which a request is done.

    @ivar status: Its status.
    @ivar words: When it is given, and what it means.
    @ivar content: The schema of its body by media type; a schema alone is that of JSON.
    @ivar fields: Its header fields, but for those that every answer has.
    """

    status: int
    words: str
    content: Mapping[str, AnySchema] = attrs.field(default=None, converter=_contents)
    fields: tuple[Field, ...] = ()


@attrs.frozen
class Body:
    """
    The body of a request.

    @ivar words: What it is.
    @ivar content: Its schema by media type; a schema alone is that of JSON.
    @ivar required: Whether there must be one.
    """

    words: str
    content: Mapping[str, AnySchema] = attrs.field(converter=_contents)
    required: bool = True


@attrs.frozen
class Operation:
    """
    What a route does.

    @ivar tag: What it is about.
    @ivar summary: What it does, in the imperative, without a full stop.
    @ivar gives: Its answers where all went well.
    @ivar words: What else there is to say, in Markdown.
    @ivar takes: What it looks at in the URL's query and in the header; what is in the path is known by L{PATHS}.
    @ivar body: The body that it takes; C{None} where it takes none.
    @ivar refuses: Why it refuses a request, by status, beside the reasons that follow from what it needs and takes.
    """

    tag: Tag
    summary: str
    gives: tuple[Answer, ...]
    words: str = ""
    takes: tuple[Parameter, ...] = ()
    body: Body | None = None
    refuses: Mapping[int, str] = attrs.field(factory=dict)


FILE_ID = text(
    "The id of a file: an integer below 2^64 in plain decimal digits. As text: not every JSON reader keeps 64 bits.",
    pattern="^(0|[1-9][0-9]{0,19})$",
    examples=["12345"],
)
JOB_ID = text("The id of a job: 32 hexadecimal digits.", pattern="^[0-9a-f]{32}$")

PATHS: Mapping[str, Schema] = {"file_id": FILE_ID, "job": JOB_ID}
"""What the parts of paths are, where a route does not say so itself."""

VARIABLE = re.compile("<(?:[a-z_]+:)?([a-z_]+)>")
"""Such a part, in the URL pattern of a route."""


def path_template(url: str) -> str:
    """The URL pattern of a route as OpenAPI writes it, and OpenTelemetry."""
    return VARIABLE.sub(r"{\1}", url)


def options(tag: Tag) -> Operation:
    """That of OPTIONS, wherever it is."""
    return Operation(
        tag,
        "Tell what this URL answers to",
        (Answer(204, "`Allow` has the methods.", fields=(Field("Allow", text("Methods."), always=True),)),),
    )


def seconds(words: str) -> Schema:
    """A moment."""
    return {"type": "number", "description": f"{words} Seconds since 1970."}


def count(words: str) -> Schema:
    """How many."""
    return integer(words, minimum=0)
