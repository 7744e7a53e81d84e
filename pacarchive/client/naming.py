"""The names of what can go wrong with a connection, and who is at the other end where that is in doubt."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet import error as failures
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError, RequestNotSent
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)

from pacarchive.client.addresses import Place
from pacarchive.client.errors import (
    CertificateRefused,
    ClientClosed,
    ClientError,
    ConnectionFailed,
    Unauthorised,
    WrongName,
    WrongScheme,
)

_NO_TLS = frozenset({"wrong version number", "packet length too long", "record layer failure", "http request"})
"""What OpenSSL says of a peer that does not speak TLS."""

_UNKNOWN = re.compile(r"alert (certificate required|.*certificate.*|unknown ca|access denied)")
"""OpenSSL's message for alerts of the peer about the client's certificate: there is no other that it could mean."""

_CONNECTING: tuple[tuple[type[Exception], str], ...] = (
    (failures.ConnectionRefusedError, "connection refused"),
    (failures.TimeoutError, "no answer to the attempt to connect"),
    (failures.TCPTimedOutError, "no answer to the attempt to connect"),
    (failures.DNSLookupError, "the name of the host is not known"),
    (failures.UnknownHostError, "the name of the host is not known"),
    (failures.NoRouteError, "no route to the host"),
)

_PROBE = 5.0
"""For how many seconds a peer may think about what it is."""


def named(error: BaseException, url: str = "", *, closed: bool = False) -> BaseException:
    """
    The words for what Twisted says.

    @param url: The archive's, where it is at hand.
    @param closed: Whether the client was.
    """
    if closed:
        return ClientClosed("The client was closed.")
    if isinstance(error, RequestGenerationFailed):
        reason = error.reasons[0].value
        return error if reason is None else reason
    reasons = [reason.value for reason in getattr(error, "reasons", ()) if isinstance(reason, Failure) and reason.value]
    if cancelled := [reason for reason in reasons if isinstance(reason, CancelledError)]:
        return cancelled[0]
    return _trouble(error, reasons, url or "the archive")


def _trouble(error: BaseException, reasons: Sequence[BaseException], who: str) -> ClientError:
    for reason in reasons:
        if _is_of_tls(reason):
            return _trouble_with_tls(reason, who)
    if isinstance(error, RequestNotSent):
        return ConnectionFailed(f"The connection to {who} was lost before anything was sent.")
    if isinstance(error, RequestTransmissionFailed | ResponseNeverReceived | ResponseFailed):
        unread = [reason for reason in reasons if not isinstance(reason, failures.ConnectionClosed)]
        if unread:
            return ConnectionFailed(f"The answer of {who} cannot be understood: {_words(unread[0])}", uncertain=True)
        return ConnectionFailed(f"The connection to {who} was lost.", uncertain=True)
    if isinstance(error, failures.ConnectError | failures.DNSLookupError):
        return ConnectionFailed(f"{_capital(who)} cannot be reached: {_connecting(error)}")
    return ConnectionFailed(f"The exchange with {who} failed: {_words(error)}", uncertain=True)


def _is_of_tls(error: BaseException) -> bool:
    if not type(error).__module__.startswith(("OpenSSL.", "service_identity.")):
        return False
    # Only now: they are large, and whoever uses no TLS need not have them.
    from OpenSSL import SSL
    from service_identity import VerificationError

    return isinstance(error, SSL.Error | VerificationError)


def _trouble_with_tls(error: BaseException, who: str) -> ClientError:
    from service_identity import VerificationError

    if isinstance(error, VerificationError):
        return WrongName(f"TLS with {who} failed: its certificate is for another name")
    if _NO_TLS.intersection(_ssl_reasons(error)):
        return WrongScheme(
            f"{_capital(who)} does not speak TLS; the address of an archive without TLS begins with http://."
        )
    if (found := _UNKNOWN.search(words := _words(error))) is not None:
        required = found[1] == "certificate required"
        said = (
            "the archive requires a client certificate"
            if required
            else f"the archive refuses the client's certificate: {words}"
        )
        return Unauthorised(f"TLS with {who} failed: {said}", schemes=("Certificate",))
    return CertificateRefused(f"TLS with {who} failed: {words}")


def is_lost(error: BaseException) -> bool:
    """Whether a request has ended with its connection, without a byte of an answer."""
    if not isinstance(error, ResponseNeverReceived):
        return False
    return all(isinstance(reason.value, failures.ConnectionClosed) for reason in error.reasons)


def _connecting(error: BaseException) -> str:
    for kind, words in _CONNECTING:
        if type(error) is kind:
            return words
    return _words(error)


def _words(error: BaseException) -> str:
    if isinstance(error, ParseError):
        return "it is not HTTP"
    if type(error).__module__ == "OpenSSL.SSL":
        return ", ".join(_ssl_reasons(error)) or "it was broken off"
    return str(error).rstrip(".") or type(error).__name__


def _ssl_reasons(error: BaseException) -> list[str]:
    return [str(each[-1]) for each in (error.args[0] if error.args else ()) if each]


def _capital(text: str) -> str:
    """The beginning of a sentence; a URL stays as it is."""
    return text if "://" in text else text[:1].upper() + text[1:]


async def speaks_tls(reactor: Any, place: Place) -> bool:
    """Whether a peer answers to the beginning of TLS as one that speaks it; C{False} where that cannot be told."""
    greeting = _Greeting()
    try:
        await connectProtocol(place.endpoint(reactor, _PROBE), greeting)
        answer: bytes = await greeting.answered.addTimeout(_PROBE, reactor)
    except (failures.ConnectError, failures.DNSLookupError, defer.TimeoutError):
        return False
    finally:
        if greeting.transport is not None:
            greeting.transport.abortConnection()  # type: ignore[attr-defined]
            await greeting.gone
    return answer[:2] in (b"\x16\x03", b"\x15\x03")  # RFC 8446, 5.1: handshake or alert, and the version of records


class _Greeting(Protocol):
    """Says how TLS begins, and hears what comes back."""

    def __init__(self) -> None:
        self.answered: Deferred[bytes] = Deferred()
        self.gone: Deferred[None] = Deferred()
        outgoing = ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # nothing is sent but this
        tls = context.wrap_bio(ssl.MemoryBIO(), outgoing)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._hello = outgoing.read()

    def connectionMade(self) -> None:
        assert self.transport is not None, "a protocol that is connected has one"
        self.transport.write(self._hello)

    def dataReceived(self, data: bytes) -> None:
        self._end(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(b"")
        self.gone.callback(None)

    def _end(self, answer: bytes) -> None:
        if not self.answered.called:
            self.answered.callback(answer)
