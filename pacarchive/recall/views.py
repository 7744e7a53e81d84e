"""What operators see of the queue: sums that are kept as it changes, whatever its length.

Times are float seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from pacarchive.recall.words import Hold


@attrs.frozen
class Amount:
    """
    So many files.

    @ivar size: Their bytes, as far as they are known.
    """

    files: int = 0
    size: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.files + other.files, self.size + other.size)


@attrs.frozen(kw_only=True)
class States:
    """
    Recalls that have not ended, by state: each file once, however many jobs wait for it.

    @ivar looked_up: It is being found out where they are.
    @ivar queued: They wait for their cartridges.
    @ivar backing_off: An attempt has failed, and is repeated after a pause.
    @ivar started: They were submitted to the storage system.
    @ivar cancelling: They were, and nobody needs them any more.
    """

    looked_up: Amount = Amount()
    queued: Amount = Amount()
    backing_off: Amount = Amount()
    started: Amount = Amount()
    cancelling: Amount = Amount()

    @property
    def waiting(self) -> Amount:
        """Those that were not submitted to the storage system."""
        return self.looked_up + self.queued + self.backing_off


@attrs.frozen(kw_only=True)
class Drive:
    """
    A cartridge that is being read, as the dispatcher sees it.

    @ivar owner: For whom it was chosen; empty where that is not known.
    @ivar begun: When it was chosen.
    @ivar mounted: Whether a file of it has come, so that it is in a drive.
    @ivar ending: Whether no more of its files are submitted.
    @ivar submitted: What was submitted and has not ended.
    @ivar last: When the last of its files came, or when it was chosen.
    @ivar stuck: Whether no file has come for far longer than one should take.
    """

    cartridge: str
    owner: str
    begun: float
    mounted: bool
    ending: bool
    submitted: Amount
    last: float
    stuck: bool


@attrs.frozen(kw_only=True)
class Upcoming:
    """
    A cartridge that will be read.

    @ivar begins: When it can be read, by the forecast; C{ends} when the last of its files will be on disk.
    """

    cartridge: str
    files: int
    begins: float
    ends: float


@attrs.frozen(kw_only=True)
class Reason:
    """
    Why files are not recalled, or have failed.

    @ivar for_good: Whether they have failed; else they are tried again.
    """

    reason: str
    amount: Amount
    for_good: bool


@attrs.frozen(kw_only=True)
class Age:
    """
    Files that have waited for less than C{below} seconds, and not for less than the one before; C{None}: for longer.
    Accurate to an hour.
    """

    below: float | None
    amount: Amount


@attrs.frozen(kw_only=True)
class Buffer:
    """
    The disk buffer.

    @ivar limit: How much of it recalls may use: up to the high-water mark; C{None} where the storage system manages it.
    @ivar pinned: What is pinned, each file once.
    @ivar coming: What was submitted and will be there soon.
    """

    limit: int | None
    pinned: Amount
    coming: Amount


@attrs.frozen(kw_only=True)
class Overview:
    """
    How the queue stands.

    @ivar made: When this was read from the store, all at the same time.
    @ivar planned: When the dispatcher made its plan: C{drives}, C{upcoming} and C{through} are as old; C{None} if it
        has not yet.
    @ivar dispatcher: The process that is the dispatcher: its host and its number; empty if none is.
    @ivar states: Recalls that have not ended.
    @ivar completed_hour: Requests that were completed in this hour and the one before; C{completed_day} in a day.
    @ivar failed: Requests that have failed and can be retried, as long as their jobs are kept.
    @ivar ages: Files that were not submitted yet, by how long they have waited.
    @ivar longest: How many seconds that one of them has waited that has waited longest, accurate to an hour; 0 if there
        are none.
    @ivar drive_limit: How many cartridges may be read at a time, by the settings.
    @ivar drives_usable: How many may be just now, as operators hold drives.
    @ivar drives: The cartridges that are being read.
    @ivar upcoming: The next ones, in order.
    @ivar through: When the queue will be through, by the forecast; C{None} if that is not known.
    @ivar reasons: Why files are not recalled, those first that concern most.
    @ivar problems: What keeps the queue from moving, for a person, the worst first; empty if it moves.
    @ivar cartridges: How many have files that wait; C{owners} likewise.
    @ivar kept_jobs: How many jobs are kept, also such as have ended; C{kept_files} the files of these, as limits count.
    """

    made: float
    planned: float | None
    dispatcher: str
    states: States
    completed_hour: Amount
    completed_day: Amount
    failed: Amount
    ages: Sequence[Age]
    longest: float = 0.0
    drive_limit: int
    drives_usable: int
    drives: Sequence[Drive]
    upcoming: Sequence[Upcoming]
    through: float | None
    reasons: Sequence[Reason]
    holds: Sequence[Hold]
    problems: Sequence[str]
    buffer: Buffer
    cartridges: int
    owners: int
    kept_jobs: int = 0
    kept_files: int = 0


@attrs.frozen(kw_only=True)
class CartridgeRow:
    """
    What waits for a cartridge.

    @ivar cartridge: Its name; empty for files whose place is not known.
    @ivar failed: Requests that have failed and are kept.
    @ivar oldest: Since when the oldest of its queued files waits; C{None} if none is queued.
    @ivar reading: Whether it is being read.
    @ivar place: Its place among those that come next, from 1; C{None} if it has none.
    @ivar begins: When it can be read, by the forecast; C{ends} when the last of its files will be on disk.
    @ivar hold: The hold that keeps it, if there is one of its own.
    """

    cartridge: str
    states: States
    failed: Amount
    oldest: float | None
    reading: bool
    place: int | None
    begins: float | None
    ends: float | None
    hold: Hold | None


@attrs.frozen(kw_only=True)
class OwnerRow:
    """
    What an owner waits for.  A file that several owners wait for is the first one's.

    @ivar completed_day: Requests that were completed in a day.
    @ivar failed: Requests that have failed and are kept.
    @ivar pins: The owner's pins, and their bytes.
    @ivar jobs: How many jobs are kept, with C{kept_files} files; the limits for owners apply to these.
    @ivar oldest: When the oldest job was submitted that has not ended; C{None} if all have.
    """

    owner: str
    states: States
    completed_day: Amount
    failed: Amount
    pins: Amount
    jobs: int
    kept_files: int
    oldest: float | None


class CartridgeOrder(enum.Enum):
    """How cartridges are sorted."""

    NAME = "name"
    NEXT = "next"
    """Those that are being read, and then those that come next."""
    FILES = "files"
    """Those first for which most files wait."""
    OLDEST = "oldest"
    """Those first for which a file has waited longest."""
    FAILED = "failed"
    """Those first of which most files have failed."""


@attrs.frozen(kw_only=True)
class CartridgePage:
    """
    A page of cartridges.

    @ivar made: When it was read from the store.
    @ivar total: How many cartridges there are on all pages.
    @ivar next: Where the next page begins; C{None} after the last.
    """

    made: float
    rows: Sequence[CartridgeRow]
    total: int
    next: str | None


@attrs.frozen(kw_only=True)
class OwnerPage:
    """The same, of owners, by name."""

    made: float
    rows: Sequence[OwnerRow]
    total: int
    next: str | None
