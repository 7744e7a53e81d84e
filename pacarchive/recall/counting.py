"""Counts that are kept as files change: by state, cartridge, owner and reason, so that nobody has to count the queue.

Whatever changes recalls, pins or failures counts them in the same transaction.  Each row of the table C{counts} has a
L{Counted}, and what that says of its C{medium}, C{owner} and C{reason}.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from pacarchive.recall.store import Cursor, Row, Transaction

HOUR = 3600.0


class Counted(enum.IntEnum):
    """What is counted.  The first five are recalls in the states of L{pacarchive.recall.tables.RecallState}."""

    NEW = 0
    QUEUED = 1
    BACKING_OFF = 2
    """These have a reason: that of the last attempt."""
    STARTED = 3
    CANCELLING = 4
    WAITING_SINCE = 10
    """Recalls that were not submitted, by the hour since when they wait, which stands for the cartridge."""
    COMPLETED = 13
    """Requests that were completed, by owner and hour, which stands for the cartridge; C{CANCELLED} likewise."""
    FAILED = 14
    """Requests that have failed and are kept: those of the table C{failed}, by cartridge, owner and reason."""
    CANCELLED = 15
    PINS = 20
    """Pins, by owner."""
    PINNED = 21
    """Files with pins, each once."""


NOT_SUBMITTED = (Counted.NEW, Counted.QUEUED, Counted.BACKING_OFF)

_Key = tuple[int, str, str, str]

_RECALL = f"state, medium, owner, CASE WHEN state = {Counted.BACKING_OFF:d} THEN reason ELSE '' END"
_OF_RECALLS = f"SELECT {_RECALL}, since, COALESCE(size, 0) FROM recalls WHERE "  # noqa: S608


def hour_of(time: float) -> str:
    """Return the hour of a time, in a form that sorts."""
    return f"{int(time // HOUR):010}"


class Change:
    """What is to be added to the counts."""

    def __init__(self) -> None:
        self._files: Counter[_Key] = Counter()
        self._sizes: Counter[_Key] = Counter()

    def add(self, what: Counted, files: int, size: int, *, medium: str = "", owner: str = "", reason: str = "") -> None:
        """Add some files, or with a negative number subtract them."""
        key = (int(what), medium, owner, reason)
        self._files[key] += files
        self._sizes[key] += size

    def add_recalls(self, sign: int, rows: Iterable[Row]) -> None:
        """Add recalls as they are, or with the sign -1 subtract them."""
        for state, medium, owner, reason, since, size in rows:
            key = (state, medium, owner, reason)
            self._files[key] += sign
            self._sizes[key] += sign * size
            if state in NOT_SUBMITTED:
                hour = (int(Counted.WAITING_SINCE), hour_of(since), "", "")
                self._files[hour] += sign
                self._sizes[hour] += sign * size

    def write(self, transaction: Transaction) -> None:
        """Store it."""
        rows = [(*key, files, self._sizes[key]) for key, files in self._files.items() if files or self._sizes[key]]
        transaction.many(
            "INSERT INTO counts (state, medium, owner, reason, files, size) VALUES (?, ?, ?, ?, ?, ?)"
            " {merge} files = counts.files + {new_files}, size = counts.size + {new_size}",
            rows,
        )
        transaction.many(
            "DELETE FROM counts WHERE state = ? AND medium = ? AND owner = ? AND reason = ? AND files <= 0",
            [row[:4] for row in rows if row[4] < 0],
        )


@contextmanager
def counting(transaction: Transaction, keys: Collection[int]) -> Iterator[None]:
    """Count the changes that are made to recalls in the block.  It does not work within another."""
    change = Change()
    change.add_recalls(-1, transaction.among(f"{_OF_RECALLS} file IN (*)", keys))
    yield
    change.add_recalls(1, transaction.among(f"{_OF_RECALLS} file IN (*)", keys))
    change.write(transaction)


@contextmanager
def counting_pins(transaction: Transaction, keys: Collection[int]) -> Iterator[None]:
    """The same, for pins of files."""
    change = Change()
    _add_pins(change, transaction, keys, -1)
    yield
    _add_pins(change, transaction, keys, 1)
    change.write(transaction)


def _add_pins(change: Change, cursor: Cursor, keys: Collection[int], sign: int) -> None:
    largest: dict[int, int] = {}
    query = "SELECT p.file, j.owner, p.size FROM pins p JOIN jobs j ON j.number = p.job WHERE p.file IN (*)"
    for file, owner, size in cursor.among(query, keys):
        change.add(Counted.PINS, sign, sign * size, owner=owner)
        largest[file] = max(size, largest.get(file, 0))
    for size in largest.values():
        change.add(Counted.PINNED, sign, sign * size)


def remove_recalls(transaction: Transaction, keys: Collection[int]) -> list[float]:
    """
    End the recalls of files.

    @return: For how many seconds each of them was wanted.
    """
    rows = list(transaction.among(f"{_OF_RECALLS} file IN (*)", keys))
    change = Change()
    change.add_recalls(-1, rows)
    transaction.execute_among("DELETE FROM recalls WHERE file IN (*)", keys)
    change.write(transaction)
    return [max(0.0, transaction.now - row[4]) for row in rows]


def forget_before(transaction: Transaction, time: float) -> None:
    """Delete what was counted by the hour before a time."""
    transaction.execute(
        "DELETE FROM counts WHERE state IN (?, ?) AND medium < ?", Counted.COMPLETED, Counted.CANCELLED, hour_of(time)
    )


def recount(transaction: Transaction) -> None:
    """
    Count everything again but what is counted by the hour when it ends, unless the counts by state are right: all other
    writers wait meanwhile, and that takes seconds for a million files.
    """
    if not _are_right(transaction):
        _recount_all(transaction)


def _are_right(cursor: Cursor) -> bool:
    kept = {state: int(files) for state, files in cursor.rows("SELECT state, SUM(files) FROM counts GROUP BY state")}
    found = {state: files for state, files in cursor.rows("SELECT state, COUNT(*) FROM recalls GROUP BY state")}  # noqa: C416
    for counted, query in (
        (Counted.FAILED, "SELECT COUNT(*) FROM failed"),
        (Counted.PINS, "SELECT COUNT(*) FROM pins"),
        (Counted.WAITING_SINCE, f"SELECT COUNT(*) FROM recalls WHERE state < {Counted.STARTED:d}"),  # noqa: S608
    ):
        row = cursor.row(query)
        if row is not None and row[0]:
            found[int(counted)] = row[0]
    return found == {
        state: files
        for state, files in kept.items()
        if state not in (Counted.COMPLETED, Counted.CANCELLED, Counted.PINNED)
    }


def _recount_all(transaction: Transaction) -> None:
    transaction.execute("DELETE FROM counts WHERE state NOT IN (?, ?)", Counted.COMPLETED, Counted.CANCELLED)
    insert = "INSERT INTO counts (state, medium, owner, reason, files, size) SELECT"
    transaction.execute(
        f"{insert} {_RECALL} AS why, COUNT(*), SUM(COALESCE(size, 0)) FROM recalls GROUP BY state, medium, owner, why"
    )
    change = Change()
    for hour, files, size in transaction.rows(
        "SELECT {hour} AS hour, COUNT(*), SUM(COALESCE(size, 0)) FROM recalls WHERE state < ? GROUP BY hour",
        Counted.STARTED,
    ):
        change.add(Counted.WAITING_SINCE, files, int(size), medium=hour_of(hour * HOUR))
    transaction.execute(
        f"{insert} ?, medium, owner, reason, COUNT(*), SUM(size) FROM failed GROUP BY medium, owner, reason",
        Counted.FAILED,
    )
    transaction.execute(
        f"{insert} ?, '', j.owner, '', COUNT(*), SUM(p.size) FROM pins p JOIN jobs j ON j.number = p.job"
        " GROUP BY j.owner",
        Counted.PINS,
    )
    row = transaction.row(
        "SELECT COUNT(*), SUM(size) FROM (SELECT file, MAX(size) AS size FROM pins GROUP BY file) AS files"
    )
    if row is not None and row[0]:
        change.add(Counted.PINNED, row[0], int(row[1]))
    change.write(transaction)
