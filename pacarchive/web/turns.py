"""Turns of the reactor, shared by what costs more than its bytes.

A read of 64 KiB may hold ten thousand chunks, or two thousand requests.  Whoever finds such a read does a part of the
work, and gets in line for the rest: all who are in line have one allowance for each turn, so that a turn stays short
however many they are.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

ALLOWANCE = 8_000
"""The work of one turn, in about microseconds."""

LEAST_SHARE = 200
"""What each who is in line may do at the least, when it is called."""


class Worker(Protocol):
    """Somebody who has more to do than one turn has room for."""

    def take_turn(self) -> None:
        """Do a part of it, L{Turns.spend} what that cost, and get in line again if there is more."""


class Turns:
    """
    The line, and the allowance.

    @param clock: Whose turns these are.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._line: dict[Worker, None] = {}
        self._next: IDelayedCall | None = None
        self._left = ALLOWANCE
        self._reserved = 0

    @property
    def left(self) -> int:
        """How much may still be done now."""
        return self._left - self._reserved

    def spend(self, cost: int) -> None:
        """Note work that has been done in this turn, in about microseconds."""
        self._left -= cost
        self._ask_for_another()

    def get_in_line(self, worker: Worker) -> None:
        """Have a worker called in a later turn, after those who are in line already."""
        self._line.setdefault(worker)
        self._ask_for_another()

    async def come(self, cost: int) -> None:
        """
        Wait in line, as a coroutine that goes on in a later turn.

        @param cost: What it has done in this one.
        """
        self.spend(cost)
        waiter = _Waiter()
        self.get_in_line(waiter)
        try:
            await waiter.turn
        finally:
            self.leave(waiter)

    def leave(self, worker: Worker) -> None:
        """Be called no more."""
        self._line.pop(worker, None)

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    def _ask_for_another(self) -> None:
        if self._next is None:
            self._next = self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        self._next = None
        self._left = ALLOWANCE
        share = max(LEAST_SHARE, ALLOWANCE // max(1, len(self._line)))
        for worker in list(self._line):
            if self._left <= 0:
                break
            if worker in self._line:  # the one before may have ended it
                del self._line[worker]
                self._reserved = max(0, self._left - share)
                worker.take_turn()
        self._reserved = 0
        if self._line:
            self._ask_for_another()


class _Waiter:
    """A coroutine in line."""

    def __init__(self) -> None:
        self.turn: Deferred[None] = Deferred()

    def take_turn(self) -> None:
        self.turn.callback(None)
