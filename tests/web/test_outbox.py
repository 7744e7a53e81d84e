"""Small answers leave together, when all that came at a time is answered."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.tcp import Connection

from pacarchive.web.http.outbox import Outbox


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
