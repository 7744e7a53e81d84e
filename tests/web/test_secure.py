"""L{pacarchive.web.http.secure}: TLS in memory, with clients that do everything, in pieces of every size.

What needs a real socket, as large downloads do, is in C{test_secure_live}.
"""

from __future__ import annotations

import ssl
import struct
from typing import Any

import pytest
from certificates import Pair, trusting
from cryptography.hazmat.primitives.serialization import Encoding
from secure_client import (
    BOTH,
    LARGE,
    LIMITS,
    ROBOT,
    ROOT,
    SERVER,
    USERS,
    SecureClient,
    channel_of,
    connect,
    credentials,
    how_closed,
    refusals,
    server,
)
from support import DATA, Client, Server, compose
from twisted.internet.interfaces import ISSLTransport

from pacarchive.web.http.credentials import Context
from pacarchive.web.http.secure import MOST_KEPT, SecureFactory
from pacarchive.web.http.settings import ClientCertificates, TlsVersion

__all__ = ["server"]  # a fixture


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
