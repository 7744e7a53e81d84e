"""What the dispatcher does to the store.

Each function runs in a thread of the store, inside one transaction; those that write demand that the caller still is
the dispatcher.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate

import attrs

from pacarchive.recall.jobs import unpinned
from pacarchive.recall.quotas import OLD, forget
from pacarchive.recall.schedule import Demand, Flow
from pacarchive.recall.schema import to_key
from pacarchive.recall.store import Cursor, Turn
from pacarchive.recall.tables import RecallState, cut, end_requests, fail, give_up, live_requests
from pacarchive.recall.words import LIVE, FileState

_SOME = 500
"""How much is cleared away in one transaction."""

_FORGOTTEN = 20_000
"""How many files of jobs that are forgotten are cleared away in one transaction, unless a single job has more."""


@attrs.frozen
class New:
    """A recall that nobody has looked up."""

    key: int
    owner: str
    priority: int
    since: float


@attrs.frozen
class Located:
    """A recall that can be queued."""

    key: int
    medium: str
    position: int
    size: int


@attrs.frozen
class Handed:
    """A file that the storage system is asked for; C{attempts} counts this time."""

    key: int
    medium: str
    position: int
    size: int
    request: str
    attempts: int
    started: float


def new_recalls(cursor: Cursor, limit: int) -> list[New]:
    """Recalls that nobody has looked up."""
    rows = cursor.rows(
        "SELECT file, owner, priority, since FROM recalls WHERE state = ? LIMIT ?", RecallState.NEW, limit
    )
    return [New(*row) for row in rows]


def queue(turn: Turn, located: Sequence[Located]) -> None:
    """Queue recalls that were looked up, unless they were given up meanwhile."""
    turn.many(
        "UPDATE recalls SET state = ?, medium = ?, position = ?, size = ? WHERE file = ? AND state = ?",
        [
            (RecallState.QUEUED, cut(each.medium), each.position, each.size, each.key, RecallState.NEW)
            for each in located
        ],
    )


def demands(cursor: Cursor, medium: str | None = None) -> list[Demand]:
    """What waits, by cartridge and owner; of all cartridges or of one."""
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


def with_extents(cursor: Cursor, outlooks: Iterable[Outlook]) -> list[Outlook]:
    """Complete outlooks with the lowest and the highest position that waits, or is being read."""
    extents = []
    for outlook in outlooks:
        found: list[int] = []
        for state in (RecallState.QUEUED, RecallState.STARTED):
            for end in ("MIN", "MAX"):  # each by itself is the end of an index
                row = cursor.row(
                    f"SELECT {end}(position) FROM recalls WHERE state = ? AND medium = ?",  # noqa: S608
                    *(state, outlook.medium),
                )
                if row is not None and row[0] is not None:
                    found.append(row[0])
        extents.append(attrs.evolve(outlook, lowest=min(found, default=0), highest=max(found, default=0)))
    return extents


def hand(
    turn: Turn,
    medium: str,
    after: tuple[int, int],
    flows: Collection[Flow],
    most: int,
    request: str,
    admit: Callable[[Sequence[int]], int],
) -> tuple[list[tuple[Handed, tuple[str, int]]], bool]:
    """
    Take the next files of a cartridge that is being read, in their order on the tape.

    @param after: Position and key of the last that was taken.
    @param flows: Whose.
    @param request: The name that the storage system will know them by.
    @param admit: How many of them there is room for, by their sizes.
    @return: The files, each with its flow; and whether there was none left beyond those that were looked at.
    """
    position, key = after
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for owner, priority in flows:
        owners[priority].append(owner)
    # By priority, as SQLite takes no more than 1000 conditions, and there may be more owners.
    theirs = " OR ".join(f"(priority = ? AND owner IN ({', '.join('?' * len(some))}))" for some in owners.values())
    parameters = [each for priority, some in owners.items() for each in (priority, *some)]
    rows = turn.rows(
        "SELECT file, position, COALESCE(size, 0), attempts, owner, priority FROM recalls WHERE state = ?"  # noqa: S608
        " AND medium = ? AND (position > ? OR (position = ? AND file > ?))"
        f" AND ({theirs}) ORDER BY position, file LIMIT ?",
        *(RecallState.QUEUED, medium, position, position, key, *parameters, most),
    )
    whole = len(rows) < most
    taken = rows[: admit([row[2] for row in rows])]
    keys = [row[0] for row in taken]
    if keys:
        turn.execute_among(
            "UPDATE recalls SET state = ?, request = ?, attempts = attempts + 1, started = ? WHERE file IN (*)",
            keys,
            *(RecallState.STARTED, request, turn.now),
        )
        waited = [(job, each) for job, each, state in live_requests(turn, keys) if state is FileState.QUEUED]
        turn.many(
            "UPDATE wishes SET state = ?, started = ?, seq = ? WHERE job = ? AND file = ?",
            [(FileState.STARTED, turn.now, turn.seq, job, each) for job, each in waited],
        )
        turn.execute_among(
            "UPDATE jobs SET started = ? WHERE started IS NULL AND number IN (*)", {job for job, _ in waited}, turn.now
        )
    handed = [
        (Handed(file, medium, where, size, request, attempts + 1, turn.now), (owner, priority))
        for file, where, size, attempts, owner, priority in taken
    ]
    return handed, whole and len(taken) == len(rows)


def next_size(cursor: Cursor, medium: str, after: tuple[int, int]) -> int | None:
    """The size of the next file of a cartridge that is being read, if there is one."""
    position, key = after
    row = cursor.row(
        "SELECT COALESCE(size, 0) FROM recalls WHERE state = ? AND medium = ?"
        " AND (position > ? OR (position = ? AND file > ?)) ORDER BY position, file LIMIT 1",
        *(RecallState.QUEUED, medium, position, position, key),
    )
    return None if row is None else row[0]


def handed(cursor: Cursor) -> list[Handed]:
    """All that the storage system was asked for, by whichever dispatcher."""
    rows = cursor.rows(
        "SELECT file, medium, position, COALESCE(size, 0), request, attempts, COALESCE(started, since)"
        " FROM recalls WHERE state >= ?",
        RecallState.STARTED,
    )
    return [Handed(*row) for row in rows]


def cancelling(cursor: Cursor) -> list[int]:
    """The keys of recalls that are to be given up."""
    return [row[0] for row in cursor.rows("SELECT file FROM recalls WHERE state = ?", RecallState.CANCELLING)]


def complete(turn: Turn, sizes: dict[int, int]) -> None:
    """
    The bytes of files are on disk.

    @param sizes: Their sizes, by key.
    """
    rows = list(
        turn.among(
            "SELECT w.job, w.file, w.state, w.pin, j.until_read FROM wishes w JOIN jobs j ON j.number = w.job"
            " WHERE w.state < ? AND w.file IN (*)",
            sizes,
            LIVE,
        )
    )
    unwanted = [(job, key) for job, key, state, _, _ in rows if state == FileState.CANCELLING]
    end_requests(turn, unwanted, FileState.CANCELLED)
    wanted = [row for row in rows if row[2] != FileState.CANCELLING]
    turn.many(
        "{ignore} INTO pins (file, job, size, expires, until_read) VALUES (?, ?, ?, ?, ?)",
        [(key, job, sizes[key], turn.now + pin, until_read) for job, key, _, pin, until_read in wanted if pin > 0],
    )
    end_requests(turn, [(job, key) for job, key, *_ in wanted], FileState.COMPLETED, sizes=sizes)
    turn.execute_among("DELETE FROM recalls WHERE file IN (*)", sizes)


def fail_all(turn: Turn, reasons: dict[int, str]) -> None:
    """The recalls of files have failed for good."""
    for reason in set(reasons.values()):
        fail(turn, [key for key, each in reasons.items() if each == reason], reason)


def rest(turn: Turn, until: dict[int, tuple[float, str]]) -> None:
    """Let recalls rest before they are tried again; those that nobody wants any more end."""
    wanted = {key for _, key, state in live_requests(turn, until) if state is not FileState.CANCELLING}
    given_up(turn, until.keys() - wanted)
    turn.many(
        "UPDATE recalls SET state = ?, resting = ?, reason = ?, heard = ? WHERE file = ?",
        [
            (RecallState.RESTING, when, cut(reason), turn.now, key)
            for key, (when, reason) in until.items()
            if key in wanted
        ],
    )
    # Those who follow are told why, and of the next try.
    turn.execute_among("UPDATE wishes SET seq = ? WHERE state < ? AND file IN (*)", wanted, turn.seq, LIVE)


def current(turn: Turn, requests: Mapping[int, str]) -> frozenset[int]:
    """Which recalls still are those that the storage system knows by these names: its answers may come late."""
    rows = turn.among(
        "SELECT file, request FROM recalls WHERE state >= ? AND file IN (*)", requests, RecallState.STARTED
    )
    return frozenset(key for key, request in rows if requests[key] == request)


def given_up(turn: Turn, keys: Iterable[int]) -> None:
    """The storage system has given recalls up; what somebody wants all the same is tried again."""
    keys = set(keys)
    requests = live_requests(turn, keys)
    again = {key for _, key, state in requests if state is not FileState.CANCELLING}
    end_requests(
        turn, [(job, key) for job, key, state in requests if state is FileState.CANCELLING], FileState.CANCELLED
    )
    turn.execute_among("UPDATE recalls SET state = ?, resting = 0 WHERE file IN (*)", again, RecallState.RESTING)
    turn.execute_among("DELETE FROM recalls WHERE file IN (*)", keys - again)


def heard(turn: Turn, keys: Iterable[int]) -> None:
    """The storage system knows of recalls."""
    turn.execute_among("UPDATE recalls SET heard = ? WHERE file IN (*)", keys, turn.now)


def wake(turn: Turn) -> int:
    """Recalls whose pause is over are looked up again.  @return: How many."""
    changed: int = turn.execute(
        "UPDATE recalls SET state = ? WHERE state = ? AND resting <= ?", RecallState.NEW, RecallState.RESTING, turn.now
    ).rowcount
    return changed


def overdue(turn: Turn) -> int:
    """Requests for files whose deadline has passed fail.  @return: How many."""
    rows = turn.rows(
        "SELECT w.job, w.file FROM jobs j JOIN wishes w ON w.job = j.number"
        " WHERE j.deadline <= ? AND j.ended IS NULL AND w.state < ? LIMIT ?",
        *(turn.now, LIVE, _SOME),
    )
    give_up(turn, [(job, key) for job, key in rows], FileState.FAILED, "It did not come before its deadline.")
    return len(rows)


def expire_pins(turn: Turn) -> tuple[int, list[int]]:
    """End pins whose time has come.  @return: How many; and the ids of files that nobody has pinned any more."""
    rows = turn.rows("SELECT file, job FROM pins WHERE expires <= ? LIMIT ?", turn.now, _SOME)
    turn.many("DELETE FROM pins WHERE file = ? AND job = ?", rows)
    return len(rows), unpinned(turn, {row[0] for row in rows})


def due(cursor: Cursor, now: float, age: float) -> frozenset[str]:
    """Which of the things that are done by the clock are to be done: C{wake}, C{overdue}, C{expire}, C{forget}."""
    questions = {
        "wake": ("SELECT 1 FROM recalls WHERE state = ? AND resting <= ? LIMIT 1", (RecallState.RESTING, now)),
        "overdue": ("SELECT 1 FROM jobs WHERE deadline <= ? AND ended IS NULL LIMIT 1", (now,)),
        "expire": ("SELECT 1 FROM pins WHERE expires <= ? LIMIT 1", (now,)),
        "forget": (f"SELECT 1 FROM jobs WHERE {OLD} LIMIT 1", (now - age,)),  # noqa: S608
    }
    return frozenset(name for name, (text, arguments) in questions.items() if cursor.row(text, *arguments) is not None)


def concerned(cursor: Cursor, read: Collection[int], removed: Collection[int]) -> bool:
    """Whether it makes a difference that files were read whole, or removed."""
    found = cursor.among("SELECT 1 FROM pins WHERE until_read = 1 AND file IN (*)", read)
    if next(found, None) is not None:
        return True
    return any(
        next(cursor.among(f"SELECT 1 FROM {table} WHERE file IN (*)", removed), None) is not None  # noqa: S608
        for table in ("recalls", "pins")
    )


def note(turn: Turn, read: Collection[int], removed: Collection[int]) -> list[int]:
    """
    Files were read whole, which ends pins that last until then; others were removed, which ends their recalls.

    @return: The keys of files that were read, and that nobody has pinned any more.
    """
    found = [row[0] for row in turn.among("SELECT DISTINCT file FROM pins WHERE until_read = 1 AND file IN (*)", read)]
    turn.execute_among("DELETE FROM pins WHERE until_read = 1 AND file IN (*)", found)
    turn.execute_among("DELETE FROM pins WHERE file IN (*)", removed)
    fail(turn, list(removed), "The file was removed.")
    return [to_key(file_id) for file_id in unpinned(turn, found)]


def pinned_bytes(cursor: Cursor) -> int:
    """Bytes of all files that are pinned."""
    row = cursor.row("SELECT SUM(size) FROM (SELECT file, MAX(size) AS size FROM pins GROUP BY file) AS files")
    return int(row[0] or 0) if row else 0


def forget_old(turn: Turn, age: float) -> int:
    """Forget some of the jobs that ended long ago.  @return: How many."""
    rows = turn.rows(f"SELECT number, files FROM jobs WHERE {OLD} ORDER BY ended LIMIT 20", turn.now - age)  # noqa: S608
    # Everybody else who writes waits for this.
    files = accumulate(row[1] for row in rows)
    numbers = [row[0] for row, so_far in zip(rows, files, strict=True) if so_far <= max(_FORGOTTEN, rows[0][1])]
    forget(turn, numbers)
    return len(numbers)


def queued_after(cursor: Cursor, key: int, limit: int) -> list[int]:
    """Keys of recalls that wait, beginning after one; to look whether their files have come by another way."""
    rows = cursor.rows(
        "SELECT file FROM recalls WHERE file > ? AND state IN (?, ?) ORDER BY file LIMIT ?",
        *(key, RecallState.QUEUED, RecallState.RESTING, limit),
    )
    return [row[0] for row in rows]


@attrs.frozen
class Outlook:
    """When the first and the last file of a cartridge are thought to come, and between which positions they lie."""

    medium: str
    files: int
    begins: float
    ends: float
    lowest: int = 0
    highest: int = 0


def outcomes(cursor: Cursor, numbers: Iterable[int]) -> dict[int, float | None]:
    """Which of some jobs have ended, and when; C{None}: not with all of their files there, or it was forgotten."""
    numbers = list(numbers)
    rows = {row[0]: row[1] for row in cursor.among("SELECT number, ended FROM jobs WHERE number IN (*)", numbers)}
    ended = [number for number in numbers if number not in rows or rows[number] is not None]
    query = "SELECT DISTINCT job FROM wishes WHERE state <> ? AND job IN (*)"
    otherwise = {row[0] for row in cursor.among(query, ended, FileState.COMPLETED)}
    return {number: None if number in otherwise else rows.get(number) for number in ended}


def publish(turn: Turn, outlooks: Iterable[Outlook], obstacle: str, learned: str) -> None:
    """Let those who ask know what is thought of the time to come."""
    turn.execute("DELETE FROM media")
    turn.many(
        "INSERT INTO media (medium, files, begins, ends, lowest, highest) VALUES (?, ?, ?, ?, ?, ?)",
        [(each.medium, each.files, each.begins, each.ends, each.lowest, each.highest) for each in outlooks],
    )
    turn.execute("UPDATE turn SET obstacle = ?, learned = ? WHERE one = 1", cut(obstacle), learned)
