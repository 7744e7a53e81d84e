"""Many files are looked up in the backend's own batches, or side by side; and a caller that leaves ends that."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.memory import MemoryArchive
from pacarchive.interfaces import IBatchStatus
from pacarchive.model import FileStatus
from pacarchive.recall.lookup import find
from pacarchive.recall.planning import make_plan
from pacarchive.runtime.statuses import statuses_of

BAD, DOWN = 7, 1_000_000


@implementer(IBatchStatus)
class Batches(MemoryArchive):
    """A backend that takes batches; file 7 is defective."""

    batch_most = 10

    def __init__(self) -> None:
        super().__init__(Clock())
        self.asked: list[Sequence[int]] = []
        self.held: Deferred[None] | None = None

    async def statuses(self, file_ids: Sequence[int]) -> Mapping[int, FileStatus | Exception]:
        self.asked.append(file_ids)
        if self.held is not None:
            await self.held
        if DOWN in file_ids:
            raise errors.BackendUnavailable("It does not answer.")
        return {each: RuntimeError("a defect") if each == BAD else errors.NotFound("none") for each in file_ids}


class Singles(MemoryArchive):
    """One that does not."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.asked: list[int] = []
        self.held: Deferred[None] | None = None

    async def status(self, file_id: int) -> FileStatus:
        self.asked.append(file_id)
        if self.held is not None:
            await Deferred.fromCoroutine(_wait(self.held))
        raise RuntimeError("a defect") if file_id == BAD else errors.NotFound("none")


async def _wait(held: Deferred[None]) -> None:
    done: Deferred[None] = Deferred()
    held.addCallback(lambda result: None if done.called else done.callback(None))
    await done


def test_batches() -> None:
    """None is larger than the backend takes, and each file has its own answer."""
    archive = Batches()
    found: list[dict[int, FileStatus | Exception]] = []
    Deferred.fromCoroutine(statuses_of(archive, range(25))).addCallback(found.append)
    assert [list(each) for each in archive.asked] == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    assert list(found[0]) == list(range(25))
    assert isinstance(found[0][BAD], RuntimeError)
    assert sum(isinstance(each, errors.NotFound) for each in found[0].values()) == 24


def test_a_batch_that_fails() -> None:
    """Is told of its files, and of no others."""
    found: list[dict[int, FileStatus | Exception]] = []
    Deferred.fromCoroutine(statuses_of(Batches(), [*range(10), DOWN, 11])).addCallback(found.append)
    unavailable = [each for each, status in found[0].items() if isinstance(status, errors.BackendUnavailable)]
    assert unavailable == [DOWN, 11]


@pytest.mark.parametrize("archive", [Batches, Singles])
@pytest.mark.parametrize("look", ["statuses", "find", "plan"])
def test_a_caller_that_leaves(archive: type[Batches | Singles], look: str) -> None:
    """No more is asked for, and that is no property of any file: nothing is logged, and nothing else comes of it."""
    backend = archive()
    backend.held = Deferred()
    ids = range(1000)
    works: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "statuses": lambda: statuses_of(backend, ids),
        "find": lambda: find(backend, {}, ids),
        "plan": lambda: make_plan(backend, None, None, ids, 1, 0.0),
    }
    results: list[object] = []
    work = Deferred.fromCoroutine(works[look]())
    work.addBoth(results.append)
    asked = len(backend.asked)
    work.cancel()
    assert len(results) == 1
    assert results[0].check(CancelledError)  # type: ignore[attr-defined]
    assert len(backend.asked) == asked < 40
