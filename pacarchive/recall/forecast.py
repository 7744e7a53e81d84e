"""How long recalls take: rates that are learned, and forecasts for the queue.

This module only computes; times are arguments.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs

Flow = TypeVar("Flow")

_MOUNT = 90.0
_FILE = 8.0
_BYTE = 1 / 200e6

_BELIEF = 120.0
"""For how many seconds of reading the initial assumptions count, beside what is learned."""

_MEMORY = 100_000.0
"""The seconds of reading after which an observation has a third of its weight left."""

_MOUNTS = 20.0
"""The count of mounts after which an observation has a third of its weight left."""

_ABSURD = 10.0
"""
The limit for an observation: it counts as at most so many times the expected duration, and at least such a part of it.
A drive that was under repair, or a file that was on disk already, must not distort the rates, and true values are
learned in a few steps all the same.
"""

_SHORTEST_MOUNT = 0.001
_LONGEST_MOUNT = 3600.0
_LONGEST = 30 * 86400.0
_GB = 1e9


class Rates:
    """
    The learned rates of the tape library.

    Reading takes C{file_seconds} for each file and C{byte_seconds} for each byte: least squares with weights that
    decrease with age, and with initial assumptions that count as two minutes of reading.  Those also decide where the
    observations cannot tell one rate from the other.

    @ivar mount_seconds: Seconds from the choice of a cartridge until it can be read.
    @ivar file_seconds: Seconds for each file, whatever its size: mostly for locating it.
    @ivar byte_seconds: Seconds for each byte.
    @ivar observations: The count of files from which rates were learned.
    @ivar recalled: The count of all files that were recalled.
    """

    def __init__(self) -> None:
        self.mount_seconds = _MOUNT
        self.file_seconds = _FILE
        self.byte_seconds = _BYTE
        self.observations = 0
        self.recalled = 0
        self._mounts = [_MOUNT, 1.0]
        # The normal equations over files and gigabytes: two of the matrix's three numbers are its diagonal.
        self._seen = [0.0] * 5

    def learn_mount(self, seconds: float) -> None:
        """Learn from a mount that took so many seconds.  Invalid values are ignored."""
        if not _is_duration(seconds):
            return
        least, most = self.mount_seconds / _ABSURD, self.mount_seconds * _ABSURD
        seconds = min(max(seconds, least, _SHORTEST_MOUNT), most, _LONGEST_MOUNT)
        keep = math.exp(-1 / _MOUNTS)
        total, count = self._mounts
        self._mounts = [total * keep + seconds, count * keep + 1]
        self.mount_seconds = self._mounts[0] / self._mounts[1]

    def learn_reading(self, files: int, size: int, seconds: float) -> None:
        """
        Learn from a drive's reading of files, one after the other.  Invalid values are ignored.

        @param files: The count of the files.
        @param size: Their bytes.
        @param seconds: How long it took.
        """
        if not _is_duration(seconds) or not 0 < files < 1e9 or not 0 <= size < 1e18:
            return
        expected = self.reading_time(files, size)
        seconds = min(max(seconds, expected / _ABSURD), expected * _ABSURD)
        keep = math.exp(-seconds / _MEMORY)
        # Long durations vary by more.  The weight is that of the expected duration, as that of the observed one would
        # prefer quick readings.
        new = _products(files, size / _GB, seconds, 1 / expected)
        self._seen = [old * keep + more for old, more in zip(self._seen, new, strict=True)]
        self.observations += files
        self._solve()

    def _solve(self) -> None:
        assumed_files = _products(_BELIEF / _FILE, 0, _BELIEF, 1 / _BELIEF)
        assumed_bytes = _products(0, _BELIEF / (_BYTE * _GB), _BELIEF, 1 / _BELIEF)
        ff, fb, bb, fs, bs = map(sum, zip(self._seen, assumed_files, assumed_bytes, strict=True))
        determinant = ff * bb - fb * fb
        if determinant < 1e-9 * ff * bb:
            # The loaded sums are not those of any observations.
            return
        each, rate = (fs * bb - bs * fb) / determinant, (bs * ff - fs * fb) / determinant
        if each < 0:
            each, rate = 0.0, bs / bb
        elif rate < 0:
            each, rate = fs / ff, 0.0
        # Neither is ever 0, as an expected duration of 0 could not be corrected by a factor.
        self.file_seconds = max(each, 1e-6)
        self.byte_seconds = max(rate / _GB, 1e-13)

    def reading_time(self, files: int, size: int) -> float:
        """Return the seconds that a drive takes to read files of C{size} bytes in total from a mounted cartridge."""
        return max(0, files) * self.file_seconds + max(0, size) * self.byte_seconds

    def cost(self, size: int) -> float:
        """Return the seconds that a drive takes to read one of many files."""
        return self.reading_time(1, size)

    def dump(self) -> dict[str, object]:
        """Return what was learned, in a form for JSON."""
        counted = {"observations": self.observations, "recalled": self.recalled}
        return {**counted, "mounts": list(self._mounts), "seen": list(self._seen)}

    def load(self, kept: Mapping[str, object]) -> None:
        """Load what L{dump} has returned; invalid values are ignored."""
        mounts, seen, observations = kept.get("mounts"), _numbers(kept.get("seen"), 5), kept.get("observations")
        self.__init__()  # type: ignore[misc]
        match _numbers(mounts, 2):
            case [total, count] if count >= 1 and _SHORTEST_MOUNT <= total / count <= _LONGEST_MOUNT:
                self._mounts = [total, count]
                self.mount_seconds = total / count
        if seen is not None:
            self._seen = seen
            self._solve()
            if isinstance(observations, int) and observations > 0:
                self.observations = observations
        if isinstance(recalled := kept.get("recalled"), int) and recalled > 0:
            self.recalled = recalled


def _products(files: float, gigabytes: float, seconds: float, weight: float) -> list[float]:
    return [
        files * files * weight,
        files * gigabytes * weight,
        gigabytes * gigabytes * weight,
        files * seconds * weight,
        gigabytes * seconds * weight,
    ]


def _is_duration(seconds: float) -> bool:
    return 0 <= seconds <= _LONGEST


def _numbers(value: object, count: int) -> list[float] | None:
    """Return a list of so many valid numbers; C{None} if the value is not one."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(each, int | float) and 0 <= each < 1e30 for each in value):
        return None
    return [float(each) for each in value]


@attrs.frozen(kw_only=True)
class Load:
    """
    The files that are to be read from a cartridge.

    @ivar medium: The cartridge.
    @ivar files: The count of files that have not been recalled.
    @ivar size: Their bytes.
    @ivar mounted: Whether the cartridge can be read already.
    """

    medium: str
    files: int
    size: int
    mounted: bool = False


@attrs.frozen(kw_only=True)
class Span:
    """
    The time during which a cartridge will be in a drive.

    @ivar begin: When it gets a drive.
    @ivar ready: When it can be read.
    @ivar end: When its last file will be on disk.
    """

    begin: float
    ready: float
    end: float

    def at(self, part: float) -> float:
        """Return when a file will be on disk, from its share of the reading (L{position_share})."""
        return self.ready + part * (self.end - self.ready)


def forecast(queue: Sequence[Load], running: Sequence[Load], drives: int, rates: Rates, now: float) -> dict[str, Span]:
    """
    Forecast when each cartridge will be read.  A drive finishes its cartridge, and then takes the next of the queue.

    @param queue: What waits, in order.
    @param running: What is being read, including what else waits for the same cartridge.
    @param drives: The count of drives.
    @param rates: The rates.
    @param now: The time.
    @return: The spans, by cartridge.
    """
    spans = {each.medium: _span(each, now, rates) for each in running}
    ends = [span.end for span in spans.values()]
    ends += [now] * (drives - len(ends))
    heapq.heapify(ends)
    # If there are fewer drives than cartridges being read, the drives that are free first take no other.
    for _ in range(len(ends) - max(1, drives)):
        heapq.heappop(ends)
    for each in queue:
        span = _span(each, ends[0], rates)
        heapq.heapreplace(ends, span.end)
        known = spans.get(each.medium)
        spans[each.medium] = span if known is None else attrs.evolve(known, end=span.end)
    return spans


def _span(load: Load, begin: float, rates: Rates) -> Span:
    ready = begin if load.mounted else begin + rates.mount_seconds
    return Span(begin=begin, ready=ready, end=ready + rates.reading_time(load.files, load.size))


def shared_ends(work: Mapping[Flow, float], weights: Mapping[Flow, float], drives: int) -> dict[Flow, float]:
    """
    Forecast when each flow will have all of its files, if the drives are shared fairly: one with less work ends
    earlier, and leaves its share to the others.

    @param work: Drive-seconds by flow.
    @param weights: The weights of the shares, by flow.
    @param drives: The count of drives.
    @return: Seconds from now, by flow.
    """
    ends: dict[Flow, float] = {}
    now = served = 0.0
    left = sum(weights[flow] for flow in work)
    for flow in sorted(work, key=lambda flow: work[flow] / weights[flow]):
        each = work[flow] / weights[flow]
        now += (each - served) * left / max(1, drives)
        ends[flow], served = now, each
        left -= weights[flow]
    return ends


def position_share(position: int, lowest: int, highest: int) -> float:
    """
    Return how much of a cartridge's reading will be done when a file is on disk, from 0 to 1.

    @param position: The file's position.
    @param lowest: The lowest position that is still to be read.
    @param highest: The highest one.
    """
    if highest <= lowest:
        return 1.0
    return min(1.0, max(0.0, (position - lowest) / (highest - lowest)))


def basis(files: int, media: int, drives: int, rates: Rates) -> str:
    """Describe for a person what a forecast is computed from."""
    where = f"{_count(files, 'file')} on {_count(media, 'cartridge')}, {_count(drives, 'drive')}"
    how = (
        f"{_short(rates.mount_seconds)} s a mount, {_short(rates.file_seconds)} s a file and "
        f"{_short(1e-6 / rates.byte_seconds)} MB/s"
    )
    if rates.observations == 0:
        if rates.recalled == 0:
            return f"{where}; {how}, assumed, as nothing was recalled yet"
        few = _count(rates.recalled, "recall")
        return f"{where}; {how}, assumed for the most part, as the {few} so far took too little time to learn from"
    return f"{where}; {how}, learned from {_count(rates.observations, 'recall')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _short(value: float) -> str:
    """Format a number with two digits or more, without a decimal point where that is not significant."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
