"""A file on its way in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.s3.bucket import Bucket, Stored
from pacarchive.backends.s3.memory import Memory
from pacarchive.backends.s3.record import Data, Record
from pacarchive.backends.s3.records import Publication, Records
from pacarchive.backends.s3.upload import Parting, Upload
from pacarchive.digests import Digests, Hasher
from pacarchive.interfaces import IIncomingFile
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.runtime.threads import finished

_MOST_TIME = 2**63


@attrs.frozen(kw_only=True)
class Way:
    """
    How files get into the store.

    @ivar bucket: The bucket.
    @ivar records: The records of the archive.
    @ivar memory: The memory of all uploads.
    @ivar parting: How large files are parted.
    @ivar small: Up to which size a file is stored with its record.
    """

    bucket: Bucket
    records: Records
    memory: Memory
    parting: Parting
    small: int

    def upload(self, record: Record, expected: int | None = None) -> Upload:
        """Begin with the data of a version."""
        return Upload(self.bucket, self.records.layout.data_key(record), self.memory, self.parting, expected)

    async def publish(
        self, record: Record, conditions: WriteConditions, discard: Callable[[], Awaitable[None]]
    ) -> FileStatus:
        """
        Publish a version whose data is stored.

        @param discard: Removes the data; called when it is certain that nobody has seen it.
        """
        publication = Publication()
        try:
            published, replaced = await self.records.publish(record, conditions, publication)
        except BaseException:
            if publication.is_nothing:
                await discard()
            raise
        if published is not record:
            await discard()
        await self.records.note_garbage(replaced)
        return self.records.layout.status(published)


@implementer(IIncomingFile)
class Incoming:
    """
    A file on its way in: held in memory while it is small, else sent on as it comes.

    @param way: How it gets there.
    @param file_id: The id.
    @param size: The expected size, where known.
    @param conditions: What has to hold when it is published.
    @param hasher: The digests to compute.
    """

    def __init__(self, way: Way, file_id: int, size: int | None, conditions: WriteConditions, hasher: Hasher) -> None:
        self._way = way
        self._record = Record(file_id=file_id)
        self._expected = size
        self._conditions = conditions
        self._hasher = hasher
        self._held: list[bytes] = []
        self._held_size = 0
        self._upload: Upload | None = None
        self._has_gap = False
        self._has_ended = False

    async def write(self, pieces: Sequence[bytes]) -> None:
        if self._has_gap:
            raise errors.BackendUnavailable("A part of the file could not be written.")
        try:
            for piece in pieces:
                self._hasher.update(piece)
            if self._upload is None:
                self._held += pieces
                self._held_size += sum(map(len, pieces))
                if self._held_size <= self._way.small:
                    return
                self._upload = self._way.upload(self._record, self._expected)
                pieces, self._held = self._held, []
            for piece in pieces:
                await self._upload.write(piece)
        except BaseException:
            self._has_gap = True
            raise

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        return await finished(Deferred.fromCoroutine(self._commit(mtime_ns, expected)))

    async def abort(self) -> None:
        await finished(Deferred.fromCoroutine(self._abort()))

    async def _commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        try:
            if self._has_gap:
                raise errors.BackendUnavailable("A part of the file could not be written.")
            now = self._way.records.now()
            mtime = now if mtime_ns is None else mtime_ns
            if not -_MOST_TIME <= mtime < _MOST_TIME:
                raise errors.InvalidRequest("The modification time is out of range.")
            record = attrs.evolve(self._record, mtime_ns=mtime, ctime_ns=now, digests=self._hasher.verified(expected))
            if self._upload is None:
                body = b"".join(self._held)
                record = attrs.evolve(record, size=len(body), body=body)
            else:
                stored = await self._upload.finish()
                record = attrs.evolve(record, size=stored.size, data=data_of(stored))
        except BaseException:
            await self._abort()
            raise
        self._has_ended = True
        return await self._way.publish(record, self._conditions, self._discard)

    async def _abort(self) -> None:
        if not self._has_ended:
            self._has_ended = self._has_gap = True
            await self._discard()

    async def _discard(self) -> None:
        self._held = []
        if self._upload is not None:
            await self._upload.discard()


def data_of(stored: Stored) -> Data:
    """What a record says of an object with data."""
    return Data(stored.tag, stored.version)
