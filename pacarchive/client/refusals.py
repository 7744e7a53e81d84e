"""Answers that say no: which failure each is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pacarchive.client.errors import (
    AlreadyExists,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    InvalidRequest,
    NoSpace,
    NotFound,
    NotPermitted,
    Offline,
    PreconditionFailed,
    ProtocolError,
    ServerError,
    ServerUnavailable,
    TooLarge,
    Unauthorised,
    WrongScheme,
)
from pacarchive.client.fields import parse_challenges, parse_monitor, parse_retry_after
from pacarchive.client.words import UNNAMED

if TYPE_CHECKING:
    from pacarchive.client.wire import Answer

RETRY_AFTER = 10.0
"""What is assumed where an archive that is not available does not say."""

_KINDS: dict[int, type[ClientError]] = {
    400: InvalidRequest,
    404: NotFound,
    409: AlreadyExists,
    411: InvalidRequest,
    412: PreconditionFailed,
    413: TooLarge,
    415: InvalidRequest,
    507: NoSpace,
}

_FULL = "[Errno 28]"

# In the predecessor's mode, what went wrong is not in the status, but in the one line of the reason.
_REASONS: tuple[tuple[str, type[ClientError]], ...] = (
    ("[Errno 2]", NotFound),
    ("No such file", NotFound),
    ("[Errno 13]", AlreadyExists),
    ("digest of the body is", DigestMismatch),
    (_FULL, NoSpace),
)

_NO_RESOURCE = "No such resource"
"""How an archive's words for a path that is none of its own begin."""

_WANTS_TLS = (b"plain HTTP request was sent to HTTPS port", b"speaking plain HTTP to an SSL-enabled server port")
"""What nginx and Apache answer without TLS where they want it."""

_SILENT = {
    401: "The archive requires authentication, or does not accept the credentials.",
    403: "The archive does not allow this.",
}
"""The message for a refusal without a body, such as the answer to a HEAD."""

_CUT = ("The body ended before it was complete.", "The connection was lost.")


async def refused(answer: Answer) -> ClientError:
    """
    The failure that an answer means.

    @param answer: Its body is read.
    @raise ConnectionFailed: It breaks off.
    """
    return refusal(answer, await answer.words())


def refusal(answer: Answer, text: bytes) -> ClientError:
    """As L{refused}, of an answer whose body has been read."""
    if (failure := _misdirected(answer, text)) is not None:
        return failure
    status = answer.status
    message, reason = _words(text, _unexplained(answer))
    if status == 503:
        seconds = parse_retry_after(answer.field("Retry-After"), RETRY_AFTER)
        if (job := parse_monitor(answer.field("Link"))) is not None:
            return Offline(message, job=job, retry_after=seconds, reason=reason, status=status)
        return ServerUnavailable(message, retry_after=seconds, reason=reason, status=status)
    if status in (502, 504):
        return ServerUnavailable(
            f"A proxy before the archive answered {status}.", retry_after=RETRY_AFTER, reason=reason, status=status
        )
    if status in (401, 403):
        return _of_access(answer, text)
    if status in (400, 500) and (failure := _by_reason(status, message, reason)) is not None:
        return failure
    if status in (405, 501) and not _words(text, "")[0]:
        # What a web server says to methods that it does not have; an archive says it in a document.
        return _not_from_an_archive(answer)
    if status >= 500:
        # Of a full archive the system's words are the same once more; a quota, say, is something else.
        known = reason in message or (status == 507 and _FULL in reason)
        words = message if known else f"{message} ({reason})"
        return _KINDS.get(status, ServerError)(words, reason=reason, status=status)
    if status >= 400:
        return _KINDS.get(status, InvalidRequest)(message, reason=reason, status=status)
    return ProtocolError(f"The archive answered {status}, which was not expected.", reason=reason, status=status)


def _of_access(answer: Answer, text: bytes) -> ClientError:
    """The failure, where the caller is not authenticated, or lacks a right."""
    challenges = parse_challenges(answer.field("WWW-Authenticate"))
    parameters: dict[str, str] = {}
    for _, each in challenges:
        parameters = each | parameters
    status = answer.status
    default = parameters.get("error_description") or (_unexplained(answer) if text else _SILENT[status])
    message, reason = _words(text, default)
    if status == 403:
        return NotPermitted(message, scope=parameters.get("scope"), reason=reason, status=status)
    schemes = tuple(scheme.capitalize() for scheme, _ in challenges)
    return Unauthorised(message, schemes=schemes, renewed=answer.renewed, reason=reason, status=status)


def _by_reason(status: int, message: str, reason: str) -> ClientError | None:
    """The failure, where the reason names it and the status does not."""
    if any(words in (message, reason) for words in _CUT):
        # What the archive got was cut off, although this side lost no connection: a proxy did.
        return ConnectionFailed(message, reason=reason, status=status)
    for words, kind in _REASONS:
        if words in reason:
            # The message of the predecessor's 500 is the same for everything.
            return kind(message if status == 400 else reason, reason=reason, status=status)
    return None


def _misdirected(answer: Answer, text: bytes) -> ClientError | None:
    """The failure, where another server than an archive answers, or none at the path."""
    status = answer.status
    if status == 400 and any(each in text for each in _WANTS_TLS):
        return WrongScheme(f"{answer.url} speaks TLS: write https:// instead of http://.", status=status)
    if status == 404:
        # This client asks for no paths but those that an archive has.
        message, _ = _words(text, "")
        if not message or message.startswith(_NO_RESOURCE):
            return no_archive(answer.url)
    return None


def _not_from_an_archive(answer: Answer) -> ClientError:
    """The failure, where the answer is none of an archive's."""
    words = f"Perhaps no archive answers at {answer.url}: {answer.status} came back, from {_server(answer)}."
    kind = ServerError if answer.status >= 500 else InvalidRequest
    return kind(words, status=answer.status)


def _unexplained(answer: Answer) -> str:
    """What there is to say of an answer without a document."""
    if answer.field("Content-Type").startswith("text/html"):
        return f"{answer.status} came back as a web page, from {_server(answer)}: perhaps a proxy's, not the archive's."
    return f"The archive answered {answer.status}."


def _server(answer: Answer) -> str:
    return answer.field("Server") or UNNAMED


def no_archive(url: str) -> NotFound:
    """The failure of whoever asks for something where no archive is."""
    return NotFound(f"No archive answers at {url}: check the address and the path in it.", status=404)


def _words(text: bytes, otherwise: str) -> tuple[str, str]:
    """The message and the reason in the document of an error."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return otherwise, otherwise
    if not isinstance(document, dict):
        return otherwise, otherwise
    message = document.get("message") or document.get("detail")
    message = message if isinstance(message, str) else otherwise
    reason = document.get("traceback")
    return message, reason if isinstance(reason, str) else message
