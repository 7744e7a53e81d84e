"""Bodies on their way into HPSS and out of it: the reactor's half."""

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
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.backends.hpss.words import translating
from pacarchive.digests import Digests, Hasher
from pacarchive.interfaces import IIncomingFile, IStoredFile
from pacarchive.model import FileStatus, WriteConditions

HELD_MOST = 256 << 10
"""Files up to this size are read when they are opened."""

_NOTHING = memoryview(b"")

_log = Logger()


@attrs.frozen
class Storing:
    """
    How files are stored.

    @ivar tree: Where.
    @ivar pool: The threads for data.
    @ivar block: How much is moved by one call, in bytes.
    @ivar cos: The class of service of all files; C{None}: HPSS chooses.
    @ivar family: The file family, if they are to have one.
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

    @param storing: Where to, and how.
    @param size: The expected size.
    @param algorithms: Of the digests to compute.
    """

    def __init__(
        self,
        storing: Storing,
        file_id: int,
        size: int | None,
        conditions: WriteConditions,
        algorithms: Collection[str],
    ) -> None:
        self._storing = storing
        self._file_id = file_id
        self._size = size
        self._conditions = conditions
        self._hasher = Hasher(algorithms)
        self._draft: Draft | None = None
        self._held: list[bytes] = []
        self._held_size = 0
        self._writing: Deferred[None] | None = None
        self._has_gap = False
        self._aborted = False

    async def write(self, pieces: Sequence[bytes]) -> None:
        self._held.extend(pieces)
        self._held_size += sum(map(len, pieces))
        if self._held_size >= self._storing.block:
            await self._written()
            held, self._held, self._held_size = self._held, [], 0
            # Nobody waits for this block before the next has come: the network and the mover work side by side.
            self._writing = Deferred.fromCoroutine(self._storing.pool.run(self._write_out, held))

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        await self._written()
        return await self._storing.pool.run(self._commit, mtime_ns, expected)

    async def abort(self) -> None:
        self._aborted = True
        self._held = []
        with suppress(errors.ArchiveError):  # its bytes are not wanted any more
            await self._written()
        if self._draft is not None:
            try:
                await self._storing.pool.run(self._draft.discard)
            except StuckCall:
                pass  # it goes on in its thread
            except errors.ArchiveError:  # no thread was free
                self._storing.pool.run_unattended(self._draft.discard)

    async def _written(self) -> None:
        """
        Wait for the block under way.

        @raise errors.ArchiveError: A block could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                await writing
            except errors.ArchiveError:
                self._has_gap = True
                raise
        if self._has_gap:
            raise errors.BackendUnavailable("A part of the file could not be written.")

    def _write_out(self, pieces: Sequence[bytes]) -> None:
        if self._draft is None:
            storing = self._storing
            self._draft = Draft(storing.tree, self._size, storing.block, storing.cos, storing.family)
        try:
            for piece in pieces:
                self._hasher.update(piece)
                self._draft.write(piece)
        finally:
            if self._aborted:  # while this call was stuck
                self._draft.discard()

    def _commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        try:
            self._write_out(self._held)
            assert self._draft is not None, "_write_out makes it"
            return self._draft.commit(self._file_id, mtime_ns, self._hasher.verified(expected), self._conditions)
        finally:
            if self._draft is not None:
                self._draft.discard()


def read_part(file: OpenFile, offset: int, length: int) -> memoryview:
    """
    Read bytes that an open file has.  Blocks.

    @raise errors.BackendUnavailable: They could not be read.
    """
    buffer = memoryview(bytearray(length))
    with translating("Can't read hpss file", absent=errors.BackendUnavailable):
        file.read_into(offset, buffer)
    return buffer


class _Described:
    """
    One version of a file, for reading.

    @param tree: The archive.
    @param pool: The threads for data.
    """

    def __init__(self, tree: HpssTree, pool: HpssPool, status: FileStatus) -> None:
        self._tree = tree
        self._pool = pool
        self.status = status

    async def remember(self, digests: Digests) -> None:
        try:
            await self._pool.run(self._store_digests, digests)
        except errors.ArchiveError as error:  # no reason to fail a read
            _log.warn("file {file_id}: {reason}", file_id=self.status.file_id, reason=error.reason)

    def _store_digests(self, digests: Digests) -> None:
        status, path = self.status, self._tree.path_of(self.status.file_id)
        with translating("Can't write hpss file"), self._tree.locks.held(status.file_id):
            found = self._tree.attributes(path)
            if self._tree.status_of(status.file_id, found, {}).generation == status.generation:
                self._tree.add_digests(path, digests, status.size)


@implementer(IStoredFile)
class HeldFile(_Described):
    """
    A small file: it was read when it was opened, in the same thread hop, and is closed already.

    @param data: All of it.
    """

    def __init__(self, tree: HpssTree, pool: HpssPool, status: FileStatus, data: bytes) -> None:
        super().__init__(tree, pool, status)
        self._data = data

    async def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Nothing is open."""


@implementer(IStoredFile)
class StreamedFile(_Described):
    """
    A large file, open.

    Who reads on from where the last read ended gets blocks as large as HPSS likes them, one of them read ahead;
    anything else is read as it is asked for.

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
            ahead[1].addErrback(lambda failure: None)  # nobody wants the block any more
        self._data = _NOTHING
        self._pool.run_unattended(self._file.close)

    async def _read_on(self, offset: int, most: int) -> bytes:
        """Some bytes, from the block at hand or the next."""
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
        """Wait for what was read ahead and is not needed: one thread at a time uses the file."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(errors.ArchiveError):
                await ahead[1]
        self._data = _NOTHING

    def _read_block(self, offset: int) -> memoryview:
        return self._read(offset, min(self._block, self.status.size - offset))

    def _read(self, offset: int, length: int) -> memoryview:
        return read_part(self._file, offset, length)
