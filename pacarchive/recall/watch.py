"""Waiting for the end of a file's recall, or for any change in the store.

Changes are written by one process and waited for in all of them.  The store's counter of changes shows that there was
one; it is read only while a caller waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pacarchive.recall.schema import to_key
from pacarchive.recall.store import Cursor, Store, StoreUnavailable

LOOK = 0.5
"""Seconds between two reads of the counter."""

_log = Logger()


class Watch:
    """
    Notifies callers of changes in the store.

    @param clock: The source of time.
    @param store: The store.
    @ivar stopped: Whether waiting has ended for good.
    """

    def __init__(self, clock: Any, store: Store) -> None:
        self._clock = clock
        self._store = store
        self._seq = -1
        self._changes: dict[Deferred[bool], int] = {}
        self._files: dict[int, dict[Deferred[bool], int]] = {}
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._again = False
        self.stopped = False

    def stop(self) -> None:
        """Notify all callers that waiting has ended, as the service is about to stop."""
        self.stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        all_waiting = [*self._changes, *(each for waiting in self._files.values() for each in waiting)]
        for each in all_waiting:
            _fire(each, False)

    def poke(self) -> None:
        """Read the counter now, as this process has changed the store."""
        if self._changes or self._files:
            self._look()

    async def change(self, after: int, seconds: float) -> bool:
        """
        Wait for any change in the store.

        @param after: The number of the last change that is known.
        @param seconds: The timeout, in seconds.
        @return: Whether there was a later change; C{False} after the timeout, and when the service is about to stop.
        """
        return await self._wait(self._changes, after, seconds)

    async def end_of(self, file_id: int, seconds: float) -> bool:
        """
        Wait until a file has no recall.

        @param file_id: The file.
        @param seconds: The timeout, in seconds.
        @return: Whether it has none; C{False} after the timeout, and when the service is about to stop.
        """
        key = to_key(file_id)
        waiting = self._files.setdefault(key, {})
        try:
            self._again = True  # its recall may have ended already
            return await self._wait(waiting, 0, seconds)
        finally:
            if not waiting and self._files.get(key) is waiting:
                del self._files[key]

    async def _wait(self, waiting: dict[Deferred[bool], int], after: int, seconds: float) -> bool:
        if self.stopped or seconds <= 0:
            return False
        done: Deferred[bool] = Deferred()
        waiting[done] = after
        limit = self._clock.callLater(seconds, _fire, done, False)
        if self._next is None and self._looking is None:
            self._look()
        try:
            return await done
        finally:
            del waiting[done]
            if limit.active():
                limit.cancel()

    def _look(self) -> None:
        if self._looking is not None:
            self._again = True
            return
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._looking = Deferred.fromCoroutine(self._look_once())
        self._looking.addErrback(lambda failure: _log.failure("recalls: unexpected", failure))
        self._looking.addCallback(self._looked)

    async def _look_once(self) -> None:
        force, self._again = self._again, False
        watched = list(self._files)
        try:
            seq, left = await self._store.read(lambda cursor: _read(cursor, None if force else self._seq, watched))
        except StoreUnavailable:
            self._seq = -1  # it was logged; callers go on waiting, and the next read checks all files
            return
        self._seq = seq
        for key in watched:
            if left is not None and key not in left:
                for each in list(self._files.get(key, ())):
                    _fire(each, True)
        for each, after in list(self._changes.items()):
            if after < seq:
                _fire(each, True)

    def _looked(self, result: None) -> None:
        self._looking = None
        if not self.stopped and self._next is None and (self._changes or self._files):
            self._next = self._clock.callLater(0 if self._again else LOOK, self._due)

    def _due(self) -> None:
        self._next = None
        self._look()


def _read(cursor: Cursor, seen: int | None, watched: Sequence[int]) -> tuple[int, set[int] | None]:
    """
    Return the number of the last change; and the keys of the files that are still recalled, unless nothing has changed.

    @param seen: The number of the last change that is known.
    @param watched: The keys of the files.
    """
    row = cursor.row("SELECT seq FROM turn")
    assert row is not None, "the schema has put it there"
    if row[0] == seen:
        return row[0], None
    return row[0], {found[0] for found in cursor.among("SELECT file FROM recalls WHERE file IN (*)", watched)}


def _fire(waiting: Deferred[bool], result: bool) -> None:
    if not waiting.called:
        waiting.callback(result)
