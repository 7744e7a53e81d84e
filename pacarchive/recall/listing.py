"""Listings of the store for callers: jobs, their files, pins.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs

from pacarchive import errors
from pacarchive.recall.holds import read_holds
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.store import Cursor, Row
from pacarchive.recall.tables import RecallState, cut
from pacarchive.recall.words import LIVE, FilesPage, FileState, JobFile, JobSummary, Pin, Priority

_SUMMARY = "number, job, owner, priority, created, deadline, started, ended, files, remaining"

_LAST = (1 << 63) - 1
"""The highest key."""


def number_of(cursor: Cursor, job: str) -> int:
    """
    Return a job's number.

    @raise errors.NotFound: No job has this identifier.
    """
    if (row := cursor.row("SELECT number FROM jobs WHERE job = ?", job)) is None:
        raise errors.NotFound("There is no such job; those that ended long ago are forgotten.")
    number: int = row[0]
    return number


def summary(cursor: Cursor, number: int) -> JobSummary:
    """Return a job without its files."""
    row = cursor.row(f"SELECT {_SUMMARY} FROM jobs WHERE number = ?", number)  # noqa: S608
    assert row is not None, "a snapshot does not change"
    return _summary(row)


def owner_of(cursor: Cursor, job: str) -> str:
    """
    Return the owner of a job.

    @raise errors.NotFound: No job has this identifier.
    """
    return summary(cursor, number_of(cursor, job)).owner


def _summary(row: Row) -> JobSummary:
    number, job, owner, priority, created, deadline, started, ended, files, left = row
    return JobSummary(
        job=job,
        number=number,
        owner=owner,
        priority=Priority(priority),
        created=created,
        deadline=deadline,
        started=started,
        ended=ended,
        files=files,
        left=left,
    )


def others(cursor: Cursor, number: int) -> tuple[str, ...]:
    """Return the requested names of a job that are not file ids."""
    row = cursor.row("SELECT others FROM jobs WHERE number = ?", number)
    return () if row is None else tuple(json.loads(row[0]))


@attrs.frozen
class Tally:
    """
    Totals over the files of a job.

    @ivar counts: The counts of files by state.
    @ivar size: The bytes of all files whose size is known.
    @ivar done: The bytes of those that are completed.
    @ivar pin: The longest pin of a file, in seconds.
    """

    counts: dict[FileState, int]
    size: int
    done: int
    pin: float


def tally(cursor: Cursor, number: int) -> Tally:
    """Compute the totals over a job's files."""
    counts = dict.fromkeys(FileState, 0)
    size = done = 0
    pin = 0.0
    for state, files, known, longest in cursor.rows(
        "SELECT w.state, COUNT(*), SUM(COALESCE(w.size, r.size, 0)), MAX(w.pin)"
        " FROM wishes w LEFT JOIN recalls r ON r.file = w.file WHERE w.job = ? GROUP BY w.state",
        number,
    ):
        counts[FileState(state)] = files
        size += int(known)
        pin = max(pin, longest)
        if state == FileState.COMPLETED:
            done = int(known)
    return Tally(counts, size, done, pin)


def circumstances(cursor: Cursor) -> tuple[int, str, str]:
    """
    Return what concerns all jobs.

    @return: The number of the last change; what keeps everything from being recalled, or an empty text; and what was
        learned about the drives.
    """
    row = cursor.row("SELECT seq, obstacle, learned FROM turn")
    assert row is not None, "the schema has put it there"
    return row[0], read_holds(cursor).obstacle or row[1], row[2]


def cursor_text(seq: int, key: int = _LAST) -> str:
    """Return the cursor for the position after all changes of a number, or after one file of them."""
    return f"{seq}-{from_key(key) if key != _LAST else 'all'}"


def _parse_cursor(text: str) -> tuple[int, int]:
    if not text:
        return -1, 0
    seq, dash, file = text.partition("-")
    if not (dash and seq.isascii() and seq.isdigit() and len(seq) < 19):
        raise errors.InvalidRequest("since is a cursor from an earlier answer.")
    if file == "all":
        return int(seq), _LAST
    if not (file.isascii() and file.isdigit() and len(file) <= 20 and int(file) < 1 << 64):
        raise errors.InvalidRequest("since is a cursor from an earlier answer.")
    return int(seq), to_key(int(file))


def files(cursor: Cursor, job: str, since: str, limit: int) -> FilesPage:
    """
    List files of a job, in the order of their changes.

    @param job: The job's identifier.
    @param since: A cursor; empty for the beginning.
    @param limit: The most files.
    @raise errors.NotFound: There is no such job.
    @raise errors.InvalidRequest: C{since} is not a cursor.
    """
    seq, key = _parse_cursor(since)
    number = number_of(cursor, job)
    newest, obstacle, _ = circumstances(cursor)
    holds = read_holds(cursor)
    deadline = summary(cursor, number).deadline
    rows = cursor.rows(
        "SELECT w.file, w.state, w.seq, COALESCE(w.size, r.size), w.started, w.ended, w.reason, r.heard,"
        " COALESCE(r.attempts, 0), r.state, r.reason, r.resting, p.expires, r.medium"
        " FROM wishes w LEFT JOIN recalls r ON r.file = w.file AND w.state < ?"
        " LEFT JOIN pins p ON p.file = w.file AND p.job = w.job"
        " WHERE w.job = ? AND (w.seq > ? OR (w.seq = ? AND w.file > ?)) ORDER BY w.seq, w.file LIMIT ?",
        *(LIVE, number, seq, seq, key, limit + 1),
    )
    more, rows = len(rows) > limit, rows[:limit]
    found = [_file(row, deadline, holds.reason(row[-1]) or obstacle) for row in rows]
    return FilesPage(
        files=found, cursor=cursor_text(rows[-1][2], rows[-1][0]) if more else cursor_text(newest), more=more
    )


def changes(cursor: Cursor, job: str, since: str, limit: int) -> tuple[FilesPage, int]:
    """As L{files}, together with the count of the job's files that have not ended."""
    return files(cursor, job, since, limit), summary(cursor, number_of(cursor, job)).left


def _file(row: Row, deadline: float, obstacle: str) -> JobFile:
    key, state, _, size, started, ended, reason, heard, attempts, recall, recall_reason, resting, pinned, _ = row
    return JobFile(
        file_id=from_key(key),
        state=FileState(state),
        size=size,
        started=started,
        ended=ended,
        deadline=deadline,
        heard=heard,
        attempts=attempts,
        next_try=resting if recall == RecallState.BACKING_OFF else None,
        reason=reason or _describe(recall, recall_reason, obstacle),
        pinned=pinned,
    )


def _describe(recall: int | None, reason: str | None, obstacle: str) -> str:
    """Describe for a person why a file that has not ended is in its state."""
    match recall:
        case None:
            return ""
        case RecallState.NEW:
            return reason or obstacle or "The location of the file is being looked up."
        case RecallState.QUEUED:
            return obstacle or reason or "It waits until its cartridge is read."
        case RecallState.CANCELLING:
            return "It is being cancelled; the storage system has not confirmed that yet."
        case RecallState.STARTED if reason:
            return f"It is being tried again; the last time: {reason}"
        case _:
            return reason or "The storage system is recalling it."


def jobs(cursor: Cursor, owner: str | None, before: int | None, limit: int) -> list[JobSummary]:
    """
    List jobs, the latest first.

    @param owner: The owner; C{None} for all.
    @param before: The number of the last job of the page before.
    @param limit: The most jobs.
    """
    conditions, arguments = ["number < ?"], [_LAST if before is None else before]
    if owner is not None:
        conditions.append("owner = ?")
        arguments.append(cut(owner))  # type: ignore[arg-type]
    rows = cursor.rows(
        f"SELECT {_SUMMARY} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?",  # noqa: S608
        *(*arguments, limit),
    )
    return [_summary(row) for row in rows]


def pins(cursor: Cursor, owner: str | None, after: tuple[int, str] | None, limit: int) -> list[Pin]:
    """
    List pins, by file and job.

    @param owner: The owner; C{None} for all.
    @param after: File and job of the last pin of the page before.
    @param limit: The most pins.
    """
    conditions, arguments = ["1 = 1"], []
    if after is not None:
        row = cursor.row("SELECT number FROM jobs WHERE job = ?", after[1])
        key, number = to_key(after[0]), row[0] if row else 0
        conditions.append("(p.file > ? OR (p.file = ? AND p.job > ?))")
        arguments += [key, key, number]
    if owner is not None:
        conditions.append("j.owner = ?")
        arguments.append(cut(owner))
    rows: Sequence[Row] = cursor.rows(
        "SELECT p.file, j.job, j.owner, p.size, p.expires, p.until_read FROM pins p JOIN jobs j ON j.number = p.job"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} ORDER BY p.file, p.job LIMIT ?",
        *(*arguments, limit),
    )
    return [
        Pin(file_id=from_key(key), job=job, owner=whose, size=size, expires=expires, until_read=bool(until_read))
        for key, job, whose, size, expires, until_read in rows
    ]


def new_jobs(cursor: Cursor, after: int, limit: int) -> list[int]:
    """
    Return the numbers of jobs that have not ended, the oldest first.

    @param after: Only later numbers.
    """
    rows = cursor.rows(
        "SELECT number FROM jobs WHERE number > ? AND ended IS NULL ORDER BY number LIMIT ?", after, limit
    )
    return [row[0] for row in rows]


def queue_ahead(cursor: Cursor) -> tuple[list[tuple[str, int, float]], str]:
    """
    Return what is queued already.

    @return: The cartridges, with the counts of their files and the times when they will have been read; and what was
        learned about the drives.
    """
    rows = [(medium, files, ends) for medium, files, ends in cursor.rows("SELECT medium, files, ends FROM media")]
    return rows, circumstances(cursor)[2]
