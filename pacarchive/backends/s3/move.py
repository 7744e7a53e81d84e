"""Taking files in that are in the store already: copied by the store itself, and read once for their digests."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import attrs
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.s3.bucket import Source, Stored, Tagged, UnfulfilledError
from pacarchive.backends.s3.bulk import hash_object
from pacarchive.backends.s3.incoming import Way, data_of
from pacarchive.backends.s3.order import Pace
from pacarchive.backends.s3.record import Record
from pacarchive.digests import Hasher
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.times import SECOND

_LARGEST_COPY = 5 << 30
"""The largest object that is copied by one request."""

_COPIED_PART = 1 << 30

_DOTS = re.compile(r"/\.{1,2}(/|\Z)")  # which a store, or a proxy before it, may resolve: out of the root

_log = Logger()


class Mover:
    """
    Takes files in.

    @param way: How files get into the store.
    @param roots: Where they may be: C{/bucket/start-of-key}.
    """

    def __init__(self, way: Way, roots: Sequence[Path]) -> None:
        self._way = way
        self._bucket = way.bucket
        self._layout = way.records.layout
        self._roots = roots

    async def move(
        self, file_id: int, source: str, conditions: WriteConditions, algorithms: Collection[str]
    ) -> FileStatus:
        """Give an object an id (L{pacarchive.interfaces.IArchiveBackend.move})."""
        self._allowed(source)
        if not conditions.unconditional:
            conditions.require(self._way.records.status(await self._way.records.find(file_id)))
        of = await self.look(source)
        status = await self.take(file_id, of, conditions, algorithms)
        await self.remove(of, file_id)
        return status

    async def look(self, source: str) -> Source:
        """
        Look at what is to be taken in.

        @raise errors.NotPermitted: It is in none of the roots.
        @raise errors.NotFound: It does not exist.
        """
        bucket, key = self._allowed(source)
        found = await self._bucket.head(key, bucket)
        if found is None:
            raise errors.NotFound("The source does not exist.")
        return Source(bucket, key, found)

    async def take(
        self,
        file_id: int,
        source: Source,
        conditions: WriteConditions,
        algorithms: Collection[str],
        pace: Pace | None = None,
    ) -> FileStatus:
        """
        Take an object in, which stays where it is.

        @param pace: How fast it is read.
        @raise errors.NotFound: It is not there any more, or is another.
        """
        try:
            return await self._take(file_id, source, conditions, algorithms, pace)
        except UnfulfilledError:
            raise errors.NotFound("The source does not exist any more, or is another.") from None

    async def remove(self, source: Source, file_id: int) -> bool:
        """
        Remove a source that was taken in, if it is the same still: what was put in its place has no other copy.

        @return: Whether it is gone.
        """
        bucket, key, stored = source.bucket, source.key, source.stored
        condition = Tagged(stored.tag) if self._bucket.promises.conditional_delete and stored.tag else None
        try:
            if condition is None and await self._bucket.head(key, bucket) != stored:
                raise UnfulfilledError(may_be_own=False)
            await self._bucket.delete(key, condition, bucket=bucket)
        except UnfulfilledError as unfulfilled:
            if unfulfilled.may_be_own:
                return True
            _log.warn("file {file_id} is moved in; its source is another object now, and stays", file_id=file_id)
        except errors.ArchiveError as error:
            _log.warn("file {file_id} is moved in, but its source stays: {error}", file_id=file_id, error=error)
        else:
            return True
        return False

    def _allowed(self, source: str) -> tuple[str, str]:
        """
        The bucket and the key of a source.

        @raise errors.NotPermitted: It is in none of the roots.
        """
        path = f"/{source.removeprefix('s3://')}" if source.startswith("s3://") else source
        _, _, rest = path.partition("/")
        bucket, _, key = rest.partition("/")
        if not path.startswith("/") or not bucket or not key or not source.isprintable() or _DOTS.search(path):
            raise errors.NotPermitted("The source is not in a directory that files may be moved from.")
        if not any(path.startswith(f"{str(root).rstrip('/')}/") for root in self._roots):
            raise errors.NotPermitted("The source is not in a directory that files may be moved from.")
        if bucket == self._layout.bucket and self._layout.owns(key):
            raise errors.InArchive("The source is in the archive itself.")
        return bucket, key

    async def _take(
        self,
        file_id: int,
        source: Source,
        conditions: WriteConditions,
        algorithms: Collection[str],
        pace: Pace | None,
    ) -> FileStatus:
        records = self._way.records
        now = records.now()
        modified = source.stored.modified
        mtime_ns = now if modified is None else int(modified) * SECOND
        record = Record(file_id=file_id, size=source.stored.size, mtime_ns=mtime_ns, ctime_ns=now)
        hasher = Hasher(algorithms)
        if source.stored.size <= self._way.small:
            return await self._take_small(record, source, conditions, hasher)
        key = self._layout.data_key(record)
        try:
            if self._bucket.storage_class:  # a copy in a cold class could not be read
                await hash_object(self._bucket, source.key, source.stored, hasher, pace, of=source.bucket)
                stored = await self._copied(source, key)
            else:
                stored = await self._copied(source, key)
                await hash_object(self._bucket, key, stored, hasher, pace)  # the copy, which is what will be served
        except BaseException:
            await self._discard(key, "")
            raise

        async def discard() -> None:
            await self._discard(key, stored.version)

        record = attrs.evolve(record, data=data_of(stored), digests=hasher.digests())
        return await self._way.publish(record, conditions, discard)

    async def _take_small(
        self, record: Record, source: Source, conditions: WriteConditions, hasher: Hasher
    ) -> FileStatus:
        found = await self._bucket.get(source.key, most=self._way.small, bucket=source.bucket)
        if found is None or found[1] != source.stored:
            raise UnfulfilledError(may_be_own=False)
        hasher.update(found[0])

        async def discard() -> None:
            """Do nothing: there is nothing else."""

        record = attrs.evolve(record, body=found[0], digests=hasher.digests())
        return await self._way.publish(record, conditions, discard)

    async def _copied(self, source: Source, key: str) -> Stored:
        size = source.stored.size
        if size <= _LARGEST_COPY:
            await self._bucket.copy(source, key)
            stored = await self._bucket.head(key)
            if stored is None or stored.size != size:
                raise errors.BackendUnavailable("The object store has not copied all of the source.")
            return stored
        upload = await self._bucket.create(key, copies=True)
        try:
            parts = []
            for number, first in enumerate(range(0, size, _COPIED_PART), 1):
                length = min(_COPIED_PART, size - first)
                parts.append(await self._bucket.copy_part(source, first, length, key, upload, number))
            return await self._bucket.complete(key, upload, parts, size)
        except BaseException:
            await self._abort(key, upload)
            raise

    async def _abort(self, key: str, upload: str) -> None:
        try:
            await self._bucket.abort(key, upload)
        except errors.ArchiveError as error:
            _log.warn("parts of a copy are left behind, to be swept: {key}: {error}", key=key, error=error)

    async def _discard(self, key: str, version: str) -> None:
        try:
            await self._bucket.delete(key, version=version)
        except errors.ArchiveError as error:
            _log.warn("a copy is left behind, to be swept: {key}: {error}", key=key, error=error)
