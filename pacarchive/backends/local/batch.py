"""Storing small files together: one thread hop, one wait for the disk, one sync of a directory for all that wait.

A small file costs more in thread hops and directory syncs than in anything else.  While a batch is being stored, what
arrives waits and makes the next one.  A client that has its answer sends its next file: so a batch begins when as many
have come as were answered last, or L{COMPANY} after those answers; else two halves of the clients would wait for each
other, and a batch of four costs little more than one of two.  A file that comes alone is stored at once.  Each file
still has all steps of L{pacarchive.backends.local.commit}, in their order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.backends.local.commit import Draft, complete
from pacarchive.backends.local.groupsync import GroupSync
from pacarchive.backends.local.syscalls import release
from pacarchive.backends.local.tree import FileTree, translating
from pacarchive.digests import Digests, Hasher
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.runtime.threads import BlockingPool, finished

_BATCH = 32
"""Files at the most: what comes later waits for a whole batch."""

COMPANY = 0.001
"""Seconds that files wait for others to come, at the most, where those before had company."""

Report: TypeAlias = Callable[[FileStatus | Failure], None]


@attrs.define(eq=False)
class SmallFile:
    """
    A complete body that waits to be stored.

    @ivar outcome: What came of it.
    """

    file_id: int
    pieces: Sequence[bytes]
    hasher: Hasher
    mtime_ns: int | None
    expected: Digests
    conditions: WriteConditions
    outcome: FileStatus | Failure | None = None


class SmallFileQueue:
    """
    Stores small files, in batches where they come faster than they can be stored.

    A batch waits for the slowest of its files, so only what cannot wait for anything but the disk belongs here.  There
    is one at a time: two side by side took a quarter more CPU for each file (32 clients, two cores), and stored no
    more.

    @param tree: Where to.
    @param pool: The threads; one of them is used.
    @param clock: The time.
    """

    def __init__(self, tree: FileTree, pool: BlockingPool, clock: IReactorTime) -> None:
        self._tree = tree
        self._pool = pool
        self._clock = clock
        self._group_sync = GroupSync()
        self._waiting: list[tuple[SmallFile, Report]] = []
        self._busy = False
        self._expected = 0
        self._begins: IDelayedCall | None = None

    def close(self) -> None:
        """After the last."""
        self._forget_company()
        self._group_sync.close()

    async def store(self, file: SmallFile) -> FileStatus:
        """
        Store a file.

        @raise CancelledError: The caller was cancelled; whether the file was stored is decided, but not told.
        """
        done: Deferred[FileStatus] = Deferred()
        self.add(file, partial(_fire, done))
        return await finished(done)

    def add(self, file: SmallFile, report: Report) -> None:
        """
        Have a file stored.

        @param report: Called with what came of it; does not fail.
        """
        self._waiting.append((file, report))
        if len(self._waiting) >= self._expected:
            self._begin()

    def _begin(self) -> None:
        """Store what waits, unless that is being done."""
        self._forget_company()
        if self._waiting and not self._busy:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._busy = True
            files = [file for file, _ in batch]
            self._pool.call(store_together, self._tree, self._group_sync, files).addBoth(self._stored, batch)

    def _stored(self, result: object, batch: Sequence[tuple[SmallFile, Report]]) -> None:
        self._busy = False
        there = len(self._waiting)
        if there >= _BATCH:
            self._begin()  # first: the disk need not wait while the answers are written
        elif there or len(batch) > 1:
            self._expected = min(_BATCH, there + len(batch))
            self._begins = self._clock.callLater(COMPANY, self._begin)
        for file, report in batch:
            outcome = result if isinstance(result, Failure) else file.outcome
            assert outcome is not None, "store_together gives every file one"
            report(outcome)

    def _forget_company(self) -> None:
        self._expected = 0
        begins, self._begins = self._begins, None
        if begins is not None and begins.active():
            begins.cancel()


def _fire(done: Deferred[FileStatus], outcome: FileStatus | Failure) -> None:
    if isinstance(outcome, Failure):
        done.errback(outcome)
    else:
        done.callback(outcome)


def store_together(tree: FileTree, group_sync: GroupSync, files: Sequence[SmallFile]) -> None:
    """
    Store files and fill in their outcomes.  Blocks.

    The failure of one is no other's.
    """
    drafts: list[tuple[SmallFile, Draft, Digests]] = []
    directories = _Directories(tree)
    try:
        for file in files:
            with _outcome(file):
                digests = checked_digests(file.hasher, file.pieces, file.expected)
                draft = Draft.create(tree)
                drafts.append((file, draft, digests))
                draft.write(file.pieces)
                with translating("Can't write posix file"):
                    complete(tree, draft.descriptor, file.mtime_ns, digests, file.file_id)
        complete_drafts = [each for each in drafts if each[0].outcome is None]
        failures = tree.sync_all([draft.descriptor for _, draft, _ in complete_drafts], group_sync)
        for (file, draft, digests), failure in zip(complete_drafts, failures, strict=True):
            with _outcome(file):
                with translating("Can't write posix file"):
                    if failure is not None:
                        raise failure
                file.outcome = draft.publish(file.file_id, digests, file.conditions, directories.add)
        directories.sync(files)
        for file, draft, _ in drafts:
            if isinstance(file.outcome, FileStatus):
                draft.settle()
    finally:
        directories.close()
        for _, draft, _ in drafts:
            draft.discard()


def checked_digests(hasher: Hasher, pieces: Sequence[bytes], expected: Digests) -> Digests:
    """
    Add the last bytes to a hash, and compare.

    @raise errors.DigestMismatch: The client gave others.
    """
    for piece in pieces:
        hasher.update(piece)
    return hasher.verified(expected)


class _outcome:  # noqa: N801  (as L{translating})
    """
    Keeps the failure of a file for its own caller.
    """

    __slots__ = ("_file",)

    def __init__(self, file: SmallFile) -> None:
        self._file = file

    def __enter__(self) -> None:
        """It has not failed yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._file.outcome = Failure(error, kind, traceback)
        return True


class _Directories:
    """The directories in which a batch has published files, to be synced once each before any file is acknowledged."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._root = False
        self._descriptors: dict[tuple[int, int], int] = {}

    def add(self, directory: int) -> None:
        """A file was published there."""
        if directory == self._tree.root:
            self._root = True
            return
        state = os.fstat(directory)
        key = state.st_dev, state.st_ino
        if key not in self._descriptors:
            self._descriptors[key] = os.dup(directory)

    def sync(self, files: Sequence[SmallFile]) -> None:
        """Sync them; where that fails, no file of the batch counts as stored."""
        try:
            with translating("Can't write posix file"):
                if self._root:
                    self._tree.sync(self._tree.root)
                for descriptor in self._descriptors.values():
                    self._tree.sync(descriptor)
        except errors.ArchiveError:
            failure = Failure()
            for file in files:
                if not isinstance(file.outcome, Failure):
                    file.outcome = failure

    def close(self) -> None:
        """Release the descriptors."""
        for descriptor in self._descriptors.values():
            release(descriptor)
