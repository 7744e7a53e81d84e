"""What statements cost does not grow with the queue where it need not: SQLite chooses indexes by rules of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from pacarchive.recall import jobs, listing, stored_forecasts, work
from pacarchive.recall.jobs import Submission
from pacarchive.recall.schema import SQLITE, STEPS, statements
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Transaction
from pacarchive.recall.stored_forecasts import MediumForecast
from pacarchive.recall.waiting import last_failure, trouble, troubled, waiting, waiting_for_file
from pacarchive.recall.words import JobRequest, Priority
from pacarchive.recall.work import Located

FEW, MANY = 2_000, 20_000
MEDIA = 20
_UNIT = 100
"""So many instructions of SQLite's are counted together."""


def submit(transaction: Transaction, first: int, count: int, priority: Priority = Priority.NORMAL) -> str:
    request = JobRequest(owner="a", file_ids=range(first, first + count), priority=priority)
    (job,) = jobs.submit_all(transaction, [Submission(request=request, pin=60, deadline=3600)], RecallSettings())
    assert isinstance(job, str)
    return job


def look_up(transaction: Transaction, first: int, count: int) -> None:
    work.queue(transaction, [Located(key, f"V{key % MEDIA}", key, 1000) for key in range(first, first + count)])


def filled(files: int) -> sqlite3.Connection:
    """A store with a queue: half of the files were looked up."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    for statement in [each for step in STEPS for each in statements(step)]:
        database.execute(SQLITE.render(statement))
    transaction = Transaction(database.cursor(), SQLITE, 1e9)
    for first in range(1, files, 100):
        submit(transaction, first, 100)
        if first % 200 == 1:
            look_up(transaction, first, 100)
    return database


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """A short queue and a long one."""
    with closing(filled(FEW)) as few, closing(filled(MANY)) as many:
        yield few, many


def cost(database: sqlite3.Connection, do: Callable[[Transaction], object]) -> int:
    """Instructions that SQLite carries out for something, which is undone."""
    count = 0

    def another() -> None:
        nonlocal count
        count += 1

    database.execute("BEGIN")
    transaction = Transaction(database.cursor(), SQLITE, 1e9)
    database.set_progress_handler(another, _UNIT)
    do(transaction)
    database.set_progress_handler(None, 0)
    database.execute("ROLLBACK")
    return count * _UNIT


def _hand(transaction: Transaction) -> object:
    return work.start_next(transaction, "V1", (0, 0), {("a", 0)}, 50, "name", len)


DEEDS: dict[str, Callable[[Transaction], object]] = {
    "submitting": lambda transaction: submit(transaction, 1_000_000, 100),
    "submitting what others wait for": lambda transaction: submit(transaction, 1, 100),
    "submitting what others wait for, urgently": lambda transaction: submit(transaction, 1, 100, Priority.HIGH),
    "finding what is new": lambda transaction: work.new_recalls(transaction, 500),
    "looking up": lambda transaction: look_up(transaction, 101, 100),
    "handing": _hand,
    "coming": lambda transaction: work.complete(transaction, dict.fromkeys(range(1, 100), 1000)),
    "failing": lambda transaction: work.fail_all(transaction, dict.fromkeys(range(1, 100), "words")),
    "resting": lambda transaction: work.back_off(transaction, dict.fromkeys(range(1, 100), (2000000000.0, "words"))),
    "who is to be given up": work.cancelling,
    "where cartridges begin and end": lambda transaction: stored_forecasts.with_extents(
        transaction, [MediumForecast("V1", 1, 0.0, 0.0)]
    ),
    "the next of a cartridge": lambda transaction: work.next_size(transaction, "V1", (0, 0)),
    "how a job stands": lambda transaction: (
        listing.summary(transaction, 1),
        listing.tally(transaction, 1),
        waiting(transaction, 1),
    ),
    "what a file waits for": lambda transaction: waiting_for_file(transaction, 5),
    "what is the trouble with a job": lambda transaction: trouble(transaction, 1),
    "which jobs are in trouble": lambda transaction: troubled(transaction, [1, 2, 3]),
    "why a file has failed": lambda transaction: last_failure(transaction, 5, 20, 1e9),
    "what is due by the clock": lambda transaction: work.due(transaction, 1e9, 3600),
    "jobs that are new": lambda transaction: listing.new_jobs(transaction, 3, 10),
}


@pytest.mark.parametrize("do", DEEDS.values(), ids=DEEDS)
def test_no_cost_grows_with_the_queue(
    stores: tuple[sqlite3.Connection, sqlite3.Connection], do: Callable[[Transaction], object]
) -> None:
    """With ten times as many files waiting, it is no more than half as much again."""
    few, many = (cost(store, do) for store in stores)
    assert many <= 1.5 * few + 10 * _UNIT


def test_jobs_that_ended_long_before_their_deadline_cost_nothing() -> None:
    """What is overdue is looked for every second; jobs that have ended are kept for days beyond their deadlines."""
    found = []
    for ended in (10, 1000):
        with closing(filled(FEW)) as store:
            transaction = Transaction(store.cursor(), SQLITE, 1e9)
            for first in range(ended):
                submit(transaction, 1_000_000 + first, 1)
            store.execute("UPDATE jobs SET ended = 1e9 - 2, deadline = 1e9 - 1 WHERE files = 1")
            found.append(cost(store, lambda transaction: work.due(transaction, 1e9, 1e6)))
    assert found[1] <= 1.5 * found[0] + 10 * _UNIT


def test_forgetting_is_done_in_parts() -> None:
    """A few large jobs are not forgotten in one transaction, for which all would wait; one by itself is."""
    with closing(filled(FEW)) as store:
        transaction = Transaction(store.cursor(), SQLITE, 1e9)
        store.execute("DELETE FROM wishes")
        store.execute("UPDATE jobs SET ended = 1, files = 9000")
        assert work.forget_old(transaction, 3600) == 2
        store.execute("UPDATE jobs SET files = 90000")
        assert work.forget_old(transaction, 3600) == 1
        store.execute("UPDATE jobs SET files = 1")
        assert work.forget_old(transaction, 3600) == FEW // 100 - 3
        assert work.forget_old(transaction, 3600) == 0
