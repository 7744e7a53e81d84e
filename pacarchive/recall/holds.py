"""Holds: what operators keep from being recalled for a while, and why.

They are in the store, so that every process goes by them, whichever is the dispatcher; and each change of them is a
transaction, as is each submission of files: nothing is submitted after a hold was acknowledged.  A hold with an end is
removed by the dispatcher when that is reached.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from pacarchive import errors
from pacarchive.recall.store import Cursor, Transaction
from pacarchive.recall.tables import cut
from pacarchive.recall.words import Hold, HoldKind

MOST = 1000
"""The most holds at a time: the dispatcher reads all of them for each step."""


@attrs.frozen
class Holds:
    """
    All holds.

    @ivar everything: The hold of everything; C{None} if there is none.
    @ivar drives: The hold of drives, likewise.
    @ivar cartridges: The holds of cartridges, by name.
    """

    everything: Hold | None = None
    drives: Hold | None = None
    cartridges: Mapping[str, Hold] = attrs.field(factory=dict)

    @property
    def all_of_them(self) -> list[Hold]:
        """All holds, those that hold most first."""
        first = [each for each in (self.everything, self.drives) if each is not None]
        return [*first, *self.cartridges.values()]

    @property
    def obstacle(self) -> str:
        """Why nothing is recalled at all, for a person; else empty."""
        if self.everything is not None:
            return f"All recalls are {self.everything.by_whom}."
        if self.drives is not None and not self.drives.drives:
            return f"All drives are {self.drives.by_whom}."
        return ""

    def usable_drives(self, drives: int) -> int:
        """Return how many of some drives may be used for further recalls."""
        if self.everything is not None:
            return 0
        return drives if self.drives is None else min(drives, self.drives.drives or 0)

    def reason(self, medium: str) -> str:
        """Return why files of a cartridge are not submitted to the storage system, for a person; else empty."""
        hold = self.cartridges.get(medium)
        return f"Cartridge {medium} is {hold.by_whom}." if hold is not None else self.obstacle


NOTHING_HELD = Holds()


def read_holds(cursor: Cursor) -> Holds:
    """Return all holds."""
    rows = cursor.rows("SELECT kind, name, drives, who, why, since, until FROM holds ORDER BY kind, name")
    if not rows:
        return NOTHING_HELD
    found = [
        Hold(
            kind=HoldKind(kind),
            cartridge=name,
            drives=drives if kind == HoldKind.DRIVES else None,
            who=who,
            why=why,
            since=since,
            until=until,
        )
        for kind, name, drives, who, why, since, until in rows
    ]
    return Holds(
        everything=next((each for each in found if each.kind is HoldKind.ALL), None),
        drives=next((each for each in found if each.kind is HoldKind.DRIVES), None),
        cartridges={each.cartridge: each for each in found if each.kind is HoldKind.CARTRIDGE},
    )


def put_hold(transaction: Transaction, hold: Hold) -> None:
    """
    Add a hold, or replace the one of the same kind and cartridge.

    @raise errors.InvalidRequest: There are too many already.
    """
    remove_hold(transaction, hold.kind, hold.cartridge)
    row = transaction.row("SELECT COUNT(*) FROM holds")
    if row is not None and row[0] >= MOST:
        raise errors.InvalidRequest(f"There are {MOST} holds already, and more are not kept.")
    transaction.execute(
        "INSERT INTO holds (kind, name, drives, who, why, since, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(hold.kind, cut(hold.cartridge), hold.drives or 0, cut(hold.who), cut(hold.why), hold.since, hold.until),
    )


def remove_hold(transaction: Transaction, kind: HoldKind, cartridge: str = "") -> bool:
    """Remove a hold.  @return: Whether there was one."""
    query = "DELETE FROM holds WHERE kind = ? AND name = ?"
    return bool(transaction.execute(query, kind, cut(cartridge)).rowcount)


def expire_holds(transaction: Transaction) -> None:
    """Remove the holds whose end is reached."""
    transaction.execute("DELETE FROM holds WHERE until <= ?", transaction.now)
