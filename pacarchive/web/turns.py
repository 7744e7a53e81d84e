"""Turns of the reactor, shared by what costs more than its bytes.

A read of 64 KiB may hold ten thousand chunks, or two thousand requests.  Whoever finds such a read does a part of the
work, and gets in line for the rest: all who are in line have one allowance for each turn, so that a turn stays short
however many they are.  Each client has a line of its own, and these are served in rotation: one with a thousand
connections keeps itself waiting, and nobody else.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

ALLOWANCE = 12_000
"""The work of one turn, in about microseconds."""

LONGEST = 15_000
"""The same by the clock: what work costs is an estimate, and machines differ."""

LEAST_SHARE = 200
"""What each who is in line may do at the least, when it is called."""

NOBODY = ""
"""The client of work that is nobody's."""


class Worker(Protocol):
    """Somebody who has more to do than one turn has room for."""

    def take_turn(self) -> None:
        """Do a part of it, L{Turns.spend} what that cost, and get in line again if there is more."""


class Turns:
    """
    The lines, and the allowance.

    @param clock: Whose turns these are.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lines: dict[str, dict[Worker, None]] = {}  # by client; who is served next is the first
        self._clients: dict[Worker, str] = {}
        self._next: IDelayedCall | None = None
        self._left = ALLOWANCE
        self._reserved = 0
        self._began: float | None = None

    @property
    def left(self) -> int:
        """How much may still be done now."""
        return self._remaining() - self._reserved

    def _remaining(self) -> int:
        if self._began is None:
            return self._left
        return min(self._left, LONGEST - int((self._clock.seconds() - self._began) * 1_000_000))

    def spend(self, cost: int) -> None:
        """Note work that has been done in this turn, in about microseconds."""
        self._left -= cost
        if self._left <= ALLOWANCE // 2:  # to ask each time would be a part of what a small request costs
            self._ask_for_another()

    def get_in_line(self, worker: Worker, client: str = NOBODY) -> None:
        """Have a worker called in a later turn, after those of its client who are in line already."""
        if worker not in self._clients:
            self._clients[worker] = client
            self._lines.setdefault(client, {})[worker] = None
            self._ask_for_another()

    async def come(self, cost: int, client: str = NOBODY) -> None:
        """
        Wait in line, as a coroutine that goes on in a later turn.

        @param cost: What it has done in this one.
        """
        self.spend(cost)
        waiter = _Waiter()
        self.get_in_line(waiter, client)
        try:
            await waiter.turn
        finally:
            self.leave(waiter)

    def leave(self, worker: Worker) -> None:
        """Be called no more."""
        if (client := self._clients.pop(worker, None)) is not None:
            line = self._lines[client]
            del line[worker]
            if not line:
                del self._lines[client]

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._clients)

    def _ask_for_another(self) -> None:
        if self._next is None:
            self._next = self._clock.callLater(0, self._begin)
            if self._began is None:
                self._began = self._clock.seconds()

    def _begin(self) -> None:
        self._next = None
        self._left = ALLOWANCE
        self._began = self._clock.seconds()
        share = max(LEAST_SHARE, ALLOWANCE // max(1, len(self._clients)))
        for _ in range(len(self._clients)):
            if not self._lines or (remaining := self._remaining()) <= 0:
                break
            worker = self._call_up()
            self._reserved = max(0, remaining - share)
            worker.take_turn()
        self._reserved = 0
        if self._lines:
            self._ask_for_another()
        elif self._next is None:
            self._began = None  # the reactor may sleep now

    def _call_up(self) -> Worker:
        """The first of the client whose turn it is, which is the last one's then."""
        client = next(iter(self._lines))
        line = self._lines.pop(client)
        worker = next(iter(line))
        del line[worker]
        del self._clients[worker]
        if line:
            self._lines[client] = line
        return worker


class _Waiter:
    """A coroutine in line."""

    def __init__(self) -> None:
        self.turn: Deferred[None] = Deferred()

    def take_turn(self) -> None:
        self.turn.callback(None)
