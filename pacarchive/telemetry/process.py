"""What one process knows of itself: what it counts, what is sampled when somebody wants to know, what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pacarchive import __version__
from pacarchive.runtime import measuring
from pacarchive.runtime.shared import Shared, all_of
from pacarchive.runtime.threads import running_pools
from pacarchive.telemetry.counts import Counts
from pacarchive.telemetry.own import sample_process
from pacarchive.telemetry.parts import EVENTS, EVENTS_FOR, TRANSFERS, Event, IWhole, Part, Totals, Transfer, join
from pacarchive.telemetry.requests import RequestCounts
from pacarchive.telemetry.table import Series

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

Samples: TypeAlias = Iterable[tuple[Series, float]]

PATIENCE = 0.7
"""Seconds for which samples are waited for; what takes longer is in a later answer."""

_LAG_PERIOD = 1.0

_log = Logger()


class Telemetry:
    """
    Of one process.

    @param clock: The time.
    @param memory: Where it counts; C{None} for memory of its own.
    @param name: What the process is called, in labels.
    @ivar counts: What it counts.
    @ivar requests: What it counts of requests.
    @ivar transfers: Lists the transfers under way.
    @ivar whole: Knows how the whole service is; this one where there is no other process.
    """

    def __init__(self, clock: IReactorTime, memory: memoryview | None = None, name: str = "0") -> None:
        self._clock = clock
        self._began = clock.seconds()
        self.counts = Counts(memory)
        self.requests = RequestCounts(self.counts)
        self.transfers: Callable[[], Iterable[Transfer]] = tuple
        self.whole: IWhole = self
        # Apart, so that however much is refused, what failed is still there.
        self._refused, self._failed = deque[Event](maxlen=EVENTS // 2), deque[Event](maxlen=EVENTS // 2)
        self._samplers: list[Callable[[], Samples]] = [_sample_pools, partial(sample_process, name)]
        self._slow: list[_Slow] = []
        self._lag = LoopingCall(self._note_lag)
        self._lag.clock = clock
        self._lag_due = 0.0

    def samples(self, sampler: Callable[[], Samples]) -> None:
        """
        Have gauges sampled whenever somebody wants to know.

        @param sampler: Returns their values; must not block.
        """
        self._samplers.append(sampler)

    def samples_slowly(self, sampler: Callable[[], Awaitable[Samples]]) -> None:
        """
        Likewise, where it takes time.  Of several workers only one is asked: it is to be of what they share.
        """
        self._slow.append(_Slow(sampler))

    def note(self, event: Event) -> None:
        """Keep an event for a while."""
        (self._refused if event.outcome == "refused" else self._failed).append(event)

    def listen(self) -> None:
        """Count what this process measures (L{pacarchive.runtime.measuring}), until L{stop}."""
        measuring.listen(self.counts)

    def start(self) -> None:
        """Begin to measure the reactor's lag."""
        self._lag_due = self._clock.seconds() + _LAG_PERIOD
        self._lag.start(_LAG_PERIOD, now=False)

    def stop(self) -> None:
        """End it, and L{listen}."""
        measuring.stop_listening(self.counts)
        if self._lag.running:
            self._lag.stop()

    async def part(self, *, shared: bool) -> Part:
        """
        What it says of itself now.

        @param shared: Whether what workers share is asked for, too.
        """
        if shared:
            await all_of(each.refresh(self._clock) for each in self._slow)
        gauges: dict[Series, float] = {}
        for sampler in self._samplers:
            try:
                found = list(sampler())
            except Exception:  # noqa: BLE001  (that one thing cannot be found out must not hide the others)
                _log.failure("samples cannot be taken")
                continue
            for series, value in found:
                gauges[series] = gauges.get(series, 0.0) + value
        if shared:
            for each in self._slow:
                gauges.update(each.values)
        oldest = sorted(self.transfers(), key=lambda each: each.since)[:TRANSFERS]
        since = self._clock.seconds() - EVENTS_FOR
        events = [each for each in (*self._refused, *self._failed) if each.time >= since]
        return Part(gauges, tuple(oldest), tuple(sorted(events, key=lambda each: -each.time)))

    async def totals(self) -> Totals:
        """How the whole service is, where this is its only process."""
        service = Part(service_gauges(self._began, 1, 1))
        parts = {0: await self.part(shared=True), -1: service}
        return join(self._clock.seconds(), [self.counts.read()], parts)

    def _note_lag(self) -> None:
        now = self._clock.seconds()
        self.counts.observe(max(0.0, now - self._lag_due), "reactor_lag_seconds")
        self._lag_due = now + _LAG_PERIOD


class _Slow:
    """
    Gauges whose values take time to find out.  They are looked for once at a time, and the last that were found are
    told in the meantime.
    """

    def __init__(self, sampler: Callable[[], Awaitable[Samples]]) -> None:
        self._sampler = sampler
        self._look: Shared[None] | None = None
        self.values: dict[Series, float] = {}

    async def refresh(self, clock: Any) -> None:
        """Look again, and wait for that, but not for long."""
        if self._look is None or self._look.ended:
            self._look = Shared(self._sample())
        try:
            await Deferred.fromCoroutine(self._look.result()).addTimeout(PATIENCE, clock)
        except defer.TimeoutError:
            _log.debug("samples take long: {sampler}", sampler=self._sampler)

    async def _sample(self) -> None:
        try:
            self.values = dict(await self._sampler())
        except Exception:  # noqa: BLE001  (that one thing cannot be found out must not hide the others)
            self.values = {}
            _log.failure("samples cannot be taken")


def service_gauges(began: float, workers: int, reporting: int) -> dict[Series, float]:
    """What is said of the service itself, once."""
    return {
        ("build_info", __version__): 1.0,
        ("start_time_seconds",): began,
        ("workers",): float(workers),
        ("workers_reporting",): float(reporting),
    }


def _sample_pools() -> Samples:
    for pool in running_pools():
        yield ("pool_busy", pool.name), float(pool.busy)
        yield ("pool_size", pool.name), float(pool.size)
        yield ("pool_queued", pool.name), float(pool.backlog)
