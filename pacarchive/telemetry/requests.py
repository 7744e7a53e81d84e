"""What is counted of each request at its end."""

from __future__ import annotations

from bisect import bisect_left
from http import HTTPStatus
from typing import TYPE_CHECKING

from pacarchive.telemetry.table import METHODS, NO_ANSWER, OTHER, QUICK, SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pacarchive.telemetry.counts import Counts

_METHODS = {each.encode("ascii"): each for each in METHODS}
_CODES = frozenset(HTTPStatus)
_FIRST, _SMALL = QUICK[0], SIZES[0]  # nearly all that is answered at once is in the first bucket
_SUM = len(QUICK) + 1
_SIZES_SUM = len(SIZES) + 1
_FILES = {("PUT", "201"): "in", ("GET", "200"): "out", ("GET", "206"): "out"}
"""The answers that mean that a file, or a range of one, has moved."""


class RequestCounts:
    """
    Counts requests; some hundred thousand a second could be.

    @param counts: Where.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._values = counts.values
        self._codes: dict[tuple[bytes, int], tuple[int, int, int, int]] = {}
        self._moved = {direction: counts.slot("transfer_bytes_total", direction) for direction in ("in", "out")}
        self._out = self._moved["out"]

    def ended(
        self, method: bytes, code: int, duration: float = 0.0, first: float = 0.0, size: int | None = None
    ) -> None:
        """
        A request is over.

        @param code: That of the answer; 0 where there was none.
        @param duration: Seconds to the last byte of it.
        @param first: Seconds to the first byte.
        @param size: Bytes of the body that it is about: that of the request, or of the answer; C{None} where it is not
            whole.
        """
        values = self._values
        try:
            number, durations, firsts, sizes = self._codes[method, code]
        except KeyError:
            number, durations, firsts, sizes = self._slots(method, code)
        values[number] += 1.0
        if durations >= 0 and code:
            values[durations + bisect_left(QUICK, duration)] += 1.0
            values[durations + _SUM] += duration
            values[firsts + bisect_left(QUICK, first)] += 1.0
            values[firsts + _SUM] += first
            if sizes >= 0 and size is not None:
                values[sizes + bisect_left(SIZES, size)] += 1.0
                values[sizes + _SIZES_SUM] += size

    def answered(self, method: bytes, code: int, duration: float, size: int) -> None:
        """
        A request was answered with the whole of a file, or of what is said of one.

        @param duration: Seconds to its first byte, and to its last.
        @param size: Bytes of the answer's body.
        """
        values = self._values
        try:
            number, took, firsts, moved = self._codes[method, code]
        except KeyError:
            number, took, firsts, moved = self._slots(method, code)
        values[number] += 1.0
        if took >= 0:
            bucket = 0 if duration <= _FIRST else bisect_left(QUICK, duration)
            values[took + bucket] += 1.0
            values[took + _SUM] += duration
            values[firsts + bucket] += 1.0
            values[firsts + _SUM] += duration
        if moved >= 0:
            values[moved + (0 if size <= _SMALL else bisect_left(SIZES, size))] += 1.0
            values[moved + _SIZES_SUM] += size
        if size:
            values[self._out] += size

    def all_answered(self, method: bytes, code: int, durations: Sequence[float], sizes: Sequence[int]) -> None:
        """Several were, alike but for these."""
        values = self._values
        try:
            number, took, firsts, moved = self._codes[method, code]
        except KeyError:
            number, took, firsts, moved = self._slots(method, code)
        whole, sent = sum(durations), sum(sizes)
        values[number] += len(durations)
        if took >= 0:
            self._spread(took, QUICK, durations)
            self._spread(firsts, QUICK, durations)
            values[took + _SUM] += whole
            values[firsts + _SUM] += whole
        if moved >= 0:
            self._spread(moved, SIZES, sizes)
            values[moved + _SIZES_SUM] += sent
        if sent:
            values[self._out] += sent

    def _spread(self, slot: int, bounds: Sequence[float], found: Sequence[float]) -> None:
        """Count each in its bucket; nearly always, all are in the first."""
        if max(found) <= bounds[0]:
            self._values[slot] += len(found)
            return
        for each in found:
            self._values[slot + bisect_left(bounds, each)] += 1.0

    def _slots(self, method: bytes, code: int) -> tuple[int, int, int, int]:
        name = _METHODS.get(method, OTHER)
        counts = self._counts
        label = str(int(code)) if code in _CODES else NO_ANSWER
        number = counts.slot("http_requests_total", name, label)
        if name == OTHER:  # whatever a client calls it, is not remembered
            return number, -1, -1, -1
        direction = _FILES.get((name, label))
        slots = (
            number,
            counts.slot("http_request_duration_seconds", name),
            counts.slot("http_time_to_first_byte_seconds", name),
            -1 if direction is None else counts.slot("transfer_size_bytes", direction),
        )
        if code in _CODES or not code:
            self._codes[method, code] = slots
        return slots

    def received(self, amount: int) -> None:
        """Some of a body has come."""
        self._values[self._moved["in"]] += amount

    def sent(self, amount: int) -> None:
        """Some of an answer has been sent."""
        self._values[self._out] += amount

    def aborted(self, direction: str, by: str) -> None:
        """
        A request ended before its body, or the answer, was complete.

        @param direction: C{in} or C{out}.
        @param by: Whose doing it was: C{client}, C{timeout} or C{server}.
        """
        self._counts.add("transfers_aborted_total", direction, by)
