"""Turns of the reactor, shared by what costs more than its bytes.

A read of 64 KiB may hold ten thousand chunks, or two thousand requests.  Whoever finds such a read does a part of the
work, and gets in line for the rest: all who are in line have one allowance for each turn, so that a turn stays short
however many they are.  Each client has a line of its own, and these are served in rotation: one with a thousand
connections keeps itself waiting, and nobody else.  What a client takes of a turn beyond its rate, it rests for in those
that follow, which are short then: a request needs several, and comes between two of what takes a whole one.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

ALLOWANCE = 4_000
"""
The work of one turn, in about microseconds.  Beside it, what comes over some hundred connections is read in a turn, and
connections are accepted.
"""

LONGEST = 6_000
"""The same by the clock: what work costs is an estimate, and machines differ."""

RATE = ALLOWANCE // 4
"""What a client may do in a turn in the long run, while there is not time for all."""

MOST_TAKEN = 8 * ALLOWANCE
"""What a client has done in a turn at the most, whatever the clock says: it may be set, and a machine may sleep."""

LEAST_SHARE = 200
"""What each who is in line may do at the least, when it is called."""

CHUNK_COST = 3
"""What a chunk takes of a turn's allowance."""

REQUEST_COST = 250
"""What a request takes of a turn's allowance, as a read of a small file does."""

QUICK_COST = 50
"""What one takes that is answered from the bytes of its head, beside those of its answer."""

LINE_COST = 8
"""What a line of its head takes."""

ENDING_COST = 250
"""What the end of a connection takes, or of its time: what was under way is cancelled or answered."""

PIECE = 1 << 10
"""How much of what waits is read as lines before the turn is looked at: some forty requests at the most."""

LEAST_CHUNKS = 32
"""Chunks of each read that are taken off at once, whatever there is left of the turn."""

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
    @ivar _lines: Who waits, by client, in the order in which they came.
    @ivar _rotation: The clients in line that do not rest; the first is served next.
    @ivar _debts: What the clients that rest took too much.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lines: dict[str, dict[Worker, None]] = {}
        self._clients: dict[Worker, str] = {}
        self._rotation: dict[str, None] = {}
        self._debts: dict[str, int] = {}
        self._next: IDelayedCall | None = None
        self._left = ALLOWANCE
        self._reserved = 0
        self._began: float | None = None

    def left(self, client: str = NOBODY, now: float | None = None) -> int:
        """How much may still be done now; nothing for a client that rests."""
        return 0 if client in self._debts else self._remaining(now) - self._reserved

    def _remaining(self, now: float | None = None) -> int:
        if self._began is None:
            return self._left
        now = self._clock.seconds() if now is None else now
        return min(self._left, LONGEST - int((now - self._began) * 1_000_000))

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
            if client not in self._debts:
                self._rotation.setdefault(client)
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
                self._rotation.pop(client, None)

    def has(self, worker: Worker) -> bool:
        """Whether somebody is in line."""
        return worker in self._clients

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
        self._end_rests()
        try:
            self._serve()
        finally:
            self._reserved = 0
            if self._lines or self._debts:
                self._ask_for_another()
            elif self._next is None:
                self._began = None  # the reactor may sleep now

    def _serve(self) -> None:
        share = max(LEAST_SHARE, ALLOWANCE // max(1, len(self._clients)))
        taken: dict[str, int] = {}
        for _ in range(len(self._clients)):
            if not self._rotation or (remaining := self._remaining()) <= 0:
                break
            client = next(iter(self._rotation))
            worker = self._call_up(client)
            self._reserved = max(0, remaining - share)
            worker.take_turn()
            taken[client] = taken.get(client, 0) + remaining - self._remaining()
        for client, cost in taken.items():
            if cost > RATE:
                self._debts[client] = min(cost, MOST_TAKEN) - RATE
                self._rotation.pop(client, None)

    def _end_rests(self) -> None:
        """Serve those again who have rested for as long as they should."""
        for client, debt in list(self._debts.items()):
            if debt > 0:
                self._debts[client] = debt - RATE
            else:
                del self._debts[client]
                if client in self._lines:
                    self._rotation[client] = None

    def _call_up(self, client: str) -> Worker:
        """The first of a client's line; those after it have to wait for the other clients."""
        line = self._lines[client]
        worker = next(iter(line))
        self.leave(worker)
        if line:
            del self._rotation[client]
            self._rotation[client] = None
        return worker


class _Waiter:
    """A coroutine in line."""

    def __init__(self) -> None:
        self.turn: Deferred[None] = Deferred()

    def take_turn(self) -> None:
        self.turn.callback(None)
