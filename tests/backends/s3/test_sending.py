"""Requests over real connections, to real stores and to one that misbehaves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS

from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer
from pacarchive.backends.contract.handling import in_reactor, open_descriptors, pattern, wait_for
from pacarchive.backends.s3.bucket import Absent, Bucket, Tagged, UnfulfilledError
from pacarchive.backends.s3.connections import Connections
from pacarchive.backends.s3.request import Addresses
from pacarchive.backends.s3.sending import NoAnswerError, Stream, Wire
from pacarchive.backends.s3.signing import CredentialSource, find_credentials
from pacarchive.backends.s3.store import ObjectStore
from pacarchive.backends.s3.sums import Sum
from pacarchive.runtime.threads import BlockingPool

MIB = 1 << 20
reactor: Any = _reactor


@asynccontextmanager
async def connected(idle: int = 0, patience: float = 30) -> AsyncIterator[Wire]:
    """What sends requests."""
    connections = Connections(reactor, BrowserLikePolicyForHTTPS(), 10, idle)
    agent = Agent.usingEndpointFactory(reactor, connections, connections.pool)
    yield Wire(agent, reactor, patience, connections.settled)
    await connections.close()


@pytest.fixture(params=[0, 4], ids=["closing", "keeping"])
def bucket(object_server: ObjectServer, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """The bucket of a store, over connections that are closed after each request, or kept."""
    pool = BlockingPool(reactor, "credentials", 1)
    pool.start()
    credentials = CredentialSource(pool, reactor.seconds, find_credentials(ACCESS_KEY, SECRET_KEY, ""))
    host = object_server.endpoint.removeprefix("http://")
    wires = connected(request.param)
    store = ObjectStore(
        wait_for(wires.__aenter__()),
        reactor,
        credentials,
        Addresses("http", host, BUCKET, virtual=False),
        "us-east-1",
        most=8,
        retry_for=20,
        chance=random.random,
    )
    yield Bucket(store, unsigned=True)
    wait_for(wires.__aexit__(None, None, None))
    pool.stop()


def total_of(bucket: Bucket, data: bytes) -> Sum:
    """The sum of a part."""
    summing = bucket.summing()
    summing.update(data)
    return summing.total()


@in_reactor
async def test_objects_are_stored_under_conditions(bucket: Bucket) -> None:
    """By keys with all that a URL quotes."""
    for name in ("a/1", "a b+c/&=?#%~'(é)"):
        key = f"conditions-{id(bucket)}/{name}"
        first = await bucket.put(key, [b"wor", b"ds"], Absent())
        with pytest.raises(UnfulfilledError):
            await bucket.put(key, [b"other"], Absent())
        assert await bucket.get(key, most=100) == (b"words", first)
        second = await bucket.put(key, [b"WORDS"], Tagged(first.tag))
        with pytest.raises(UnfulfilledError):
            await bucket.put(key, [b"other"], Tagged(first.tag))
        with pytest.raises(UnfulfilledError):
            await bucket.delete(key, Tagged(first.tag))
        assert await bucket.head(key) == second
        assert [each.key for each in (await bucket.page(key, 10)).objects] == [key]
        await bucket.delete(key, Tagged(second.tag))
        assert await bucket.get(key, most=100) is None
        assert await bucket.head(key) is None
        with pytest.raises(UnfulfilledError):
            await bucket.put(key, [b"other"], Tagged(second.tag))


@in_reactor
async def test_an_object_is_made_of_parts(bucket: Bucket) -> None:
    """And is there once they are put together; to do that again does no harm."""
    key, data = f"parts-{id(bucket)}", pattern(5 * MIB) + pattern(MIB, 1)
    upload = await bucket.create(key)
    parts = [
        await bucket.put_part(key, upload, 1, [data[:MIB], data[MIB : 5 * MIB]], total_of(bucket, data[: 5 * MIB])),
        await bucket.put_part(key, upload, 2, [data[5 * MIB :]], total_of(bucket, data[5 * MIB :])),
    ]
    assert upload in [each.upload for each in (await bucket.uploads(key, None))[0]]
    assert await bucket.head(key) is None
    stored = await bucket.complete(key, upload, parts, len(data))
    assert await bucket.complete(key, upload, parts, len(data)) == stored
    for offset, length in ((0, len(data)), (5 * MIB - 1, 2), (3, MIB)):
        stream = await bucket.stream(key, stored, offset, length)
        assert await stream.read(1) + await stream.read(length - 1) == data[offset : offset + length]
    other = await bucket.create(key)
    await bucket.abort(key, other)
    await bucket.abort(key, other)
    assert await bucket.head(key) == stored


@in_reactor
async def test_a_stream_that_is_left_is_closed(bucket: Bucket) -> None:
    """However much of it has come."""
    before = open_descriptors()
    stored = await bucket.put(f"left-{id(bucket)}", [pattern(4 * MIB)])
    for read in (0, 1, 3 * MIB):
        stream = await bucket.stream(f"left-{id(bucket)}", stored, 0, 4 * MIB)
        if read:
            await stream.read(read)
        stream.close()
        await stream._settled()
    await bucket.head("left")
    if bucket.store._wire._agent._pool.persistent is False:  # type: ignore[attr-defined]
        assert open_descriptors() == before


@in_reactor
async def test_what_is_cancelled_leaves_no_connection(bucket: Bucket) -> None:
    """At whatever moment."""
    before = open_descriptors()
    for _ in range(10):
        work = Deferred.fromCoroutine(bucket.put(f"cancelled-{id(bucket)}", [pattern(MIB)]))
        for _ in range(3):
            work.cancel()
        with pytest.raises(CancelledError):
            await work
        left = set(open_descriptors().values()) - set(before.values())
        assert len(left) <= 4


class _Babbler(Protocol):
    """A server that sends what it likes, and then goes or stays."""

    says = b""
    goes = False

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.says)
        self.says = b""
        if self.goes:
            self.transport.loseConnection()


@asynccontextmanager
async def babbling(says: bytes, *, goes: bool) -> AsyncIterator[str]:
    """The URL of such a server."""
    factory: Any = Factory.forProtocol(type("Babbler", (_Babbler,), {"says": says, "goes": goes}))
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}/"
    finally:
        await port.stopListening()


@pytest.mark.parametrize(
    ("says", "goes"),
    [
        (b"", True),
        (b"", False),
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nwords", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nwords", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwords\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nwords", True),
        (b"nonsense\r\n\r\n", True),
    ],
    ids=["gone", "silent", "head", "short", "stuck", "long", "chunk", "no-length", "nonsense"],
)
@in_reactor
async def test_servers_that_do_not_answer(says: bytes, goes: bool) -> None:
    """Nothing of that is an answer, none is waited for without end, and nothing is left."""
    async with connected(patience=0.3) as wire, babbling(says, goes=goes) as url:
        with pytest.raises(NoAnswerError):
            await wire.ask("GET", url, {}, most=1000)
        with pytest.raises(NoAnswerError):
            await wire.ask("PUT", url, {}, [pattern(MIB)] * 4, most=1000)
        with pytest.raises(NoAnswerError):
            await _read_beyond(wire, url)


async def _read_beyond(wire: Wire, url: str) -> None:
    answer = await wire.begin("GET", url, {})
    assert isinstance(answer, Stream)
    await answer.read(1 + answer.left)


class _Telling(Protocol):
    """Tells how much came at once."""

    def __init__(self, told: list[int]) -> None:
        self._told = told
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._told.append(len(data))

    def connectionLost(self, reason: object = None) -> None:
        self.ended.callback(None)


class _Pouring(Protocol):
    """Sends much, and ends."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(bytes(4 * MIB))
        self.transport.loseConnection()


@in_reactor
async def test_much_is_read_in_large_pieces() -> None:
    """Larger ones than Twisted's own: there is less to do for each byte."""
    port = reactor.listenTCP(0, Factory.forProtocol(_Pouring), interface="127.0.0.1")
    connections = Connections(reactor, BrowserLikePolicyForHTTPS(), 10, 0)
    told: list[int] = []
    protocol = _Telling(told)
    try:
        uri = URI.fromBytes(b"http://127.0.0.1:%d/" % port.getHost().port)
        factory = Factory()
        factory.buildProtocol = lambda _: protocol  # type: ignore[method-assign,assignment]
        await connections.endpointForURI(uri).connect(factory)
        await protocol.ended
    finally:
        await connections.close()
        await port.stopListening()
    assert sum(told) == 4 * MIB
    assert max(told) > 64 << 10


class _Dripping(Protocol):
    """A store that sends each answer in small pieces, over a connection that stays."""

    size = MIB + 77

    def dataReceived(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            size = self.size if data.startswith(b"GET /large") else 5
            self._send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + pattern(size))

    def _send(self, rest: bytes) -> None:
        assert self.transport is not None
        self.transport.write(rest[:9000])
        if rest[9000:]:
            reactor.callLater(0, self._send, rest[9000:])


@in_reactor
async def test_what_comes_in_small_pieces_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel: the reactor is not woken for each.  The last piece comes all the same, and the next answer."""
    pieces: list[int] = []
    receive = Stream.dataReceived
    made = 0

    def noted(stream: Stream, data: bytes) -> None:
        pieces.append(len(data))
        receive(stream, data)

    def make(_: object) -> Protocol:
        nonlocal made
        made += 1
        return _Dripping()

    monkeypatch.setattr(Stream, "dataReceived", noted)
    factory = Factory()
    factory.buildProtocol = make  # type: ignore[method-assign,assignment]
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    async with connected(idle=1, patience=10) as wire:
        for _ in range(3):
            stream = await wire.begin("GET", f"{url}/large", {})
            assert isinstance(stream, Stream)
            read = [await stream.read(min(300_000, stream.left)) for _ in range(4)]
            assert b"".join(read) == pattern(_Dripping.size)
            small = await wire.ask("GET", f"{url}/small", {}, most=10)
            assert (small.status, small.body) == (200, pattern(5))
    await port.stopListening()
    assert made == 1
    assert len(pieces) <= 3 * 8, "as many as were sent would be 3 * 117"
