"""What is counted, in plain numbers, in memory that outlives the process that counts.

To count is to add to a number at a known place: nothing is locked, formatted or sent.  A worker's memory is one that
its parent has, too (C{memfd_create(2)}), so that nothing is lost with a worker that is killed, and to read what it has
counted needs no answer from it.

    8 bytes      how many bytes of names there are
    NAMES        lines, one for each series in the order of their numbers: the metric and the values of its labels
    VALUES       the numbers, each 8 bytes; of a histogram, as many as L{Metric.width} says
    8 bytes      the length of the document
    DOCUMENT     what the process says of itself at a moment, beside what it counts (L{pacarchive.telemetry.parts})
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import TypeAlias

from pacarchive.telemetry.table import METRICS, Series

NAMES = 96 << 10
"""Bytes for names."""

VALUES = 4096
"""How many numbers there can be."""

DOCUMENT = 256 << 10
"""Bytes for the document."""

SIZE = 8 + NAMES + 8 * VALUES + 8 + DOCUMENT
"""Bytes of memory in all; pages that are never written to are never there."""

_VALUES_AT = 8 + NAMES
_LENGTH_AT = _VALUES_AT + 8 * VALUES
_DOCUMENT_AT = _LENGTH_AT + 8

_SEPARATORS = str.maketrans("\t\r\n", "   ")

Numbers: TypeAlias = tuple[float, ...]
"""Of one series: a counter's value; or of a histogram those in each bucket, those beyond, and their sum."""


class Counts:
    """
    Counts for one process.

    @param memory: Where; L{SIZE} bytes, all of them zero.  C{None} for memory of this process alone.
    @ivar values: The numbers, to be added to at L{slot}.
    """

    def __init__(self, memory: memoryview | None = None) -> None:
        self._memory = memoryview(bytearray(SIZE)) if memory is None else memory
        self._length = self._memory[:8].cast("Q")
        self.values = self._memory[_VALUES_AT:_LENGTH_AT].cast("d")
        self._next = _USED
        self._slots = dict(_SLOTS)
        self._memory[8 : 8 + len(_NAMES)] = _NAMES
        self._length[0] = len(_NAMES)

    def slot(self, *series: str) -> int:
        """
        Where the numbers of a series are; they begin at zero.

        @param series: The name of a metric, and the values of its labels.
        @return: The index of the first of them in L{values}.
        """
        if (slot := self._slots.get(series)) is None:
            slot = self._slots[series] = self._make(series)
        return slot

    def _make(self, series: Series) -> int:
        slot, width = self._next, METRICS[series[0]].width
        line = _line(series)
        start = self._length[0]
        # Labels have few values, so that there is room for all: this is what becomes of a mistake.
        if slot + width > VALUES or start + len(line) > NAMES:
            raise MemoryError(f"no room to count {series}")
        self._memory[8 + start : 8 + start + len(line)] = line
        self._next += width
        self._length[0] = start + len(line)  # last: a name that is not whole is none
        return slot

    def add(self, *series: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        self.values[self.slot(*series)] += amount

    def observe(self, value: float, *series: str) -> None:
        """Add a value to a histogram."""
        slot = self.slot(*series)
        buckets = METRICS[series[0]].buckets
        self.values[slot + bisect_left(buckets, value)] += 1.0
        self.values[slot + len(buckets) + 1] += value

    def read(self) -> dict[Series, Numbers]:
        """All that was counted so far."""
        return read(self._memory)


def _line(series: Series) -> bytes:
    return "\t".join(each.translate(_SEPARATORS) for each in series).encode("ascii", "replace") + b"\n"


def _known() -> tuple[dict[Series, int], bytes, int]:
    slots: dict[Series, int] = {}
    names, slot = [], 0
    for metric in METRICS.values():
        for labels in metric.known:
            series = (metric.name, *labels)
            slots[series] = slot
            names.append(_line(series))
            slot += metric.width
    return slots, b"".join(names), slot


_SLOTS, _NAMES, _USED = _known()  # once for all workers, which share it


def read(memory: memoryview) -> dict[Series, Numbers]:
    """What a process has counted so far in its memory, whether or not that process still lives."""
    names = bytes(memory[8 : 8 + memory[:8].cast("Q")[0]]).decode("ascii")
    values = memory[_VALUES_AT:_LENGTH_AT].cast("d")
    found: dict[Series, Numbers] = {}
    slot = 0
    for name in names.splitlines():
        series = tuple(name.split("\t"))
        width = METRICS[series[0]].width
        found[series] = tuple(values[slot : slot + width])
        slot += width
    return found


def write_document(memory: memoryview, data: bytes) -> None:
    """
    Leave a document.

    @param data: At most L{DOCUMENT} bytes.
    """
    memory[_DOCUMENT_AT : _DOCUMENT_AT + len(data)] = data
    memory[_LENGTH_AT:_DOCUMENT_AT].cast("Q")[0] = len(data)


def read_document(memory: memoryview) -> bytes:
    """The document that was left last."""
    length = min(memory[_LENGTH_AT:_DOCUMENT_AT].cast("Q")[0], DOCUMENT)
    return bytes(memory[_DOCUMENT_AT : _DOCUMENT_AT + length])


def add_up(sum_: dict[Series, Numbers], more: Mapping[Series, Numbers]) -> None:
    """Add what one process has counted to what others have."""
    for series, numbers in more.items():
        before = sum_.get(series)
        sum_[series] = numbers if before is None else tuple(map(float.__add__, before, numbers))
