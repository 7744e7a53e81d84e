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
from pacarchive.backends.s3.store import InDoubtError, RefusedError
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


class OutcomeUnknownError(errors.BackendUnavailable):
    """It cannot be told whether a change was made."""

    def __init__(self) -> None:
        words = "The object store has failed amid the change: it is not known whether it was made."
        super().__init__(words, retry_after=30)


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

    async def find(self, file_id: int, *, whole: bool = False, hurried: bool = False) -> Current | None:
        """
        Return the published record; also one of a file that was removed.

        @param whole: Whether the bytes of a small file are wanted.
        @param hurried: Whether the store is asked for a short time only.
        """
        key = self.layout.record_key(file_id)
        ranges = self._bucket.promises.ranges
        first = None if whole or not ranges else HEAD
        found = await self._bucket.get(key, most=_MOST, first=first, hurried=hurried)
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
                publication.is_nothing = False
                try:
                    is_written, current = await self._write(record, current)
                except errors.ArchiveError as error:
                    publication.is_nothing = not isinstance(error, OutcomeUnknownError)
                    raise
                if is_written:
                    return record, replaced
                publication.is_nothing = True
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
        async with self._alone(file_id):
            current = await self.find(file_id)
            for _ in range(_MOST_ROUNDS):
                if current is None or current.record.removed:
                    raise errors.NotFound("No file has this id.")
                conditions.require(self.status(current))
                removed = current.record
                if not self._bucket.promises.conditional_put:
                    await self._erase(file_id)
                    return removed
                is_written, current = await self._write(gone, current)
                if is_written:
                    return removed
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
                await self._put(record.after(None), None)
            except UnfulfilledError as error:
                # A record that was removed since, or replaced, is one that is there.
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

    async def _write(self, record: Record, current: Current | None) -> tuple[bool, Current | None]:
        """
        Store a record in the place of another, once and no more, whatever becomes of answers.

        A request that is repeated cannot be carried out twice: each record has an entity tag of its own, and where one
        was there is always one, if only that of a file that was removed.

        @param current: What it takes the place of; C{None} where there is none.
        @return: Whether it has been stored; and if not, what there is instead.
        @raise errors.BackendUnavailable: The store does not answer, and it cannot be told.
        """
        written = record.after(None if current is None else current.record)
        try:
            await self._put(written, current)
        except UnfulfilledError as unfulfilled:
            found = await self.find(record.file_id)
            if found is not None and found.record.has_followed(record):
                return True, None
            if unfulfilled.may_be_own and not _is_past(current, found):
                raise OutcomeUnknownError from None
            return False, found
        except errors.ArchiveError as error:
            refused = error.__cause__
            if isinstance(refused, RefusedError):
                if not refused.repeated:
                    raise
            elif not isinstance(error, InDoubtError):
                raise
            if await self._has_taken_place(record):
                return True, None
            raise OutcomeUnknownError from error
        return True, None

    async def _has_taken_place(self, record: Record) -> bool:
        """Whether it can be seen that a record was stored."""
        try:
            found = await self.find(record.file_id, hurried=True)
        except errors.ArchiveError:
            return False
        return found is not None and found.record.has_followed(record)

    async def _erase(self, file_id: int) -> None:
        """Remove a record, where nobody else can write one."""
        try:
            await self._bucket.delete(self.layout.record_key(file_id))
        except InDoubtError as error:
            raise OutcomeUnknownError from error

    async def _put(self, record: Record, current: Current | None) -> None:
        condition: Condition = None
        if self._bucket.promises.conditional_put:
            condition = Absent() if current is None else Tagged(current.tag)
        await self._bucket.put(self.layout.record_key(record.file_id), record.encode(), condition)

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


def _is_past(before: Current | None, found: Current | None) -> bool:
    """
    Whether all that was there since a record is known.

    @param before: That record; C{None} where there was none.
    @param found: What there is now.
    """
    if found is None:
        return False
    if before is None:
        return found.record.first != ""
    return before.record.mark in (found.record.mark, *found.record.before)
