"""What callers do with the store: jobs are submitted, cancelled and deleted, and pins are released.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from uuid import uuid4

import attrs

from pacarchive import errors
from pacarchive.recall.counting import Change, counting, counting_pins
from pacarchive.recall.listing import number_of
from pacarchive.recall.quotas import Accounts, forget
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor, Transaction
from pacarchive.recall.tables import RecallState, cancel_requests, cut, end_requests, live_requests
from pacarchive.recall.words import LIVE, Cancelled, FileState, JobRequest, Priority, Released


@attrs.frozen(kw_only=True)
class Submission:
    """
    A job to be stored.

    @ivar request: The request.
    @ivar pin: The pin in seconds, for files for which the request has none.
    @ivar deadline: Seconds from now.
    @ivar single: The id of its only file, if it is one that is requested outside of a job; an owner's repeated requests
        for it are the same job.
    """

    request: JobRequest
    pin: float
    deadline: float
    single: int | None = None


def submit_all(
    transaction: Transaction, submissions: Iterable[Submission], settings: RecallSettings
) -> list[str | errors.ArchiveError]:
    """
    Store jobs.

    @param submissions: The jobs.
    @param settings: The limits for owners.
    @return: For each, its identifier, or the error for which it is refused; others are stored all the same.
    """
    accounts = Accounts(transaction, settings)
    made: list[str | errors.ArchiveError] = []
    for each in submissions:
        try:
            made.append(_submit(transaction, each, accounts))
        except errors.Unavailable as error:
            made.append(error)
    accounts.write()
    return made


def _submit(transaction: Transaction, submission: Submission, accounts: Accounts) -> str:
    request, single = submission.request, None
    if submission.single is not None:
        single = _single(submission.single, request.owner)
        if (known := single_job(transaction, submission.single, request.owner)) is not None:
            return known
    others = json.dumps(list(request.others))
    job = uuid4().hex
    file_ids = list(dict.fromkeys(request.file_ids))  # a duplicate would fail the whole transaction
    keys = [to_key(file_id) for file_id in file_ids]
    accounts.admit(request.owner, len(keys), others)
    number = transaction.execute(
        "INSERT INTO jobs (job, owner, priority, created, deadline, pin, until_read, single, files, remaining, others,"
        " ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(
            job,
            cut(request.owner),
            request.priority,
            transaction.now,
            transaction.now + submission.deadline,
            submission.pin,
        ),
        *(int(single is not None), single, len(keys), len(keys), others),
        None if keys else transaction.now,
    ).lastrowid
    pins = [request.pins.get(file_id, submission.pin) for file_id in file_ids]
    transaction.many(
        "INSERT INTO wishes (job, file, state, seq, pin) VALUES (?, ?, ?, ?, ?)",
        [(number, key, FileState.QUEUED, transaction.seq, pin) for key, pin in zip(keys, pins, strict=True)],
    )
    join(transaction, number, keys, cut(request.owner), request.priority)
    return job


def _single(file_id: int, owner: str) -> str:
    return cut(f"{file_id} {owner}")


def single_job(cursor: Cursor, file_id: int, owner: str) -> str | None:
    """
    Return the identifier of the job that an owner's requests for one file are part of, or C{None} if none is under way.
    """
    row = cursor.row("SELECT job FROM jobs WHERE single = ?", _single(file_id, owner))
    return None if row is None else str(row[0])


def join(transaction: Transaction, number: int, keys: Sequence[int], owner: str, priority: Priority) -> None:
    """
    Have files of a job recalled for which it has requests that are queued; recalls that are under way for other
    requests are joined.

    @param number: The number of the job.
    @param keys: The keys of the files.
    @param owner: Its owner.
    @param priority: Its priority.
    """
    there = [row[0] for row in transaction.among("SELECT file FROM recalls WHERE file IN (*)", keys)]
    # Every value is a parameter, as PyMySQL sends only such rows together.
    transaction.many(
        "{ignore} INTO recalls (file, state, owner, priority, since, medium, position, request, attempts, resting,"
        " reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(key, RecallState.NEW, owner, priority, transaction.now, "", 0, "", 0, 0, "") for key in keys],
    )
    change = Change()
    row = (RecallState.NEW, "", owner, "", transaction.now, 0)
    change.add_recalls(1, [row] * (len(keys) - len(there)))
    change.write(transaction)
    with counting(transaction, there):
        _join(transaction, number, there, priority)


def _join(transaction: Transaction, number: int, keys: Sequence[int], priority: Priority) -> None:
    """
    Join recalls that are under way for other requests.

    @param number: The number of the job.
    @param keys: The keys of its files that have such recalls.
    @param priority: Its priority.
    """
    found = transaction.among(
        "SELECT file, state FROM recalls WHERE state >= ? AND file IN (*)", keys, RecallState.STARTED
    )
    submitted = {key: state for key, state in found}  # noqa: C416  (dict() does not take rows)
    if submitted:
        requested_again = [key for key, state in submitted.items() if state == RecallState.CANCELLING]
        transaction.execute_among(
            "UPDATE recalls SET state = ? WHERE file IN (*)", requested_again, RecallState.STARTED
        )
        # The storage system does not need to cancel it any more, so earlier requests that were cancelled end now.
        cancelled = [
            (job, key)
            for job, key, state in live_requests(transaction, requested_again)
            if state is FileState.CANCELLING
        ]
        end_requests(transaction, cancelled, FileState.CANCELLED)
        transaction.execute_among(
            "UPDATE wishes SET state = ?, started = ? WHERE job = ? AND file IN (*)",
            submitted,
            *(FileState.STARTED, transaction.now, number),
        )
        transaction.execute("UPDATE jobs SET started = ? WHERE started IS NULL AND number = ?", transaction.now, number)
    if priority > Priority.LOW:
        # They are looked up again, which gives them a better position in the queue.  Without the plus, SQLite would use
        # its index of states, and search all that wait.
        transaction.execute_among(
            "UPDATE recalls SET state = ?, priority = ? WHERE +state IN (?, ?) AND priority < ? AND file IN (*)",
            keys,
            *(RecallState.NEW, priority, RecallState.NEW, RecallState.QUEUED, priority),
        )


def _requests(transaction: Transaction, number: int, file_ids: Collection[int] | None) -> list[tuple[int, FileState]]:
    """
    Return the keys and states of a job's files, or of some of them.

    @raise errors.InvalidRequest: One of C{file_ids} is not in the job.
    """
    if file_ids is None:
        found = transaction.rows("SELECT file, state FROM wishes WHERE job = ?", number)
    else:
        keys = {to_key(file_id) for file_id in file_ids}
        found = list(transaction.among("SELECT file, state FROM wishes WHERE job = ? AND file IN (*)", keys, number))
        if len(found) != len(keys):
            unknown = sorted(from_key(key) for key in keys.difference(key for key, _ in found))
            raise errors.InvalidRequest(f"No files of this job: {', '.join(map(str, unknown[:10]))}")
    return [(key, FileState(state)) for key, state in found]


def cancel(transaction: Transaction, job: str, file_ids: Collection[int] | None) -> Cancelled:
    """
    Cancel files of a job.

    @param job: The job's identifier.
    @param file_ids: The files; C{None} for all.
    @raise errors.NotFound: There is no such job.
    @raise errors.InvalidRequest: One of the files is not in the job.
    """
    number = number_of(transaction, job)
    found = _requests(transaction, number, file_ids)
    live = [(number, key) for key, state in found if not state.ended and state is not FileState.CANCELLING]
    cancelled_now = cancel_requests(transaction, live, FileState.CANCELLED)
    if live:  # a new request for the file must not join the job that is being cancelled
        transaction.execute("UPDATE jobs SET single = NULL WHERE number = ?", number)
    cancelling = len(live) - cancelled_now + sum(state is FileState.CANCELLING for _, state in found)
    return Cancelled(cancelled=cancelled_now, cancelling=cancelling, ended=sum(state.ended for _, state in found))


def delete(transaction: Transaction, job: str) -> list[int]:
    """
    Cancel all files of a job, end its pins, and delete it.

    @param job: The job's identifier.
    @return: The ids of files that have no pin any more.
    @raise errors.NotFound: There is no such job.
    """
    number = number_of(transaction, job)
    live = [(number, key) for key, state in _requests(transaction, number, None) if not state.ended]
    cancel_requests(transaction, live, FileState.FAILED)
    pinned = [row[0] for row in transaction.rows("SELECT file FROM pins WHERE job = ?", number)]
    with counting_pins(transaction, pinned):
        transaction.execute("DELETE FROM pins WHERE job = ?", number)
    forget(transaction, [number])
    return unpinned(transaction, pinned)


def release(transaction: Transaction, job: str, file_ids: Collection[int] | None) -> tuple[Released, list[int]]:
    """
    Release pins of a job, including those of files that have not been recalled yet.

    @param job: The job's identifier.
    @param file_ids: The files; C{None} for all.
    @return: The counts; and the ids of files that have no pin any more.
    @raise errors.NotFound: There is no such job.
    @raise errors.InvalidRequest: One of the files is not in the job.
    """
    number = number_of(transaction, job)
    keys = [key for key, _ in _requests(transaction, number, file_ids)]
    query = "SELECT file FROM wishes WHERE job = ? AND state < ? AND pin > 0 AND file IN (*)"
    coming = len(list(transaction.among(query, keys, number, LIVE)))
    transaction.execute_among("UPDATE wishes SET pin = 0 WHERE job = ? AND file IN (*)", keys, number)
    pinned = [row[0] for row in transaction.among("SELECT file FROM pins WHERE job = ? AND file IN (*)", keys, number)]
    with counting_pins(transaction, pinned):
        transaction.execute_among("DELETE FROM pins WHERE job = ? AND file IN (*)", pinned, number)
    released = Released(released=len(pinned), coming=coming, unpinned=len(keys) - len(pinned) - coming)
    return released, unpinned(transaction, pinned)


def unpin(transaction: Transaction, file_id: int, owner: str | None) -> tuple[int, list[int]]:
    """
    End the pins of a file.

    @param file_id: The file.
    @param owner: The owner whose pins end; C{None} for those of all owners.
    @return: How many there were; and the file's id in a list, if it has no pin any more.
    """
    of_owner, arguments = "", [cut(owner)] if owner is not None else []
    if arguments:
        of_owner = " AND job IN (SELECT number FROM jobs WHERE owner = ?)"
    key = to_key(file_id)
    with counting_pins(transaction, [key]):
        query = "DELETE FROM pins WHERE file = ?" + of_owner  # noqa: S608
        ended: int = transaction.execute(query, key, *arguments).rowcount
    return ended, unpinned(transaction, [key]) if ended else []


def unpinned(cursor: Cursor, keys: Collection[int]) -> list[int]:
    """Return the ids of those files that have no pin."""
    pinned = {row[0] for row in cursor.among("SELECT DISTINCT file FROM pins WHERE file IN (*)", keys)}
    return [from_key(key) for key in keys if key not in pinned]
