"""
Making records again from data objects: after records were lost, or where only the data of a bucket was copied.

The key of a data object names the file and the version, the store knows its size and when it was stored, and its
digests are computed by reading it.  The keys of data, records and marks have the same ends, in the same order, so the
three lists are read side by side.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

import attrs

from pacarchive import errors
from pacarchive.backends.s3.bulk import Beside, hash_object, listed
from pacarchive.backends.s3.documents import Listed
from pacarchive.backends.s3.incoming import Way, data_of
from pacarchive.backends.s3.order import Order, Outcome, Told
from pacarchive.backends.s3.record import Record, data_at, place_of
from pacarchive.digests import Hasher
from pacarchive.times import SECOND


@attrs.frozen
class _Lost:
    """Data without a record: the newest of a file."""

    file_id: int
    version: str
    data: Listed
    is_young: bool


class Rebuilder:
    """
    Makes records again.

    @param way: How files get into the store.
    @param algorithms: The digests to compute.
    @param settled: Data that was stored within so many seconds is let alone: its record may be about to be written.
    @param with_marked: Whether also data counts that was marked as not needed any more.
    """

    def __init__(self, way: Way, algorithms: Collection[str], *, settled: float, with_marked: bool) -> None:
        self._bucket = way.bucket
        self._records = way.records
        self._algorithms = algorithms
        self._settled = settled
        self._with_marked = with_marked

    async def run(self, order: Order) -> None:
        """
        Make the records; those that exist stay as they are, so that it can be run again.

        @raise errors.Unavailable: The store does not answer.
        """

        async def work(lost: _Lost) -> Told:
            return await self._make(lost, order)

        def failed(lost: _Lost, words: str) -> Told:
            return Told(Outcome.FAILED, lost.data.key, lost.data.size, lost.file_id, words)

        await order.work_off(self._lost(order), work, failed)

    async def _lost(self, order: Order) -> AsyncIterator[_Lost]:
        """The newest data of each file without a record; of other data it is told what it is."""
        layout = self._records.layout
        records, marks = Beside(self._bucket, layout.records), Beside(self._bucket, layout.garbage)
        newest: _Lost | None = None
        async for data in listed(self._bucket, layout.data):
            if order.stopped():
                return
            place = data.key.removeprefix(layout.data)
            try:
                file_id, version = data_at(place)
            except ValueError:
                order.told(Told(Outcome.NO_ID, data.key, data.size, words="is no data of an archive"))
                continue
            if newest is not None and newest.file_id != file_id:
                yield newest
                newest = None
            if await records.has(place_of(file_id)):
                order.told(Told(Outcome.THERE, data.key, data.size, file_id))
            elif await marks.has(place) and not self._with_marked:
                order.told(Told(Outcome.MARKED, data.key, data.size, file_id))
            else:
                is_young = self._bucket.store.now() - data.modified < self._settled
                found = _Lost(file_id, version, data, is_young)
                if newest is not None:
                    older, found = sorted((newest, found), key=lambda each: (each.data.modified, each.version))
                    words = "is older than another version of the file"
                    order.told(Told(Outcome.OLDER, older.data.key, older.data.size, file_id, words))
                newest = found
        if newest is not None:
            yield newest

    async def _make(self, lost: _Lost, order: Order) -> Told:
        key = lost.data.key
        if lost.is_young:
            words = "was stored a moment ago; its record may be about to be written"
            return Told(Outcome.YOUNG, key, lost.data.size, lost.file_id, words)
        if order.trial:
            return Told(Outcome.MADE, key, lost.data.size, lost.file_id)
        stored = await self._bucket.head(key)
        if stored is None:
            raise errors.NotFound("The data does not exist any more.")
        hasher = Hasher(self._algorithms)
        await hash_object(self._bucket, key, stored, hasher, order.pace)
        record = Record(
            file_id=lost.file_id,
            version=lost.version,
            size=stored.size,
            mtime_ns=int(lost.data.modified * SECOND),
            ctime_ns=self._records.now(),
            digests=hasher.digests(),
            data=data_of(stored),
        )
        if await self._records.create(record):
            return Told(Outcome.MADE, key, stored.size, lost.file_id)
        return Told(Outcome.THERE, key, stored.size, lost.file_id)
