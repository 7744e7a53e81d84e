"""Metrics as a server tells them, and what has changed between two times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import attrs

PREFIX = "pacarchive_"
START = "pacarchive_start_time_seconds"


@attrs.frozen
class Figures:
    """
    All metrics of one moment.

    @ivar time: When that was, in seconds.
    @ivar series: Labels and value of each series, by the name.
    """

    time: float
    series: Mapping[str, tuple[tuple[Mapping[str, str], float], ...]]

    @classmethod
    def read(cls, time: float, text: str) -> Figures:
        """
        Read what a server answers to C{GET /metrics}.

        @raise ValueError: It is something else.
        """
        from prometheus_client.parser import text_string_to_metric_families  # here, as others need it not

        found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
        return cls(time, {name: tuple(each) for name, each in found.items()})

    def sum(self, name: str, **labels: str) -> float | None:
        """The sum of the series that have some labels; C{None} where there is none."""
        found = [value for _, value in self._having(name, labels)]
        return sum(found) if found else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The sums for each value of a label."""
        found: dict[str, float] = {}
        for own, value in self._having(name, labels):
            key = own.get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found

    def label(self, name: str, label: str) -> str:
        """The value of a label of the first series; empty where there is none."""
        return next((own.get(label, "") for own, _ in self.series.get(name, ())), "")

    def _having(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[Mapping[str, str], float]]:
        return (each for each in self.series.get(name, ()) if labels.items() <= each[0].items())


@attrs.frozen
class Change:
    """
    What has happened between two moments.

    @ivar before: The earlier one, of the same start of the server; the later one itself, where there is no other.
    """

    before: Figures
    after: Figures

    @property
    def seconds(self) -> float:
        """How far they are apart."""
        return self.after.time - self.before.time

    def counted(self, name: str, **labels: str) -> float:
        """By how much a counter has grown."""
        return max(0.0, (self.after.sum(name, **labels) or 0.0) - (self.before.sum(name, **labels) or 0.0))

    def counted_by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The same for each value of a label; the largest first, and none that has not grown."""
        before = self.before.by(name, label, **labels)
        grown = {key: value - before.get(key, 0.0) for key, value in self.after.by(name, label, **labels).items()}
        return {key: value for key, value in sorted(grown.items(), key=lambda each: -each[1]) if value > 0}

    def rate(self, name: str, **labels: str) -> float:
        """The same a second."""
        return self.counted(name, **labels) / self.seconds if self.seconds > 0 else 0.0

    def quantile(self, part: float, name: str, **labels: str) -> float | None:
        """
        Below which value a part of what a histogram has seen is; within a bucket evenly spread, as Prometheus has it.

        @return: C{None} where it has seen nothing.  What is beyond the last bound counts as that.
        """
        before = self.before.by(f"{name}_bucket", "le", **labels)
        after = self.after.by(f"{name}_bucket", "le", **labels)
        # Each has what those below it have, too.
        bounds = sorted((float(bound), count - before.get(bound, 0.0)) for bound, count in after.items())
        if not bounds or (wanted := part * bounds[-1][1]) <= 0:
            return None
        low, below = 0.0, 0.0
        for bound, count in bounds:
            if count >= wanted and not math.isinf(bound):
                return low + (bound - low) * (wanted - below) / (count - below)
            if not math.isinf(bound):
                low, below = bound, count
        return low


def window(history: list[Figures], seconds: float) -> Change:
    """
    What has changed over some time, or as much of it as there is; and since the last look at the least.

    @param history: What was read, the last last.
    """
    last = history[-1]
    begun = last.sum(START)
    usable = [each for each in history if each.sum(START) == begun]
    within = [each for each in usable if last.time - each.time <= seconds]
    return Change(min(within[0], usable[-2:][0], key=lambda each: each.time), last)
