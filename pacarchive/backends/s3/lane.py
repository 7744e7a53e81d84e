"""How many requests are sent at a time: fewer when the store says that it is too busy, later more again."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred


class Lane:
    """
    A limit for requests that are under way, which adapts itself to what the store bears.

    @param most: The limit while the store has no objections.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._under_way = 0
        self._waiting: deque[Deferred[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return int(self._limit)

    async def enter(self) -> None:
        """Wait for a slot, in the order of the calls; each is followed by one L{leave}."""
        if self._under_way < self.limit and not self._waiting:
            self._under_way += 1
            return
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        await turn

    def leave(self) -> None:
        """Give a slot back."""
        self._under_way -= 1
        self._admit()

    def slow_down(self) -> None:
        """Halve the limit: the store is too busy."""
        self._limit = max(1.0, self._limit / 2)

    def speed_up(self) -> None:
        """Raise the limit a little: a request went well.  A whole round of them raises it by one."""
        self._limit = min(float(self._most), self._limit + 1 / self._limit)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._under_way < self.limit:
            self._under_way += 1
            self._waiting.popleft().callback(None)
