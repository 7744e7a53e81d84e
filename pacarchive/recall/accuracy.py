"""What was forecast for jobs, and what came of it.

A forecast knows the queue, and neither who comes next, nor all the turns that fair shares make of it.  How much longer
jobs took than was forecast, lately and by and large, is learned here and told with the next estimates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_MOST = 1000
"""Jobs whose forecast is remembered."""

_LEAST, _LARGEST = 0.2, 5.0
"""What was wrong by more than that says more of an accident than of the forecast."""

_ASSUMED = 3.0
"""For how many jobs it counts that a forecast is assumed to be right at first."""

_MEMORY = 20.0
"""After so many jobs, what was learned counts for a third."""


class ForecastAccuracy:
    """
    Forecasts that are to be held against what comes.

    @ivar stretch: How many times as long jobs take as is forecast.
    """

    def __init__(self) -> None:
        self._forecasts: dict[int, tuple[float, float]] = {}
        self._sum = 0.0
        self._count = _ASSUMED
        self.stretch = 1.0

    @property
    def open(self) -> list[int]:
        """The jobs whose end is waited for."""
        return list(self._forecasts)

    def record(self, job: int, now: float, seconds: float) -> None:
        """
        A job was forecast to end.

        @param seconds: From now, by the forecast alone.
        """
        if seconds > 0 and len(self._forecasts) < _MOST:
            self._forecasts[job] = now, seconds

    def forget(self, job: int) -> None:
        """A job ended otherwise, or nobody knows how."""
        self._forecasts.pop(job, None)

    def compare(self, job: int, ended: float) -> None:
        """A job has ended, with all its files there."""
        if (forecast := self._forecasts.pop(job, None)) is None:
            return
        when, seconds = forecast
        ratio = min(_LARGEST, max(_LEAST, (ended - when) / seconds))
        fade = math.exp(-1 / _MEMORY)
        self._sum = self._sum * fade + math.log(ratio)
        self._count = self._count * fade + 1
        self.stretch = math.exp(self._sum / self._count)

    def dump(self) -> dict[str, float]:
        """What was learned, as JSON can have it."""
        return {"sum": self._sum, "count": self._count}

    def load(self, stored: Mapping[str, object]) -> None:
        """Go on from what L{dump} gave.  What makes no sense is as if nothing had been learned."""
        total, count = stored.get("sum"), stored.get("count")
        if not (isinstance(total, int | float) and isinstance(count, int | float) and 0 < count < 1e6):
            return
        if math.log(_LEAST) <= total / count <= math.log(_LARGEST):
            self._sum, self._count = float(total), float(count)
            self.stretch = math.exp(self._sum / self._count)
