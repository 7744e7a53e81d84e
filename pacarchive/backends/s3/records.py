"""Reading, publishing and removing records: what makes an archive of the objects in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.s3.bucket import Absent, Bucket, Condition, Tagged, UnfulfilledError
from pacarchive.backends.s3.record import HEAD, Layout, Record, decode
from pacarchive.digests import PRIMARY, Digests
from pacarchive.model import FileStatus, Overwrite, WriteConditions
from pacarchive.times import SECOND

_MOST = HEAD + (1 << 20)
_MOST_ROUNDS = 500

_log = Logger()


@attrs.frozen
class Current:
    """
    The record that is published.

    @ivar record: The record.
    @ivar tag: Its entity tag.
    """

    record: Record
    tag: str


@attrs.define
class Publication:
    """
    What is certain of a publication that has failed.

    @ivar is_nothing: Whether nobody has seen it, so that its data is not needed.
    """

    is_nothing: bool = True


class Records:
    """
    The records of an archive.

    @param bucket: The bucket.
    @param layout: The keys.
    """

    def __init__(self, bucket: Bucket, layout: Layout) -> None:
        self.layout = layout
        self._bucket = bucket
        self._locks: dict[int, DeferredLock] = {}

    def now(self) -> int:
        """The store's time in nanoseconds since the epoch."""
        return int(self._bucket.store.now() * SECOND)

    async def find(self, file_id: int, *, whole: bool = False) -> Current | None:
        """
        Return the published record; also one of a file that was removed.

        @param whole: Whether the bytes of a small file are wanted.
        """
        key = self.layout.record_key(file_id)
        ranges = self._bucket.promises.ranges
        found = await self._bucket.get(key, most=_MOST, first=None if whole or not ranges else HEAD)
        if found is None:
            return None
        record = decode(found[0], file_id, whole=whole or not ranges)
        return Current(record, found[1].tag)

    async def get(self, file_id: int, *, whole: bool = False) -> Current:
        """
        As L{find}.

        @raise errors.NotFound: There is no file.
        """
        found = await self.find(file_id, whole=whole)
        if found is None or found.record.removed:
            raise errors.NotFound("No file has this id.")
        return found

    def status(self, current: Current | None) -> FileStatus | None:
        """The status of a file; C{None} where there is none."""
        return None if current is None or current.record.removed else self.layout.status(current.record)

    async def publish(
        self, record: Record, conditions: WriteConditions, publication: Publication
    ) -> tuple[Record, Record | None]:
        """
        Make a version of a file the one that all see.

        An id is taken to be free until the store says that it is not: then one request is enough.

        @param publication: Set to what is certain when this fails.
        @return: The record that is published, which is another where the same bytes are stored already; and the one
            that it took the place of.
        @raise errors.AlreadyExists: The conditions do not hold; likewise C{PreconditionFailed}.
        @raise errors.BackendUnavailable: The store does not answer.
        """
        async with self._alone(record.file_id):
            current: Current | None = None
            if conditions.if_match is not None or not self._bucket.promises.conditional_put:
                current = await self.find(record.file_id)
            for _ in range(_MOST_ROUNDS):
                conditions.require(self.status(current))
                replaced = None if current is None or current.record.removed else current.record
                if replaced is not None and conditions.overwrite is Overwrite.IDENTICAL:
                    if replaced.digests.get(PRIMARY) == record.digests[PRIMARY]:
                        return replaced, None
                    raise errors.AlreadyExists("The id is taken by a file with other bytes.")
                was_nothing = publication.is_nothing
                publication.is_nothing = False
                try:
                    await self._put(record, current)
                except UnfulfilledError as error:
                    publication.is_nothing = was_nothing and not error.may_be_own
                    current = await self.find(record.file_id)
                    if error.may_be_own and current is not None and current.record.version == record.version:
                        return record, replaced
                else:
                    return record, replaced
            raise errors.BackendUnavailable("Too many write this file at the same time.")

    async def remove(self, file_id: int, conditions: WriteConditions) -> Record:
        """
        Remove a file.

        @param conditions: Only C{if_match} applies.
        @return: What was removed.
        @raise errors.NotFound: There is no file.
        @raise errors.PreconditionFailed: The condition does not hold.
        """
        conditions = WriteConditions(if_match=conditions.if_match)
        gone = Record(file_id=file_id, ctime_ns=self.now(), removed=True)
        own: Record | None = None  # what an attempt without an answer may have removed
        async with self._alone(file_id):
            for _ in range(_MOST_ROUNDS):
                current = await self.find(file_id)
                if own is not None and (current is None or current.record.version == gone.version):
                    return own
                if current is None or current.record.removed:
                    raise errors.NotFound("No file has this id.")
                conditions.require(self.status(current))
                try:
                    await self._take_away(current, gone)
                except UnfulfilledError as error:
                    own = current.record if error.may_be_own else None
                else:
                    return current.record
            raise errors.BackendUnavailable("Too many write this file at the same time.")

    async def create(self, record: Record) -> bool:
        """
        Store a record where there is none, not even of a file that was removed.

        @return: Whether it is stored.
        """
        async with self._alone(record.file_id):
            if not self._bucket.promises.conditional_put and await self.find(record.file_id) is not None:
                return False
            try:
                await self._put(record, None)
            except UnfulfilledError as error:
                found = await self.find(record.file_id) if error.may_be_own else None
                return found is not None and found.record.version == record.version
            return True

    async def remember(self, record: Record, digests: Digests) -> None:
        """Store digests of a version, if it is still the published one and has none of them."""
        missing = {name: digest for name, digest in digests.items() if name not in record.digests}
        if not missing:
            return
        try:
            async with self._alone(record.file_id):
                current = await self.find(record.file_id)
                if current is not None and current.record.version == record.version:
                    known = attrs.evolve(record, digests={**record.digests, **missing})
                    await self._put(known, current)
        except UnfulfilledError:
            return
        except errors.ArchiveError as error:  # no reason to fail a read
            _log.warn("file {file_id}: its digest cannot be stored: {error}", file_id=record.file_id, error=error)

    async def note_garbage(self, record: Record | None) -> None:
        """Mark the data of a version as not needed any more; readers may have it open still."""
        if record is None or record.data is None:
            return
        try:
            await self._bucket.put(self.layout.garbage_key(record), [])
        except errors.ArchiveError as error:
            _log.warn("data of file {file_id} is left behind: {error}", file_id=record.file_id, error=error)

    async def _put(self, record: Record, current: Current | None) -> None:
        condition: Condition = None
        if self._bucket.promises.conditional_put:
            condition = Absent() if current is None else Tagged(current.tag)
        await self._bucket.put(self.layout.record_key(record.file_id), record.encode(), condition)

    async def _take_away(self, current: Current, gone: Record) -> None:
        promises = self._bucket.promises
        if promises.conditional_put and not promises.conditional_delete:
            await self._put(gone, current)
        else:
            condition = Tagged(current.tag) if promises.conditional_delete else None
            await self._bucket.delete(self.layout.record_key(gone.file_id), condition)

    @asynccontextmanager
    async def _alone(self, file_id: int) -> AsyncIterator[None]:
        """Be the only one of this process to change a file, where that is not the store's to see to."""
        if self._bucket.promises.conditional_put:
            yield
            return
        lock = self._locks.setdefault(file_id, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(file_id, None)
