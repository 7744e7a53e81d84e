"""What several parts of the engine do to the tables: how requests for files end."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pacarchive.recall.schema import LONGEST_TEXT
from pacarchive.recall.store import Turn
from pacarchive.recall.words import LIVE, FileState


class RecallState(enum.IntEnum):
    """
    How the one recall of a file stands, however many requests for it there are.  When it has ended, it is not in its
    table.
    """

    NEW = 0
    """Nobody has looked yet where the file is."""
    QUEUED = 1
    """It waits for the turn of its cartridge."""
    RESTING = 2
    """It failed for a passing reason, and waits before it is tried again."""
    STARTED = 3
    """The storage system was, or is just about to be, asked for it."""
    CANCELLING = 4
    """As before, but nobody wants it any more."""


NOT_ASKED_FOR = (RecallState.NEW, RecallState.QUEUED, RecallState.RESTING)
"""States in which the storage system knows nothing of a recall."""


def cut(text: str) -> str:
    """A text that fits."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def end_requests(
    turn: Turn,
    requests: Sequence[tuple[int, int]],
    state: FileState,
    reason: str = "",
    sizes: Mapping[int, int] | None = None,
) -> None:
    """
    End requests for files that have not ended.

    @param requests: Job numbers and file keys.
    @param sizes: The sizes of files, where they are known better than from the recalls.
    """
    sizes = sizes or {}
    turn.many(
        "UPDATE wishes SET state = ?, ended = ?, reason = ?, seq = ?, "
        "size = COALESCE(?, size, (SELECT size FROM recalls WHERE recalls.file = wishes.file))"
        " WHERE job = ? AND file = ?",
        [(state, turn.now, cut(reason), turn.seq, sizes.get(key), job, key) for job, key in requests],
    )
    count_down(turn, Counter(job for job, _ in requests))


def count_down(turn: Turn, ended: Counter[int]) -> None:
    """Note for jobs how many of their files have ended just now."""
    turn.many("UPDATE jobs SET remaining = remaining - ? WHERE number = ?", [(n, job) for job, n in ended.items()])
    turn.execute_among(
        "UPDATE jobs SET ended = ?, single = NULL WHERE remaining = 0 AND ended IS NULL AND number IN (*)",
        ended,
        turn.now,
    )


def live_requests(turn: Turn, keys: Iterable[int]) -> list[tuple[int, int, FileState]]:
    """Job numbers, file keys and states of the requests for files that have not ended."""
    found = turn.among("SELECT job, file, state FROM wishes WHERE state < ? AND file IN (*)", keys, LIVE)
    return [(job, key, FileState(state)) for job, key, state in found]


def fail(turn: Turn, keys: Sequence[int], reason: str) -> None:
    """The recalls of files have failed for good."""
    requests = live_requests(turn, keys)
    unwanted = [(job, key) for job, key, state in requests if state is FileState.CANCELLING]
    end_requests(turn, unwanted, FileState.CANCELLED)
    end_requests(
        turn,
        [(job, key) for job, key, state in requests if state is not FileState.CANCELLING],
        FileState.FAILED,
        reason,
    )
    turn.execute_among("DELETE FROM recalls WHERE file IN (*)", keys)


def give_up(turn: Turn, requests: Sequence[tuple[int, int]], state: FileState, reason: str = "") -> int:
    """
    End requests for files, and the recalls that no other request needs.

    @param requests: Job numbers and file keys, of requests that have not ended.
    @param state: What becomes of them, but for those that were given up before.  L{FileState.CANCELLED} only comes
        true at once where the storage system has not been asked; else it is L{FileState.CANCELLING} until that agrees.
    @return: For how many it came true.
    """
    mine = set(requests)
    keys = {key for _, key in requests}
    live = live_requests(turn, keys)
    others = {key for job, key, stands in live if (job, key) not in mine and stands is not FileState.CANCELLING}
    alone = keys - others
    standing = {key: stands for key, stands in turn.among("SELECT file, state FROM recalls WHERE file IN (*)", alone)}  # noqa: C416
    asked_for = {key for key, stands in standing.items() if stands not in NOT_ASKED_FOR}
    turn.execute_among("UPDATE recalls SET state = ? WHERE file IN (*)", asked_for, RecallState.CANCELLING)
    if state is FileState.CANCELLED:
        waiting = [(job, key) for job, key in requests if key in asked_for]
        turn.many(
            "UPDATE wishes SET state = ?, seq = ? WHERE job = ? AND file = ?",
            [(FileState.CANCELLING, turn.seq, job, key) for job, key in waiting],
        )
        requests = [(job, key) for job, key in requests if key not in asked_for]
    else:
        before = {(job, key) for job, key, stands in live if stands is FileState.CANCELLING} & mine
        end_requests(turn, sorted(before), FileState.CANCELLED)
        requests = [each for each in requests if each not in before]
    end_requests(turn, requests, state, reason)
    turn.execute_among("DELETE FROM recalls WHERE file IN (*)", standing.keys() - asked_for)
    return len(requests)
