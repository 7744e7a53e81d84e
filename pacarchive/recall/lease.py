"""Who the dispatcher is.

The store has one row that says so, with a count that the dispatcher goes on raising.  Whoever has watched the count
stand still for long enough, by a clock of its own, takes the row over: no two machines need agree on the time.  The
term of office goes up by one then, and each of the dispatcher's transactions makes sure that its term has not ended.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from pacarchive.recall.store import Cursor, Store, Turn

HEARTBEAT = 1.5
"""Seconds between two signs of life."""

SILENCE = 6.0
"""A dispatcher that gave none for this long has ended."""

_log = Logger()


class Lease:
    """
    One process's view of who the dispatcher is.

    @param clock: The time.
    @param store: The store.
    @param name: What this process is known by; unique.
    @ivar term: The term of office while this process is the dispatcher, else C{None}.
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
        Give a sign of life, or look for that of another; to be called every L{HEARTBEAT} seconds.

        @raise StoreUnavailable: It cannot be done now.
        """
        if self.term is not None:
            await self._beat(self.term)
            return
        seen = await self._store.read(_look)
        now = self._clock.seconds()
        if seen != self._seen:
            self._seen, self._since = seen, now
        # What has its own name, this process has let go of.
        if seen[0] in ("", self._name) or now - self._since >= SILENCE:
            self.term = await self._store.write(lambda turn: _take(turn, seen, self._name))
            if self.term is not None:
                whose = f", after {seen[0]}" if seen[0] else ""
                _log.info("recalls: this process is the dispatcher now{whose}", whose=whose)

    async def _beat(self, term: int) -> None:
        kept = await self._store.write(
            lambda turn: turn.execute("UPDATE turn SET beat = beat + 1 WHERE term = ?", term).rowcount
        )
        if not kept:
            self.lose(term)

    def lose(self, term: int) -> None:
        """It was found out that somebody else is the dispatcher; or this process is to begin a new term."""
        if self.term == term:
            _log.warn("recalls: this process is not the dispatcher any more")
            self.term = None

    async def end(self) -> None:
        """Make way for another at once."""
        if self.term is not None:
            term, self.term = self.term, None
            await self._store.write(
                lambda turn: turn.execute("UPDATE turn SET holder = '', beat = beat + 1 WHERE term = ?", term)
            )


def _look(cursor: Cursor) -> tuple[str, int, int]:
    row = cursor.row("SELECT holder, term, beat FROM turn")
    assert row is not None, "the schema has put it there"
    return row[0], row[1], row[2]


def _take(turn: Turn, seen: tuple[str, int, int], name: str) -> int | None:
    holder, term, beat = seen
    taken = turn.execute(
        "UPDATE turn SET holder = ?, term = term + 1, beat = 0 WHERE holder = ? AND term = ? AND beat = ?",
        *(name, holder, term, beat),
    ).rowcount
    return term + 1 if taken else None
