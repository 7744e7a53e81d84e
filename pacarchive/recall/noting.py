"""What the faces report of files, noted in the store a little later: that one was read whole, or removed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pacarchive.recall import work
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.store import Look, StoreUnavailable, Write

_SOON = 0.5
"""Seconds within which what was read or removed is noted."""

_NOTE_AGAIN = 10.0
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
        look: Look,
        keep: Callable[[Coroutine[Any, Any, None]], None],
        released: Callable[[Sequence[int]], None],
    ) -> None:
        self._clock = clock
        self._write = write
        self._look = look
        self._keep = keep
        self._tell = released
        self._read: set[int] = set()
        self._removed: set[int] = set()
        self._next: IDelayedCall | None = None
        self._stopped = False

    def was_read(self, file_id: int) -> None:
        """A file was read whole: pins that last until then end."""
        self._read.add(file_id)
        self._schedule(_SOON)

    def was_removed(self, file_id: int) -> None:
        """A file was removed: its recalls end."""
        self._removed.add(file_id)
        self._schedule(_SOON)

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
        self._keep(self.write_down())

    async def write_down(self) -> None:
        """Note what there is; where the store does not answer, that is tried again."""
        read, self._read = {to_key(file_id) for file_id in self._read}, set()
        removed, self._removed = {to_key(file_id) for file_id in self._removed}, set()
        if not read and not removed:
            return
        try:
            if await self._look(lambda cursor: work.concerned(cursor, read, removed)):
                keys = await self._write(lambda turn: work.note(turn, read, removed))
                self._tell([from_key(key) for key in keys])
        except StoreUnavailable:
            self._read |= {from_key(key) for key in read}
            self._removed |= {from_key(key) for key in removed}
            self._schedule(_NOTE_AGAIN)
