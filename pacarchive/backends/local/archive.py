"""Archived files on a mounted file system: the reactor's half of every POSIX-like backend.

All that may wait for a disk goes through one pool of threads.  What the kernel already holds in memory is read
in the reactor thread, without a thread hop, through calls that fail instead of waiting (L{LocalArchive.open}).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.local.batch import Report, SmallFile, SmallFileQueue, checked_digests
from pacarchive.backends.local.commit import Draft
from pacarchive.backends.local.health import HealthCheck
from pacarchive.backends.local.inventory import SETTLED, Looks, look_through, write_lines
from pacarchive.backends.local.move import move_into
from pacarchive.backends.local.syscalls import open_cached, opens_without_network, read_cached, release
from pacarchive.backends.local.tree import FileTree
from pacarchive.digests import PRIMARY, Buffer, Digests, Hasher
from pacarchive.interfaces import (
    IArchiveBackend,
    IBatchStatus,
    IIncomingFile,
    IInventoryLines,
    IPullingFile,
    IQuickReads,
    IQuickWrites,
    ISendable,
    IStoredFile,
)
from pacarchive.model import FileStatus, Health, InventoryLines, InventoryPage, WriteConditions
from pacarchive.runtime.threads import BlockingPool

SMALL = 256 << 10
"""Bodies up to this size are held in memory and stored in one thread hop."""

_CACHED_READ = 64 << 10
_KNOWN_DIGESTS = 16384
_TOLD = 2048
_FLUSH_EVERY = 8 << 20
_PULLED = 1 << 20  # at a time: less than a processor has of its own cache, and much more than a call costs
_log = Logger()


@implementer(IArchiveBackend, IBatchStatus, IInventoryLines, IQuickReads, IQuickWrites)
class LocalArchive(Service):
    """
    An L{IArchiveBackend} over a L{FileTree}.

    @param tree: The files.
    @param pool: The threads for file system calls; started and stopped with this service.
    @param clock: The time.
    @param algorithms: Digests that are stored beside the primary one.
    @param lister: The threads for lists of files, which take long; likewise.  C{None}: those of C{pool}.
    """

    name = "backend"
    batch_most = 200

    def __init__(
        self,
        tree: FileTree,
        pool: BlockingPool,
        clock: IReactorTime,
        algorithms: Collection[str] = (),
        lister: BlockingPool | None = None,
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._lister = lister or pool
        self._health = HealthCheck(tree)
        self._small_files = SmallFileQueue(tree, pool, clock)
        self._algorithms = {PRIMARY, *algorithms}
        self._reads_cached = False
        # Digests by (device, inode, ctime): the ctime changes with the attributes that hold them.  Filled in threads,
        # because reading an attribute may need a disk block; read in the reactor.
        self._known: dict[tuple[int, int, int], Digests] = {}
        # Statuses by all that they are made of; of the reactor's thread.
        self._told: dict[tuple[int, int, int, int, int, int], FileStatus] = {}

    def startService(self) -> None:
        """Open the archive.  Called before anything listens, so waiting for the disk here holds up nobody."""
        try:
            self._tree.open_root()
        except OSError as error:
            raise errors.BackendUnavailable(f"{error.filename or self._tree.prefix}: {error.strerror}") from error
        self._reads_cached = opens_without_network(self._tree.root)
        for each in {self._pool, self._lister}:
            each.start()
        super().startService()

    def stopService(self) -> None:
        super().stopService()
        for each in {self._pool, self._lister}:
            each.stop()
        self._small_files.close()
        self._tree.close_root()

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        if not (conditions.unconditional and size is not None and size <= SMALL):
            await self._pool.run(self._tree.check, file_id, size, conditions)
        return _Incoming(self._tree, self._pool, self._small_files, file_id, conditions, self._hasher_with(algorithms))

    def store_small(
        self,
        file_id: int,
        data: bytes,
        mtime_ns: int | None,
        expected: Digests,
        conditions: WriteConditions,
        report: Report,
    ) -> bool:
        if len(data) > SMALL or not conditions.unconditional:
            return False
        hasher = self._hasher_with(expected)
        self._small_files.add(SmallFile(file_id, (data,), hasher, mtime_ns, expected, conditions), report)
        return True

    def _hasher_with(self, algorithms: Collection[str]) -> Hasher:
        return Hasher(self._algorithms.union(algorithms) if algorithms else self._algorithms)

    async def open(self, file_id: int) -> StoredFile:
        if (found := self._find_cached(file_id)) is not None:
            return StoredFile(self._tree, self._pool, *found)
        return StoredFile(self._tree, self._pool, *await self._pool.run(self._open, file_id))

    def look_now(self, file_id: int) -> FileStatus | None:
        if (found := self._find_cached(file_id, path_only=True)) is None:
            return None
        release(found[0])
        return found[2]

    def read_now(self, file_id: int, most: int) -> tuple[FileStatus, bytes] | None:
        if (found := self._find_cached(file_id)) is None:
            return None
        descriptor, state, status = found
        try:
            data = read_cached(descriptor, 0, state.st_size) if state.st_size <= most else None
        finally:
            release(descriptor)
        return None if data is None else (status, data)

    async def status(self, file_id: int) -> FileStatus:
        return (await self.look(file_id))[1]

    async def look(self, file_id: int) -> tuple[os.stat_result, FileStatus]:
        """What the file system reports about a file, and its status; its data is not opened."""
        if (found := self._find_cached(file_id, path_only=True)) is not None:
            release(found[0])
            return found[1:]
        return await self._pool.run(self._look, file_id)

    async def statuses(self, file_ids: Sequence[int]) -> dict[int, FileStatus | Exception]:
        looks = await self.look_at_all(file_ids)
        return {file_id: look if isinstance(look, Exception) else look[1] for file_id, look in looks.items()}

    async def look_at_all(self, file_ids: Sequence[int]) -> dict[int, tuple[os.stat_result, FileStatus] | Exception]:
        """As L{look}, for several in one thread hop; with what went wrong for those that cannot be looked at."""
        return await self._pool.run(self._look_at_all, file_ids)

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        return (await self.look_through(place, most, ids, digests=digests)).page()

    async def inventory_lines(
        self, place: str, most: int, *, ids: Container[int] | None = None, fields: Collection[str]
    ) -> InventoryLines:
        return await self._lister.run(write_lines, self._tree, place, most, ids, fields=fields)

    async def look_through(
        self, place: str, most: int, ids: Container[int] | None = None, *, digests: bool = True
    ) -> Looks:
        """As L{inventory}, with what the file system reports."""
        return await self._lister.run(look_through, self._tree, place, most, ids, digests=digests)

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        return await self._pool.run(move_into, self._tree, file_id, source, conditions)

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        await self._pool.run(self._tree.remove, file_id, conditions)

    async def health(self) -> Health:
        return await self._pool.run(self._health.look)

    def _open(self, file_id: int) -> _Opened:
        opened = _Opened(self._tree.open_stored(file_id))
        self._know(*opened[1:])
        return opened

    def _look(self, file_id: int) -> tuple[os.stat_result, FileStatus]:
        seen = self._tree.look(file_id)
        self._know(*seen)
        return seen

    def _look_at_all(self, file_ids: Sequence[int]) -> dict[int, tuple[os.stat_result, FileStatus] | Exception]:
        looks: dict[int, tuple[os.stat_result, FileStatus] | Exception] = {}
        for file_id in file_ids:
            try:
                looks[file_id] = self._look(file_id)
            except Exception as error:  # noqa: BLE001  (each file's own; the caller judges)
                looks[file_id] = errors.light(error)
        return looks

    def _know(self, state: os.stat_result, status: FileStatus) -> None:
        known = self._known
        if len(known) >= _KNOWN_DIGESTS:
            with suppress(KeyError, RuntimeError, StopIteration):
                del known[next(iter(known))]
        # A file without digests may get some at any time, and the inode of one that has just changed may be freed and
        # used again before the clock of the inode times moves on.
        if status.digests and time.time_ns() - state.st_ctime_ns > SETTLED:
            known[state.st_dev, state.st_ino, state.st_ctime_ns] = status.digests

    def _find_cached(self, file_id: int, *, path_only: bool = False) -> tuple[int, os.stat_result, FileStatus] | None:
        """
        Open a file for which nothing has to be fetched: name, inode and digests are in memory.

        @param path_only: Its data will not be asked for.
        @return: As L{_Opened}, or C{None}: open it in a thread, which also says what is wrong.
        """
        if not self._reads_cached:
            return None
        name = self._tree.name_of(file_id).encode("ascii")
        descriptor = open_cached(self._tree.root, name, path_only=path_only)
        if descriptor < 0:
            return None
        try:
            state = os.fstat(descriptor)
            device, inode, changed = state.st_dev, state.st_ino, state.st_ctime_ns
            digests = self._known.get((device, inode, changed))
            if digests is not None and stat.S_ISREG(state.st_mode):
                key = file_id, device, inode, changed, state.st_mtime_ns, state.st_size
                status = self._told.get(key)
                if status is None or status.digests is not digests:
                    status = self._tree.status_of(state, file_id, digests)
                    if len(self._told) >= _TOLD:
                        self._told.clear()
                    self._told[key] = status
                return descriptor, state, status
        except BaseException:
            release(descriptor)
            raise
        release(descriptor)
        return None


class _Opened(tuple[int, os.stat_result, FileStatus]):
    """
    A descriptor, what the file system reports about it, and the status.  It closes itself if nobody is left to take it
    (L{BlockingPool.run}).
    """

    __slots__ = ()

    def close(self) -> None:
        release(self[0])


@implementer(IPullingFile)
class _Incoming:
    """A body on its way to the disk."""

    def __init__(
        self,
        tree: FileTree,
        pool: BlockingPool,
        small_files: SmallFileQueue,
        file_id: int,
        conditions: WriteConditions,
        hasher: Hasher,
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._small_files = small_files
        self._file_id = file_id
        self._conditions = conditions
        self._hasher = hasher
        self._draft: Draft | None = None
        self._held: list[bytes] = []
        self._held_size = 0
        self._flushed = 0
        self._has_gap = False

    async def write(self, pieces: Sequence[bytes]) -> None:
        self._held.extend(pieces)
        self._held_size += sum(map(len, pieces))
        if self._held_size > SMALL:
            try:
                await self._pool.run(self._write_out, self._take_held())
            except errors.ArchiveError:
                self._has_gap = True
                raise

    async def pull(self, read: Callable[[memoryview], int]) -> None:
        try:
            await self._pool.run(self._pull, read)
        except errors.ArchiveError:
            self._has_gap = True
            raise

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        if self._has_gap:
            raise errors.BackendUnavailable("A part of the file could not be written.")
        if self._draft is not None:
            return await self._pool.run(self._commit, mtime_ns, expected)
        if not self._conditions.unconditional:
            return await self._pool.run(self._commit, mtime_ns, expected)  # may take the time to hash a stored file
        return await self._small_files.store(
            SmallFile(self._file_id, self._take_held(), self._hasher, mtime_ns, expected, self._conditions)
        )

    async def abort(self) -> None:
        if self._draft is not None:
            await self._pool.run(self._discard)

    def _take_held(self) -> list[bytes]:
        held, self._held, self._held_size = self._held, [], 0
        return held

    def _pull(self, read: Callable[[memoryview], int]) -> None:
        self._write_out(self._take_held())
        buffer = memoryview(bytearray(_PULLED))
        while count := read(buffer):
            self._write_out((buffer[:count],))
            if self._pool.backlog:
                break

    def _write_out(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            self._hasher.update(piece)
        if self._draft is None:
            self._draft = Draft.create(self._tree)
        self._draft.write(pieces)
        if self._draft.size - self._flushed >= _FLUSH_EVERY:
            # Let the disk begin now, so that the sync at the end has little left to wait for.
            self._flushed += self._draft.start_writeback(self._flushed)

    def _commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        try:
            self._write_out(self._take_held())
            digests = checked_digests(self._hasher, (), expected)
            assert self._draft is not None, "_write_out makes it"
            return self._draft.commit(self._file_id, mtime_ns, digests, self._conditions)
        finally:
            self._discard()

    def _discard(self) -> None:
        if self._draft is not None:
            self._draft.discard()


@implementer(IStoredFile, ISendable)
class StoredFile:
    """
    One version of a file, open.

    @ivar state: What the file system reported about it when it was opened.
    """

    def __init__(
        self, tree: FileTree, pool: BlockingPool, descriptor: int, state: os.stat_result, status: FileStatus
    ) -> None:
        self._tree = tree
        self._pool = pool
        self._descriptor = descriptor
        self.state = state
        self.status = status

    async def read(self, offset: int, length: int) -> bytes:
        if length <= _CACHED_READ and (data := read_cached(self._descriptor, offset, length)) is not None:
            return data
        return await self._pool.run(self._tree.read, self._descriptor, offset, length)

    async def remember(self, digests: Digests) -> None:
        try:
            await self._pool.run(self._tree.remember, self._descriptor, self.status, digests)
        except errors.ArchiveError as error:  # a full or read-only file system: no reason to fail a read
            _log.warn("file {file_id}: {reason}", file_id=self.status.file_id, reason=error.reason)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            release(descriptor)
