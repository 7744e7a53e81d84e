"""The dispatcher: it looks recalls up, orders them, submits them to the storage system, and handles their end.

There is one for all processes that share a store, as long as it holds the lease.  What must not be lost is in the
store; the rest is found out again after a takeover, from the store and from the storage system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.recall import work
from pacarchive.recall.dispatcher_state import Active, DispatcherState, Reading
from pacarchive.recall.holds import Holds, read_holds
from pacarchive.recall.lease import Lease
from pacarchive.recall.lookup import LookUp
from pacarchive.recall.loops import Loop, Step
from pacarchive.recall.planning import learned_of
from pacarchive.recall.progress import Progress
from pacarchive.recall.quotas import recount
from pacarchive.recall.releasing import release_all
from pacarchive.recall.schedule import Demand
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.storage_requests import StorageRequests
from pacarchive.recall.store import Cursor, Store
from pacarchive.recall.upkeep import FORECAST_INTERVAL, RECHECK_INTERVAL, Upkeep
from pacarchive.runtime.shared import all_of

_INHERITED_GRACE = 60.0
"""Seconds for which the storage system may not know of what another dispatcher submitted: not every system can tell."""

_STOP_TIMEOUT = 2.0
"""
Seconds that the storage system has to answer when the dispatcher stops; its own stop may take several more, and all of
it at most C{GRACE} of L{pacarchive.launch.workers}.
"""

_log = Logger()


class Dispatcher:
    """
    The dispatcher, for the time of one lease.

    @param reactor: The source of time.
    @param store: The store.
    @param backend: The archive.
    @param settings: The settings.
    @param lease: The lease, which this process holds.
    @param on_change: Called after each change of the store.
    @ivar term: The number of the lease.
    """

    def __init__(
        self,
        reactor: Any,
        store: Store,
        backend: IArchiveBackend,
        settings: RecallSettings,
        lease: Lease,
        on_change: Callable[[], None],
    ) -> None:
        assert lease.term is not None, "it was just taken"
        self.term = lease.term
        self._lose = partial(lease.lose, self.term)
        recaller = IRecaller(backend) if IRecaller.providedBy(backend) else None
        # After a change with an unknown outcome, the lease is released, and the next holder reads the store again.
        self._shared = DispatcherState(reactor, store, backend, recaller, settings, self.term, on_change, self._lose)
        self._loops: list[Loop] = []
        self._storage_requests: StorageRequests | None = None
        self._request_loop: Loop | None = None
        self._look_ups = LookUp(self._shared, self._poke_requests)
        self._look_up = self._loop("looking files up", self._look_ups.step, 0.5)
        upkeep = Upkeep(self._shared, self._release, self._obstacle)
        if recaller is not None:
            self._progress = progress = Progress(self._shared, recaller, self._poke_requests)
            self._storage_requests = StorageRequests(self._shared, recaller, progress)
            self._request_loop = self._loop("submitting files", self._storage_requests.step, 0.5)
            self._holds = self._loop("reading holds", self._read_holds, 0.5)
            self._loop("polling recalls", progress.poll, settings.poll_interval)
            self._cancel = self._loop("cancelling recalls", progress.cancel, 1.0)
            self._loop("forecasting", upkeep.update_forecasts, FORECAST_INTERVAL)
            self._loop("rechecking files", upkeep.recheck, RECHECK_INTERVAL)
        self._loop("handling deadlines and pins", upkeep.by_the_clock, 1.0)
        self._taking_over = Loop(reactor, "taking over", self._take_over, 1.0, self._lose)
        self._begun = False

    def _loop(self, name: str, step: Step, interval: float) -> Loop:
        loop = Loop(self._shared.clock, name, step, interval, self._lose)
        self._loops.append(loop)
        return loop

    def start(self) -> None:
        """Start, by taking over what the store has."""
        self._taking_over.start()

    async def stop(self) -> None:
        """Stop; what was submitted to the storage system goes on there."""
        ending = Deferred.fromCoroutine(self._end()).addTimeout(_STOP_TIMEOUT, self._shared.clock)
        try:
            await ending
        except defer.TimeoutError:
            _log.warn("recalls: the storage system has not answered; calls to it are abandoned")

    async def _end(self) -> None:
        await self._taking_over.stop()  # first, as it starts the others
        await all_of(loop.stop() for loop in self._loops)
        await self._look_ups.stop()
        if self._storage_requests is not None:
            await self._storage_requests.stop()
            await self._progress.stop()

    def poke(self) -> None:
        """Look for new work now, as this process has changed the store."""
        self._look_up.poke()
        if self._storage_requests is not None:
            self._cancel.poke()
            self._holds.poke()
            self._poke_requests()

    async def _read_holds(self) -> bool:
        """Read what operators hold, as any process may have changed it.  @return: C{False}: there is nothing more."""
        holds = await self._shared.read(read_holds)
        if holds != self._shared.holds:
            self._shared.holds = holds
            self._poke_requests()
        return False

    def _poke_requests(self) -> None:
        if self._request_loop is not None:
            self._request_loop.poke()

    async def _take_over(self) -> bool:
        """Load the state from the store, and start the loops."""
        if self._begun:
            return False
        await self._shared.write(recount)
        shared = self._shared
        submitted, demands, learned, shared.holds = await shared.read(_read_state)
        for each in submitted:
            shared.active[each.key] = Active(each, _INHERITED_GRACE, shared.now)
            reading = shared.readings.get(each.medium)
            if reading is None:
                position = (each.position, each.key)
                reading = Reading(
                    medium=each.medium, begun=shared.now, last_recalled=shared.now, after=position, stalled=True
                )
                shared.readings[each.medium] = reading
            reading.after = max(reading.after, (each.position, each.key))
            reading.left += 1
            reading.left_size += each.size
        for demand in demands:
            shared.wait_for(demand)
        kept = learned_of(learned)
        shared.rates.load(kept.get("rates", {}))
        shared.queue.load(kept.get("queue", {}))
        shared.accuracy.load(kept.get("promises", {}))
        if submitted or demands:
            _log.info(
                "recalls: taken over with {submitted} under way, {waiting} waiting",
                submitted=len(submitted),
                waiting=sum(demand.files for demand in demands),
            )
        self._begun = True
        for loop in self._loops:
            loop.start()
        return False

    def _obstacle(self) -> str:
        troubles = [loop.trouble for loop in self._loops if loop.trouble]
        if troubles:
            return troubles[0]
        return self._storage_requests.full if self._storage_requests is not None else ""

    async def _release(self, file_ids: Sequence[int]) -> None:
        if self._shared.recaller is not None:
            await release_all(self._shared.recaller, file_ids)


def _read_state(cursor: Cursor) -> tuple[list[work.SubmittedFile], list[Demand], str, Holds]:
    row = cursor.row("SELECT learned FROM turn")
    return work.submitted(cursor), work.demands(cursor), row[0] if row else "", read_holds(cursor)
