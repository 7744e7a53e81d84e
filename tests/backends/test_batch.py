"""Small files that are stored together: each has its own outcome, and none is acknowledged before it is durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from backends.posix import archive
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor
from pacarchive.backends.local import groupsync
from pacarchive.backends.local.batch import COMPANY, SmallFile, SmallFileQueue
from pacarchive.backends.local.groupsync import GroupSync
from pacarchive.backends.local.tree import FileTree
from pacarchive.digests import Hasher
from pacarchive.interfaces import IArchiveBackend
from pacarchive.model import FileStatus
from pacarchive.runtime.threads import BlockingPool

MANY = 100


async def _put(backend: IArchiveBackend, file_id: int, data: bytes, expected: bytes | None = None) -> FileStatus:
    incoming = await backend.receive(file_id, len(data), ALLOW, ())
    await incoming.write([data])
    return await incoming.commit(None, {} if expected is None else {"sha256": expected})


async def _put_together(*puts: Deferred[FileStatus]) -> list[FileStatus | BaseException]:
    results = await DeferredList(puts, consumeErrors=True)
    return [result if success else result.value for success, result in results]  # type: ignore[attr-defined]


class _Watched:
    """Stands before C{GroupSync.sync}, and counts, or fails, what it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.fails: Callable[[int], bool] = lambda index: False
        sync = GroupSync.sync

        def watched(group: GroupSync, descriptors: Sequence[int], one: Callable[[int], None]) -> list[OSError | None]:
            seen = sum(self.sizes)
            self.sizes.append(len(descriptors))
            outcomes = sync(group, descriptors, one)
            return [
                OSError(errno.EIO, "injected") if self.fails(seen + index) else outcome
                for index, outcome in enumerate(outcomes)
            ]

        monkeypatch.setattr(GroupSync, "sync", watched)


@in_reactor
async def test_what_waits_is_stored_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that come while others are being stored make a batch, and each is whole."""
    watched = _Watched(monkeypatch)
    async with archive(tmp_path) as backend:
        puts = [ensureDeferred(_put(backend, number, b"%d" % number * 100)) for number in range(MANY)]
        outcomes = await _put_together(*puts)
        assert [outcome.size for outcome in outcomes if isinstance(outcome, FileStatus)] == [
            100 * len(str(number)) for number in range(MANY)
        ]
        assert sum(watched.sizes) == MANY
        assert len(watched.sizes) < MANY / 4
        for number in range(MANY):
            assert await content(backend, number) == b"%d" % number * 100
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_the_failure_of_one_is_no_others(tmp_path: Path) -> None:
    """A wrong digest in the midst of a batch."""
    async with archive(tmp_path) as backend:
        puts = [
            ensureDeferred(_put(backend, number, b"words", bytes(32) if number % 7 == 3 else None))
            for number in range(MANY)
        ]
        outcomes = await _put_together(*puts)
        for number, outcome in enumerate(outcomes):
            if number % 7 == 3:
                assert isinstance(outcome, errors.DigestMismatch)
                with pytest.raises(errors.NotFound):
                    await backend.status(number)
            else:
                assert isinstance(outcome, FileStatus)
                assert await content(backend, number) == b"words"


@in_reactor
async def test_a_file_that_is_not_synced_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error for some files of a group: these are refused and invisible, the others stored."""
    watched = _Watched(monkeypatch)
    watched.fails = lambda index: index % 5 == 2
    async with archive(tmp_path) as backend:
        puts = [ensureDeferred(_put(backend, number, b"words")) for number in range(MANY)]
        outcomes = await _put_together(*puts)
        failed = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, FileStatus)]
        assert failed == list(range(2, MANY, 5))
        assert all(isinstance(outcomes[number], errors.BackendUnavailable) for number in failed)
        assert sorted(int(name) for name in os.listdir(tmp_path / "archive") if name.isdigit()) == [
            number for number in range(MANY) if number not in failed
        ]


@in_reactor
async def test_no_file_is_acknowledged_when_its_directory_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is synced once for the batch, and its failure is that of all."""
    async with archive(tmp_path) as backend:
        fsync, refuse = os.fsync, False

        def failing(descriptor: int) -> None:
            if refuse and os.path.isdir(f"/proc/self/fd/{descriptor}"):
                raise OSError(errno.EIO, "injected")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        refuse = True
        outcomes = await _put_together(*[ensureDeferred(_put(backend, number, b"x")) for number in range(20)])
        assert [type(outcome) for outcome in outcomes] == [errors.BackendUnavailable] * 20
        refuse = False
        assert isinstance(await _put(backend, 1, b"y"), FileStatus)


def _refuse_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupsync, "_system_call", lambda *arguments: -1)


def _unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupsync, "_NUMBERS", None)


@pytest.mark.parametrize("trouble", [None, _refuse_everything, _unknown_machine])
def test_group_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[pytest.MonkeyPatch], None] | None
) -> None:
    """Each file has its own outcome, with and without the kernel's help, and whatever the size of the group."""
    if trouble is not None:
        trouble(monkeypatch)
    one_by_one: list[int] = []

    def one(descriptor: int) -> None:
        one_by_one.append(descriptor)
        os.fsync(descriptor)

    group = GroupSync()
    files = [os.open(tmp_path / str(number), os.O_CREAT | os.O_RDWR) for number in range(150)]
    pipe = os.pipe()  # cannot be synced
    try:
        for descriptor in files:
            os.write(descriptor, b"words")
        assert group.sync(files, one) == [None] * 150
        assert one_by_one == ([] if trouble is None else files)
        for position in (0, 1, 99, 150):
            outcomes = group.sync([*files[:position], pipe[1], *files[position:]], one)
            refused = outcomes.pop(position)
            assert refused is not None
            assert refused.errno == errno.EINVAL
            assert outcomes == [None] * 150
        assert group.sync([], one) == []
    finally:
        group.close()
        for descriptor in (*files, *pipe):
            os.close(descriptor)


class _Disk:
    """Stands for the pool of threads: what it is given is stored when L{finish} says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self._under_way: tuple[Sequence[SmallFile], Deferred[None]] | None = None

    def call(self, store: object, tree: object, group_sync: object, files: Sequence[SmallFile]) -> Deferred[None]:
        assert self._under_way is None, "one batch at a time"
        self.batches.append([file.file_id for file in files])
        self._under_way = files, Deferred()
        return self._under_way[1]

    def finish(self) -> None:
        """The batch is stored; or rather, each file of it has failed, which is as good an outcome."""
        assert self._under_way is not None
        files, done = self._under_way
        self._under_way = None
        for file in files:
            file.outcome = Failure(ValueError(str(file.file_id)))
        done.callback(None)


class _Clients:
    """Each sends one file after the other, as soon as it has its answer."""

    def __init__(self) -> None:
        self.clock, self.disk = Clock(), _Disk()
        self.queue = SmallFileQueue(cast(FileTree, None), cast(BlockingPool, self.disk), self.clock)
        self.answered: list[int] = []

    def send(self, *file_ids: int) -> None:
        """A file comes of each of these clients."""
        for file_id in file_ids:
            file = SmallFile(file_id, (b"",), Hasher([]), None, {}, ALLOW)
            self.queue.add(file, partial(self._answered, file_id))

    def _answered(self, file_id: int, outcome: FileStatus | Failure) -> None:
        assert isinstance(outcome, Failure)
        assert str(outcome.value) == str(file_id)
        self.answered.append(file_id)


def test_one_alone_waits_for_nobody() -> None:
    """Each file of a client is stored at once, and nothing is left to be done at a time."""
    clients = _Clients()
    for _ in range(3):
        clients.send(1)
        clients.disk.finish()
        assert not clients.clock.getDelayedCalls()
    assert clients.disk.batches == [[1]] * 3
    assert clients.answered == [1] * 3


def test_clients_come_together() -> None:
    """Those that were answered send again: the next batch has them all, and begins as soon as they have come."""
    clients = _Clients()
    clients.send(1, 2, 3, 4)
    clients.disk.finish()
    assert clients.disk.batches == [[1]]
    clients.send(1)
    for _ in range(3):
        clients.disk.finish()
        clients.send(4, 3, 2, 1)
    assert clients.disk.batches == [[1], [2, 3, 4, 1], *[[4, 3, 2, 1]] * 3]


def test_whoever_does_not_come_is_waited_for_shortly() -> None:
    """The others are stored then, and it is not expected the next time."""
    clients = _Clients()
    clients.send(1, 2, 3)
    clients.disk.finish()
    clients.clock.advance(COMPANY / 2)
    assert clients.disk.batches == [[1]]
    clients.clock.advance(COMPANY / 2)
    assert clients.disk.batches == [[1], [2, 3]]
    clients.disk.finish()
    clients.send(3, 2)
    assert clients.disk.batches[2:] == [[3, 2]]
    clients.disk.finish()
    clients.clock.advance(COMPANY)  # nobody at all
    clients.send(5)
    assert clients.disk.batches[3:] == [[5]]


def test_a_whole_batch_waits_for_nobody() -> None:
    """It begins before the answers to the last one are written."""
    clients = _Clients()
    clients.send(*range(100))
    clients.disk.finish()
    assert clients.disk.batches == [[0], list(range(1, 33))]
    assert not clients.clock.getDelayedCalls()
    for _ in range(3):
        clients.disk.finish()
    clients.clock.advance(COMPANY)
    clients.disk.finish()
    assert sorted(clients.answered) == list(range(100))


def test_nothing_is_left_at_the_end() -> None:
    """Also where somebody was expected."""
    clients = _Clients()
    clients.send(1, 2)
    clients.disk.finish()
    clients.clock.advance(COMPANY)
    clients.disk.finish()
    clients.send(1, 2)
    clients.disk.finish()
    assert clients.clock.getDelayedCalls()
    clients.queue.close()
    assert not clients.clock.getDelayedCalls()
