"""Which recalls are asked for, and how they are remembered: with a stager that does as it is told, and time too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pacarchive.backends.sideband import recall
from pacarchive.backends.sideband.recall import Recalls
from pacarchive.backends.sideband.stage import FileToStage
from pacarchive.model import RecallProgress, RecallState
from sideband.watching import all_words, logged

FORGET = 5000.0

ACTIVE = RecallProgress(RecallState.ACTIVE)
UNKNOWN = RecallProgress(RecallState.UNKNOWN)
RESIDENT = RecallProgress(RecallState.RESIDENT)
REFUSED = RecallProgress(RecallState.UNKNOWN, "The robot is out of order.")
HOPELESS = RecallProgress(RecallState.FAILED, "There is no good copy.")


@attrs.define
class FakeStager:
    """Answers when it is told to."""

    batch_size: int = 3
    concurrency: int = 2
    description: str = "a fake"
    requested: list[tuple[list[int], Deferred[Mapping[int, RecallProgress]]]] = attrs.Factory(list)
    reports: dict[int, RecallProgress] = attrs.Factory(dict)
    cancels: bool = False

    def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def stage(self, files: Sequence[FileToStage]) -> Mapping[int, RecallProgress]:
        answer: Deferred[Mapping[int, RecallProgress]] = Deferred()
        self.requested.append(([file.file_id for file in files], answer))
        return await answer

    async def inspect(self, file: FileToStage) -> RecallProgress | None:
        return self.reports.get(file.file_id)

    async def cancel(self, file: FileToStage) -> bool:
        return self.cancels

    @property
    def numbers(self) -> list[list[int]]:
        return [numbers for numbers, _ in self.requested]

    def answer(self, which: int, progress: RecallProgress = ACTIVE) -> None:
        numbers, answer = self.requested[which]
        answer.callback(dict.fromkeys(numbers, progress))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stager() -> FakeStager:
    return FakeStager()


@pytest.fixture
def recalls(clock: Clock, stager: FakeStager) -> Recalls:
    recalls = Recalls(clock, stager, FORGET)
    recalls.start()
    return recalls


def file(file_id: int) -> FileToStage:
    return FileToStage(file_id, f"/mount/{file_id}", f"/archive/{file_id}")


def now(call: Callable[..., object], *arguments: object) -> object:
    """The result of a coroutine that waits for nothing."""
    results: list[object] = []
    Deferred.fromCoroutine(call(*arguments)).addBoth(results.append)  # type: ignore[arg-type]
    (result,) = results
    return result


def test_many_requests_for_a_file_are_submitted_once(stager: FakeStager, recalls: Recalls) -> None:
    """Before it is asked for, meanwhile and after."""
    for _ in range(100):
        assert recalls.request(file(1)).state in (RecallState.QUEUED, RecallState.ACTIVE)
    stager.answer(0)
    for _ in range(100):
        assert recalls.request(file(1)) == ACTIVE
    assert stager.numbers == [[1]]


def test_requests_are_put_together(stager: FakeStager, recalls: Recalls) -> None:
    """As many as go into one, in their order; and no more at a time than the stager can do."""
    for number in range(1, 10):
        recalls.request(file(number))
    assert stager.numbers == [[1], [2]]
    assert now(recalls.progress, file(2)) == ACTIVE
    assert now(recalls.progress, file(3)) == RecallProgress(RecallState.QUEUED)
    stager.answer(0)
    assert stager.numbers[2:] == [[3, 4, 5]]
    stager.answer(2)
    stager.answer(1)
    assert stager.numbers[3:] == [[6, 7, 8], [9]]


def test_a_request_that_failed_is_not_repeated_at_once(clock: Clock, stager: FakeStager, recalls: Recalls) -> None:
    """For a minute its words are given; then it is asked for again."""
    recalls.request(file(1))
    stager.answer(0, REFUSED)
    for _ in range(2):
        assert recalls.request(file(1)) == REFUSED
        assert now(recalls.progress, file(1)) == REFUSED
        clock.advance(29)
    assert stager.numbers == [[1]]
    clock.advance(3)
    assert recalls.request(file(1)).state in (RecallState.QUEUED, RecallState.ACTIVE)
    assert stager.numbers == [[1], [1]]


def test_what_cannot_be_recalled(clock: Clock, stager: FakeStager, recalls: Recalls) -> None:
    """It is tried again after much longer."""
    recalls.request(file(1))
    stager.answer(0, HOPELESS)
    clock.advance(recall._FINAL - 1)
    assert recalls.request(file(1)) == HOPELESS
    clock.advance(2)
    recalls.request(file(1))
    assert stager.numbers == [[1], [1]]


def test_a_way_that_breaks(stager: FakeStager, recalls: Recalls) -> None:
    """Its requests have failed, and the others go on."""
    for number in range(1, 7):
        recalls.request(file(number))
    with logged(quietly=False) as log:
        stager.requested[0][1].errback(RuntimeError("a bug"))
    assert "a bug" in all_words(log)
    progress = now(recalls.progress, file(1))
    assert isinstance(progress, RecallProgress)
    assert progress.state is RecallState.UNKNOWN
    assert "a bug" not in progress.words
    assert stager.numbers == [[1], [2], [3, 4, 5]]


def test_a_recall_of_which_nothing_is_heard_is_lost(clock: Clock, stager: FakeStager, recalls: Recalls) -> None:
    """After a time nothing is known of it, and it can be asked for again."""
    recalls.request(file(1))
    stager.answer(0)
    clock.advance(FORGET - 1)
    assert now(recalls.progress, file(1)) == ACTIVE
    assert recalls.request(file(1)) == ACTIVE
    assert stager.numbers == [[1]]
    clock.advance(2)
    assert now(recalls.progress, file(1)) == UNKNOWN
    recalls.request(file(1))
    assert stager.numbers == [[1], [1]]


def test_what_the_way_says_counts_more(stager: FakeStager, recalls: Recalls) -> None:
    """Also of files that others have asked for."""
    recalls.request(file(1))
    stager.answer(0)
    stager.reports = {1: HOPELESS, 2: ACTIVE}
    assert now(recalls.progress, file(1)) == HOPELESS
    assert now(recalls.progress, file(2)) == ACTIVE
    assert now(recalls.progress, file(3)) == UNKNOWN


def test_a_file_that_was_read_whole(clock: Clock, stager: FakeStager, recalls: Recalls) -> None:
    """The database hears of it late; if it never does, SAM does not keep the file on disk."""
    recalls.request(file(1))
    stager.answer(0, RESIDENT)
    for call in (recalls.request(file(1)), now(recalls.progress, file(1))):
        assert isinstance(call, RecallProgress)
        assert call.state is RecallState.ACTIVE
        assert "the database does not know of it yet" in call.words
    assert now(recalls.may_be_on_disk, file(1)) is True
    clock.advance(recall._LAG + 1)
    progress = recalls.request(file(1))
    assert progress.state is RecallState.FAILED
    assert "never to be staged" in progress.words
    assert stager.numbers == [[1]]


def test_a_file_that_was_read_while_the_database_is_silent(clock: Clock, stager: FakeStager, recalls: Recalls) -> None:
    """It is on disk by all that is known, for a time; then it is asked for again."""
    recalls.request(file(1))
    assert not recalls.was_read_back(1)
    assert not recalls.was_read_back(2)
    stager.answer(0, RESIDENT)
    assert recalls.was_read_back(1)
    clock.advance(recall._LAG + 1)
    assert not recalls.was_read_back(1)
    assert recalls.request(file(1)).state in (RecallState.QUEUED, RecallState.ACTIVE)
    assert stager.numbers == [[1], [1]]


def test_what_is_queued_can_be_cancelled(stager: FakeStager, recalls: Recalls) -> None:
    """It is never asked for; what was asked for already is up to the stager."""
    for number in range(1, 6):
        recalls.request(file(number))
    assert now(recalls.cancel, 4) is True
    assert now(recalls.cancel, 4) is False
    assert now(recalls.cancel, 99) is False
    assert now(recalls.cancel, 1) is False
    assert now(recalls.progress, file(1)) == ACTIVE
    stager.cancels = True
    assert now(recalls.cancel, 2) is True
    assert now(recalls.progress, file(2)) == UNKNOWN
    stager.answer(0)
    stager.answer(1)
    assert stager.numbers == [[1], [2], [3, 5]]


def test_what_is_forgotten(stager: FakeStager, recalls: Recalls) -> None:
    """A file that is on disk, or gone, is not asked for any more; once released again it is."""
    for number in range(1, 5):
        recalls.request(file(number))
    recalls.forget(3)
    recalls.forget(1)
    stager.answer(0)
    assert stager.numbers == [[1], [2], [4]]
    recalls.request(file(1))
    assert stager.numbers[3:] == []
    stager.answer(1)
    assert stager.numbers[3:] == [[1]]


def test_a_file_requested_again_is_submitted_once(stager: FakeStager, recalls: Recalls) -> None:
    """Although its first request was forgotten while it was queued."""
    for number in range(1, 4):
        recalls.request(file(number))
    recalls.forget(3)
    recalls.request(file(3))
    stager.answer(0)
    stager.answer(1)
    assert [number for numbers in stager.numbers for number in numbers].count(3) == 1


def test_memory_is_bounded(stager: FakeStager, recalls: Recalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr(recall, "_MOST", 3)
    for number in range(1, 6):
        recalls.request(file(number))
    assert now(recalls.progress, file(1)) == UNKNOWN
    assert now(recalls.progress, file(5)) == RecallProgress(RecallState.QUEUED)


def test_nothing_is_asked_after_the_end(stager: FakeStager, recalls: Recalls) -> None:
    """What is queued is dropped."""
    for number in range(1, 6):
        recalls.request(file(number))
    now(recalls.stop)
    stager.answer(0)
    recalls.request(file(7))
    assert stager.numbers == [[1], [2]]
