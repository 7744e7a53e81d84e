"""What jobs and files wait for, and why they are not recalled, as the store has it.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from pacarchive.model import Trouble
from pacarchive.recall.holds import read_holds
from pacarchive.recall.schema import to_key
from pacarchive.recall.store import Cursor
from pacarchive.recall.tables import RecallState
from pacarchive.recall.words import LIVE, FileState

_FAILURES = f"CASE WHEN r.state >= {RecallState.STARTED:d} THEN r.attempts - 1 ELSE r.attempts END"
"""The count of a recall's failed attempts; one that is under way has not failed."""

_UNTIL = f"CASE WHEN r.state = {RecallState.BACKING_OFF:d} THEN r.resting END"


@attrs.frozen
class Waiting:
    """
    Files of a job that wait for the same cartridge.

    @ivar medium: The cartridge; empty for files that have not been looked up.
    @ivar files: The count of the files.
    @ivar size: Their bytes.
    @ivar furthest: The position of the last of them, in a queue from C{lowest} to C{highest}.
    @ivar begins: When the cartridge can be read, by the forecast, and C{ends} when all its files will be on disk;
        C{None} if there is no forecast.
    @ivar failures: The most failed attempts of one of them.
    @ivar backing_off: How many of them are backing off.
    @ivar until: When the last of those is retried; C{None} if there is none.
    """

    medium: str
    files: int
    size: int
    furthest: int
    begins: float | None
    ends: float | None
    lowest: int | None
    highest: int | None
    failures: int = 0
    backing_off: int = 0
    until: float | None = None


def waiting(cursor: Cursor, number: int) -> list[Waiting]:
    """Return what a job waits for, by cartridge."""
    rows = cursor.rows(
        "SELECT r.medium, COUNT(*), SUM(COALESCE(r.size, 0)), MAX(r.position), MAX(m.begins), MAX(m.ends),"  # noqa: S608
        f" MAX(m.lowest), MAX(m.highest), MAX({_FAILURES}), COUNT({_UNTIL}), MAX({_UNTIL})"
        " FROM wishes w JOIN recalls r ON r.file = w.file"
        " LEFT JOIN media m ON m.medium = r.medium WHERE w.job = ? AND w.state < ? GROUP BY r.medium",
        *(number, LIVE),
    )
    return [Waiting(medium, files, int(size), *rest) for medium, files, size, *rest in rows]


def waiting_for_file(cursor: Cursor, file_id: int) -> Waiting | None:
    """Return what a file waits for; C{None} if it has no recall."""
    row = cursor.row(
        "SELECT r.medium, 1, COALESCE(r.size, 0), r.position, m.begins, m.ends, m.lowest, m.highest,"  # noqa: S608
        f" {_FAILURES}, {_UNTIL} IS NOT NULL, {_UNTIL} FROM recalls r"
        " LEFT JOIN media m ON m.medium = r.medium WHERE r.file = ?",
        to_key(file_id),
    )
    return None if row is None else Waiting(*row)


def trouble(cursor: Cursor, number: int) -> Trouble | None:
    """Return why files of a job are not recalled; C{None} if no attempt has failed."""
    of_job = "FROM wishes w JOIN recalls r ON r.file = w.file WHERE w.job = ? AND w.state <= ? AND r.reason <> ''"
    row = cursor.row(f"SELECT COUNT(*) {of_job}", number, FileState.STARTED)
    if row is None or not row[0]:
        return None
    # The reason is that of the file with the most attempts, and of those, of the one that is retried next.
    worst = cursor.row(
        f"SELECT r.reason, r.attempts, {_UNTIL} AS next_try {of_job}"
        " ORDER BY r.attempts DESC, next_try, r.file LIMIT 1",
        *(number, FileState.STARTED),
    )
    assert worst is not None, "they were just counted"
    reason, attempts, until = worst
    return Trouble(files=row[0], reason=reason, attempts=attempts, next_try=until)


def held(cursor: Cursor, number: int) -> Trouble | None:
    """Return which files of a job wait for a cartridge that is held; C{None} if there are none."""
    holds = read_holds(cursor)
    query = (
        "SELECT r.medium, COUNT(1) FROM wishes w JOIN recalls r ON r.file = w.file"
        " WHERE w.job = ? AND w.state = ? AND r.state = ? AND r.medium IN (*) GROUP BY r.medium"
    )
    rows = cursor.among(query, holds.cartridges, number, FileState.QUEUED, RecallState.QUEUED)
    found: dict[str, int] = dict(rows)  # type: ignore[arg-type]
    if not found:
        return None
    most = max(found, key=lambda medium: (found[medium], medium))
    return Trouble(files=sum(found.values()), reason=holds.reason(most))


def last_failure(cursor: Cursor, file_id: int, most_attempts: int, now: float) -> str | None:
    """
    Describe why the last request for a file failed; or why its last attempt did, and when the next one is; or who holds
    its cartridge.

    @param most_attempts: After how many attempts a file has failed for good.
    @param now: Seconds since the epoch.
    @return: A message for a person; C{None} if nothing has failed, and nothing is held.
    """
    row = cursor.row(
        "SELECT w.state, w.reason, r.state, r.reason, r.attempts, r.resting, r.medium"
        " FROM wishes w LEFT JOIN recalls r ON r.file = w.file WHERE w.file = ? ORDER BY w.job DESC LIMIT 1",
        to_key(file_id),
    )
    if row is None:
        return None
    state, reason, recall, last, attempts, backing_off, medium = row
    if state == FileState.FAILED:
        return str(reason)
    if recall == RecallState.QUEUED and (hold := read_holds(cursor).reason(medium)):
        return hold
    if state >= LIVE or not last:
        return None
    if recall != RecallState.BACKING_OFF:
        return f"{last} It is being tried again."
    return f"{last} Attempt {attempts} of {most_attempts}; next try in {max(0.0, backing_off - now):.0f} s."


def troubled(cursor: Cursor, numbers: Collection[int]) -> set[int]:
    """Return those jobs that have a file which backs off after a failure: forecasts do not account for that."""
    if not numbers:
        return set()
    rows = cursor.among(
        "SELECT DISTINCT w.job FROM recalls r JOIN wishes w ON w.file = r.file WHERE r.state = ? AND w.job IN (*)",
        numbers,
        RecallState.BACKING_OFF,
    )
    return {row[0] for row in rows}
