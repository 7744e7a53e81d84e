"""Where the bytes of an object are: what headers and lists say of storage classes and restores, as vendors have it."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

from pacarchive.model import FileStatus, Locality

_ONGOING = re.compile(r'ongoing-request\s*=\s*"?(true|false)', re.IGNORECASE)
_EXPIRY = re.compile(r'expiry-date\s*=\s*(?:"([^"]*)"|([^"]+))', re.IGNORECASE)
_TIERED = "INTELLIGENT_TIERING"
_LONGEST = 300


class Residency(enum.Enum):
    """Whether a reader has to wait for the bytes of an object."""

    ONLINE = "online"
    """They can be read, and that stays so."""
    RESTORED = "restored"
    """They are in a cold class, and there is a copy that can be read."""
    RESTORING = "restoring"
    """They are in a cold class, and a copy is being made."""
    OFFLINE = "offline"
    """They are in a cold class."""
    LOST = "lost"
    """There is no such object."""
    UNKNOWN = "unknown"
    """The store does not say."""


@attrs.frozen
class Restore:
    """
    A restore of an object, as the store tells of it.

    @ivar ongoing: Whether it is under way.
    @ivar expiry: When the copy goes, in seconds since the epoch; C{None} where that is not told, or never.
    """

    ongoing: bool
    expiry: float | None = None


def restore_in(header: str) -> Restore | None:
    """
    Read C{x-amz-restore}; C{None} where there is no restore.

    It is C{ongoing-request="true"}, or C{ongoing-request="false", expiry-date="a date"}.  A gateway to tapes has the
    bare word C{true} instead; its C{false} says nothing of a copy.  A copy without a date is for good.
    """
    text = header.strip()[:_LONGEST]
    if text.lower() in ("true", "false"):
        return Restore(ongoing=True) if text.lower() == "true" else None
    if (match := _ONGOING.search(text)) is None:
        return None
    if match[1].lower() == "true":
        return Restore(ongoing=True)
    date = _EXPIRY.search(text)
    return Restore(ongoing=False, expiry=None if date is None else date_in(date[1] or date[2]))


def date_in(text: str) -> float | None:
    """
    Read a date as headers and documents have it, in seconds since the epoch; C{None} where it is none.

    Where it names no zone it is UTC, and never that of this machine.
    """
    text = text.strip()
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = read(text)
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


@attrs.frozen(kw_only=True)
class Seen:
    """
    An object as the store tells of it.

    @ivar storage_class: Its storage class; empty for the usual one.
    @ivar archive: The tier that the store itself has moved it to (C{x-amz-archive-status}); empty where it has not.
    @ivar restore: Its restore.
    @ivar modified: When it was stored, in seconds since the epoch; 0 where that is not told.
    """

    storage_class: str = ""
    archive: str = ""
    restore: Restore | None = None
    modified: float = 0.0

    @property
    def has_days(self) -> bool:
        """Whether a restore makes a copy for some days, and not the object itself readable for good."""
        return self.storage_class.upper() != _TIERED

    def is_cold(self, cold: Collection[str]) -> bool:
        """
        Whether it has to be restored before it can be read.

        @param cold: The names of cold classes, in capitals.
        """
        name = self.storage_class.upper()
        return bool(self.archive) or (name != _TIERED and name in cold)

    def residency(self, cold: Collection[str], now: float) -> Residency:
        """
        Where its bytes are.  A copy whose time is over is none: the store says nothing when it goes.

        @param now: The time of the store, in seconds since the epoch.
        """
        if not self.is_cold(cold):
            return Residency.ONLINE
        if self.restore is None:
            return Residency.OFFLINE
        if self.restore.ongoing:
            return Residency.RESTORING
        if self.restore.expiry is not None and self.restore.expiry <= now:
            return Residency.OFFLINE
        return Residency.RESTORED

    def lasts(self, now: float) -> float:
        """For how many seconds a restored copy can be read still."""
        expiry = None if self.restore is None else self.restore.expiry
        return float("inf") if expiry is None else expiry - now


_HOURS = {
    ("GLACIER", "EXPEDITED"): (1 / 60, 5 / 60),
    ("GLACIER", "STANDARD"): (3, 5),
    ("GLACIER", "BULK"): (5, 12),
    ("DEEP_ARCHIVE", "STANDARD"): (9, 12),
    ("DEEP_ARCHIVE", "BULK"): (12, 48),
}
"""What AWS says of a restore, by storage class and tier: from how many hours, to how many."""


def usual_wait(storage_class: str, tier: str) -> str:
    """How long a restore takes as a rule, in words; empty where there is no rule."""
    hours = _HOURS.get((storage_class.upper(), (tier or "Standard").upper()))
    if hours is None:
        return ""
    least, most = hours
    if most < 1:
        return f"{least * 60:.0f} to {most * 60:.0f} minutes"
    return f"{least:.0f} to {most:.0f} hours"


_LOCALITIES = {
    Residency.ONLINE: Locality.DISK,
    Residency.RESTORED: Locality.DISK_AND_TAPE,
    Residency.RESTORING: Locality.TAPE,
    Residency.OFFLINE: Locality.TAPE,
    Residency.LOST: Locality.LOST,
    Residency.UNKNOWN: Locality.UNAVAILABLE,
}


def with_residency(status: FileStatus, residency: Residency) -> FileStatus:
    """A status of a file that says where its bytes are; a cold class is tape."""
    locality = _LOCALITIES[residency]
    if locality is Locality.DISK:
        return status
    on_disk = status.size if residency is Residency.RESTORED else 0
    on_tape = 0 if residency is Residency.LOST else status.size
    return attrs.evolve(status, locality=locality, bytes_per_level=(on_disk, on_tape), media=("disk", "tape"))
