"""An archive over the simulated tape library: what the recall engine asks of a storage system, with its faults."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.memory import MemoryArchive
from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.model import FileStatus, Locality, RecallProgress, RecallState, TapeLocation

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from recall.library import Library, TapeFile, best_order, first_in_first_out, make_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

__all__ = ["Library", "SimulatedTapes", "TapeFile", "best_order", "first_in_first_out", "make_files"]


class _Arrivals(set[int]):
    """The files that are on disk; tells of each that comes."""

    def __init__(self, come: Callable[[int], None]) -> None:
        super().__init__()
        self._come = come

    def add(self, file_id: int) -> None:
        super().add(file_id)
        self._come(file_id)


class DiskBuffer:
    """
    The disk that recalled files come to.

    When it is full, it is cleared of those that were released, and then, as it has no choice, of others; in either
    case of those that were used longest ago.

    @param size: Bytes; 0 for as many as there are.
    @param files: All files.
    @param resident: Those that are on disk.
    @ivar early: Files that had to leave before anybody had read them.
    @ivar held_too_long: Files that had to leave after they were read, but before they were released.
    @ivar fullest: The most bytes that there were.
    """

    def __init__(self, size: int, files: Mapping[int, TapeFile], resident: set[int]) -> None:
        self.early: list[int] = []
        self.unreleased: list[int] = []
        self.fullest = 0
        self._size = size
        self._files = files
        self._resident = resident
        self._used = 0
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._released: OrderedDict[int, None] = OrderedDict()
        self._read: set[int] = set()

    def come(self, file_id: int) -> None:
        """A file has come."""
        if file_id in self._kept or file_id in self._released:
            return
        self._used += self._files[file_id].size
        self._kept[file_id] = None
        while self._size and self._used > self._size and len(self._kept) + len(self._released) > 1:
            self._evict()
        self.fullest = max(self.fullest, self._used)

    def read(self, file_id: int) -> bool:
        """A file is read.  @return: Whether it is still there."""
        for each in (self._kept, self._released):
            if file_id in each:
                each.move_to_end(file_id)
                self._read.add(file_id)
                return True
        return False

    def release(self, file_id: int) -> None:
        """A file need not stay."""
        if file_id in self._kept:
            del self._kept[file_id]
            self._released[file_id] = None

    def _evict(self) -> None:
        if self._released:
            file_id = self._released.popitem(last=False)[0]
        else:
            file_id = self._kept.popitem(last=False)[0]
            self.unreleased.append(file_id)
        if file_id not in self._read:
            self.early.append(file_id)
        self._read.discard(file_id)
        self._resident.discard(file_id)
        self._used -= self._files[file_id].size


@implementer(IArchiveBackend, IRecaller)
class SimulatedTapes(MemoryArchive):
    """
    Files in a tape library.  Nothing can be written or opened.

    @param clock: The time.
    @param library: The library; its time begins now.
    @param batch_limit: See L{IRecaller}.
    @param agrees: Whether it gives up what it is asked to give up, what is being read too; of what it does not know of
        it does not say so.
    @param buffer: Bytes of disk for what is recalled; 0 for as many as there are.
    @ivar requested: How many files it was asked for, over and over ones counted as often.
    """

    def __init__(
        self, clock: Any, library: Library, *, batch_limit: int = 1, agrees: bool = True, buffer: int = 0
    ) -> None:
        super().__init__(clock)
        self.library = library
        self.batch_limit = batch_limit
        self.agrees = agrees
        self.requested = 0
        self._begun = clock.seconds() - library.now
        self._aborted: set[int] = set()
        library.resident = _Arrivals(self._come)
        self.buffer = DiskBuffer(buffer, library.files, library.resident)

    async def status(self, file_id: int) -> FileStatus:
        file = self._file(file_id)
        resident = self._up_to_now().state(file_id) is RecallState.RESIDENT
        return FileStatus(
            file_id=file_id,
            path=f"tape:{file_id}",
            size=file.size,
            mtime_ns=0,
            ctime_ns=0,
            bytes_per_level=(file.size if resident else 0, file.size),
            media=("disk", "tape"),
            locality=Locality.DISK_AND_TAPE if resident else Locality.TAPE,
            digests={},
            generation="",
        )

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        library = self._up_to_now()
        return {file_id: self._location(file_id, library) for file_id in file_ids}

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        library = self._up_to_now()
        self.requested += len(file_ids)
        self._aborted.difference_update(file_ids)
        library.submit(file_ids)
        # What was lost on the way looks like all the others.
        return {
            file_id: RecallProgress(RecallState.RESIDENT if file_id in library.resident else RecallState.QUEUED)
            for file_id in file_ids
        }

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        library = self._up_to_now()
        return {file_id: _PROGRESS[library.state(file_id)] for file_id in file_ids}

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        library = self._up_to_now()
        if not self.agrees:
            return frozenset()
        reading = {file_id for file_id in file_ids if library.state(file_id) is RecallState.ACTIVE}
        self._aborted |= reading
        return frozenset(reading.union(file_id for file_id in file_ids if library.cancel(file_id)))

    async def release(self, file_id: int) -> None:
        self._up_to_now()
        self.buffer.release(file_id)

    def lose_state(self) -> None:
        """Forget all requests, as after a crash of the storage system."""
        self._up_to_now().forget()

    def read(self, file_id: int) -> bool:
        """Read a file.  @return: Whether it is on disk."""
        self._up_to_now()
        return self.buffer.read(file_id)

    def _up_to_now(self) -> Library:
        self.library.advance(self._clock.seconds() - self._begun)
        return self.library

    def _come(self, file_id: int) -> None:
        if file_id in self._aborted:
            self._aborted.discard(file_id)
            self.library.resident.discard(file_id)
        else:
            self.buffer.come(file_id)

    def _file(self, file_id: int) -> TapeFile:
        try:
            return self.library.files[file_id]
        except KeyError:
            raise errors.NotFound("No file has this id.") from None

    def _location(self, file_id: int, library: Library) -> TapeLocation | None:
        file = library.files.get(file_id)
        if file is None or file_id in library.resident:
            return None
        return TapeLocation(medium=file.medium, position=file.position, size=file.size)


_PROGRESS = {state: RecallProgress(state) for state in RecallState}
