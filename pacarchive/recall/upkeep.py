"""What is done at certain times: deadlines, pins, retries, and forecasts."""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence

from pacarchive.recall import listing, schedule, stored_forecasts, work
from pacarchive.recall.dispatcher_state import DispatcherState
from pacarchive.recall.forecast import Load, forecast, shared_ends
from pacarchive.recall.holds import expire_holds
from pacarchive.recall.lookup import ABSENT, find
from pacarchive.recall.overview import Plan
from pacarchive.recall.planning import time_left
from pacarchive.recall.schedule import Flow, weight
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.store import Cursor, Transaction
from pacarchive.recall.stored_forecasts import MediumForecast
from pacarchive.recall.views import Amount, Drive
from pacarchive.recall.waiting import Waiting, troubled, waiting
from pacarchive.runtime import measuring

FORECAST_INTERVAL = 5.0
"""Seconds between two forecasts."""

RECHECK_INTERVAL = 10.0
"""Seconds between two checks whether files that wait are on disk already."""

_RECHECKED = 200
"""The most files of one such check."""

_FORECASTS = 50
"""The most jobs for which a forecast is remembered at a time, to be compared with the outcome."""

_STUCK_FACTOR, _STUCK_AFTER = 4, 30.0
"""
A cartridge is taken to be stuck if no file of it was recalled for so many times as long as one should take, and for at
least so many seconds: then it cannot be forecast when its files will be on disk.
"""

_MOST_FLOWS = 1000
"""The most flows that a forecast has separately."""

_MOST_MEDIA = 5000
"""The most cartridges that a forecast has."""


class Upkeep:
    """
    The loops for that.

    @param shared: The dispatcher's state.
    @param release: Tells the storage system that files need not stay on disk.
    @param obstacle: Returns what keeps everything from being recalled, for a person; or an empty text.
    """

    def __init__(
        self, shared: DispatcherState, release: Callable[[Sequence[int]], Awaitable[None]], obstacle: Callable[[], str]
    ) -> None:
        self._shared = shared
        self._release = release
        self._obstacle = obstacle
        self._rechecked = -(1 << 63)
        self._last_forecast = 0
        self._stored: tuple[Sequence[MediumForecast], str, str, Sequence[Drive]] | None = None

    async def by_the_clock(self) -> bool:
        """Do what is due.  @return: Whether there may be more."""
        shared = self._shared
        due = await shared.read(lambda cursor: work.due(cursor, shared.now, shared.settings.keep))
        if "wake" in due:
            await shared.write(work.wake)
        if "overdue" in due:
            measuring.count("recall_failures_total", "deadline", amount=await shared.write(work.overdue))
        if "expire" in due:
            _, unpinned = await shared.write(work.expire_pins)
            await self._release(unpinned)
        if "forget" in due:
            await shared.write(lambda transaction: work.forget_old(transaction, shared.settings.keep))
        if "resume" in due:
            await shared.write(expire_holds)
        return bool(due)

    async def recheck(self) -> bool:
        """Check some of the files that wait: those that are on disk already, or were removed, need no recall."""
        shared = self._shared
        keys = await shared.read(lambda cursor: work.queued_after(cursor, self._rechecked, _RECHECKED))
        self._rechecked = keys[-1] if len(keys) == _RECHECKED else -(1 << 63)
        if not keys or shared.recaller is None:
            return False
        ids = [from_key(key) for key in keys]
        found = await find(shared.backend, await shared.recaller.locate(ids), ids)
        recalled = {
            to_key(file_id): each.status.size for file_id, each in found.items() if each.on_disk and each.status
        }
        gone = {
            to_key(file_id): "No file has this id any more."
            for file_id, each in found.items()
            if each.problem == ABSENT
        }
        if recalled or gone:

            def note(transaction: Transaction) -> None:
                work.complete(transaction, recalled)
                work.fail_all(transaction, gone)

            await shared.write(note)
            measuring.count("recall_failures_total", "absent", amount=len(gone))
        return False

    async def update_forecasts(self) -> bool:
        """Store new forecasts, and learn how accurate earlier ones were."""
        forecasts, now = self._forecasts(), self._shared.now
        obstacle = self._obstacle()
        await self._compare_forecasts()
        known = {
            "rates": self._shared.rates.dump(),
            "queue": self._shared.queue.dump(),
            "promises": self._shared.accuracy.dump(),
            "ends": [[*flow, round(now + end)] for flow, end in self._shared_ends().items()],
        }
        drives = self._drives()
        state = (forecasts, obstacle, json.dumps(known), drives)
        if state != self._stored:
            complete = await self._shared.read(lambda cursor: stored_forecasts.with_extents(cursor, forecasts))
            learned = json.dumps(known | {"plan": Plan(now, drives).encode()})
            await self._shared.write(
                lambda transaction: stored_forecasts.store(transaction, complete, obstacle, learned)
            )
            self._stored = state
        await self._record_forecasts()
        return False

    async def _compare_forecasts(self) -> None:
        """Learn from jobs that have ended how accurate their forecasts were."""
        accuracy = self._shared.accuracy

        def look(cursor: Cursor) -> tuple[set[int], dict[int, float | None]]:
            return troubled(cursor, accuracy.open), stored_forecasts.outcomes(cursor, accuracy.open)

        in_trouble, outcomes = await self._shared.read(look)
        for job in in_trouble:
            accuracy.forget(job)  # the duration of an accident says nothing about forecasts
        for job, ended in outcomes.items():
            if ended is None:
                accuracy.forget(job)
            else:
                accuracy.compare(job, ended)

    async def _record_forecasts(self) -> None:
        """Remember the forecasts for new jobs."""
        shared, now = self._shared, self._shared.now

        def look(cursor: Cursor) -> list[tuple[int, list[Waiting]]]:
            numbers = listing.new_jobs(cursor, self._last_forecast, _FORECASTS)
            return [(number, waiting(cursor, number)) for number in numbers]

        for number, waiting_files in await shared.read(look):
            seconds = time_left(waiting_files, shared.rates, now)
            failing = any(each.failures for each in waiting_files)
            if seconds is None and not failing:
                break  # it has not been looked up yet: next time
            self._last_forecast = number
            if seconds is not None and not failing:
                shared.accuracy.record(number, now, seconds)

    def _shared_ends(self) -> dict[Flow, float]:
        """Return the seconds until each flow has all that it waits for."""
        shared = self._shared
        rates = shared.rates
        demands = shared.free_demands
        flow_counts = Counter(demand.medium for demand in demands)
        work: dict[Flow, float] = defaultdict(float)
        for demand in demands:
            mount = 0.0 if demand.medium in shared.readings else rates.mount_seconds / flow_counts[demand.medium]
            work[demand.flow] += mount + rates.reading_time(demand.files, demand.size)
        for active in shared.active.values():
            if active.flow is not None:
                work[active.flow] += rates.cost(active.file.size)
        largest = heapq.nlargest(_MOST_FLOWS, work, key=work.__getitem__)
        return shared_ends(
            {flow: work[flow] for flow in largest}, {flow: weight(flow) for flow in largest}, shared.drives
        )

    def _drives(self) -> list[Drive]:
        """Return the cartridges that are being read, for operators to see."""
        return [
            Drive(
                cartridge=reading.medium,
                owner=reading.flow[0] if reading.flow is not None else "",
                begun=reading.begun,
                mounted=reading.learned is not None,
                ending=reading.over or reading.finished,
                submitted=Amount(reading.left, reading.left_size),
                last=reading.last_recalled,
                stuck=self._is_stuck(Load(medium=reading.medium, files=reading.left, size=reading.left_size)),
            )
            for reading in self._shared.readings.values()
        ]

    def _forecasts(self) -> list[MediumForecast]:
        shared, now = self._shared, self._shared.now
        waiting: dict[str, tuple[int, int]] = {}
        for demand in shared.free_demands:
            files, size = waiting.get(demand.medium, (0, 0))
            waiting[demand.medium] = files + demand.files, size + demand.size
        started: dict[str, tuple[int, int]] = {}
        for active in shared.active.values():
            files, size = started.get(active.file.medium, (0, 0))
            started[active.file.medium] = files + 1, size + active.file.size
        running = []
        for medium, (files, size) in started.items():
            reading = shared.readings.get(medium)
            more = (0, 0) if reading is None or reading.over else waiting.pop(medium, (0, 0))
            mounted = reading is None or reading.learned is not None
            running.append(Load(medium=medium, files=files + more[0], size=size + more[1], mounted=mounted))
        order = [each.medium for each in schedule.in_order(shared.free_demands, shared.queue) if each.medium in waiting]
        queue = [Load(medium=medium, files=waiting[medium][0], size=waiting[medium][1]) for medium in order]
        if not shared.drives:
            queue = []  # nobody knows when it goes on
        spans = forecast(queue, running, shared.drives, shared.rates, now)
        loads = {load.medium: load.files for load in (*running, *queue)}
        stuck = {load.medium for load in running if self._is_stuck(load)}
        found = [
            MediumForecast(medium, loads[medium], span.ready, span.end)
            for medium, span in spans.items()
            if medium not in stuck
        ]
        return sorted(found, key=lambda each: each.begins)[:_MOST_MEDIA]

    def _is_stuck(self, load: Load) -> bool:
        """Return whether no file of a cartridge was recalled for so long that there can be no forecast."""
        shared, reading = self._shared, self._shared.readings.get(load.medium)
        if reading is None:
            return False
        rates, settings = shared.rates, shared.settings
        file = rates.cost(load.size // max(1, load.files))
        expected = file if load.mounted else rates.mount_seconds + file
        since = max(reading.last_recalled, reading.last_submitted)
        return shared.now - since > max(_STUCK_AFTER, _STUCK_FACTOR * expected + 2 * settings.poll_interval)
