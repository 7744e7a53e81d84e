"""Retrying what has failed, or is to be tried again later: after what has kept it from being recalled was repaired.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from pacarchive.recall.counting import Change, Counted
from pacarchive.recall.jobs import join
from pacarchive.recall.listing import number_of
from pacarchive.recall.store import Cursor, Transaction
from pacarchive.recall.tables import RecallState, cut
from pacarchive.recall.words import FileState, Priority, RetryFilter

AT_ONCE = 500
"""The most files of one transaction."""

Position = tuple[int, int]
"""The job and the key of the last file that was looked at."""

BEGINNING: Position = (-1, 0)


@attrs.frozen
class _Where:
    """The condition of a query, with what it is about."""

    text: str
    arguments: Sequence[object]


def _failed(cursor: Cursor, wanted: RetryFilter, until: float) -> _Where:
    parts, arguments = ["ended <= ?"], list[object]([until])
    for column, value in (("medium", wanted.cartridge), ("owner", wanted.owner), ("reason", wanted.reason)):
        if value is not None:
            parts.append(f"{column} = ?")
            arguments.append(cut(value))
    if wanted.since is not None:
        parts.append("ended >= ?")
        arguments.append(wanted.since)
    if wanted.job is not None:
        parts.append("job = ?")
        arguments.append(number_of(cursor, wanted.job))
    return _Where(" AND ".join(parts), arguments)


def _backing_off(cursor: Cursor, wanted: RetryFilter) -> _Where:
    parts, arguments = ["state = ?", "resting > 0"], list[object]([RecallState.BACKING_OFF])
    for column, value in (("medium", wanted.cartridge), ("owner", wanted.owner), ("reason", wanted.reason)):
        if value is not None:
            parts.append(f"{column} = ?")
            arguments.append(cut(value))
    if wanted.since is not None:
        parts.append("heard >= ?")
        arguments.append(wanted.since)
    if wanted.job is not None:
        parts.append("file IN (SELECT file FROM wishes WHERE job = ?)")
        arguments.append(number_of(cursor, wanted.job))
    return _Where(" AND ".join(parts), arguments)


def count(cursor: Cursor, wanted: RetryFilter, now: float) -> tuple[int, int]:
    """
    Return how many requests that have failed a filter is about, and how many files that are to be tried again later.

    @raise errors.NotFound: It names a job that there is not.
    """
    numbers = []
    for table, where in (("failed", _failed(cursor, wanted, now)), ("recalls", _backing_off(cursor, wanted))):
        row = cursor.row(f"SELECT COUNT(*) FROM {table} WHERE {where.text}", *where.arguments)  # noqa: S608
        numbers.append(row[0] if row else 0)
    return numbers[0], numbers[1]


def hurry(transaction: Transaction, wanted: RetryFilter) -> int:
    """Have some files tried again now that are backing off.  @return: How many; there may be more."""
    where = _backing_off(transaction, wanted)
    rows = transaction.rows(f"SELECT file FROM recalls WHERE {where.text} LIMIT ?", *where.arguments, AT_ONCE)  # noqa: S608
    keys = [row[0] for row in rows]
    transaction.execute_among("UPDATE recalls SET resting = 0 WHERE file IN (*)", keys)
    return len(keys)


def retry(
    transaction: Transaction, wanted: RetryFilter, until: float, after: Position, deadline: float
) -> tuple[int, Position | None]:
    """
    Request some files again for which requests have failed; their jobs go on, also those that have ended.

    @param wanted: Which.
    @param until: Only those that had failed by then.
    @param after: Where to begin.
    @param deadline: Seconds until they have failed again, where the job's deadline has passed.
    @return: How many; and where to go on, C{None} if there are no more.
    """
    where = _failed(transaction, wanted, until)
    rows = transaction.rows(
        "SELECT job, file, medium, owner, reason, size FROM failed"  # noqa: S608
        f" WHERE {where.text} AND (job > ? OR (job = ? AND file > ?)) ORDER BY job, file LIMIT ?",
        *where.arguments,
        *(after[0], after[0], after[1], AT_ONCE),
    )
    change = Change()
    keys: dict[int, list[int]] = {}
    for job, key, medium, owner, reason, size in rows:
        change.add(Counted.FAILED, -1, -size, medium=medium, owner=owner, reason=reason)
        keys.setdefault(job, []).append(key)
    change.write(transaction)
    for job, some in keys.items():
        _request_again(transaction, job, some, deadline)
    return len(rows), (rows[-1][0], rows[-1][1]) if len(rows) == AT_ONCE else None


def _request_again(transaction: Transaction, job: int, keys: Sequence[int], deadline: float) -> None:
    row = transaction.row("SELECT owner, priority, deadline FROM jobs WHERE number = ?", job)
    assert row is not None, "what has failed is forgotten with its job"
    owner, priority, last = row
    transaction.execute_among("DELETE FROM failed WHERE job = ? AND file IN (*)", keys, job)
    transaction.execute_among(
        "UPDATE wishes SET state = ?, seq = ?, started = NULL, ended = NULL, reason = NULL"
        " WHERE job = ? AND file IN (*)",
        keys,
        *(FileState.QUEUED, transaction.seq, job),
    )
    transaction.execute(
        "UPDATE jobs SET remaining = remaining + ?, ended = NULL, deadline = ? WHERE number = ?",
        *(len(keys), last if last > transaction.now else transaction.now + deadline, job),
    )
    # Others may wait for the same files, which are backing off.
    transaction.execute_among(
        "UPDATE recalls SET resting = 0 WHERE state = ? AND file IN (*)", keys, RecallState.BACKING_OFF
    )
    join(transaction, job, keys, owner, Priority(priority))
