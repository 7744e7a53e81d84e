"""A server that speaks TLS, and clients of it that do everything, all in memory."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from certificates import Pair, trusting
from support import DATA, Answer, Client, Server, compose, serving

from pacarchive.web.http.credentials import Context, Credentials
from pacarchive.web.http.secure import SecureFactory
from pacarchive.web.http.settings import ClientCertificates, LimitSettings, TlsVersion

ROOT = Pair("Root", authority=True)
USERS = Pair("Users", authority=True)
SERVER = Pair("server", ROOT, names=("localhost",))
ROBOT = Pair("robot", USERS, names=("robot.example.org",))

LIMITS = LimitSettings(
    header_timeout=10,
    idle_timeout=20,
    progress_timeout=30,
    progress_bytes=10,
    linger_timeout=5,
    connections=5,
    client_share=100,
)
LARGE = bytes(range(256)) * 4096  # 1 MiB
BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def credentials(**changes: Any) -> Credentials:
    """What the server has."""
    plain = Credentials(
        chain=SERVER.pem,
        key=SERVER.key,
        client_ca=USERS.pem.decode(),
        client=ClientCertificates.NONE,
        minimum=TlsVersion.TLS_1_2,
        names=("localhost",),
        not_after=time.time(),
    )
    return attrs.evolve(plain, **changes)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(limits=LIMITS)) as server:
        server.archive.place(102, DATA)
        yield server


class SecureClient(Client):
    """
    A client that speaks TLS.

    @param server: The server.
    @param factory: What listens.
    @param context: What the client has.
    @ivar tls: The client's side.
    @ivar failed: What went wrong with it.
    @ivar ended: Whether the server has said that it has ended.
    """

    def __init__(
        self, server: Server, factory: SecureFactory, context: ssl.SSLContext, host: str = "192.168.1.1"
    ) -> None:
        self._factory = factory
        self._plain = b""
        self.failed: ssl.SSLError | None = None
        self.ended = False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        super().__init__(server, host)
        server.clients.append(self)

    def make_protocol(self) -> Any:
        """That of the server's side."""
        return self._factory.buildProtocol(self.transport.getPeer())  # type: ignore[no-untyped-call]

    def shake_hands(self, piece: int | None = None) -> bool:
        """@return: Whether that goes well."""
        for _ in range(4):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush(piece)
                self._receive()
            except ssl.SSLError as error:
                self.failed = error
                self.flush(piece)
                return False
            else:
                self.flush(piece)
                return True
        return False

    def say(self, data: bytes, piece: int | None = None, *, record: int = 1 << 14) -> SecureClient:
        """Send bytes, encrypted in records of a size, C{piece} bytes of them at a time."""
        for start in range(0, len(data), record):
            self.tls.write(data[start : start + record])
        return self.flush(piece)

    def flush(self, piece: int | None = None) -> SecureClient:
        """Send what OpenSSL has made."""
        self.send(self.outgoing.read(), piece)
        left = -1
        while left != self.unsent:  # a server that is busy takes the rest later
            left = self.unsent
            self._server.finish_work()
            self._server.clock.advance(0)
            self.send(b"", piece)
        return self

    def _receive(self) -> None:
        self.incoming.write(super().take())

    def take(self) -> bytes:
        """What came, decrypted."""
        self._receive()
        pieces = []
        while not self.ended:
            try:
                pieces.append(self.tls.read(1 << 20))
                self.ended = not pieces[-1]
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                self.failed = error
                break
        return b"".join(pieces)

    def request(self, method: str, target: str, *fields: str, body: bytes | None = None) -> Answer:
        """Send a request, and have its answer."""
        self.say(compose(method, target, *fields, body=body))
        (answer,) = self.answers(method)
        return answer


def connect(
    server: Server, context: ssl.SSLContext | None = None, *, shake: bool = True, host: str = "192.168.1.1", **own: Any
) -> SecureClient:
    """A connection, with TLS unless that is the test's to do."""
    factory = SecureFactory(server.site, Context(credentials(**own)))
    client = SecureClient(server, factory, context or trusting(ROOT), host)
    if shake:
        assert client.shake_hands()
    return client


def channel_of(client: SecureClient) -> Any:
    """What the server has above TLS."""
    return client.protocol._channel


def how_closed(client: SecureClient) -> str:
    """How the server has ended the connection, if it has."""
    return client.transport.closed


def refusals(server: Server) -> list[str]:
    """What was refused, in words, without the address."""
    return [each.partition(": ")[2] for each in server.words() if each.startswith("refused (tls)")]
