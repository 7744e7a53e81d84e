"""How accurate the forecasts for jobs have been.

A forecast is made from the queue; it does not account for jobs that come later, nor for all the time slices that fair
shares lead to.  By which factor jobs have lately taken longer than their forecasts is learned here, and applied to
estimates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_MOST = 1000
"""The most jobs whose forecast is remembered."""

_LEAST, _LARGEST = 0.2, 5.0
"""The limits of the factor: a forecast that is wrong by more says more about an accident than about forecasts."""

_ASSUMED = 3.0
"""For how many jobs the initial assumption counts, that forecasts are right."""

_MEMORY = 20.0
"""The count of jobs after which what was learned has a third of its weight left."""


class ForecastAccuracy:
    """
    Forecasts that are compared with the outcome.

    @ivar stretch: How many times as long jobs take as their forecasts.
    """

    def __init__(self) -> None:
        self._forecasts: dict[int, tuple[float, float]] = {}
        self._sum = 0.0
        self._count = _ASSUMED
        self.stretch = 1.0

    @property
    def open(self) -> list[int]:
        """The numbers of the jobs that have a forecast and have not ended."""
        return list(self._forecasts)

    def record(self, job: int, now: float, seconds: float) -> None:
        """
        Remember the forecast for a job.

        @param job: The job's number.
        @param now: The time.
        @param seconds: The forecast duration from now, without L{stretch}.
        """
        if seconds > 0 and len(self._forecasts) < _MOST:
            self._forecasts[job] = now, seconds

    def forget(self, job: int) -> None:
        """Drop the forecast for a job, which has not ended in success, or of which nothing is known."""
        self._forecasts.pop(job, None)

    def compare(self, job: int, ended: float) -> None:
        """
        Learn from a job whose files are all on disk.

        @param job: The job's number.
        @param ended: When it ended.
        """
        if (forecast := self._forecasts.pop(job, None)) is None:
            return
        when, seconds = forecast
        ratio = min(_LARGEST, max(_LEAST, (ended - when) / seconds))
        fade = math.exp(-1 / _MEMORY)
        self._sum = self._sum * fade + math.log(ratio)
        self._count = self._count * fade + 1
        self.stretch = math.exp(self._sum / self._count)

    def dump(self) -> dict[str, float]:
        """Return what was learned, in a form for JSON."""
        return {"sum": self._sum, "count": self._count}

    def load(self, stored: Mapping[str, object]) -> None:
        """Load what L{dump} has returned; invalid values are ignored."""
        total, count = stored.get("sum"), stored.get("count")
        if not (isinstance(total, int | float) and isinstance(count, int | float) and 0 < count < 1e6):
            return
        if math.log(_LEAST) <= total / count <= math.log(_LARGEST):
            self._sum, self._count = float(total), float(count)
            self.stretch = math.exp(self._sum / self._count)
