"""Small answers leave together, when all that came at a time is answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import in_reactor, live
from support import compose
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from pacarchive.web.http.outbox import Outbox, PostedServer


class Socket(Connection):
    """A connection to nowhere, which notes what is done with it."""

    def __init__(self, notes: list[object], name: str) -> None:
        self.notes, self.name = notes, name
        self.connected = True
        self.disconnecting = False

    def write(self, data: bytes) -> None:
        self.notes.append((self.name, data))

    def doWrite(self) -> Any:
        self.notes.append(self.name)


def test_all_at_once() -> None:
    """In the order in which they were written, and once for each socket."""
    clock, notes = Clock(), list[object]()
    outbox = Outbox(clock)
    first, second = Socket(notes, "a"), Socket(notes, "b")
    for _ in range(2):
        outbox.post(first, b"1")
        outbox.post(second, b"2")
        outbox.post(first, b"3")
        assert notes == [("a", b"1"), ("b", b"2"), ("a", b"3")]
        clock.advance(0)
        assert notes[3:] == ["a", "b"]
        assert clock.getDelayedCalls() == []
        notes.clear()


def test_what_has_ended_meanwhile() -> None:
    """Is let be: the transport itself sees to what is left of it."""
    clock, notes = Clock(), list[object]()
    outbox = Outbox(clock)
    lost, ending = Socket(notes, "lost"), Socket(notes, "ending")
    outbox.hasten(lost)
    outbox.hasten(ending)
    lost.connected, ending.disconnecting = False, True
    clock.advance(0)
    assert notes == []


def test_what_sends_by_itself() -> None:
    """As doubles and TLS do: nothing is asked of it."""
    clock = Clock()
    Outbox(clock).hasten(object())  # type: ignore[arg-type]
    assert clock.getDelayedCalls() == []


class Looking(Clock):
    """A reactor that only notes whom it looks after."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[object] = []
        self.told: list[str] = []

    def addWriter(self, writer: object) -> None:
        self.told.append("add")
        self.writers.append(writer)

    def removeWriter(self, writer: object) -> None:
        if writer in self.writers:
            self.told.append("remove")
            self.writers.remove(writer)

    def addReader(self, reader: object) -> None: ...

    def removeReader(self, reader: object) -> None: ...


@pytest.fixture
def looking() -> Looking:
    """A reactor."""
    return Looking()


@pytest.fixture
def peer_and_posted(looking: Looking) -> Iterator[tuple[socket.socket, Any]]:
    """A peer, and a connection to it that writes by way of an outbox."""

    class Posted(PostedServer):
        outbox = Outbox(looking)

    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.settimeout(5)
        posted = Posted(ours, Protocol(), ("127.0.0.1", 1), None, 0, looking)  # type: ignore[arg-type]
        posted.protocol.makeConnection(posted)
        yield peer, posted


def test_nobody_looks_for_room(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """Where all goes out at once; and it goes out together."""
    peer, posted = peer_and_posted
    for _ in range(2):
        posted.write(b"head ")
        posted.writeSequence([b"and ", b"body"])
        looking.advance(0)
        assert peer.recv(100) == b"head and body"
    assert looking.told == []
    assert looking.getDelayedCalls() == []


def test_what_there_is_no_room_for(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """The reactor looks until the last byte is out, and not for longer."""
    peer, posted = peer_and_posted
    data = bytes(range(256)) * 4096
    posted.write(data)
    looking.advance(0)
    assert looking.writers == [posted]
    posted.write(b"more")
    looking.advance(0)
    came = b""
    while looking.writers:
        came += peer.recv(1 << 20)
        assert posted.doWrite() is None
    assert (came + peer.recv(1 << 20)) == data + b"more"
    assert looking.told == ["add", "remove"]
    posted.write(b"again")
    looking.advance(0)
    assert peer.recv(100) == b"again"
    assert looking.told == ["add", "remove"]


def test_the_end_of_a_connection(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """What was written before goes out first, and the reactor is told that it is over."""
    peer, posted = peer_and_posted
    posted.write(b"last")
    posted.loseConnection()
    looking.advance(0)
    assert looking.writers == [posted]
    assert isinstance(posted.doWrite(), ConnectionDone)
    assert peer.recv(100) == b"last"
    posted.connectionLost(Failure(ConnectionDone()))
    assert peer.recv(100) == b""
    assert looking.writers == []


def test_half_an_end(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """It comes behind what was written."""
    peer, posted = peer_and_posted
    posted.write(b"last")
    posted.loseWriteConnection()
    looking.advance(0)
    assert (peer.recv(100), peer.recv(100)) == (b"last", b"")
    assert looking.told == []


def test_a_connection_that_is_cut(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """Nothing more goes out, and nobody looks for room."""
    peer, posted = peer_and_posted
    posted.write(b"last")
    posted.abortConnection()
    looking.advance(0)
    assert looking.told == []
    assert peer.recv(100) == b""


def test_a_peer_that_has_gone(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """The reactor finds out, as it does for all that it looks after."""
    peer, posted = peer_and_posted
    peer.close()
    posted.write(b"x")
    looking.advance(0)
    assert looking.writers == [posted]
    assert isinstance(posted.doWrite(), ConnectionLost)
    posted.connectionLost(Failure(ConnectionLost()))
    assert looking.writers == []


def test_a_producer_that_fails(looking: Looking, peer_and_posted: tuple[socket.socket, Any]) -> None:
    """The others go out all the same, and its connection is cut."""
    _, posted = peer_and_posted
    notes: list[object] = []

    class Failing(Socket):
        def doWrite(self) -> Any:
            raise ValueError("of a test")

        def abortConnection(self) -> None:
            notes.append("cut")

    posted.outbox.hasten(Failing([], "failing"))
    posted.outbox.hasten(Socket(notes, "other"))
    with capturedLogs() as logged:
        looking.advance(0)
    assert notes == ["cut", "other"]
    assert [str(event["log_failure"].value) for event in logged] == ["of a test"]


@in_reactor
async def test_on_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects is answered so."""
    async with live(tmp_path) as server:
        looked: list[object] = []
        monkeypatch.setattr(server.reactor, "addWriter", looked.append)

        def converse() -> bytes:
            with server.connect() as client:
                client.sendall(compose("GET", "/1"))
                return client.recv(1 << 16)

        assert (await deferToThread(converse)).startswith(b"HTTP/1.1 404 ")
        assert looked == []
