"""An archive in Oracle HSM: the backend as the reactor's thread calls it.

Calls that block run in several pools, so that none can hold up another's:

    pool              for                                                        may be blocked by
    io                the file system: storing, status, moves, removals          its metadata
    sideband-db       queries of the database                                    nothing longer than the timeout
    sideband-probe    the first read of a file that is not in memory             files that turn out to be on tape
    sideband-stage,   staging files through libsam, or by reading them           tapes
    sideband-read
    sideband-inspect  asking SAM's library about files                           that library
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Container, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.local.archive import LocalArchive, StoredFile
from pacarchive.backends.local.syscalls import release
from pacarchive.backends.local.tree import translating
from pacarchive.backends.sideband.catalogue import CatalogueUnavailable, SidebandCatalogue
from pacarchive.backends.sideband.libsam import LibSam
from pacarchive.backends.sideband.mount import RETRY_OFFLINE, Mount, SamTree, offline
from pacarchive.backends.sideband.names import place_of
from pacarchive.backends.sideband.recall import Recalls
from pacarchive.backends.sideband.residency import (
    MEDIA,
    Entry,
    choose,
    describes,
    levels_of,
    locality_of,
    location_of,
)
from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.backends.sideband.stage import CommandStager, FileToStage, LibraryStager, ReadingStager, Stager
from pacarchive.digests import PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.interfaces import (
    BackendSettings,
    IArchiveBackend,
    IBatchStatus,
    IIncomingFile,
    IInventory,
    IRecaller,
    IStoredFile,
)
from pacarchive.model import (
    FileStatus,
    Health,
    InventoryPage,
    Locality,
    Overwrite,
    RecallProgress,
    RecallState,
    TapeLocation,
    WriteConditions,
)
from pacarchive.runtime.shared import all_of
from pacarchive.runtime.threads import BlockingPool

_PROBES = 16
_MOST_PROBED = 256

_NOT_ON_DISK = {Locality.TAPE, Locality.UNAVAILABLE}
"""Localities of files that have to be recalled, as far as is known."""

_ABSENT = RecallProgress(RecallState.FAILED, "No file has this id.")
_RESIDENT = RecallProgress(RecallState.RESIDENT)

_log = Logger()


@implementer(IArchiveBackend, IBatchStatus, IInventory, IRecaller)
class SidebandArchive(Service):
    """
    An L{IArchiveBackend} over a mounted SAM-QFS file system and its sideband database.

    @param reactor: The reactor.
    @param settings: The settings, with L{SidebandSettings} as C{own}.
    @param mount: How to read mounted files.
    """

    name = "backend"
    batch_limit = 100
    batch_most = 100

    def __init__(self, reactor: Any, settings: BackendSettings, mount: Mount | None = None) -> None:
        own: SidebandSettings = settings.own
        self._reactor = reactor
        self._prefix = str(settings.prefix)
        self._sam_prefix = own.sam_qfs_prefix
        self._read_timeout = own.read_timeout
        self._mount = mount or Mount()
        self._io = BlockingPool(reactor, "io", settings.io_threads)
        self._tree = SamTree(
            settings.prefix, lambda file_id: id_to_path(file_id)[1:], settings.move_roots, settings.durability
        )
        self._files = LocalArchive(
            self._tree, self._io, reactor, settings.digests, BlockingPool(reactor, "inventory", 1)
        )
        self._catalogue = SidebandCatalogue(reactor, own, place_of(own.sam_qfs_prefix, "/"))
        self._probes = BlockingPool(reactor, "sideband-probe", _PROBES)
        self._probing: dict[tuple[int, int], list[Deferred[None]]] = {}
        self._recalls = Recalls(reactor, stager := self._make_stager(own), own.recall_timeout)
        self._stager_description = stager.description

    def _make_stager(self, own: SidebandSettings) -> Stager:
        if own.stage_command:
            return CommandStager(self._reactor, own.stage_command)
        try:
            return LibraryStager(self._reactor, LibSam(), own.stage_threads)
        except (OSError, AttributeError):
            return ReadingStager(self._reactor, self._tree, self._mount, own.stage_threads)

    def startService(self) -> Deferred[None]:
        """Open the archive.  It starts without the database too, if that does not answer."""
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Stop, and release everything but threads that hang in the kernel."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._files.startService()
        self._probes.start()
        self._recalls.start()
        home = os.fstat(self._tree.root)
        await self._catalogue.start(home.st_ino)
        _log.info("files are staged by {way}", way=self._stager_description)

    async def _stop(self) -> None:
        await self._recalls.stop()
        await self._catalogue.stop()
        self._probes.stop(1.0)
        self._files.stopService()
        if counts := self._catalogue.counts:
            counted = ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))
            _log.info("sideband database: out of the ordinary: {counted}", counted=counted)

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        if conditions.overwrite is Overwrite.IDENTICAL:
            await self._require_comparable(file_id)
        return await self._files.receive(file_id, size, conditions, algorithms)

    async def open(self, file_id: int) -> IStoredFile:
        stored = await self._files.open(file_id)
        try:
            await self._require_readable(stored)
        except BaseException:
            stored.close()
            raise
        return stored

    async def status(self, file_id: int) -> FileStatus:
        """
        Return a file's status from both sources.  A file exists if the mount has it, whatever the database says.
        """
        return await self._with_database(file_id, *await self._files.look(file_id))

    async def statuses(self, file_ids: Sequence[int]) -> dict[int, FileStatus | Exception]:
        return await self._completed(await self._files.look_at_all(file_ids))

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        """List files by the mount, which has all of them; the database is late, and only asked where the bytes are."""
        looks = await self._files.look_through(place, most, ids, digests=digests)
        if not locality:
            return looks.page()
        return InventoryPage(await self._completed(looks.files), looks.place)

    async def _completed(
        self, looks: Mapping[int, tuple[os.stat_result, FileStatus] | Exception]
    ) -> dict[int, FileStatus | Exception]:
        """Return statuses with what the database adds."""

        async def complete(file_id: int, state: os.stat_result, status: FileStatus) -> None:
            found[file_id] = await self._with_database(file_id, state, status)

        found: dict[int, FileStatus | Exception] = {
            file_id: look for file_id, look in looks.items() if isinstance(look, Exception)
        }
        await all_of(complete(file_id, *look) for file_id, look in looks.items() if not isinstance(look, Exception))
        return found

    async def _with_database(self, file_id: int, state: os.stat_result, status: FileStatus) -> FileStatus:
        """Return the status with the locality that the database adds to what the mount reports."""
        locality = await self._locality_of(file_id, state)
        if locality not in _NOT_ON_DISK:
            self._recalls.forget(file_id)  # else it would not be requested after it is released again
        return attrs.evolve(status, locality=locality, bytes_per_level=levels_of(locality, state), media=MEDIA)

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        if conditions.overwrite is Overwrite.IDENTICAL:
            await self._require_comparable(file_id)
        return await self._files.move(file_id, source, conditions)

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        await self._files.remove(file_id, conditions)
        self._recalls.forget(file_id)

    async def health(self) -> Health:
        files = await self._files.health()
        if trouble := await self._catalogue.check():
            message = f"{files.words}; sideband database: {trouble}; where the bytes of files are is not known"
            return Health(files.ready, message, degraded=True)
        return Health(files.ready, f"{files.words}; the sideband database answers")

    async def locate(self, file_ids: Sequence[int]) -> dict[int, TapeLocation | None]:
        """
        Return where files lie on tape: the copy that SAM would stage from (L{IRecaller.locate}).

        @raise errors.BackendUnavailable: The database does not answer.
        """
        places: dict[int, TapeLocation | None] = {}
        for some in _slices(file_ids, self.batch_most):
            looks = await self._files.look_at_all(some)
            places |= zip(some, await all_of(self._location(each, looks[each]) for each in some), strict=True)
        return places

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        async def submit(file_id: int) -> RecallProgress:
            return self._recalls.request(self._file_to_stage(file_id))

        return await self._unless_on_disk(file_ids, submit)

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        async def look(file_id: int) -> RecallProgress:
            return await self._recalls.progress(self._file_to_stage(file_id))

        return await self._unless_on_disk(file_ids, look)

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        return frozenset([file_id for file_id in file_ids if await self._recalls.cancel(file_id)])

    async def release(self, file_id: int) -> None:
        """Do nothing: SAM's releaser frees the disk by its own policy, above its high-water mark."""

    async def _unless_on_disk(
        self, file_ids: Sequence[int], ask: Callable[[int], Awaitable[RecallProgress]]
    ) -> dict[int, RecallProgress]:
        async def answer(file_id: int, status: FileStatus | Exception) -> RecallProgress:
            if isinstance(status, errors.NotFound):
                self._recalls.forget(file_id)
                return _ABSENT
            if isinstance(status, Exception):
                raise status
            if status.locality is Locality.UNAVAILABLE and self._recalls.was_read_back(file_id):
                return _RESIDENT
            return await ask(file_id) if status.locality in _NOT_ON_DISK else _RESIDENT

        answers: dict[int, RecallProgress] = {}
        for some in _slices(file_ids, self.batch_most):
            statuses = await self.statuses(some)
            answers |= zip(some, await all_of(answer(each, statuses[each]) for each in some), strict=True)
        return answers

    async def _location(self, file_id: int, look: tuple[os.stat_result, FileStatus] | Exception) -> TapeLocation | None:
        if isinstance(look, errors.NotFound):
            return None
        if isinstance(look, Exception):
            raise look
        state = look[0]
        try:
            entry = await self._find(file_id, state)
        except CatalogueUnavailable as error:
            raise errors.BackendUnavailable("It is not known at present where the bytes of files are.") from error
        if entry is None or self._locality(state, entry) is not Locality.TAPE:
            return None
        return location_of(entry)

    async def _locality_of(self, file_id: int, state: os.stat_result) -> Locality:
        if not state.st_size:
            return Locality.DISK
        try:
            return self._locality(state, await self._find(file_id, state))
        except CatalogueUnavailable:
            return Locality.UNAVAILABLE

    async def _find(self, file_id: int, state: os.stat_result) -> Entry | None:
        """
        Look a file up in the database.

        @param state: Its status on the mount, by which one of several entries is chosen.
        @raise CatalogueUnavailable: The database does not answer.
        """
        entries = await self._catalogue.find(place_of(self._sam_prefix, id_to_path(file_id)))
        if len(entries) > 1:
            self._catalogue.counts["several entries of one name"] += 1
            _log.warn("file {file_id}: the database has it {count} times", file_id=file_id, count=len(entries))
        return choose(entries, state, sees_inodes=self._catalogue.sees_inodes)

    def _locality(self, state: os.stat_result, entry: Entry | None) -> Locality:
        sees_inodes = self._catalogue.sees_inodes
        if not describes(entry, state, sees_inodes=sees_inodes):
            self._catalogue.counts["newer than the database" if entry else "not in the database"] += 1
        return locality_of(state, entry, sees_inodes=sees_inodes)

    async def _require_readable(self, stored: StoredFile) -> None:
        """
        Check that reading an open file will not wait for a tape.

        @raise errors.Offline: The file is on tape, or did not come from the disk within C{read_timeout}.
        """
        file_id = stored.status.file_id
        last = stored.state.st_size - 1
        if last < 0 or self._mount.is_in_memory(stored.fileno(), last):
            self._recalls.found_on_disk(file_id)
            return
        locality = await self._locality_of(file_id, stored.state)
        # Where the locality is not known, a file without blocks is not probed: threads that wait for tapes are few.
        no_blocks = locality is Locality.UNAVAILABLE and not stored.state.st_blocks
        on_tape = locality is Locality.TAPE or no_blocks
        if on_tape and not await self._recalls.may_be_on_disk(self._file_to_stage(file_id)):
            raise offline()
        # The database is late: the file may have been released since.  The last byte is read to find out, as a partial
        # release keeps the first ones on disk.  If it was released, that read makes SAM stage it, and the thread waits.
        await self._probe(stored, last)
        self._recalls.found_on_disk(file_id)

    async def _probe(self, stored: StoredFile, last: int) -> None:
        done: Deferred[None] = Deferred()
        key = stored.state.st_ino, stored.state.st_ctime_ns
        if (waiting := self._probing.get(key)) is not None:
            waiting.append(done)
        elif len(self._probing) >= _MOST_PROBED:
            raise errors.Overloaded("Too many files do not come from the disk in time.", retry_after=RETRY_OFFLINE)
        else:
            self._probing[key] = [done]
            self._probes.call(self._read_last, os.dup(stored.fileno()), last).addBoth(self._probed, key)
        done.addTimeout(self._read_timeout, self._reactor)
        try:
            await done
        except defer.TimeoutError:
            self._catalogue.counts["on tape against the database"] += 1
            raise errors.Offline(
                "The file is on tape, and is being recalled.",
                job=None,
                retry_after=RETRY_OFFLINE,
            ) from None
        finally:
            if (waiting := self._probing.get(key)) and done in waiting:
                waiting.remove(done)

    def _read_last(self, descriptor: int, last: int) -> None:
        """Read one byte.  Owns the descriptor, because the caller may be gone long before the read ends."""
        try:
            with translating("Can't read posix file"):
                self._mount.read(descriptor, last, 1)
        finally:
            release(descriptor)

    def _probed(self, result: Failure | None, key: tuple[int, int]) -> None:
        for done in self._probing.pop(key):
            if done.called:
                continue
            if isinstance(result, Failure):
                done.errback(result)
            else:
                done.callback(None)

    async def _require_comparable(self, file_id: int) -> None:
        """
        Check that bytes can be compared with those of a stored file: it has a digest, or can be read for one.  Where
        the locality is not known, L{SamTree.require_readable} asks the mount.

        @raise errors.Offline: It is on tape, without a digest; its recall has been requested.
        """
        try:
            status = await self.status(file_id)
        except errors.NotFound:
            return
        if status.locality is Locality.TAPE and PRIMARY not in status.digests:
            self._recalls.request(self._file_to_stage(file_id))
            raise offline()

    def _file_to_stage(self, file_id: int) -> FileToStage:
        path = id_to_path(file_id)
        return FileToStage(file_id, self._prefix + path, self._sam_prefix.rstrip("/") + path)


def _slices(file_ids: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    return (file_ids[start : start + most] for start in range(0, len(file_ids), most))
