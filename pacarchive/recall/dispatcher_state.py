"""The state that all parts of the dispatcher share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.recall.accuracy import ForecastAccuracy
from pacarchive.recall.forecast import Rates
from pacarchive.recall.holds import NOTHING_HELD, Holds
from pacarchive.recall.schedule import Demand, FairQueue, Flow, TimeSlice
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor, OutcomeUnknown, Store, Transaction
from pacarchive.recall.work import SubmittedFile

T = TypeVar("T")


BEGINNING = (-(1 << 63), -(1 << 63))
"""Before the first position and key."""


@attrs.define(kw_only=True)
class Reading(TimeSlice):
    """
    A cartridge that is being read.

    @ivar after: Position and key of the last of its files that was submitted.
    @ivar left: The count of files that were submitted and have not ended; C{left_size} their bytes.
    @ivar finished: Whether no file that may be submitted waits behind L{after}.
    @ivar counted: When the files that wait for it were last counted.
    @ivar last_submitted: When files of it were last submitted.
    @ivar unanswered: The count of submissions that the storage system has not answered.
    @ivar learned: When rates were last learned from its reading; C{None} before its first file is on disk.
    @ivar recalled: The count and bytes of files that were recalled since then.
    @ivar last_recalled: When the last of its files was recalled; at first, when it was chosen.
    @ivar stalled: Whether something else than the drive has delayed it since then.
    """

    after: tuple[int, int]
    left: int = 0
    left_size: int = 0
    finished: bool = False
    counted: float = 0.0
    last_submitted: float = 0.0
    unanswered: int = 0
    learned: float | None = None
    recalled: tuple[int, int] = (0, 0)
    last_recalled: float
    stalled: bool = False


@attrs.define
class Active:
    """
    A file that was submitted to the storage system.

    @ivar file: The file.
    @ivar grace: Seconds for which it is ignored that the storage system does not know of it.
    @ivar heard: When the storage system last reported on it, as far as that is noted in the store.
    @ivar unknown_since: Since when the storage system does not know of it.
    @ivar answered: Whether the storage system has answered the submission.
    @ivar flow: Its flow; C{None} if another dispatcher submitted it.
    """

    file: SubmittedFile
    grace: float
    heard: float
    unknown_since: float | None = None
    answered: bool = True
    flow: Flow | None = None


@attrs.define
class DispatcherState:
    """
    The dispatcher's state, for the time of one lease.

    @ivar active: Files that were submitted to the storage system, by key.
    @ivar readings: Cartridges that are being read.
    @ivar demands: What waits, by cartridge and flow.
    @ivar holds: What operators hold, as it was read last.
    @ivar on_change: Called after each change of the store.
    @ivar on_doubt: Called when the outcome of a change is unknown, so that this state may be wrong.
    """

    clock: Any
    store: Store
    backend: IArchiveBackend
    recaller: IRecaller | None
    settings: RecallSettings
    term: int
    on_change: Callable[[], None]
    on_doubt: Callable[[], None]
    active: dict[int, Active] = attrs.field(factory=dict)
    readings: dict[str, Reading] = attrs.field(factory=dict)
    demands: dict[tuple[str, Flow], Demand] = attrs.field(factory=dict)
    holds: Holds = NOTHING_HELD
    queue: FairQueue = attrs.field(factory=FairQueue)
    rates: Rates = attrs.field(factory=Rates)
    accuracy: ForecastAccuracy = attrs.field(factory=ForecastAccuracy)

    @property
    def now(self) -> float:
        """The time."""
        seconds: float = self.clock.seconds()
        return seconds

    @property
    def drives(self) -> int:
        """How many cartridges may be read at a time."""
        return self.holds.usable_drives(self.settings.drives)

    @property
    def free_demands(self) -> list[Demand]:
        """What waits for cartridges that are not held."""
        held = self.holds.cartridges
        return [demand for demand in self.demands.values() if demand.medium not in held]

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """
        Change the store, as the dispatcher.

        @param change: Called in a thread.
        @return: The result of C{change}.
        @raise LeaseLost: Another process is the dispatcher now.
        @raise StoreUnavailable: It cannot be done now.
        """

        def fenced(transaction: Transaction) -> T:
            transaction.require(self.term)
            return change(transaction)

        try:
            result = await self.store.write(fenced)
        except OutcomeUnknown:
            self.on_doubt()
            raise
        self.on_change()
        return result

    async def read(self, look: Callable[[Cursor], T]) -> T:
        """Read from the store.  @return: The result of C{query}."""
        return await self.store.read(look)

    def wait_for(self, demand: Demand) -> None:
        """Add a demand."""
        known = self.demands.get((demand.medium, demand.flow))
        if known is None:
            self.demands[demand.medium, demand.flow] = demand
        else:
            known.files += demand.files
            known.size += demand.size
            known.since = min(known.since, demand.since)

    def served(self, medium: str, flow: Flow, size: int) -> None:
        """Subtract a file from the demand of a flow."""
        if (demand := self.demands.get((medium, flow))) is not None:
            demand.files -= 1
            demand.size = max(0, demand.size - size)
            if demand.files <= 0:
                del self.demands[medium, flow]

    def recount(self, medium: str, demands: Iterable[Demand]) -> None:
        """
        Replace the demands for a cartridge by a count: files can leave the queue without the dispatcher's knowledge.
        """
        for each in [each for each in self.demands if each[0] == medium]:
            del self.demands[each]
        for demand in demands:
            self.demands[demand.medium, demand.flow] = demand

    def end(self, key: int) -> Active | None:
        """Remove a file that is not being recalled any more.  @return: What was known of it, if anything."""
        active = self.active.pop(key, None)
        if active is not None and (reading := self.readings.get(active.file.medium)) is not None:
            reading.left -= 1
            reading.left_size -= active.file.size
        return active
