"""Refusals of HTTP itself, and the two forms that every error is told in.

There are two forms: the predecessor's document, and the problem details of RFC 7807, for the interfaces whose clients
know nothing of the predecessor.
"""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus

import attrs

from pacarchive import __version__, errors
from pacarchive.web.http.schemas import integer, record, text

UNEXPECTED = "The server encountered an unexpected condition which prevented it from fulfilling the request."
"""The predecessor's words for whatever was its own failure."""

PROBLEM_TYPE = "application/problem+json"
"""The media type of problem details."""

ERROR = record(
    "Error",
    "Why a request was not done.",
    {
        "status": text("The status of the answer, with its phrase.", pattern="^[45][0-9]{2} "),
        "message": text("What is wrong, for people."),
        "traceback": text("The reason in one line, as the predecessor wrote it; never a traceback."),
        "version": text("The version of the server."),
    },
)

PROBLEM = record(
    "Problem",
    "Why a request was not done (problem details, RFC 7807).",
    {
        "status": integer("The status of the answer.", minimum=400, maximum=599),
        "title": text("Its phrase."),
        "detail": text("What is wrong, for people."),
    },
)


class HTTPRefusal(errors.ArchiveError):
    """
    A request that HTTP itself refuses, the same in both modes.

    @ivar status: The status of the answer.
    @ivar headers: Further header fields of the answer.
    @ivar logged: What the log says, which may be more than the caller is told.
    """

    def __init__(
        self, status: HTTPStatus, message: str, headers: dict[str, str] | None = None, *, logged: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.logged = message if logged is None else logged


@attrs.frozen
class ErrorAnswer:
    """A complete answer to a request that failed."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes
    content_type: str = "application/json"


def unexpected_answer(incident: str) -> ErrorAnswer:
    """
    The answer to a failure of the server's own.

    @param incident: The identifier under which the failure is in the log; no detail goes to the client.
    """
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return ErrorAnswer(status, {}, error_body(status, UNEXPECTED, _incident_words(incident)))


def unexpected_problem(incident: str) -> ErrorAnswer:
    """As L{unexpected_answer}, with problem details."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return ErrorAnswer(status, {}, problem_body(status, _incident_words(incident)), PROBLEM_TYPE)


def _incident_words(incident: str) -> str:
    return f"Incident {incident} in the server's log"


@lru_cache(256)
def error_body(status: HTTPStatus, message: str, reason: str) -> bytes:
    """The JSON document of every error, with the predecessor's four keys in its order."""
    document = {
        "status": f"{status.value} {status.phrase}",
        "message": message,
        "traceback": reason,
        "version": __version__,
    }
    return json.dumps(document).encode("ascii")


@lru_cache(256)
def problem_body(status: HTTPStatus, detail: str) -> bytes:
    """The problem details of RFC 7807; without a type, the title is the status's own phrase."""
    return json.dumps({"status": status.value, "title": status.phrase, "detail": detail}).encode("ascii")
