"""Stage jobs are submitted, each file once for all who want it, with the priority that the most urgent has."""

from __future__ import annotations

import pytest

from pacarchive import errors
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.jobs import Submission, submit_all
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.tables import RecallState
from pacarchive.recall.words import JobRequest, Priority
from recall.jobs import (
    COMPLETED,
    EXTREMES,
    FAILED,
    all_of,
    files,
    last_change,
    pinned,
    priority_of,
    recalls,
    state,
    states,
    submit,
)
from recall.surroundings import Going, Surroundings, done, logged


class TestSubmitting:
    def test_all_ids_there_are(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(*EXTREMES)
        around.tapes.prompt = True
        job = submit(engine, *EXTREMES)
        around.spend(3)
        assert states(engine, job) == dict.fromkeys(EXTREMES, COMPLETED)
        assert sorted(pinned(engine)) == EXTREMES
        assert [around.tapes.files[each].reads for each in EXTREMES] == [1] * 5

    def test_nothing(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine)
        status = done(engine.status(job))
        assert (status.summary.files, status.summary.left) == (0, 0)
        assert status.summary.ended == around.time.seconds()
        assert done(engine.files(job)).files == []
        followed = Going(all_of(engine, job))
        assert followed.result == []

    def test_the_same_file_twice(self, around: Surroundings, engine: RecallEngine) -> None:
        around.time.latency = 0.01
        jobs = [Going(engine.submit(JobRequest(owner="a", file_ids=file_ids))) for file_ids in ([1], [2, 3, 2, 2], [4])]
        around.spend(1)
        around.time.latency = 0
        assert [sorted(states(engine, job.result)) for job in jobs] == [[1], [2, 3], [4]]
        assert done(engine.status(jobs[1].result)).summary.files == 2

    def test_many_at_once(self, around: Surroundings, engine: RecallEngine) -> None:
        before = last_change(engine)
        around.time.latency = 0.01
        jobs = [Going(engine.submit(JobRequest(owner="a", file_ids=[each]))) for each in range(100, 200)]
        around.spend(0.05)
        around.time.latency = 0
        assert len({job.result for job in jobs}) == 100
        assert [list(states(engine, job.result)) for job in jobs] == [[each] for each in range(100, 200)]
        assert last_change(engine) - before < 10, "each transaction waits for the disk"

    def test_more_than_one_transaction_takes(self, around: Surroundings, engine: RecallEngine) -> None:
        around.time.latency = 0.01
        jobs = [
            Going(engine.submit(JobRequest(owner="a", file_ids=range(each * 1500, (each + 1) * 1500))))
            for each in range(4)
        ]
        around.spend(1)
        around.time.latency = 0
        assert [done(engine.status(job.result)).summary.files for job in jobs] == [1500] * 4

    def test_too_many(self, around: Surroundings) -> None:
        engine = around.engine(job_files=3)
        with pytest.raises(errors.TooLarge):
            submit(engine, 1, 2, 3, 4)
        assert done(engine.jobs()) == []

    def test_for_others(self, engine: RecallEngine) -> None:
        job = submit(engine, 1, others=["/a/é", "x" * 1000])
        assert done(engine.status(job)).others == ("/a/é", "x" * 1000)

    def test_owners_with_long_and_odd_names(self, engine: RecallEngine) -> None:
        for owner in ("", "x" * 1000, "ü🎉'\"\\%s?{text}", "a;b"):
            job = submit(engine, 1, owner=owner)
            (found,) = done(engine.jobs(owner=owner))
            assert found.job == job
            done(engine.delete(job))

    def test_files_on_disk_or_nowhere(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.files[1].on_disk = True
        around.tapes.files[2].lost = True
        job = submit(engine, 1, 2, 99)
        around.spend(1)
        assert states(engine, job) == {1: COMPLETED, 2: FAILED, 99: FAILED}
        assert [each.reason for _, each in sorted(files(engine, job).items())] == [
            "",
            "The bytes of the file are lost.",
            "No file has this id.",
        ]
        assert pinned(engine) == [1]

    def test_the_pin_is_no_longer_than_allowed(self, around: Surroundings) -> None:
        engine = around.engine(longest_pin=50, pin=20)
        around.tapes.add(1, 2, 3, on_disk=True)
        submit(engine, 1, 2, 3, pins={1: 1000, 2: 10})
        around.spend(1)
        now = around.time.seconds()
        assert [each.expires - now for each in done(engine.pins())] == pytest.approx([50, 10, 20], abs=1)

    def test_without_a_pin(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.files[1].on_disk = True
        job = submit(engine, 1, pins={1: 0})
        around.spend(1)
        assert state(engine, job) is COMPLETED
        assert pinned(engine) == []

    def test_more_owners_than_a_statement_may_have_conditions(self, around: Surroundings, engine: RecallEngine) -> None:
        # Who asks by GET is known by an address: all nodes of a cluster may want files of one cartridge.
        many = range(1000, 2100)
        around.tapes.add(*many)
        around.tapes.add(20, medium="V0")
        submit(engine, 20)  # the only drive is busy until all of them wait
        around.spend(1)
        submissions = [
            Submission(request=JobRequest(owner=f"node{each}", file_ids=[each]), pin=0, deadline=1000) for each in many
        ]
        done(engine._store.write(lambda transaction: submit_all(transaction, submissions, RecallSettings())))
        around.spend(5)
        around.tapes.prompt = True
        around.tapes.come()
        with logged() as log:
            around.spend(60)
        assert log == []
        assert recalls(engine) == {}
        assert [around.tapes.files[each].reads for each in many] == [1] * 1100


class TestPriority:
    @pytest.mark.parametrize(("first", "then"), [(-1, 0), (-1, 1), (0, 1)])
    def test_is_raised_by_who_asks_later(
        self, around: Surroundings, engine: RecallEngine, first: int, then: int
    ) -> None:
        around.tapes.add(20, medium="V0")
        submit(engine, 20)  # the only drive is busy with it
        around.spend(1)
        submit(engine, 1, priority=Priority(first))
        around.spend(1)
        assert recalls(engine)[1] is RecallState.QUEUED
        around.tapes.down = "So that it is not looked up at once."
        submit(engine, 1, owner="b", priority=Priority(then))
        assert recalls(engine)[1] is RecallState.NEW
        around.tapes.down = ""
        around.spend(5)
        assert priority_of(engine, 1) == (RecallState.QUEUED, then)

    @pytest.mark.parametrize(("first", "then"), [(1, 0), (0, 0), (0, -1), (-1, -1)])
    def test_is_not_lowered(self, around: Surroundings, engine: RecallEngine, first: int, then: int) -> None:
        around.tapes.add(20, medium="V0")
        submit(engine, 20)
        around.spend(1)
        submit(engine, 1, priority=Priority(first))
        around.spend(1)
        submit(engine, 1, owner="b", priority=Priority(then))
        assert priority_of(engine, 1) == (RecallState.QUEUED, first)

    def test_a_raised_file_comes_all_the_same(self, around: Surroundings, engine: RecallEngine) -> None:
        # What it was counted as before must not keep its cartridge from being read.
        around.tapes.add(20, medium="V0")
        submit(engine, 20)
        around.spend(1)
        jobs = [submit(engine, 1, 2, 3, priority=Priority.LOW), submit(engine, 2, owner="b", priority=Priority.HIGH)]
        around.tapes.prompt = True
        around.tapes.come()
        around.spend(30)
        assert [set(states(engine, each).values()) for each in jobs] == [{COMPLETED}] * 2
