"""The forecasts that the dispatcher stores for all processes, and the outcomes that it compares them with.

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
    """
    The forecast for a cartridge.

    @ivar medium: The cartridge.
    @ivar files: The count of its files that are to be recalled.
    @ivar begins: When it can be read.
    @ivar ends: When its last file will be on disk.
    @ivar lowest: The lowest position of its files.
    @ivar highest: The highest one.
    """

    medium: str
    files: int
    begins: float
    ends: float
    lowest: int = 0
    highest: int = 0


def with_extents(cursor: Cursor, forecasts: Iterable[MediumForecast]) -> list[MediumForecast]:
    """Complete forecasts with the lowest and the highest position of files that wait or are being read."""
    extents = []
    for forecast in forecasts:
        found: list[int] = []
        for state in (RecallState.QUEUED, RecallState.STARTED):
            for end in ("MIN", "MAX"):  # separately, as each is then the end of an index
                row = cursor.row(
                    f"SELECT {end}(position) FROM recalls WHERE state = ? AND medium = ?",  # noqa: S608
                    *(state, forecast.medium),
                )
                if row is not None and row[0] is not None:
                    found.append(row[0])
        extents.append(attrs.evolve(forecast, lowest=min(found, default=0), highest=max(found, default=0)))
    return extents


def outcomes(cursor: Cursor, numbers: Iterable[int]) -> dict[int, float | None]:
    """
    Return which of some jobs have ended.

    @param numbers: The numbers of the jobs.
    @return: When each ended; C{None} if not all of its files are on disk, or if it was deleted.
    """
    numbers = list(numbers)
    rows = {row[0]: row[1] for row in cursor.among("SELECT number, ended FROM jobs WHERE number IN (*)", numbers)}
    ended = [number for number in numbers if number not in rows or rows[number] is not None]
    query = "SELECT DISTINCT job FROM wishes WHERE state <> ? AND job IN (*)"
    otherwise = {row[0] for row in cursor.among(query, ended, FileState.COMPLETED)}
    return {number: None if number in otherwise else rows.get(number) for number in ended}


def store(transaction: Transaction, forecasts: Iterable[MediumForecast], obstacle: str, learned: str) -> None:
    """
    Replace the stored forecasts.

    @param forecasts: The forecasts for cartridges.
    @param obstacle: What keeps everything from being recalled, for a person; else empty.
    @param learned: What was learned, as JSON.
    """
    transaction.execute("DELETE FROM media")
    transaction.many(
        "INSERT INTO media (medium, files, begins, ends, lowest, highest) VALUES (?, ?, ?, ?, ?, ?)",
        [(each.medium, each.files, each.begins, each.ends, each.lowest, each.highest) for each in forecasts],
    )
    transaction.execute("UPDATE turn SET obstacle = ?, learned = ? WHERE one = 1", cut(obstacle), learned)
