"""Stage jobs from their submission to their end: whole engines, on both kinds of store, in virtual time."""

from __future__ import annotations

import pytest

from pacarchive import errors
from pacarchive.model import RecallProgress
from pacarchive.model import RecallState as Said
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.lease import LEASE_TIMEOUT
from pacarchive.recall.listing import circumstances
from pacarchive.recall.tables import RecallState
from pacarchive.recall.words import JobRequest
from recall.jobs import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    FAILED,
    HIGHEST,
    QUEUED,
    STARTED,
    all_of,
    awaited,
    files,
    pinned,
    recalls,
    state,
    states,
    submit,
)
from recall.surroundings import AFTER, BEFORE, Going, Surroundings, VirtualReactor, done, logged


class TestWanting:
    def test_is_one_job_an_owner_and_one_recall(self, around: Surroundings, engine: RecallEngine) -> None:
        asked = [done(engine.want(1, owner)) for owner in "aabab"]
        around.spend(10)  # no longer than that it is just remembered
        asked += [done(engine.want(1, owner)) for owner in "ab"]
        assert len({each.job for each in asked}) == 2
        assert {each.summary.owner for each in (done(engine.status(job.job)) for job in asked)} == {"a", "b"}
        around.spend(5)
        assert around.tapes.calls["recall"] == 1

    def test_at_two_nodes_at_the_same_time(self, around: Surroundings, engine: RecallEngine) -> None:
        reactors = [VirtualReactor(around.time) for _ in range(2)]
        others = [around.engine(each) for each in reactors]
        for each in reactors:
            each.latency = 0.1
        asked = [Going(each.want(1, "a")) for each in others * 3]
        around.spend(1)
        for each in reactors:
            each.latency = 0
        assert len({each.result.job for each in asked}) == 1
        assert len(done(engine.jobs())) == 1

    def test_again_when_it_has_come_and_gone(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.prompt = True
        first = done(engine.want(1, "a"))
        around.spend(10)
        assert state(engine, first.job) is COMPLETED
        around.tapes.files[1].on_disk = False
        second = done(engine.want(1, "a"))
        assert second.job != first.job
        around.spend(10)
        assert state(engine, second.job) is COMPLETED
        assert around.tapes.files[1].reads == 2

    @pytest.mark.parametrize("pause", [0, 20])
    def test_again_while_it_is_being_given_up(self, around: Surroundings, engine: RecallEngine, pause: float) -> None:
        around.tapes.agrees = False
        first = done(engine.want(1, "a"))
        around.spend(2)
        done(engine.cancel(first.job))
        assert state(engine, first.job) is CANCELLING
        around.spend(pause)
        second = done(engine.want(1, "a"))
        assert second.job != first.job, "what is being given up is no answer"
        assert (state(engine, first.job), state(engine, second.job)) == (CANCELLED, STARTED)
        around.tapes.come()
        around.spend(3)
        assert (state(engine, first.job), state(engine, second.job)) == (CANCELLED, COMPLETED)
        assert around.tapes.files[1].reads == 1

    def test_again_after_its_job_was_deleted(self, engine: RecallEngine) -> None:
        first = done(engine.want(1, "a"))
        done(engine.delete(first.job))
        second = done(engine.want(1, "a"))
        assert not state(engine, second.job).ended

    def test_after_a_failure_of_the_store(self, around: Surroundings, engine: RecallEngine) -> None:
        around.time.trouble = [BEFORE]
        with pytest.raises(errors.BackendUnavailable, match="The list of recalls does not answer"):
            done(engine.want(1, "a"))
        done(engine.want(1, "a"))

    def test_again_writes_nothing(self, around: Surroundings, engine: RecallEngine) -> None:
        """Clients that poll cost the store a look each."""
        first = done(engine.want(1, "a"))
        around.time.trouble = [BEFORE]
        assert done(engine.want(1, "a")).job == first.job
        assert around.time.trouble == [BEFORE], "nobody wrote"
        around.time.trouble = []

    def test_one_that_cannot_come(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.files[1].sentence = RecallProgress(Said.FAILED, "the tape is torn")
        assert done(engine.reason(1)) is None
        job = done(engine.want(1, "a")).job
        around.spend(5)
        assert state(engine, job) is FAILED
        assert done(engine.reason(1)) == "the tape is torn"
        around.tapes.files[1].sentence = None
        around.tapes.prompt = True
        done(engine.want(1, "a"))
        around.spend(5)
        assert done(engine.reason(1)) is None, "it has come since"

    def test_waiting_for_it(self, around: Surroundings, engine: RecallEngine) -> None:
        done(engine.want(1, "a"))
        waiting, impatient = Going(engine.wait(1, 100)), Going(engine.wait(1, 3))
        around.spend(4)
        assert not waiting.ended
        assert impatient.result is False
        around.tapes.come()
        around.spend(3)
        assert waiting.result is True
        assert done(engine.wait(1, 100)) is True, "it is no recall any more"


class TestCancelling:
    def test_before_it_is_looked_up(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.down = "It is away."
        job = submit(engine, 1)
        done(engine.cancel(job))
        assert state(engine, job) is CANCELLED
        assert recalls(engine) == {}

    def test_while_it_waits(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(20, medium="V0")
        submit(engine, 20)
        around.spend(1)
        job = submit(engine, 1, 2)
        around.spend(1)
        done(engine.cancel(job, [1]))
        assert states(engine, job) == {1: CANCELLED, 2: QUEUED}
        around.tapes.prompt = True
        around.tapes.come()
        around.spend(20)
        assert states(engine, job) == {1: CANCELLED, 2: COMPLETED}
        assert around.tapes.files[1].reads == 0

    @pytest.mark.parametrize("agrees", [True, False])
    def test_while_it_is_recalled(self, around: Surroundings, engine: RecallEngine, agrees: bool) -> None:
        around.tapes.agrees = agrees
        job = submit(engine, 1)
        around.spend(1)
        done(engine.cancel(job))
        assert state(engine, job) is (CANCELLED if agrees else CANCELLING)
        if not agrees:
            assert "It is being cancelled" in files(engine, job)[1].reason
        around.spend(3)
        assert state(engine, job) is (CANCELLED if agrees else CANCELLING)
        assert around.tapes.under_way() == ([] if agrees else [1])
        around.tapes.come()
        around.spend(3)
        assert state(engine, job) is CANCELLED
        assert pinned(engine) == []
        assert recalls(engine) == {}
        summary = done(engine.status(job)).summary
        assert summary.left == 0
        assert summary.ended is not None

    def test_while_it_rests(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.files[1].sentence = RecallProgress(Said.UNKNOWN, "the drive is dirty")
        job = submit(engine, 1)
        around.spend(3)
        assert recalls(engine) == {1: RecallState.BACKING_OFF}
        assert (state(engine, job), files(engine, job)[1].reason) == (STARTED, "the drive is dirty")
        done(engine.cancel(job))
        assert state(engine, job) is CANCELLED
        assert recalls(engine) == {}

    def test_when_it_has_ended(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.prompt = True
        job = submit(engine, 1, 99)
        around.spend(3)
        done(engine.cancel(job))
        assert states(engine, job) == {1: COMPLETED, 99: FAILED}
        assert pinned(engine) == [1]

    def test_twice(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.agrees = False
        job = submit(engine, 1, 2)
        around.spend(1)
        for _ in range(2):
            done(engine.cancel(job))
            assert states(engine, job) == {1: CANCELLING, 2: CANCELLING}
        assert done(engine.status(job)).summary.left == 2

    def test_of_one_of_two_who_ask(self, around: Surroundings, engine: RecallEngine) -> None:
        jobs = [submit(engine, 1, owner=owner) for owner in "ab"]
        around.spend(1)
        done(engine.cancel(jobs[0]))
        assert [state(engine, each) for each in jobs] == [CANCELLED, STARTED]
        around.spend(3)
        assert around.tapes.calls["cancel"] == 0
        around.tapes.come()
        around.spend(3)
        assert [state(engine, each) for each in jobs] == [CANCELLED, COMPLETED]
        assert [each.owner for each in done(engine.pins())] == ["b"]

    def test_of_both(self, around: Surroundings, engine: RecallEngine) -> None:
        jobs = [submit(engine, 1, owner=owner) for owner in "ab"]
        around.spend(1)
        around.tapes.agrees = False
        for each in jobs:
            done(engine.cancel(each))
        assert [state(engine, each) for each in jobs] == [CANCELLED, CANCELLING]
        around.tapes.agrees = True
        around.spend(3)
        assert [state(engine, each) for each in jobs] == [CANCELLED, CANCELLED]

    def test_after_another_has_rested_meanwhile(self, around: Surroundings, engine: RecallEngine) -> None:
        # The first is given up, the second wants it, the storage system loses it, the second gives it up too.
        around.tapes.agrees = False
        first = submit(engine, 1)
        around.spend(1)
        done(engine.cancel(first))
        second = submit(engine, 1)
        around.tapes.files[1].sentence = RecallProgress(Said.UNKNOWN, "the drive is dirty")
        around.spend(3)
        assert recalls(engine) == {1: RecallState.BACKING_OFF}
        done(engine.cancel(second))
        assert [state(engine, each) for each in (first, second)] == [CANCELLED, CANCELLED]

    def test_what_is_not_there(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.down = "It is away."
        job = submit(engine, 1, 2)
        with pytest.raises(errors.InvalidRequest, match="No files of this job: 3, 18446744073709551615"):
            done(engine.cancel(job, [1, 3, HIGHEST]))
        assert states(engine, job) == {1: QUEUED, 2: QUEUED}
        done(engine.cancel(job, []))
        assert states(engine, job) == {1: QUEUED, 2: QUEUED}
        with pytest.raises(errors.NotFound):
            done(engine.cancel("0" * 32))

    def test_while_it_is_just_being_asked_for(self, around: Surroundings, engine: RecallEngine) -> None:
        # Whoever is told to give up what it does not know of yet agrees, and would begin all the same.
        around.tapes.delay = 4
        job = submit(engine, 1)
        for _ in range(20):
            if around.tapes.calls["recall"]:
                break
            around.spend(0.5)
        done(engine.cancel(job))
        around.tapes.delay = 0
        around.spend(1.5)
        assert around.tapes.calls["cancel"] == 0
        around.spend(5)
        assert state(engine, job) is CANCELLED
        assert around.tapes.under_way() == []
        assert around.tapes.calls["cancel"] == 1


class TestDeleting:
    def test_in_each_state(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(20, medium="V0")
        around.tapes.add(21, on_disk=True)
        around.tapes.agrees = False
        job = submit(engine, 20, 1, 21, 99)
        around.spend(1)
        assert states(engine, job) == {20: STARTED, 1: QUEUED, 21: COMPLETED, 99: FAILED}
        done(engine.cancel(job, [20]))
        submit(engine, 1, owner="b")
        done(engine.delete(job))
        for ask in (engine.status, engine.files, engine.delete, engine.cancel, engine.release):
            with pytest.raises(errors.NotFound, match="no such job"):
                done(ask(job))
        assert [each.owner for each in done(engine.jobs())] == ["b"]
        assert pinned(engine) == []
        assert around.tapes.released == [21]
        assert recalls(engine) == {20: RecallState.CANCELLING, 1: RecallState.QUEUED}
        around.tapes.agrees = True
        around.tapes.prompt = True
        around.spend(20)
        assert recalls(engine) == {}
        assert around.tapes.under_way() == []

    def test_while_it_is_recalled(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine, 1)
        around.spend(1)
        done(engine.delete(job))
        around.spend(2)
        assert around.tapes.under_way() == []
        assert recalls(engine) == {}


class TestDeadlines:
    def test_of_what_waits_and_of_what_is_recalled(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(20, medium="V0")
        job = submit(engine, 20, 1, deadline=30)
        other = submit(engine, 20, owner="b")
        assert files(engine, job)[1].deadline == around.time.seconds() + 30
        around.spend(29)
        assert states(engine, job) == {20: STARTED, 1: QUEUED}
        around.spend(2.5)
        assert states(engine, job) == {20: FAILED, 1: FAILED}
        assert {each.reason for each in files(engine, job).values()} == {"It was not recalled before its deadline."}
        assert done(engine.status(job)).summary.ended is not None
        assert recalls(engine) == {20: RecallState.STARTED}, "somebody else has more time"
        assert state(engine, other) is STARTED

    def test_of_what_nobody_else_wants(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine, 1, deadline=10)
        around.spend(13)
        assert state(engine, job) is FAILED
        assert around.tapes.under_way() == []
        assert recalls(engine) == {}

    def test_of_what_was_given_up(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.agrees = False
        job = submit(engine, 1, 2, deadline=10)
        around.spend(1)
        done(engine.cancel(job, [1]))
        around.spend(15)
        assert states(engine, job) == {1: CANCELLED, 2: FAILED}

    def test_of_many(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine, *range(10_000, 11_700), deadline=10)
        around.tapes.add(*range(10_000, 11_700))
        around.spend(20)
        assert set(states(engine, job).values()) == {FAILED}


class TestTheEndOfMemory:
    def test_jobs_are_forgotten(self, around: Surroundings) -> None:
        engine = around.engine(keep=100, pin=0)
        around.tapes.add(1, on_disk=True)
        around.tapes.add(2)
        old = [submit(engine, 1) for _ in range(45)]
        live = submit(engine, 2)
        around.spend(95)
        assert len(done(engine.jobs())) == 46
        around.spend(10)
        assert [each.job for each in done(engine.jobs())] == [live]
        with pytest.raises(errors.NotFound):
            done(engine.status(old[0]))
        left = done(engine._store.read(lambda cursor: cursor.rows("SELECT file FROM wishes")))
        assert [tuple(row) for row in left] == [(2,)]


class TestTroubles:
    def test_the_store_does_not_answer(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine, 1)
        for ask in (lambda: submit(engine, 2), lambda: done(engine.cancel(job)), lambda: done(engine.delete(job))):
            around.time.trouble = [BEFORE]
            with logged() as log, pytest.raises(errors.BackendUnavailable, match="The list of recalls does not answer"):
                ask()
            assert log == ["trouble before"]
        assert len(done(engine.jobs())) == 1

    def test_those_who_ask_together_are_all_told(self, around: Surroundings, engine: RecallEngine) -> None:
        around.spend(0.1)
        around.time.latency = 0.01
        # The first is alone, the others are a transaction, which fails.
        around.time.trouble = ["", BEFORE]
        asked = [Going(engine.submit(JobRequest(owner="a", file_ids=[each]))) for each in range(5)]
        around.spend(1)
        around.time.latency = 0
        assert asked[0].result
        for each in asked[1:]:
            with pytest.raises(errors.BackendUnavailable):
                assert each.result
        assert len(done(engine.jobs())) == 1
        submit(engine, 1)

    def test_what_one_who_asks_does_not_wait_for_is_done(self, around: Surroundings, engine: RecallEngine) -> None:
        around.time.latency = 0.01
        asked = [Going(engine.submit(JobRequest(owner="a", file_ids=[each]))) for each in range(3)]
        asked[1].deferred.cancel()
        around.spend(1)
        around.time.latency = 0
        assert len(done(engine.jobs())) == 3

    @pytest.mark.parametrize("write", range(8))
    @pytest.mark.parametrize("trouble", [BEFORE, AFTER])
    def test_at_any_moment_of_a_recall(
        self, around: Surroundings, engine: RecallEngine, write: int, trouble: str
    ) -> None:
        # Also when the dispatcher cannot know what has become of its change: it must not lose what it asked for.
        around.time.trouble = ["", *[""] * write, trouble]
        job = submit(engine, 1, 2, 99)
        for _ in range(120):  # it may take a minute until it is sure that nobody else had asked
            around.spend(1)
            around.tapes.come()
        assert around.time.trouble == []
        assert states(engine, job) == {1: COMPLETED, 2: COMPLETED, 99: FAILED}
        assert around.tapes.twice == []
        assert [around.tapes.files[each].reads for each in (1, 2)] == [1, 1]

    def test_the_storage_system_is_away(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.down = "The robot is on strike."
        job = submit(engine, 1)
        around.spend(20)
        assert (state(engine, job), files(engine, job)[1].reason) == (QUEUED, "The robot is on strike.")
        around.tapes.down = ""
        around.tapes.prompt = True
        around.spend(40)
        assert state(engine, job) is COMPLETED

    @pytest.mark.parametrize("delay", [0, 1])
    def test_the_storage_system_is_away_while_it_recalls(
        self, around: Surroundings, engine: RecallEngine, delay: float
    ) -> None:
        job = submit(engine, 1)
        around.spend(2)
        around.tapes.down, around.tapes.delay = "The robot is on strike.", delay
        around.spend(10)
        around.tapes.calls.clear()
        for _ in range(60):
            around.spend(5)
            assert done(engine._read(circumstances))[1] == "The robot is on strike.", "that is said all the time"
        assert around.tapes.calls["poll"] <= 15, "it is asked less and less often"
        around.tapes.down, around.tapes.delay = "", 0
        around.tapes.come()
        around.spend(40)
        assert state(engine, job) is COMPLETED
        assert around.tapes.files[1].reads == 1

    def test_a_file_that_is_removed_and_written_again(self, around: Surroundings, engine: RecallEngine) -> None:
        # Its old recall must not count any more, or the only drive is taken to be busy for ever.
        around.tapes.add(20, medium="V0")
        first = submit(engine, 20)
        around.spend(1)
        around.tapes.down = "So that it says nothing of the old recall."
        del around.tapes.files[20]
        engine.was_removed(20)
        around.spend(1)
        assert (state(engine, first), files(engine, first)[20].reason) == (FAILED, "The file was removed.")
        around.tapes.add(20, medium="V0")
        around.tapes.down = ""
        around.tapes.prompt = True
        jobs = [submit(engine, 20), submit(engine, 1)]
        around.spend(60)
        assert [state(engine, each) for each in jobs] == [COMPLETED, COMPLETED]

    def test_an_answer_that_comes_too_late(self, around: Surroundings, engine: RecallEngine) -> None:
        # It is about a recall that has ended; another one is under way by then.
        around.tapes.agrees = False
        first = submit(engine, 1)
        around.spend(1)
        around.tapes.delay = 6
        done(engine.cancel(first))  # it is asked to give it up, and takes its time
        around.tapes.delay = 0
        around.tapes.come()
        around.spend(1.5)
        assert state(engine, first) is CANCELLED
        around.tapes.files[1].on_disk = False
        second = submit(engine, 1)
        around.spend(10)
        assert around.tapes.under_way() == [1]
        assert recalls(engine) == {1: RecallState.STARTED}
        assert state(engine, second) is STARTED
        assert around.tapes.files[1].reads == 2
        assert around.tapes.twice == []
        around.tapes.come()
        around.spend(3)
        assert state(engine, second) is COMPLETED

    @pytest.mark.parametrize("said", [Said.FAILED, Said.UNKNOWN, Said.RESIDENT])
    @pytest.mark.parametrize("waits", [True, False])
    def test_a_verdict_that_comes_too_late(
        self, around: Surroundings, engine: RecallEngine, waits: bool, said: Said
    ) -> None:
        # The file was removed and written again meanwhile; the new recall waits, or is under way.
        submit(engine, 1)
        around.tapes.delay = 6
        around.spend(1)
        around.tapes.files[1].on_disk = said is Said.RESIDENT
        around.tapes.files[1].sentence = RecallProgress(said, "the tape is torn")
        around.spend(3.5)
        around.tapes.delay = 0
        if waits:
            around.tapes.down = "So that it is not looked up."
        del around.tapes.files[1]
        engine.was_removed(1)
        around.spend(1)
        around.tapes.add(1)
        second = submit(engine, 1)
        assert recalls(engine) == {1: RecallState.NEW if waits else RecallState.STARTED}
        around.spend(4)
        assert not state(engine, second).ended, "that was said of the file that was removed"
        expected = (RecallState.NEW, RecallState.QUEUED) if waits else (RecallState.STARTED,)
        assert recalls(engine)[1] in expected
        around.tapes.down = ""
        for _ in range(20):
            around.spend(2)
            around.tapes.come()
        assert state(engine, second) is COMPLETED
        assert around.tapes.files[1].reads == 1


class TestLife:
    def test_jobs_outlive_their_process(self, around: Surroundings) -> None:
        around.tapes.add(1, 2, 20)
        around.tapes.files[20].medium = "V0"
        first = around.engine(drives=1)
        job = submit(first, 1, 2, 20)
        around.spend(2)
        assert around.tapes.under_way() == [1, 2]
        around.stop(first)
        second = around.engine(drives=1)
        assert states(second, job) == {1: STARTED, 2: STARTED, 20: QUEUED}
        around.tapes.prompt = True
        around.tapes.come()
        around.spend(10)
        assert set(states(second, job).values()) == {COMPLETED}
        assert {each.reads for each in around.tapes.files.values()} == {1}

    def test_another_process_takes_over(self, around: Surroundings) -> None:
        around.tapes.add(1, 2)
        reactors = [VirtualReactor(around.time) for _ in range(2)]
        first, second = (around.engine(each) for each in reactors)
        job = submit(second, 1)
        around.spend(2)
        assert around.tapes.under_way() == [1]
        reactors[0].die()
        around.forget(first)
        later = submit(second, 2)
        around.spend(LEASE_TIMEOUT - 3)
        assert around.tapes.under_way() == [1]
        around.spend(8)
        assert around.tapes.under_way() == [1, 2]
        around.tapes.come()
        around.spend(3)
        assert [state(second, each) for each in (job, later)] == [COMPLETED, COMPLETED]
        assert [each.reads for each in around.tapes.files.values()] == [1, 1]

    def test_another_process_takes_over_at_once_from_one_that_ends(self, around: Surroundings) -> None:
        around.tapes.add(1)
        first, second = (around.engine(VirtualReactor(around.time)) for _ in range(2))
        around.stop(first)
        submit(second, 1)
        around.spend(3)
        assert around.tapes.under_way() == [1]

    @pytest.mark.parametrize("after", [0.0, 0.05, 0.15, 0.25, 0.35])
    def test_ends_while_it_begins(self, around: Surroundings, after: float) -> None:
        reactor = VirtualReactor(around.time)
        reactor.latency = 0.1
        engine = RecallEngine(reactor, around.tapes, around.settings(), "memory:/archive", make_pool=reactor.make_pool)
        starting = Going(awaited(engine.startService()))
        around.spend(after)
        stopping = Going(awaited(engine.stopService()))
        around.spend(5)
        assert stopping.result is None
        assert starting.ended
        assert not around.time.getDelayedCalls()
        # Nobody has to wait for a lease that it took on its way out.
        around.tapes.add(1)
        other = around.engine()
        submit(other, 1)
        around.spend(2)
        assert around.tapes.under_way() == [1]

    def test_ends_with_followers_and_waiters(self, around: Surroundings) -> None:
        around.tapes.add(1)
        engine = around.engine()
        job = submit(engine, 1)
        following, waiting = Going(all_of(engine, job)), Going(engine.wait(1, 1000))
        around.spend(3)
        engine.stop_waiting()
        assert waiting.result is False
        assert [len(page.files) for page in following.result] == [1]
        around.stop(engine)
        with pytest.raises(errors.BackendUnavailable, match="about to stop"):
            submit(engine, 1)

    def test_notes_what_was_read_before_it_ends(self, around: Surroundings) -> None:
        around.tapes.add(1)
        around.tapes.prompt = True
        engine = around.engine()
        done(engine.want(1, "a"))
        around.spend(3)
        engine.was_read(1)
        around.stop(engine)
        assert pinned(around.engine()) == []
