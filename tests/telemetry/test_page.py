"""docs/metrics.md has every metric, as it is."""

from __future__ import annotations

from pathlib import Path

from pacarchive.telemetry.table import METRICS, Metric

PAGE = Path(__file__).parents[2] / "docs/metrics.md"


def row(metric: Metric) -> str:
    """What the page says of one."""
    labels = ", ".join(f"`{each}`" for each in metric.labels)
    return f"| `{metric.prefix}{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |"


def test_the_table() -> None:
    """Row by row, in the order in which they are exported."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(("| `pacarchive_", "| `process_"))]
    assert rows == [row(each) for each in METRICS.values()]
