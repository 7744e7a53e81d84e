"""What all parts of the dispatcher share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.recall.accuracy import ForecastAccuracy
from pacarchive.recall.forecast import Rates
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

    @ivar after: Position and key of the last of its files that was handed.
    @ivar left: Files that were handed and have not ended; C{left_size} their bytes.
    @ivar finished: Nothing that may be handed waits behind L{after}.
    @ivar counted: When it was last counted what waits for it.
    @ivar fed: When it was last handed something.
    @ivar asking: Requests for its files that the storage system has not answered.
    @ivar learned: When its reading was last learned from; C{None} before its first file has come.
    @ivar come: Files and bytes that have come since.
    @ivar came: When the last of its files came; at first, when it began.
    @ivar stalled: Something else than the drive held it up since.
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
    A file that the storage system was asked for.

    @ivar unknown_since: Since when the storage system has said that it does not know of it.
    @ivar grace: Seconds for which that is not taken for the truth.
    @ivar settled: The storage system was asked, and has answered.
    @ivar flow: Whose it is; C{None} where another dispatcher knew.
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
    What the dispatcher knows and works with, for one term of office.

    @ivar active: What the storage system was asked for, by key.
    @ivar readings: Cartridges that are being read.
    @ivar demands: What waits, by cartridge and flow.
    @ivar on_change: Is called after each change of the store.
    @ivar on_doubt: Is called when a change may have been made or not, so that what is known here may be wrong.
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
    queue: FairQueue = attrs.field(factory=FairQueue)
    rates: Rates = attrs.field(factory=Rates)
    accuracy: ForecastAccuracy = attrs.field(factory=ForecastAccuracy)

    @property
    def now(self) -> float:
        """The time."""
        seconds: float = self.clock.seconds()
        return seconds

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """
        Change the store, as the dispatcher.

        @raise LeaseLost: This is not the dispatcher any more.
        @raise StoreUnavailable: It cannot be done now.
        """

        def fenced(turn: Transaction) -> T:
            turn.require(self.term)
            return change(turn)

        try:
            result = await self.store.write(fenced)
        except OutcomeUnknown:
            self.on_doubt()
            raise
        self.on_change()
        return result

    async def read(self, look: Callable[[Cursor], T]) -> T:
        """Read from the store."""
        return await self.store.read(look)

    def wait_for(self, demand: Demand) -> None:
        """More files wait."""
        known = self.demands.get((demand.medium, demand.flow))
        if known is None:
            self.demands[demand.medium, demand.flow] = demand
        else:
            known.files += demand.files
            known.size += demand.size
            known.since = min(known.since, demand.since)

    def served(self, medium: str, flow: Flow, size: int) -> None:
        """A file does not wait any more."""
        if (demand := self.demands.get((medium, flow))) is not None:
            demand.files -= 1
            demand.size = max(0, demand.size - size)
            if demand.files <= 0:
                del self.demands[medium, flow]

    def recount(self, medium: str, demands: Iterable[Demand]) -> None:
        """Put what is counted for a cartridge right: files leave the queue behind the dispatcher's back."""
        for each in [each for each in self.demands if each[0] == medium]:
            del self.demands[each]
        for demand in demands:
            self.demands[demand.medium, demand.flow] = demand

    def end(self, key: int) -> Active | None:
        """A file is not recalled any more, for whatever reason."""
        active = self.active.pop(key, None)
        if active is not None and (reading := self.readings.get(active.file.medium)) is not None:
            reading.left -= 1
            reading.left_size -= active.file.size
        return active
