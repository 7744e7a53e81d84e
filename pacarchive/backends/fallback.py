"""Two archives as one, while the files of the one are copied into the other: what has not been copied is read behind.

The archive behind is never written to.  So an id that it has cannot become free, and what it has can only be covered by
a version in the archive in front: conditions are told once what is behind, and hold until the commit, which checks the
rest in front, atomically.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import attrs
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import alsoProvides, implementer

from pacarchive import errors
from pacarchive.digests import PRIMARY, Digests, Hasher
from pacarchive.interfaces import (
    IArchiveBackend,
    IBatchStatus,
    IIncomingFile,
    IInventory,
    IQuickReads,
    IRecaller,
    IStoredFile,
)
from pacarchive.model import (
    FileStatus,
    Health,
    InventoryPage,
    Overwrite,
    RecallProgress,
    RecallState,
    TapeLocation,
    WriteConditions,
)
from pacarchive.runtime.shared import Shared, all_of
from pacarchive.runtime.statuses import statuses_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

PATIENCE = 5.0
"""Seconds after which the archive behind that has not said how it is counts as one that does not answer."""

_BEHIND, _IN_FRONT = "behind", "front"
_BLOCK = 1 << 20
_LOOKED_AT_ONCE = 1000


@implementer(IArchiveBackend, IBatchStatus)
class Fallback(Service):
    """
    An L{IArchiveBackend} of two others, which can what both can; and recalls where one of them does.

    @param clock: The source of time.
    @param front: The archive that is written to.
    @param behind: The one whose files are read where the other has none.
    @param has_files: Whether to refuse to start with nothing behind: it is rather a file system that is not mounted,
        and then nobody would be told that anything is missing.
    """

    name = "backend"
    batch_most = 200

    def __init__(
        self, clock: IReactorTime, front: IArchiveBackend, behind: IArchiveBackend, *, has_files: bool = False
    ) -> None:
        self._clock = clock
        self._front = front
        self._behind = behind
        self._has_files = has_files
        self._started: list[IArchiveBackend] = []
        self._look: Shared[Health] | None = None
        recallers = [IRecaller(each) for each in (front, behind) if IRecaller.providedBy(each)]
        self.batch_limit = min((each.batch_limit for each in recallers), default=1)
        if recallers:
            alsoProvides(self, IRecaller)
        if IInventory.providedBy(front) and IInventory.providedBy(behind):
            alsoProvides(self, IInventory)
        if IQuickReads.providedBy(front):
            alsoProvides(self, IQuickReads)

    def startService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        settled = await self._settled(file_id, conditions)
        if settled is None:
            return _Compared(self, file_id, conditions, {PRIMARY, *algorithms})
        return await self._front.receive(file_id, size, settled, algorithms)

    async def open(self, file_id: int) -> IStoredFile:
        try:
            return await self._front.open(file_id)
        except errors.NotFound as error:
            _require_absence(error)
        try:
            return await self._behind.open(file_id)
        except errors.NotAFile:  # nothing that is in the way of a file in front
            raise errors.NotFound("No file has this id.") from None

    async def status(self, file_id: int) -> FileStatus:
        try:
            return await self._front.status(file_id)
        except errors.NotFound as error:
            _require_absence(error)
        if (status := await self._status_behind(file_id)) is None:
            raise errors.NotFound("No file has this id.")
        return status

    async def statuses(self, file_ids: Sequence[int]) -> Mapping[int, FileStatus | Exception]:
        found = await statuses_of(self._front, file_ids)
        if missing := [each for each in file_ids if _is_absent(found[each])]:
            for file_id, status in (await statuses_of(self._behind, missing)).items():
                if not isinstance(status, errors.NotFound):
                    found[file_id] = status
        return found

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        settled = await self._settled(file_id, conditions)
        if settled is None:
            raise errors.AlreadyExists("The id is taken by a file that is not copied yet; a move is not compared.")
        return await self._front.move(file_id, source, settled)

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        if await self._status_behind(file_id) is None:
            await self._front.remove(file_id, conditions)
            return
        WriteConditions(if_match=conditions.if_match).require(await self.status(file_id))
        raise errors.KeptBehind(
            "The archive that this one takes the place of has this file too, and would bring it back; it can be "
            "removed when all files are copied."
        )

    async def health(self) -> Health:
        front, behind = await all_of([self._front.health(), self._health_behind()])
        words = f"{front.words}; the archive behind it: {behind.words}"
        if not front.ready:
            return front
        if not behind.ready:
            return attrs.evolve(front, words=f"{words}; files that are not copied cannot be read", degraded=True)
        return attrs.evolve(front, words=words, degraded=front.degraded or behind.degraded)

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        """
        List what is behind, as all see it; and then what is in front alone.  In this order, a file that is copied
        meanwhile is listed once.
        """
        side, _, place = (place or f"{_BEHIND}:").partition(":")
        if side == _BEHIND:
            page = await IInventory(self._behind).inventory(place, most, ids=ids, digests=digests, locality=locality)
            files = dict(page.files)
            found = await statuses_of(self._front, list(files))
            files |= {file_id: status for file_id, status in found.items() if not _is_absent(status)}
            if page.place is not None:
                return InventoryPage(files, f"{_BEHIND}:{page.place}")
            if files:
                return InventoryPage(files, f"{_IN_FRONT}:")
            side, place = _IN_FRONT, ""
        if side != _IN_FRONT:
            raise errors.InvalidRequest("There is no such place in the list of files.")
        page = await IInventory(self._front).inventory(place, most, ids=ids, digests=digests, locality=locality)
        files = dict(page.files)
        for file_id, status in (await statuses_of(self._behind, list(files))).items():
            if isinstance(status, FileStatus):
                del files[file_id]
            elif not isinstance(status, errors.NotFound):
                raise status
        return InventoryPage(files, None if page.place is None else f"{_IN_FRONT}:{page.place}")

    def look_now(self, file_id: int) -> FileStatus | None:
        return IQuickReads(self._front).look_now(file_id)

    def read_now(self, file_id: int, most: int) -> tuple[FileStatus, bytes] | None:
        return IQuickReads(self._front).read_now(file_id, most)

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        found: dict[int, TapeLocation | None] = dict.fromkeys(file_ids)
        for side, some in await self._sides(file_ids):
            if IRecaller.providedBy(side):
                found |= await IRecaller(side).locate(some)
        return found

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        found: dict[int, RecallProgress] = {}
        for side, some in await self._sides(file_ids):
            found |= await (IRecaller(side).recall(request, some) if IRecaller.providedBy(side) else _told(side, some))
        return found

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        found: dict[int, RecallProgress] = {}
        for side, some in await self._sides(file_ids):
            found |= await (IRecaller(side).poll(request, some) if IRecaller.providedBy(side) else _told(side, some))
        return found

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        found: frozenset[int] = frozenset()
        for side, some in await self._sides(file_ids):
            if IRecaller.providedBy(side):
                found |= await IRecaller(side).cancel(request, some)
        return found

    async def release(self, file_id: int) -> None:
        for side in (self._front, self._behind):  # a file may have been copied since it was recalled
            if IRecaller.providedBy(side):
                await IRecaller(side).release(file_id)

    async def _start(self) -> None:
        try:
            for each in (self._front, self._behind):
                self._started.append(each)
                try:
                    await maybeDeferred(each.startService)
                except errors.BackendUnavailable as error:
                    if each is self._front:
                        raise
                    raise errors.BackendUnavailable(f"the fallback: {error}") from error
            if self._has_files:
                await self._require_files()
        except BaseException:
            await self._stop()
            raise
        super().startService()

    async def _stop(self) -> None:
        while self._started:
            await maybeDeferred(self._started.pop().stopService)

    async def _require_files(self) -> None:
        if not IInventory.providedBy(self._behind):
            return
        place: str | None = ""
        while place is not None:
            page = await IInventory(self._behind).inventory(place, _LOOKED_AT_ONCE, digests=False, locality=False)
            if page.files:
                return
            place = page.place
        raise errors.BackendUnavailable("the fallback has no files: is its file system mounted?")

    async def _status_behind(self, file_id: int) -> FileStatus | None:
        try:
            return await self._behind.status(file_id)
        except errors.NotFound:
            return None

    async def _settled(self, file_id: int, conditions: WriteConditions) -> WriteConditions | None:
        """
        Check conditions for what is behind.

        @return: What is left of them for the archive in front; C{None} where the bytes have to be those of the file
            behind.
        """
        if conditions.unconditional:
            return conditions
        try:
            await self._front.status(file_id)
        except errors.NotFound as error:
            _require_absence(error)
        else:
            return conditions  # what is in front covers what is behind, and nobody can take that away
        if (behind := await self._status_behind(file_id)) is None:
            return conditions
        conditions.require(behind)
        if conditions.overwrite is Overwrite.IDENTICAL:
            return None
        return attrs.evolve(conditions, or_absent=True)

    async def _health_behind(self) -> Health:
        """How the archive behind is; it holds up nobody when it does not say."""
        if self._look is None or self._look.ended:
            self._look = Shared(self._behind.health())
        try:
            return await Deferred.fromCoroutine(self._look.result()).addTimeout(PATIENCE, self._clock)
        except defer.TimeoutError:
            return Health(False, f"it has not said for {PATIENCE:g} s how it is")
        except errors.ArchiveError as error:
            return Health(False, str(error))

    async def _sides(self, file_ids: Sequence[int]) -> list[tuple[IArchiveBackend, list[int]]]:
        """The archives that files are read from, and which from each."""
        sides: dict[bool, list[int]] = {True: [], False: []}
        for file_id, status in (await statuses_of(self._front, file_ids)).items():
            if isinstance(status, Exception) and not isinstance(status, errors.NotFound):
                raise status
            sides[not _is_absent(status)].append(file_id)
        return [(self._front if front else self._behind, some) for front, some in sides.items() if some]


@implementer(IIncomingFile)
class _Compared:
    """
    A file on its way in that has to be the one that is there.  Nothing of it is kept.

    @param archive: The archive.
    @param algorithms: The digests that can be compared with what the client has sent.
    """

    def __init__(
        self, archive: Fallback, file_id: int, conditions: WriteConditions, algorithms: Collection[str]
    ) -> None:
        self._archive = archive
        self._file_id = file_id
        self._conditions = conditions
        self._hasher = Hasher(algorithms)

    async def write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._hasher.update(piece)

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        digests = self._hasher.verified(expected)
        stored: IStoredFile = await self._archive.open(self._file_id)
        try:
            self._conditions.require(stored.status)
            digest = await _digest_of(stored)
            if digest != digests[PRIMARY]:
                raise errors.AlreadyExists("The id is taken by a file with other bytes.")
            return attrs.evolve(stored.status, digests={**stored.status.digests, PRIMARY: digest})
        finally:
            stored.close()

    async def abort(self) -> None:
        """Do nothing: nothing is kept."""


async def _digest_of(stored: IStoredFile) -> bytes:
    """The digest of a file; of one that has none, by reading it, and let it have one."""
    status = stored.status
    if (known := status.digests.get(PRIMARY)) is not None:
        return known
    hasher = Hasher({PRIMARY})
    for offset in range(0, status.size, _BLOCK):
        hasher.update(await stored.read(offset, min(_BLOCK, status.size - offset)))
    await stored.remember(hasher.digests())
    return hasher.digests()[PRIMARY]


async def _told(side: IArchiveBackend, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
    """The progress of files that are never anywhere else than on disk."""
    found = {}
    for file_id, status in (await statuses_of(side, file_ids)).items():
        if isinstance(status, errors.NotFound):
            found[file_id] = RecallProgress(RecallState.FAILED, str(status))
        elif isinstance(status, Exception):
            raise status
        else:
            found[file_id] = RecallProgress(RecallState.RESIDENT)
    return found


def _is_absent(status: FileStatus | Exception) -> bool:
    """Whether the place of an id is free; another thing than a file takes it too."""
    return isinstance(status, errors.NotFound) and not isinstance(status, errors.NotAFile)


def _require_absence(error: errors.NotFound) -> None:
    if not _is_absent(error):
        raise error
