"""
Requests as they come over a connection: early refusals, invitations, bodies in pieces and without end, held senders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from inspect import getsource
from typing import Any

import pytest
from support import DATA, Client, Server, chunked, compose, serving
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web import server as web_server

from pacarchive import errors
from pacarchive.model import Overwrite
from pacarchive.web.http import channel as channel_module
from pacarchive.web.http import intake as intake_module
from pacarchive.web.http import request as request_module
from pacarchive.web.http.body import BLOCK, HIGH_WATER
from pacarchive.web.http.channel import ArchiveChannel
from pacarchive.web.http.intake import IntakeChannel
from pacarchive.web.http.request import DRAIN_LIMIT, ArchiveRequest
from pacarchive.web.http.settings import LimitSettings

LARGE = DRAIN_LIMIT * 4
EXPECT = "Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    limits = LimitSettings(body=10 * LARGE)
    with serving(Server(overwrite=Overwrite.DENY, limits=limits)) as server:
        server.archive.place(102, DATA)
        yield server


def head(target: str, length: int | None, *fields: str) -> bytes:
    """The head of a PUT, whose body is another matter; in chunks where the length is C{None}."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return compose("PUT", target, *fields, framing)


REFUSALS = [
    pytest.param("/x", (), 404, id="404"),
    pytest.param("/102", (), 409, id="409"),
    pytest.param("/102", ("If-None-Match: *",), 412, id="412"),
    pytest.param("/7", ("If-Match: *",), 412, id="412-absent"),
    pytest.param("/7", ("Last-Modified: yesterday",), 400, id="400"),
    pytest.param("/7", ("Content-Encoding: gzip",), 415, id="415"),
    pytest.param("/7", ("Digest: md5=short",), 400, id="400-digest"),
]

# Early refusal


@pytest.mark.parametrize("expect", [(), (EXPECT,)], ids=["", "expect"])
@pytest.mark.parametrize("length", [DRAIN_LIMIT, LARGE, None], ids=["small", "large", "chunked"])
@pytest.mark.parametrize(("target", "fields", "status"), REFUSALS)
def test_refused_before_the_body(
    server: Server, target: str, fields: tuple[str, ...], status: int, length: int | None, expect: tuple[str, ...]
) -> None:
    """The answer is there before any byte of the body, and no 100 before it."""
    client = server.connect()
    client.send(head(target, length, *fields, *expect))
    (answer,) = client.answers("PUT")
    assert answer.status == status
    assert answer.error["message"]
    assert answer.closes == (bool(expect) or length != DRAIN_LIMIT)
    assert "write" not in server.archive.calls


def test_too_large_and_no_space_before_the_body(server: Server) -> None:
    """413 and 507 cost no body either."""
    client = server.connect()
    client.send(head("/7", 10 * LARGE + 1))
    assert [answer.status for answer in client.answers("PUT")] == [413]
    server.archive.trouble["receive"] = errors.NoSpace("The archive is full.")
    client = server.connect()
    client.send(head("/7", LARGE, EXPECT))
    assert [answer.status for answer in client.answers("PUT")] == [507]
    client = server.connect()
    client.send(compose("PUT", "/7", EXPECT))
    assert [answer.status for answer in client.answers("PUT")] == [411]


@pytest.mark.parametrize("piece", [None, 100_000, 4096])
def test_small_refused_body_and_pipeline(server: Server, piece: int | None) -> None:
    """A small refused body passes unread, and what follows it on the connection is answered."""
    client = server.connect()
    # The body looks like a request, which it must not be taken for.
    body = compose("DELETE", "/102") * 1000
    client.send(compose("PUT", "/102", body=body) + compose("GET", "/102") + compose("HEAD", "/102"), piece)
    answers = client.answers("PUT", "GET", "HEAD")
    assert [answer.status for answer in answers] == [409, 200, 204]
    assert answers[1].body == DATA
    assert client.connected


@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_small_refused_body_passes_slowly(server: Server, pieces: int) -> None:
    """While its body passes, the refused request is over for the client, but the connection stays its."""
    client = server.connect()
    body = bytes(DRAIN_LIMIT)
    client.send(head("/102", len(body)))
    assert [answer.status for answer in client.answers("PUT")] == [409]
    for at in range(pieces):
        client.send(body[:10])
        assert client.take() == b"", at
    client.send(body[10 * pieces :])
    assert client.ask("GET", "/102").body == DATA


def test_large_refused_body_lingers(server: Server) -> None:
    """The answer to a large body half-closes the connection; what still comes is thrown away, and the rest is cut."""
    client = server.connect()
    client.send(head("/102", 10 * LARGE))
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (409, True)
    transport = client.transport
    assert (transport.half_closed, transport.closed) == (True, "")
    for _ in range(5):
        client.send(bytes(LARGE))
    assert (client.unsent, transport.closed) == (0, "")
    server.clock.advance(server.limits.linger_timeout - 0.1)
    assert transport.closed == ""
    server.clock.advance(0.1)
    assert transport.closed == "aborted"


def test_refused_body_that_never_comes(server: Server) -> None:
    """The answer is out, and the sender ends: so does the connection, and not only when its time is up."""
    client = server.connect().send(compose("PATCH", "/7", "Content-Length: 70000") + bytes(30_000))
    assert [answer.status for answer in client.answers()] == [415]
    assert client.connected
    client.end()
    assert not client.connected


def test_large_refused_body_sent_to_its_end(server: Server) -> None:
    """A sender that does not look at the answer before it has sent everything is closed in peace."""
    client = server.connect()
    client.send(head("/102", LARGE) + bytes(LARGE) + compose("GET", "/102"))
    assert [answer.status for answer in client.answers("PUT")] == [409], "nothing is answered after the last answer"
    assert client.transport.closed == "closed"


def test_refused_body_of_a_liar(server: Server) -> None:
    """More bytes than were announced are the next request, and no good one."""
    client = server.connect()
    client.send(head("/102", DRAIN_LIMIT) + bytes(DRAIN_LIMIT + 5) + b"\r\n")
    answers = client.answers("PUT")
    assert [answer.status for answer in answers] == [409, 400]
    assert answers[1].closes


@pytest.mark.parametrize("length", [BLOCK, HIGH_WATER, HIGH_WATER + 1])
def test_refused_when_the_body_has_just_come(server: Server, length: int) -> None:
    """All of it is there, and the sender is held back, when the refusal is known: the connection goes on."""
    consent = server.archive.hold("receive")
    client = server.connect().send(head("/7", length) + bytes(length))
    assert client.unsent == 0
    consent.errback(errors.PreconditionFailed("The id is taken."))
    assert [answer.status for answer in client.answers("PUT")] == [412]
    assert client.transport.producerState == "producing"
    assert client.ask("GET", "/102").status == 200


# Expect


@pytest.mark.parametrize("length", [1, len(DATA), LARGE, None], ids=str)
def test_invited(server: Server, length: int | None) -> None:
    """A body that is wanted is invited once, before it is sent."""
    client = server.connect()
    client.send(head("/7", length, EXPECT))
    assert client.take() == CONTINUE
    body = bytes(length or 500)
    client.send(chunked(body) if length is None else body)
    (answer,) = client.answers("PUT")
    assert answer.status == 201
    assert client.connected
    assert server.archive.data(7) == body


def test_invited_late(server: Server) -> None:
    """The invitation waits for the backend's consent."""
    consent = server.archive.hold("receive")
    client = server.connect()
    client.send(head("/7", LARGE, EXPECT))
    assert client.take() == b""
    consent.callback(None)
    assert client.take() == CONTINUE


def test_not_invited_without_body(server: Server) -> None:
    """Nobody is invited to send nothing, and no HTTP/1.0 client is invited: it would take that for the answer."""
    client = server.connect()
    client.send(compose("PUT", "/7", EXPECT, body=b""))
    assert [answer.status for answer in client.answers("PUT")] == [201]
    client.send(compose("GET", "/102", EXPECT))
    assert [answer.status for answer in client.answers("GET")] == [200]
    client.send(b"PUT /8 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 36\r\n\r\n" + DATA)
    assert [answer.status for answer in client.answers("PUT")] == [201]


def test_other_expectations(server: Server) -> None:
    """What else a client may expect is ignored."""
    client = server.connect()
    client.send(compose("PUT", "/7", "Expect: miracles", body=bytes(LARGE)))
    assert [answer.status for answer in client.answers("PUT")] == [201]


# Bodies


@pytest.mark.parametrize("piece", [1, 7, 36, 1000])
def test_pipeline(server: Server, piece: int) -> None:
    """PUT, PUT, GET, however the bytes are cut."""
    first, second = b"first", DATA * 10
    requests = compose("PUT", "/1", body=first) + compose("PUT", "/2", EXPECT, body=second)
    client = server.connect().send(requests + compose("GET", "/1") + compose("GET", "/2"), piece)
    answers = [answer for answer in client.answers("PUT", "PUT", "GET", "GET") if answer.status != 100]
    assert [answer.status for answer in answers] == [201, 201, 200, 200]
    assert [answer.body for answer in answers[2:]] == [first, second]
    assert [json.loads(answer.body)["total_bytes"] for answer in answers[:2]] == [5, 360]


@pytest.mark.parametrize("piece", [1, 2, 3, 1000])
def test_chunked(server: Server, piece: int) -> None:
    """Chunks are taken off exactly, with extensions and trailers; bytes that look like chunks are data."""
    body = b'5;name="value"\r\n0\r\n\r\n\r\n000A\r\n0123456789\r\n0\r\nExpires: never\r\n\r\n'
    client = server.connect()
    client.send(compose("PUT", "/1", "Transfer-Encoding: Chunked", body=body) + compose("GET", "/1"), piece)
    answers = client.answers("PUT", "GET")
    assert json.loads(answers[0].body)["total_bytes"] == 15
    assert answers[1].body == b"0\r\n\r\n0123456789"


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\n012345\r\n0\r\n\r\n",
        b"5\r\n0123\r\n0\r\n\r\n\r\n",
        b"x\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"+5\r\n01234\r\n0\r\n\r\n",
        b"0x5\r\n01234\r\n0\r\n\r\n",
        b" 5\r\n01234\r\n0\r\n\r\n",
        b"5 \r\n01234\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"5\n01234\n0\n\n" + b"x" * 1100,
        b"5;a\nb\r\n01234\r\n0\r\n\r\n",
        b"5" * 1100 + b"\r\n",
        b"0\r\n" + b"x: y\r\n" * 20000 + b"\r\n",
    ],
    ids=lambda body: body[:12].decode("unicode_escape").encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_malformed_chunks(server: Server, body: bytes, piece: int) -> None:
    """400 and the end of the connection; nothing is stored, and nothing more is read."""
    client = server.connect()
    client.send(compose("PUT", "/1", "Transfer-Encoding: chunked", body=body), max(piece, 100 * (len(body) > 2000)))
    client.send(compose("PUT", "/2", body=DATA))
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (400, True)
    assert answer.error["message"]
    assert not client.connected
    assert server.archive.data(1) is server.archive.data(2) is None
    server.clock.advance(server.limits.linger_timeout)
    assert client.transport.closed == "aborted"


def test_malformed_chunk_in_refused_body(server: Server) -> None:
    """The answer was given; there is no second one."""
    client = server.connect()
    client.send(head("/102", None))
    assert [answer.status for answer in client.answers("PUT")] == [409]
    client.send(b"nonsense\r\n" + compose("GET", "/102"))
    assert client.take() == b""


TRAILED = chunked(DATA[:5], DATA[5:], trailers=["A: b"])
BODIES = [
    pytest.param(compose("PUT", "/7", body=DATA), id="length"),
    pytest.param(compose("PUT", "/7", EXPECT, body=DATA), id="expect"),
    pytest.param(compose("PUT", "/7", "Transfer-Encoding: chunked", body=TRAILED), id="chunked"),
]


@pytest.mark.parametrize("request_bytes", BODIES)
@pytest.mark.parametrize("end", ["close", "reset", "half-close", "abort"])
def test_cut_at_every_byte(server: Server, request_bytes: bytes, end: str) -> None:
    """An upload that ends early at any of its bytes leaves nothing, and the id is free for the next one."""
    for cut in range(len(request_bytes)):
        client = server.connect().send(request_bytes[:cut])
        if end == "half-close":
            client.end()
            final = [answer for answer in client.answers("PUT") if answer.status != 100]
            begun = request_bytes.startswith(b"PUT ") and b"\r\n" in request_bytes[:cut]
            assert [answer.status for answer in final] == ([400] if begun else []), cut
            assert all(answer.closes for answer in final)
            assert not client.connected
            server.clock.advance(server.limits.linger_timeout)
        elif end == "abort":
            client.transport.abortConnection()
            server.clock.advance(0)
        else:
            client.hang_up(ConnectionDone() if end == "close" else ConnectionLost())
        assert server.archive.data(7) is None, cut
        assert server.archive.unended == 0, cut
    assert server.ask("PUT", "/7", body=DATA).status == 201


def test_cut_when_the_last_byte_is_there(server: Server) -> None:
    """After the last byte a half-closed upload is complete."""
    for number, request_bytes in enumerate((BODIES[0].values[0], BODIES[2].values[0])):
        assert isinstance(request_bytes, bytes)
        client = server.connect()
        waiting = server.archive.hold("commit")
        client.send(request_bytes.replace(b"/7", b"/%d" % number))
        client.end()
        del server.archive.waits["commit"]
        waiting.callback(None)
        (answer,) = client.answers("PUT")
        assert answer.status == 201
        assert not client.connected
        assert server.archive.data(number) == DATA


def test_half_close_after_a_pipeline(server: Server) -> None:
    """C{printf ... | nc -N} sends its requests and half-closes: each has its answer."""
    waiting = server.archive.hold("status")
    client = server.connect()
    client.send(compose("HEAD", "/102") + compose("GET", "/102") + compose("GET", "/102", "Connection: close"))
    client.end()
    assert client.take() == b""
    waiting.callback(None)
    assert [answer.status for answer in client.answers("HEAD", "GET", "GET")] == [204, 200, 200]
    assert not client.connected


def test_gone_while_the_backend_works(server: Server) -> None:
    """A client that hangs up while its upload waits for the backend: what was begun is undone."""
    for where in ("receive", "write", "commit"):
        server.archive.waits = {where: Deferred()}
        client = server.connect()
        client.send(head("/7", 3 * BLOCK) + bytes(3 * BLOCK))
        client.hang_up()
        assert server.archive.unended == 0, where
        assert server.archive.data(7) is None
    assert server.site.events == {}


# Backpressure


def held(server: Server, length: int | None) -> tuple[Client, Deferred[None]]:
    """An upload whose backend takes nothing for now."""
    waiting = server.archive.hold("write")
    client = server.connect()
    body = bytes(8 * BLOCK)
    client.send(head("/7", length) + (chunked(body) if length is None else body))
    return client, waiting


@pytest.mark.parametrize("length", [8 * BLOCK, None], ids=["length", "chunked"])
def test_backpressure(server: Server, length: int | None) -> None:
    """A sender that is faster than the backend is held; what waits is bounded; and it goes on when the backend does."""
    client, waiting = held(server, length)
    transport = client.transport
    assert transport.producerState == "paused"
    assert transport.bufferSize == 1 << 20
    taken = 8 * BLOCK - client.unsent
    assert taken <= HIGH_WATER + 2 * BLOCK + (1 << 20)
    assert len(server.archive.calls) == 2, "one block is with the backend"
    del server.archive.waits["write"]
    waiting.callback(None)
    assert transport.producerState == "producing"
    client.send()
    (answer,) = client.answers("PUT")
    assert (answer.status, json.loads(answer.body)["total_bytes"]) == (201, 8 * BLOCK)
    assert client.connected
    assert transport.bufferSize == 1 << 16, "large reads are for large bodies"


def test_backpressure_is_not_the_clients_slowness(server: Server) -> None:
    """While we hold the sender, no time runs against it; when it may go on, it must."""
    client, waiting = held(server, 8 * BLOCK)
    server.clock.advance(100 * server.limits.progress_timeout)
    assert client.connected
    del server.archive.waits["write"]
    waiting.callback(None)
    server.clock.advance(server.limits.progress_timeout)
    assert client.transport.closed == "aborted"
    server.clock.advance(0)
    assert server.archive.data(7) is None


def test_gone_while_held(server: Server) -> None:
    """A held sender that hangs up leaves nothing, and is not resumed."""
    client, waiting = held(server, 8 * BLOCK)
    client.hang_up()
    assert server.archive.unended == 0
    assert waiting.called, "it was cancelled"
    assert client.transport.producerState == "paused"


def test_failure_while_held(server: Server) -> None:
    """The backend's disk runs full in mid-body: the answer comes although the sender was held, and it is let go."""
    client, waiting = held(server, 8 * BLOCK)
    waiting.errback(errors.NoSpace("The archive is full."))
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (507, True)
    assert client.transport.producerState == "producing"
    client.send()
    assert client.unsent == 0
    assert client.transport.closed == "closed"
    assert server.archive.data(7) is None


def test_pipelined_flood_is_held(server: Server) -> None:
    """Requests that pile up behind a slow one hold the sender as well."""
    waiting = server.archive.hold("open")
    client = server.connect()
    flood = compose("GET", "/102") * 10_000
    client.send(flood, piece=1 << 12)
    assert client.transport.producerState == "paused"
    assert len(flood) - client.unsent < 1 << 15
    client.hang_up()
    assert server.archive.calls == ["open"]
    assert waiting.called, "it was cancelled"


def test_many_pieces(server: Server) -> None:
    """A body in single bytes is gathered into blocks before it goes to the backend."""
    client = server.connect().send(head("/7", 50_000) + bytes(50_000), piece=1)
    assert [answer.status for answer in client.answers("PUT")] == [201]
    assert server.archive.calls == ["receive", "write", "commit"]


# Other answers of a connection


def test_connection_close(server: Server) -> None:
    """What the client asks for in any of the ways that there are."""
    for field in ("Connection: close", "connection: Keep-Alive, Close", "Connection: foo\r\nConnection: close"):
        client = server.connect()
        client.send(compose("GET", "/102", field) + compose("GET", "/102"))
        (answer,) = client.answers()
        assert answer.closes
        assert client.transport.closed == "closed"


@pytest.mark.parametrize("field", ["", "Connection: keep-alive\r\n"])
def test_http_1_0(server: Server, field: str) -> None:
    """An old client gets no chunks, and the end of the connection; it need not name a host."""
    for method, target, status in (
        ("GET", "/102", 200), ("GET", "/", 200), ("HEAD", "/102", 204), ("GET", "/9", 404), ("BREW", "/9", 405),
    ):  # fmt: skip
        client = server.connect()
        client.send(f"{method} {target} HTTP/1.0\r\nX-Forwarded-For: 192.0.2.1\r\n{field}\r\n".encode())
        (answer,) = client.answers(method)
        assert (answer.status, answer.closes) == (status, True)
        assert client.transport.closed == "closed"
    client = server.connect()
    client.send(b"PUT /7 HTTP/1.0\r\nContent-Length: 36\r\n\r\n" + DATA)
    assert [answer.status for answer in client.answers()] == [201]


def test_get_with_body(server: Server) -> None:
    """A body where none belongs is passed over, not parsed."""
    client = server.connect()
    for length in (10, 20_000, DRAIN_LIMIT):
        client.send(compose("GET", "/102", body=bytes(length)) + compose("GET", "/102"))
        assert [(answer.status, answer.body) for answer in client.answers()] == [(200, DATA)] * 2


# What is used of Twisted

PRIVATE = {
    http.HTTPChannel: [
        "_respondToBadRequestAndDisconnect", "_finishRequestBody", "_savedTimeOut", "_receivedHeaderSize",
        "_receivedHeaderCount", "requestDone", "timeoutConnection", "checkPersistence", "allContentReceived",
        "allHeadersReceived", "headerReceived", "lineLengthExceeded", "forceAbortClient", "maxHeaders",
        "totalHeadersSize", "_buffer", "_busyReceiving", "MAX_LENGTH", "line_mode", "persistent",
    ],
    http.Request: ["_cleanup", "gotLength", "handleContentChunk", "requestReceived", "parseCookies", "startedWriting"],
    web_server.Request: ["processingFailed", "process", "defaultContentType"],
    TimeoutMixin: ["setTimeout", "resetTimeout", "callLater"],
}  # fmt: skip


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, names in PRIVATE.items() for name in names])
def test_twisted_has_the_attribute(cls: type, name: str) -> None:
    """An upgrade of Twisted without this attribute breaks C{channel.py} or C{request.py}."""
    assert hasattr(cls, name), f"twisted's {cls.__name__} has no {name} any more, which we use"


def test_twisted_sets_the_attributes() -> None:
    """The same for attributes that only instances have."""
    channel: Any = http.HTTPFactory(reactor=Clock()).buildProtocol(None)
    channel = channel._channel
    channel.requestFactory = http.Request
    channel.makeConnection(StringTransport())
    channel.dataReceived(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    (request,) = channel.requests
    for owner, names in (
        (channel, "_command _path _version _transferDecoder _networkProducer _handlingRequest timeOut"),
        (channel, "_waitingForTransport"),
        (request, "queued _disconnected content channel transport notifications finished"),
        (FileDescriptor(MemoryReactor()), "dataBuffer _tempDataBuffer doWrite bufferSize"),
    ):
        for name in names.split():
            words = f"twisted's {type(owner).__name__} has no {name} any more, which we use"
            assert hasattr(owner, name), words
    assert "queued" in getsource(http.Request.finish), "ArchiveRequest.finish relies on finish() looking at queued"
    assert "_savedTimeOut" in getsource(http.HTTPChannel.requestDone), "the idle time-out is restored by requestDone"
    channel.connectionLost(Failure(ConnectionDone()))
    request.content.close()


def test_every_private_name_is_guarded() -> None:
    """A private name that C{channel.py} or C{request.py} takes from Twisted must stand in the tables above."""
    used = set(
        re.findall(
            r"\b(?:self|channel|transport|request|_decoder)\.(_[a-z]\w*)",
            getsource(channel_module) + getsource(intake_module) + getsource(request_module),
        )
    )
    ours = (
        set(vars(ArchiveChannel))
        | set(vars(IntakeChannel))
        | set(vars(ArchiveRequest))
        | {"_secure", "_backlog", "_owed"}
    )
    guarded = {name for names in PRIVATE.values() for name in names} | {
        "_command", "_path", "_version", "_transferDecoder", "_networkProducer", "_disconnected",
        "_tempDataBuffer", "_handlingRequest", "_waitingForTransport",
    }  # fmt: skip
    assert used - ours - guarded == set()
