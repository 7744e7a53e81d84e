"""Changing the priority of a job.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

from pacarchive.recall.counting import counting
from pacarchive.recall.listing import number_of
from pacarchive.recall.store import Transaction
from pacarchive.recall.tables import RecallState
from pacarchive.recall.words import LIVE, Priority

AT_ONCE = 500
"""The most files of one transaction."""


def change(transaction: Transaction, job: str, priority: Priority) -> int:
    """
    Change a job's priority; that of its files is changed by L{apply}.

    @return: The job's number.
    @raise errors.NotFound: There is no such job.
    """
    number = number_of(transaction, job)
    transaction.execute("UPDATE jobs SET priority = ? WHERE number = ?", priority, number)
    return number


def apply(transaction: Transaction, number: int, after: int | None) -> int | None:
    """
    Give some of the files that wait the highest priority of the jobs that wait for them; they are looked up again,
    which gives them another position in the queue.

    @param number: The number of the job.
    @param after: The key of the last file of the step before; C{None} for the first step.
    @return: That of this step; C{None} if there are no more.
    """
    further, arguments = ("", ()) if after is None else (" AND file > ?", (after,))
    rows = transaction.rows(
        f"SELECT file FROM wishes WHERE job = ?{further} ORDER BY file LIMIT ?",  # noqa: S608
        *(number, *arguments, AT_ONCE),
    )
    keys = [row[0] for row in rows]
    highest: dict[int, int] = {}
    for file, priority in transaction.among(
        "SELECT w.file, j.priority FROM wishes w JOIN jobs j ON j.number = w.job WHERE w.state < ? AND w.file IN (*)",
        keys,
        LIVE,
    ):
        highest[file] = max(priority, highest.get(file, Priority.LOW))
    with counting(transaction, keys):
        for priority in set(highest.values()):
            some = [file for file, each in highest.items() if each == priority]
            transaction.execute_among(
                "UPDATE recalls SET state = ?, priority = ? WHERE +state IN (?, ?) AND priority <> ? AND file IN (*)",
                some,
                *(RecallState.NEW, priority, RecallState.NEW, RecallState.QUEUED, priority),
            )
            transaction.execute_among(
                "UPDATE recalls SET priority = ? WHERE state = ? AND file IN (*)",
                some,
                *(priority, RecallState.BACKING_OFF),
            )
    return keys[-1] if len(keys) == AT_ONCE else None
