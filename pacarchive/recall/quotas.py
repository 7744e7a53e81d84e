"""Limits on what is kept in the store, in total and for each owner, so that a single owner cannot fill it.

What counts are a job's files, as long as the job is kept; pins keep their jobs.  The totals have a table of their own,
as counting all jobs for each new one would take the longer the more there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import attrs

from pacarchive import errors, texts
from pacarchive.recall.counting import Change, Counted
from pacarchive.recall.counting import recount as recount_files
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Transaction
from pacarchive.recall.tables import cut

SHOWN = 3600.0
"""Seconds for which a job that has ended is kept in any case."""

_RETRY_AFTER = 300
"""Seconds after which an owner may retry: some of the owner's jobs may have ended by then."""

_OTHERS_OF_A_FILE = 100
"""Characters of names that are not ids, which take about as much space as a file."""

_LOOKED_AT = 100
"""The most jobs that are examined to find some that can be deleted."""

_SUM, _OWNER = 0, 1

_WEIGHT = f"files + LENGTH(others) {{div}} {_OTHERS_OF_A_FILE}"

OLD = "ended <= ? AND NOT EXISTS (SELECT 1 FROM pins WHERE pins.job = jobs.number)"
"""The condition for jobs that can be deleted: a pin lasts for as long as was granted, and keeps its job."""


@attrs.define
class _Account:
    jobs: int = 0
    weight: int = 0


class Accounts:
    """
    The totals, while jobs are stored in one transaction.

    @param transaction: The transaction.
    @param settings: The limits.
    """

    def __init__(self, transaction: Transaction, settings: RecallSettings) -> None:
        self._turn = transaction
        self._settings = settings
        self._known: dict[tuple[int, str], _Account] = {}
        self._added: defaultdict[tuple[int, str], _Account] = defaultdict(_Account)

    def admit(self, owner: str, files: int, others: str) -> None:
        """
        Check that a job may be stored, and count it.  Jobs that ended long ago are deleted to make room.

        @param owner: Its owner.
        @param files: The count of its files.
        @param others: The text of its names that are not ids.
        @raise errors.QuotaReached: Its owner has reached the limit.
        @raise errors.Overloaded: All owners together have reached the limit.
        """
        settings, weight = self._settings, files + len(others) // _OTHERS_OF_A_FILE
        mine, all_of_them = (_OWNER, cut(owner)), (_SUM, "")
        if self._is_full(mine, weight, settings.owner_jobs, settings.owner_files):
            account = self._of(mine)
            raise errors.QuotaReached(
                f"{owner!r} has {texts.counted(account.jobs, 'job')} with {texts.counted(account.weight, 'file')} "
                f"here, and {files} more would be too many ([recall] owner_jobs {settings.owner_jobs}, owner_files "
                f"{settings.owner_files}): jobs that have not ended, have pins, or have just ended. Wait for them, or "
                "delete some.",
                retry_after=_RETRY_AFTER,
            )
        if self._is_full(all_of_them, weight, settings.kept_jobs, settings.kept_files):
            raise errors.Overloaded(
                "The server keeps as many jobs as it can ([recall] kept_jobs, kept_files).", retry_after=_RETRY_AFTER
            )
        for key in (mine, all_of_them):
            self._of(key).jobs += 1
            self._of(key).weight += weight
            self._added[key].jobs += 1
            self._added[key].weight += weight

    def write(self) -> None:
        """Store the totals."""
        for (kind, owner), added in self._added.items():
            self._turn.execute("{ignore} INTO accounts (kind, owner, jobs, weight) VALUES (?, ?, 0, 0)", kind, owner)
            self._turn.execute(
                "UPDATE accounts SET jobs = jobs + ?, weight = weight + ? WHERE kind = ? AND owner = ?",
                *(added.jobs, added.weight, kind, owner),
            )
        self._added.clear()

    def _of(self, key: tuple[int, str]) -> _Account:
        if key not in self._known:
            row = self._turn.row("SELECT jobs, weight FROM accounts WHERE kind = ? AND owner = ?", *key)
            self._known[key] = _Account(*row) if row else _Account()
        return self._known[key]

    def _is_full(self, key: tuple[int, str], weight: int, jobs: int, files: int) -> bool:
        account = self._of(key)
        if account.jobs < jobs and account.weight + weight <= files:
            return False
        if weight <= files:
            self._make_way(key, account.jobs + 1 - jobs, account.weight + weight - files)
        account = self._of(key)
        return account.jobs >= jobs or account.weight + weight > files

    def _make_way(self, key: tuple[int, str], jobs: int, weight: int) -> None:
        """Delete the oldest jobs that have ended, if that frees so many jobs and so much weight."""
        kind, owner = key
        whose, arguments = (" AND owner = ?", [owner]) if kind == _OWNER else ("", [])
        rows = self._turn.rows(
            f"SELECT number, {_WEIGHT} FROM (SELECT * FROM jobs WHERE ended <= ?{whose} ORDER BY ended LIMIT ?)"  # noqa: S608
            " AS jobs WHERE NOT EXISTS (SELECT 1 FROM pins WHERE pins.job = jobs.number) ORDER BY ended",
            *(self._turn.now - SHOWN, *arguments, _LOOKED_AT),
        )
        numbers: list[int] = []
        freed = 0
        for number, each in rows:
            if len(numbers) >= jobs and freed >= weight:
                break
            numbers.append(number)
            freed += int(each)
        if numbers and len(numbers) >= jobs and freed >= weight:
            self.write()
            forget(self._turn, numbers)
            self._known.clear()


def forget(transaction: Transaction, numbers: Collection[int]) -> None:
    """Delete jobs that have ended and have no pins."""
    freed: defaultdict[tuple[int, str], _Account] = defaultdict(_Account)
    for owner, weight in transaction.among(f"SELECT owner, {_WEIGHT} FROM jobs WHERE number IN (*)", numbers):  # noqa: S608
        for key in ((_OWNER, owner), (_SUM, "")):
            freed[key].jobs += 1
            freed[key].weight += int(weight)
    change = Change()
    query = (
        "SELECT medium, owner, reason, COUNT(1), SUM(size) FROM failed WHERE job IN (*) GROUP BY medium, owner, reason"
    )
    for medium, owner, reason, files, size in transaction.among(query, numbers):
        change.add(Counted.FAILED, -files, -int(size), medium=medium, owner=owner, reason=reason)
    change.write(transaction)
    transaction.execute_among("DELETE FROM failed WHERE job IN (*)", numbers)
    transaction.execute_among("DELETE FROM wishes WHERE job IN (*)", numbers)
    transaction.execute_among("DELETE FROM jobs WHERE number IN (*)", numbers)
    transaction.many(
        "UPDATE accounts SET jobs = jobs - ?, weight = weight - ? WHERE kind = ? AND owner = ?",
        [(account.jobs, account.weight, *key) for key, account in freed.items()],
    )
    transaction.execute_among(
        "DELETE FROM accounts WHERE jobs <= 0 AND kind = ? AND owner IN (*)",
        [owner for kind, owner in freed if kind == _OWNER],
        _OWNER,
    )


def recount(transaction: Transaction) -> None:
    """Count everything again: a node with an earlier version may have changed the store without counting."""
    recount_files(transaction)
    transaction.execute("DELETE FROM accounts")
    for kind, owner, group in ((_OWNER, "owner", " GROUP BY owner"), (_SUM, "''", "")):
        transaction.execute(
            "INSERT INTO accounts (kind, owner, jobs, weight)"  # noqa: S608
            f" SELECT ?, {owner}, COUNT(*), COALESCE(SUM({_WEIGHT}), 0) FROM jobs{group}",
            kind,
        )
