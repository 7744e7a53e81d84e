"""Two archives as one: the contract, any sequence of operations, and each answer while the one behind is down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from backends import posix
from pacarchive import errors
from pacarchive.backends.contract import Capabilities, make_backend_tests, started
from pacarchive.backends.contract.handling import content, in_reactor, load, store
from pacarchive.backends.fallback import PATIENCE, Fallback
from pacarchive.backends.memory import MemoryArchive
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import IArchiveBackend, IInventory, IRecaller
from pacarchive.model import (
    FileStatus,
    Health,
    Locality,
    Overwrite,
    RecallProgress,
    RecallState,
    TapeLocation,
    WriteConditions,
)

ANYHOW = WriteConditions()
ONCE = WriteConditions(if_absent=True)
REQUEST = UUID(int=1)


@asynccontextmanager
async def over_directories(directory: Path) -> AsyncIterator[IArchiveBackend]:
    """Two archives in directories, of which the one behind has no files."""
    (directory / "behind").mkdir(exist_ok=True)
    async with posix.archive(directory) as front, posix.archive(directory / "behind") as behind:
        yield Fallback(IReactorTime(reactor), front, behind)


def in_memory(_: Path) -> Any:
    """Two archives in memory."""
    clock = IReactorTime(reactor)
    return started(Fallback(clock, MemoryArchive(clock), MemoryArchive(clock)))


TestOverDirectories = make_backend_tests(over_directories, posix.CAPABILITIES)
TestInMemory = make_backend_tests(in_memory, Capabilities())


def ended(work: Any) -> Any:
    """The result of work that waits for nothing, or its error."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    (result,) = results
    return result.value if hasattr(result, "raiseException") else result


def told(result: Any) -> Any:
    """What a caller is told: no times and no names of the storage's own."""
    if isinstance(result, FileStatus):
        return result.size, result.mtime_ns, result.etag, dict(result.digests)
    return type(result) if isinstance(result, Exception) else result


async def copy(front: IArchiveBackend, behind: IArchiveBackend, file_id: int) -> None:
    """What C{admin copy} does with a file."""
    try:
        status, data = await load(behind, file_id)
        await store(front, file_id, data, ONCE, mtime_ns=status.mtime_ns)
    except (errors.NotFound, errors.PreconditionFailed):
        pass


async def listed(archive: Any, most: int) -> list[tuple[int, Any]]:
    """All files, sorted, as often as they come."""
    found: list[tuple[int, Any]] = []
    place: str | None = ""
    while place is not None:
        page = await IInventory(archive).inventory(place, most)
        found += [(file_id, told(status)) for file_id, status in page.files.items()]
        place = page.place
    return sorted(found)


IDS = st.integers(0, 3)
BYTES = st.sampled_from([b"", b"one", b"two"])
TAGS = st.none() | st.sampled_from([b"", b"one", b"two", b"*"])
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), IDS, BYTES, st.sampled_from(Overwrite), st.booleans(), TAGS, st.lists(IDS, max_size=2)),
    st.tuples(st.just("remove"), IDS, TAGS),
    st.tuples(st.just("copy"), IDS),
    st.tuples(st.just("status"), IDS),
    st.tuples(st.just("open"), IDS),
    st.tuples(st.just("list"), st.integers(1, 5)),
)


def matching(tag: bytes | None) -> frozenset[str] | None:
    """An C{If-Match} for some bytes."""
    if tag is None or tag == b"*":
        return None if tag is None else frozenset({"*"})
    one = MemoryArchive(Clock())
    return frozenset({ended(store(one, 1, tag)).etag})


@settings(deadline=None)
@given(behind=st.dictionaries(IDS, BYTES), operations=st.lists(OPERATIONS, max_size=12))
def test_as_one_archive(behind: dict[int, bytes], operations: list[Any]) -> None:  # noqa: C901  (each operation)
    """Any sequence is answered as by one archive that had the files of the other from the start; but for removals."""
    clock = Clock()
    one, front, old = MemoryArchive(clock), MemoryArchive(clock), MemoryArchive(clock)
    both = Fallback(clock, front, old)
    for file_id, data in behind.items():
        for each in (one, old):
            ended(store(each, file_id, data, mtime=file_id))

    async def put(archive: IArchiveBackend, file_id: int, data: bytes, conditions: WriteConditions, own: bool) -> Any:
        incoming = await archive.receive(file_id, len(data), conditions, ())
        for each in meanwhile if own else ():  # files are copied while the body comes
            await copy(front, old, each)
        await incoming.write([data])
        return await incoming.commit(7, {})

    for kind, *words in operations:
        if kind == "put":
            file_id, data, overwrite, absent, tag, meanwhile = words
            conditions = WriteConditions(overwrite=overwrite, if_absent=absent, if_match=matching(tag))
            expected = told(ended(put(one, file_id, data, conditions, own=False)))
            assert told(ended(put(both, file_id, data, conditions, own=True))) == expected
        elif kind == "remove":
            conditions = WriteConditions(if_match=matching(words[1]))
            if words[0] not in behind:
                expected = told(ended(one.remove(words[0], conditions)))
            else:  # refused, unless a condition does not hold
                fails = ended(one.status(words[0])).etag not in (conditions.if_match or {"*"})
                fails = fails and conditions.if_match not in (None, {"*"})
                expected = errors.PreconditionFailed if fails else errors.KeptBehind
            assert told(ended(both.remove(words[0], conditions))) == expected
        elif kind == "copy":
            ended(copy(front, old, words[0]))
        elif kind == "status":
            assert told(ended(both.status(words[0]))) == told(ended(one.status(words[0])))
        elif kind == "open":
            assert ended(content(both, words[0])) == ended(content(one, words[0]))
        else:
            assert ended(listed(both, words[0])) == ended(listed(one, 100))
    assert ended(listed(old, 100)) == sorted((file_id, told(ended(old.status(file_id)))) for file_id in behind), (
        "nothing behind is changed"
    )


@given(files=st.sets(st.integers(0, 20), min_size=1), at=st.integers(0, 5), most=st.integers(1, 4), copied=st.sets(IDS))
def test_a_file_that_is_copied_is_listed_once(files: set[int], at: int, most: int, copied: set[int]) -> None:
    """Whatever page it is copied between."""
    clock = Clock()
    front, old = MemoryArchive(clock), MemoryArchive(clock)
    for file_id in files:
        ended(store(old, file_id, b"data"))
    both: Any = Fallback(clock, front, old)
    found: list[int] = []
    place: str | None = ""
    pages = 0
    while place is not None:
        page = ended(both.inventory(place, most))
        found += page.files
        place, pages = page.place, pages + 1
        if pages == at:
            for each in copied:
                ended(copy(front, old, each))
    assert sorted(found) == sorted(files)


class Down(MemoryArchive):
    """An archive that does not answer."""

    def _version(self, file_id: int) -> Any:
        raise errors.BackendUnavailable("It is down.")

    _published = _version

    async def health(self) -> Health:
        return Health(False, "it is down")


def test_what_is_behind_is_down() -> None:
    """What may be there is not said to be missing, and nothing is written or removed that depends on it."""
    clock = Clock()
    front = MemoryArchive(clock)
    both: Any = Fallback(clock, front, Down(clock))
    ended(store(front, 1, b"copied"))
    for work in (
        both.status(2),
        both.open(2),
        both.remove(2, ANYHOW),
        both.remove(1, ANYHOW),
        both.receive(2, 1, ONCE, ()),
        both.receive(2, 1, WriteConditions(overwrite=Overwrite.DENY), ()),
        both.receive(2, 1, WriteConditions(if_match=frozenset({"*"})), ()),
    ):
        assert told(ended(work)) is errors.BackendUnavailable
    found = ended(both.statuses([1, 2]))
    assert (told(found[1]), told(found[2])) == (told(ended(front.status(1))), errors.BackendUnavailable)
    assert ended(content(both, 1)) == b"copied"
    assert told(ended(store(both, 3, b"new"))) == told(ended(front.status(3)))
    health = ended(both.health())
    assert (health.ready, health.degraded) == (True, True)
    assert "cannot be read" in health.words


def test_what_is_behind_says_nothing() -> None:
    """The health does not wait for it for long; one that is not ready in front is not ready."""
    clock = Clock()

    class Silent(MemoryArchive):
        async def health(self) -> Health:
            return await Deferred()

    both = Fallback(clock, MemoryArchive(clock), Silent(clock))
    results: list[Health] = []
    Deferred.fromCoroutine(both.health()).addCallback(results.append)
    assert not results
    clock.advance(PATIENCE)
    assert (results[0].ready, results[0].degraded) == (True, True)
    assert not ended(Fallback(clock, Down(clock), MemoryArchive(clock)).health()).ready


def test_nothing_behind() -> None:
    """An archive without files is rather one that is not mounted."""
    clock = Clock()
    old = MemoryArchive(clock)
    both = Fallback(clock, MemoryArchive(clock), old, has_files=True)
    failures: list[Any] = []
    both.startService().addErrback(failures.append)
    assert "mounted" in str(failures[0].value)
    assert not old.running
    ended(store(old, 1, b"data"))
    both = Fallback(clock, MemoryArchive(clock), old, has_files=True)
    both.startService()
    assert both.running
    both.stopService()
    assert not old.running


@implementer(IRecaller)
class Tape(MemoryArchive):
    """An archive whose files are on tape."""

    batch_limit = 5

    async def status(self, file_id: int) -> FileStatus:
        return attrs.evolve(await super().status(file_id), locality=Locality.TAPE)

    async def open(self, file_id: int) -> Any:
        await self.status(file_id)
        raise errors.Offline("It is on tape.", job=None, retry_after=10)

    async def locate(self, file_ids: Sequence[int]) -> dict[int, TapeLocation | None]:
        return {each: TapeLocation(medium="T1", position=each, size=1) for each in file_ids}

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        return dict.fromkeys(file_ids, RecallProgress(RecallState.QUEUED))

    poll = recall

    async def cancel(self, request: UUID, file_ids: Collection[int]) -> frozenset[int]:
        return frozenset(file_ids)

    async def release(self, file_id: int) -> None:
        """Do nothing."""


def test_recalls_from_behind() -> None:
    """Files that are copied are on disk; the others are recalled where they are."""
    clock = Clock()
    front, old = MemoryArchive(clock), Tape(clock)
    both: Any = Fallback(clock, front, old)
    for file_id in (1, 2):
        ended(store(old, file_id, b"data"))
    ended(store(front, 1, b"data"))
    assert bool(IRecaller.providedBy(both))
    assert both.batch_limit == 5
    assert isinstance(ended(both.open(2)), errors.Offline)
    assert ended(content(both, 1)) == b"data"
    assert ended(both.locate([1, 2])) == {1: None, 2: TapeLocation(medium="T1", position=2, size=1)}
    for call in (both.recall, both.poll):
        states = {file_id: progress.state for file_id, progress in ended(call(REQUEST, [1, 2])).items()}
        assert states == {1: RecallState.RESIDENT, 2: RecallState.QUEUED}
    assert ended(both.cancel(REQUEST, [1, 2])) == {2}
    assert not IRecaller.providedBy(Fallback(clock, MemoryArchive(clock), MemoryArchive(clock)))


@pytest.mark.parametrize("name", ["file", "directory"])
@in_reactor
async def test_a_move(tmp_path: Path, name: str) -> None:
    """To an id that is behind: by the conditions; what is no file there is in nobody's way."""
    async with over_directories(tmp_path) as both:
        place = tmp_path / "behind/archive/5"
        if name == "file":
            place.write_bytes(b"behind")
        else:
            place.mkdir()
        source = posix.put_for_move(tmp_path, "source", b"behind")
        if name == "file":
            for conditions in (WriteConditions(overwrite=each) for each in (Overwrite.DENY, Overwrite.IDENTICAL)):
                with pytest.raises(errors.AlreadyExists):
                    await both.move(5, source, conditions)
            with pytest.raises(errors.PreconditionFailed):
                await both.move(5, source, ONCE)
        else:
            assert await content(both, 5) is None
        await both.move(5, source, ANYHOW)
        assert await content(both, 5) == b"behind"
        assert place.exists()


@in_reactor
async def test_identical_to_what_has_no_digest(tmp_path: Path) -> None:
    """It gets one by being compared, and the first to store it is told of it as all others are."""
    async with over_directories(tmp_path) as both:
        data = b"behind" * 50_000
        (tmp_path / "behind/archive/5").write_bytes(data)
        stored = await store(both, 5, data, WriteConditions(overwrite=Overwrite.IDENTICAL))
        found = await both.status(5)
        assert PRIMARY in stored.digests
        assert (stored.etag, stored.digests) == (found.etag, found.digests)
