"""How long recalls take: rates that are learned, and what they say of the queue.

Plain arithmetic; times are arguments.
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
"""How many seconds of reading what was assumed counts for, beside what is learned."""

_MEMORY = 100_000.0
"""After so many seconds of reading, something learned counts for a third."""

_MOUNTS = 20.0
"""After so many mounts, something learned counts for a third."""

_ABSURD = 10.0
"""What took more times as long as was expected, or less than one such part, is taken to be so long: a drive that was
repaired in between, or a file that was on disk already, must not upset everything, and what is true is learned in a few
steps."""

_SHORTEST_MOUNT = 0.001
_LONGEST_MOUNT = 3600.0
_LONGEST = 30 * 86400.0
_GB = 1e9


class Rates:
    """
    What was learned of the library.

    Reading takes C{file_seconds} for each file and C{byte_seconds} for each byte: least squares, where the older counts
    for less, and what is assumed at first counts for two minutes.  The latter also decides where what was seen cannot
    tell one from the other.

    @ivar mount_seconds: Until a cartridge that lies in its place can be read.
    @ivar file_seconds: For each file, whatever its size: mostly for finding its place.
    @ivar byte_seconds: For each byte.
    @ivar observations: Files learned from.
    @ivar recalled: Files that have come, whether there was something to learn from them or not.
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
        """A mount took so long.  Nonsense is passed over."""
        if not _is_duration(seconds):
            return
        least, most = self.mount_seconds / _ABSURD, self.mount_seconds * _ABSURD
        seconds = min(max(seconds, least, _SHORTEST_MOUNT), most, _LONGEST_MOUNT)
        keep = math.exp(-1 / _MOUNTS)
        total, count = self._mounts
        self._mounts = [total * keep + seconds, count * keep + 1]
        self.mount_seconds = self._mounts[0] / self._mounts[1]

    def learn_reading(self, files: int, size: int, seconds: float) -> None:
        """A drive read files, of so many bytes together, one after the other, in so many seconds.  Nonsense is passed
        over."""
        if not _is_duration(seconds) or not 0 < files < 1e9 or not 0 <= size < 1e18:
            return
        expected = self.reading_time(files, size)
        seconds = min(max(seconds, expected / _ABSURD), expected * _ABSURD)
        keep = math.exp(-seconds / _MEMORY)
        # What takes long varies by more.  By what was expected, not by what it took: else the quick ones would win.
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
            # What was kept is no sum of observations.
            return
        each, rate = (fs * bb - bs * fb) / determinant, (bs * ff - fs * fb) / determinant
        if each < 0:
            each, rate = 0.0, bs / bb
        elif rate < 0:
            each, rate = fs / ff, 0.0
        # Neither is ever nothing: what is expected to take no time could not be corrected by a factor.
        self.file_seconds = max(each, 1e-6)
        self.byte_seconds = max(rate / _GB, 1e-13)

    def reading_time(self, files: int, size: int) -> float:
        """Seconds that a drive takes to read files of so many bytes together from a mounted cartridge."""
        return max(0, files) * self.file_seconds + max(0, size) * self.byte_seconds

    def cost(self, size: int) -> float:
        """Seconds that a drive takes for a single file of many."""
        return self.reading_time(1, size)

    def dump(self) -> dict[str, object]:
        """All that was learned, as JSON can have it."""
        counted = {"observations": self.observations, "recalled": self.recalled}
        return {**counted, "mounts": list(self._mounts), "seen": list(self._seen)}

    def load(self, kept: Mapping[str, object]) -> None:
        """Go on from what L{dump} gave.  What makes no sense is as if nothing had been learned."""
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
    """So many numbers that can be what they are said to be."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(each, int | float) and 0 <= each < 1e30 for each in value):
        return None
    return [float(each) for each in value]


@attrs.frozen(kw_only=True)
class Load:
    """
    What is to be read from a cartridge.

    @ivar files: How many files have not come.
    @ivar size: Their bytes.
    @ivar mounted: Whether it can be read already.
    """

    medium: str
    files: int
    size: int
    mounted: bool = False


@attrs.frozen(kw_only=True)
class Span:
    """
    When a cartridge will be in a drive.

    @ivar begin: When it gets one.
    @ivar ready: When it can be read.
    @ivar end: When its last file has come.
    """

    begin: float
    ready: float
    end: float

    def at(self, part: float) -> float:
        """When a file has come that lies so far along, see L{position_share}."""
        return self.ready + part * (self.end - self.ready)


def forecast(queue: Sequence[Load], running: Sequence[Load], drives: int, rates: Rates, now: float) -> dict[str, Span]:
    """
    When each cartridge will be read: a drive goes on with what it has, and then takes the next.

    @param queue: What waits, the next first.
    @param running: What is being read, with all that is still wanted of it.
    """
    spans = {each.medium: _span(each, now, rates) for each in running}
    ends = [span.end for span in spans.values()]
    ends += [now] * (drives - len(ends))
    heapq.heapify(ends)
    # Where there are fewer drives than there were, the first to end are not followed by others.
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
    When each of those who share the drives fairly has all that is his: whoever wants less is done before, and leaves
    the drives to the others.

    @param work: Drive-seconds by flow.
    @param weights: How large their shares are beside each other.
    @return: Seconds from now.
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
    How much of a cartridge's reading will be done when a file has come, from 0 to 1.

    @param lowest: The lowest position that is still wanted; C{highest} likewise.
    """
    if highest <= lowest:
        return 1.0
    return min(1.0, max(0.0, (position - lowest) / (highest - lowest)))


def basis(files: int, media: int, drives: int, rates: Rates) -> str:
    """For a person: what a forecast was worked out from."""
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
    """Two digits or more, without a point where that says nothing."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
