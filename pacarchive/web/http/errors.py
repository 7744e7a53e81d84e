"""The one place where failures become HTTP: statuses, bodies, and the words of each.

There are two forms: the predecessor's document, and the problem details of RFC 7807, for the interfaces whose clients
know nothing of the predecessor.
"""

from __future__ import annotations

import json
from http import HTTPStatus

import attrs

from pacarchive import __version__, errors
from pacarchive.config import Compatibility


class Corrupted(errors.ArchiveError):
    """The stored bytes no longer have the digest that was stored with them: the archive's failure, not the client's."""


STATUSES: dict[type[errors.ArchiveError], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.NotAFile: HTTPStatus.CONFLICT,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.DigestMismatch: HTTPStatus.BAD_REQUEST,
    errors.IncompleteBody: HTTPStatus.BAD_REQUEST,
    errors.TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NoSpace: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.NotPermitted: HTTPStatus.FORBIDDEN,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QuotaReached: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Offline: HTTPStatus.SERVICE_UNAVAILABLE,
    Corrupted: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""What each kind of failure is answered with."""

_PREDECESSOR_ANSWERED_500 = frozenset(STATUSES) - {errors.Overloaded, errors.PreconditionFailed, errors.TooSlow}
_PREDECESSOR_MESSAGE = "The server encountered an unexpected condition which prevented it from fulfilling the request."

_PROBLEM_TYPE = "application/problem+json"


class HTTPRefusal(errors.ArchiveError):
    """
    A request that HTTP itself refuses, the same in both modes.

    @ivar status: The status of the answer.
    @ivar headers: Further header fields of the answer.
    """

    def __init__(self, status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@attrs.frozen
class ErrorAnswer:
    """A complete answer to a request that failed."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes
    content_type: str = "application/json"


def error_answer(error: errors.ArchiveError, compatibility: Compatibility) -> ErrorAnswer:
    """
    Turn a failure into an answer.

    @param compatibility: In C{pacifica} mode, what the predecessor answered with 500 is a 500, and the reason
        stands only in C{traceback}.
    """
    status, message = _status_of(error), str(error)
    if compatibility is Compatibility.PACIFICA and _PREDECESSOR_ANSWERED_500.intersection(type(error).__mro__):
        status, message = HTTPStatus.INTERNAL_SERVER_ERROR, _PREDECESSOR_MESSAGE
    return ErrorAnswer(status, _headers_of(error), error_body(status, message, error.reason))


def problem_answer(error: errors.ArchiveError) -> ErrorAnswer:
    """Turn a failure into an answer with problem details, whose status is the true one in both modes."""
    status = _status_of(error)
    return ErrorAnswer(status, _headers_of(error), problem_body(status, str(error)), _PROBLEM_TYPE)


def kind_of(error: errors.ArchiveError) -> str:
    """What a failure is counted as, and called in the log: the status where HTTP itself refuses, else its own name."""
    if isinstance(error, HTTPRefusal):
        return f"{error.status.value} {error.status.phrase}"
    return type(error).__name__


def _status_of(error: errors.ArchiveError) -> HTTPStatus:
    if isinstance(error, HTTPRefusal):
        return error.status
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def _headers_of(error: errors.ArchiveError) -> dict[str, str]:
    headers = error.headers if isinstance(error, HTTPRefusal) else {}
    return {"Retry-After": str(error.retry_after), **headers} if isinstance(error, errors.Unavailable) else headers


def unexpected_answer(incident: str) -> ErrorAnswer:
    """
    The answer to a failure of the server's own.

    @param incident: The identifier under which the failure is in the log; no detail goes to the client.
    """
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return ErrorAnswer(status, {}, error_body(status, _PREDECESSOR_MESSAGE, _incident_words(incident)))


def unexpected_problem(incident: str) -> ErrorAnswer:
    """As L{unexpected_answer}, with problem details."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return ErrorAnswer(status, {}, problem_body(status, _incident_words(incident)), _PROBLEM_TYPE)


def _incident_words(incident: str) -> str:
    return f"Incident {incident} in the server's log"


def error_body(status: HTTPStatus, message: str, reason: str) -> bytes:
    """The JSON document of every error, with the predecessor's four keys in its order."""
    document = {
        "status": f"{status.value} {status.phrase}",
        "message": message,
        "traceback": reason,
        "version": __version__,
    }
    return json.dumps(document).encode("ascii")


def problem_body(status: HTTPStatus, detail: str) -> bytes:
    """The problem details of RFC 7807; without a type, the title is the status's own phrase."""
    return json.dumps({"status": status.value, "title": status.phrase, "detail": detail}).encode("ascii")
