"""What was recalled stays on disk for those who wanted it, for as long as they may have it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pacarchive import errors
from pacarchive.recall.engine import RecallEngine
from recall.jobs import COMPLETED, EXTREMES, files, pinned, states, submit
from recall.surroundings import BEFORE, Surroundings, done


class TestPins:
    @pytest.fixture
    def jobs(self, around: Surroundings, engine: RecallEngine) -> Sequence[str]:
        """Two jobs, of a and b; file 2 is that of both, and all have come."""
        around.tapes.prompt = True
        jobs = [submit(engine, 1, 2, owner="a"), submit(engine, 2, 3, owner="b")]
        around.spend(5)
        assert pinned(engine) == [1, 2, 2, 3]
        return jobs

    def test_are_ended_by_their_job(self, around: Surroundings, engine: RecallEngine, jobs: Sequence[str]) -> None:
        done(engine.release(jobs[0], [2]))
        assert pinned(engine) == [1, 2, 3]
        assert around.tapes.released == [], "somebody else has it pinned"
        done(engine.release(jobs[0]))
        assert pinned(engine) == [2, 3]
        assert around.tapes.released == [1]
        done(engine.release(jobs[0]))
        assert around.tapes.released == [1], "once is enough"
        done(engine.release(jobs[1]))
        assert around.tapes.released == [1, 2, 3]
        assert set(states(engine, jobs[1]).values()) == {COMPLETED}

    def test_that_are_no_files_of_the_job(self, engine: RecallEngine, jobs: Sequence[str]) -> None:
        with pytest.raises(errors.InvalidRequest, match="3"):
            done(engine.release(jobs[0], [1, 3]))
        assert pinned(engine) == [1, 2, 2, 3]

    def test_released_before_the_file_has_come(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(20, on_disk=True)
        job = submit(engine, 1, 2, 20)
        around.spend(1)
        done(engine.release(job, [1, 20]))
        assert around.tapes.released == [20], "what has not come was never pinned"
        around.tapes.come()
        around.spend(3)
        assert set(states(engine, job).values()) == {COMPLETED}
        assert pinned(engine) == [2]

    def test_expire(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(20, 21, on_disk=True)
        job = submit(engine, 20, 21, pins={20: 50, 21: 100})
        submit(engine, 20, owner="b", pins={20: 70})
        around.spend(1)
        expires = files(engine, job)[20].pinned
        assert expires == pytest.approx(around.time.seconds() + 50, abs=1)
        around.spend(48)
        assert pinned(engine) == [20, 20, 21]
        around.spend(4)
        assert pinned(engine) == [20, 21]
        assert around.tapes.released == []
        around.spend(20)
        assert (pinned(engine), around.tapes.released) == ([21], [20])
        around.spend(30)
        assert (pinned(engine), around.tapes.released) == ([], [20, 21])
        assert files(engine, job)[20].pinned is None

    def test_end_all_at_once(self, around: Surroundings, engine: RecallEngine, jobs: Sequence[str]) -> None:
        assert done(engine.unpin(2)) == 2
        assert (pinned(engine), around.tapes.released) == ([1, 3], [2])
        assert done(engine.unpin(2)) == 0
        assert around.tapes.released == [2]

    def test_end_one_owners(self, around: Surroundings, engine: RecallEngine, jobs: Sequence[str]) -> None:
        """Those of others stay, and so does the file on disk until the last has ended; whose a job is can be asked."""
        owners = [done(engine.owner_of(job)) for job in jobs]
        mine = submit(engine, 2, owner="mine")
        around.spend(5)
        assert done(engine.owner_of(mine)) == "mine"
        assert "mine" not in owners
        assert done(engine.unpin(2, "nobody")) == 0
        assert done(engine.unpin(2, "mine")) == 1
        assert (pinned(engine).count(2), around.tapes.released) == (2, [])
        for owner in dict.fromkeys(owners):
            done(engine.unpin(2, owner))
        assert (pinned(engine).count(2), around.tapes.released) == (0, [2])
        with pytest.raises(errors.NotFound):
            done(engine.owner_of("0" * 32))

    def test_that_last_until_the_file_is_read(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.prompt = True
        done(engine.want(1, "a"))
        done(engine.want(2, "a"))
        submit(engine, 2, owner="b")
        around.spend(5)
        assert [(each.file_id, each.until_read) for each in done(engine.pins())] == [(1, True), (2, True), (2, False)]
        for _ in range(2):
            engine.was_read(1)
            engine.was_read(2)
            engine.was_read(77)
        around.spend(2)
        assert [(each.file_id, each.until_read) for each in done(engine.pins())] == [(2, False)]
        assert around.tapes.released == [1]

    def test_that_last_until_the_file_is_read_while_the_store_is_away(
        self, around: Surroundings, engine: RecallEngine
    ) -> None:
        around.tapes.prompt = True
        done(engine.want(1, "a"))
        around.spend(5)
        around.time.trouble = [BEFORE] * 4
        engine.was_read(1)
        around.spend(30)
        assert around.time.trouble == []
        assert pinned(engine) == []

    def test_of_a_file_that_is_removed(self, around: Surroundings, engine: RecallEngine, jobs: Sequence[str]) -> None:
        del around.tapes.files[2]
        engine.was_removed(2)
        around.spend(2)
        assert pinned(engine) == [1, 3]
        assert around.tapes.released == [], "there is nothing to release"

    def test_outlast_the_memory_of_their_job(self, around: Surroundings) -> None:
        engine = around.engine(keep=100)
        around.tapes.add(1, 2, on_disk=True)
        job = submit(engine, 1, 2, pins={1: 500, 2: 50})
        around.spend(150)
        assert pinned(engine) == [1], "what was promised is kept"
        assert states(engine, job) == {1: COMPLETED, 2: COMPLETED}
        around.spend(400)
        assert around.tapes.released == [2, 1]
        assert done(engine.jobs()) == []

    def test_come_in_pages(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(*EXTREMES, on_disk=True)
        jobs = [submit(engine, *EXTREMES, owner=owner) for owner in "abc"]
        around.spend(2)
        found: list[tuple[int, str]] = []
        while page := done(engine.pins(after=found[-1] if found else None, limit=4)):
            assert len(page) <= 4
            found += [(each.file_id, each.job) for each in page]
        assert len(found) == len(set(found)) == 15
        assert {job for _, job in found} == set(jobs)
        assert len(done(engine.pins(owner="b"))) == 5
        assert done(engine.pins(owner="d")) == []
        # A page may begin after what is not there any more.
        done(engine.unpin(found[3][0]))
        rest = done(engine.pins(after=found[3], limit=100))
        assert [(each.file_id, each.job) for each in rest] == [each for each in found[4:] if each[0] != found[3][0]]
