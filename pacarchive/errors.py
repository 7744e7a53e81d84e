"""The errors of the archive.

Backends and engines raise these; only L{pacarchive.web.http.errors} knows the HTTP status of each.  C{str(error)} is a
message for people and is sent to clients, so it contains no server path and no secret.
"""

from __future__ import annotations


class ArchiveError(Exception):
    """
    The base of all errors of the archive.

    @param message: The message for people.
    @ivar reason: The line that the predecessor sends as the reason (C{Can't open posix file with error: ...}), which
        its clients look for.  The message itself where the predecessor has none.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = message if reason is None else reason


class NotFound(ArchiveError):
    """No file has this id, or the source of a move does not exist."""


class NotAFile(NotFound):
    """
    No file has this id, and none can be stored under it: a directory, a socket, a pipe or the like has its path, or a
    part of the path is not a directory.  An operator has to remove it.
    """


class AlreadyExists(ArchiveError):
    """The id is taken, and the overwrite policy does not allow to replace its file."""

    def __init__(self, message: str) -> None:
        # The error of the predecessor, which fails to open a file that it has made read-only.
        super().__init__(message, reason="Can't open posix file with error: [Errno 13] Permission denied")


class KeptBehind(ArchiveError):
    """The file cannot be removed: an archive that this one reads through to has it, and would bring it back."""


class PreconditionFailed(ArchiveError):
    """A condition of the request does not hold for the file (RFC 9110, section 13)."""


class InvalidRequest(ArchiveError):
    """The request is invalid: bad JSON, a bad date, a malformed range."""


class DigestMismatch(ArchiveError):
    """The bytes do not have the digest that was sent with them, or that is stored for them."""


class IncompleteBody(ArchiveError):
    """The connection ended before the body was complete."""


class TooSlow(ArchiveError):
    """The body is sent too slowly."""


class TooLarge(ArchiveError):
    """The body is larger than this server or its file system allows."""


class NoSpace(ArchiveError):
    """The storage is full, or a quota is exceeded."""


class NotPermitted(ArchiveError):
    """The source of a move is in none of the configured roots."""


class InArchive(NotPermitted):
    """The source of a move lies in the archive itself, and the caller may not take files out of it."""


class Locked(ArchiveError):
    """The storage keeps the file from being changed or removed: it is under a retention, or a legal hold."""


class Unavailable(ArchiveError):
    """
    A temporary failure: the same request may succeed later.

    @ivar retry_after: Seconds after which a retry makes sense.
    """

    def __init__(self, message: str, *, reason: str | None = None, retry_after: int = 10) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class BackendUnavailable(Unavailable):
    """The storage system does not answer, or answers with errors."""


class Overloaded(Unavailable):
    """A limit of this server is reached."""


class QuotaReached(Unavailable):
    """The owner has as many jobs or files in them as are allowed at a time."""


class Offline(Unavailable):
    """
    The bytes are on a slower level, and have to be recalled.

    @ivar job: The id of the job that recalls them; C{None} where there is none.
    """

    def __init__(self, message: str, *, job: str | None, retry_after: int) -> None:
        super().__init__(message, retry_after=retry_after)
        self.job = job


def light(error: Exception) -> Exception:
    """
    Return an error that can be kept in large numbers: the tracebacks of an L{ArchiveError} and of its cause are
    dropped, as their frames keep much memory alive.
    """
    if isinstance(error, ArchiveError):
        for each in (error, error.__cause__, error.__context__):
            if each is not None:
                each.__traceback__ = None
    return error
