"""
Taking over a bucket of plain objects, whose keys are ids or are told with their ids.

Each is copied by the store itself, read once for its digests, and stays where it is unless it is to be moved.  What is
in the archive already, with the same bytes, is let alone, so that all can be done again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable

import attrs

from pacarchive import errors
from pacarchive.backends.s3.bucket import Source
from pacarchive.backends.s3.bulk import hash_object, listed
from pacarchive.backends.s3.incoming import Way
from pacarchive.backends.s3.move import Mover
from pacarchive.backends.s3.order import Order, Outcome, Told
from pacarchive.backends.s3.record import Record
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.ids import parse_file_id
from pacarchive.model import Overwrite, WriteConditions

_ABSENT = WriteConditions(overwrite=Overwrite.DENY)


@attrs.frozen
class _Plain:
    file_id: int
    key: str


class Adopter:
    """
    Takes objects over.

    @param way: How files get into the store.
    @param mover: Takes single objects in.
    @param algorithms: The digests to compute.
    @param start: Where they are, as C{s3://bucket/start-of-keys}.
    @param moves: Whether they are removed there.
    """

    def __init__(self, way: Way, mover: Mover, algorithms: Collection[str], start: str, *, moves: bool) -> None:
        self._bucket = way.bucket
        self._records = way.records
        self._mover = mover
        self._algorithms = algorithms
        self._moves = moves
        self._of, _, self._start = start.removeprefix("s3://").partition("/")

    async def run(self, order: Order, mapped: Iterable[tuple[str, str]] | None = None) -> None:
        """
        Take them over.

        @param mapped: Ids and keys; C{None} where what follows the start of a key is the id.
        @raise errors.Unavailable: The store does not answer.
        """

        async def work(plain: _Plain) -> Told:
            return await self._settle(plain, order)

        def failed(plain: _Plain, words: str) -> Told:
            return Told(Outcome.FAILED, plain.key, file_id=plain.file_id, words=words)

        await order.work_off(self._plain(order, mapped), work, failed)

    async def _plain(self, order: Order, mapped: Iterable[tuple[str, str]] | None) -> AsyncIterator[_Plain]:
        async for name, key in self._named() if mapped is None else _each(mapped):
            if order.stopped():
                return
            if not key.startswith(self._start):
                words = "is not where files are taken over from"
                order.told(Told(Outcome.FAILED, key, words=words))
                continue
            try:
                file_id = parse_file_id(name)
            except ValueError:
                order.told(Told(Outcome.NO_ID, key, words="has no id"))
                continue
            yield _Plain(file_id, key)

    async def _named(self) -> AsyncIterator[tuple[str, str]]:
        layout = self._records.layout
        async for each in listed(self._bucket, self._start, of=self._of):
            if self._of != layout.bucket or not layout.owns(each.key):
                yield each.key.removeprefix(self._start), each.key

    async def _settle(self, plain: _Plain, order: Order) -> Told:
        file_id, key = plain.file_id, plain.key
        source = await self._mover.look(f"s3://{self._of}/{key}")
        size = source.stored.size
        current = await self._records.find(file_id)
        if current is not None and not current.record.removed:
            if size != current.record.size:
                return Told(Outcome.CLASH, key, size, file_id, "the id is taken by a file of another size")
            if not self._has_same_tag(current.record, source):
                if order.trial:
                    return Told(Outcome.COMPARED, key, size, file_id)
                if not await self._has_same_bytes(current.record, source, order):
                    return Told(Outcome.CLASH, key, size, file_id, "the id is taken by a file with other bytes")
            return await self._left(Told(Outcome.THERE, key, size, file_id), source, order)
        if not order.trial:
            try:
                await self._mover.take(file_id, source, _ABSENT, self._algorithms, order.pace)
            except errors.AlreadyExists:
                return Told(Outcome.CLASH, key, size, file_id, "somebody else has stored a file under the id meanwhile")
        return await self._left(Told(Outcome.MADE, key, size, file_id), source, order)

    def _has_same_tag(self, record: Record, source: Source) -> bool:
        """Whether two objects are the same by what the store says, which is not enough to remove one of them."""
        return not self._moves and record.data is not None and record.data.tag == source.stored.tag != ""

    async def _has_same_bytes(self, record: Record, source: Source, order: Order) -> bool:
        hasher = Hasher({PRIMARY})
        await hash_object(self._bucket, source.key, source.stored, hasher, order.pace, of=source.bucket)
        return record.digests.get(PRIMARY) == hasher.digests()[PRIMARY]

    async def _left(self, told: Told, source: Source, order: Order) -> Told:
        """Remove a source that is in the archive, if it is to be moved."""
        assert told.file_id is not None, "it has one"
        if not self._moves or order.trial or await self._mover.remove(source, told.file_id):
            return told
        return attrs.evolve(told, outcome=Outcome.STAYS, words="is in the archive, but stays where it was as well")


async def _each(mapped: Iterable[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
    for each in mapped:
        yield each
