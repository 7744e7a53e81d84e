"""What can go wrong for a client, and what to do about it.

C{str(error)} says what happened, L{ClientError.advice} what to do.  Trouble with local files stays C{OSError}.
"""

from __future__ import annotations

from typing import ClassVar

from pacarchive import errors


class ClientError(errors.ArchiveError):
    """
    The root of the tree.

    @cvar advice: What to do about it, for a person.
    @ivar status: The status that the archive answered with; C{None} where no answer tells.
    @ivar reason: The archive's one line for tools of the predecessor's family, or the message.
    """

    advice: ClassVar[str] = "Look into the archive's log, or ask whoever runs it."

    def __init__(self, message: str, *, reason: str | None = None, status: int | None = None) -> None:
        super().__init__(message, reason=reason)
        self.status = status


# what the archive says


class NotFound(ClientError):
    """No file has this id, there is no such job, or the source of a move is not there."""

    advice = "Check the id. A file that was put is there from the moment that put() returned."


class Offline(ClientError):
    """
    The file is on tape; a recall is under way.

    @ivar job: The recall's job, for L{ArchiveClient.wait_for}; C{None} where the archive gives none.
    @ivar retry_after: Seconds after which it is worth asking again.
    """

    advice = "Wait for the job with wait_for() and get the file again, or give get() a wait in seconds."

    def __init__(
        self,
        message: str,
        *,
        job: str | None,
        retry_after: float,
        reason: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.job = job
        self.retry_after = retry_after


class AlreadyExists(ClientError):
    """The id is taken, and this archive keeps what it has."""

    advice = "Use another id, or compare status(id).digests with your file's: it may be there already."


class PreconditionFailed(ClientError):
    """The file is not in the state that if_absent or if_match made a condition."""

    advice = "Somebody else changed the file. Ask for its status(), and decide again."


class InvalidRequest(ClientError):
    """The archive cannot make sense of the request."""

    advice = "Do as the message says before asking again."


class DigestMismatch(ClientError):
    """
    The bytes are not those that were sent: something between here and the archive's disk has changed them.

    @ivar stored: Whether wrong bytes are in the archive under the id now.
    """

    advice = "Try again. If it happens again, use TLS, and look for a broken proxy, network card or memory."

    def __init__(
        self, message: str, *, stored: bool = False, reason: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.stored = stored


class NotVerifiable(ClientError):
    """The archive knows no digest of the file, so nothing tells whether the bytes are right."""

    advice = "Have the archive compute it ('pacarchive admin digest'), or get the file with verify=False."


class TooLarge(ClientError):
    """The file, or the request, is larger than the archive takes."""

    advice = "Split it, or have the archive's limits raised."


class NoSpace(ClientError):
    """The archive is full, or a quota is reached."""

    advice = "Tell whoever runs the archive; nothing was stored."


class Unauthorised(ClientError):
    """
    The archive requires authentication, or does not accept the token, password or certificate.

    @ivar schemes: What the archive accepts, as far as it says: C{Bearer} for a token, C{Basic} for a user and a
        password, C{Certificate} for a client certificate.
    @ivar renewed: Whether there is another token now, so that the same call may succeed: it was not repeated
        automatically, as the source of the put can be read only once and a part of it was sent.
    """

    advice = "Give a token, a user and a password, or a client certificate; a token may have expired."

    def __init__(
        self,
        message: str,
        *,
        schemes: tuple[str, ...] = (),
        renewed: bool = False,
        reason: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.schemes = schemes
        self.renewed = renewed


class NotPermitted(ClientError):
    """
    The archive does not let this caller do that, or the source of a move is outside of its roots.

    @ivar scope: The scope that the caller's token lacks, where the archive names it.
    """

    advice = "Ask whoever runs the archive for the right to do this; a move must begin in one of its roots."

    def __init__(
        self, message: str, *, scope: str | None = None, reason: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.scope = scope


class TokenUnusable(ClientError):
    """The file or function that a token is read from gives no valid token.  Nothing was sent."""

    advice = "Obtain a new token; perhaps the one that was there has expired."


class ServerUnavailable(ClientError):
    """
    The archive says that it cannot do it just now, and went on saying so for all tries.

    @ivar retry_after: Seconds after which it is worth asking again.
    """

    advice = "Try again later."

    def __init__(
        self, message: str, *, retry_after: float, reason: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.retry_after = retry_after


class ServerError(ClientError):
    """The archive failed in a way that it had not foreseen."""

    advice = "Tell whoever runs the archive."


# what happens on the way


class ConnectionFailed(ClientError):
    """
    The archive could not be reached, or the connection was lost, for all tries that were right to make.

    @ivar uncertain: Whether the archive may have done what was asked all the same: the answer was lost.
    """

    advice = "Check the address and the network. If it is uncertain what was done, look with status() first."

    def __init__(
        self, message: str, *, uncertain: bool = False, reason: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, reason=reason, status=status)
        self.uncertain = uncertain


class Stalled(ConnectionFailed):
    """No byte moved for longer than progress_timeout."""

    advice = "The archive or the network hangs: try again, or with a longer progress_timeout."


class CertificateRefused(ConnectionFailed):
    """TLS could not be agreed on, or the archive's certificate is not one that is trusted here."""

    advice = "If it is an authority of your own that signed the certificate, give that one's as ca."


class WrongName(CertificateRefused):
    """The archive's certificate is for other names than the one in the URL."""

    advice = "Write a name in the URL that the certificate has, or have one made for this name."


class WrongScheme(CertificateRefused):
    """The URL says C{https} and the archive's port does not speak TLS there, or it says C{http} and the port does."""

    advice = "Correct the beginning of the URL."


class ClientClosed(ClientError):
    """The client was closed before, or while, this was done."""

    advice = "Close the client when all calls have ended; what was under way may have been done or not."


class ProtocolError(ClientError):
    """What came back is not what an archive answers."""

    advice = "Check that the URL is an archive's; a proxy may be answering in its place, or changing what it passes on."


class FileChanged(ClientError):
    """The file was replaced while it was being read, more often than it is worth beginning anew."""

    advice = "Get it again when its writer is done."


class SourceChanged(ClientError):
    """The source has other bytes, or more or fewer, than when sending it began."""

    advice = "Put it again when its writer is done; nothing was stored."
