"""Transfer bodies into HPSS and out of it; called in the reactor's thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.hpss.openfile import OpenFile
from pacarchive.backends.hpss.pool import HpssPool, StuckCall
from pacarchive.backends.hpss.publish import Draft
from pacarchive.backends.hpss.translation import translating
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.digests import Digests, Hasher
from pacarchive.interfaces import IIncomingFile, IStoredFile
from pacarchive.model import FileStatus, WriteConditions

SMALL_FILE_LIMIT = 256 << 10
"""The size in bytes up to which files are read when they are opened."""

_NOTHING = memoryview(b"")

_log = Logger()


@attrs.frozen
class StoreOptions:
    """
    How files are stored.

    @ivar tree: The archive.
    @ivar pool: The threads for data.
    @ivar block: How much is read or written by one call, in bytes.
    @ivar cos: The class of service of all files; C{None} lets HPSS choose.
    @ivar family: Their file family; C{None} for none.
    """

    tree: HpssTree
    pool: HpssPool
    block: int
    cos: int | None
    family: int | None


@implementer(IIncomingFile)
class IncomingFile:
    """
    A body on its way to HPSS.

    @param options: How to store it.
    @param file_id: The id that it will have.
    @param size: The expected size in bytes; C{None} where it is not known.
    @param conditions: What must hold of the version under this id.
    @param algorithms: The algorithms of the digests to compute.
    """

    def __init__(
        self,
        options: StoreOptions,
        file_id: int,
        size: int | None,
        conditions: WriteConditions,
        algorithms: Collection[str],
    ) -> None:
        self._options = options
        self._file_id = file_id
        self._size = size
        self._conditions = conditions
        self._hasher = Hasher(algorithms)
        self._draft: Draft | None = None
        self._buffered: list[bytes] = []
        self._buffered_size = 0
        self._writing: Deferred[None] | None = None
        self._block_failed = False
        self._aborted = False

    async def write(self, pieces: Sequence[bytes]) -> None:
        self._buffered.extend(pieces)
        self._buffered_size += sum(map(len, pieces))
        if self._buffered_size >= self._options.block:
            await self._wait_for_block()
            buffered, self._buffered, self._buffered_size = self._buffered, [], 0
            # Not waited for until the next block is complete, so that the network and the mover work at the same time.
            self._writing = Deferred.fromCoroutine(self._options.pool.run(self._write_out, buffered))

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        await self._wait_for_block()
        return await self._options.pool.run(self._commit, mtime_ns, expected)

    async def abort(self) -> None:
        self._aborted = True
        self._buffered = []
        with suppress(errors.ArchiveError):  # the file is discarded in any case
            await self._wait_for_block()
        if self._draft is not None:
            try:
                await self._options.pool.run(self._draft.discard)
            except StuckCall:
                pass  # it ends later, in its thread
            except errors.ArchiveError:  # no thread was free
                self._options.pool.run_unattended(self._draft.discard)

    async def _wait_for_block(self) -> None:
        """
        Wait for the block under way.

        @raise errors.ArchiveError: A block could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                await writing
            except errors.ArchiveError:
                self._block_failed = True
                raise
        if self._block_failed:
            raise errors.BackendUnavailable("A part of the file could not be written.")

    def _write_out(self, pieces: Sequence[bytes]) -> None:
        if self._draft is None:
            options = self._options
            self._draft = Draft(options.tree, self._size, options.block, options.cos, options.family)
        try:
            for piece in pieces:
                self._hasher.update(piece)
                self._draft.write(piece)
        finally:
            if self._aborted:  # because this call was stuck
                self._draft.discard()

    def _commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        try:
            self._write_out(self._buffered)
            assert self._draft is not None, "_write_out has created it"
            return self._draft.commit(self._file_id, mtime_ns, self._hasher.verified(expected), self._conditions)
        finally:
            if self._draft is not None:
                self._draft.discard()


def read_part(file: OpenFile, offset: int, length: int) -> memoryview:
    """
    Read bytes of an open file, in this thread.

    @raise errors.BackendUnavailable: They cannot be read.
    """
    buffer = memoryview(bytearray(length))
    with translating("Can't read hpss file", absent=errors.BackendUnavailable):
        file.read_into(offset, buffer)
    return buffer


class _OpenVersion:
    """
    One version of a file, for reading.

    @param tree: The archive.
    @param pool: The threads for data.
    @param status: The status of the version.
    """

    def __init__(self, tree: HpssTree, pool: HpssPool, status: FileStatus) -> None:
        self._tree = tree
        self._pool = pool
        self.status = status

    async def remember(self, digests: Digests) -> None:
        try:
            await self._pool.run(self._store_digests, digests)
        except errors.ArchiveError as error:  # the read has succeeded all the same
            _log.warn("file {file_id}: {reason}", file_id=self.status.file_id, reason=error.reason)

    def _store_digests(self, digests: Digests) -> None:
        status, path = self.status, self._tree.path_of(self.status.file_id)
        with translating("Can't write hpss file"), self._tree.locks.held(status.file_id):
            found = self._tree.attributes(path)
            if self._tree.status_of(status.file_id, found, {}).generation == status.generation:
                self._tree.add_digests(path, digests, status.size)


@implementer(IStoredFile)
class SmallFile(_OpenVersion):
    """
    A small file, which was read when it was opened, in the same call of a thread, and is closed already.

    @param data: Its bytes.
    """

    def __init__(self, tree: HpssTree, pool: HpssPool, status: FileStatus, data: bytes) -> None:
        super().__init__(tree, pool, status)
        self._data = data

    async def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Do nothing: the file is closed."""


@implementer(IStoredFile)
class StreamedFile(_OpenVersion):
    """
    A large file, which is open.

    Consecutive reads are served from large blocks, of which one is read ahead; any other read is a call of its own.

    @param file: The open file.
    @param block: How much is read by one call, in bytes.
    """

    def __init__(self, tree: HpssTree, pool: HpssPool, status: FileStatus, file: OpenFile, block: int) -> None:
        super().__init__(tree, pool, status)
        self._file = file
        self._block = block
        self._next = -1
        self._start, self._data = 0, _NOTHING
        self._ahead: tuple[int, Deferred[memoryview]] | None = None

    async def read(self, offset: int, length: int) -> bytes:
        if offset != self._next:
            await self._forget()
            data = bytes(await self._pool.run(self._read, offset, length))
        else:
            data = await self._read_on(offset, length)
            while len(data) < length:
                data += await self._read_on(offset + len(data), length - len(data))
        self._next = offset + length
        return data

    def close(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[1].addErrback(lambda failure: None)  # the block is not needed
        self._data = _NOTHING
        self._pool.run_unattended(self._file.close)

    async def _read_on(self, offset: int, most: int) -> bytes:
        """Return some bytes at an offset, from the current block or the next; at most as many as are left in it."""
        if not self._start <= offset < self._start + len(self._data):
            self._start, self._data = offset, await self._take_block(offset)
            after = offset + len(self._data)
            if after < self.status.size:
                self._ahead = after, Deferred.fromCoroutine(self._pool.run(self._read_block, after))
        begin = offset - self._start
        return bytes(self._data[begin : begin + most])

    async def _take_block(self, offset: int) -> memoryview:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == offset:
            return await ahead[1]
        return await self._pool.run(self._read_block, offset)

    async def _forget(self) -> None:
        """Wait for the block that is read ahead, and drop it: only one thread at a time may use the file."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(errors.ArchiveError):
                await ahead[1]
        self._data = _NOTHING

    def _read_block(self, offset: int) -> memoryview:
        return self._read(offset, min(self._block, self.status.size - offset))

    def _read(self, offset: int, length: int) -> memoryview:
        return read_part(self._file, offset, length)
