"""The lease that makes one process the dispatcher.

A row in the store names the holder, with a counter that the holder keeps increasing.  A process that has seen the same
count for long enough, by its own clock, takes the lease over; so the clocks of machines need not agree.  The number of
the lease, its term, is increased then, and each transaction of the dispatcher checks that its term is still current.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from pacarchive.recall.store import Cursor, Store, Transaction

HEARTBEAT = 1.5
"""Seconds between two renewals."""

LEASE_TIMEOUT = 6.0
"""Seconds without a renewal after which a lease has expired."""

_log = Logger()


class Lease:
    """
    The lease, as one process sees it.

    @param clock: The source of time.
    @param store: The store.
    @param name: The unique name of this process.
    @ivar term: The number of the lease while this process holds it, else C{None}.
    """

    def __init__(self, clock: Any, store: Store, name: str) -> None:
        self._clock = clock
        self._store = store
        self._name = name
        self._seen: tuple[str, int, int] | None = None
        self._since = 0.0
        self.term: int | None = None

    async def renew(self) -> None:
        """
        Renew the lease, or take it over if it has expired; to be called every L{HEARTBEAT} seconds.

        @raise StoreUnavailable: It cannot be done now.
        """
        if self.term is not None:
            await self._beat(self.term)
            return
        seen = await self._store.read(_read_lease)
        now = self._clock.seconds()
        if seen != self._seen:
            self._seen, self._since = seen, now
        # A lease in its own name is one that this process has lost.
        if seen[0] in ("", self._name) or now - self._since >= LEASE_TIMEOUT:
            self.term = await self._store.write(lambda transaction: _take(transaction, seen, self._name))
            if self.term is not None:
                whose = f", after {seen[0]}" if seen[0] else ""
                _log.info("recalls: this process is the dispatcher now{whose}", whose=whose)

    async def _beat(self, term: int) -> None:
        kept = await self._store.write(
            lambda transaction: transaction.execute("UPDATE turn SET beat = beat + 1 WHERE term = ?", term).rowcount
        )
        if not kept:
            self.lose(term)

    def lose(self, term: int) -> None:
        """
        Give up a lease that another process has taken, or that this process is to take again, under a new number.

        @param term: The number of the lease; a later one is kept.
        """
        if self.term == term:
            _log.warn("recalls: this process is not the dispatcher any more")
            self.term = None

    async def end(self) -> None:
        """Release the lease, so that another process can take it at once."""
        if self.term is not None:
            term, self.term = self.term, None
            await self._store.write(
                lambda transaction: transaction.execute(
                    "UPDATE turn SET holder = '', beat = beat + 1 WHERE term = ?", term
                )
            )


def _read_lease(cursor: Cursor) -> tuple[str, int, int]:
    row = cursor.row("SELECT holder, term, beat FROM turn")
    assert row is not None, "the schema has put it there"
    return row[0], row[1], row[2]


def _take(transaction: Transaction, seen: tuple[str, int, int], name: str) -> int | None:
    holder, term, beat = seen
    taken = transaction.execute(
        "UPDATE turn SET holder = ?, term = term + 1, beat = 0 WHERE holder = ? AND term = ? AND beat = ?",
        *(name, holder, term, beat),
    ).rowcount
    return term + 1 if taken else None
