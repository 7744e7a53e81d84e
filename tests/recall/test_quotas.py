"""What owners may keep in the store: enforced where jobs are made, whoever else makes some at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from pacarchive import errors
from pacarchive.recall import quotas
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.words import JobRequest
from recall.surroundings import Going, Surroundings, done

FILES = range(1, 60)

LIMITS: dict[str, Any] = {"owner_jobs": 3, "owner_files": 10, "kept_jobs": 5, "kept_files": 20}

SHOWN = 120.0
"""For how long a job that has ended can be seen: an hour of looks at the store would show no more."""


def submit(engine: RecallEngine, *file_ids: int, owner: str = "a", **more: Any) -> str:
    return done(engine.submit(JobRequest(owner=owner, file_ids=file_ids, **more)))


def kept(engine: RecallEngine) -> list[str]:
    """Jobs, the youngest first."""
    return [each.job for each in done(engine.jobs())]


def counted(engine: RecallEngine) -> dict[str, tuple[int, int]]:
    """What the table of sums has."""
    rows = done(engine._store.read(lambda cursor: list(cursor.rows("SELECT owner, jobs, weight FROM accounts"))))
    return {owner: (jobs, int(weight)) for owner, jobs, weight in rows}


def really(engine: RecallEngine) -> dict[str, tuple[int, int]]:
    """What it should have."""
    done(engine._store.write(quotas.recount))
    return {owner: account for owner, account in counted(engine).items() if account != (0, 0)}


def assert_right(engine: RecallEngine) -> None:
    found = {owner: account for owner, account in counted(engine).items() if account != (0, 0)}
    assert found == really(engine)


@pytest.fixture
def engine(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> RecallEngine:
    """An owner has three jobs with ten files, all have five with twenty."""
    monkeypatch.setattr(quotas, "SHOWN", SHOWN)
    around.tapes.add(*FILES)
    return around.engine(**LIMITS)


def test_live_jobs(around: Surroundings, engine: RecallEngine) -> None:
    """One too many is refused, in words that name the settings and say what to do; another owner's is not."""
    jobs = [submit(engine, each) for each in (1, 2, 3)]
    with pytest.raises(errors.QuotaReached, match=r"'a' has 3 jobs .*owner_jobs 3, .*delete some") as caught:
        submit(engine, 4)
    assert caught.value.retry_after > 0
    submit(engine, 4, owner="b")
    done(engine.delete(jobs[0]))
    submit(engine, 5)
    assert_right(engine)


def test_live_files(engine: RecallEngine) -> None:
    """By the files of all jobs together; one that is too large by itself makes nobody's make way."""
    submit(engine, *range(1, 7))
    with pytest.raises(errors.QuotaReached, match=r"1 job with 6 files here, and 5 more .*owner_files 10"):
        submit(engine, *range(1, 6))
    submit(engine, *range(1, 5))
    with pytest.raises(errors.QuotaReached):
        submit(engine, *range(1, 12), owner="b")
    assert_right(engine)


def test_all_owners_together(engine: RecallEngine) -> None:
    for owner, count in (("a", 10), ("b", 9)):
        submit(engine, *range(1, count + 1), owner=owner)
    with pytest.raises(errors.Overloaded, match=r"kept_files"):
        submit(engine, 1, 2, owner="c")
    submit(engine, 1, owner="c")
    assert_right(engine)


def test_names_that_are_no_ids_count(engine: RecallEngine) -> None:
    """They take room too."""
    with pytest.raises(errors.QuotaReached):
        submit(engine, 1, others=["x" * 200] * 5)
    submit(engine, 1, others=["x" * 200] * 4)
    assert counted(engine)["a"][1] == 9
    assert_right(engine)


def test_old_jobs_make_way(around: Surroundings, engine: RecallEngine) -> None:
    """Those that ended longest ago, and no more than must; one that has just ended can be seen for a while."""
    around.tapes.prompt = True
    jobs = []
    for each in (1, 2, 3):
        jobs.append(submit(engine, each, pins={each: 0}))
        around.spend(10)
    with pytest.raises(errors.QuotaReached):
        submit(engine, 4)
    around.spend(SHOWN)
    jobs.append(submit(engine, 4, pins={4: 0}))
    assert kept(engine) == jobs[:0:-1]
    around.spend(10)
    jobs.append(submit(engine, *range(5, 14), pins=dict.fromkeys(range(5, 14), 0)))  # needs the room of two
    assert kept(engine) == [jobs[4], jobs[3]]
    assert_right(engine)


def test_ended_jobs_can_be_seen_for_an_hour(around: Surroundings) -> None:
    """As the manual has it; nobody looks at the store meanwhile."""
    around.tapes.add(*FILES)
    around.tapes.prompt = True
    engine = around.engine(**LIMITS)
    jobs = [submit(engine, each, pins={each: 0}) for each in (1, 2, 3)]
    around.spend(10)
    around.stop(engine)
    around.spend(3600 - 60)
    engine = around.engine(**LIMITS)
    with pytest.raises(errors.QuotaReached):
        submit(engine, 4)
    assert set(kept(engine)) == set(jobs)
    around.spend(60)
    jobs.append(submit(engine, 4))
    assert len(kept(engine)) == 3
    assert_right(engine)


def test_pinned_jobs_do_not_make_way(around: Surroundings, engine: RecallEngine) -> None:
    """A pin lasts as long as was promised: it counts until it is ended."""
    around.tapes.prompt = True
    jobs = [submit(engine, each, pins={each: 100_000}) for each in (1, 2, 3)]
    around.spend(2 * SHOWN)
    with pytest.raises(errors.QuotaReached, match="have pins"):
        submit(engine, 4)
    done(engine.release(jobs[1]))
    jobs.append(submit(engine, 4))
    assert kept(engine) == [jobs[3], jobs[2], jobs[0]]
    assert_right(engine)


def test_others_jobs_make_way_only_for_the_sum(around: Surroundings, engine: RecallEngine) -> None:
    around.tapes.prompt = True
    old = submit(engine, *range(1, 11), owner="b", pins=dict.fromkeys(range(1, 11), 0))
    around.spend(2 * SHOWN)
    for each in (1, 2, 3):
        submit(engine, each)
    with pytest.raises(errors.QuotaReached):
        submit(engine, 4)
    assert old in kept(engine)
    submit(engine, *range(1, 11), owner="c")
    assert old not in kept(engine)
    assert_right(engine)


def test_two_processes(around: Surroundings, engine: RecallEngine) -> None:
    """What one has let in counts for the other, and what is submitted together counts together."""
    second = around.engine(**LIMITS)
    around.time.latency = 0.01
    tries = [
        Going(each.submit(JobRequest(owner="a", file_ids=[number])))
        for number in range(1, 6)
        for each in (engine, second)
    ]
    around.spend(2)
    around.time.latency = 0
    made = 0
    for each in tries:
        try:
            assert each.result
            made += 1
        except errors.QuotaReached:
            pass
    assert made == len(kept(engine)) == 3
    assert_right(engine)


def test_a_refused_one_is_no_failure_of_those_that_come_with_it(around: Surroundings, engine: RecallEngine) -> None:
    around.time.latency = 0.01
    tries = [Going(engine.submit(JobRequest(owner=owner, file_ids=[1]))) for owner in "aaaab"]
    around.spend(1)
    around.time.latency = 0
    assert [isinstance(each.deferred.result, str) or each.ended for each in tries] == [True] * 5
    with pytest.raises(errors.QuotaReached):
        assert tries[3].result
    assert tries[4].result in kept(engine)


def test_wishes_for_single_files(around: Surroundings, engine: RecallEngine) -> None:
    """Count as well; one that has been made before is answered."""
    for each in (1, 2, 3):
        done(engine.want(each, "a"))
    with pytest.raises(errors.QuotaReached):
        done(engine.want(4, "a"))
    assert done(engine.want(3, "a")).job in kept(engine)
    assert_right(engine)


def test_forgotten_jobs_do_not_count(around: Surroundings) -> None:
    around.tapes.add(*FILES)
    around.tapes.prompt = True
    engine = around.engine(owner_jobs=3, keep=100)
    for each in (1, 2, 3):
        submit(engine, each, pins={each: 0})
    around.spend(200)
    assert kept(engine) == []
    assert counted(engine) == {"": (0, 0)}
    assert_right(engine)


def test_the_sums_are_put_right(around: Surroundings, engine: RecallEngine) -> None:
    """By the next dispatcher: nodes of an earlier version do not keep them."""
    submit(engine, 1, 2)
    done(engine._store.write(lambda transaction: transaction.execute("DELETE FROM accounts")))
    assert counted(engine) == {}
    around.stop(engine)
    assert counted(around.engine()) == {"a": (1, 2), "": (1, 2)}
