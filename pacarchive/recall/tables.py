"""Operations on the tables that several modules share: how requests for files end."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pacarchive.recall.counting import Change, Counted, counting, hour_of, remove_recalls
from pacarchive.recall.schema import LONGEST_TEXT
from pacarchive.recall.store import Transaction
from pacarchive.recall.words import LIVE, FileState


class RecallState(enum.IntEnum):
    """
    The state of the one recall of a file, however many requests there are for the file.  A recall that has ended is not
    in its table any more.
    """

    NEW = 0
    """It has not been looked up yet where the file is."""
    QUEUED = 1
    """It waits until its cartridge is read."""
    BACKING_OFF = 2
    """An attempt failed for a passing reason; it is retried after a pause."""
    STARTED = 3
    """It was submitted to the storage system, or is about to be."""
    CANCELLING = 4
    """It was submitted, but no request needs it any more."""


NOT_SUBMITTED = (RecallState.NEW, RecallState.QUEUED, RecallState.BACKING_OFF)
"""States in which the storage system does not know of a recall."""


def cut(text: str) -> str:
    """Cut a text to the length that the database stores."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def end_requests(
    transaction: Transaction,
    requests: Sequence[tuple[int, int]],
    state: FileState,
    reason: str = "",
    sizes: Mapping[int, int] | None = None,
) -> None:
    """
    End requests for files that have not ended.

    @param requests: Job numbers and file keys.
    @param state: Their final state.
    @param reason: Why, for a person.
    @param sizes: Sizes of files by key, where they are known better than from the recalls.
    """
    sizes = sizes or {}
    transaction.many(
        "UPDATE wishes SET state = ?, ended = ?, reason = ?, seq = ?, "
        "size = COALESCE(?, size, (SELECT size FROM recalls WHERE recalls.file = wishes.file))"
        " WHERE job = ? AND file = ?",
        [(state, transaction.now, cut(reason), transaction.seq, sizes.get(key), job, key) for job, key in requests],
    )
    count_down(transaction, Counter(job for job, _ in requests))
    _count_ended(transaction, requests, state, cut(reason), sizes)


def _count_ended(
    transaction: Transaction,
    requests: Sequence[tuple[int, int]],
    state: FileState,
    reason: str,
    sizes: Mapping[int, int],
) -> None:
    """Count requests that have ended; those that failed are listed, too, so that they can be retried."""
    query = "SELECT number, owner FROM jobs WHERE number IN (*)"
    owners: dict[int, str] = dict(transaction.among(query, {job for job, _ in requests}))  # type: ignore[arg-type]
    change = Change()
    if state is not FileState.FAILED:
        hour, counted = hour_of(transaction.now), Counted(state + 10)
        for job, key in requests:
            change.add(counted, 1, sizes.get(key, 0), owner=owners[job], medium=hour)
        change.write(transaction)
        return
    query = "SELECT file, medium, COALESCE(size, 0) FROM recalls WHERE file IN (*)"
    places = {key: (medium, size) for key, medium, size in transaction.among(query, {key for _, key in requests})}
    rows = []
    for job, key in requests:
        medium, size = places.get(key, ("", 0))
        rows.append((job, key, medium, owners[job], reason, size, transaction.now))
        change.add(Counted.FAILED, 1, size, medium=medium, owner=owners[job], reason=reason)
    transaction.many(
        "{ignore} INTO failed (job, file, medium, owner, reason, size, ended) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
    )
    change.write(transaction)


def count_down(transaction: Transaction, ended: Counter[int]) -> None:
    """
    Count the files of jobs that have just ended; a job without any others has ended too.

    @param ended: How many have ended, by job number.
    """
    transaction.many(
        "UPDATE jobs SET remaining = remaining - ? WHERE number = ?", [(n, job) for job, n in ended.items()]
    )
    transaction.execute_among(
        "UPDATE jobs SET ended = ?, single = NULL WHERE remaining = 0 AND ended IS NULL AND number IN (*)",
        ended,
        transaction.now,
    )


def live_requests(transaction: Transaction, keys: Iterable[int]) -> list[tuple[int, int, FileState]]:
    """Return the requests for files that have not ended: job numbers, file keys and states."""
    found = transaction.among("SELECT job, file, state FROM wishes WHERE state < ? AND file IN (*)", keys, LIVE)
    return [(job, key, FileState(state)) for job, key, state in found]


def fail(transaction: Transaction, keys: Sequence[int], reason: str) -> None:
    """
    End the recalls of files, and the requests for them, as failed for good.

    @param keys: The keys of the files.
    @param reason: Why, for a person.
    """
    requests = live_requests(transaction, keys)
    cancelled = [(job, key) for job, key, state in requests if state is FileState.CANCELLING]
    end_requests(transaction, cancelled, FileState.CANCELLED)
    end_requests(
        transaction,
        [(job, key) for job, key, state in requests if state is not FileState.CANCELLING],
        FileState.FAILED,
        reason,
    )
    remove_recalls(transaction, keys)


def cancel_requests(
    transaction: Transaction, requests: Sequence[tuple[int, int]], state: FileState, reason: str = ""
) -> int:
    """
    End requests for files, and the recalls that no other request needs.

    @param requests: Job numbers and file keys, of requests that have not ended.
    @param state: The state that they end in, except those that are being cancelled already.  L{FileState.CANCELLED} is
        reached at once only where the file was not submitted to the storage system; else the request stays
        L{FileState.CANCELLING} until that agrees.
    @param reason: Why, for a person.
    @return: How many have reached C{state}.
    """
    mine = set(requests)
    keys = {key for _, key in requests}
    live = live_requests(transaction, keys)
    others = {key for job, key, current in live if (job, key) not in mine and current is not FileState.CANCELLING}
    alone = keys - others
    found = transaction.among("SELECT file, state FROM recalls WHERE file IN (*)", alone)
    standing = {key: current for key, current in found}  # noqa: C416  (dict() does not take rows)
    submitted = {key for key, current in standing.items() if current not in NOT_SUBMITTED}
    with counting(transaction, submitted):
        transaction.execute_among("UPDATE recalls SET state = ? WHERE file IN (*)", submitted, RecallState.CANCELLING)
    if state is FileState.CANCELLED:
        waiting = [(job, key) for job, key in requests if key in submitted]
        transaction.many(
            "UPDATE wishes SET state = ?, seq = ? WHERE job = ? AND file = ?",
            [(FileState.CANCELLING, transaction.seq, job, key) for job, key in waiting],
        )
        requests = [(job, key) for job, key in requests if key not in submitted]
    else:
        before = {(job, key) for job, key, current in live if current is FileState.CANCELLING} & mine
        end_requests(transaction, sorted(before), FileState.CANCELLED)
        requests = [each for each in requests if each not in before]
    end_requests(transaction, requests, state, reason)
    remove_recalls(transaction, standing.keys() - submitted)
    return len(requests)
