"""What statements cost does not grow with the queue where it need not: SQLite chooses indexes by rules of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from pacarchive.recall import jobs, listing, work
from pacarchive.recall.jobs import Submission
from pacarchive.recall.schema import SQLITE, STEPS, statements
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Turn
from pacarchive.recall.waiting import last_failure, trouble, troubled, waiting, waiting_for_file
from pacarchive.recall.words import JobRequest, Priority
from pacarchive.recall.work import Located, Outlook

FEW, MANY = 2_000, 20_000
MEDIA = 20
_UNIT = 100
"""So many instructions of SQLite's are counted together."""


def submit(turn: Turn, first: int, count: int, priority: Priority = Priority.NORMAL) -> str:
    request = JobRequest(owner="a", file_ids=range(first, first + count), priority=priority)
    (job,) = jobs.submit_all(turn, [Submission(request=request, pin=60, deadline=3600)], RecallSettings())
    assert isinstance(job, str)
    return job


def look_up(turn: Turn, first: int, count: int) -> None:
    work.queue(turn, [Located(key, f"V{key % MEDIA}", key, 1000) for key in range(first, first + count)])


def filled(files: int) -> sqlite3.Connection:
    """A store with a queue: half of the files were looked up."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    for statement in [each for step in STEPS for each in statements(step)]:
        database.execute(SQLITE.render(statement))
    turn = Turn(database.cursor(), SQLITE, 1e9)
    for first in range(1, files, 100):
        submit(turn, first, 100)
        if first % 200 == 1:
            look_up(turn, first, 100)
    return database


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """A short queue and a long one."""
    with closing(filled(FEW)) as few, closing(filled(MANY)) as many:
        yield few, many


def cost(database: sqlite3.Connection, do: Callable[[Turn], object]) -> int:
    """Instructions that SQLite carries out for something, which is undone."""
    count = 0

    def another() -> None:
        nonlocal count
        count += 1

    database.execute("BEGIN")
    turn = Turn(database.cursor(), SQLITE, 1e9)
    database.set_progress_handler(another, _UNIT)
    do(turn)
    database.set_progress_handler(None, 0)
    database.execute("ROLLBACK")
    return count * _UNIT


def _hand(turn: Turn) -> object:
    return work.hand(turn, "V1", (0, 0), {("a", 0)}, 50, "name", len)


DEEDS: dict[str, Callable[[Turn], object]] = {
    "submitting": lambda turn: submit(turn, 1_000_000, 100),
    "submitting what others wait for": lambda turn: submit(turn, 1, 100),
    "submitting what others wait for, urgently": lambda turn: submit(turn, 1, 100, Priority.HIGH),
    "finding what is new": lambda turn: work.new_recalls(turn, 500),
    "looking up": lambda turn: look_up(turn, 101, 100),
    "handing": _hand,
    "coming": lambda turn: work.complete(turn, dict.fromkeys(range(1, 100), 1000)),
    "failing": lambda turn: work.fail_all(turn, dict.fromkeys(range(1, 100), "words")),
    "resting": lambda turn: work.rest(turn, dict.fromkeys(range(1, 100), (2000000000.0, "words"))),
    "who is to be given up": work.cancelling,
    "where cartridges begin and end": lambda turn: work.with_extents(turn, [Outlook("V1", 1, 0.0, 0.0)]),
    "the next of a cartridge": lambda turn: work.next_size(turn, "V1", (0, 0)),
    "how a job stands": lambda turn: (listing.summary(turn, 1), listing.tally(turn, 1), waiting(turn, 1)),
    "what a file waits for": lambda turn: waiting_for_file(turn, 5),
    "what is the trouble with a job": lambda turn: trouble(turn, 1),
    "which jobs are in trouble": lambda turn: troubled(turn, [1, 2, 3]),
    "why a file has failed": lambda turn: last_failure(turn, 5, 20, 1e9),
    "what is due by the clock": lambda turn: work.due(turn, 1e9, 3600),
    "jobs that are new": lambda turn: listing.new_jobs(turn, 3, 10),
}


@pytest.mark.parametrize("do", DEEDS.values(), ids=DEEDS)
def test_no_cost_grows_with_the_queue(
    stores: tuple[sqlite3.Connection, sqlite3.Connection], do: Callable[[Turn], object]
) -> None:
    """With ten times as many files waiting, it is no more than half as much again."""
    few, many = (cost(store, do) for store in stores)
    assert many <= 1.5 * few + 10 * _UNIT


def test_jobs_that_ended_long_before_their_deadline_cost_nothing() -> None:
    """What is overdue is looked for every second; jobs that have ended are kept for days beyond their deadlines."""
    found = []
    for ended in (10, 1000):
        with closing(filled(FEW)) as store:
            turn = Turn(store.cursor(), SQLITE, 1e9)
            for first in range(ended):
                submit(turn, 1_000_000 + first, 1)
            store.execute("UPDATE jobs SET ended = 1e9 - 2, deadline = 1e9 - 1 WHERE files = 1")
            found.append(cost(store, lambda turn: work.due(turn, 1e9, 1e6)))
    assert found[1] <= 1.5 * found[0] + 10 * _UNIT


def test_forgetting_is_done_in_parts() -> None:
    """A few large jobs are not forgotten in one transaction, for which all would wait; one by itself is."""
    with closing(filled(FEW)) as store:
        turn = Turn(store.cursor(), SQLITE, 1e9)
        store.execute("DELETE FROM wishes")
        store.execute("UPDATE jobs SET ended = 1, files = 9000")
        assert work.forget_old(turn, 3600) == 2
        store.execute("UPDATE jobs SET files = 90000")
        assert work.forget_old(turn, 3600) == 1
        store.execute("UPDATE jobs SET files = 1")
        assert work.forget_old(turn, 3600) == FEW // 100 - 3
        assert work.forget_old(turn, 3600) == 0
