"""L{pacarchive.web.http.secure}: TLS in memory, with clients that do everything, in pieces of every size.

What needs a real socket, as large downloads do, is in C{test_secure_live}.
"""

from __future__ import annotations

import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs
import pytest
from certificates import Pair, trusting
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from support import DATA, Answer, Client, Server, compose, serving
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ISSLTransport

from pacarchive.web.http.credentials import Context, Credentials
from pacarchive.web.http.secure import MOST_ANSWERS, MOST_KEPT, SecureFactory
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


# What is said


@BOTH
def test_a_conversation(server: Server, version: ssl.TLSVersion) -> None:
    """Small and large, both ways, over one connection; and what a channel sees of its transport."""
    client = connect(server, trusting(ROOT, version))
    assert client.request("PUT", "/7", body=LARGE).status == 201
    assert server.archive.data(7) == LARGE
    for target, body in (("/102", DATA), ("/7", LARGE), ("/102", DATA)):
        assert client.request("GET", target).body == body
    transport: Any = channel_of(client).transport
    assert ISSLTransport.providedBy(channel_of(client).transport)
    assert channel_of(client).isSecure()
    assert transport.getPeer().host == "192.168.1.1"
    assert transport.getPeerCertificate() is None
    assert transport.peer_certificate is None


@BOTH
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_byte_by_byte(server: Server, version: ssl.TLSVersion, piece: int) -> None:
    """However what comes is cut, it is the same: handshake, request, body and end."""
    client = connect(server, trusting(ROOT, version), shake=False)
    assert client.shake_hands(piece)
    client.say(compose("PUT", "/7", body=LARGE[:3000]), piece)
    assert [each.status for each in client.answers("PUT")] == [201]
    client.say(compose("GET", "/7", "Connection: close"), piece)
    (answer,) = client.answers()
    assert answer.body == LARGE[:3000]
    assert client.ended
    assert how_closed(client) == "closed"


def test_tiny_records(server: Server) -> None:
    """A record for each byte: all is taken, and much of it makes a client wait for its turn."""
    client = connect(server)
    client.tls.write(compose("PUT", "/7", "Content-Length: 20000"))
    for byte in LARGE[:20000]:
        client.tls.write(bytes([byte]))
    much = client.outgoing.read(2 * MOST_KEPT)
    client.protocol.dataReceived(much)
    assert server.site.turns.waiting
    assert client.transport.producerState == "paused"
    assert client.protocol._kept_bytes > MOST_KEPT
    server.finish_work()
    assert client.protocol._kept_bytes == 0
    client.flush()
    assert [each.status for each in client.answers("PUT")] == [201]
    assert server.archive.data(7) == LARGE[:20000]
    assert client.transport.producerState == "producing"


def test_records_without_content(server: Server) -> None:
    """OpenSSL bears some of them in a row; the connection of one who sends more is cut."""
    client = connect(server, trusting(ROOT, ssl.TLSVersion.TLSv1_2))
    assert client.request("GET", "/102").status == 200
    client.send(b"\x17\x03\x03\x00\x00" * 5000)
    server.finish_work()
    client.take()
    assert client.failed is not None
    assert how_closed(client)


def test_answers_are_gathered(server: Server) -> None:
    """Head and body of a small answer are one record: one that a client can read at once."""
    client = connect(server)
    client.say(compose("GET", "/102"))
    raw = Client.take(client)
    lengths = []
    while raw:
        (length,) = struct.unpack(">H", raw[3:5])
        lengths.append(length)
        raw = raw[5 + length :]
    assert len(lengths) == 1
    client.failed = None


# Who is who


def robot(context: ssl.SSLContext, pair: Pair, directory: Any) -> ssl.SSLContext:
    """Give a client a certificate."""
    context.load_cert_chain(pair.write(directory / "client.pem"))
    return context


FOREIGN = Pair("robot", Pair("Users", authority=True))
LATE = Pair("robot", USERS, days=(-9, -1))
CASES = [
    # policy, certificate, whether it may
    (ClientCertificates.NONE, None, True),
    (ClientCertificates.NONE, ROBOT, True),
    (ClientCertificates.NONE, FOREIGN, True),
    (ClientCertificates.OPTIONAL, None, True),
    (ClientCertificates.OPTIONAL, ROBOT, True),
    (ClientCertificates.OPTIONAL, FOREIGN, False),
    (ClientCertificates.OPTIONAL, LATE, False),
    (ClientCertificates.REQUIRED, None, False),
    (ClientCertificates.REQUIRED, ROBOT, True),
    (ClientCertificates.REQUIRED, FOREIGN, False),
    (ClientCertificates.REQUIRED, LATE, False),
]


@BOTH
@pytest.mark.parametrize(("policy", "pair", "may"), CASES)
def test_client_certificates(
    server: Server, tmp_path: Any, version: ssl.TLSVersion, policy: ClientCertificates, pair: Pair | None, may: bool
) -> None:
    """Who is asked and has one is known by it; who has that of a stranger, or should have one, is refused."""
    context = trusting(ROOT, version)
    if pair is not None:
        robot(context, pair, tmp_path)
    client = connect(server, context, shake=False, client=policy)
    client.shake_hands()
    if not may:
        client.take()
        assert client.failed is not None
        assert "ALERT" in (client.failed.reason or "")
        (words,) = refusals(server)
        assert words.startswith("The TLS handshake failed: ")
        assert client.transport.half_closed
        server.clock.advance(LIMITS.linger_timeout)
        assert how_closed(client) == "aborted"
        return
    assert client.request("GET", "/102").body == DATA
    transport: Any = channel_of(client).transport
    if pair is None or policy is ClientCertificates.NONE:
        assert transport.peer_certificate is None
    else:
        assert transport.getPeerCertificate() == pair.certificate.public_bytes(Encoding.DER)
        found: Any = transport.peer_certificate
        assert found is not None
        assert (found.names, found.subject) == (("dns:robot.example.org",), "CN=robot,O=Tests")
        assert found is transport.peer_certificate  # read once


@BOTH
def test_the_oldest_version(server: Server, version: ssl.TLSVersion) -> None:
    """TLS 1.2 is refused where 1.3 is the least."""
    client = connect(server, trusting(ROOT, version), shake=False, minimum=TlsVersion.TLS_1_3)
    assert client.shake_hands() is (version is ssl.TLSVersion.TLSv1_3)
    assert len(refusals(server)) == (version is not ssl.TLSVersion.TLSv1_3)


def test_only_http_1_is_offered(server: Server) -> None:
    """Whatever a client would like to speak; one that wants nothing else goes on without a word on it."""
    for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
        context = trusting(ROOT)
        if offered:
            context.set_alpn_protocols(offered)
        client = connect(server, context)
        assert client.tls.selected_alpn_protocol() == agreed
        assert client.request("GET", "/102").status == 200
        client.hang_up()


def test_no_session_is_resumed(server: Server) -> None:
    """Each connection proves itself, so that a certificate that ends is not outlived."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = connect(server, trusting(ROOT, version))
        client.request("GET", "/102")
        session = client.tls.session
        assert session is None or not session.has_ticket


# Renewal


def test_new_connections_have_the_new_certificate(server: Server) -> None:
    """Those that there are go on with the old one."""
    context = Context(credentials())
    factory = SecureFactory(server.site, context)
    before = SecureClient(server, factory, trusting(ROOT))
    assert before.shake_hands()
    begun = SecureClient(server, factory, trusting(ROOT))
    new = Pair("server", ROOT, names=("localhost",))
    context.renew(credentials(chain=new.pem, key=new.key))
    after = SecureClient(server, factory, trusting(ROOT))
    for client, pair in ((before, SERVER), (begun, SERVER), (after, new)):
        assert client.tls.version() or client.shake_hands()
        assert client.tls.getpeercert(True) == pair.certificate.public_bytes(Encoding.DER)
        assert client.request("GET", "/102").body == DATA


# What goes wrong


@pytest.mark.parametrize(
    ("garbage", "words", "said"),
    [
        (b"\x16\x03\x01\x00\x05hello", "unexpected message", b"\x15\x03"),
        (b"\x16\x03\x01\xff\xff" + bytes(70000), "packet length too long", b"\x15\x03"),
        (bytes(range(256)) * 40, "wrong version number", b""),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http request", b"HTTP/1.1 400 "),
    ],
    ids=["hello", "long", "noise", "ssh", "http"],
)
def test_garbage_instead_of_a_hello(server: Server, garbage: bytes, words: str, said: bytes) -> None:
    """It is said and counted, and the connection is closed, without a reset that would hide the answer."""
    client = connect(server, shake=False)
    client.send(garbage)
    server.finish_work()
    (refused,) = refusals(server)
    assert refused == f"The TLS handshake failed: {words}."
    assert server.site.events["tls"] == 1
    assert client.transport.half_closed
    assert not how_closed(client)
    answer = Client.take(client)
    assert answer.startswith(said)
    assert bool(answer) is bool(said)
    assert not said.startswith(b"HTTP") or b"ask for it by https" in answer
    client.end()
    server.clock.advance(0)
    assert how_closed(client) == "aborted"


def test_a_handshake_has_its_time(server: Server) -> None:
    """No byte prolongs it."""
    silent, slow, swift = (connect(server, shake=False) for _ in range(3))
    with pytest.raises(ssl.SSLWantReadError):
        slow.tls.do_handshake()
    hello = slow.outgoing.read()
    for start in range(9):
        server.clock.advance(1)
        slow.send(hello[start : start + 1])
    assert swift.shake_hands()
    server.clock.advance(1)
    assert [how_closed(each) for each in (silent, slow, swift)] == ["aborted", "aborted", ""]
    assert refusals(server) == ["The TLS handshake took too long."] * 2


def test_handshakes_wait_for_their_turn(server: Server) -> None:
    """One who begins many at a time keeps itself waiting, and nobody else."""
    clients = [connect(server, shake=False) for _ in range(4)]
    other = connect(server, shake=False, host="192.168.9.9")
    for client in clients:
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
    hellos = [client.outgoing.read() for client in clients]
    for _ in range(3):  # what a turn has room for, is used up
        server.site.turns.spend(1500)
    for client, hello in zip(clients, hellos, strict=True):
        client.protocol.dataReceived(hello)
    assert not any(Client.take(client) for client in clients)
    assert all(server.site.turns.has(client.protocol) for client in clients)
    assert other.shake_hands()
    server.finish_work()
    assert all(Client.take(client) for client in clients)


def test_places_are_limited(server: Server) -> None:
    """A connection counts from its beginning, and one too many is cut: it cannot be told anything."""
    for _ in range(LIMITS.connections):
        connect(server, shake=False)
    more = connect(server, shake=False)
    server.clock.advance(0)
    assert how_closed(more) == "aborted"
    server.clients[0].hang_up()
    assert connect(server).request("GET", "/102").status == 200


STATES = ("connected", "greeted", "agreed", "head", "body", "answered")


@BOTH
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", ["reset", "socket ends", "says goodbye"])
def test_vanishing(server: Server, version: ssl.TLSVersion, state: str, how: str) -> None:
    """In every state, in every way: nothing is left, and half a body is no file."""
    client = connect(server, trusting(ROOT, version), shake=False)
    if state == "greeted":
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.flush()
    elif state != "connected":
        assert client.shake_hands()
    if state == "head":
        client.say(compose("PUT", "/7", "Content-Length: 100000")[:20])
    elif state == "body":
        client.say(compose("PUT", "/7", "Content-Length: 100000") + bytes(70000))
    elif state == "answered":
        assert client.request("GET", "/102").status == 200
    if how == "reset":
        client.hang_up()
        server.finish_work()
    else:
        if how == "says goodbye" and client.tls.version() and state in STATES[2:]:
            with pytest.raises(ssl.SSLError):
                client.tls.unwrap()
            client.flush()
        client.end()
        server.finish_work()
        server.clock.advance(0)
        server.clock.advance(LIMITS.linger_timeout)
        assert how_closed(client)
    assert server.archive.data(7) is None


def test_half_a_connection(server: Server) -> None:
    """A client that has said goodbye, and still reads, gets its answer."""
    waiting = server.archive.hold("status")
    client = connect(server)
    client.say(compose("HEAD", "/102"))
    with pytest.raises(ssl.SSLError):
        client.tls.unwrap()
    client.flush()
    client.end()
    assert not how_closed(client)
    waiting.callback(None)
    server.finish_work()
    server.clock.advance(0)
    raw = Client.take(client)
    assert len(raw) > 100
    assert how_closed(client) == "closed"


def test_a_cut_is_no_end(server: Server) -> None:
    """A socket that ends without the end that TLS has: what was under way is broken off at once."""
    waiting = server.archive.hold("status")
    client = connect(server)
    client.say(compose("HEAD", "/102"))
    client.end()
    assert how_closed(client) == "aborted"
    reasons: list[Any] = []
    lost = channel_of(client).connectionLost

    def note(reason: Any) -> None:
        reasons.append(reason.value)
        lost(reason)

    channel_of(client).connectionLost = note
    client.transport.lose(ConnectionLost())
    assert "without the end that TLS has" in str(reasons[0])
    waiting.callback(None)


def test_renegotiation_is_refused(server: Server) -> None:
    """A client of TLS 1.2 that would shake hands again is told that this is not done; nothing else comes of it."""
    client = connect(server, shake=False)
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    theirs = SSL.Connection(context, None)
    theirs.set_connect_state()

    def shake_hands() -> None:
        for _ in range(4):
            with suppress(SSL.WantReadError):
                theirs.do_handshake()
            with suppress(SSL.WantReadError):
                client.send(theirs.bio_read(1 << 16))
            server.finish_work()
            if data := Client.take(client):
                theirs.bio_write(data)

    shake_hands()
    theirs.send(compose("GET", "/102"))
    client.send(theirs.bio_read(1 << 16))
    server.clock.advance(0)
    theirs.bio_write(Client.take(client))
    assert theirs.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert theirs.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        shake_hands()
    assert theirs.total_renegotiations() == 1
    assert client.protocol._tls.version() == "TLSv1.2"
    assert not how_closed(client)


@pytest.mark.parametrize("each", [27, 1000, 5000])
def test_who_only_has_itself_answered_is_cut(server: Server, each: int) -> None:
    """As by changes of keys, or hellos amid a conversation; what is usual is borne for as long as there is content."""
    client = connect(server)
    real = client.protocol._tls
    read: list[int] = []

    class Flooded:
        def read(self, length: int, buffer: Any) -> int:
            read.append(length)
            client.protocol._sent.write(bytes(each))
            raise ssl.SSLWantReadError

        def unwrap(self) -> None:
            raise ssl.SSLWantReadError

    client.protocol._tls = Flooded()
    client.send(b"\x17\x03\x03\x00\x05hello" * 4000, 100)
    server.finish_work()
    assert how_closed(client) == "closed"
    assert len(read) == MOST_ANSWERS // each + 1
    assert len(Client.take(client)) < 2 * MOST_ANSWERS + each
    assert real


def test_loss_of_the_last_word(server: Server) -> None:
    """What was written before the connection is closed goes out, encrypted, with the end behind it."""
    client = connect(server)
    client.say(compose("GET", "/102", "Connection: close"))
    (answer,) = client.answers()
    assert (answer.body, answer.closes) == (DATA, True)
    assert client.ended
    assert client.failed is None


def test_an_abort_has_no_end(server: Server) -> None:
    """So that nobody takes what was sent for all."""
    client = connect(server)
    client.protocol.write(b"part")
    client.protocol.abortConnection()
    client.protocol.write(b"more")
    server.clock.advance(0)
    assert client.take() == b""
    assert not client.ended


def test_a_refused_sender_sees_the_answer(server: Server) -> None:
    """The connection is closed on this side first, and what still comes is thrown away."""
    client = connect(server)
    client.say(compose("PUT", "/x", "Content-Length: 5000000") + bytes(100_000))
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (404, True)
    assert client.transport.half_closed
    client.say(bytes(1_000_000))
    assert not how_closed(client)
    assert client.protocol._kept_bytes == 0
    client.end()
    server.clock.advance(0)
    assert how_closed(client) == "closed"


def test_the_drain(server: Server) -> None:
    """Idle connections are ended, those amid a handshake cut, and what is under way is finished."""
    waiting = server.archive.hold("status")
    idle, begun, busy = connect(server), connect(server, shake=False), connect(server)
    busy.say(compose("HEAD", "/102"))
    drained = server.site.drain(60)
    assert [how_closed(each) for each in (idle, begun, busy)] == ["closed", "aborted", ""]
    idle.take()
    assert idle.ended
    waiting.callback(None)
    server.finish_work()
    server.clock.advance(0)
    (answer,) = busy.answers("HEAD")
    assert answer.closes
    server.clock.advance(0)
    assert drained.called


def test_a_reader_that_stops(server: Server) -> None:
    """What it does not take is not encrypted for it: no more than the socket has room for, and a block."""
    server.archive.place(7, LARGE * 4)
    client = connect(server)
    client.transport.room = 1 << 16
    client.say(compose("GET", "/7"))
    assert client.transport.unread < 1 << 18
    received = b""
    for _ in range(1000):
        received += client.take()
        client.transport.unread = 0
        if client.transport.producer is not None:
            client.transport.producer.resumeProducing()
        server.clock.advance(0)
    assert received.endswith(LARGE * 4)
