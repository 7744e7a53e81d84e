"""The one place where the archive's failures become HTTP: the status of each kind."""

from __future__ import annotations

from http import HTTPStatus

from pacarchive import errors
from pacarchive.access.identity import TooManyFailures
from pacarchive.settings.server import Compatibility
from pacarchive.web.http.errors import PROBLEM_TYPE, UNEXPECTED, ErrorAnswer, HTTPRefusal, error_body, problem_body


class Corrupted(errors.ArchiveError):
    """The stored bytes no longer have the digest that was stored with them: the archive's failure, not the client's."""


class Unforeseen(errors.ArchiveError):
    """
    A failure of the server's own, of which the client gets to know no more than where it is in the log.

    @ivar incident: Its identifier there.
    """

    def __init__(self, incident: str) -> None:
        super().__init__(f"Incident {incident} in the server's log")
        self.incident = incident


STATUSES: dict[type[errors.ArchiveError], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.NotAFile: HTTPStatus.CONFLICT,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.KeptBehind: HTTPStatus.CONFLICT,
    errors.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.DigestMismatch: HTTPStatus.BAD_REQUEST,
    errors.IncompleteBody: HTTPStatus.BAD_REQUEST,
    errors.TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NoSpace: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.NotPermitted: HTTPStatus.FORBIDDEN,
    errors.Locked: HTTPStatus.FORBIDDEN,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QuotaReached: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Offline: HTTPStatus.SERVICE_UNAVAILABLE,
    TooManyFailures: HTTPStatus.TOO_MANY_REQUESTS,
    Corrupted: HTTPStatus.INTERNAL_SERVER_ERROR,
    Unforeseen: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""What each kind of failure is answered with."""

_PREDECESSOR_ANSWERED_500 = frozenset(STATUSES) - {
    Unforeseen,
    errors.Overloaded,
    errors.PreconditionFailed,
    errors.TooSlow,
    TooManyFailures,
}


def error_answer(error: errors.ArchiveError, compatibility: Compatibility) -> ErrorAnswer:
    """
    Turn a failure into an answer.

    @param compatibility: In C{pacifica} mode, what the predecessor answered with 500 is a 500, and the reason
        stands only in C{traceback}.
    """
    status, message = status_of(error), str(error)
    if compatibility is Compatibility.PACIFICA and _PREDECESSOR_ANSWERED_500.intersection(type(error).__mro__):
        status, message = HTTPStatus.INTERNAL_SERVER_ERROR, UNEXPECTED
    return ErrorAnswer(status, headers_of(error), error_body(status, message, error.reason))


def problem_answer(error: errors.ArchiveError) -> ErrorAnswer:
    """Turn a failure into an answer with problem details, whose status is the true one in both modes."""
    status = status_of(error)
    return ErrorAnswer(status, headers_of(error), problem_body(status, str(error)), PROBLEM_TYPE)


def kind_of(error: errors.ArchiveError) -> str:
    """What a failure is counted as, and called in the log: the status where HTTP itself refuses, else its own name."""
    if isinstance(error, HTTPRefusal):
        return f"{error.status.value} {error.status.phrase}"
    return type(error).__name__


def status_of(error: errors.ArchiveError) -> HTTPStatus:
    """The status that an error is answered with."""
    if isinstance(error, HTTPRefusal):
        return error.status
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def headers_of(error: errors.ArchiveError) -> dict[str, str]:
    """The header fields that such an answer has beside those of every answer."""
    headers = error.headers if isinstance(error, HTTPRefusal) else {}
    return {"Retry-After": str(error.retry_after), **headers} if isinstance(error, errors.Unavailable) else headers
