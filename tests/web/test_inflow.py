"""Large uploads over real TCP, which a thread of the storage's reads from the socket where they come fast."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from live import Live, in_reactor, live
from support import Answer, compose, read_answer
from twisted.internet import tcp
from twisted.internet.threads import deferToThread

from pacarchive.backends.local.archive import LocalArchive
from pacarchive.web.http.body import BLOCK
from pacarchive.web.http.inflow import BURST, LAST, READS, Inflow, comes_fast

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
DATA = os.urandom(MIB) * 24
PULLED = BURST
"""So much has been read in threads when an upload is amid."""


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread reads until a burst is complete, however slow the machine makes the sender."""
    monkeypatch.setattr("pacarchive.web.http.inflow.PATIENCE", 20_000)
    monkeypatch.setattr("pacarchive.web.http.inflow.READS", 1_000_000)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"waiting": BLOCK - 1},
        {"length": None},
        {"length": 2 * BLOCK},
        {"is_over": True},
        {"secure": True},
        {"input": True},
        {"transport": None},
    ],
    ids=repr,
)
def test_what_comes_fast(change: dict[str, Any]) -> None:
    """Nothing else is read in a thread; and nothing while there is something that came before it."""
    state = {
        "waiting": BLOCK, "length": 2 * BLOCK + 1, "is_over": False, "secure": False, "input": False,
        "transport": object.__new__(tcp.Connection), **change,
    }  # fmt: skip
    body = SimpleNamespace(waiting=state["waiting"], length=state["length"], received=BLOCK)
    request: Any = SimpleNamespace(
        body=body,
        is_over=state["is_over"],
        isSecure=lambda: state["secure"],
        channel=SimpleNamespace(has_input=lambda: state["input"]),
        transport=state["transport"],
    )
    assert comes_fast(request) is not bool(change)


class Watched:
    """
    Has uploads come faster than they are stored at first, and notes what threads read of them then.

    @param server: The server.
    @ivar pulled: How many bytes each burst of theirs has brought.
    """

    def __init__(self, server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server = server
        self.pulled: list[int] = []
        receive = LocalArchive.receive

        async def watched(backend: LocalArchive, *args: Any) -> Any:
            incoming: Any = await receive(backend, *args)
            incoming.write = self._slow(incoming.write, len(self.pulled))
            incoming.pull = self._noting(incoming.pull)
            return incoming

        monkeypatch.setattr(LocalArchive, "receive", watched)

    @property
    def total(self) -> int:
        """Of all bursts."""
        return sum(self.pulled)

    def _has_come(self, before: int) -> bool:
        if len(self.pulled) > before:
            return True
        readers = self._server.reactor.getReaders()
        receiving = [each for each in self._server.connections if each.requests and each.transport in readers]
        bodies = [each.requests[-1].body for each in receiving]
        return all(body.waiting >= BLOCK or body.complete for body in bodies)

    def _slow(self, write: Callable[[Sequence[bytes]], Awaitable[None]], before: int) -> Callable[..., Awaitable[None]]:
        async def slow(pieces: Sequence[bytes]) -> None:
            await write(pieces)
            await self._server.until(lambda: self._has_come(before))

        return slow

    def _noting(self, pull: Callable[[Callable[..., int]], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def noting(read: Callable[[memoryview], int]) -> None:
            counts: list[int] = []

            def counting(buffer: memoryview) -> int:
                counts.append(read(buffer))
                return counts[-1]

            try:
                await pull(counting)
            finally:
                self.pulled.append(sum(counts))

        return noting


@asynccontextmanager
async def leaving_nothing(prefix: Path) -> AsyncIterator[Live]:
    """A server that has no connection, descriptor or file in the end."""
    async with live(prefix) as server:
        before = len(os.listdir("/proc/self/fd"))
        yield server
        await server.until(lambda: not server.connections)
        await server.until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert visible(prefix) == []


def visible(prefix: Path) -> list[str]:
    """What is there, also of temporaries."""
    return [str(each) for each in prefix.rglob("*") if each.is_file() and each.parent.name != "locks"]


def read_some(connection: socket.socket, count: int) -> list[Answer]:
    """So many answers."""
    data = b""
    answers: list[Answer] = []
    while len(answers) < count:
        with suppress(AssertionError):  # not all of it has come
            answer, data = read_answer(data)
            answers.append(answer)
            continue
        piece = connection.recv(1 << 20)
        assert piece, "the connection ended"
        data += piece
    assert not data
    return answers


HEAD = compose("PUT", "/7", f"Content-Length: {len(DATA)}")


@in_reactor
async def test_what_a_thread_reads_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: None) -> None:
    """Whole and in order; and the requests before and behind it on its connection are what they are."""
    async with live(tmp_path) as server:
        watched = Watched(server, monkeypatch)
        counted: list[int] = []
        monkeypatch.setattr(server.site.counts, "received", counted.append)

        def converse() -> list[Answer]:
            with server.connect() as client:
                client.sendall(compose("PUT", "/1", body=b"small") + HEAD + DATA + compose("GET", "/1"))
                answers = read_some(client, 3)
                client.sendall(HEAD + DATA + compose("GET", "/7"))
                return answers + read_some(client, 2)

        answers = await deferToThread(converse)
        assert [each.status for each in answers] == [201, 201, 200, 201, 200]
        assert answers[2].body == b"small"
        assert answers[4].body == DATA
        assert hashlib.sha256((tmp_path / "7").read_bytes()).digest() == hashlib.sha256(DATA).digest()
        assert watched.total > len(DATA), "most of both"
        assert sum(counted) == 2 * len(DATA) + 5


def _close(client: socket.socket) -> int:
    client.close()
    return 0


def _reset(client: socket.socket) -> int:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    return 0


def _half_close(client: socket.socket) -> int:
    client.shutdown(socket.SHUT_WR)
    return read_some(client, 1)[0].status


@pytest.mark.parametrize(("cut", "status"), [(_close, 0), (_reset, 0), (_half_close, 400)])
@in_reactor
async def test_an_upload_that_is_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patient: None,
    cut: Callable[[socket.socket], int],
    status: int,
) -> None:
    """However it is cut while threads read: nothing is left of it."""
    async with leaving_nothing(tmp_path) as server:
        watched = Watched(server, monkeypatch)
        client = server.connect()
        await deferToThread(client.sendall, HEAD + DATA[: PULLED + 12 * MIB])
        await server.until(lambda: watched.total >= PULLED)
        assert await deferToThread(cut, client) == status
        client.close()


@in_reactor
async def test_an_upload_that_the_server_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: None) -> None:
    """As at the end of a drain: what is under way in a thread ends, and then all is released."""
    async with leaving_nothing(tmp_path) as server:
        watched = Watched(server, monkeypatch)
        read = Inflow.read

        def cutting(inflow: Inflow, buffer: memoryview) -> int:
            if watched.total >= PULLED:
                for channel in server.connections:
                    server.reactor.callFromThread(channel.transport.abortConnection)
            return read(inflow, buffer)

        monkeypatch.setattr(Inflow, "read", cutting)

        def send() -> None:
            with server.connect() as client, suppress(ConnectionError):
                client.sendall(HEAD + DATA[:-1])
                assert client.recv(1) == b""

        await deferToThread(send)


@in_reactor
async def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: None) -> None:
    """The sender is told, and nothing is left."""
    async with leaving_nothing(tmp_path) as server:
        watched = Watched(server, monkeypatch)
        pwritev = os.pwritev

        def failing(descriptor: int, buffers: Any, offset: int) -> int:
            if watched.total >= PULLED:
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwritev(descriptor, buffers, offset)

        monkeypatch.setattr(os, "pwritev", failing)

        def converse() -> Answer:
            with server.connect() as client:
                client.sendall(HEAD + DATA)
                return read_some(client, 1)[0]

        answer = await deferToThread(converse)
        assert answer.status == 507
        assert answer.closes


@in_reactor
async def test_a_sender_who_pauses_holds_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes then comes through the reactor, until it comes fast again."""
    async with live(tmp_path) as server:
        watched = Watched(server, monkeypatch)
        with server.connect() as client:
            await deferToThread(client.sendall, HEAD + DATA[: 12 * MIB])
            await server.until(lambda: bool(watched.pulled))

            def received() -> int:
                (channel,) = server.connections
                return int(channel.requests[-1].body.received)

            await server.until(lambda: received() == 12 * MIB)
            bursts = len(watched.pulled)
            client.sendall(DATA[12 * MIB : 12 * MIB + 1000])
            await server.until(lambda: received() == 12 * MIB + 1000)
            assert len(watched.pulled) == bursts
            await deferToThread(client.sendall, DATA[12 * MIB + 1000 :])
            (answer,) = await deferToThread(read_some, client, 1)
        assert answer.status == 201
        assert (tmp_path / "7").read_bytes() == DATA


def _inflow(length: int) -> tuple[Inflow, Any, socket.socket]:
    """One of a body that has not begun; its request; and the sender's socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    body = SimpleNamespace(length=length, received=0)
    skipped: list[int] = []
    request: Any = SimpleNamespace(
        body=body,
        transport=SimpleNamespace(getHandle=lambda: ours),
        site=SimpleNamespace(counts=SimpleNamespace(received=lambda amount: None)),
        channel=SimpleNamespace(skip_body=skipped.append),
        skipped=skipped,
        is_over=False,
    )
    inflow = Inflow(request)
    ours.close()
    return inflow, request, theirs


def test_a_burst_is_bounded() -> None:
    """Who sends a byte now and then gets no more than some reads of a thread, and none after that."""
    inflow, request, sender = _inflow(MIB)
    buffer = memoryview(bytearray(MIB))
    with sender:
        inflow.begin()
        for _ in range(READS):
            sender.send(b"1")
            assert inflow.read(buffer) == 1
        sender.send(b"1")
        assert inflow.read(buffer) == 0
        assert not inflow.end(), "it is not fast"
        assert request.body.received == READS
        assert request.skipped == [READS]
        inflow.begin()
        assert inflow.read(buffer) == 1
        assert inflow.read(buffer) == 0, "nothing comes"
        inflow.close()


def test_the_end_is_left() -> None:
    """So is what comes behind the body."""
    inflow, request, sender = _inflow(LAST + 1000)
    buffer = memoryview(bytearray(MIB))
    with sender:
        sender.send(bytes(LAST + 5000))
        inflow.begin()
        assert inflow.read(buffer) == 1000
        assert inflow.read(buffer) == 0
        assert not inflow.end()
        assert request.body.received == 1000
        inflow.close()
