"""
How much, how many and how long: every limit that keeps one client from hurting others, and the drain at the end.

Time is the clock's.  Head sizes are in C{test_framing}; downloads to slow readers in C{test_download}.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from support import DATA, Client, Server, chunked, compose, serving

from pacarchive.web.http.settings import LimitSettings

LIMITS = LimitSettings(
    header_timeout=10,
    idle_timeout=20,
    progress_timeout=30,
    progress_bytes=10,
    linger_timeout=5,
    connections=3,
    client_share=100,
    body=1000,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(limits=LIMITS)) as server:
        server.archive.place(102, DATA)
        yield server


def upload(
    server: Server, length: int = 900, sent: int = 100, fields: tuple[str, ...] = ("Expect: 100-continue",)
) -> Client:
    """An upload under way."""
    client = server.connect()
    client.send(compose("PUT", "/7", *fields, f"Content-Length: {length}"))
    client.take()
    return client.send(bytes(sent))


def state(client: Client) -> str:
    """C{"open"}, or how the server ended it."""
    transport = client.transport
    return transport.closed or ("half-closed" if transport.half_closed else "open")


# Time for a head


def test_dribbling_head(server: Server) -> None:
    """A head has its time from its first byte, and no byte prolongs it: 408, and the end."""
    request = compose("GET", "/102")
    for begun in (1, 10, len(request) - 15):
        client = server.connect()
        server.clock.advance(15)
        client.send(request[:begun])
        for at in range(begun, begun + 9):
            server.clock.advance(1)
            client.send(request[at : at + 1])
            assert state(client) == "open"
        server.clock.advance(1)
        (answer,) = client.answers()
        assert (answer.status, answer.closes) == (408, True)
        assert answer.error["message"]
        assert state(client) == "half-closed"
        server.clock.advance(5)
        assert state(client) == "aborted"


def test_each_head_has_its_time(server: Server) -> None:
    """The time of the first request's head is not the second's, kept alive or pipelined."""
    client = server.connect()
    request = compose("GET", "/102")
    for _ in range(5):
        client.send(request[:-1])
        server.clock.advance(9)
        client.send(request[-1:])
        assert [answer.status for answer in client.answers()] == [200]
        server.clock.advance(9)
    client.send(request + request[:10])
    assert [answer.status for answer in client.answers()] == [200]
    server.clock.advance(9)
    client.send(request[10:] + request[:10])
    assert [answer.status for answer in client.answers()] == [200]
    server.clock.advance(9)
    assert state(client) == "open"
    server.clock.advance(1)
    assert [answer.status for answer in client.answers()] == [408]


def test_head_behind_a_slow_request(server: Server) -> None:
    """The part of a head that waits behind a request has its time when its turn comes."""
    waiting = server.archive.hold("status")
    client = server.connect()
    request = compose("GET", "/102")
    client.send(compose("HEAD", "/102") + request[:10])
    server.clock.advance(1000)
    assert state(client) == "open"
    waiting.callback(None)
    assert [answer.status for answer in client.answers("HEAD")] == [204]
    server.clock.advance(9)
    client.send(request[10:])
    assert [answer.status for answer in client.answers()] == [200]


# Time between requests


def test_idle(server: Server) -> None:
    """A connection without a request is closed after a while, the first time and every other."""
    client = server.connect()
    server.clock.advance(19)
    assert client.ask("GET", "/102").status == 200
    server.clock.advance(19)
    assert client.ask("PUT", "/7", body=DATA).status == 201
    server.clock.advance(19)
    assert state(client) == "open"
    server.clock.advance(1)
    assert state(client) == "closed"
    assert client.take() == b""
    assert server.site.events == {}, "that is no failure"


@pytest.mark.parametrize("kind", ["small", "invited", "chunked", "refused", "of a GET"])
def test_idle_after_a_body(server: Server, kind: str) -> None:
    """After a body the time of an idle connection is in force again, and not that of bodies."""
    client = server.connect()
    if kind == "small":
        client.send(compose("PUT", "/7", body=DATA))
    elif kind == "invited":
        client.send(compose("PUT", "/7", "Expect: 100-continue", body=DATA))
    elif kind == "chunked":
        client.send(compose("PUT", "/7", "Transfer-Encoding: chunked", body=chunked(DATA)))
    elif kind == "refused":
        client.send(compose("PUT", "/7", body=bytes(20_000)))
    else:
        client.send(compose("GET", "/102", body=bytes(20_000)))
    server.clock.advance(19)
    assert state(client) == "open"
    server.clock.advance(1)
    assert state(client) == "closed"


# Time for a body


@pytest.mark.parametrize(("fields", "patience"), [(("Expect: 100-continue",), 30), ((), 20)], ids=["early", "at once"])
def test_stalled_upload(server: Server, fields: tuple[str, ...], patience: int) -> None:
    """An upload in which no byte comes is dropped, and leaves nothing; one of which enough comes lives."""
    client = upload(server, fields=fields)
    for _ in range(20):
        server.clock.advance(patience - 1)
        client.send(bytes(10))
        assert state(client) == "open"
    server.clock.advance(patience)
    assert state(client) == "open", "something came within this time"
    server.clock.advance(patience)
    assert state(client) == "aborted"
    server.clock.advance(0)
    assert server.archive.data(7) is None
    assert server.archive.unended == 0
    assert server.site.events == {"stalled": 1}


def test_slow_upload(server: Server) -> None:
    """What is slow but moves enough is never too slow."""
    client = upload(server, length=400, sent=0)
    for _ in range(400):
        server.clock.advance(2.5)
        client.send(b"x")
    assert [answer.status for answer in client.answers("PUT")] == [201]
    assert state(client) == "open"


@pytest.mark.parametrize(
    ("fields", "length", "patience"),
    [(("Expect: 100-continue",), 900, 30), ((), 900, 20), ((), 50_000, 30), (("Transfer-Encoding: chunked",), 0, 30)],
    ids=["expect", "small", "large", "chunked"],
)
def test_upload_that_dribbles(fields: tuple[str, ...], length: int, patience: int) -> None:
    """A byte now and then is no upload: 408 with words that name the settings, and nothing is left."""
    with serving(Server(limits=attrs.evolve(LIMITS, body=1 << 20))) as server:
        client = server.connect()
        declared = [] if length == 0 else [f"Content-Length: {length}"]
        client.send(compose("PUT", "/7", *fields, *declared))
        client.take()
        for _ in range(patience // 5 - 1):
            server.clock.advance(5)
            client.send(b"x" if length else b"1\r\nx\r\n")
            assert (client.take(), state(client)) == (b"", "open")
        server.clock.advance(5)
        (answer,) = client.answers("PUT")
        assert (answer.status, answer.closes) == (408, True)
        assert "[limits] progress_bytes" in answer.error["message"]
        assert state(client) == "half-closed"
        assert server.archive.data(7) is None
        assert server.archive.unended == 0
        assert server.site.events == {"TooSlow": 1}


def test_stalled_refused_body(server: Server) -> None:
    """A refused body whose rest never comes is no reason to wait either."""
    client = server.connect()
    client.send(compose("PUT", "/7", "Content-Length: 20000"))
    assert [answer.status for answer in client.answers("PUT")] == [413]
    server.clock.advance(30)
    assert state(client) == "aborted"


def test_long_linger() -> None:
    """While the end of a connection is awaited, no other time runs."""
    with serving(Server(limits=LimitSettings(linger_timeout=100, idle_timeout=20, progress_timeout=30))) as server:
        for data in (compose("PUT", "/x", "Content-Length: 1000000"), b"nonsense\r\n"):
            client = server.connect().send(data)
            assert state(client) == "half-closed"
            server.clock.advance(99)
            assert state(client) == "half-closed"
            server.clock.advance(1)
            assert state(client) == "aborted"


def test_slow_backend(server: Server) -> None:
    """No time runs against a client that has sent everything."""
    waiting = server.archive.hold("commit")
    client = upload(server, length=100, sent=100)
    server.clock.advance(10_000)
    assert state(client) == "open"
    waiting.callback(None)
    assert [answer.status for answer in client.answers("PUT")] == [201]


# How many


def test_connections(server: Server) -> None:
    """One too many is told so, and the next is welcome when one has gone."""
    clients = [server.connect() for _ in range(3)]
    refused = server.connect()
    (answer,) = refused.answers()
    assert (answer.status, answer.closes, answer.field("Retry-After")) == (503, True, "5")
    assert answer.error["message"]
    assert answer.field("Allow")
    assert answer.field("Server")
    assert state(refused) == "closed"
    assert server.site.events == {"connections": 1}
    assert clients[0].ask("GET", "/102").status == 200
    clients[0].hang_up()
    assert server.connect().ask("GET", "/102").status == 200


# How much


def test_body(server: Server) -> None:
    """A body of the largest size is taken, and one more byte is not, whether it was announced or not."""
    assert server.ask("PUT", "/1", body=bytes(1000)).status == 201
    assert server.ask("PUT", "/2", body=bytes(1001)).status == 413
    answer = server.ask("PUT", "/3", "Transfer-Encoding: chunked", body=chunked(bytes(1000)))
    assert answer.status == 201
    client = server.connect()
    client.send(compose("PUT", "/4", "Transfer-Encoding: chunked", body=chunked(bytes(600), bytes(401))))
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.error["status"].split()[0]) == (413, "413")
    assert server.archive.data(2) is server.archive.data(4) is None


def test_endless_body() -> None:
    """A body without end is not read to its end, and no more of it than the limit is kept."""
    with serving(Server(limits=LimitSettings(body=3 << 20))) as server:
        client = server.connect()
        client.send(compose("PUT", "/7", "Transfer-Encoding: chunked"))
        chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        for _ in range(10):
            client.send(chunk)
        (answer,) = client.answers("PUT")
        assert (answer.status, answer.closes) == (413, True)
        assert not client.connected
        server.clock.advance(server.limits.linger_timeout)
        assert state(client) == "aborted"


# The drain


def test_drain(server: Server) -> None:
    """Idle connections are closed at once; requests under way are finished, and say that they were the last."""
    idle, under_way = server.connect(), upload(server)
    begun = server.connect()
    begun.send(compose("GET", "/102")[:20])
    ended: list[object] = []
    server.site.drain(60).addCallback(ended.append)
    assert state(idle) == "closed"
    server.clock.advance(0)
    assert ended == []
    assert server.words() == ["stopping: waits for 2 requests, at most 60 s more"]
    under_way.send(bytes(800) + compose("GET", "/102"))
    (answer,) = under_way.answers("PUT")
    assert (answer.status, answer.closes) == (201, True)
    assert state(under_way) == "closed"
    begun.send(compose("GET", "/102")[20:])
    (answer,) = begun.answers()
    assert (answer.status, answer.closes) == (200, True)
    server.clock.advance(0)
    assert ended == [None]


def test_a_long_drain_is_told_of(server: Server) -> None:
    """Less and less often, with how many are left and how long they may take; and not at all when nobody is."""
    first, second = upload(server), upload(server)
    ended: list[object] = []
    server.site.drain(300).addCallback(ended.append)
    server.clock.advance(0)
    for _ in range(110):
        server.clock.advance(1)
        first.send(b"x")
        second.send(b"x")
    said = [each.removeprefix("stopping: waits for ") for each in server.words()]
    assert said == [f"2 requests, at most {left} s more" for left in (300, 290, 270, 230)]
    assert ended == []
    first.hang_up()
    second.hang_up()
    server.clock.advance(0)
    assert ended == [None]
    assert not server.clock.getDelayedCalls()


def test_drain_while_a_request_waits(server: Server) -> None:
    """An answer whose headers are written after the drain began says that it is the last, and it is."""
    waiting = server.archive.hold("status")
    client = server.connect()
    client.send(compose("HEAD", "/102") + compose("HEAD", "/102"))
    drained = server.site.drain(60)
    waiting.callback(None)
    (answer,) = client.answers("HEAD")
    assert (answer.status, answer.closes) == (204, True)
    assert state(client) == "closed"
    server.clock.advance(0)
    assert drained.called


def test_drain_limit(server: Server) -> None:
    """What is not done by then is cut, and leaves nothing."""
    client = upload(server)
    ended: list[object] = []
    server.site.drain(7).addCallback(ended.append)
    server.clock.advance(0)
    server.clock.advance(6.9)
    assert (ended, state(client)) == ([], "open")
    server.clock.advance(0.1)
    assert state(client) == "aborted"
    server.clock.advance(0)
    assert ended == [None]
    assert server.archive.data(7) is None
    assert server.archive.unended == 0


def test_drain_of_nothing(server: Server) -> None:
    """Nobody is there: done."""
    assert server.site.drain(7).called


@pytest.mark.parametrize("rest", [b"", b"x" * 60_000], ids=["nothing", "much"])
def test_a_peer_that_does_not_end_its_side(server: Server, rest: bytes) -> None:
    """Over TLS the connection waits for that: with its input read and thrown away, and not for ever."""
    client = server.connect()
    client.transport.loseConnection = lambda: None  # type: ignore[method-assign]
    client.send(compose("GET", "/102", "Connection: close") + rest)
    (answer,) = client.answers()
    assert (answer.status, answer.closes) == (200, True)
    assert client.transport.producerState == "producing"
    client.send(b"DELETE /102 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.clock.advance(LIMITS.progress_timeout - 1)
    assert state(client) == "open"
    server.clock.advance(1)
    assert state(client) == "aborted"
    assert client.answers() == []
    assert server.archive.data(102) == DATA


def test_a_peer_that_takes_its_time(server: Server) -> None:
    """What the kernel still holds for it is not lost while enough of it goes."""
    client = server.connect()
    client.transport.loseConnection = lambda: None  # type: ignore[method-assign]
    ours, theirs = client.transport.kernel
    for _ in range(3):
        ours.send(bytes(10_000))
    client.send(compose("GET", "/102", "Connection: close"))
    for _ in range(3):
        server.clock.advance(LIMITS.progress_timeout)
        assert state(client) == "open"
        theirs.recv(10_000)
    server.clock.advance(LIMITS.progress_timeout)
    assert state(client) == "aborted"


def test_a_peer_that_takes_nothing(server: Server) -> None:
    """It has the time once more, as more than the kernel holds may have been taken in the first."""
    client = server.connect()
    client.transport.loseConnection = lambda: None  # type: ignore[method-assign]
    client.transport.kernel[0].send(bytes(10_000))
    client.send(compose("GET", "/102", "Connection: close"))
    server.clock.advance(LIMITS.progress_timeout)
    assert state(client) == "open"
    server.clock.advance(LIMITS.progress_timeout)
    assert state(client) == "aborted"
