"""
The engine over a simulated tape library, hours in seconds: the scenarios of C{bench/recalls.py}, smaller, with their
bars.  What is measured in real time has no place here, but for what a kill leaves.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import million
import recalls

SHARES = {"burst": 0.2, "stream": 0.3, "faults": 0.2, "buffer": 0.2, "coalesce": 1.0}
"""How much of each scenario."""


@pytest.mark.parametrize(("scenario", "share"), SHARES.items(), ids=SHARES)
def test_the_bars_are_met(scenario: str, share: float) -> None:
    """Mounts, order, fair shares, lost requests, cancelling, a small buffer, and one recall for all who ask."""
    figures = list(recalls.SCENARIOS[scenario](share, 1))
    assert any(figure.at_most is not None for figure in figures)
    assert [figure for figure in figures if not figure.is_good] == []


def test_estimates() -> None:
    """Of jobs that come at once, half are right within a quarter; what they were worked out from is told."""
    jobs = recalls.arrivals(random.Random(1), "abcdef", range(5, 151), 0.1, 1.0, 1)
    figures = {figure.label: figure for figure in recalls.estimates("all", jobs, 1, 25)}
    assert figures["all: jobs without an estimate"].value == 0
    assert figures["all: error, median, %"].is_good


def test_a_kill(tmp_path: Path) -> None:
    """What was acknowledged is there, nothing is counted wrong, and another process goes on."""
    found = million.measure(tmp_path, 60, 200, 0.5)
    assert found.files >= 60 * 200
    assert found.damage == []
