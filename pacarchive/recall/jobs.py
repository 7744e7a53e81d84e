"""What those who ask do to the store: jobs are made, given up, forgotten; pins end.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from uuid import uuid4

import attrs

from pacarchive import errors
from pacarchive.recall.listing import number_of
from pacarchive.recall.quotas import Accounts, forget
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor, Turn
from pacarchive.recall.tables import RecallState, cut, end_requests, give_up, live_requests
from pacarchive.recall.words import LIVE, Cancelled, FileState, JobRequest, Priority, Released


@attrs.frozen(kw_only=True)
class Submission:
    """
    A job to be made.

    @ivar pin: Seconds, for files that the request has no pin of.
    @ivar deadline: Seconds from now.
    @ivar single: Its only file, which it is made for again and again; such jobs are one.
    """

    request: JobRequest
    pin: float
    deadline: float
    single: int | None = None


def submit_all(
    turn: Turn, submissions: Iterable[Submission], settings: RecallSettings
) -> list[str | errors.ArchiveError]:
    """
    Make jobs.

    @param settings: What owners may have.
    @return: Their identifiers; or why one cannot be made, which is no failure of the others.
    """
    accounts = Accounts(turn, settings)
    made: list[str | errors.ArchiveError] = []
    for each in submissions:
        try:
            made.append(_submit(turn, each, accounts))
        except errors.Unavailable as error:
            made.append(error)
    accounts.write()
    return made


def _submit(turn: Turn, submission: Submission, accounts: Accounts) -> str:
    request, single = submission.request, None
    if submission.single is not None:
        single = _single(submission.single, request.owner)
        if (known := single_job(turn, submission.single, request.owner)) is not None:
            return known
    others = json.dumps(list(request.others))
    job = uuid4().hex
    file_ids = list(dict.fromkeys(request.file_ids))  # one that is there twice would fail all jobs that are made now
    keys = [to_key(file_id) for file_id in file_ids]
    accounts.admit(request.owner, len(keys), others)
    number = turn.execute(
        "INSERT INTO jobs (job, owner, priority, created, deadline, pin, until_read, single, files, remaining, others,"
        " ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(job, cut(request.owner), request.priority, turn.now, turn.now + submission.deadline, submission.pin),
        *(int(single is not None), single, len(keys), len(keys), others),
        None if keys else turn.now,
    ).lastrowid
    pins = [request.pins.get(file_id, submission.pin) for file_id in file_ids]
    turn.many(
        "INSERT INTO wishes (job, file, state, seq, pin) VALUES (?, ?, ?, ?, ?)",
        [(number, key, FileState.QUEUED, turn.seq, pin) for key, pin in zip(keys, pins, strict=True)],
    )
    # All of them parameters: PyMySQL sends such rows together, others one by one.
    owner, priority = cut(request.owner), request.priority
    turn.many(
        "{ignore} INTO recalls (file, state, owner, priority, since, medium, position, request, attempts, resting,"
        " reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(key, RecallState.NEW, owner, priority, turn.now, "", 0, "", 0, 0, "") for key in keys],
    )
    _join(turn, number, keys, request.priority)
    return job


def _single(file_id: int, owner: str) -> str:
    return cut(f"{file_id} {owner}")


def single_job(cursor: Cursor, file_id: int, owner: str) -> str | None:
    """The job that an owner's requests for one file are part of, as long as it has not ended."""
    row = cursor.row("SELECT job FROM jobs WHERE single = ?", _single(file_id, owner))
    return None if row is None else str(row[0])


def _join(turn: Turn, number: int, keys: Sequence[int], priority: Priority) -> None:
    """Take account of how far those got who asked for the same files before."""
    found = turn.among("SELECT file, state FROM recalls WHERE state >= ? AND file IN (*)", keys, RecallState.STARTED)
    asked_for = {key: state for key, state in found}  # noqa: C416  (dict() does not take rows)
    if asked_for:
        wanted_again = [key for key, state in asked_for.items() if state == RecallState.CANCELLING]
        turn.execute_among("UPDATE recalls SET state = ? WHERE file IN (*)", wanted_again, RecallState.STARTED)
        # The storage system is not to give it up any more, so those who gave it up have nothing to wait for.
        given_up = [
            (job, key) for job, key, state in live_requests(turn, wanted_again) if state is FileState.CANCELLING
        ]
        end_requests(turn, given_up, FileState.CANCELLED)
        turn.execute_among(
            "UPDATE wishes SET state = ?, started = ? WHERE job = ? AND file IN (*)",
            asked_for,
            *(FileState.STARTED, turn.now, number),
        )
        turn.execute("UPDATE jobs SET started = ? WHERE number = ?", turn.now, number)
    if priority > Priority.LOW:
        # They are looked at again, for a better place in the queue.  Without the plus, SQLite looks for them among all
        # that wait, as it has an index of states.
        turn.execute_among(
            "UPDATE recalls SET state = ?, priority = ? WHERE +state IN (?, ?) AND priority < ? AND file IN (*)",
            keys,
            *(RecallState.NEW, priority, RecallState.NEW, RecallState.QUEUED, priority),
        )


def _requests(turn: Turn, number: int, file_ids: Collection[int] | None) -> list[tuple[int, FileState]]:
    """
    The keys and states of a job's files, or of some.

    @raise errors.InvalidRequest: One is none of its files.
    """
    if file_ids is None:
        found = turn.rows("SELECT file, state FROM wishes WHERE job = ?", number)
    else:
        keys = {to_key(file_id) for file_id in file_ids}
        found = list(turn.among("SELECT file, state FROM wishes WHERE job = ? AND file IN (*)", keys, number))
        if len(found) != len(keys):
            strangers = sorted(from_key(key) for key in keys.difference(key for key, _ in found))
            raise errors.InvalidRequest(f"No files of this job: {', '.join(map(str, strangers[:10]))}")
    return [(key, FileState(state)) for key, state in found]


def cancel(turn: Turn, job: str, file_ids: Collection[int] | None) -> Cancelled:
    """
    Give files of a job up.

    @raise errors.NotFound: There is no such job.
    @raise errors.InvalidRequest: One is none of its files.
    """
    number = number_of(turn, job)
    found = _requests(turn, number, file_ids)
    wanted = [(number, key) for key, state in found if not state.ended and state is not FileState.CANCELLING]
    at_once = give_up(turn, wanted, FileState.CANCELLED)
    if wanted:  # whoever wants the file again must not become part of what is being given up
        turn.execute("UPDATE jobs SET single = NULL WHERE number = ?", number)
    cancelling = len(wanted) - at_once + sum(state is FileState.CANCELLING for _, state in found)
    return Cancelled(cancelled=at_once, cancelling=cancelling, ended=sum(state.ended for _, state in found))


def delete(turn: Turn, job: str) -> list[int]:
    """
    Give all files of a job up, and forget it.

    @return: The files that nobody has pinned any more.
    @raise errors.NotFound: There is no such job.
    """
    number = number_of(turn, job)
    wanted = [(number, key) for key, state in _requests(turn, number, None) if not state.ended]
    give_up(turn, wanted, FileState.FAILED)
    pinned = [row[0] for row in turn.rows("SELECT file FROM pins WHERE job = ?", number)]
    turn.execute("DELETE FROM pins WHERE job = ?", number)
    forget(turn, [number])
    return unpinned(turn, pinned)


def release(turn: Turn, job: str, file_ids: Collection[int] | None) -> tuple[Released, list[int]]:
    """
    End pins of a job, those that are still to come too.

    @return: What that was; and the files that nobody has pinned any more.
    @raise errors.NotFound: There is no such job.
    @raise errors.InvalidRequest: One is none of its files.
    """
    number = number_of(turn, job)
    keys = [key for key, _ in _requests(turn, number, file_ids)]
    query = "SELECT file FROM wishes WHERE job = ? AND state < ? AND pin > 0 AND file IN (*)"
    coming = len(list(turn.among(query, keys, number, LIVE)))
    turn.execute_among("UPDATE wishes SET pin = 0 WHERE job = ? AND file IN (*)", keys, number)
    pinned = [row[0] for row in turn.among("SELECT file FROM pins WHERE job = ? AND file IN (*)", keys, number)]
    turn.execute_among("DELETE FROM pins WHERE job = ? AND file IN (*)", pinned, number)
    released = Released(released=len(pinned), coming=coming, unpinned=len(keys) - len(pinned) - coming)
    return released, unpinned(turn, pinned)


def unpin(turn: Turn, file_id: int, owner: str | None) -> tuple[int, list[int]]:
    """
    End the pins of a file.

    @param owner: Whose; C{None} for everyone's.
    @return: How many there were, and the ids among it that nobody has pinned any more.
    """
    whose, arguments = "", [cut(owner)] if owner is not None else []
    if arguments:
        whose = " AND job IN (SELECT number FROM jobs WHERE owner = ?)"
    key = to_key(file_id)
    ended: int = turn.execute("DELETE FROM pins WHERE file = ?" + whose, key, *arguments).rowcount  # noqa: S608
    return ended, unpinned(turn, [key]) if ended else []


def unpinned(cursor: Cursor, keys: Collection[int]) -> list[int]:
    """The ids among some files that nobody has pinned."""
    pinned = {row[0] for row in cursor.among("SELECT DISTINCT file FROM pins WHERE file IN (*)", keys)}
    return [from_key(key) for key in keys if key not in pinned]
