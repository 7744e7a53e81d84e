"""What the dispatcher forecasts, and how it turns out, in the store.

Each function runs in a thread of the store, inside one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from pacarchive.recall.store import Cursor, Transaction
from pacarchive.recall.tables import RecallState, cut
from pacarchive.recall.words import FileState


@attrs.frozen
class MediumForecast:
    """When the first and the last file of a cartridge are thought to come, and between which positions they lie."""

    medium: str
    files: int
    begins: float
    ends: float
    lowest: int = 0
    highest: int = 0


def with_extents(cursor: Cursor, forecasts: Iterable[MediumForecast]) -> list[MediumForecast]:
    """Complete forecasts with the lowest and the highest position that waits, or is being read."""
    extents = []
    for forecast in forecasts:
        found: list[int] = []
        for state in (RecallState.QUEUED, RecallState.STARTED):
            for end in ("MIN", "MAX"):  # each by itself is the end of an index
                row = cursor.row(
                    f"SELECT {end}(position) FROM recalls WHERE state = ? AND medium = ?",  # noqa: S608
                    *(state, forecast.medium),
                )
                if row is not None and row[0] is not None:
                    found.append(row[0])
        extents.append(attrs.evolve(forecast, lowest=min(found, default=0), highest=max(found, default=0)))
    return extents


def outcomes(cursor: Cursor, numbers: Iterable[int]) -> dict[int, float | None]:
    """Which of some jobs have ended, and when; C{None}: not with all of their files there, or it was forgotten."""
    numbers = list(numbers)
    rows = {row[0]: row[1] for row in cursor.among("SELECT number, ended FROM jobs WHERE number IN (*)", numbers)}
    ended = [number for number in numbers if number not in rows or rows[number] is not None]
    query = "SELECT DISTINCT job FROM wishes WHERE state <> ? AND job IN (*)"
    otherwise = {row[0] for row in cursor.among(query, ended, FileState.COMPLETED)}
    return {number: None if number in otherwise else rows.get(number) for number in ended}


def store(transaction: Transaction, forecasts: Iterable[MediumForecast], obstacle: str, learned: str) -> None:
    """Let those who ask know what is thought of the time to come."""
    transaction.execute("DELETE FROM media")
    transaction.many(
        "INSERT INTO media (medium, files, begins, ends, lowest, highest) VALUES (?, ?, ?, ?, ?, ?)",
        [(each.medium, each.files, each.begins, each.ends, each.lowest, each.highest) for each in forecasts],
    )
    transaction.execute("UPDATE turn SET obstacle = ?, learned = ? WHERE one = 1", cut(obstacle), learned)
