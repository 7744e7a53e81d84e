"""Bodies in chunks: read in one way only, and as much of them in a turn as leaves room for others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, Client, Server, chunked, compose, serving
from twisted.internet.error import ConnectionLost

from pacarchive.web.http import chunks
from pacarchive.web.http.chunks import ChunkedDecoder, MalformedChunks
from pacarchive.web.http.turns import ALLOWANCE, CHUNK_COST, LEAST_CHUNKS, LEAST_SHARE, LINE_COST, RATE, REQUEST_COST

CHUNKED = "Transfer-Encoding: chunked"
HEAD = compose("PUT", "/7", CHUNKED)
NEXT = compose("DELETE", "/102")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        server.archive.place(102, DATA)
        yield server


class Reader:
    """What a decoder gives."""

    def __init__(self) -> None:
        self.decoder = ChunkedDecoder(self._take, self._end)
        self.data = b""
        self.rest: bytes | None = None
        self.calls = 0

    def _take(self, data: bytes) -> None:
        assert data
        self.data += data
        self.calls += 1

    def _end(self, rest: bytes) -> None:
        assert self.rest is None
        self.rest = rest

    def read(self, data: bytes, most: int = 1000) -> list[int]:
        """All of it, in as many steps as that takes; how much was done in each."""
        self.decoder.feed(data)
        counts = [self.decoder.decode(most)]
        while self.decoder.pending:
            counts.append(self.decoder.decode(most))
        return counts


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=20),
    extension=st.sampled_from([b"", b";a", b";a=b", b';a="b;\\"\r"', b';name="x y";b'.replace(b"\r", b"")]),
    cut=st.integers(1, 50),
    most=st.integers(1, 9),
    rest=st.binary(max_size=20),
)
def test_any_cut(pieces: list[bytes], extension: bytes, cut: int, most: int, rest: bytes) -> None:
    """The same comes out however it comes in, and no step does more than it may."""
    if b"\r" in extension:
        extension = b";a"
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    body += b"0\r\nOne: 1\r\ntwo:\t2 \r\n\r\n" + rest
    reader = Reader()
    for start in range(0, len(body) - len(rest), cut):
        end = start + cut if start + cut < len(body) - len(rest) else len(body)
        counts = reader.read(body[start:end], most)
        assert max(counts) <= most
    assert (reader.data, reader.rest) == (b"".join(pieces), rest)
    assert reader.decoder.trailers == [("one", "1"), ("two", "2")]


def test_small_chunks_are_gathered() -> None:
    """A step hands over what it read in one piece."""
    reader = Reader()
    assert reader.read(b"1\r\nx\r\n" * 900) == [900]
    assert (reader.data, reader.calls) == (b"x" * 900, 1)


BAD_SIZES = [
    b"", b" 5", b"5 ", b"+5", b"-5", b"0x5", b"5_0", b"5h", b"x", b"5,", b"\xef\xbc\x95", b"5\0", b"1" * 17,
    b"5 ;a", b"5; a", b"5;", b"5;a=", b"5;a b", b'5;a="b', b'5;a="b"c', b'5;a="\0"', b"5;a=\x7f", b"5;;a", b"5;a;",
    b"5;" + b"a" * (chunks.EXTENSION_BYTES + 20), b"5\r", b"\r5",
]  # fmt: skip


@pytest.mark.parametrize("size", BAD_SIZES, ids=lambda size: repr(size[:20]))
@pytest.mark.parametrize("piece", [1, None])
def test_bad_sizes(server: Server, size: bytes, piece: int | None) -> None:
    """A size is hexadecimal digits and nothing else; an extension is a short one of the grammar."""
    refused(server, size + b"\r\n01234\r\n0\r\n\r\n", piece)


BAD_ENDS = [b"5\r\n01234\n0\r\n\r\n", b"5\n01234\r\n0\r\n\r\n", b"5\r\n01234\r\n0\n\r\n", b"5\r\n01234\rx0\r\n\r\n"]


@pytest.mark.parametrize("body", BAD_ENDS, ids=repr)
@pytest.mark.parametrize("piece", [1, None])
def test_bad_ends(server: Server, body: bytes, piece: int | None) -> None:
    """Lines of the framing end in CR LF."""
    refused(server, body, piece)


BAD_TRAILERS = [
    b"a: b\n\r\n", b"a: b\r\n\n", b"a: b\r\nc: d\n\r\n", b"\n", b"a: b\rc: d\r\n\r\n", b"a: b\r\r\n\r\n",
    b"a: \0\r\n\r\n", b"\0: a\r\n\r\n", b"a: \x01\r\n\r\n", b"a: \x7f\r\n\r\n",
    b" a: b\r\n\r\n", b"a: b\r\n c\r\n\r\n", b"a: b\r\n\tc\r\n\r\n",
    b"a\r\n\r\n", b": a\r\n\r\n", b"a : b\r\n\r\n", b"a b: c\r\n\r\n", b"\xe4: b\r\n\r\n", b"(a): b\r\n\r\n",
    b"a: " + b"b" * chunks.TRAILER_BYTES + b"\r\n\r\n", b"a" * chunks.TRAILER_BYTES + b"bcd",
    b"a: 12345678\r\n" * (chunks.TRAILER_COUNT + 1) + b"\r\n", b"a: b\r\n" * 10_000 + b"\r\n",
]  # fmt: skip


@pytest.mark.parametrize("trailers", BAD_TRAILERS, ids=lambda each: repr(each[:20]))
@pytest.mark.parametrize("piece", [1, 5, None])
def test_bad_trailers(server: Server, trailers: bytes, piece: int | None) -> None:
    """Trailer fields are as strict as the head of a request, and few."""
    refused(server, b"5\r\n01234\r\n0\r\n" + trailers, piece)


@pytest.mark.parametrize("name", sorted(chunks.FORBIDDEN))
@pytest.mark.parametrize("spelling", [str.title, str.upper, str.lower])
def test_forbidden_trailers(server: Server, name: str, spelling: type[str]) -> None:
    """What frames, routes, authorises or modifies a request comes before its body, or not at all."""
    refused(server, chunked(b"01234", trailers=[f"{spelling(name)}: 0"]), None)


def refused(server: Server, body: bytes, piece: int | None) -> None:
    """400, and the end of the connection: nothing is stored, and nothing that follows is done."""
    client = server.connect().send(HEAD).send(body + NEXT, piece)
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (400, True)
    assert answer.error["message"]
    assert not client.connected
    assert (server.archive.data(7), server.archive.data(102)) == (None, DATA)
    assert server.site.events["framing"] == 1


@pytest.mark.parametrize("trailers", [["A: b"] * chunks.TRAILER_COUNT, ["A: " + "b" * (chunks.TRAILER_BYTES - 5)]])
def test_what_trailers_may_be(server: Server, trailers: list[str]) -> None:
    """Up to the limits they pass, and the next request of the pipeline is the next request."""
    client = server.connect().send(HEAD + chunked(DATA, trailers=trailers) + compose("GET", "/7"))
    assert [answer.status for answer in client.answers("PUT")] == [201, 200]


def test_bad_trailers_of_a_refused_body(server: Server) -> None:
    """Nobody waits for its end: what seems to follow is not done either."""
    client = server.connect().send(compose("PUT", "/x", CHUNKED))
    assert [answer.status for answer in client.answers("PUT")] == [404]
    client.send(b"1\r\nx\r\n0\r\na: b\n\r\n" + NEXT)
    assert client.take() == b""
    assert server.archive.data(102) == DATA


# Cost


@pytest.mark.parametrize("size", [1, 2])
def test_more_framing_than_data(server: Server, size: int) -> None:
    """A sender of very small chunks is refused when they are very many."""
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    client = server.connect().send(HEAD)
    sent = 0
    while client.connected and sent < 1_000_000:
        client.send(chunk * 10_000)
        sent += 10_000
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (400, True)
    assert "too small" in answer.error["message"]
    assert 80_000 < sent < 300_000
    assert server.archive.data(7) is None


@pytest.mark.parametrize("size", [3, 40])
def test_small_chunks_of_an_honest_sender(server: Server, size: int) -> None:
    """Lines of a slow producer, a chunk each, may be as many as there are."""
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    client = server.connect().send(HEAD)
    for _ in range(40):
        client.send(chunk * 10_000)
    client.send(b"0\r\n\r\n")
    assert [answer.status for answer in client.answers("PUT")] == [201]
    assert len(server.archive.data(7)) == size * 400_000


def test_extensions_cost_as_well(server: Server) -> None:
    """They are framing, too."""
    client = server.connect().send(HEAD)
    for _ in range(20):
        client.send((b"4;" + b"a" * 200 + b"\r\nxxxx\r\n") * 1000)
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (400, True)


def received(clients: list[Client]) -> int:
    """How many bytes of bodies have been decoded."""
    return sum(client.protocol.requests[-1].body.received for client in clients)


def turn_with_another(server: Server) -> None:
    """One turn, in which somebody else asks for little, and has it at once, however long the line of others is."""
    client = server.connect(f"10.0.{len(server.clients) >> 8}.{len(server.clients) & 255}")
    client.protocol.dataReceived(compose("HEAD", "/102"))
    server.turn()
    (answer,) = client.answers("HEAD")
    assert answer.status == 204
    client.transport.lose(ConnectionLost())


@pytest.mark.parametrize("count", [1, 150])
def test_a_turn_is_short(server: Server, count: int) -> None:
    """However many senders of very small chunks there are, a turn has room for a few thousand chunks; then others."""
    clients = [server.connect().send(HEAD) for _ in range(count)]
    chunks = max(2_500, 10_000 // count)  # more than a turn has room for
    read = b"1\r\nx\r\n" * chunks
    for client in clients:
        client.protocol.dataReceived(read)
    most = ALLOWANCE // CHUNK_COST + count * LEAST_CHUNKS
    before = received(clients)
    assert 0 < before <= most
    turns = 1
    while server.site.turns.waiting:
        held = [client for client in clients if client.transport.producerState == "paused"]
        assert held, "who has sent more than a turn's work sends no more before that is done"
        turn_with_another(server)
        now = received(clients)
        assert 0 <= now - before <= (ALLOWANCE + LEAST_SHARE) // CHUNK_COST  # the last one may have that
        before, turns = now, turns + 1
    assert before == chunks * count
    work = chunks * count * CHUNK_COST
    assert work // ALLOWANCE <= turns <= 2 * work // RATE
    assert all(client.transport.producerState == "producing" for client in clients)
    for client in clients:
        client.hang_up()


def test_who_waits_for_a_turn_is_not_slow(server: Server) -> None:
    """Nothing more comes from it meanwhile, as it is held back."""
    client = server.connect().send(HEAD)
    client.protocol.dataReceived(b"1\r\nx\r\n" * 10_000)
    assert server.site.turns.waiting == 1
    server.clock.rightNow += server.limits.progress_timeout + 1
    client.protocol.timeoutConnection()
    server.pass_turns()
    client.send(b"0\r\n\r\n")
    assert [answer.status for answer in client.answers()] == [201]


def test_gone_in_line(server: Server) -> None:
    """Who leaves while there is work of his is not worked for."""
    client = server.connect().send(HEAD)
    client.protocol.dataReceived(b"1\r\nx\r\n" * 10_000)
    assert server.site.turns.waiting == 1
    client.hang_up()
    assert server.site.turns.waiting == 0
    server.clock.advance(0)
    assert server.archive.unended == 0


def test_half_closed_in_line(server: Server) -> None:
    """A peer that has sent everything is answered when all of it has been read; a body that was cut is told so."""
    for end, status in ((b"0\r\n\r\n", 201), (b"", 400)):
        client = server.connect().send(HEAD)
        client.protocol.dataReceived(b"1\r\nx\r\n" * 20_000 + end)
        client.end()
        assert client.take() == b""
        server.pass_turns()
        assert [answer.status for answer in client.answers("PUT")] == [status]
        assert not client.connected


def test_pipelined_requests_take_turns(server: Server) -> None:
    """As for chunks: a read of two thousand requests is not answered at once, but all are, in order."""
    client = server.connect()
    request = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"
    client.protocol.dataReceived(request * 2000 + compose("GET", "/102"))
    assert client.transport.producerState == "paused"
    count = len(client.answers())
    assert 0 < count <= 200
    turns = 0
    while server.site.turns.waiting:
        turn_with_another(server)
        some = client.answers()
        assert len(some) <= 200
        count, turns = count + len(some), turns + 1
    assert turns <= 2 * 2001 * (REQUEST_COST + 2 * LINE_COST) // RATE, "it rests, and not for long"
    assert (count, some[-1].body) == (2001, DATA)
    assert client.transport.producerState == "producing"


def test_pipelined_requests_wait_for_the_client(server: Server) -> None:
    """Answers that the client does not take are not piled up, however much was asked for at once."""
    server.archive.place(103, bytes(60_000))
    client = server.connect()
    client.transport.room = 1 << 16
    client.protocol.dataReceived(compose("GET", "/103") * 1000)
    server.pass_turns()
    assert client.transport.unread < 1 << 18
    assert client.transport.producerState == "paused"
    count = 0
    while client.transport.unread:
        count += len(client.answers())
        client.transport.unread = 0
        client.protocol.resumeProducing()
        server.pass_turns()
    assert count == 1000


def test_decoder_stops_at_an_error() -> None:
    """Nothing is pending after it."""
    reader = Reader()
    with pytest.raises(MalformedChunks):
        reader.read(b"1\r\nx\r\nnonsense\r\n")
    assert not reader.decoder.pending
