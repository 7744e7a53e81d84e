"""Copying the files of one archive into another, whatever backends the two have."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

import attrs
from twisted.internet.defer import DeferredLock
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pacarchive import errors
from pacarchive.digests import ALGORITHMS, PRIMARY, Hasher
from pacarchive.interfaces import IInventory
from pacarchive.model import FileStatus, Locality, WriteConditions
from pacarchive.runtime.shared import all_of
from pacarchive.runtime.statuses import statuses_of
from pacarchive.texts import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from pacarchive.interfaces import IArchiveBackend, IIncomingFile, IStoredFile

PAGE = 200
"""The most names of a page of the list, and so the most files that are known of at a time."""

BLOCK = 4 << 20
"""The most bytes of a read: each file that is being copied has as many in memory."""

GIVE_UP = 10
"""After so many files in a row that a storage had no answer or no room for, the rest is not tried."""

_HASHED_AT_ONCE = 64 << 10
_LEAST_BLOCK = 64 << 10
_LOOK = 0.25
"""The most seconds of a pause before it is asked whether to stop."""

T = TypeVar("T")


@attrs.define
class Counts:
    """
    What has become of the files.

    @ivar copied: How many were copied; in a trial, how many would be.
    @ivar bytes: The bytes of those.
    @ivar there: How many the target had already, with the same bytes.
    @ivar compared: In a trial, how many the target has, which would have to be read to tell whether they are the same.
    @ivar on_tape: How many were left out, as they would have to be recalled.
    @ivar gone: How many were removed from the source meanwhile.
    @ivar failed: How many could not be copied.
    @ivar complete: Whether the list came to its end.
    """

    copied: int = 0
    bytes: int = 0
    there: int = 0
    compared: int = 0
    on_tape: int = 0
    gone: int = 0
    failed: int = 0
    complete: bool = False

    @property
    def files(self) -> int:
        """All that were looked at."""
        return self.copied + self.there + self.compared + self.on_tape + self.gone + self.failed


class Conflict(errors.AlreadyExists):
    """The target has another file under the id."""


def side_of(error: errors.ArchiveError) -> str:
    """Return which archive an error comes from; empty where it is about both."""
    return next(iter(getattr(error, "__notes__", ())), "")


class _Stopped(Exception):
    """The command was interrupted; nothing of the file at hand is visible."""


@attrs.frozen
class Pace:
    """
    A bound of bytes per second, for all files together.

    @ivar rate: The bytes per second; C{None} for no bound.
    @ivar clock: The source of time.
    @ivar stopped: Whether to wait no longer.
    """

    rate: float | None
    clock: IReactorTime
    stopped: Callable[[], bool]
    _free: list[float] = attrs.field(factory=lambda: [0.0], init=False)

    @property
    def block(self) -> int:
        """How much to read at once, so that a low rate does not come in large gusts."""
        return BLOCK if self.rate is None else max(_LEAST_BLOCK, min(BLOCK, int(self.rate / 4)))

    async def take(self, size: int) -> None:
        """Wait until so many bytes more may be read."""
        if self.rate is None:
            return
        begin = max(self._free[0], self.clock.seconds())
        self._free[0] = begin + size / self.rate
        while (left := begin - self.clock.seconds()) > 0 and not self.stopped():
            await deferLater(self.clock, min(left, _LOOK))


@attrs.define(kw_only=True)
class Copying:
    """
    The copying of all files.

    @ivar source: Where they are.
    @ivar target: Where they are to be.
    @ivar pace: How fast.
    @ivar jobs: How many at a time.
    @ivar trial: Only look.
    @ivar stopped: Whether the command was interrupted.
    @ivar refused: Called with each file that is not copied, and with the error.
    @ivar moved: Called with a file and how many bytes of it were read; and with C{None} when it is done with.
    @ivar counts: The result, also while this is under way.
    """

    source: IArchiveBackend
    target: IArchiveBackend
    pace: Pace
    jobs: int
    trial: bool
    stopped: Callable[[], bool]
    refused: Callable[[int, errors.ArchiveError], None]
    moved: Callable[[FileStatus, int | None], None]
    counts: Counts = attrs.field(factory=Counts, init=False)
    _place: str | None = attrs.field(default="", init=False)
    _waiting: deque[tuple[int, FileStatus | Exception, FileStatus | Exception]] = attrs.field(factory=deque, init=False)
    _listing: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    _in_a_row: int = attrs.field(default=0, init=False)
    _given_up: errors.ArchiveError | None = attrs.field(default=None, init=False)

    async def run(self) -> None:
        """
        Copy the files.  Those that the target has already are let alone, so that it can be run again.

        @raise pacarchive.errors.ArchiveError: The source cannot be listed, or a storage does not answer or is full;
            what has been copied is whole.
        """
        await all_of(self._work() for _ in range(self.jobs))
        if self._given_up is not None:
            raise self._given_up
        self.counts.complete = not self.stopped()

    async def _work(self) -> None:
        while (found := await self._next()) is not None:
            file_id, status, there = found
            try:
                await self._settle(file_id, status, there)
            except _Stopped:
                return
            except errors.ArchiveError as error:
                self._refuse(file_id, error)
            else:
                self._in_a_row = 0
            if isinstance(status, FileStatus):
                self.moved(status, None)

    async def _next(self) -> tuple[int, FileStatus | Exception, FileStatus | Exception] | None:
        async with self._listing:
            while not self._waiting and self._place is not None and not self._ends:
                place, self._place = self._place, None  # if it fails, the others do not ask again
                page = await _told("the source", IInventory(self.source).inventory(place, PAGE))
                there = await statuses_of(self.target, list(page.files))
                self._waiting.extend((file_id, status, there[file_id]) for file_id, status in page.files.items())
                self._place = page.place
        return None if self._ends or not self._waiting else self._waiting.popleft()

    @property
    def _ends(self) -> bool:
        return self._given_up is not None or self.stopped()

    def _refuse(self, file_id: int, error: errors.ArchiveError) -> None:
        if isinstance(error, errors.NotFound) and not isinstance(error, errors.NotAFile):
            self.counts.gone += 1
            return
        if isinstance(error, errors.Offline):
            self.counts.on_tape += 1
        else:
            self.counts.failed += 1
            if isinstance(error, errors.Unavailable | errors.NoSpace):
                self._in_a_row += 1
                if self._in_a_row >= GIVE_UP:
                    self._given_up = error
        self.refused(file_id, error)

    async def _settle(self, file_id: int, status: FileStatus | Exception, there: FileStatus | Exception) -> None:
        """Copy a file, or find that this is not needed."""
        if isinstance(status, Exception):
            raise _as_archives(status, "the source")
        if isinstance(there, FileStatus):
            await self._compare(status, there)
            return
        if not isinstance(there, errors.NotFound) or isinstance(there, errors.NotAFile):
            raise _as_archives(there, "the target")
        if status.locality is Locality.TAPE:
            raise _on_tape()
        if self.trial:
            self.counts.copied += 1
            self.counts.bytes += status.size
            return
        try:
            await self._copy(status)
        except errors.PreconditionFailed:
            # Somebody else has stored it meanwhile.
            await self._compare(status, await _told("the target", self.target.status(file_id)))

    async def _compare(self, status: FileStatus, there: FileStatus) -> None:
        """
        Find whether the target has the same bytes already.

        @raise Conflict: It has others.
        """
        if status.size != there.size:
            raise Conflict(
                f"the target has another file of this id, of {counted(there.size, 'byte')}, not {status.size:,}"
            )
        mine = await self._digest("the source", self.source, status)
        theirs = await self._digest("the target", self.target, there)
        if mine is None or theirs is None:
            self.counts.compared += 1
            return
        if mine != theirs:
            raise Conflict("the target has another file of this id, of the same size")
        self.counts.there += 1

    async def _digest(self, side: str, backend: IArchiveBackend, status: FileStatus) -> bytes | None:
        """Return the digest of a file; of one that has none, by reading it, and let it have one."""
        if PRIMARY not in status.digests:  # a list can leave it out
            status = await _told(side, backend.status(status.file_id))
        if PRIMARY in status.digests:
            return status.digests[PRIMARY]
        if status.locality is Locality.TAPE:
            raise _on_tape()
        if self.trial:
            return None
        stored: IStoredFile = await _told(side, backend.open(status.file_id))
        try:
            hasher = Hasher({PRIMARY})
            async for block in self._blocks(side, stored, status):
                await _hash(hasher, block)
            await stored.remember(hasher.digests())
        finally:
            stored.close()
        return hasher.digests()[PRIMARY]

    async def _blocks(self, side: str, stored: IStoredFile, status: FileStatus) -> AsyncIterator[bytes]:
        """The bytes of a file, a block at a time."""
        size, offset = stored.status.size, 0
        while offset < size:
            if self.stopped():
                raise _Stopped
            length = min(self.pace.block, size - offset)
            await self.pace.take(length)
            yield await _told(side, stored.read(offset, length))
            offset += length
            self.moved(status, length)

    async def _copy(self, status: FileStatus) -> None:
        """Copy a file: the version that is there when it is opened."""
        stored: IStoredFile = await _told("the source", self.source.open(status.file_id))
        try:
            version = stored.status
            expected = {name: digest for name, digest in version.digests.items() if name in ALGORITHMS}
            algorithms = {PRIMARY, *expected}
            conditions = WriteConditions(if_absent=True)
            receiving = self.target.receive(status.file_id, version.size, conditions, algorithms)
            incoming: IIncomingFile = await _told("the target", receiving)
            try:
                digests = await self._pass_on(stored, incoming, Hasher(algorithms), status)
                _require_same(digests, expected, "the source", "the bytes are not those of the digest stored for them")
                result = await _told("the target", incoming.commit(version.mtime_ns, digests))
            except BaseException:
                await incoming.abort()
                raise
            kept = {name: digest for name, digest in result.digests.items() if name in digests}
            _require_same(digests, {**kept, PRIMARY: kept.get(PRIMARY, b"")}, "the target", "it has stored other bytes")
            if PRIMARY not in expected:
                await stored.remember({PRIMARY: digests[PRIMARY]})
        finally:
            stored.close()
        self.counts.copied += 1
        self.counts.bytes += version.size

    async def _pass_on(
        self, stored: IStoredFile, incoming: IIncomingFile, hasher: Hasher, status: FileStatus
    ) -> dict[str, bytes]:
        async for block in self._blocks("the source", stored, status):
            await all_of([_hash(hasher, block), _told("the target", incoming.write([block]))])
        return hasher.digests()


async def _hash(hasher: Hasher, block: bytes) -> None:
    if len(block) <= _HASHED_AT_ONCE:
        hasher.update(block)
    else:
        await deferToThread(hasher.update, block)


async def _told(side: str, work: Awaitable[T]) -> T:
    """Wait for what an archive does; an error says in which of the two."""
    try:
        return await work
    except errors.ArchiveError as error:
        error.add_note(side)
        raise


def _require_same(digests: dict[str, bytes], others: dict[str, bytes], side: str, words: str) -> None:
    for name, digest in others.items():
        if digests[name] != digest:
            error = errors.DigestMismatch(f"{words}: {name} {digests[name].hex()}, not {digest.hex()}")
            error.add_note(side)
            raise error


def _as_archives(error: Exception, side: str) -> errors.ArchiveError:
    """Return an error as one that the archive tells of."""
    result = error if isinstance(error, errors.ArchiveError) else errors.BackendUnavailable(f"it fails: {error}")
    result.add_note(side)
    return result


def _on_tape() -> errors.Offline:
    return errors.Offline("it is on tape, and has to be recalled first", job=None, retry_after=10)
