"""What operators see of recalls, and do with them."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime

from pacarchive import errors
from pacarchive.recall import overview, priorities, retrying
from pacarchive.recall.holds import put_hold, read_holds, remove_hold
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor, Read, Write
from pacarchive.recall.views import CartridgeOrder, CartridgePage, CartridgeRow, Overview, OwnerPage, OwnerRow
from pacarchive.recall.words import Hold, HoldKind, Priority, Retried, RetryFilter
from pacarchive.runtime.shared import Shared

T = TypeVar("T")

FRESH = 1.0
"""Seconds for which all callers share what was read."""

_SHARE = 20
"""So many times as long as reading takes, what was read is shared at least: a slow store is not kept busy with it."""

_FIRST = 1e300
"""Later than every time."""


class _Snapshot:
    """
    What is read from the store once for all that ask for it within a second; if nobody asks, it is not read.

    @param clock: The source of time.
    @param read: Reads it.
    """

    def __init__(self, clock: IReactorTime, read: Callable[[float], Coroutine[Any, Any, T]]) -> None:
        self._clock = clock
        self._read: Callable[[float], Coroutine[Any, Any, Any]] = read
        self._reading: Shared[Any] | None = None
        self._until = 0.0

    async def get(self) -> Any:
        """Return it, together with the time when it was read."""
        if self._reading is None or (self._reading.ended and self._is_old):
            self._reading = Shared(self._look())
        return await self._reading.result()

    def forget(self) -> None:
        """Have it read again, also where that is under way: something was changed meanwhile."""
        self._reading = None

    @property
    def _is_old(self) -> bool:
        assert self._reading is not None, "it was read"
        return self._reading.failed or self._clock.seconds() >= self._until

    async def _look(self) -> tuple[float, Any]:
        begun = self._clock.seconds()
        found = await self._read(begun)
        now = self._clock.seconds()
        self._until = begun + max(FRESH, _SHARE * (now - begun))
        return begun, found


class Operations:
    """
    What operators see and do.

    @param clock: The source of time.
    @param settings: The settings.
    @param write: Changes the store.
    @param read: Reads from it.
    """

    def __init__(self, clock: IReactorTime, settings: RecallSettings, write: Write, read: Read) -> None:
        self._clock = clock
        self._settings = settings
        self._write = write
        self._read = read
        begun = clock.seconds()
        self._overview = _Snapshot(
            clock, lambda now: read(lambda cursor: overview.overview(cursor, settings, now, begun))
        )
        self._cartridges = _Snapshot(clock, lambda _: read(overview.cartridges))
        self._owners = _Snapshot(clock, lambda now: read(lambda cursor: overview.owners(cursor, now)))

    # What they see

    async def overview(self) -> Overview:
        """
        Return how the queue stands; it is at most about a second old.

        @raise errors.BackendUnavailable: The store does not answer.
        """
        found: Overview = (await self._overview.get())[1]
        return found

    async def cartridges(
        self,
        *,
        owner: str | None = None,
        order: CartridgeOrder = CartridgeOrder.NAME,
        after: str | None = None,
        limit: int = 100,
    ) -> CartridgePage:
        """
        Return a page of cartridges that files wait for or have failed on, and those that are held.

        @param owner: The owner whose files count; C{None} for all.
        @param after: Where the page begins: C{next} of the one before.
        @raise errors.InvalidRequest: It is not that.
        """
        made, rows = self._clock.seconds(), list[CartridgeRow]()
        if owner is None:
            made, rows = await self._cartridges.get()
        else:
            rows = await self._read(lambda cursor: overview.cartridges(cursor, owner))
        page, following = _page(rows, lambda row: _key(row, order), after, limit)
        return CartridgePage(made=made, rows=page, total=len(rows), next=following)

    async def cartridge(self, name: str) -> CartridgeRow | None:
        """Return one cartridge; C{None} if nothing is known of it."""
        _, rows = await self._cartridges.get()
        return next((row for row in rows if row.cartridge == name), None)

    async def owners(self, *, owner: str | None = None, after: str | None = None, limit: int = 100) -> OwnerPage:
        """
        Return a page of owners that have jobs, by name.

        @param owner: The only one; C{None} for all.
        @param after: Where the page begins: C{next} of the one before.
        @raise errors.InvalidRequest: It is not that.
        """
        made, rows = self._clock.seconds(), list[OwnerRow]()
        if owner is None:
            made, rows = await self._owners.get()
        else:
            now = made
            rows = await self._read(lambda cursor: overview.owners(cursor, now, owner))
        page, following = _page(rows, lambda row: (row.owner,), after, limit)
        return OwnerPage(made=made, rows=page, total=len(rows), next=following)

    def _forget(self) -> None:
        """Something was changed, which those who did so are to see at once."""
        for each in (self._overview, self._cartridges, self._owners):
            each.forget()

    # What they do

    async def holds(self) -> Sequence[Hold]:
        """Return all holds, as they are now."""
        return (await self._read(read_holds)).all_of_them

    async def hold(
        self,
        kind: HoldKind,
        who: str,
        *,
        cartridge: str = "",
        drives: int | None = None,
        why: str = "",
        until: float | None = None,
    ) -> Hold:
        """
        Hold everything, drives or a cartridge; a hold of the same replaces the one before.  Nothing that it is about is
        submitted to the storage system after this has returned; what was, is recalled all the same.

        @param who: Who holds it.
        @param cartridge: The cartridge, if it is one.
        @param drives: How many drives may still be used, if it is about these.
        @param why: Why, for others to read.
        @param until: When it ends by itself.
        @raise errors.InvalidRequest: There are too many, or C{until} has passed.
        """
        now = self._clock.seconds()
        if until is not None and until <= now:
            raise errors.InvalidRequest("The end of the hold has passed already.")
        hold = Hold(kind=kind, cartridge=cartridge, drives=drives, who=who, why=why, since=now, until=until)
        await self._write(lambda transaction: put_hold(transaction, hold))
        self._forget()
        return hold

    async def resume(self, kind: HoldKind, cartridge: str = "") -> None:
        """
        End a hold.

        @raise errors.NotFound: There is none.
        """
        if not await self._write(lambda transaction: remove_hold(transaction, kind, cartridge)):
            raise errors.NotFound("There is no such hold.")
        self._forget()

    async def count_retries(self, wanted: RetryFilter) -> Retried:
        """
        Return what L{retry} would be about.

        @raise errors.NotFound: There is no such job.
        """
        now = self._clock.seconds()

        def look(cursor: Cursor) -> tuple[int, int]:
            return retrying.count(cursor, wanted, now)

        failed, hurried = await self._read(look)
        return Retried(failed=failed, hurried=hurried)

    async def retry(self, wanted: RetryFilter) -> Retried:
        """
        Retry files that have failed, also those of jobs that have ended; and have those tried again now that are
        backing off.  It is done in steps, and what a caller that is cancelled has not come to is left out.

        @raise errors.NotFound: There is no such job.
        """
        begun = self._clock.seconds()
        failed = hurried = 0
        while some := await self._write(lambda transaction: retrying.hurry(transaction, wanted)):
            hurried += some
            if some < retrying.AT_ONCE:
                break
        after: retrying.Position | None = retrying.BEGINNING
        while after is not None:
            step = partial(retrying.retry, wanted=wanted, until=begun, after=after, deadline=self._settings.deadline)
            done, after = await self._write(step)
            failed += done
        self._forget()
        return Retried(failed=failed, hurried=hurried)

    async def change_priority(self, job: str, priority: Priority) -> None:
        """
        Change the priority of a job, and of its files that wait.

        @raise errors.NotFound: There is no such job.
        """
        number = await self._write(lambda transaction: priorities.change(transaction, job, priority))
        after: int | None = None
        while True:
            after = await self._write(partial(priorities.apply, number=number, after=after))
            if after is None:
                return


def _key(row: CartridgeRow, order: CartridgeOrder) -> tuple[Any, ...]:
    match order:
        case CartridgeOrder.NEXT:
            return (not row.reading, row.place or _FIRST, row.cartridge)
        case CartridgeOrder.FILES:
            return (-row.states.waiting.files - row.states.started.files, row.cartridge)
        case CartridgeOrder.OLDEST:
            return (_FIRST if row.oldest is None else row.oldest, row.cartridge)
        case CartridgeOrder.FAILED:
            return (-row.failed.files, row.cartridge)
        case _:
            return (row.cartridge,)


def _page(
    rows: Sequence[T], key: Callable[[T], tuple[Any, ...]], after: str | None, limit: int
) -> tuple[Sequence[T], str | None]:
    """Return the rows of a page, and where the next one begins.  Rows may have come or gone since the page before."""
    rows = sorted(rows, key=key)
    start = 0
    if after is not None:
        try:
            given = json.loads(after)
            start = bisect.bisect_right(rows, (*given,), key=key) if isinstance(given, list) else -1
        except (ValueError, TypeError, RecursionError):
            start = -1
        if start < 0:
            raise errors.InvalidRequest('"after" is what an earlier page gave.')
    page = rows[start : start + limit]
    more = start + limit < len(rows)
    return page, json.dumps(key(page[-1])) if more and page else None
