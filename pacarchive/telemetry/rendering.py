"""Totals in the text formats that Prometheus reads.

Only this module knows prometheus_client, which is imported when the first answer is to be written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pacarchive.telemetry.table import METRICS, Kind, Metric, Series

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric as Family

    from pacarchive.telemetry.counts import Numbers
    from pacarchive.telemetry.parts import Totals


def prepare() -> None:
    """Import what L{render} needs, which takes a tenth of a second."""
    import prometheus_client.exposition  # noqa: F401


def is_prepared() -> bool:
    """Whether L{render} takes no longer than to write the text."""
    return "prometheus_client.exposition" in sys.modules


def render(totals: Totals, accept: str) -> tuple[bytes, str]:
    """
    Write totals down.

    @param accept: What the client accepts, as in the header field of that name: OpenMetrics, or else plain text.
    @return: The text, and its media type.
    """
    from prometheus_client.exposition import choose_encoder

    encode, media_type = choose_encoder(accept)
    registry: Any = _Collected(totals)
    return encode(registry), media_type


class _Collected:
    """What an encoder takes for a registry."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Family]:
        """All metrics of which there are any numbers, in the order of the table."""
        numbers: dict[str, list[tuple[Series, Numbers]]] = {}
        for series, each in self._totals.counted.items():
            numbers.setdefault(series[0], []).append((series, each))
        for series, value in self._totals.gauges.items():
            numbers.setdefault(series[0], []).append((series, (value,)))
        for metric in METRICS.values():
            if found := numbers.get(metric.name):
                yield _family(metric, sorted(found))


def _family(metric: Metric, found: Iterable[tuple[Series, Numbers]]) -> Family:
    from prometheus_client import core

    name = metric.prefix + metric.name
    if metric.kind is Kind.HISTOGRAM:
        histogram = core.HistogramMetricFamily(name, metric.help, labels=metric.labels)
        for series, numbers in found:
            histogram.add_metric(series[1:], _buckets(metric, numbers), numbers[-1])
        return histogram
    make = core.CounterMetricFamily if metric.kind is Kind.COUNTER else core.GaugeMetricFamily
    family = make(name, metric.help, labels=metric.labels)
    for series, numbers in found:
        family.add_metric(series[1:], numbers[0])
    return family


def _buckets(metric: Metric, numbers: Numbers) -> list[tuple[str, float]]:
    """Those of the format, each of which holds what those before it hold, too."""
    from prometheus_client.utils import floatToGoString

    bounds = [*metric.buckets, float("inf")]
    so_far, found = 0.0, []
    for bound, number in zip(bounds, numbers, strict=False):
        so_far += number
        found.append((floatToGoString(bound), so_far))
    return found
