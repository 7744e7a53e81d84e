"""What one process says of itself at a moment (L{Part}), and what the whole service does (L{Totals}).

Numbers are kept for as long as the service runs, those of processes that are gone included.  Beside them are two lists,
which are short by their limits and may leave something out: the transfers under way, and what was refused or failed of
late.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import attrs

from pacarchive.telemetry.counts import DOCUMENT, Numbers, add_up
from pacarchive.telemetry.table import METRICS, Join, Series

TRANSFERS = 50
"""The most transfers that a process lists: the oldest."""

EVENTS = 100
"""The most events that a process keeps: the last of what it refused, and as many of what failed."""

EVENTS_FOR = 3600.0
"""Seconds after which an event is not listed any more."""

WORDS = 400
"""Characters that are kept of an event's words."""

_JOINS: dict[Join, Callable[[list[float]], float]] = {Join.SUM: sum, Join.MOST: max, Join.LEAST: min}


@attrs.frozen
class Transfer:
    """
    A body on its way.

    @ivar direction: C{in} or C{out}.
    @ivar file_id: Of which file, where it is one's.
    @ivar principal: Whose it is; C{None} where nobody has said so.
    @ivar address: Where the client is.
    @ivar moved: Bytes so far.
    @ivar total: Bytes in all; C{None} where that is not known.
    @ivar since: When the request began, in seconds since the epoch.
    @ivar request: What the request is called in logs.
    @ivar worker: The number of the worker process.
    """

    direction: str
    method: str
    file_id: int | None
    principal: str | None
    address: str
    moved: int
    total: int | None
    since: float
    request: str
    worker: int = 0


@attrs.frozen
class Event:
    """
    Something that was refused, or failed.

    @ivar time: Seconds since the epoch.
    @ivar outcome: C{refused}, C{failed}, or C{incident} for what nobody foresaw.
    @ivar kind: As the log and the metrics name it.
    @ivar words: The words of the log.
    @ivar address: Where the client is.
    @ivar principal: Who asked; C{None} where that is not known.
    @ivar request: What the request is called in logs; C{None} where there was none yet.
    @ivar worker: The number of the worker process.
    """

    time: float
    outcome: str
    kind: str
    words: str
    address: str
    principal: str | None = None
    request: str | None = None
    worker: int = 0


@attrs.frozen
class Part:
    """
    Of one process.

    @ivar gauges: What was sampled at this moment.
    @ivar transfers: The transfers under way, the oldest first.
    @ivar events: What was refused or failed of late, the last first.
    """

    gauges: Mapping[Series, float] = attrs.field(factory=dict)
    transfers: tuple[Transfer, ...] = ()
    events: tuple[Event, ...] = ()


@attrs.frozen
class Totals:
    """
    Of the whole service.

    @ivar time: When that was, in seconds since the epoch.
    @ivar counted: Counters and histograms, by metric and labels; those of processes that are gone included.
    @ivar gauges: What was sampled, joined as each metric says.
    @ivar transfers: The transfers under way, the oldest first.
    @ivar events: What was refused or failed of late, the last first.
    """

    time: float
    counted: Mapping[Series, Numbers]
    gauges: Mapping[Series, float]
    transfers: tuple[Transfer, ...] = ()
    events: tuple[Event, ...] = ()

    def value(self, *series: str) -> float | None:
        """The value of a counter or gauge; C{None} where there is none."""
        if (numbers := self.counted.get(series)) is not None:
            return numbers[0]
        return self.gauges.get(series)


class IWhole(Protocol):
    """Whoever knows how the whole service is doing."""

    async def totals(self) -> Totals:
        """
        How it is doing now.

        @raise pacarchive.errors.BackendUnavailable: That cannot be found out now.
        """


def join(time: float, counted: Iterable[Mapping[Series, Numbers]], parts: Mapping[int, Part]) -> Totals:
    """
    Make one of several.

    @param counted: What each process has counted, those that are gone included.
    @param parts: What the workers say, by their numbers.
    """
    numbers: dict[Series, Numbers] = {}
    for each in counted:
        add_up(numbers, each)
    sampled: dict[Series, list[float]] = {}
    for part in parts.values():
        for series, value in part.gauges.items():
            sampled.setdefault(series, []).append(value)
    gauges = {series: _JOINS[METRICS[series[0]].join](values) for series, values in sampled.items()}
    transfers = [attrs.evolve(each, worker=worker) for worker, part in parts.items() for each in part.transfers]
    events = [attrs.evolve(each, worker=worker) for worker, part in parts.items() for each in part.events]
    return Totals(
        time,
        numbers,
        gauges,
        tuple(sorted(transfers, key=lambda each: each.since)),
        tuple(sorted(events, key=lambda each: -each.time)),
    )


def write_part(part: Part) -> bytes:
    """One as JSON, of at most L{DOCUMENT} bytes; the lists are shortened where they are too long."""
    while len(data := json.dumps(_plain(part)).encode("ascii")) > DOCUMENT:
        part = attrs.evolve(
            part,
            transfers=part.transfers[: len(part.transfers) // 2],
            events=part.events[: len(part.events) // 2],
        )
    return data


def read_part(data: bytes) -> Part:
    """What L{write_part} wrote."""
    return Part(**_typed(json.loads(data)))


def write_totals(totals: Totals) -> str:
    """Totals as one line of JSON."""
    counted = [[*series, list(numbers)] for series, numbers in totals.counted.items()]
    return json.dumps({"time": totals.time, "counted": counted, **_plain(totals)})


def read_totals(line: str) -> Totals:
    """What L{write_totals} wrote."""
    found = json.loads(line)
    counted = {tuple(series): tuple(numbers) for *series, numbers in found.pop("counted")}
    return Totals(found.pop("time"), counted, **_typed(found))


def _plain(part: Part | Totals) -> dict[str, Any]:
    return {
        "gauges": [[*series, value] for series, value in part.gauges.items()],
        "transfers": [attrs.astuple(each) for each in part.transfers],
        "events": [attrs.astuple(each) for each in part.events],
    }


def _typed(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "gauges": {tuple(series): value for *series, value in found["gauges"]},
        "transfers": tuple(Transfer(*each) for each in found["transfers"]),
        "events": tuple(Event(*each) for each in found["events"]),
    }
