"""What is said of recalls that fail, and when they are thought to come: nothing that nobody can know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pacarchive.model import RecallProgress, Trouble
from pacarchive.model import RecallState as Said
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.forecast import Rates, basis
from pacarchive.recall.listing import circumstances
from pacarchive.recall.words import Cancelled, FileState, HoldKind, JobFile, JobRequest, JobStatus, Released
from pacarchive.telemetry.counts import Counts
from recall.surroundings import Going, Surroundings, done

DROPPED = "The tape system dropped the request."


sqlite_only = pytest.mark.parametrize("store_address", ["sqlite"], indirect=True)
"""For what takes minutes of looks at the store, and asks it for nothing that another test does not."""


@pytest.fixture
def engine(around: Surroundings) -> RecallEngine:
    """The only engine, over files 1 to 9 on tape, with one drive."""
    around.tapes.add(*range(1, 10))
    return around.engine(drives=1, attempts=6)


def submit(engine: RecallEngine, *file_ids: int, **more: Any) -> str:
    return done(engine.submit(JobRequest(owner="a", file_ids=file_ids, **more)))


def status(engine: RecallEngine, job: str) -> JobStatus:
    return done(engine.status(job))


def file_of(engine: RecallEngine, job: str, file_id: int = 1) -> JobFile:
    (found,) = [each for each in done(engine.files(job)).files if each.file_id == file_id]
    return found


def lose(around: Surroundings, seconds: float) -> None:
    """Let time pass in which the storage system forgets everything as soon as it was asked for it."""
    for _ in range(int(seconds)):
        around.tapes.forget()
        around.spend(1)


class TestEstimates:
    @sqlite_only
    def test_of_what_fails_again_and_again(self, around: Surroundings, engine: RecallEngine) -> None:
        """Nobody can tell; never the little that its reading would take."""
        job = submit(engine, 1, 2)
        around.spend(6)  # a forecast was made
        assert status(engine, job).estimate is not None
        for _ in range(400):
            lose(around, 1)
            found = status(engine, job)
            if found.trouble is None:
                continue
            if found.trouble.attempts > 1 or found.trouble.next_try is not None:
                assert found.estimate is None, found
        assert found.trouble is not None
        assert found.trouble.attempts >= 4

    def test_what_is_in_trouble_is_told(self, around: Surroundings, engine: RecallEngine) -> None:
        """Why, after how many tries, and when the next one is; of the job, and of each file."""
        job = submit(engine, 1, 2, 99)
        lose(around, 150)
        around.tapes.come(2)
        around.spend(30)
        found, file = status(engine, job), file_of(engine, job)
        assert (found.trouble, found.most_attempts) == (
            Trouble(files=1, reason=DROPPED, attempts=file.attempts, next_try=file.next_try),
            6,
        )
        assert (file.reason, file.state) == (DROPPED, FileState.STARTED)
        assert file.attempts >= 3
        assert file.next_try is not None
        assert file.next_try > around.time.seconds()
        assert file_of(engine, job, 2).next_try is None
        # One that is tried again is no success yet.
        around.spend(file.next_try - around.time.seconds() + 2)
        tried = file_of(engine, job)
        assert (tried.attempts, tried.next_try) == (file.attempts + 1, None)
        assert tried.reason == f"It is being tried again; the last time: {DROPPED}"
        assert status(engine, job).estimate is None
        around.tapes.come()
        around.spend(3)
        assert (status(engine, job).trouble, file_of(engine, job).state) == (None, FileState.COMPLETED)

    def test_when_to_come_back_for_a_file(self, around: Surroundings, engine: RecallEngine) -> None:
        """Not before it is asked for again, and could have been read; and why it is not there."""
        job = done(engine.want(1, "a")).job
        lose(around, 150)
        asked, file = done(engine.want(1, "a")), file_of(engine, job)
        assert file.next_try is not None
        left = file.next_try - around.time.seconds()
        assert asked.job == job
        assert left + Rates().mount_seconds < asked.retry_after < left + Rates().mount_seconds + 30
        said = done(engine.reason(1))
        assert said == f"{DROPPED} Attempt {file.attempts} of 6; next try in {left:.0f} s."
        around.spend(left + 2)
        assert done(engine.reason(1)) == f"{DROPPED} It is being tried again."
        assert done(engine.want(1, "a")).retry_after == 60, "which is what it takes of which nothing is known"

    def test_of_a_cartridge_that_is_stuck(self, around: Surroundings, engine: RecallEngine) -> None:
        """The storage system claims to be at it, and nothing comes: not nearly done for ever."""
        job = submit(engine, *range(1, 10))
        around.spend(95)
        around.tapes.come(1, 2)
        around.spend(20)
        found = status(engine, job).estimate
        assert found is not None
        assert found.seconds < 200
        around.spend(300)
        assert status(engine, job).estimate is None
        around.tapes.come(3)
        around.spend(8)
        assert status(engine, job).estimate is not None, "it has gone on"

    def test_of_jobs_that_wait_for_the_storage_system(self, around: Surroundings, engine: RecallEngine) -> None:
        """What holds everything up is the trouble of each."""
        around.tapes.down = "The robot is on strike."
        job = submit(engine, 1, 2)
        around.spend(20)
        found = status(engine, job)
        assert (found.trouble, found.estimate) == (Trouble(files=2, reason="The robot is on strike."), None)

    @sqlite_only
    def test_an_accident_says_nothing_of_forecasts(self, around: Surroundings, engine: RecallEngine) -> None:
        """A job that was tried again for a quarter of an hour makes the estimates of others no longer."""
        job = submit(engine, 1)
        lose(around, 500)
        for _ in range(400):
            around.spend(5)
            around.tapes.come()
        assert status(engine, job).summary.left == 0
        around.spend(10)
        kept = json.loads(done(engine._read(circumstances))[2])
        assert kept["promises"]["sum"] == 0
        # And the forecasts of later ones are held against what comes.
        submit(engine, 2)
        around.spend(20)
        around.tapes.come()
        around.spend(10)
        assert json.loads(done(engine._read(circumstances))[2])["promises"]["sum"] != 0


def test_followers_hear_of_a_failed_try(around: Surroundings, engine: RecallEngine) -> None:
    """At once, with the reason and the next try; although the file's state stays as it is."""
    job = submit(engine, 1)
    told: list[JobFile] = []

    async def follow() -> None:
        async for page in engine.follow(job):
            told.extend(page.files)

    following = Going(follow())
    lose(around, 15)
    assert [each.state for each in told][-1] is FileState.STARTED
    assert (told[-1].reason, told[-1].attempts) == (DROPPED, 1)
    assert told[-1].next_try is not None
    around.tapes.files[1].sentence = RecallProgress(Said.RESIDENT)
    around.spend(30)
    assert following.ended


class TestBasis:
    def test_of_many_short_readings(self, around: Surroundings, engine: RecallEngine) -> None:
        """That nothing was recalled yet is not said when much was; and what was learned of short ones counts."""
        around.tapes.add(*range(100, 220), medium="V2")
        around.tapes.add(1000, medium="V3")
        first, words = True, ""
        for begin in range(100, 220, 20):
            submit(engine, *range(begin, begin + 20))
            around.spend(2)
            for file_id in range(begin, begin + 20, 4):
                around.tapes.come(*range(file_id, file_id + 4))
                around.spend(1)
            around.spend(8)
            job = submit(engine, 1000)
            around.spend(12)
            estimate = status(engine, job).estimate
            assert estimate is not None
            words = estimate.basis
            assert "nothing was recalled" not in words
            if first:
                assert "as the 20 recalls so far took too little time to learn from" in words
            first = False
            done(engine.cancel(job))
            around.spend(30)
        assert "learned from" in words

    def test_words(self) -> None:
        """Before anything was recalled, and when too little was to learn from it."""
        rates = Rates()
        assert basis(1, 1, 1, rates).endswith("assumed, as nothing was recalled yet")
        rates.recalled = 1
        assert basis(1, 1, 1, rates).endswith("as the 1 recall so far took too little time to learn from")
        again = Rates()
        again.load(json.loads(json.dumps(rates.dump())))
        assert again.recalled == 1


class TestWhatWasDone:
    def test_by_cancelling(self, around: Surroundings, engine: RecallEngine) -> None:
        """How many files were given up, will be, and had ended."""
        around.tapes.agrees = False
        around.tapes.add(20, 21, medium="V2")
        job = submit(engine, 20, 21, 99)
        around.spend(2)
        more = submit(engine, 1, 2, 3, 99)
        around.spend(2)
        assert done(engine.cancel(job, [20])) == Cancelled(cancelled=0, cancelling=1, ended=0)
        assert done(engine.cancel(job)) == Cancelled(cancelled=0, cancelling=2, ended=1)
        assert done(engine.cancel(more)) == Cancelled(cancelled=3, cancelling=0, ended=1)
        assert done(engine.cancel(more)) == Cancelled(cancelled=0, cancelling=0, ended=4)

    def test_by_releasing(self, around: Surroundings, engine: RecallEngine) -> None:
        """How many pins have ended, will not begin, and were none."""
        job = submit(engine, 1, 2, 3, 99)
        around.spend(2)
        around.tapes.come(1, 2)
        around.spend(3)
        assert done(engine.release(job, [1])) == Released(released=1, coming=0, unpinned=0)
        assert done(engine.release(job)) == Released(released=1, coming=1, unpinned=2)
        assert done(engine.release(job)) == Released(released=0, coming=0, unpinned=4)

    def test_what_was_granted(self, engine: RecallEngine) -> None:
        """Of a pin, which has a longest."""
        job = submit(engine, 1, pins={1: 90 * 86400.0})
        assert status(engine, job).pin == 30 * 86400
        assert status(engine, submit(engine, 1, pins={1: 60.0})).pin == 60
        assert status(engine, submit(engine, 1)).pin == 86400


def test_what_is_counted(around: Surroundings, heard: Counts) -> None:
    """How long what came has taken; of what did not come, why."""
    around.tapes.add(1, 2, 3)
    engine = around.engine(drives=1, attempts=2)
    submit(engine, 1, 99)
    around.spend(100)
    around.tapes.come(1)
    around.spend(30)
    found = heard.read()
    *buckets, seconds = found["recall_duration_seconds",]
    assert (sum(buckets), buckets[1]) == (1, 1)
    assert 100 <= seconds <= 130

    submit(engine, 2, deadline=50)
    around.spend(60)
    submit(engine, 3)
    lose(around, 120)
    reasons = {series[1]: value for series, (value, *_) in heard.read().items() if series[0] == "recall_failures_total"}
    expected = {"absent": 1, "deadline": 1, "retried": 1, "attempts": 1}
    assert {reason: value for reason, value in reasons.items() if value} == expected


def test_how_long_one_has_waited(around: Surroundings, engine: RecallEngine) -> None:
    """To the hour; what is being recalled does not wait, nor what has come."""
    assert done(engine.operations.overview()).longest == 0
    submit(engine, 1)
    around.spend(10)
    done(engine.operations.hold(HoldKind.ALL, "eve"))
    submit(engine, 2)
    around.time.advance(4 * 3600)  # in one step: it is only asked for the time
    submit(engine, 3)
    around.time.advance(2 * 3600)
    found = done(engine.operations.overview())
    assert 5 * 3600 < found.longest < 7 * 3600
    assert (found.kept_jobs, found.kept_files) == (3, 3)
