"""The memory that all files on their way to the store may take together."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred


class Memory:
    """
    A number of bytes that are taken and given back.

    Nobody may wait for some while holding some: who needs more takes what is free, or makes do with what it has.

    @param size: How many there are; who needs more than all gets them when nobody has any.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    async def take(self, size: int) -> None:
        """Wait for some, in the order of the calls."""
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: Deferred[None] = Deferred(lambda _: self._waiting.remove(entry))
        entry = (size, turn)
        self._waiting.append(entry)
        await turn

    def take_now(self, size: int) -> bool:
        """Take some, if nobody waits and there are as many.  @return: Whether they are taken."""
        if self._waiting or not self._fits(size):
            return False
        self._taken += size
        return True

    def overdraw(self, size: int) -> None:
        """Take some although there may be none."""
        self._taken += size

    def give_back(self, size: int) -> None:
        """Give some back."""
        self._taken -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self._taken += size
            turn.callback(None)

    def _fits(self, size: int) -> bool:
        return self._taken == 0 or self._taken + size <= self._size
