"""L{pacarchive.web.http.secure} in memory: peers that are slow, wrong, or gone."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any

import pytest
from certificates import trusting
from OpenSSL import SSL
from secure_client import (
    BOTH,
    LARGE,
    LIMITS,
    ROOT,
    channel_of,
    connect,
    how_closed,
    refusals,
    server,
)
from support import DATA, Client, Server, compose
from twisted.internet.error import ConnectionLost

from pacarchive.telemetry.counts import Counts
from pacarchive.web.http.secure import MOST_ANSWERS

__all__ = ["server"]  # a fixture


# What goes wrong


@pytest.mark.parametrize(
    ("garbage", "words", "said", "kind"),
    [
        (b"\x16\x03\x01\x00\x05hello", "unexpected message", b"\x15\x03", "other"),
        (b"\x16\x03\x01\xff\xff" + bytes(70000), "packet length too long", b"\x15\x03", "garbage"),
        (bytes(range(256)) * 40, "wrong version number", b"", "garbage"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "wrong version number", b"", "garbage"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "http request", b"HTTP/1.1 400 ", "http"),
    ],
    ids=["hello", "long", "noise", "ssh", "http"],
)
def test_garbage_instead_of_a_hello(
    server: Server, heard: Counts, garbage: bytes, words: str, said: bytes, kind: str
) -> None:
    """It is said and counted, and the connection is closed, without a reset that would hide the answer."""
    client = connect(server, shake=False)
    client.send(garbage)
    server.finish_work()
    (refused,) = refusals(server)
    assert refused == f"The TLS handshake failed: {words}."
    assert server.site.events["tls"] == 1
    assert heard.read()["tls_handshake_failures_total", kind] == (1.0,)
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
