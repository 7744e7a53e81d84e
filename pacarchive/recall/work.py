"""What the dispatcher does with the store.

Each function runs in a thread of the store, inside one transaction; those that write are called through
L{pacarchive.recall.dispatcher_state.DispatcherState.write}, which checks the lease.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate

import attrs

from pacarchive.recall.counting import counting, counting_pins, remove_recalls
from pacarchive.recall.jobs import unpinned
from pacarchive.recall.quotas import OLD, forget
from pacarchive.recall.schedule import Demand, Flow
from pacarchive.recall.schema import to_key
from pacarchive.recall.store import Cursor, Transaction
from pacarchive.recall.tables import RecallState, cancel_requests, cut, end_requests, fail, live_requests
from pacarchive.recall.words import LIVE, FileState

_SOME = 500
"""The most rows that are removed or ended in one transaction."""

_FORGOTTEN = 20_000
"""The most files of old jobs that are deleted in one transaction, unless a single job has more."""


@attrs.frozen
class New:
    """A recall that has not been looked up."""

    key: int
    owner: str
    priority: int
    since: float


@attrs.frozen
class Located:
    """A recall that was looked up and can be queued."""

    key: int
    medium: str
    position: int
    size: int


@attrs.frozen
class SubmittedFile:
    """
    A file that is submitted to the storage system.

    @ivar request: The name of the submission.
    @ivar attempts: The count of attempts, including this one.
    """

    key: int
    medium: str
    position: int
    size: int
    request: str
    attempts: int
    started: float


def new_recalls(cursor: Cursor, limit: int) -> list[New]:
    """Return recalls that have not been looked up."""
    # In the order of an index, so that there is no choice of another one.
    rows = cursor.rows(
        "SELECT file, owner, priority, since FROM recalls WHERE state = ? ORDER BY medium, position, file LIMIT ?",
        *(RecallState.NEW, limit),
    )
    return [New(*row) for row in rows]


def queue(transaction: Transaction, located: Sequence[Located]) -> None:
    """Queue recalls that were looked up, except those that were cancelled meanwhile."""
    with counting(transaction, [each.key for each in located]):
        transaction.many(
            "UPDATE recalls SET state = ?, medium = ?, position = ?, size = ? WHERE file = ? AND state = ?",
            [
                (RecallState.QUEUED, cut(each.medium), each.position, each.size, each.key, RecallState.NEW)
                for each in located
            ],
        )


def demands(cursor: Cursor, medium: str | None = None) -> list[Demand]:
    """
    Count what waits, by cartridge and flow.

    @param medium: The cartridge; C{None} for all.
    """
    one = "" if medium is None else " AND medium = ?"
    rows = cursor.rows(
        "SELECT medium, owner, priority, COUNT(*), SUM(size), MIN(since) FROM recalls"  # noqa: S608
        f" WHERE state = ?{one} GROUP BY medium, owner, priority",
        *(RecallState.QUEUED, *(() if medium is None else (medium,))),
    )
    return [
        Demand(medium=where, flow=(owner, priority), files=files, size=int(size), since=since)
        for where, owner, priority, files, size, since in rows
    ]


def start_next(
    transaction: Transaction,
    medium: str,
    after: tuple[int, int],
    flows: Collection[Flow],
    most: int,
    request: str,
    admit: Callable[[Sequence[int]], int],
) -> tuple[list[tuple[SubmittedFile, tuple[str, int]]], bool]:
    """
    Mark the next files of a cartridge that is being read as submitted, in the order of the tape.

    @param medium: The cartridge.
    @param after: Position and key of the last file that was submitted.
    @param flows: The flows whose files may be submitted.
    @param most: The most files.
    @param request: The name of the submission.
    @param admit: Returns how many of the files fit, from their sizes.
    @return: The files, each with its flow; and whether no other file is left behind them.
    """
    position, key = after
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for owner, priority in flows:
        owners[priority].append(owner)
    # By priority, as SQLite takes no more than 1000 conditions, and there may be more owners.
    theirs = " OR ".join(f"(priority = ? AND owner IN ({', '.join('?' * len(some))}))" for some in owners.values())
    parameters = [each for priority, some in owners.items() for each in (priority, *some)]
    rows = transaction.rows(
        "SELECT file, position, COALESCE(size, 0), attempts, owner, priority FROM recalls WHERE state = ?"  # noqa: S608
        " AND medium = ? AND (position > ? OR (position = ? AND file > ?))"
        f" AND ({theirs}) ORDER BY position, file LIMIT ?",
        *(RecallState.QUEUED, medium, position, position, key, *parameters, most),
    )
    complete_batch = len(rows) < most
    taken = rows[: admit([row[2] for row in rows])]
    keys = [row[0] for row in taken]
    if keys:
        with counting(transaction, keys):
            transaction.execute_among(
                "UPDATE recalls SET state = ?, request = ?, attempts = attempts + 1, started = ? WHERE file IN (*)",
                keys,
                *(RecallState.STARTED, request, transaction.now),
            )
        waited = [(job, each) for job, each, state in live_requests(transaction, keys) if state is FileState.QUEUED]
        transaction.many(
            "UPDATE wishes SET state = ?, started = ?, seq = ? WHERE job = ? AND file = ?",
            [(FileState.STARTED, transaction.now, transaction.seq, job, each) for job, each in waited],
        )
        transaction.execute_among(
            "UPDATE jobs SET started = ? WHERE started IS NULL AND number IN (*)",
            {job for job, _ in waited},
            transaction.now,
        )
    submitted = [
        (SubmittedFile(file, medium, where, size, request, attempts + 1, transaction.now), (owner, priority))
        for file, where, size, attempts, owner, priority in taken
    ]
    return submitted, complete_batch and len(taken) == len(rows)


def next_size(cursor: Cursor, medium: str, after: tuple[int, int]) -> int | None:
    """Return the size of the next file of a cartridge that is being read; C{None} if there is none."""
    position, key = after
    row = cursor.row(
        "SELECT COALESCE(size, 0) FROM recalls WHERE state = ? AND medium = ?"
        " AND (position > ? OR (position = ? AND file > ?)) ORDER BY position, file LIMIT 1",
        *(RecallState.QUEUED, medium, position, position, key),
    )
    return None if row is None else row[0]


def submitted(cursor: Cursor) -> list[SubmittedFile]:
    """Return all files that are submitted to the storage system, by this or an earlier dispatcher."""
    rows = cursor.rows(
        "SELECT file, medium, position, COALESCE(size, 0), request, attempts, COALESCE(started, since)"
        " FROM recalls WHERE state >= ?",
        RecallState.STARTED,
    )
    return [SubmittedFile(*row) for row in rows]


def cancelling(cursor: Cursor) -> list[int]:
    """Return the keys of recalls that are to be cancelled."""
    return [row[0] for row in cursor.rows("SELECT file FROM recalls WHERE state = ?", RecallState.CANCELLING)]


def complete(transaction: Transaction, sizes: dict[int, int]) -> list[float]:
    """
    End the recalls of files that are on disk, and pin the files for those requests that have a pin.

    @param sizes: Their sizes, by key.
    @return: How many seconds each recall took from its request on.
    """
    rows = list(
        transaction.among(
            "SELECT w.job, w.file, w.state, w.pin, j.until_read FROM wishes w JOIN jobs j ON j.number = w.job"
            " WHERE w.state < ? AND w.file IN (*)",
            sizes,
            LIVE,
        )
    )
    cancelled = [(job, key) for job, key, state, _, _ in rows if state == FileState.CANCELLING]
    end_requests(transaction, cancelled, FileState.CANCELLED)
    needed = [row for row in rows if row[2] != FileState.CANCELLING]
    pins = [
        (key, job, sizes[key], transaction.now + pin, until_read) for job, key, _, pin, until_read in needed if pin > 0
    ]
    with counting_pins(transaction, {pin[0] for pin in pins}):
        transaction.many("{ignore} INTO pins (file, job, size, expires, until_read) VALUES (?, ?, ?, ?, ?)", pins)
    end_requests(transaction, [(job, key) for job, key, *_ in needed], FileState.COMPLETED, sizes=sizes)
    return remove_recalls(transaction, sizes)


def fail_all(transaction: Transaction, reasons: dict[int, str]) -> None:
    """
    End recalls as failed for good.

    @param reasons: Why, by key.
    """
    for reason in set(reasons.values()):
        fail(transaction, [key for key, each in reasons.items() if each == reason], reason)


def back_off(transaction: Transaction, until: dict[int, tuple[float, str]]) -> None:
    """
    Let recalls back off before they are retried; those that no request needs any more end.

    @param until: When each is retried, and why its attempt failed, by key.
    """
    needed = {key for _, key, state in live_requests(transaction, until) if state is not FileState.CANCELLING}
    recalls_cancelled(transaction, until.keys() - needed)
    with counting(transaction, needed):
        transaction.many(
            "UPDATE recalls SET state = ?, resting = ?, reason = ?, heard = ? WHERE file = ?",
            [
                (RecallState.BACKING_OFF, when, cut(reason), transaction.now, key)
                for key, (when, reason) in until.items()
                if key in needed
            ],
        )
    # Callers that follow a job are notified of the reason and of the next attempt.
    transaction.execute_among(
        "UPDATE wishes SET seq = ? WHERE state < ? AND file IN (*)", needed, transaction.seq, LIVE
    )


def current(transaction: Transaction, requests: Mapping[int, str]) -> frozenset[int]:
    """
    Return those recalls that still belong to a submission: an answer may arrive after the file was submitted again.

    @param requests: The names of the submissions, by key.
    """
    rows = transaction.among(
        "SELECT file, request FROM recalls WHERE state >= ? AND file IN (*)", requests, RecallState.STARTED
    )
    return frozenset(key for key, request in rows if requests[key] == request)


def recalls_cancelled(transaction: Transaction, keys: Iterable[int]) -> None:
    """End recalls that the storage system has cancelled; those that a new request needs are retried."""
    keys = set(keys)
    requests = live_requests(transaction, keys)
    again = {key for _, key, state in requests if state is not FileState.CANCELLING}
    end_requests(
        transaction, [(job, key) for job, key, state in requests if state is FileState.CANCELLING], FileState.CANCELLED
    )
    with counting(transaction, again):
        transaction.execute_among(
            "UPDATE recalls SET state = ?, resting = 0 WHERE file IN (*)", again, RecallState.BACKING_OFF
        )
    remove_recalls(transaction, keys - again)


def reported(transaction: Transaction, keys: Iterable[int]) -> None:
    """Note that the storage system still knows of recalls."""
    transaction.execute_among("UPDATE recalls SET heard = ? WHERE file IN (*)", keys, transaction.now)


def wake(transaction: Transaction) -> int:
    """Look some recalls up again whose pause is over.  @return: How many."""
    rows = transaction.rows(
        "SELECT file FROM recalls WHERE state = ? AND resting <= ? LIMIT ?",
        *(RecallState.BACKING_OFF, transaction.now, _SOME),
    )
    keys = [row[0] for row in rows]
    with counting(transaction, keys):
        transaction.execute_among("UPDATE recalls SET state = ? WHERE file IN (*)", keys, RecallState.NEW)
    return len(keys)


def overdue(transaction: Transaction) -> int:
    """End requests for files whose deadline has passed.  @return: How many."""
    rows = transaction.rows(
        "SELECT w.job, w.file FROM jobs j JOIN wishes w ON w.job = j.number"
        " WHERE j.deadline <= ? AND j.ended IS NULL AND w.state < ? LIMIT ?",
        *(transaction.now, LIVE, _SOME),
    )
    cancel_requests(
        transaction, [(job, key) for job, key in rows], FileState.FAILED, "It was not recalled before its deadline."
    )
    return len(rows)


def expire_pins(transaction: Transaction) -> tuple[int, list[int]]:
    """End pins that have expired.  @return: How many; and the ids of files that have no pin any more."""
    rows = transaction.rows("SELECT file, job FROM pins WHERE expires <= ? LIMIT ?", transaction.now, _SOME)
    with counting_pins(transaction, {row[0] for row in rows}):
        transaction.many("DELETE FROM pins WHERE file = ? AND job = ?", rows)
    return len(rows), unpinned(transaction, {row[0] for row in rows})


def due(cursor: Cursor, now: float, age: float) -> frozenset[str]:
    """
    Return which tasks are due: C{wake}, C{overdue}, C{expire}, C{forget}, C{resume}.

    @param now: The time.
    @param age: Seconds after which a job that has ended is deleted.
    """
    questions = {
        "wake": ("SELECT 1 FROM recalls WHERE state = ? AND resting <= ? LIMIT 1", (RecallState.BACKING_OFF, now)),
        "overdue": ("SELECT 1 FROM jobs WHERE deadline <= ? AND ended IS NULL LIMIT 1", (now,)),
        "expire": ("SELECT 1 FROM pins WHERE expires <= ? LIMIT 1", (now,)),
        "resume": ("SELECT 1 FROM holds WHERE until <= ? LIMIT 1", (now,)),
        "forget": (f"SELECT 1 FROM jobs WHERE {OLD} LIMIT 1", (now - age,)),  # noqa: S608
    }
    return frozenset(name for name, (text, arguments) in questions.items() if cursor.row(text, *arguments) is not None)


def concerned(cursor: Cursor, read: Collection[int], removed: Collection[int]) -> bool:
    """Return whether L{note} would change anything."""
    found = cursor.among("SELECT 1 FROM pins WHERE until_read = 1 AND file IN (*)", read)
    if next(found, None) is not None:
        return True
    return any(
        next(cursor.among(f"SELECT 1 FROM {table} WHERE file IN (*)", removed), None) is not None  # noqa: S608
        for table in ("recalls", "pins")
    )


def note(transaction: Transaction, read: Collection[int], removed: Collection[int]) -> list[int]:
    """
    Note that files were read whole, which ends pins that last until then, and that others were removed, which ends
    their recalls and pins.

    @param read: The keys of files that were read.
    @param removed: The keys of files that were removed.
    @return: The keys of files that were read and have no pin any more.
    """
    found = [
        row[0] for row in transaction.among("SELECT DISTINCT file FROM pins WHERE until_read = 1 AND file IN (*)", read)
    ]
    with counting_pins(transaction, {*found, *removed}):
        transaction.execute_among("DELETE FROM pins WHERE until_read = 1 AND file IN (*)", found)
        transaction.execute_among("DELETE FROM pins WHERE file IN (*)", removed)
    fail(transaction, list(removed), "The file was removed.")
    return [to_key(file_id) for file_id in unpinned(transaction, found)]


def pinned_bytes(cursor: Cursor) -> int:
    """Return the bytes of all files that are pinned."""
    row = cursor.row("SELECT SUM(size) FROM (SELECT file, MAX(size) AS size FROM pins GROUP BY file) AS files")
    return int(row[0] or 0) if row else 0


def forget_old(transaction: Transaction, age: float) -> int:
    """Delete some of the jobs that ended more than C{age} seconds ago.  @return: How many."""
    query = f"SELECT number, files FROM jobs WHERE {OLD} ORDER BY ended LIMIT 20"  # noqa: S608
    rows = transaction.rows(query, transaction.now - age)
    # All other writers wait for this transaction, so it must be short.
    files = accumulate(row[1] for row in rows)
    numbers = [row[0] for row, so_far in zip(rows, files, strict=True) if so_far <= max(_FORGOTTEN, rows[0][1])]
    forget(transaction, numbers)
    return len(numbers)


def queued_after(cursor: Cursor, key: int, limit: int) -> list[int]:
    """Return the keys of recalls that wait, in order, from the one after C{key}."""
    rows = cursor.rows(
        "SELECT file FROM recalls WHERE file > ? AND state IN (?, ?) ORDER BY file LIMIT ?",
        *(key, RecallState.QUEUED, RecallState.BACKING_OFF, limit),
    )
    return [row[0] for row in rows]
