"""Turns of the reactor: who is served when, and how much at once."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from support import DATA, Server, compose, serving
from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock

from pacarchive.web.http.state import ACCEPTS
from pacarchive.web.http.turns import ALLOWANCE, LONGEST, MOST_TAKEN, RATE, Turns

UNIT = ALLOWANCE // 10


@attrs.define(eq=False)
class Work:
    """
    Somebody in line.

    @ivar cost: What each call takes, by estimate.
    @ivar seconds: And by the clock.
    @ivar calls: How many there are to be.
    """

    turns: Turns
    clock: Clock
    name: str
    done: list[str]
    cost: int = UNIT
    seconds: float = 0.0
    calls: int = 100

    def take_turn(self) -> None:
        """Do a part."""
        self.done.append(self.name)
        self.clock.rightNow += self.seconds
        self.turns.spend(self.cost)
        self.calls -= 1
        if self.calls:
            self.turns.get_in_line(self, self.name[0])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        server.archive.place(102, DATA)
        yield server


def one_turn(clock: Clock) -> None:
    """What the reactor does in one; C{Clock.advance} goes on until there is nothing to do."""
    (call,) = clock.calls
    clock.calls.clear()
    call.called = 1
    call.func()


def test_clients_are_served_in_rotation() -> None:
    """However many connections one of them has."""
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    for number in range(50):
        turns.get_in_line(Work(turns, clock, f"a{number}", done), "a")
    for name in ("b0", "b1", "c0"):
        turns.get_in_line(Work(turns, clock, name, done, calls=1), name[0])
    one_turn(clock)
    count = ALLOWANCE // UNIT
    assert done == ["a0", "b0", "c0", "a1", "b1", *(f"a{number}" for number in range(2, count - 3))]


def test_who_takes_a_whole_turn_rests() -> None:
    """So that three turns of four are short, or another's."""
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    for number in range(50):
        turns.get_in_line(Work(turns, clock, f"a{number}", done), "a")
    count = ALLOWANCE // UNIT
    one_turn(clock)
    assert done == [f"a{number}" for number in range(count)]
    others: list[str] = []
    for name in ("b0", "b1", "b2"):
        one_turn(clock)
        assert (len(done), turns.left("a")) == (count, 0)
        assert turns.left("b") > 0
        turns.get_in_line(Work(turns, clock, name, others, calls=1), "b")
        turns.get_in_line(Work(turns, clock, "a-last", done, calls=1), "a")
    one_turn(clock)
    assert others == ["b0", "b1", "b2"]
    assert done[count:] == [f"a{number}" for number in range(count, 2 * count - 1)]


def test_no_rest_is_long() -> None:
    """The machine slept for an hour in the middle of somebody's turn."""
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    turns.get_in_line(Work(turns, clock, "a", done, seconds=3600, calls=2), "a")
    for _ in range(1 + MOST_TAKEN // RATE):
        one_turn(clock)
    assert done == ["a", "a"]


def test_a_rest_ends_though_nobody_is_in_line() -> None:
    """Then the reactor sleeps."""
    clock = Clock()
    turns = Turns(clock)
    turns.get_in_line(Work(turns, clock, "a", [], cost=ALLOWANCE, calls=1), "a")
    one_turn(clock)
    assert (turns.left("a"), turns.waiting) == (0, 0)
    for _ in range(4):
        one_turn(clock)
    assert (turns.left("a"), clock.calls) == (ALLOWANCE, [])


def test_the_line_goes_on_after_a_failure() -> None:
    """Who fails at its work keeps nobody else from theirs."""
    clock, done = Clock(), list[str]()
    turns = Turns(clock)

    class Broken:
        def take_turn(self) -> None:
            raise ZeroDivisionError

    turns.get_in_line(Broken(), "a")
    turns.get_in_line(Work(turns, clock, "b", done, calls=1), "b")
    with pytest.raises(ZeroDivisionError):
        one_turn(clock)
    one_turn(clock)
    assert done == ["b"]


def test_a_turn_ends_by_the_clock_too() -> None:
    """What work costs is an estimate; a slow machine takes longer."""
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    for number in range(50):
        turns.get_in_line(Work(turns, clock, f"a{number}", done, cost=1, seconds=LONGEST * 0.4e-6), "a")
    one_turn(clock)
    assert len(done) == 3
    assert turns.left() < 0
    while len(done) == 3:
        one_turn(clock)
    assert len(done) == 6


def test_idle_time_is_nobodys_work() -> None:
    """The clock of a turn begins with what is done in it."""
    clock = Clock()
    turns = Turns(clock)
    turns.spend(ALLOWANCE // 2)
    clock.advance(60)
    assert turns.left() == ALLOWANCE
    clock.rightNow += 60
    turns.spend(ALLOWANCE - 1)
    assert turns.left() == 1


def test_who_leaves_is_not_called() -> None:
    """And keeps nobody waiting."""
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    first, second = (Work(turns, clock, name, done, calls=1) for name in ("a0", "b0"))
    for work in (first, second):
        turns.get_in_line(work, work.name[0])
        turns.get_in_line(work, work.name[0])
    turns.leave(first)
    turns.leave(first)
    clock.advance(0)
    assert (done, turns.waiting) == (["b0"], 0)


def test_ends_take_turns(server: Server) -> None:
    """A thousand clients that end their side at once are not answered at once, but all are."""
    site, count = server.site, 300
    clients = [server.connect().send(compose("PUT", "/7", "Content-Length: 100") + bytes(50)) for _ in range(count)]
    for client in clients:
        client.end()
    turns, left = 0, [count]
    while site.turns.waiting:
        server.turn()
        turns += 1
        left.append(len(site._connections))
        assert left[-2] - left[-1] <= ALLOWANCE // 200
    server.finish_work()
    server.clock.advance(0)
    assert turns > count * 200 // ALLOWANCE // 2
    assert not site._connections
    assert server.archive.unended == 0


def test_a_lost_connection_is_lost_at_once(server: Server) -> None:
    """However late it is in the turn, and whatever is still to be done for it: nobody is to write to its socket."""
    client = server.connect().send(compose("PUT", "/7", "Content-Length: 100") + bytes(50))
    request = client.protocol.requests[-1]
    server.site.turns.spend(2 * ALLOWANCE)
    client.end()
    assert not request.is_over
    assert server.site.turns.waiting == 1
    client.hang_up()
    assert request.is_over
    assert (server.site.turns.waiting, len(server.site._connections)) == (0, 0)


def test_time_that_is_over_takes_turns(server: Server) -> None:
    """As do a thousand heads that are not completed, all begun at the same time."""
    clients = [server.connect().send(b"GET /102 HTTP/1.1\r\n") for _ in range(200)]
    server.clock.rightNow += server.site.limits.header_timeout
    server.turn()
    told = [len(client.take()) > 0 for client in clients]
    assert 0 < sum(told) < 100
    server.finish_work()
    assert all(
        told_before or client.take().startswith(b"HTTP/1.1 408 ")
        for told_before, client in zip(told, clients, strict=True)
    )
    server.clock.advance(60)


def test_few_are_accepted_at_once(server: Server) -> None:
    """Twisted takes ever more at once while they come."""
    port: Any = SimpleNamespace(getHost=lambda: "an address", numberAccepts=1000)
    server.site.listens(port)
    assert port.numberAccepts == ACCEPTS
    port.numberAccepts += 20
    server.connect()
    server.clock.advance(0)
    assert port.numberAccepts == ACCEPTS


def test_no_call_is_brought_forward(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """For that, Twisted's reactors look through all calls that they have: 2 ms with ten thousand connections."""
    really, sooner = DelayedCall.reset, list[float]()

    def reset(call: DelayedCall, seconds: float) -> None:
        if server.clock.seconds() + seconds < call.getTime():
            sooner.append(seconds)
        really(call, seconds)

    monkeypatch.setattr(DelayedCall, "reset", reset)
    assert server.limits.progress_timeout < server.limits.idle_timeout
    client = server.connect().send(compose("PUT", "/7", "Content-Length: 200000") + bytes(100_000))
    server.clock.advance(1)
    client.send(bytes(100_000) + compose("GET", "/102"))
    server.finish_work()
    assert [answer.status for answer in client.answers()] == [201, 200]
    before = client.protocol.timeOut
    assert client.protocol.setTimeout(before / 2) == before
    assert client.protocol.setTimeout(before) == before / 2
    assert sooner == []
