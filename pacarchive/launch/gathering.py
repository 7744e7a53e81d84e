"""What all workers count and say of themselves, added up in their parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pacarchive.launch.messages import MEASURE, MEASURED, SHARED, TOTALS
from pacarchive.runtime.shared import OwnedWork, Shared
from pacarchive.telemetry.counts import Numbers, add_up, read, read_document
from pacarchive.telemetry.parts import Part, Totals, join, read_part, write_totals
from pacarchive.telemetry.process import Samples, Telemetry, service_gauges
from pacarchive.telemetry.table import Series

if TYPE_CHECKING:
    from pacarchive.launch.supervised import SupervisedWorker

PATIENCE = 1.0
"""Seconds after which a worker that has not said how it is goes without: all that it has counted is known anyway."""

_PARENT = -1

_log = Logger()


class Gathering:
    """
    Asks workers how they are, and adds up what they count.

    @param reactor: The time.
    @param number: How many workers there are to be.
    @param workers: Those that there are, by their numbers.
    """

    def __init__(self, reactor: Any, number: int, workers: Mapping[int, SupervisedWorker]) -> None:
        self._reactor = reactor
        self._began = reactor.seconds()
        self._number = number
        self._workers = workers
        self._own = Telemetry(reactor, name="parent")
        self._gone: dict[Series, Numbers] = {}
        self._look: Shared[Totals] | None = None
        self._turn = 0
        self._missing: set[int] = set()
        self._silent: set[int] = set()
        self._parts: dict[int, Part] = {}
        self._complete: Deferred[None] | None = None
        self._work = OwnedWork("telling a worker how the service is")

    def samples(self, sampler: Callable[[], Samples]) -> None:
        """Have gauges of the parent's sampled (L{Telemetry.samples})."""
        self._own.samples(sampler)

    async def totals(self) -> Totals:
        """How the whole service is: those who want to know at the same time are told the same."""
        if self._look is None or self._look.ended:
            self._look = Shared(self._gather())
        return await self._look.result()

    def hear(self, worker: SupervisedWorker, word: str, rest: str) -> None:
        """A worker has said something."""
        if word == MEASURED and rest == str(self._turn) and worker.index in self._missing:
            try:
                self._parts[worker.index] = read_part(read_document(worker.memory.view))
            except (ValueError, TypeError, KeyError):
                _log.failure("worker {index} says what cannot be read", index=worker.index)
            self._no_longer_missing(worker)
        elif word == TOTALS:
            self._work.keep(self._tell(worker))

    def ended(self, worker: SupervisedWorker) -> None:
        """A worker is gone; what it has counted is kept."""
        add_up(self._gone, read(worker.memory.view))
        worker.memory.close()
        self._no_longer_missing(worker)
        self._silent.discard(worker.index)

    def replaced(self, worker: SupervisedWorker) -> None:
        """Count that one ended which was not asked to."""
        self._own.counts.add("worker_restarts_total", worker.ending)

    async def _tell(self, worker: SupervisedWorker) -> None:
        totals = await self.totals()
        if self._workers.get(worker.index) is worker:
            worker.send(TOTALS, write_totals(totals))

    async def _gather(self) -> Totals:
        self._turn += 1
        self._parts = {}
        asked = [each for each in self._workers.values() if each.served]
        self._missing = {each.index for each in asked}
        # What all of them share is asked of one, and rather not of one that did not answer the last time.
        asked.sort(key=lambda each: each.index in self._silent)
        for worker, more in zip(asked, (f" {SHARED}", *[""] * len(asked)), strict=False):
            worker.send(MEASURE, f"{self._turn}{more}")
        if self._missing:
            self._complete = Deferred()
            try:
                await self._complete.addTimeout(PATIENCE, self._reactor)
            except defer.TimeoutError:
                _log.debug("workers are silent: {missing}", missing=self._missing)
        self._complete = None
        self._silent, self._missing = self._missing, set()
        parts = {**self._parts, _PARENT: await self._own_part()}
        counted = [read(each.memory.view) for each in self._workers.values()]
        return join(self._reactor.seconds(), [self._own.counts.read(), self._gone, *counted], parts)

    async def _own_part(self) -> Part:
        own = await self._own.part(shared=False)
        return Part({**own.gauges, **service_gauges(self._began, self._number, len(self._parts))})

    def _no_longer_missing(self, worker: SupervisedWorker) -> None:
        self._missing.discard(worker.index)
        if not self._missing and self._complete is not None and not self._complete.called:
            self._complete.callback(None)
