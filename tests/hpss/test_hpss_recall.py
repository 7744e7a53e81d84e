"""Recalls from tape: what is asked of HPSS, how often, and what is made of its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hpss_simulator import Archive
from simulated import PREFIX, serving, simulated
from surroundings import settled
from threaded import log, until
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, pattern, running, store
from pacarchive.backends.hpss.archive import HpssArchive
from pacarchive.ids import id_to_path
from pacarchive.interfaces import IArchiveBackend, IIncomingFile, IRecaller, IStoredFile
from pacarchive.model import Locality, RecallProgress, RecallState, TapeLocation

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

GIB = 1 << 30
REQUEST = UUID("00000000-0000-4000-8000-000000000001")
MOUNT, WHOLE = 1.0, 3600.0
"""Simulated seconds after which a drive is busy with the mount, and all is done."""

UNKNOWN, QUEUED, ACTIVE, RESIDENT, FAILED = (
    RecallProgress(state)
    for state in (
        *(RecallState.UNKNOWN, RecallState.QUEUED, RecallState.ACTIVE),
        *(RecallState.RESIDENT, RecallState.FAILED),
    )
)


def place(file_id: int) -> str:
    """Where an id's file is."""
    return PREFIX + id_to_path(file_id)


@asynccontextmanager
async def running_archive(directory: Path, **own: Any) -> AsyncIterator[tuple[Archive, HpssArchive]]:
    """A backend whose HPSS has a clock that stands still."""
    with simulated(directory) as archive:
        archive.clock.freeze()
        async with serving(archive, **own) as backend:
            yield archive, backend
            await settled(archive)


def put_on_tape(archive: Archive, count: int = 1, size: int = 1000) -> range:
    """Have the ids from 1 on be on tape only."""
    archive.populate(count, size, PREFIX, name=lambda number: id_to_path(number)[1:])
    return range(1, count + 1)


async def states(backend: HpssArchive, file_ids: Sequence[int], request: UUID = REQUEST) -> list[RecallState]:
    """How recalls stand."""
    progress = await backend.poll(request, file_ids)
    assert list(progress) == list(file_ids)
    return [progress[file_id].state for file_id in file_ids]


# Where it is


@in_reactor
async def test_locations(tmp_path: Path) -> None:
    """In their order, as recalls can be sorted by them, files follow each other on each cartridge."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.set("cartridge_capacity", 10_000)
        ids = put_on_tape(archive, 50)
        located = await backend.locate([*ids, 1000])
        assert located.pop(1000) is None
        assert len({location.medium for location in located.values() if location}) == 5
        for file_id, location in located.items():
            (segment,) = archive.entry(place(file_id)).segments
            assert location == TapeLocation(medium=segment.cartridge, position=segment.position, size=1000)
        offsets = {file_id: archive.entry(place(file_id)).segments[0].offset for file_id in ids}

        def by_location(file_id: int) -> tuple[str, int]:
            location = located[file_id]
            assert location is not None
            return location.medium, location.position

        ordered = sorted(ids, key=by_location)
        assert ordered == sorted(ids, key=lambda file_id: (by_location(file_id)[0], offsets[file_id]))


@in_reactor
async def test_nothing_to_locate(tmp_path: Path) -> None:
    """What is on disk needs no tape, nor what no class of service brings to disk."""
    async with running_archive(tmp_path) as (archive, backend):
        await store(backend, 1, b"on disk")
        await store(backend, 2, b"on both")
        archive.migrate(place(2))
        await store(backend, 3, b"")
        archive.write(place(4), b"on tape alone", cos=4)
        assert await backend.locate([1, 2, 3, 4, 5]) == dict.fromkeys((1, 2, 3, 4, 5))


@in_reactor
async def test_the_first_copy_is_located(tmp_path: Path) -> None:
    """That is the one HPSS stages."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.populate(1, 1000, PREFIX, cos=3, name=lambda number: id_to_path(number)[1:])
        first, second = archive.entry(place(1)).segments
        assert first.cartridge != second.cartridge
        (location,) = (await backend.locate([1])).values()
        assert location is not None
        assert location.medium == first.cartridge
        await backend.recall(REQUEST, [1])
        archive.clock.advance(WHOLE)
        assert [request.cartridge for request in archive.requests()] == [first.cartridge]


# The life of a recall


@in_reactor
async def test_the_life_of_a_recall(tmp_path: Path) -> None:
    """It is told by HPSS until the bytes are there; however often it is repeated, it is one request."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive)
        assert await backend.poll(REQUEST, [1]) == {1: UNKNOWN}
        assert archive.requests() == [], "a question is no recall"
        for after, expected in ((0.0, QUEUED), (MOUNT, ACTIVE), (10.0, ACTIVE), (WHOLE, RESIDENT), (WHOLE, RESIDENT)):
            archive.clock.advance(after)
            assert await backend.recall(REQUEST, [1]) == {1: expected}
            assert await backend.poll(REQUEST, [1]) == {1: expected}
            assert await backend.recall(REQUEST, [1, 1]) == {1: expected}
            if expected is not RESIDENT:
                with pytest.raises(errors.Offline):
                    await backend.open(1)
        assert [request.path for request in archive.requests()] == [place(1)]
        assert archive.sums().duplicates == 0
        assert await content(backend, 1) == bytes(1000)
        assert (await backend.status(1)).locality is Locality.DISK_AND_TAPE


@pytest.mark.parametrize("restarted", [True, False])
@in_reactor
async def test_another_process_asks_the_same(tmp_path: Path, restarted: bool) -> None:
    """It finds the request of the first, which it can name by itself; another wish for the file is another request."""
    with simulated(tmp_path) as archive:
        archive.clock.freeze()
        put_on_tape(archive, 2)
        async with serving(archive) as first:
            assert await first.recall(REQUEST, [1]) == {1: QUEUED}
            if not restarted:
                async with serving(archive) as second:
                    await same_request_is_found(archive, second)
        if restarted:
            async with serving(archive) as second:
                await same_request_is_found(archive, second)


async def same_request_is_found(archive: Archive, backend: HpssArchive) -> None:
    """By a backend that has not made it."""
    assert await backend.poll(REQUEST, [1]) == {1: QUEUED}
    assert await backend.recall(REQUEST, [1]) == {1: QUEUED}
    assert len(archive.requests()) == 1
    assert await backend.poll(uuid4(), [1]) == {1: UNKNOWN}
    archive.clock.advance(WHOLE)
    assert await backend.recall(REQUEST, [1]) == {1: RESIDENT}
    assert len(archive.requests()) == 1


@in_reactor
async def test_many_ask_at_once(tmp_path: Path) -> None:
    """For one file, and of more than one process: that is one request, and nobody waits for another's."""
    async with running_archive(tmp_path) as (archive, backend), serving(archive) as another:
        put_on_tape(archive)
        archive.fault("hpss_StageCallBack", action="hang")
        asking = [running(each.recall(REQUEST, [1])) for each in (backend, another) for _ in range(10)]
        await until(lambda: sum(each.called for each in asking) == 19)
        archive.clear_faults()
        assert await gatherResults(asking) == [{1: QUEUED}] * 20
        assert len(archive.requests()) == 1
        assert archive.calls("hpss_StageCallBack") == 1


@in_reactor
async def test_files_that_cannot_be_recalled(tmp_path: Path) -> None:
    """There is none; its bytes are at hand; or there is no disk to bring them to, and they are read from tape."""
    async with running_archive(tmp_path) as (archive, backend):
        await store(backend, 1, b"on disk")
        archive.write(place(2), b"on tape alone", cos=4)
        await store(backend, 3, b"")
        archive.mkdir(place(0x105))
        for call in (backend.recall, backend.poll):
            progress = await call(REQUEST, [1, 2, 3, 4, 0x105])
            assert [progress[file_id] for file_id in (1, 2, 3)] == [RESIDENT] * 3
            for file_id in (4, 0x105):
                assert progress[file_id] == RecallProgress(RecallState.FAILED, "No file has this id.")
        assert archive.requests() == []
        assert await content(backend, 2) == b"on tape alone"


@in_reactor
async def test_a_file_that_goes(tmp_path: Path) -> None:
    """While it is being recalled, or is replaced."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive, 2)
        for file_id in (1, 2):
            await backend.recall(REQUEST, [file_id])
        await backend.remove(1, ALLOW)
        await store(backend, 2, b"new words")
        archive.clock.advance(WHOLE)
        assert await states(backend, [1, 2]) == [RecallState.FAILED, RecallState.RESIDENT]
        assert await content(backend, 2) == b"new words"


# What goes wrong


async def asked_again(archive: Archive, backend: HpssArchive) -> None:
    """What HPSS knows nothing of any more is asked for anew, and comes."""
    before = len(archive.requests())
    assert await backend.poll(REQUEST, [1]) == {1: UNKNOWN}
    assert len(archive.requests()) == before
    assert await backend.recall(REQUEST, [1]) == {1: QUEUED}
    assert await backend.recall(REQUEST, [1]) == {1: QUEUED}
    assert len(archive.requests()) == before + 1
    archive.clock.advance(WHOLE)
    assert await backend.poll(REQUEST, [1]) == {1: RESIDENT}


@in_reactor
async def test_a_drive_that_fails(tmp_path: Path) -> None:
    """And the recall with it."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.set("drive_failure", "fail")
        put_on_tape(archive)
        await backend.recall(REQUEST, [1])
        archive.clock.advance(MOUNT)
        (drive,) = [drive.number for drive in archive.drives() if drive.request]
        archive.fail_drive(drive)
        await asked_again(archive, backend)


@in_reactor
async def test_a_drive_that_fails_when_hpss_goes_on(tmp_path: Path) -> None:
    """With another one: it is the same recall."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.set("drive_failure", "requeue")
        put_on_tape(archive)
        await backend.recall(REQUEST, [1])
        archive.clock.advance(MOUNT)
        (drive,) = [drive.number for drive in archive.drives() if drive.request]
        archive.fail_drive(drive)
        assert (await states(backend, [1]))[0] in (RecallState.QUEUED, RecallState.ACTIVE)
        archive.clock.advance(WHOLE)
        assert await backend.recall(REQUEST, [1]) == {1: RESIDENT}
        assert len(archive.requests()) == 1


@in_reactor
async def test_a_cartridge_that_is_lost(tmp_path: Path) -> None:
    """It fails each time, until somebody finds it."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive)
        await backend.recall(REQUEST, [1])
        archive.clock.advance(MOUNT)
        (cartridge,) = archive.cartridges()
        archive.lose_cartridge(cartridge.name)
        for _ in range(2):
            assert await backend.poll(REQUEST, [1]) == {1: UNKNOWN}
            await backend.recall(REQUEST, [1])
            archive.clock.advance(WHOLE)
        assert [request.state for request in archive.requests()] == ["failed"] * 3
        archive.restore_cartridge(cartridge.name)
        await asked_again(archive, backend)


@in_reactor
async def test_a_cartridge_that_is_lost_when_there_is_another_copy(tmp_path: Path) -> None:
    """HPSS takes that."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.populate(1, 1000, PREFIX, cos=3, name=lambda number: id_to_path(number)[1:])
        await backend.recall(REQUEST, [1])
        archive.clock.advance(MOUNT)
        archive.lose_cartridge(archive.entry(place(1)).segments[0].cartridge)
        archive.clock.advance(WHOLE)
        assert await backend.poll(REQUEST, [1]) == {1: RESIDENT}


@in_reactor
async def test_requests_that_are_forgotten(tmp_path: Path) -> None:
    """By a core server that was started anew."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive)
        await backend.recall(REQUEST, [1])
        archive.clock.advance(MOUNT)
        archive.forget_requests()
        await asked_again(archive, backend)


@in_reactor
async def test_requests_that_vanish(tmp_path: Path) -> None:
    """They are accepted, and nobody hears of them again."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive)
        archive.set("lose_requests", 1)
        assert await backend.recall(REQUEST, [1]) == {1: QUEUED}
        archive.set("lose_requests", 0)
        await asked_again(archive, backend)


@in_reactor
async def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    """HPSS gives up when it comes to the file."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive)
        archive.set("disk_capacity", 999)
        assert await backend.recall(REQUEST, [1]) == {1: QUEUED}
        archive.clock.advance(WHOLE)
        assert [request.code for request in archive.requests()] == [-28]
        archive.set("disk_capacity", 1000)
        await asked_again(archive, backend)


FULL = RecallProgress(RecallState.UNKNOWN, "The disk that files are recalled to is full.")


@pytest.mark.parametrize("count", [1, 3])
@in_reactor
async def test_a_disk_that_is_full(tmp_path: Path, count: int) -> None:
    """When HPSS says so at once, its words are handed on; asking again may help."""
    async with running_archive(tmp_path) as (archive, backend):
        ids = put_on_tape(archive, count)
        for function in ("hpss_StageCallBack", "hpss_StageBatchCallBack"):
            archive.fault(function, count=0, value=-28)
        assert await backend.recall(REQUEST, ids) == dict.fromkeys(ids, FULL)
        archive.clear_faults()
        assert await backend.recall(REQUEST, ids) == dict.fromkeys(ids, QUEUED)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "function",
    ["hpss_FileGetXAttributes", "hpss_GetAsync*Status", "hpss_StageCallBack", "hpss_StageBatchCallBack"],
)
@in_reactor
async def test_a_server_that_fails(tmp_path: Path, function: str, count: int) -> None:
    """That is no failure of the recall; and nothing is asked for twice afterwards."""
    async with running_archive(tmp_path) as (archive, backend):
        ids = put_on_tape(archive, count)
        names = [function.replace("*", ""), function.replace("*", "h")]
        faults = [archive.fault(name) for name in names]
        reason = ""
        try:
            await backend.recall(REQUEST, ids)
        except errors.BackendUnavailable as error:
            reason = error.reason
        assert ("HPSS_EIO" in reason) == any(map(archive.fault_hits, faults))
        archive.clear_faults()
        assert await backend.recall(REQUEST, ids) == dict.fromkeys(ids, QUEUED)
        assert len(archive.requests()) == count


# Batches


@in_reactor
async def test_a_batch_is_put_in_order_by_hpss(tmp_path: Path) -> None:
    """Where it can: in one request, read in one pass of each tape.  Elsewhere each file is a request."""
    async with running_archive(tmp_path) as (archive, backend):
        archive.set("cartridge_capacity", 20 * GIB)
        ids = put_on_tape(archive, 60, GIB)
        shuffled = sorted(ids, key=lambda file_id: pattern(8, file_id))
        answer = await backend.recall(REQUEST, shuffled)
        assert answer == dict.fromkeys(shuffled, QUEUED)
        assert list(answer) == shuffled
        requests = archive.requests()
        assert sorted(request.path for request in requests) == sorted(map(place, ids))
        archive.clock.advance(70)
        assert {RecallState.QUEUED, RecallState.ACTIVE} & set(await states(backend, shuffled))
        if backend.batch_limit == 1:
            assert {request.batch for request in requests} == {0}
        else:
            assert backend.batch_limit == 100
            assert archive.calls("hpss_StageBatchCallBack") == 1
            assert len({request.batch for request in requests} - {0}) == 1
            assert archive.calls("hpss_StageCallBack") == 0
        assert await backend.recall(REQUEST, shuffled) == await backend.poll(REQUEST, shuffled)
        archive.clock.advance(100 * WHOLE)
        assert await backend.poll(REQUEST, shuffled) == dict.fromkeys(shuffled, RESIDENT)
        assert len(archive.requests()) == 60
        if backend.batch_limit > 1:
            assert archive.mounts() == 3
            assert archive.sums().locates == 0


@in_reactor
async def test_more_than_fit_in_a_batch(tmp_path: Path) -> None:
    """They are several: HPSS has been seen to refuse large ones."""
    async with running_archive(tmp_path) as (archive, backend):
        ids = put_on_tape(archive, 201)
        assert await backend.recall(REQUEST, ids) == dict.fromkeys(ids, QUEUED)
        requests = archive.requests()
        assert [request.path for request in requests] == [place(file_id) for file_id in ids]
        sizes = Counter(request.batch for request in requests)
        assert list(sizes.values()) == ([201] if backend.batch_limit == 1 else [100, 100, 1])


@in_reactor
async def test_a_batch_of_all_kinds(tmp_path: Path) -> None:
    """Only what is on tape and was not asked for is asked for."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive, 5)
        await store(backend, 4, b"on disk")
        await backend.recall(REQUEST, [1])
        progress = await backend.recall(REQUEST, [1, 2, 2, 3, 4, 6])
        assert progress == {
            **dict.fromkeys((1, 2, 3), QUEUED),
            4: RESIDENT,
            6: RecallProgress(RecallState.FAILED, "No file has this id."),
        }
        assert [request.path for request in archive.requests()] == [place(1), place(2), place(3)]
        archive.clock.advance(WHOLE)
        assert await states(backend, [1, 2, 3, 4]) == [RecallState.RESIDENT] * 4
        assert await states(backend, [5]) == [RecallState.UNKNOWN]


@in_reactor
async def test_a_batch_that_is_forgotten(tmp_path: Path) -> None:
    """It is asked for anew, as far as it has not come."""
    async with running_archive(tmp_path) as (archive, backend):
        ids = put_on_tape(archive, 4, GIB)
        await backend.recall(REQUEST, ids)
        archive.clock.advance(66)
        progress = await backend.poll(REQUEST, ids)
        came = [file_id for file_id in ids if progress[file_id] == RESIDENT]
        assert 0 < len(came) < 4
        archive.forget_requests()
        missing = [file_id for file_id in ids if file_id not in came]
        assert await states(backend, missing) == [RecallState.UNKNOWN] * len(missing)
        again = await backend.recall(REQUEST, ids)
        assert again == {file_id: RESIDENT if file_id in came else QUEUED for file_id in ids}
        assert len(archive.requests()) == 4 + len(missing)
        archive.clock.advance(WHOLE)
        assert await states(backend, ids) == [RecallState.RESIDENT] * 4


@in_reactor
async def test_a_batch_with_a_file_that_goes(tmp_path: Path) -> None:
    """Between the look at it and the request: the others are recalled all the same."""
    async with running_archive(tmp_path) as (archive, backend):
        ids = put_on_tape(archive, 3)
        archive.fault("hpss_StageBatchCallBack", value=-2)
        archive.fault("hpss_StageCallBack", path=place(2), value=-2)
        progress = await backend.recall(REQUEST, ids)
        assert progress == {1: QUEUED, 2: RecallProgress(RecallState.FAILED, "No file has this id."), 3: QUEUED}
        assert [request.path for request in archive.requests()] == [place(1), place(3)]


# The rest of the interfaces


@in_reactor
async def test_what_hpss_has_no_call_for(tmp_path: Path) -> None:
    """What it was asked to stage, it stages; and it purges as it likes."""
    async with running_archive(tmp_path) as (archive, backend):
        put_on_tape(archive)
        await backend.recall(REQUEST, [1])
        before = archive.all_calls()
        assert await backend.cancel(REQUEST, [1]) == frozenset()
        await backend.release(1)
        assert archive.all_calls() == before
        assert await backend.poll(REQUEST, [1]) == {1: QUEUED}
        archive.clock.advance(WHOLE)
        assert await backend.poll(REQUEST, [1]) == {1: RESIDENT}
        await backend.release(1)
        assert await content(backend, 1) == bytes(1000)


@in_reactor
async def test_the_interfaces(tmp_path: Path) -> None:
    """All that they ask for is there, with the same parameters."""
    async with running_archive(tmp_path) as (archive, backend):
        verifyObject(IArchiveBackend, backend)
        verifyObject(IRecaller, backend)
        for size in (5, 1 << 20):
            incoming = await backend.receive(1, size, ALLOW, ())
            verifyObject(IIncomingFile, incoming)
            await incoming.write([pattern(size)])
            await incoming.commit(None, {})
            stored = await backend.open(1)
            verifyObject(IStoredFile, stored)
            stored.close()
            await settled(archive)
