"""TLS between a socket and a channel: as few and as large steps as there can be.

Twisted's own goes by records of 16 KiB, with a dozen calls for each.  Here what comes is decrypted in as large pieces
as the socket brings, and what is to be sent is encrypted in blocks (L{pacarchive.web.http.sealing}); OpenSSL works on
memory (C{ssl.MemoryBIO}).
"""

from __future__ import annotations

import ssl
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive.runtime import measuring
from pacarchive.web.http.answers import last_answer
from pacarchive.web.http.credentials import Context
from pacarchive.web.http.sealing import KEPT_BY_OPENSSL, SealedOutput
from pacarchive.web.http.shares import client_of
from pacarchive.web.http.sockets import acknowledge

if TYPE_CHECKING:
    from pacarchive.web.http.state import SharedSite

PIECE = 64 << 10
"""How much of what came OpenSSL is given at once."""

DOUBTFUL = 4 << 10
"""How much of what brings little, as a handshake or records without content, is looked at before the turn is."""

MOST_KEPT = 64 << 10
"""How much of what came may wait before the peer is held back."""

MOST_ANSWERS = 4 << 10
"""How many bytes OpenSSL may answer to what brings little, one such piece after the other: to changes of keys, and to
hellos that are refused.  For a peer that does not read they would pile up here."""

HELLO_COST = 1000
"""What a handshake takes of a turn's allowance, in about microseconds: most of it is a signature."""

_RECORD = 16 << 10  # what the largest has room for
_scratch = memoryview(bytearray(256 << 10))  # for all connections: it is emptied before another is looked at
_MOST = len(_scratch) - 2 * _RECORD  # beside it, there may be the rest of a record that came before


_KINDS = {
    "HTTP_REQUEST": "http",
    "NO_SHARED_CIPHER": "parameters",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "parameters",
    "UNSUPPORTED_PROTOCOL": "version",
    "VERSION_TOO_LOW": "version",
    "WRONG_VERSION_NUMBER": "garbage",
    "PACKET_LENGTH_TOO_LONG": "garbage",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "certificate",
    "CERTIFICATE_VERIFY_FAILED": "certificate",
}
"""What OpenSSL calls a failure, and what metrics do.  An alert of the client's is C{alert}; of the rest, C{other}."""


class SecureFactory(Factory):
    """
    Puts TLS between each connection and what a site makes for it.

    @param site: What speaks HTTP.
    @param context: What it proves itself with.
    """

    noisy = False

    def __init__(self, site: SharedSite, context: Context) -> None:
        self._site = site
        self._context = context

    def logPrefix(self) -> str:
        """What Twisted says that it starts."""
        return self._site.logPrefix()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return SecureTransport(self._site, self._site.buildProtocol(addr), self._context.current)


@implementer(ISSLTransport, IPushProducer, IHalfCloseableProtocol)
class SecureTransport(SealedOutput):
    """
    The protocol of a TCP connection, and the transport of a channel.
    """

    _deadline: IDelayedCall | None = None
    _reason: Failure | None = None
    _has_begun = False
    _doubtful = True
    _works = False
    _paused = False
    _held_back = False
    _is_away = False
    _failed = False
    _peer_ended = False
    _socket_ended = False
    _kept_bytes = 0
    _answers = 0

    def __init__(self, site: SharedSite, channel: Any, context: ssl.SSLContext) -> None:
        super().__init__(site, channel, context)
        self._kept: deque[bytes | memoryview] = deque()  # what came, and is not decrypted yet

    # The connection

    def connectionMade(self) -> None:
        self.carrier = self.transport
        self._client = client_of(self.carrier.getPeer())
        self._deadline = self._site.reactor.callLater(self._site.limits.header_timeout, self._too_slow)
        self._channel.makeConnection(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        self._site.turns.leave(self)
        self._cut = self.disconnecting = True
        self._forget()
        self._plain.clear()
        self._producer = None
        if not self._is_away:
            self._release()
        channel, self._channel = self._channel, None
        channel.connectionLost(self._reason or reason)

    def _release(self) -> None:
        """Give back what OpenSSL has: that a request still knows its connection must not keep it in memory."""
        self._tls = self._received = self._sent = None

    def dataReceived(self, data: bytes) -> None:
        if not self._is_deaf:
            self._kept.append(data)
            self._kept_bytes += len(data)
            self._go_on()

    def readConnectionLost(self) -> None:
        """The socket brings no more."""
        self._socket_ended = True
        self._go_on()

    def writeConnectionLost(self) -> None:
        """L{loseWriteConnection} did this."""

    @property
    def _is_deaf(self) -> bool:
        """Whether what comes is thrown away."""
        return self._failed or self._peer_ended or self._said_goodbye or self._cut

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self._failed:
            measuring.count("tls_handshake_failures_total", "timeout")
            self._site.refused("tls", self.getPeer(), "The TLS handshake took too long.")
        self.abortConnection()

    # What comes

    def take_turn(self) -> None:
        """Go on with what was too much for the turn before."""
        self._go_on()

    def _go_on(self) -> None:
        """Look at what came, as far as it is wanted and the turn goes."""
        if self._works or self._is_away:
            return
        self._works = True
        try:
            while self._kept and not self._paused:
                if self._is_deaf:
                    self._forget()
                elif self._doubtful and self._site.turns.left(self._client) <= 0:
                    self._site.turns.get_in_line(self, self._client)
                    break
                else:
                    self._take(DOUBTFUL if self._doubtful else _MOST)
        finally:
            self._works = False
        if self._socket_ended and not self._kept:
            self._socket_ended = False
            self._end()
        self._regulate()

    def _take(self, most: int) -> None:
        """Decrypt some of what came, and have the channel look at it."""
        came = filled = 0
        try:
            while self._kept and came < most and not self._peer_ended:
                came += self._feed(min(PIECE, most - came))
                if self._agreed or self._shake_hands():
                    filled = self._decrypt(filled)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._doubtful = 2 * filled < came
        if self._doubtful:
            self._site.turns.spend(came >> 2)
        else:
            self._answers = 0
            if came > _RECORD:
                self.note_memory(2 * KEPT_BY_OPENSSL)
        if filled:
            self._channel.dataReceived(bytes(_scratch[:filled]))
        if self._peer_ended and not self._cut:
            self._channel.readConnectionLost()

    def _feed(self, most: int) -> int:
        """@return: How much that was."""
        piece = memoryview(self._kept.popleft())
        if len(piece) > most:
            self._kept.appendleft(piece[most:])
            piece = piece[:most]
        self._kept_bytes -= len(piece)
        return self._received.write(piece)  # type: ignore[no-any-return]

    def _shake_hands(self) -> bool:
        """@return: Whether both sides have agreed."""
        if not self._has_begun:
            self._has_begun = True
            self._site.turns.spend(HELLO_COST)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.pass_on()
            return False
        self._agreed = True
        self._peer_encoded = self._tls.getpeercert(binary_form=True)  # now: later it may be a thread's
        self._stop_waiting()
        self.pass_on()
        self.flush()
        if isinstance(self.carrier, Connection):
            acknowledge(self.carrier.getHandle())
        return True

    def _decrypt(self, filled: int) -> int:
        """@return: How much of the scratch is filled."""
        while not self._peer_ended:
            try:
                count = self._tls.read(_RECORD, _scratch[filled:])
            except ssl.SSLWantReadError:
                break
            filled += count
            self._peer_ended = not count
        if self._sent.pending:
            self._answers += self._sent.pending
            if self._answers > MOST_ANSWERS:
                raise ssl.SSLError(1, "too much that has no content")
            self.pass_on()
        return filled

    def _fail(self, error: ssl.SSLError) -> None:
        """What came is no TLS, or none that is spoken here."""
        self._failed = self.disconnecting = True
        self._plain.clear()
        self._producer = None
        self.carrier.unregisterProducer()
        reason = getattr(error, "reason", None)  # only OpenSSL's have one
        words = getattr(error, "verify_message", "") or (reason or str(error)).replace("_", " ").lower()
        if self._agreed:
            self._reason = Failure(ConnectionLost(words))
            if self._lent:
                self.abortConnection()
            else:
                self.pass_on()
                self.carrier.loseConnection()
            return
        measuring.count("tls_handshake_failures_total", _kind_of(reason or ""))
        self._site.refused("tls", self.getPeer(), f"The TLS handshake failed: {words}.")
        if reason == "HTTP_REQUEST":
            self.carrier.write(last_answer(HTTPStatus.BAD_REQUEST, "This port speaks TLS: ask for it by https."))
        else:
            self.pass_on()
        # To close with something unread in the socket would reset it, and the peer could lose the alert.
        self.carrier.loseWriteConnection()
        self._stop_waiting()
        self._deadline = self._site.reactor.callLater(self._site.limits.linger_timeout, self._too_slow)

    def _end(self) -> None:
        """The socket has ended, and what it brought has been looked at."""
        if self._peer_ended or self._cut:
            return
        if self._said_goodbye:
            self._channel.readConnectionLost()
            return
        # Somebody may have cut the connection, who wants us to believe that this was all.
        self._reason = self._reason or Failure(ConnectionLost("without the end that TLS has"))
        self.abortConnection()

    def _regulate(self) -> None:
        held_back = self._paused or self._kept_bytes > MOST_KEPT
        if held_back is not self._held_back and not self._cut:
            self._held_back = held_back
            (self.carrier.pauseProducing if held_back else self.carrier.resumeProducing)()

    def pauseProducing(self) -> None:
        self._paused = True
        self._regulate()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._kept and not self._works:
            self._site.reactor.callLater(0, self._go_on)
        else:
            self._regulate()

    def stopProducing(self) -> None:
        self.loseConnection()

    def leave(self) -> bool:
        self._is_away = self._channel is not None
        return self._is_away

    def come_back(self) -> None:
        self._is_away = False
        if self._channel is None:
            self._release()
        else:
            self._go_on()


def _kind_of(reason: str) -> str:
    """What metrics call a failed handshake."""
    return _KINDS.get(reason) or ("alert" if "_ALERT_" in reason else "other")
