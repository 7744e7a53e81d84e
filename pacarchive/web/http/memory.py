"""The memory that requests hold while they are not over: in sum, and each client's part of it.

Heads and bodies of which more is to come, documents that are worked on, answers that the client has not taken: each has
a limit by itself, and ten thousand connections of them would be all the memory that there is.
"""

from __future__ import annotations

from twisted.internet.interfaces import IAddress

from pacarchive import errors
from pacarchive.web.http.admission import Crowds
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.shares import Shares, client_of

FREE = 4 << 10
"""What a request may hold of one kind without an account of it: connections are counted themselves."""

_COME_BACK = 5


class Memory:
    """
    The account of one process.

    @param limits: The limits in force.
    @param crowds: The clients that stand for many.
    """

    def __init__(self, limits: LimitSettings, crowds: Crowds) -> None:
        self._crowds = crowds
        self.shares = Shares(limits.memory, max(1, limits.memory * limits.client_share // 100))

    def holding(self, address: IAddress | None) -> Holding:
        """What a new connection holds: nothing."""
        return Holding(self, client_of(address))

    def refusal(self, client: str) -> errors.Overloaded | None:
        """Why a client has more than it may, where it has."""
        shares = self.shares
        if not shares.exceeded(client):
            return None
        if shares.held <= shares.total:
            if client in self._crowds:
                return None
            words = "Your address holds as much memory as one may ([limits] client_share of memory)."
        else:
            words = "The server holds as much memory for unfinished requests as it may ([limits] memory)."
        return errors.Overloaded(words, retry_after=_COME_BACK)


class Holding:
    """
    What one connection holds, by kind.

    @param memory: The account.
    @ivar client: Whose connection it is.
    """

    __slots__ = ("_kinds", "_memory", "client")

    def __init__(self, memory: Memory, client: str) -> None:
        self._memory = memory
        self.client = client
        self._kinds: dict[str, int] = {}

    def set(self, kind: str, amount: int) -> None:
        """Note how much of a kind there is now, in bytes."""
        if amount <= FREE:
            amount = 0
        change = amount - self._kinds.get(kind, 0)
        if not change:
            return
        if amount:
            self._kinds[kind] = amount
        else:
            del self._kinds[kind]
        if change > 0:
            self._memory.shares.take(self.client, change)
        else:
            self._memory.shares.give_back(self.client, -change)

    def refusal(self) -> errors.Overloaded | None:
        """Why there may be no more, where it is so.  One who holds nothing is never refused."""
        return self._memory.refusal(self.client) if self._kinds else None

    def let_go(self, *kept: str) -> None:
        """
        Note that nothing is held any more.

        @param kept: Kinds that are.
        """
        for kind in [each for each in self._kinds if each not in kept]:
            self.set(kind, 0)
