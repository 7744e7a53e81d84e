"""Files that were read or removed, as the REST API reports them: they are collected and noted in the store together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pacarchive.recall import work
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.store import Read, StoreUnavailable, Write

_DELAY = 0.5
"""Seconds from the first report to the writing."""

_RETRY_AFTER = 10.0
"""Seconds until a write is retried that failed because the store did not answer."""


class Notes:
    """
    Collects what has to be noted.

    @param clock: The source of time.
    @param write: Changes the store.
    @param query: Reads from it.
    @param keep: Runs a coroutine in the background.
    @param on_unpinned: Called with the ids of files that have no pin any more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        write: Write,
        query: Read,
        keep: Callable[[Coroutine[Any, Any, None]], None],
        on_unpinned: Callable[[Sequence[int]], None],
    ) -> None:
        self._clock = clock
        self._write = write
        self._query = query
        self._keep = keep
        self._on_unpinned = on_unpinned
        self._read_ids: set[int] = set()
        self._removed_ids: set[int] = set()
        self._next: IDelayedCall | None = None
        self._stopped = False

    def was_read(self, file_id: int) -> None:
        """Note that the whole of a file was read, which ends pins that last until then."""
        self._read_ids.add(file_id)
        self._schedule(_DELAY)

    def was_removed(self, file_id: int) -> None:
        """Note that a file was removed, which ends its recall."""
        self._removed_ids.add(file_id)
        self._schedule(_DELAY)

    def stop(self) -> None:
        """Stop the timer; what is collected then is only written by L{write_notes}."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _schedule(self, seconds: float) -> None:
        if self._next is None and not self._stopped:
            self._next = self._clock.callLater(seconds, self._note_now)

    def _note_now(self) -> None:
        self._next = None
        self._keep(self.write_notes())

    async def write_notes(self) -> None:
        """Write what is collected; if the store does not answer, keep it and retry later."""
        read, self._read_ids = {to_key(file_id) for file_id in self._read_ids}, set()
        removed, self._removed_ids = {to_key(file_id) for file_id in self._removed_ids}, set()
        if not read and not removed:
            return
        try:
            if await self._query(lambda cursor: work.concerned(cursor, read, removed)):
                keys = await self._write(lambda transaction: work.note(transaction, read, removed))
                self._on_unpinned([from_key(key) for key in keys])
        except StoreUnavailable:
            self._read_ids |= {from_key(key) for key in read}
            self._removed_ids |= {from_key(key) for key in removed}
            self._schedule(_RETRY_AFTER)
