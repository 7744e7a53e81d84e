"""What is found out of files before they wait for a turn: those that need no recall, or cannot have one."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.model import FileStatus
from pacarchive.recall.words import FileState, JobRequest
from recall.surroundings import Surroundings, Tapes, done


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (errors.NotPermitted("Nobody may look at it."), "Nobody may look at it."),
        (RuntimeError("a defect"), "Its state cannot be read."),
    ],
    ids=["foreseen", "defect"],
)
def test_one_bad_file_holds_up_no_other(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch, trouble: Exception, words: str
) -> None:
    """It fails with words; what is on disk has come, with its size; what is on tape is recalled."""
    honest = Tapes.status

    async def status(self: Tapes, file_id: int) -> FileStatus:
        if file_id == 3:
            raise trouble
        return await honest(self, file_id)

    monkeypatch.setattr(Tapes, "status", status)
    around.tapes.add(1)
    around.tapes.add(2, on_disk=True, size=77)
    around.tapes.add(3, on_disk=True)
    engine = around.engine()
    job = done(engine.submit(JobRequest(owner="a", file_ids=[1, 2, 3, 99])))
    around.spend(5)
    found = {each.file_id: each for each in done(engine.files(job)).files}
    assert {file_id: each.state for file_id, each in found.items()} == {
        1: FileState.STARTED,
        2: FileState.COMPLETED,
        3: FileState.FAILED,
        99: FileState.FAILED,
    }
    assert (found[2].size, found[3].reason, found[99].reason) == (77, words, "No file has this id.")
    assert done(engine.status(job)).done == 77


def test_a_file_that_cannot_be_looked_at_for_a_moment_waits_on(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that is not there any more is given up while it waits."""
    around.tapes.add(1, 2)
    engine = around.engine(drives=1, batch_delay=3600)
    job = done(engine.submit(JobRequest(owner="a", file_ids=[1, 2])))
    around.spend(5)
    honest = Tapes.locate
    del around.tapes.files[2]

    async def locate(self: Tapes, file_ids: list[int]) -> object:
        return {**await honest(self, file_ids), 1: None}

    async def status(self: Tapes, file_id: int) -> FileStatus:
        raise errors.NotFound("gone") if file_id == 2 else errors.NotPermitted("for a moment")

    monkeypatch.setattr(Tapes, "locate", locate)
    monkeypatch.setattr(Tapes, "status", status)
    around.spend(30)
    found = {each.file_id: each for each in done(engine.files(job)).files}
    assert (found[1].state, found[2].state) == (FileState.QUEUED, FileState.FAILED)
    assert found[2].reason == "No file has this id any more."


@pytest.mark.parametrize("trouble", ["hangs", "fails"])
def test_one_that_cannot_be_located_holds_up_no_other(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Neither those that are looked up together with it, nor those that come later; and it is tried again."""
    honest, bad, answer = Tapes.locate, [3], Deferred[None]()

    async def locate(self: Tapes, file_ids: list[int]) -> object:
        if set(bad) & set(file_ids):
            if trouble == "hangs":
                await answer
            raise errors.BackendUnavailable("It cannot be read.")
        return await honest(self, file_ids)

    async def status(self: Tapes, file_id: int) -> FileStatus:
        raise errors.BackendUnavailable("It cannot be read.")

    monkeypatch.setattr(Tapes, "locate", locate)
    monkeypatch.setattr(Tapes, "status", status)
    around.tapes.add(*range(1, 10))
    engine = around.engine()
    job = done(engine.submit(JobRequest(owner="a", file_ids=[1, 2, 3, 4])))
    around.spend(12)
    assert around.tapes.under_way() == [1, 2, 4]
    later = [done(engine.submit(JobRequest(owner="a", file_ids=some))) for some in ([5], [6, 7])]
    around.spend(32)
    assert around.tapes.under_way() == [1, 2, 4, 5, 6, 7]
    bad.clear()
    answer.callback(None)
    around.tapes.prompt = True
    around.tapes.come()
    around.spend(40)
    for each in (job, *later):
        assert {file.state for file in done(engine.files(each)).files} == {FileState.COMPLETED}
    assert [around.tapes.files[file_id].reads for file_id in range(1, 8)] == [1] * 7


def test_what_was_found_out_too_late_is_not_believed(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are replaced, and leave the disk, while an old answer is on its way."""
    honest, answer = Tapes.locate, Deferred[None]()

    async def locate(self: Tapes, file_ids: list[int]) -> object:
        found = await honest(self, file_ids)
        if len(file_ids) > 1:
            await answer
        return found

    monkeypatch.setattr(Tapes, "locate", locate)
    around.tapes.add(1, 2)
    engine = around.engine()
    del around.tapes.files[2]
    job = done(engine.submit(JobRequest(owner="a", file_ids=[1, 2])))
    around.spend(5)
    around.tapes.add(2)
    around.spend(7)
    assert around.tapes.under_way() == [1, 2]
    answer.callback(None)
    around.spend(5)
    assert {file.state for file in done(engine.files(job)).files} == {FileState.STARTED}
