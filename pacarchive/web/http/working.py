"""What a route asks of its request while it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from pacarchive import errors
from pacarchive.web.http.heads import RequestHead
from pacarchive.web.http.shares import client_of

if TYPE_CHECKING:
    from pacarchive.web.http.channel import ArchiveChannel

FEW = 200
"""Files that are looked up so soon that it is not worth asking who listens."""

PART = 1500
"""What is done of long work at a time, in about microseconds."""

OFTEN = 5
"""How often work gives way to others before it counts as long: a turn's work is some milliseconds'."""


class WorkingRequest(RequestHead):
    """A request whose route is at work: whether somebody still listens, the memory it holds, and the turns it takes."""

    transport: Any
    # Twisted deletes the attribute at the end of a request, and sets it to None when the connection is lost first.
    channel: ArchiveChannel = None  # type: ignore[assignment]
    _gave_way = 0

    @property
    def is_over(self) -> bool:
        """Whether it has been answered, or its connection is lost: there is no channel any more."""
        return self.channel is None

    @property
    def connection(self) -> ArchiveChannel:
        """
        The channel, for as long as there is somebody at its other end.

        @raise CancelledError: There is not.  The route is about to be cancelled, and may end now.
        """
        if self.is_over:
            raise CancelledError
        return self.channel

    def count(self, kind: str, amount: int) -> errors.Overloaded | None:
        """
        Note how much memory is held, until the request is over.

        @param kind: What for; there is one of each.
        @param amount: Bytes.
        @return: Why that is too much, of the client or of all, where it is.
        """
        if self.is_over:
            return None
        self.channel.held.set(kind, amount)
        return self.channel.held.refusal()

    def hold(self, kind: str, amount: int) -> None:
        """
        L{count} what is not held yet, and will not be if it is too much.  Nothing of the answer has been sent.

        @raise errors.Overloaded: It is.
        """
        if (refusal := self.count(kind, amount)) is not None:
            self.count(kind, 0)
            raise refusal

    @contextmanager
    def looking_up(self, files: int) -> Iterator[None]:
        """
        Look many files up for the client, as long as it listens.

        @raise errors.Overloaded: Too many are being looked up already, for this client or for all.
        """
        with self.site.lookups.enter(self.client, files), self.listened_to_for(files):
            yield

    def listened_to_for(self, files: int) -> AbstractContextManager[None]:
        """As L{while_listened_to}, where they are so many that it takes long."""
        return nullcontext() if files <= FEW else self.while_listened_to()

    def while_listened_to(self) -> AbstractContextManager[None]:
        """
        Work that is long, and done for nobody but the client, ends with it (L{CancelledError}), also when the client
        has only ended its side: that is all that is seen of one that has closed the connection, and one that can still
        read after that has no use for what takes long.  The connection is cut.
        """
        return self.connection.when_peer_ends(self.transport.abortConnection)

    async def give_way(self, cost: int = PART) -> None:
        """
        Let others have their turn.  Work that does so often is long, and ends as L{while_listened_to} says.

        @param cost: What was done since the last time, in about microseconds.
        """
        self._gave_way += 1
        if self._gave_way > OFTEN and not self.is_over and self.channel.peer_has_ended:
            self.transport.abortConnection()
        await self.site.turns.come(cost, client_of(self.client))
