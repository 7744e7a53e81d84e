"""What is told of stage jobs: lists, pages, changes and those who wait for them."""

from __future__ import annotations

from typing import Any

import pytest

from pacarchive import errors
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.words import FileState
from recall.jobs import CANCELLED, COMPLETED, EXTREMES, FAILED, HIGHEST, QUEUED, STARTED, all_of, states, submit
from recall.surroundings import Going, Surroundings, done, ids


class TestLooking:
    def test_at_jobs_in_pages(self, around: Surroundings, engine: RecallEngine) -> None:
        made = [submit(engine, each % 9 + 1, owner="ab"[each % 2]) for each in range(25)]
        found: list[Any] = []
        while page := done(engine.jobs(before=found[-1].number if found else None, limit=10)):
            found += page
            submit(engine, 1, owner="c")  # those that come meanwhile do not disturb
        assert [each.job for each in found] == made[::-1]
        assert [each.job for each in done(engine.jobs(owner="b"))] == made[1::2][::-1]
        assert [each.owner for each in done(engine.jobs(owner="c"))] == ["c"] * 3

    def test_at_nothing(self, engine: RecallEngine) -> None:
        for ask in (engine.status, engine.files, engine.delete):
            with pytest.raises(errors.NotFound):
                done(ask("f" * 32))
        assert done(engine.jobs()) == []
        assert done(engine.pins()) == []

    @pytest.mark.parametrize("since", ["x", "1", "1-", "-1", "1-x", "-1-all", "1-18446744073709551616", "²-all"])
    def test_since_what_is_no_cursor(self, engine: RecallEngine, since: str) -> None:
        with pytest.raises(errors.InvalidRequest, match="since"):
            done(engine.files(submit(engine, 1), since))

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_each_change_is_told_once(self, around: Surroundings, engine: RecallEngine, limit: int) -> None:
        many = [*EXTREMES, *range(2, 10)]
        around.tapes.add(*EXTREMES, medium="V2")
        around.tapes.down = "So that it does not begin at once."
        job = submit(engine, *many)
        told: list[tuple[int, FileState]] = []
        since = ""

        def look() -> None:
            nonlocal since
            while True:
                page = done(engine.files(job, since, limit))
                told.extend((each.file_id, each.state) for each in page.files)
                since = page.cursor
                if not page.more:
                    break

        look()
        assert sorted(told) == [(each, QUEUED) for each in sorted(many)]
        around.tapes.down = ""
        for each in (
            lambda: around.spend(2),
            lambda: around.tapes.come(*around.tapes.under_way()[:2]),
            lambda: around.spend(2),
            lambda: done(engine.cancel(job, [HIGHEST, 9])),
            lambda: submit(engine, *many, owner="b"),  # no change of this job
            lambda: around.spend(0.1),
            lambda: around.tapes.come(),
            lambda: around.spend(20),
            lambda: around.tapes.come(),
            lambda: around.spend(20),
        ):
            each()
            look()
            look()
        assert len(set(told)) == len(told), "told twice"
        assert dict(told) == states(engine, job)
        assert set(dict(told).values()) == {COMPLETED, CANCELLED}
        for file_id in many:
            way = [state for each, state in told if each == file_id]
            assert way == sorted(way)

    def test_changes_while_one_is_reading_pages(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine, *range(1, 10))
        around.spend(2)
        first = done(engine.files(job, "", 5))
        assert first.more
        seen, unseen = first.files[0].file_id, (set(range(1, 10)) - set(ids(first.files))).pop()
        around.tapes.come(seen, unseen)
        around.spend(3)
        second = done(engine.files(job, first.cursor, 100))
        assert not second.more
        assert len(ids(second.files)) == len(set(ids(second.files))) == 5
        assert {each.file_id for each in second.files if each.state is COMPLETED} == {seen, unseen}

    def test_following(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.down = "So that it does not begin at once."
        job = submit(engine, 1, 2)
        following = Going(all_of(engine, job))
        around.tapes.down = ""
        around.spend(5)
        around.tapes.come(1)
        around.spend(100)
        assert not following.ended
        around.tapes.come(2)
        around.spend(5)
        pages = following.result
        changes = [[(each.file_id, each.state) for each in page.files] for page in pages if page.files]
        assert changes[0] == [(1, QUEUED), (2, QUEUED)]
        assert changes[1:] == [[(1, STARTED), (2, STARTED)], [(1, COMPLETED)], [(2, COMPLETED)]]
        assert 3 <= len([page for page in pages if not page.files]) <= 8, "signs of life"

    def test_following_what_is_deleted(self, around: Surroundings, engine: RecallEngine) -> None:
        job = submit(engine, 1)
        following = Going(all_of(engine, job))
        around.spend(1)
        done(engine.delete(job))
        around.spend(1)
        with pytest.raises(errors.NotFound):
            assert following.result

    def test_what_a_job_amounts_to(self, around: Surroundings, engine: RecallEngine) -> None:
        around.tapes.add(20, medium="V0", size=5000)
        job = submit(engine, 20, 1, 99)
        around.spend(1)
        status = done(engine.status(job))
        assert {state: count for state, count in status.counts.items() if count} == {QUEUED: 1, STARTED: 1, FAILED: 1}
        assert (status.size, status.done, status.summary.left) == (6000, 0, 2)
        around.tapes.come()
        around.spend(3)
        status = done(engine.status(job))
        assert (status.size, status.done, status.summary.left) == (6000, 5000, 1)
        assert status.rate > 0
