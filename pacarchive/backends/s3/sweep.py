"""Removing what nothing needs any more: data of versions that were replaced, and what uploads left that were cut off.

Data that no record names may be read still by somebody who opened it before, or be new and about to be published.  So
it is marked when it is first seen, and only removed when its mark is old; and the record is looked at once more before.
The keys of data and of marks have the same ends, in the same order, so the two lists are read side by side, and nothing
is kept in memory but a page of each.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any

import attrs
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.s3 import versions
from pacarchive.backends.s3.bucket import Bucket, Tagged, UnfulfilledError
from pacarchive.backends.s3.bulk import listed
from pacarchive.backends.s3.documents import Listed
from pacarchive.backends.s3.record import GONE_SIZE, data_at, file_id_at, place_of
from pacarchive.backends.s3.records import Records
from pacarchive.runtime.shared import all_of

_AT_ONCE = 100

PROOF = 3600.0
"""For how many seconds the record of a removed file stays at least: by it others tell what has become of theirs."""

_FEW = 10
"""So much data without a record is left by writers that died, also where there are no records yet."""

_log = Logger()


class _Use(enum.Enum):
    """Whether a record names data."""

    NEEDED = enum.auto()
    NOT_NEEDED = enum.auto()
    """The record of the file names another version."""
    NO_RECORD = enum.auto()
    """The file has no record."""


@attrs.frozen
class LeftOver:
    """
    Something that nothing needs.

    @ivar key: Its key.
    @ivar size: Its size in bytes; 0 for an upload in parts, whose size is not told.
    @ivar age: Seconds since it was stored, or begun, or since it is known that nothing needs it.
    @ivar removed: Whether it was removed.
    @ivar locked: Whether the store keeps it from being removed.
    """

    key: str
    size: int
    age: float
    removed: bool
    locked: bool = False


class RecordsLostError(Exception):
    """So much data has no record that records are missing, and not writers have died."""


class Sweeper:
    """
    Sweeps an archive.

    @param bucket: The bucket.
    @param records: The records.
    @param grace: For how many seconds what nothing needs is kept.
    @param dry_run: Whether nothing is changed.
    @param believes: Whether data without a record is nobody's, however much there is.
    @ivar marked: How much data was marked, which a later sweep removes.
    """

    def __init__(
        self, bucket: Bucket, records: Records, grace: float, *, dry_run: bool, believes: bool = False
    ) -> None:
        self.marked = 0
        self._bucket = bucket
        self._records = records
        self._layout = records.layout
        self._grace = grace
        self._dry_run = dry_run
        self._believes = believes

    async def run(self) -> AsyncIterator[LeftOver]:
        """
        Sweep.

        @return: What was removed, could not be, or would be.
        @raise errors.BackendUnavailable: The store does not answer.
        @raise RecordsLostError: Records are missing; the data that they were of is not touched.
        """
        async for each in self._uploads():
            yield each
        async for each in self._old(self._layout.probes):
            yield each
        async for each in self._data():
            yield each
        await self._gone()
        if self._bucket.promises.versions:
            for prefix in (self._layout.probes, self._layout.data, self._layout.garbage):
                async for each in self._hidden(prefix):
                    yield each

    async def _uploads(self) -> AsyncIterator[LeftOver]:
        """Abort uploads that nobody goes on with."""
        after: tuple[str, str] | None = None
        while True:
            found, after = await self._bucket.uploads(self._layout.data, after)
            for each in found:
                if (age := self._age(each.begun)) > self._grace and each.key.startswith(self._layout.data):
                    left = LeftOver(each.key, 0, age, removed=False)
                    yield await self._tried(self._bucket.abort(each.key, each.upload), left)
            if after is None:
                return

    async def _old(self, prefix: str) -> AsyncIterator[LeftOver]:
        """Remove what is old."""
        async for each in listed(self._bucket, prefix):
            if (age := self._age(each.modified)) > self._grace:
                yield await self._remove(each, age)

    async def _data(self) -> AsyncIterator[LeftOver]:
        marks = listed(self._bucket, self._layout.garbage)
        mark = await anext(marks, None)
        unmarked: list[Listed] = []
        async for data in listed(self._bucket, self._layout.data):
            place = data.key.removeprefix(self._layout.data)
            while mark is not None and (marked := mark.key.removeprefix(self._layout.garbage)) < place:
                await self._forget(mark)  # there is no such data any more
                mark = await anext(marks, None)
            if mark is not None and marked == place:
                if (age := self._age(mark.modified)) > self._grace:
                    async for each in self._settle(data, mark, place, age):
                        yield each
                mark = await anext(marks, None)
                continue
            unmarked.append(data)
            if len(unmarked) >= _AT_ONCE:
                await self._mark(unmarked)
                unmarked = []
        await self._mark(unmarked)
        while mark is not None:
            await self._forget(mark)
            mark = await anext(marks, None)

    async def _gone(self) -> None:
        """
        Remove old records of files that were removed, which are told by their sizes in the list; those of files that
        have data still stay, so that no record is made of it again.
        """
        promises = self._bucket.promises
        if self._dry_run or not (promises.conditional_put and promises.conditional_delete):
            return
        async for each in listed(self._bucket, self._layout.records):
            if each.size != GONE_SIZE or self._age(each.modified) <= max(self._grace, PROOF):
                continue
            try:
                file_id = file_id_at(each.key.removeprefix(self._layout.records))
            except ValueError:
                continue
            current = await self._records.find(file_id)
            if current is None or not current.record.removed:
                continue
            if not (await self._bucket.page(f"{self._layout.data}{place_of(file_id)}/", 1)).objects:
                with suppress(UnfulfilledError):  # there is a file again
                    await self._bucket.delete(each.key, Tagged(current.tag))

    async def _settle(self, data: Listed, mark: Listed, place: str, age: float) -> AsyncIterator[LeftOver]:
        """Remove marked data, unless it is needed after all."""
        if await self._is_needed(place):
            await self._forget(mark)
            return
        left = await self._remove(data, age)
        if left.removed:
            await self._forget(mark)
        yield left

    async def _mark(self, found: list[Listed]) -> None:
        """Mark those of some data that no record names."""
        places = [each.key.removeprefix(self._layout.data) for each in found]
        uses = await all_of(self._use_of(each) for each in places)
        if not self._believes:
            await self._judge(len(found), uses.count(_Use.NO_RECORD))
        for place, use in zip(places, uses, strict=True):
            if use is not _Use.NEEDED:
                self.marked += 1
                if not self._dry_run:
                    await self._bucket.put(f"{self._layout.garbage}{place}", [])

    async def _judge(self, count: int, lacking: int) -> None:
        """
        Tell lost records from writers that died, which are few: the keys beside each other are of files at random.

        @param count: How much data was looked at.
        @param lacking: How much of it has no record of its file, of any version.
        """
        if count >= _AT_ONCE:
            lost = 2 * lacking > count
        elif lost := lacking >= _FEW and lacking == count:
            lost = not (await self._bucket.page(self._layout.records, 1)).objects
        if lost:
            raise RecordsLostError(f"{lacking} of {count} data objects in a row have no record")

    async def _is_needed(self, place: str) -> bool:
        """Whether a record names some data."""
        return await self._use_of(place) is _Use.NEEDED

    async def _use_of(self, place: str) -> _Use:
        """What some data is for; what is not data of an archive is nobody's to remove."""
        try:
            file_id, version = data_at(place)
        except ValueError:
            return _Use.NEEDED
        current = await self._records.find(file_id)
        if current is None:
            return _Use.NO_RECORD
        return _Use.NEEDED if current.record.version == version else _Use.NOT_NEEDED

    async def _remove(self, found: Listed, age: float) -> LeftOver:
        return await self._tried(self._delete(found.key), LeftOver(found.key, found.size, age, removed=False))

    async def _delete(self, key: str) -> None:
        """Remove an object for good: in a bucket that keeps versions only a version's removal frees its space."""
        if self._bucket.promises.versions:
            await versions.remove(self._bucket, key)
        elif (stored := await self._bucket.head(key)) is not None:
            await self._bucket.delete(key, version=stored.version)

    async def _forget(self, mark: Listed) -> None:
        await self._tried(self._delete(mark.key), LeftOver(mark.key, 0, 0.0, removed=False))

    async def _tried(self, work: Coroutine[Any, Any, None], left: LeftOver) -> LeftOver:
        """Remove something, if things are to be removed, and say what has become of it."""
        if self._dry_run:
            work.close()
            return left
        try:
            await work
        except errors.Locked:
            return attrs.evolve(left, locked=True)
        except errors.ArchiveError as error:
            _log.warn("{key} cannot be removed: {error}", key=left.key, error=error)
            return left
        return attrs.evolve(left, removed=True)

    async def _hidden(self, prefix: str) -> AsyncIterator[LeftOver]:
        """Remove for good what was removed by its key alone: that has hidden it, and it takes space still."""
        hidden, age = "", 0.0
        async for each in versions.listed(self._bucket, prefix):
            if each.is_latest:
                hidden, age = "", self._age(each.modified)
                if each.is_mark and age > self._grace and not await self._is_needed_at(each.key):
                    hidden = each.key
            if each.key == hidden:
                work = self._bucket.delete(each.key, version=each.version)
                yield await self._tried(work, LeftOver(each.key, each.size, age, removed=False))

    async def _is_needed_at(self, key: str) -> bool:
        """As L{_is_needed}, by the key."""
        return key.startswith(self._layout.data) and await self._is_needed(key.removeprefix(self._layout.data))

    def _age(self, since: float) -> float:
        return self._bucket.store.now() - since
