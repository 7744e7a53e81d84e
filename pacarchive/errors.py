"""What can go wrong, in the archive's own words.

Backends and engines raise these; only L{pacarchive.web.http.errors} knows which HTTP status each becomes.
C{str(error)} is for a person and goes to clients, so it names no server path and holds no secret.
"""

from __future__ import annotations


class ArchiveError(Exception):
    """
    The root of the tree.

    @ivar reason: The one line that the predecessor gave as the reason (C{Can't open posix file with error:
        ...}); tools of its family look for it.  The message itself where the predecessor had none.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = message if reason is None else reason


class NotFound(ArchiveError):
    """No file has this id, or the source of a move is not there."""


class NotAFile(NotFound):
    """
    No file has this id, nor can one get it: a directory, a socket, a pipe or the like is in its place, or something
    that is no directory is on the way there.  An operator has to remove it.
    """


class AlreadyExists(ArchiveError):
    """The id is taken and the overwrite policy keeps it."""

    def __init__(self, message: str) -> None:
        # What the predecessor's open() of a protected file ran into.
        super().__init__(message, reason="Can't open posix file with error: [Errno 13] Permission denied")


class PreconditionFailed(ArchiveError):
    """The file is not in the state that the caller made a condition (RFC 9110, section 13)."""


class InvalidRequest(ArchiveError):
    """The request cannot mean anything: bad JSON, a bad date, a malformed range."""


class DigestMismatch(ArchiveError):
    """The bytes do not have the digest that was given with them, or stored for them."""


class IncompleteBody(ArchiveError):
    """The sender stopped before the body was complete."""


class TooSlow(ArchiveError):
    """Too little of the body comes in too long a time."""


class TooLarge(ArchiveError):
    """The body is larger than this server or its file system takes."""


class NoSpace(ArchiveError):
    """The storage is full, or a quota is reached."""


class NotPermitted(ArchiveError):
    """Outside what this server may touch: a source that is in no configured root."""


class Unavailable(ArchiveError):
    """
    Passing trouble: the same request can succeed later.

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
    """The caller has as much as one may have, until some of that has ended."""


class Offline(Unavailable):
    """
    The bytes are on a slower level; a recall is under way.

    @ivar job: The recall's job id, or C{None} where the backend recalls by itself.
    """

    def __init__(self, message: str, *, job: str | None, retry_after: int) -> None:
        super().__init__(message, retry_after=retry_after)
        self.job = job


def light(error: Exception) -> Exception:
    """
    An error to keep as one of many: one that was foreseen does without the frames that it and its cause went through,
    which hold much, and each other.
    """
    if isinstance(error, ArchiveError):
        for each in (error, error.__cause__, error.__context__):
            if each is not None:
                each.__traceback__ = None
    return error
