"""What the faces report of files, noted in the store a little later: that one was read whole, or removed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pacarchive.recall import work
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.store import Read, StoreUnavailable, Write

_DELAY = 0.5
"""Seconds within which what was read or removed is noted."""

_RETRY_AFTER = 10.0
"""Seconds after which that is tried again where the store did not answer."""


class Notes:
    """
    What is still to be noted.

    @param clock: The time.
    @param write: Changes the store.
    @param look: Reads from it.
    @param keep: Owns work that nobody waits for.
    @param released: Is called with the files that nobody has pinned any more.
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
        """A file was read whole: pins that last until then end."""
        self._read_ids.add(file_id)
        self._schedule(_DELAY)

    def was_removed(self, file_id: int) -> None:
        """A file was removed: its recalls end."""
        self._removed_ids.add(file_id)
        self._schedule(_DELAY)

    def stop(self) -> None:
        """Note nothing more by itself."""
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
        """Note what there is; where the store does not answer, that is tried again."""
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
