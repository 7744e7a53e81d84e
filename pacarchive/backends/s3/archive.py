"""The archive in a bucket: what is done with a file, by its record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Sequence
from contextlib import suppress

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.s3.adopt import Adopter
from pacarchive.backends.s3.incoming import Incoming, Way
from pacarchive.backends.s3.move import Mover
from pacarchive.backends.s3.rebuild import Rebuilder
from pacarchive.backends.s3.record import Record, file_id_at
from pacarchive.backends.s3.stored import StoredLarge, StoredSmall
from pacarchive.backends.s3.sweep import Sweeper
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.interfaces import IArchiveBackend, IBatchStatus, IIncomingFile, IInventory, IStoredFile
from pacarchive.model import FileStatus, Health, InventoryPage, WriteConditions
from pacarchive.runtime.shared import all_of
from pacarchive.runtime.threads import finished

LARGEST = 5 << 40
"""The largest object that the protocol allows, in bytes."""

_MOST_LISTED = 1000


@implementer(IArchiveBackend, IBatchStatus, IInventory)
class S3Archive(Service):
    """
    An L{IArchiveBackend} in a bucket.

    @param way: How files get into the store.
    @param begin: Called before anything else: opens what requests need, and finds out what the store heeds.
    @param end: Called after everything else.
    @param mover: Takes in what is in the store already.
    @param algorithms: Digests that are stored beside the primary one.
    @param is_alone: Whether this process alone writes to the bucket.
    @param grace: For how many seconds data that nothing needs is kept.
    """

    name = "backend"
    batch_most = 200

    def __init__(
        self,
        way: Way,
        mover: Mover,
        *,
        begin: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
        algorithms: Collection[str],
        is_alone: bool,
        grace: float,
    ) -> None:
        self._way = way
        self._bucket = way.bucket
        self._records = way.records
        self._mover = mover
        self._begin = begin
        self._end = end
        self._algorithms = {PRIMARY, *algorithms}
        self._is_alone = is_alone
        self._grace = grace

    def startService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        self._require_writable()
        if size is not None and size > min(LARGEST, self._way.parting.largest):
            raise errors.TooLarge("The file is larger than the object store takes.")
        if not conditions.unconditional and (size is None or size > self._way.small):
            conditions.require(self._records.status(await self._records.find(file_id)))
        hasher = Hasher(self._algorithms.union(algorithms))
        return Incoming(self._way, file_id, size, conditions, hasher)

    async def open(self, file_id: int) -> IStoredFile:
        record = (await self._records.get(file_id, whole=True)).record
        await self.require_online(record)
        if record.data is None:
            return StoredSmall(self._records.layout, record, self._records.remember)
        return StoredLarge(self._bucket, self._records.layout, record, self._records.remember)

    async def require_online(self, record: Record) -> None:
        """
        Check that the data of a version can be read without being restored; here nothing is known to the contrary.

        @raise errors.Offline: It has to be restored first.
        """

    async def located(self, record: Record) -> FileStatus:
        """The status of a version, with where its bytes are."""
        return self._records.layout.status(record)

    async def status(self, file_id: int) -> FileStatus:
        return await self.located((await self._records.get(file_id)).record)

    async def statuses(self, file_ids: Sequence[int]) -> dict[int, FileStatus | Exception]:
        return await self._statuses(file_ids, locality=True)

    async def _statuses(self, file_ids: Sequence[int], *, locality: bool) -> dict[int, FileStatus | Exception]:
        found = await all_of(self._status_or_error(each, locality=locality) for each in file_ids)
        return dict(zip(file_ids, found, strict=True))

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        self._require_writable()
        return await finished(Deferred.fromCoroutine(self._mover.move(file_id, source, conditions, self._algorithms)))

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        self._require_writable()
        await finished(Deferred.fromCoroutine(self._remove(file_id, conditions)))

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        """List files by their keys; a place is the end of the last key that was looked at."""
        layout = self._records.layout
        after = ""
        if place:
            try:
                after = layout.record_key(file_id_at(place))
            except ValueError:
                raise errors.InvalidRequest("There is no such place in the list of files.") from None
        page = await self._bucket.page(layout.records, min(most, _MOST_LISTED), after=after)
        places = [each.key.removeprefix(layout.records) for each in page.objects]
        wanted = []
        last = None
        for each in places:
            with suppress(ValueError):  # somebody else's, which is no file
                file_id = file_id_at(each)
                last = each
                if ids is None or file_id in ids:
                    wanted.append(file_id)
        found = await self._statuses(wanted, locality=locality)
        files = {file_id: status for file_id, status in found.items() if not isinstance(status, errors.NotFound)}
        return InventoryPage(files, last if page.token is not None else None)

    def sweeper(self, *, dry_run: bool, believes: bool = False) -> Sweeper:
        """What removes what nothing needs any more."""
        return Sweeper(self._bucket, self._records, self._grace, dry_run=dry_run, believes=believes)

    def rebuilder(self, *, settled: float, with_marked: bool) -> Rebuilder:
        """What makes records again."""
        self._require_writable()
        return Rebuilder(self._way, self._algorithms, settled=settled, with_marked=with_marked)

    def adopter(self, start: str, *, moves: bool) -> Adopter:
        """What takes over objects that begin with C{s3://bucket/start-of-keys}."""
        self._require_writable()
        return Adopter(self._way, self._mover, self._algorithms, start, moves=moves)

    async def health(self) -> Health:
        promises = self._bucket.promises
        try:
            await self._bucket.page(self._records.layout.records, 1, in_seconds=5)
        except errors.ArchiveError as error:
            return Health(False, str(error))
        if not (promises.conditional_put or self._is_alone):
            return Health(True, "the object store ignores conditions; nothing can be written", degraded=True)
        offset = self._bucket.store.offset
        if offset:
            return Health(True, f"the clock of the object store differs by {offset:.0f} seconds", degraded=True)
        return Health(True, "the object store answers")

    async def _start(self) -> None:
        await self._begin()
        super().startService()

    async def _stop(self) -> None:
        await self._end()

    async def _status_or_error(self, file_id: int, *, locality: bool) -> FileStatus | Exception:
        try:
            record = (await self._records.get(file_id)).record
            return await self.located(record) if locality else self._records.layout.status(record)
        except errors.ArchiveError as error:
            return errors.light(error)

    async def _remove(self, file_id: int, conditions: WriteConditions) -> None:
        await self._records.note_garbage(await self._records.remove(file_id, conditions))

    def _require_writable(self) -> None:
        if not (self._bucket.promises.conditional_put or self._is_alone):
            raise errors.NotPermitted("The object store ignores conditions, so nothing can be written to it safely.")
