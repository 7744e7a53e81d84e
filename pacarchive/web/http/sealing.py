"""The half of TLS that sends: what is written is gathered, and encrypted in large blocks.

While a large answer is sent, a thread has the connection (L{SealedOutput.lend}): it reads, hashes, encrypts and sends
one block after the other, with no turn of the reactor between them.  An object of OpenSSL's is for one thread at a
time: between L{SealedOutput.leave} and L{SealedOutput.come_back} it is that thread's.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection

from pacarchive.web.http.credentials import PeerCertificate, read_peer_certificate
from pacarchive.web.http.flow import BLOCK

if TYPE_CHECKING:
    from pacarchive.web.http.state import SharedSite

GATHERED = 64 << 10
"""How much is written before it is encrypted, at the latest."""

KEPT_BY_OPENSSL = 96 << 10
"""What OpenSSL keeps for blocks of 64 KiB, in one direction."""


class SealedOutput(Protocol):
    """
    What a channel sees of its transport, but for what comes in.

    @param site: What speaks HTTP.
    @param channel: What writes here.
    @ivar carrier: The TCP connection.
    @ivar disconnecting: Whether nothing more is to be written.
    """

    carrier: Any
    disconnecting = False
    _agreed = False
    _lent = False
    _said_goodbye = False
    _cut = False
    _flushes_later = False
    _plain_bytes = 0
    _held_by_openssl = 0
    _producer: Any = None
    _peer_encoded: bytes | None = None
    _peer_certificate: PeerCertificate | None = None

    def __init__(self, site: SharedSite, channel: Any, context: ssl.SSLContext) -> None:
        self._site = site
        self._channel = channel
        self._received: Any = ssl.MemoryBIO()
        self._sent: Any = ssl.MemoryBIO()
        self._tls: Any = context.wrap_bio(self._received, self._sent, server_side=True)
        self._plain: list[bytes] = []  # what is to be encrypted

    # What is written

    def write(self, data: bytes) -> None:
        if self._cut or self._said_goodbye or (self.disconnecting and self._producer is None):
            return
        self._plain.append(data)
        self._plain_bytes += len(data)
        if self._plain_bytes >= GATHERED:
            self.flush()
        elif not self._flushes_later:
            self._flushes_later = True
            self._site.reactor.callLater(0, self._flush_later)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def _flush_later(self) -> None:
        self._flushes_later = False
        self.flush()

    def flush(self) -> None:
        """Encrypt what was written, and give it to the socket."""
        if not self._plain or not self._agreed or self._lent or self._cut:
            return
        data = memoryview(self._plain[0] if len(self._plain) == 1 else b"".join(self._plain))
        self._plain.clear()
        self._plain_bytes = 0
        for start in range(0, len(data), BLOCK):
            self.carrier.write(self.seal(data[start : start + BLOCK]))

    def send_now(self) -> None:
        """The same, without waiting for a turn of the reactor."""
        self.flush()
        carrier = self.carrier
        if isinstance(carrier, Connection) and carrier.connected and not (self._lent or self.disconnecting):
            carrier.doWrite()

    def seal(self, data: memoryview) -> bytes:
        """
        Encrypt.

        @return: That, and what OpenSSL had to say before it.
        @raise ssl.SSLError: The connection has failed.
        """
        self._tls.write(data)
        return self._sent.read()  # type: ignore[no-any-return]

    def pass_on(self) -> None:
        """Send what OpenSSL has to say: its part of a handshake, an alert.  While it is lent, the next block does."""
        if not (self._lent or self._cut) and self._sent.pending:
            self.carrier.write(self._sent.read())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        self.carrier.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._producer = None
        self.carrier.unregisterProducer()
        if self.disconnecting:
            self._close()

    # The end

    def loseConnection(self) -> None:
        """Close when all that was written is out."""
        if self.disconnecting or self._cut:
            return
        self.disconnecting = True
        if self._agreed:
            self._close()
        else:
            self.abortConnection()

    def _close(self) -> None:
        if not (self._lent or self._cut) and self._producer is None:
            self._say_goodbye()
            self.carrier.loseConnection()

    def loseWriteConnection(self) -> None:
        """Say that no more comes; what still comes from the peer is thrown away."""
        if self._agreed and not self._lent:
            self._say_goodbye()
            self.carrier.loseWriteConnection()
        else:
            self.abortConnection()

    def _say_goodbye(self) -> None:
        if self._said_goodbye:
            return
        self.flush()
        self._said_goodbye = True
        with suppress(ssl.SSLError):  # that the peer has not said it yet, or has something else to say
            self._tls.unwrap()
        self.pass_on()

    def abortConnection(self) -> None:
        """Cut it, so that nobody takes what was sent for complete."""
        self.disconnecting = self._cut = True
        self._plain.clear()
        self.carrier.abortConnection()

    # What a thread does

    def lend(self) -> bool:
        """
        Let somebody else write to the socket what L{seal} makes, until L{take_back}.

        @return: Whether that can be: all that was written is out.
        """
        carrier = self.carrier
        if self.disconnecting or self._cut or not self._agreed or not isinstance(carrier, Connection):
            return False
        self.flush()
        if carrier.doWrite() is not None or carrier.dataBuffer or carrier._tempDataBuffer:
            return False
        self._lent = True
        self.note_memory(KEPT_BY_OPENSSL)
        return True

    def leave(self) -> bool:
        """
        Be another thread's, until L{come_back}.

        @return: Whether there is a connection.
        """
        raise NotImplementedError

    def come_back(self) -> None:
        """Be the reactor's."""
        raise NotImplementedError

    def take_back(self) -> None:
        """Write again."""
        self._lent = False
        self.pass_on()
        self.flush()
        if self.disconnecting:
            self._close()

    def note_memory(self, amount: int) -> None:
        """Have it counted what OpenSSL keeps until the connection ends."""
        if amount > self._held_by_openssl and (held := getattr(self._channel, "held", None)) is not None:
            self._held_by_openssl = amount
            held.set("tls", amount)

    # What is known of it

    def getPeer(self) -> Any:
        return self.carrier.getPeer()

    def getHost(self) -> Any:
        return self.carrier.getHost()

    def fileno(self) -> int:
        return self.carrier.fileno()  # type: ignore[no-any-return]

    def getPeerCertificate(self) -> bytes | None:
        """The certificate that the client has proved to have, as DER; C{None} where it has none."""
        return self._peer_encoded

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """What is in it."""
        if self._peer_certificate is None and self._peer_encoded is not None:
            self._peer_certificate = read_peer_certificate(self._peer_encoded)
        return self._peer_certificate

    def getTcpNoDelay(self) -> bool:
        return ITCPTransport.providedBy(self.carrier) and bool(self.carrier.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        if ITCPTransport.providedBy(self.carrier):  # it may be a UNIX socket
            self.carrier.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        return ITCPTransport.providedBy(self.carrier) and bool(self.carrier.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        if ITCPTransport.providedBy(self.carrier):
            self.carrier.setTcpKeepAlive(enabled)
