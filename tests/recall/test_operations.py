"""What operators see of the queue, and do with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pacarchive import errors
from pacarchive.model import RecallProgress
from pacarchive.model import RecallState as Said
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.lease import LEASE_TIMEOUT
from pacarchive.recall.operations import FRESH, Operations
from pacarchive.recall.overview import overview
from pacarchive.recall.schema import STEPS
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Store, StoreSettings, Transaction
from pacarchive.recall.tables import RecallState
from pacarchive.recall.views import Amount, CartridgeOrder, CartridgeRow, Overview
from pacarchive.recall.words import HoldKind, JobRequest, Priority, Retried, RetryFilter
from recall.jobs import COMPLETED, FAILED, QUEUED, STARTED, files, priority_of, recalls, state, states, submit
from recall.surroundings import ARCHIVE, Going, Surroundings, VirtualReactor, done

TORN = RecallProgress(Said.FAILED, "The tape is torn.")
AWAY = RecallProgress(Said.UNKNOWN, "The tape is away.")


def seen(engine: RecallEngine) -> Overview:
    return done(engine.operations.overview())


def amounts(page_of: Operations) -> dict[str, tuple[int, int, int]]:
    """Files queued, started and failed, by cartridge."""
    rows = done(page_of.cartridges()).rows
    return {row.cartridge: (row.states.queued.files, row.states.started.files, row.failed.files) for row in rows}


@pytest.fixture
def two_cartridges(around: Surroundings) -> RecallEngine:
    """One drive; files 1 to 3 on V1, 11 to 13 on V2."""
    around.tapes.add(1, 2, 3)
    around.tapes.add(11, 12, 13, medium="V2", size=5000)
    return around.engine(drives=1, attempts=2)


class TestHolds:
    def test_a_cartridge(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """Nothing of it is submitted, everybody is told why, and the rest goes on; then it goes on as well."""
        engine, operations = two_cartridges, two_cartridges.operations
        made = done(operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V1", why="It is being cleaned."))
        job, other = submit(engine, 1, 2, 3), submit(engine, 11, owner="b")
        around.spend(10)
        assert around.tapes.under_way() == [11]
        words = "Cartridge V1 is held by eve: It is being cleaned."
        assert {each.reason for each in files(engine, job).values()} == {words}
        status = done(engine.status(job))
        assert status.trouble is not None
        assert (status.trouble.files, status.trouble.reason, status.estimate) == (3, words, None)
        assert done(engine.status(other)).trouble is None
        assert done(engine.status(other)).estimate is not None
        assert done(engine.reason(1)) == words
        assert f"3 files: {words}" in seen(engine).problems
        assert list(seen(engine).holds) == list(done(operations.holds())) == [made]
        row = done(operations.cartridge("V1"))
        assert row is not None
        assert (row.hold, row.place, row.begins, row.states.queued) == (made, None, None, Amount(3, 3000))
        done(operations.resume(HoldKind.CARTRIDGE, "V1"))
        assert done(operations.holds()) == []
        around.tapes.come(11)
        around.spend(5)
        assert set(states(engine, job).values()) == {STARTED}
        assert done(engine.status(job)).trouble is None
        with pytest.raises(errors.NotFound):
            done(operations.resume(HoldKind.CARTRIDGE, "V1"))

    def test_a_cartridge_that_is_being_read(self, around: Surroundings) -> None:
        """What was submitted is recalled, nothing more of it is, and its drive is for another."""
        around.tapes.add(*range(1, 50))
        around.tapes.add(101, medium="V2")
        engine = around.engine(drives=1, outstanding=5)
        job = submit(engine, *range(1, 50))
        around.spend(3)
        submitted = around.tapes.under_way()
        assert 0 < len(submitted) < 49
        done(engine.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V1"))
        submit(engine, 101)
        for _ in range(5):
            around.tapes.come()
            around.spend(3)
        assert [each for each, found in states(engine, job).items() if found is COMPLETED] == submitted
        assert around.tapes.files[101].on_disk
        assert files(engine, job)[49].reason == "Cartridge V1 is held by eve."
        around.tapes.prompt = True
        done(engine.operations.resume(HoldKind.CARTRIDGE, "V1"))
        around.spend(200)
        assert set(states(engine, job).values()) == {COMPLETED}

    def test_all(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """A drain: what runs ends, nothing is begun, and requests are still taken."""
        engine = two_cartridges
        first = submit(engine, 1)
        around.spend(3)
        done(engine.operations.hold(HoldKind.ALL, "eve", why="maintenance"))
        second = submit(engine, 2, 11)
        around.spend(5)
        around.tapes.come()
        around.spend(5)
        assert (state(engine, first), set(states(engine, second).values())) == (COMPLETED, {QUEUED})
        assert around.tapes.under_way() == []
        words = "All recalls are held by eve: maintenance."
        assert {each.reason for each in files(engine, second).values()} == {words}
        trouble = done(engine.status(second)).trouble
        assert trouble is not None
        assert trouble.reason == words
        around.spend(FRESH)
        assert seen(engine).problems == [words]
        assert (seen(engine).drives_usable, seen(engine).through) == (0, None)
        around.tapes.prompt = True
        done(engine.operations.resume(HoldKind.ALL))
        around.spend(20)
        assert set(states(engine, second).values()) == {COMPLETED}

    @pytest.mark.parametrize(("drives", "mediums"), [(0, 0), (1, 1), (2, 2), (9, 3)])
    def test_drives(self, around: Surroundings, drives: int, mediums: int) -> None:
        """So many cartridges are read at a time, and never more than the settings say."""
        for number in range(1, 6):
            around.tapes.add(number, medium=f"V{number}")
        engine = around.engine(drives=3)
        done(engine.operations.hold(HoldKind.DRIVES, "eve", drives=drives, why="repair"))
        submit(engine, *range(1, 6))
        around.spend(10)
        assert len(around.tapes.under_way()) == mediums
        assert seen(engine).drives_usable == mediums
        assert ("All drives are held by eve: repair." in seen(engine).problems) == (drives == 0)

    def test_fewer_drives_than_are_in_use(self, around: Surroundings) -> None:
        """The cartridges that were chosen last are not read any further."""
        for number in range(3):
            around.tapes.add(*range(number * 100, number * 100 + 50), medium=f"V{number}")
        engine = around.engine(drives=3, outstanding=2)
        submit(engine, *(each for number in range(3) for each in range(number * 100, number * 100 + 50)))
        around.spend(5)
        assert len(around.tapes.under_way()) == 6
        done(engine.operations.hold(HoldKind.DRIVES, "eve", drives=1))
        around.spend(1)
        for _ in range(4):
            around.tapes.come()
            around.spend(3)
        assert len({around.tapes.files[each].medium for each in around.tapes.under_way()}) == 1
        around.spend(FRESH)
        assert seen(engine).drives_usable == 1

    def test_end_by_themselves(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        engine, now = two_cartridges, around.time.seconds()
        done(engine.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V1", until=now + 60))
        job = submit(engine, 1)
        around.spend(58)
        assert state(engine, job) is QUEUED
        around.spend(6)
        assert state(engine, job) is STARTED
        assert done(engine.operations.holds()) == []
        with pytest.raises(errors.InvalidRequest, match="passed"):
            done(engine.operations.hold(HoldKind.ALL, "eve", until=now))

    def test_outlive_every_process(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """They are respected by whichever process is the dispatcher, and made by any."""
        made = done(two_cartridges.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V1", why="x"))
        job = submit(two_cartridges, 1)
        around.stop(two_cartridges)
        first, second = around.engine(drives=1), around.engine(VirtualReactor(around.time), drives=1)
        around.spend(10)
        assert first._dispatcher is not None
        assert second._dispatcher is None
        assert done(second.operations.holds()) == [made]
        assert around.tapes.calls["recall"] == 0
        done(second.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V2"))
        other = submit(first, 11)
        around.spend(5)
        assert around.tapes.calls["recall"] == 0
        done(second.operations.resume(HoldKind.CARTRIDGE, "V1"))
        around.spend(3)
        assert (state(first, job), state(first, other)) == (STARTED, QUEUED)

    def test_a_hold_comes_between(self, around: Surroundings) -> None:
        """Nothing is submitted after a hold was acknowledged, although the dispatcher had decided to before."""
        around.tapes.add(1)
        around.engine(drives=1)
        other = around.engine(VirtualReactor(around.time), drives=1)
        around.spend(3)
        around.time.latency = 0.3  # of the dispatcher's calls
        going = Going(other.submit(JobRequest(owner="a", file_ids=[1])))
        held = None
        for _ in range(60):
            around.spend(0.1)
            if held is None and going.ended and RecallState.QUEUED in recalls(other).values():
                held = done(other.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V1"))
        assert held is not None
        assert around.tapes.calls["recall"] == 0
        around.time.latency = 0

    def test_replaces_the_one_before(self, two_cartridges: RecallEngine) -> None:
        operations = two_cartridges.operations
        done(operations.hold(HoldKind.DRIVES, "eve", drives=3))
        done(operations.hold(HoldKind.DRIVES, "ada", drives=2))
        assert [(each.who, each.drives) for each in done(operations.holds())] == [("ada", 2)]

    def test_are_seen_at_once_by_who_makes_and_ends_them(self, two_cartridges: RecallEngine) -> None:
        """However short ago somebody has looked; and so are they in the rows of cartridges."""
        engine, operations = two_cartridges, two_cartridges.operations

        def held() -> list[bool]:
            row = done(operations.cartridge("V1"))
            return [bool(seen(engine).holds), row is not None and row.hold is not None]

        assert held() == [False, False]
        done(operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V1"))
        assert held() == [True, True]
        done(operations.resume(HoldKind.CARTRIDGE, "V1"))
        assert held() == [False, False]

    def test_are_not_too_many(self, two_cartridges: RecallEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pacarchive.recall.holds.MOST", 2)
        for name in ("V1", "V2", "V2"):
            done(two_cartridges.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge=name))
        with pytest.raises(errors.InvalidRequest, match="2 holds"):
            done(two_cartridges.operations.hold(HoldKind.CARTRIDGE, "eve", cartridge="V3"))


class TestRetrying:
    @pytest.fixture
    def torn(self, around: Surroundings, two_cartridges: RecallEngine) -> tuple[RecallEngine, str, str]:
        """Two jobs, of a and b, that have failed, and the tape was repaired since."""
        for each in (1, 2, 11):
            around.tapes.files[each].sentence = TORN
        jobs = submit(two_cartridges, 1, 2), submit(two_cartridges, 2, 11, owner="b")
        around.spend(20)
        assert {*states(two_cartridges, jobs[0]).values(), *states(two_cartridges, jobs[1]).values()} == {FAILED}
        for each in (1, 2, 11):
            around.tapes.files[each].sentence = None
        around.tapes.prompt = True
        return two_cartridges, *jobs

    @pytest.mark.parametrize(
        ("wanted", "requests"),
        [
            (lambda jobs: RetryFilter(), 4),
            (lambda jobs: RetryFilter(cartridge="V2"), 1),
            (lambda jobs: RetryFilter(owner="a"), 2),
            (lambda jobs: RetryFilter(job=jobs[1]), 2),
            (lambda jobs: RetryFilter(job=jobs[1], cartridge="V1"), 1),
            (lambda jobs: RetryFilter(reason="The tape is torn."), 4),
            (lambda jobs: RetryFilter(reason="The tape"), 0),
            (lambda jobs: RetryFilter(since=1_000_000_000.0), 4),
            (lambda jobs: RetryFilter(since=2_000_000_000.0), 0),
        ],
        ids=["all", "cartridge", "owner", "job", "job-and-cartridge", "reason", "other-reason", "since", "later"],
    )
    def test_what_has_failed(
        self,
        around: Surroundings,
        torn: tuple[RecallEngine, str, str],
        wanted: Callable[[tuple[str, ...]], RetryFilter],
        requests: int,
    ) -> None:
        """So many as were told before; jobs that had ended go on, and end."""
        engine, *jobs = torn
        filtered = wanted(tuple(jobs))
        assert done(engine.operations.count_retries(filtered)) == Retried(failed=requests, hurried=0)
        assert seen(engine).failed.files == 4
        around.tapes.prompt = False
        done(engine.operations.retry(filtered))
        left = sum(done(engine.status(job)).summary.left for job in jobs)
        assert left == requests
        assert [done(engine.status(job)).summary.ended is None for job in jobs].count(True) >= (requests > 0)
        around.tapes.prompt = True
        around.tapes.come()
        around.spend(20)
        found = [found for job in jobs for found in states(engine, job).values()]
        assert (found.count(COMPLETED), found.count(FAILED)) == (requests, 4 - requests)
        assert seen(engine).failed.files == 4 - requests
        assert all(done(engine.status(job)).summary.ended for job in jobs)

    def test_what_fails_again(self, around: Surroundings, torn: tuple[RecallEngine, str, str]) -> None:
        """It is retried once, with all its attempts, and can be retried again."""
        engine, job, _ = torn
        around.tapes.files[1].sentence = AWAY
        done(engine.operations.retry(RetryFilter(owner="a")))
        around.spend(30)
        assert states(engine, job) == {1: FAILED, 2: COMPLETED}
        assert files(engine, job)[1].reason == "Tried 2 times; the last time: The tape is away."
        around.tapes.files[1].sentence = None
        assert done(engine.operations.retry(RetryFilter(job=job))) == Retried(failed=1, hurried=0)
        around.spend(10)
        assert states(engine, job) == {1: COMPLETED, 2: COMPLETED}

    def test_after_the_deadline(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """The job gets another one."""
        done(two_cartridges.operations.hold(HoldKind.ALL, "eve"))
        job = submit(two_cartridges, 1, deadline=10)
        around.spend(20)
        assert state(two_cartridges, job) is FAILED
        done(two_cartridges.operations.resume(HoldKind.ALL))
        around.tapes.prompt = True
        done(two_cartridges.operations.retry(RetryFilter()))
        around.spend(10)
        assert state(two_cartridges, job) is COMPLETED
        assert done(two_cartridges.status(job)).summary.deadline > around.time.seconds() + 100

    def test_what_is_backing_off(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """It is tried again at once, rather than after the pause; only what is asked for."""
        engine = two_cartridges
        for each in (1, 11):
            around.tapes.files[each].sentence = AWAY
        job, other = submit(engine, 1), submit(engine, 11)
        around.spend(3)
        around.tapes.files[11].sentence = around.tapes.files[1].sentence = None
        for name in (job, other):
            (found,) = files(engine, name).values()
            assert found.next_try is not None
        reads = around.tapes.files[1].reads
        wanted = RetryFilter(cartridge="V1", owner="a", reason="The tape is away.", job=job, since=0)
        assert done(engine.operations.count_retries(wanted)) == Retried(failed=0, hurried=1)
        assert done(engine.operations.retry(wanted)) == Retried(failed=0, hurried=1)
        assert done(engine.operations.count_retries(wanted)) == Retried(failed=0, hurried=0)
        around.spend(1.6)
        assert around.tapes.files[1].reads == reads + 1
        assert [each.next_try is None for each in files(engine, other).values()] == [False]

    def test_many_in_steps(
        self, around: Surroundings, torn: tuple[RecallEngine, str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pacarchive.recall.retrying.AT_ONCE", 1)
        engine, job, other = torn
        assert done(engine.operations.retry(RetryFilter())) == Retried(failed=4, hurried=0)
        around.spend(20)
        assert {*states(engine, job).values(), *states(engine, other).values()} == {COMPLETED}

    def test_a_job_that_there_is_not(self, two_cartridges: RecallEngine) -> None:
        for ask in (two_cartridges.operations.count_retries, two_cartridges.operations.retry):
            with pytest.raises(errors.NotFound):
                done(ask(RetryFilter(job="0" * 32)))

    def test_what_is_forgotten_is_not_retried(self, torn: tuple[RecallEngine, str, str]) -> None:
        engine, job, other = torn
        done(engine.delete(job))
        assert done(engine.operations.count_retries(RetryFilter())) == Retried(failed=2, hurried=0)
        done(engine.delete(other))
        assert (seen(engine).failed, seen(engine).reasons) == (Amount(), [])


class TestPriority:
    def test_of_what_waits(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """Its files get it, unless another job wants them with more urgency."""
        engine = two_cartridges
        done(engine.operations.hold(HoldKind.ALL, "eve"))
        job = submit(engine, 1, 2)
        submit(engine, 2, owner="b", priority=Priority.HIGH)
        around.spend(3)
        done(engine.operations.change_priority(job, Priority.LOW))
        around.spend(3)
        assert done(engine.status(job)).summary.priority is Priority.LOW
        assert priority_of(engine, 1) == (RecallState.QUEUED, Priority.LOW)
        assert priority_of(engine, 2) == (RecallState.QUEUED, Priority.HIGH)
        done(engine.operations.change_priority(job, Priority.HIGH))
        around.spend(3)
        assert priority_of(engine, 1) == (RecallState.QUEUED, Priority.HIGH)
        with pytest.raises(errors.NotFound):
            done(engine.operations.change_priority("0" * 32, Priority.LOW))

    def test_of_many_files(self, around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pacarchive.recall.priorities.AT_ONCE", 2)
        ids = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
        around.tapes.add(*ids)
        engine = around.engine(drives=1)
        done(engine.operations.hold(HoldKind.ALL, "eve"))
        job = submit(engine, *ids)
        around.spend(3)
        done(engine.operations.change_priority(job, Priority.HIGH))
        around.spend(3)
        found = done(engine._store.read(lambda cursor: cursor.rows("SELECT DISTINCT state, priority FROM recalls")))
        assert [tuple(row) for row in found] == [(RecallState.QUEUED, Priority.HIGH)]


class TestOverview:
    def test_of_an_empty_queue(self, around: Surroundings, engine: RecallEngine) -> None:
        around.spend(10)
        found = seen(engine)
        assert (found.states.waiting, found.states.started, found.failed) == (Amount(), Amount(), Amount())
        assert (found.problems, found.drives, found.upcoming, found.reasons, found.holds) == ([], [], [], [], [])
        assert (found.through, found.buffer.limit, found.drive_limit, found.drives_usable) == (None, None, 1, 1)
        assert found.dispatcher
        assert done(engine.operations.cartridges()).rows == []
        assert done(engine.operations.owners()).rows == []

    def test_without_a_dispatcher(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """It is told where something waits, and not before a process has had the time to become it."""
        engine, words = two_cartridges, "No process is the dispatcher: nothing is recalled."

        def problems(begun: float) -> bool:
            def look(transaction: Transaction) -> bool:
                transaction.execute("UPDATE turn SET holder = ''")
                return words in overview(transaction, RecallSettings(), around.time.seconds(), begun).problems

            return done(engine._store.write(look))

        around.spend(20)
        assert not problems(0)
        submit(engine, 1)
        assert problems(0)
        assert not problems(around.time.seconds() - LEASE_TIMEOUT)

    def test_of_a_busy_one(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """What is read, what comes next, what has come and what has failed; all with its age."""
        engine = two_cartridges
        around.tapes.files[3].sentence = TORN
        submit(engine, 1, 2, 3)
        around.spend(3)
        submit(engine, 11, 12, owner="b")
        around.spend(10)
        around.tapes.come(1)
        around.spend(10)
        found = seen(engine)
        assert found.made == around.time.seconds()
        assert found.planned is not None
        assert 0 <= found.made - found.planned <= 6
        assert (found.states.queued, found.states.started) == (Amount(2, 10000), Amount(1, 1000))
        assert (found.completed_hour, found.completed_day, found.failed) == (
            Amount(1, 1000),
            Amount(1, 1000),
            Amount(1, 1000),
        )
        assert [(each.cartridge, each.owner, each.mounted, each.submitted) for each in found.drives] == [
            ("V1", "a", True, Amount(1, 1000))
        ]
        assert [(each.cartridge, each.files) for each in found.upcoming] == [("V2", 2)]
        assert found.through == found.upcoming[0].ends
        assert [(each.reason, each.amount.files, each.for_good) for each in found.reasons] == [
            ("The tape is torn.", 1, True)
        ]
        assert [each.amount.files for each in found.ages] == [2, 0, 0, 0, 0]
        assert (found.cartridges, found.owners) == (1, 1)
        assert found.buffer.pinned == Amount(1, 1000)
        assert amounts(engine.operations) == {"V1": (0, 1, 1), "V2": (2, 0, 0)}
        first, second = done(engine.operations.cartridges()).rows
        assert (first.reading, first.place, second.reading, second.place) == (True, None, False, 1)
        assert second.oldest is not None
        owners = {row.owner: row for row in done(engine.operations.owners()).rows}
        assert (owners["a"].completed_day, owners["a"].failed, owners["a"].pins) == (Amount(1, 1000),) * 3
        assert (owners["b"].states.queued, owners["b"].jobs, owners["b"].kept_files) == (Amount(2, 10000), 1, 2)
        assert owners["b"].oldest == second.oldest

    def test_of_what_is_stuck(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """Each reason why nothing moves is told."""
        engine = two_cartridges
        submit(engine, 1)
        around.spend(1000)
        assert seen(engine).problems == ["No file of cartridge V1 has come for 1,000 seconds."]
        around.tapes.down = "HPSS does not answer."
        submit(engine, 11)
        around.spend(60)
        assert "HPSS does not answer." in seen(engine).problems
        around.tapes.down = ""
        around.spend(120)
        around.tapes.prompt = True
        around.tapes.come()
        around.spend(20)
        around.tapes.files[12].sentence = AWAY
        submit(engine, 12)
        around.spend(3)
        assert seen(engine).problems == ["1 file to be tried again: The tape is away."]

    def test_of_ages(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        done(two_cartridges.operations.hold(HoldKind.ALL, "eve"))
        submit(two_cartridges, 1, 2)
        around.time.advance(5 * 3600)
        submit(two_cartridges, 11)
        around.spend(10)
        assert [each.amount.files for each in seen(two_cartridges).ages] == [1, 2, 0, 0, 0]
        around.time.advance(80 * 3600)
        around.spend(10)
        assert [each.amount.files for each in seen(two_cartridges).ages] == [0, 0, 0, 0, 3]

    def test_is_shared(self, around: Surroundings, engine: RecallEngine) -> None:
        """All who ask within a second get the same, of one reading; nobody asks, nothing is read."""
        first = seen(engine)
        submit(engine, 1)
        assert seen(engine) is first
        around.spend(FRESH)
        assert seen(engine) is not first
        assert seen(engine).states.waiting.files + seen(engine).states.started.files == 1

    def test_is_shared_while_it_is_read(self, around: Surroundings) -> None:
        """Also by those who come while it is; a slow store is not asked again at once."""
        around.tapes.add(1)
        engine = around.engine()
        around.spend(2)
        around.time.latency = 0.2
        going = [Going(engine.operations.overview()) for _ in range(3)]
        around.spend(0.5)
        assert going[0].result is going[1].result is going[2].result
        around.spend(2)
        again = Going(engine.operations.overview())
        around.spend(0.5)
        assert again.result is going[0].result
        around.spend(3)
        again = Going(engine.operations.overview())
        around.spend(0.5)
        assert again.result is not going[0].result
        around.time.latency = 0

    def test_of_one_owner(self, around: Surroundings, two_cartridges: RecallEngine) -> None:
        """Others' files do not count."""
        done(two_cartridges.operations.hold(HoldKind.ALL, "eve"))
        submit(two_cartridges, 1, 2, 11)
        submit(two_cartridges, 3, owner="b")
        around.spend(3)
        (row,) = done(two_cartridges.operations.cartridges(owner="b")).rows
        assert (row.cartridge, row.states.queued.files) == ("V1", 1)
        (owner,) = done(two_cartridges.operations.owners(owner="b")).rows
        assert (owner.owner, owner.states.queued.files) == ("b", 1)

    @pytest.mark.parametrize("order", CartridgeOrder, ids=lambda order: order.value)
    def test_pages_of_cartridges(self, around: Surroundings, order: CartridgeOrder) -> None:
        """Each is on one page, in order."""
        for number in range(7):
            around.tapes.add(*range(number * 10, number * 10 + 1 + number % 3), medium=f"V{number}")
        engine = around.engine(drives=1)
        submit(engine, *around.tapes.files)
        around.spend(10)
        found: list[CartridgeRow] = []
        after: str | None = None
        while True:
            page = done(engine.operations.cartridges(order=order, after=after, limit=3))
            found += page.rows
            assert page.total == 7
            if (after := page.next) is None:
                break
        assert sorted(row.cartridge for row in found) == [f"V{number}" for number in range(7)]
        match order:
            case CartridgeOrder.FILES:
                numbers = [row.states.waiting.files + row.states.started.files for row in found]
                assert numbers == sorted(numbers, reverse=True)
            case CartridgeOrder.NEXT:
                assert [row.place for row in found] == [None, 1, 2, 3, 4, 5, 6]
            case CartridgeOrder.NAME:
                assert [row.cartridge for row in found] == sorted(row.cartridge for row in found)
        for bad in ("x", "3", '["x"', '{"a": 1}', "[[]]"):
            with pytest.raises(errors.InvalidRequest):
                done(engine.operations.cartridges(order=order, after=bad))

    def test_pages_of_owners(self, around: Surroundings, engine: RecallEngine) -> None:
        for number in range(5):
            submit(engine, number + 1, owner=f"owner{number}")
        around.spend(2)
        page = done(engine.operations.owners(limit=3))
        rest = done(engine.operations.owners(limit=3, after=page.next))
        assert [row.owner for row in (*page.rows, *rest.rows)] == [f"owner{number}" for number in range(5)]
        assert rest.next is None


def test_a_store_of_an_earlier_version(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is brought up to date: what is in there is counted, and what has failed can be retried."""
    settings = around.settings()
    address = StoreSettings(address=settings.store, password=settings.store_password, archive=ARCHIVE)
    with monkeypatch.context() as patch:
        patch.setattr("pacarchive.recall.store.STEPS", STEPS[:2])
        earlier = Store(around.time, address, around.time.make_pool)
        done(earlier.start())
    now = around.time.seconds()

    def fill(transaction: Transaction) -> None:
        for number, job in ((1, "a" * 32), (2, "b" * 32)):
            transaction.execute(
                "INSERT INTO jobs (number, job, owner, priority, created, deadline, pin, until_read, ended, files,"
                " remaining, others) VALUES (?, ?, 'ada', 0, ?, ?, 60, 0, ?, 2, ?, '[]')",
                *(number, job, now, now + 1000, None if number == 1 else now, 2 if number == 1 else 0),
            )
        for file, wish in ((1, 0), (11, 0), (2, 4), (3, 3)):
            transaction.execute(
                "INSERT INTO wishes (job, file, state, seq, pin, size, ended, reason) VALUES (?, ?, ?, 1, 60, 7, ?, ?)",
                *(1 if wish == 0 else 2, file, wish, None if wish == 0 else now, "It is torn." if wish == 4 else None),
            )
        for file, place in ((1, "V1"), (11, "V2")):
            transaction.execute(
                "INSERT INTO recalls (file, state, owner, priority, since, medium, position, size, request, attempts,"
                " resting, reason) VALUES (?, 1, 'ada', 0, ?, ?, 1, 7, '', 0, 0, '')",
                *(file, now, place),
            )
        transaction.execute("INSERT INTO pins VALUES (3, 2, 7, ?, 0)", now + 1000)

    done(earlier.write(fill))
    done(earlier.stop())
    around.tapes.add(1, 2, 3)
    around.tapes.add(11, medium="V2")
    around.tapes.down = "It is not asked for anything yet."
    engine = around.engine()
    around.spend(1)
    found = seen(engine)
    assert (found.states.started, found.failed, found.buffer.pinned) == (Amount(2, 14), Amount(1, 7), Amount(1, 7))
    assert amounts(engine.operations) == {"": (0, 0, 1), "V1": (0, 1, 0), "V2": (0, 1, 0)}
    around.tapes.down, around.tapes.prompt = "", True
    assert done(engine.operations.retry(RetryFilter(reason="It is torn."))) == Retried(failed=1, hurried=0)
    around.spend(60)
    assert {*states(engine, "a" * 32).values(), *states(engine, "b" * 32).values()} == {COMPLETED}


def test_wrong_counts_are_put_right(around: Surroundings, two_cartridges: RecallEngine) -> None:
    """By the next dispatcher: nodes of an earlier version do not keep them."""
    engine = two_cartridges
    done(engine.operations.hold(HoldKind.ALL, "eve"))
    around.tapes.files[3].on_disk = True
    submit(engine, 1, 2, 3, 11)
    around.spend(3)
    right = amounts(engine.operations)
    found = seen(engine)
    assert (found.states.queued.files, found.buffer.pinned.files) == (3, 1)
    for query in ("DELETE FROM counts WHERE state < 10", "DELETE FROM counts WHERE state = 10", "DELETE FROM counts"):
        done(engine._store.write(lambda transaction, query=query: transaction.execute(query)))  # type: ignore[misc]
        around.stop(engine)
        engine = around.engine(drives=1)
        around.spend(3)
        assert amounts(engine.operations) == right
        again = seen(engine)
        assert (again.states, again.ages, again.buffer) == (found.states, found.ages, found.buffer)


def test_right_counts_are_left(around: Surroundings, two_cartridges: RecallEngine) -> None:
    """To count a million files anew would hold everybody up."""
    done(two_cartridges.operations.hold(HoldKind.ALL, "eve"))
    submit(two_cartridges, 1, 2, 11)
    around.spend(3)
    query = "UPDATE counts SET size = 7 WHERE state = 1 AND medium = 'V2'"
    done(two_cartridges._store.write(lambda transaction: transaction.execute(query)))
    around.stop(two_cartridges)
    engine = around.engine(drives=1)
    around.spend(3)
    row = done(engine.operations.cartridge("V2"))
    assert row is not None
    assert row.states.queued == Amount(1, 7)
