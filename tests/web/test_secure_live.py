"""L{pacarchive.web.http.secure} over real sockets: where a thread reads, hashes, encrypts and sends."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from certificates import Pair, trusting
from live import Live, in_reactor, live
from support import compose, read_answer
from test_sendfile import LARGE, LAST, MIB, archive, read_all, store, talk
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pacarchive.settings.server import VerifyReads
from pacarchive.web.http.credentials import Context, Credentials
from pacarchive.web.http.flow import BLOCK
from pacarchive.web.http.settings import ClientCertificates, TlsVersion
from pacarchive.web.pumps import SealedPump

assert archive, "a fixture"

ROOT = Pair("Root", authority=True)
SERVER = Pair("server", ROOT, names=("localhost",))
BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
SIZES = [65537, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, MIB, MIB + 1, 5 * MIB]


def own() -> Context:
    """What a server has."""
    found = Credentials(
        chain=SERVER.pem,
        key=SERVER.key,
        client_ca="",
        client=ClientCertificates.NONE,
        minimum=TlsVersion.TLS_1_2,
        names=("localhost",),
        not_after=time.time(),
    )
    return Context(found)


async def connect(
    server: Live, version: ssl.TLSVersion | None = None, receive_buffer: int | None = None
) -> ssl.SSLSocket:
    """Connect a client, and shake hands."""
    plain = server.connect(receive_buffer)
    wrap = partial(trusting(ROOT, version).wrap_socket, server_hostname="localhost", suppress_ragged_eofs=False)
    return await deferToThread(wrap, plain)


def talk_until_cut(connection: ssl.SSLSocket, data: bytes) -> bytes:
    """Send, and read to an end that is none."""
    pieces: list[bytes] = []
    with connection:
        connection.sendall(data)
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            pieces.extend(iter(partial(connection.recv, 1 << 20), b""))
    return b"".join(pieces)


@pytest.fixture
def bursts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far each burst of a thread has come."""
    found: list[int] = []
    really: Callable[..., int | None] = SealedPump._burst

    def burst(self: SealedPump, source: int, offset: int, end: int) -> int | None:
        reached = really(self, source, offset, end)
        found.append(reached or 0)
        return reached

    monkeypatch.setattr(SealedPump, "_burst", burst)
    return found


@BOTH
@pytest.mark.parametrize("verify", list(VerifyReads), ids=lambda verify: verify.value)
@in_reactor
async def test_a_conversation(archive: Path, bursts: list[int], version: ssl.TLSVersion, verify: VerifyReads) -> None:
    """Whole files and ranges in a row, up and down; what is not what was stored is broken off, unless nobody looks."""
    async with live(archive, own=own(), verify_reads=verify) as server:
        put = compose("PUT", "/7", "Expect: 100-continue", body=LARGE)
        ranged = compose("GET", "/102", "Range: bytes=5-1999999", LAST)
        requests = put + compose("GET", "/7") + compose("GET", "/102") + ranged
        data = await deferToThread(talk, await connect(server, version), requests)
        answer, data = read_answer(data)
        if answer.status == 100:
            answer, data = read_answer(data)
        assert answer.status == 201
        for expected in (LARGE, LARGE, LARGE[5:2000000]):
            answer, data = read_answer(data)
            assert answer.body == expected
        assert data == b""
        assert bursts
        ends = talk if verify is VerifyReads.NEVER else talk_until_cut
        spoilt = await deferToThread(ends, await connect(server, version), compose("GET", "/666", LAST))
        got = len(spoilt.partition(b"\r\n\r\n")[2])
        assert (got == len(LARGE)) is (verify is VerifyReads.NEVER)


@in_reactor
async def test_the_end_of_a_handshake_is_acknowledged(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent then, and a client may wait for the kernel's word before it sends its first request."""
    sockets: list[socket.socket] = []
    monkeypatch.setattr("pacarchive.web.http.secure.acknowledge", sockets.append)
    async with live(archive, own=own()) as server:
        data = await deferToThread(talk, await connect(server), compose("HEAD", "/102") + compose("HEAD", "/102", LAST))
        assert data.count(b"HTTP/1.1 204") == 2
        assert len(sockets) == 1


@in_reactor
async def test_every_size(tmp_path: Path) -> None:
    """Where the last block ends in every way, with a digest and without one, which is stored then."""
    for number, size in enumerate(SIZES):
        store(tmp_path, str(number), LARGE[:MIB] * 5 if size > len(LARGE) else LARGE[:size], digest=bool(number % 2))
    async with live(tmp_path, own=own()) as server:
        requests = b"".join(compose("GET", f"/{number}") for number in range(len(SIZES)))
        data = await deferToThread(talk, await connect(server), requests + compose("GET", "/0", LAST))
        for number in (*range(len(SIZES)), 0):
            answer, data = read_answer(data)
            assert answer.body == (tmp_path / str(number)).read_bytes()
        assert data == b""
        assert all(os.getxattr(tmp_path / str(number), "user.pacarchive.sha256") for number in range(len(SIZES)))


@BOTH
@in_reactor
async def test_what_comes_meanwhile(tmp_path: Path, bursts: list[int], version: ssl.TLSVersion) -> None:
    """Requests that come while a thread has the connection are kept, and answered in their order."""
    store(tmp_path, "102", bytes(range(256)) * (64 << 10))
    store(tmp_path, "1", b"small")
    size, count = 16 * MIB, 300

    async with live(tmp_path, own=own()) as server:
        client = await connect(server, version, receive_buffer=4096)

        def converse() -> bytes:
            with client:
                client.sendall(compose("GET", "/102"))
                received = client.recv(1 << 16)
                for _ in range(count):  # each on its way while the server sends
                    client.sendall(compose("GET", "/1"))
                    received += client.recv(1 << 16)
                client.sendall(compose("GET", "/1", LAST))
                return received + read_all(client)

        data = await deferToThread(converse)
        answer, data = read_answer(data)
        assert answer.body == bytes(range(256)) * (size // 256)
        for _ in range(count + 1):
            answer, data = read_answer(data)
            assert answer.body == b"small"
        assert data == b""
        assert len(bursts) > 5


@in_reactor
async def test_a_reader_that_stops(tmp_path: Path) -> None:
    """It is dropped in its time; until then no more than a block waits for it here, and no thread."""
    store(tmp_path, "102", bytes(64 * MIB))
    async with live(tmp_path, own=own()) as server:
        client = await connect(server, receive_buffer=4096)
        with client:
            client.sendall(compose("GET", "/102"))
            await server.until(lambda: bool(server.clock.getDelayedCalls()))
            await deferLater(server.reactor, 0.05)
            (channel,) = server.connections
            assert not channel.transport._is_away
            assert not channel.transport.carrier.dataBuffer
            assert server.site.memory.shares.held <= 2 * MIB
            server.clock.advance(server.limits.progress_timeout)
            server.clock.advance(server.limits.progress_timeout)
            await server.until(lambda: not server.connections)
        assert server.site.events == {"stalled": 1}


@in_reactor
async def test_nobody_else_writes_meanwhile(tmp_path: Path) -> None:
    """What is written while a file is sent follows it, and what OpenSSL has to say goes with the next block."""
    store(tmp_path, "102", bytes(16 * MIB))
    async with live(tmp_path, own=own()) as server:
        client = await connect(server, receive_buffer=4096)
        client.sendall(compose("GET", "/102"))
        await server.until(lambda: bool(server.clock.getDelayedCalls()))
        (channel,) = server.connections
        transport = channel.transport
        assert not transport._is_away
        transport.write(b"behind")
        transport.flush()
        transport._tls.write(b"between")  # as OpenSSL does when the peer changes its keys
        transport.pass_on()
        assert not transport.carrier.dataBuffer
        assert not transport.carrier._tempDataBuffer

        def receive() -> bytes:
            received = bytearray()
            while not received.endswith(b"behind"):
                received += client.recv(MIB)
            return bytes(received)

        received = await deferToThread(receive)
        _, _, body = received.partition(b"\r\n\r\n")
        assert len(body) == 16 * MIB + len(b"between") + len(b"behind")
        assert body.replace(b"between", b"") == bytes(16 * MIB) + b"behind"
        client.close()


@in_reactor
async def test_a_client_that_leaves(tmp_path: Path) -> None:
    """In mid-file, while a thread sends or waits: everything is released, and that is no failure."""
    store(tmp_path, "102", bytes(32 * MIB))
    async with live(tmp_path, own=own()) as server:
        descriptors = len(os.listdir("/proc/self/fd"))
        for number in range(6):
            client = await connect(server, receive_buffer=4096 if number % 2 else None)
            client.sendall(compose("GET", "/102"))
            await deferToThread(client.recv, 10_000)
            if number % 3:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            await server.until(lambda: not server.connections)
        await server.until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        assert server.site.events == {"left": 6}
        assert not server.site.memory.shares.held


@in_reactor
async def test_nothing_stays_of_a_connection(archive: Path) -> None:
    """What OpenSSL has for it is released with it, and not when the next look for garbage is taken."""
    async with live(archive, own=own()) as server:
        client = await connect(server)
        (channel,) = server.connections
        transport = weakref.ref(channel.transport._tls)
        del channel
        gc.collect()
        gc.disable()
        try:
            await deferToThread(talk, client, compose("GET", "/102", LAST))
            await server.until(lambda: not server.connections)
            await server.until(lambda: transport() is None)
        finally:
            gc.enable()


@in_reactor
async def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """What was sent of it does not look whole."""
    store(tmp_path, "102", bytes(32 * MIB))
    async with live(tmp_path, own=own()) as server:
        client = await connect(server, receive_buffer=4096)
        with client:
            client.sendall(compose("GET", "/102"))
            await deferToThread(client.recv, 1000)
            await server.until(lambda: bool(server.clock.getDelayedCalls()))
            os.truncate(tmp_path / "102", 1000)
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                await deferToThread(read_all, client)
        assert server.site.events == {"download": 1}


@in_reactor
async def test_a_refused_sender_that_does_not_look(archive: Path) -> None:
    """It sends all of a large body before it reads: the connection is not reset under it."""
    async with live(archive, own=own(), overwrite="deny") as server:
        data = await deferToThread(talk, await connect(server), compose("PUT", "/102", body=bytes(30 * MIB)))
        answer, rest = read_answer(data)
        assert (answer.status, answer.closes, rest) == (409, True, b"")


@in_reactor
async def test_the_drain_waits_for_a_transfer(tmp_path: Path) -> None:
    """A download under way goes on to its last byte, and is the last of its connection."""
    store(tmp_path, "102", bytes(16 * MIB))
    async with live(tmp_path, own=own()) as server:
        client = await connect(server, receive_buffer=4096)
        client.sendall(compose("GET", "/102"))
        begun = await deferToThread(client.recv, 1000)
        drained: list[Any] = []
        server.site.drain(60).addCallback(drained.append)
        with client:
            data = begun + await deferToThread(read_all, client)
        assert len(data.partition(b"\r\n\r\n")[2]) == 16 * MIB
        await server.until(lambda: bool(drained))


@in_reactor
async def test_backends_that_are_no_files(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else reads goes the same way."""
    monkeypatch.setattr("pacarchive.web.download.ISendable.providedBy", lambda stored: False)
    async with live(archive, own=own()) as server:
        requests = compose("GET", "/102") + compose("GET", "/102", "Range: bytes=5-1999999", LAST)
        data = await deferToThread(talk, await connect(server), requests)
        for expected in (LARGE, LARGE[5:2000000]):
            answer, data = read_answer(data)
            assert answer.body == expected
        spoilt = await deferToThread(talk_until_cut, await connect(server), compose("GET", "/666", LAST))
        assert len(spoilt.partition(b"\r\n\r\n")[2]) < len(LARGE)
