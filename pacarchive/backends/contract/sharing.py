"""The contract of a backend: what happens when several do something at once, or leave in the middle, or come back."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.defer import DeferredList, gatherResults

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    Capabilities,
    Factory,
    begin,
    cancelled,
    content,
    cut,
    in_reactor,
    load,
    matching,
    open_descriptors,
    pattern,
    running,
    store,
)
from pacarchive.digests import PRIMARY

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.python.failure import Failure

    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.model import WriteConditions

MIB = 1 << 20
LENGTHS = [5, 300_000, 70_000, MIB, 0, 262_144]
"""Of the versions in a race: different, so that a mix would have the wrong size for its digest."""

VERSIONS = {pattern(size, seed): seed for seed, size in enumerate(LENGTHS)}


async def read_whole_versions(backend: IArchiveBackend, file_id: int, times: int) -> int:
    """
    Read a file that others write, and see that it is one of L{VERSIONS} in every respect.

    @return: How often there was one.
    """
    found = 0
    for _ in range(times):
        try:
            status, data = await load(backend, file_id)
        except errors.NotFound:
            continue
        assert data in VERSIONS, "neither this nor that version"
        assert status.size == len(data)
        assert status.digests[PRIMARY] == hashlib.sha256(data).digest()
        found += 1
    return found


class RacingTests:
    """Several requests for one id, and for many."""

    @pytest.mark.parametrize(
        ("conditions", "error"), [(DENY, errors.AlreadyExists), (ABSENT, errors.PreconditionFailed)]
    )
    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_exactly_one_wins(
        self, backend: IArchiveBackend, conditions: WriteConditions, error: type[Exception], size: int
    ) -> None:
        """Of all who want an id for themselves; and what is stored is the winner's."""
        for file_id in range(5):
            drafts = [await begin(backend, file_id, pattern(size, seed), conditions) for seed in range(8)]
            outcomes = await DeferredList([running(draft.commit(None, {})) for draft in drafts], consumeErrors=True)
            winners = [seed for seed, (success, _) in enumerate(outcomes) if success]
            assert len(winners) == 1
            assert all(success or cast("Failure", result).check(error) for success, result in outcomes)
            assert await content(backend, file_id) == pattern(size, winners[0])
            for draft in drafts:
                await draft.abort()

    @in_reactor
    async def test_retries_of_one_upload_all_succeed(self, backend: IArchiveBackend) -> None:
        """Where identical bytes are accepted."""
        await gatherResults([running(store(backend, 1, pattern(MIB), IDENTICAL)) for _ in range(8)], consumeErrors=True)
        assert await content(backend, 1) == pattern(MIB)

    @in_reactor
    async def test_one_version_is_replaced_once(self, backend: IArchiveBackend) -> None:
        """Of all who name it with C{If-Match}, one succeeds."""
        for _ in range(5):
            old = await store(backend, 1, b"old")
            outcomes = await DeferredList(
                [running(store(backend, 1, pattern(10, seed), matching(old.etag))) for seed in range(8)],
                consumeErrors=True,
            )
            winners = [seed for seed, (success, _) in enumerate(outcomes) if success]
            assert len(winners) == 1
            assert await content(backend, 1) == pattern(10, winners[0])

    @in_reactor
    async def test_writers_and_readers_of_one_id(self, backend: IArchiveBackend) -> None:
        """A reader sees one whole version with its own status, always."""
        await store(backend, 1, next(iter(VERSIONS)))

        async def write(first: int) -> None:
            versions = list(VERSIONS)
            for turn in range(12):
                await store(backend, 1, versions[(first + turn) % len(versions)])

        writers = [running(write(first)) for first in range(4)]
        readers = [running(read_whole_versions(backend, 1, 40)) for _ in range(4)]
        await gatherResults(writers, consumeErrors=True)
        assert await gatherResults(readers, consumeErrors=True) == [40] * 4

    @in_reactor
    async def test_writers_removers_and_readers_of_one_id(self, backend: IArchiveBackend) -> None:
        """There is a whole version, or there is none; nobody meets with an error."""

        async def write() -> None:
            for data in list(VERSIONS) * 2:
                await store(backend, 1, data)

        async def remove() -> None:
            for _ in range(20):
                with suppress(errors.NotFound):
                    await backend.remove(1, ALLOW)

        work = [running(work) for work in (write(), remove(), write(), remove())]
        readers = [running(read_whole_versions(backend, 1, 40)) for _ in range(3)]
        await gatherResults(work, consumeErrors=True)
        await gatherResults(readers, consumeErrors=True)

    @in_reactor
    async def test_a_write_once_id_is_never_written_twice(self, backend: IArchiveBackend) -> None:
        """Between two removals at most one writer succeeds."""
        written = removed = 0

        async def write(seed: int) -> None:
            nonlocal written
            for turn in range(25):
                with suppress(errors.AlreadyExists):
                    await store(backend, 1, pattern(10, seed * 100 + turn), DENY)
                    written += 1

        async def remove() -> None:
            nonlocal removed
            for _ in range(50):
                with suppress(errors.NotFound):
                    await backend.remove(1, ALLOW)
                    removed += 1

        await gatherResults([running(write(1)), running(remove()), running(write(2)), running(write(3))])
        left = await content(backend, 1) is not None
        assert written == removed + left
        assert written > 0

    @in_reactor
    async def test_slow_uploads_keep_apart(self, backend: IArchiveBackend) -> None:
        """Many files that come in turn by turn end up with their own bytes."""
        bodies = {file_id: pattern(400_000, file_id) for file_id in range(12)}
        drafts = {file_id: await backend.receive(file_id, None, ALLOW, ()) for file_id in bodies}
        for turn in zip(*(list(cut(body, 40_000)) for body in bodies.values()), strict=True):
            for draft, piece in zip(drafts.values(), turn, strict=True):
                await draft.write([piece])
        await gatherResults([running(draft.commit(None, {})) for draft in drafts.values()])
        for file_id, body in bodies.items():
            assert await content(backend, file_id) == body


class CancellingTests:
    """Callers that leave while they wait: their client hung up."""

    @pytest.fixture(params=[1, 2, 3], ids=["once", "twice", "thrice"])
    def times(self, request: pytest.FixtureRequest) -> int:
        """How often a caller is cancelled."""
        return int(request.param)

    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_while_it_begins(self, backend: IArchiveBackend, times: int, size: int) -> None:
        """A file that was never begun, or that is aborted, leaves nothing."""
        before = open_descriptors()
        for _ in range(10):
            incoming = await cancelled(times, backend.receive, 1, size, DENY, ())
            if incoming is not None:
                await incoming.abort()
            assert open_descriptors() == before
        await store(backend, 1, b"words", DENY)

    @pytest.mark.parametrize("size", [10, MIB, 4 * MIB])
    @in_reactor
    async def test_while_it_writes(self, backend: IArchiveBackend, times: int, size: int) -> None:
        """The bytes are forgotten with C{abort}, which may itself be left."""
        before = open_descriptors()
        for _ in range(5):
            incoming = await backend.receive(1, size, DENY, ())
            await incoming.write([pattern(size // 2)])
            await cancelled(times, incoming.write, [pattern(size // 2)])
            await cancelled(times, incoming.abort)
            await incoming.abort()
            assert open_descriptors() == before
            assert await content(backend, 1) is None
        await store(backend, 1, b"words", DENY)

    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_while_it_commits(self, backend: IArchiveBackend, times: int, size: int) -> None:
        """There is the whole file, or none; and nothing goes on after the caller was told."""
        before = open_descriptors()
        for file_id in range(8):
            incoming = await begin(backend, file_id, pattern(size), DENY)
            done = await cancelled(times, incoming.commit, 1000, {})
            assert open_descriptors() == before
            found = await content(backend, file_id)
            assert found in ({pattern(size)} if done else {pattern(size), None})
            await incoming.abort()
            assert await content(backend, file_id) == found

    @in_reactor
    async def test_while_it_reads(self, backend: IArchiveBackend, times: int) -> None:
        """An opened file that nobody takes is closed, and a read ends before its caller goes on."""
        await store(backend, 1, pattern(MIB))
        before = open_descriptors()
        for _ in range(10):
            await cancelled(times, backend.status, 1)
            assert open_descriptors() == before
            stored = await cancelled(times, backend.open, 1)
            if stored is not None:
                stored.close()
            assert open_descriptors() == before
            stored = await backend.open(1)
            await cancelled(times, stored.read, 0, MIB)
            stored.close()
            assert open_descriptors() == before
        assert await content(backend, 1) == pattern(MIB)

    @in_reactor
    async def test_while_it_removes(self, backend: IArchiveBackend, times: int) -> None:
        """The file is there, or it is gone."""
        for file_id in range(8):
            await store(backend, file_id, b"words")
            await cancelled(times, backend.remove, file_id, ALLOW)
            found = await content(backend, file_id)
            assert found in (b"words", None)
            if found is not None:
                await backend.remove(file_id, ALLOW)


class SurvivingTests:
    """Files that outlive the backend object, and archives that several processes share."""

    @in_reactor
    async def test_files_are_there_after_a_restart(self, durable: Factory, tmp_path: Path) -> None:
        """As they were: the new ones, the replaced and the removed."""
        async with durable(tmp_path) as backend:
            for file_id in range(3):
                await store(backend, file_id, pattern(MIB, file_id), mtime=1000)
            await store(backend, 1, b"replaced")
            await backend.remove(2, ALLOW)
            unfinished = await begin(backend, 3, pattern(MIB))
            before = [await load(backend, file_id) for file_id in (0, 1)]
            await unfinished.abort()
        async with durable(tmp_path) as backend:
            assert [await load(backend, file_id) for file_id in (0, 1)] == before
            assert await content(backend, 2) is None
            assert await content(backend, 3) is None

    @in_reactor
    async def test_two_processes_see_the_same(self, durable: Factory, tmp_path: Path) -> None:
        """What one has acknowledged, the other has, at once."""
        async with durable(tmp_path) as one, durable(tmp_path) as two:
            for turn in range(5):
                status = await store(one, 1, pattern(1000, turn))
                assert await load(two, 1) == (status, pattern(1000, turn))
                status = await store(two, 1, pattern(2000, turn), matching(status.etag))
                assert await load(one, 1) == (status, pattern(2000, turn))
                await two.remove(1, ALLOW)
                assert await content(one, 1) is None

    @in_reactor
    async def test_one_of_two_processes_wins(self, durable: Factory, tmp_path: Path) -> None:
        """A write-once id is write-once for both together."""
        async with durable(tmp_path) as one, durable(tmp_path) as two:
            for file_id in range(10):
                outcomes = await DeferredList(
                    [
                        running(store(backend, file_id, pattern(10, seed), DENY))
                        for seed, backend in enumerate((one, two, one, two))
                    ],
                    consumeErrors=True,
                )
                (winner,) = [seed for seed, (success, _) in enumerate(outcomes) if success]
                assert await content(one, file_id) == await content(two, file_id) == pattern(10, winner)

    @pytest.fixture
    def durable(self, capabilities: Capabilities, factory: Factory) -> Factory:
        """The factory of a backend whose files stay."""
        if not capabilities.durable:
            pytest.skip("this backend forgets")
        return factory
