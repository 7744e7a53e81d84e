"""
Downloads over real TCP and TLS, since only there is C{sendfile}: to clients of every speed, with the time of a clock
where time matters.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import select
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from live import Live, in_reactor, live
from OpenSSL.SSL import TLS_METHOD
from support import DATA, Server, compose, read_answer, serving
from twisted.internet.defer import Deferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pacarchive.backends.local.archive import LocalArchive
from pacarchive.interfaces import IStoredFile
from pacarchive.settings.server import VerifyReads
from pacarchive.web.download import SMALL
from pacarchive.web.http.request import ArchiveRequest

MIB = 1 << 20
LARGE = os.urandom(3 * MIB + 12345)
BENT = LARGE[:-1] + bytes([LARGE[-1] ^ 1])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    pieces = []
    while piece := connection.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def talk(connection: socket.socket, data: bytes) -> bytes:
    """Send, and read to the end."""
    with connection:
        connection.sendall(data)
        return read_all(connection)


def store(prefix: Path, name: str, data: bytes, *, digest: bool = True) -> None:
    """Put a file where the archive has its own."""
    (prefix / name).write_bytes(data)
    if digest:
        os.setxattr(prefix / name, "user.pacarchive.sha256", hashlib.sha256(data).digest())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A directory with a large file, 102, and a spoilt one, 666."""
    store(tmp_path, "102", LARGE)
    store(tmp_path, "666", LARGE)
    (tmp_path / "666").write_bytes(BENT)
    return tmp_path


LAST = "Connection: close"


def _noting(sendfile: Callable[..., int], sent: list[int]) -> Callable[..., int]:
    def noting(*args: int) -> int:
        sent.append(sendfile(*args))
        return sent[-1]

    return noting


@in_reactor
async def test_sendfile(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel sends, and what the process sends before and after stays in order; ranges too."""
    sent: list[int] = []
    monkeypatch.setattr(os, "sendfile", _noting(os.sendfile, sent))
    async with live(archive) as server:
        requests = [
            compose("GET", "/102"), compose("HEAD", "/102"), compose("GET", "/102", "Range: bytes=70000-2000000"),
            compose("GET", "/"), compose("GET", "/102?byte_range=1-3000000"), compose("GET", "/102"),
            compose("GET", "/9", LAST),
        ]  # fmt: skip
        data = await deferToThread(talk, server.connect(), b"".join(requests))
        answers = []
        for method in ("GET", "HEAD", "GET", "GET", "GET", "GET", "GET"):
            answer, data = read_answer(data, method)
            answers.append(answer)
        assert data == b""
        assert [answer.status for answer in answers] == [200, 204, 206, 200, 200, 200, 404]
        assert answers[0].body == answers[5].body == LARGE
        assert answers[2].body == LARGE[70000:2000001]
        assert answers[4].body == LARGE[1:3000000]
        assert sum(sent) == sum(len(answers[number].body) for number in (0, 2, 4, 5)), "all of it without a copy"


@in_reactor
async def test_sendfile_is_not_checked_unless_it_is_set(archive: Path) -> None:
    """What the kernel sends is checked only with C{verify_reads = always}, which gives it up."""
    for verify in VerifyReads:
        async with live(archive, verify_reads=verify) as server:
            try:
                data = await deferToThread(talk, server.connect(), compose("GET", "/666", LAST))
            except ConnectionResetError:
                data = b""
            body = data.partition(b"\r\n\r\n")[2]
            if verify is VerifyReads.ALWAYS:
                assert len(body) < len(BENT)
                assert server.site.events == {"download": 1}
            else:
                assert body == BENT


@in_reactor
async def test_first_read_of_a_large_foreign_file(tmp_path: Path) -> None:
    """It goes through the process, to be hashed, and from then on through the kernel."""
    store(tmp_path, "102", LARGE, digest=False)
    async with live(tmp_path) as server:
        for _ in range(2):
            data = await deferToThread(talk, server.connect(), compose("GET", "/102", LAST))
            assert read_answer(data)[0].body == LARGE
            assert os.getxattr(tmp_path / "102", "user.pacarchive.sha256") == hashlib.sha256(LARGE).digest()


@in_reactor
async def test_threads_get_the_interpreter_soon(tmp_path: Path) -> None:
    """A thread that stores a file asks for it dozens of times."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    try:
        async with live(tmp_path):
            assert sys.getswitchinterval() < 0.001
    finally:
        sys.setswitchinterval(before)


class SelfSigned(DefaultOpenSSLContextFactory):
    """
    The server's side of TLS, with a certificate made for the test.

    @ivar path: The certificate's file.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "server.pem"
        self.path.write_bytes(_key_and_certificate())
        super().__init__(str(self.path), str(self.path), TLS_METHOD)  # type: ignore[no-untyped-call]

    def connect(self, connection: socket.socket) -> ssl.SSLSocket:
        """Speak TLS with a server that has this certificate, and with no other."""
        context = ssl.create_default_context(cafile=str(self.path))
        return context.wrap_socket(connection, server_hostname="localhost")


def _key_and_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return signed.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


@in_reactor
async def test_tls(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Through TLS everything goes through the process, and is checked."""
    own = SelfSigned(tmp_path_factory.mktemp("tls"))

    def converse(connection: socket.socket, *requests: bytes) -> bytes:
        return talk(own.connect(connection), b"".join(requests))

    async with live(archive, own) as server:
        put = compose("PUT", "/7", "Expect: 100-continue", body=LARGE)
        ranged = compose("GET", "/102", "Range: bytes=5-1999999", LAST)
        data = await deferToThread(converse, server.connect(), put, compose("GET", "/7"), ranged)
        answer, data = read_answer(data)
        if answer.status == 100:
            answer, data = read_answer(data)
        assert answer.status == 201
        whole, data = read_answer(data)
        part, data = read_answer(data)
        assert (whole.body, part.body, data) == (LARGE, LARGE[5:2000000], b"")
        spoilt = await deferToThread(converse, server.connect(), compose("GET", "/666", LAST))
        assert len(spoilt.partition(b"\r\n\r\n")[2]) < len(BENT)
        refused = await deferToThread(converse, server.connect(), compose("PUT", "/x", body=LARGE))
        assert read_answer(refused)[0].status == 404, "a large refused body does not keep the answer from the sender"


def outstanding(server: Live) -> int:
    """How many bytes the kernel holds for the one connection's client."""
    (channel,) = server.connections
    answer = fcntl.ioctl(channel.transport.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(answer, "little")


@pytest.mark.parametrize("verify", [VerifyReads.NEVER, VerifyReads.ALWAYS])
@in_reactor
async def test_stalled_and_slow_sendfile(tmp_path: Path, verify: VerifyReads) -> None:
    """The kernel's clients too, and those of what is hashed: who takes nothing is dropped, who takes a little not."""
    big = tmp_path / "102"
    big.touch()
    os.truncate(big, 64 * MIB)
    os.setxattr(big, "user.pacarchive.sha256", bytes(32))
    async with live(tmp_path, verify_reads=verify) as server:
        patience = server.limits.progress_timeout
        with server.connect(receive_buffer=4096) as client:
            client.sendall(compose("GET", "/102"))
            await server.until(lambda: bool(server.clock.getDelayedCalls()))
            for _ in range(5):
                before = outstanding(server)
                received = 0
                while outstanding(server) >= before:
                    if select.select([client], [], [], 0)[0]:
                        received += len(client.recv(4096))
                    await deferLater(server.reactor, 0.001)
                assert 0 < received < MIB
                server.clock.advance(patience)
                assert len(server.clock.getDelayedCalls()) == 1, "it has more time"
            steady = [0]

            def is_steady() -> bool:
                steady.append(outstanding(server))
                return len(steady) > 20 and len(set(steady[-20:])) == 1

            await server.until(is_steady)
            server.clock.advance(patience)  # this looks, and may still see the last of what moved
            server.clock.advance(patience)
            await server.until(lambda: not server.connections)
            assert server.site.events == {"stalled": 1}
            assert not server.clock.getDelayedCalls()


@pytest.mark.parametrize("verify", [VerifyReads.NEVER, VerifyReads.ALWAYS])
@in_reactor
async def test_sendfile_client_gone(tmp_path: Path, verify: VerifyReads) -> None:
    """A client that hangs up in mid-file: everything is released, and that is no failure."""
    store(tmp_path, "102", bytes(32 * MIB))
    async with live(tmp_path, verify_reads=verify) as server:
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            client = server.connect(receive_buffer=4096)
            client.sendall(compose("GET", "/102"))
            await deferToThread(client.recv, 10_000)
            client.close()
            await server.until(lambda: not server.connections)
        await server.until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        assert server.site.events == {"left": 3}


@in_reactor
async def test_file_that_shrinks(tmp_path: Path) -> None:
    """A file that becomes shorter while it is sent breaks the connection; that is no short file that looks whole."""
    store(tmp_path, "102", bytes(32 * MIB))
    async with live(tmp_path, verify_reads=VerifyReads.NEVER) as server:
        with server.connect(receive_buffer=4096) as client:
            client.sendall(compose("GET", "/102"))
            await deferToThread(client.recv, 1000)
            await server.until(lambda: bool(server.clock.getDelayedCalls()))
            os.truncate(tmp_path / "102", 1000)
            with pytest.raises(ConnectionResetError):
                await deferToThread(read_all, client)
        assert server.site.events == {"download": 1}


@in_reactor
async def test_half_close(archive: Path) -> None:
    """A client that has said everything still gets its answer, whole or wrong."""

    def say(connection: socket.socket, data: bytes) -> bytes:
        with connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    async with live(archive) as server:
        data = await deferToThread(say, server.connect(), compose("GET", "/102"))
        assert read_answer(data)[0].body == LARGE
        data = await deferToThread(say, server.connect(), compose("GET", "/102") + compose("HEAD", "/102"))
        first, data = read_answer(data)
        assert (first.body, read_answer(data, "HEAD")[0].status) == (LARGE, 204)
        for length in (100, 100_000):
            cut = compose("PUT", "/7", f"Content-Length: {length}") + DATA
            answer, rest = read_answer(await deferToThread(say, server.connect(), cut))
            assert (answer.status, answer.closes, rest) == (400, True, b"")
        answer, _ = read_answer(await deferToThread(say, server.connect(), compose("PUT", "/7", body=DATA)))
        assert answer.status == 201
        assert await deferToThread(say, server.connect(), b"") == b""


@in_reactor
async def test_refused_sender_that_does_not_look(archive: Path) -> None:
    """It sends all of a large refused body before it reads: the connection is not reset under it."""
    async with live(archive, overwrite="deny") as server:
        data = await deferToThread(talk, server.connect(), compose("PUT", "/102", body=bytes(30 * MIB)))
        answer, rest = read_answer(data)
        assert (answer.status, answer.closes, rest) == (409, True, b"")
        data = await deferToThread(talk, server.connect(), b"GET / HTTP/1.1\r\n\r\n" + bytes(3 * MIB))
        assert read_answer(data)[0].status == 400


def test_small_is_small(server: Server) -> None:
    """At the border between one piece and blocks."""
    for size in (SMALL - 1, SMALL, SMALL + 1, MIB, MIB + 1, 2 * MIB):
        server.archive.place(1, LARGE[:size])
        assert server.ask("GET", "/1").body == LARGE[:size]


@in_reactor
async def test_what_has_begun_is_not_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the socket turns out to be full behind the head, what is read ahead is counted, be it too much or not."""
    monkeypatch.setattr(ArchiveRequest, "flush", lambda self: False)
    async with live(archive) as server:
        server.site.memory.shares.total = 1
        data = await deferToThread(talk, server.connect(), compose("GET", "/102", LAST))
        answer, rest = read_answer(data)
        assert (answer.status, answer.body, rest) == (200, LARGE, b"")
        await server.until(lambda: not server.site.memory.shares.held)


@pytest.mark.parametrize("verify", [VerifyReads.NEVER, VerifyReads.ALWAYS])
@pytest.mark.parametrize("is_secure", [False, True])
@in_reactor
async def test_gone_before_it_begins(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_secure: bool, verify: VerifyReads
) -> None:
    """A client is gone, and its route goes on before its turn comes to be cancelled: there is no socket any more."""
    certificate = SelfSigned(tmp_path) if is_secure else None
    opened, line, ended = Deferred[None](), list[Any](), list[ArchiveRequest]()
    really = LocalArchive.open

    async def held(self: LocalArchive, file_id: int) -> IStoredFile:
        file = await really(self, file_id)
        await opened
        return file

    monkeypatch.setattr(LocalArchive, "open", held)
    async with live(archive, certificate, verify_reads=verify) as server:
        client = server.connect()
        if certificate is not None:
            client = await deferToThread(certificate.connect, client)
        client.sendall(compose("GET", "/102"))
        await server.until(lambda: any(channel.requests for channel in server.connections))
        (channel,) = server.connections
        (request,) = channel.requests
        monkeypatch.setattr(ArchiveRequest, "processingFailed", lambda request, reason: ended.append(request))
        monkeypatch.setattr(server.site.turns, "left", lambda client: 0)
        monkeypatch.setattr(server.site.turns, "get_in_line", lambda worker, client: line.append(worker))
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
            client.close()
            await server.until(lambda: request.is_over)
            assert not opened.called
            opened.callback(None)
            await server.until(lambda: bool(ended))
        finally:
            monkeypatch.undo()
            for worker in line:
                worker.take_turn()
        await server.until(lambda: not server.connections)
        assert server.site.events["incident"] == 0
