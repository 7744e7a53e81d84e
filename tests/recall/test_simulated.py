"""
The engine over a simulated tape library, hours in seconds: the scenarios of C{bench/recalls.py}, smaller, with their
bars.  What is measured in real time has no place here, but for what a kill leaves.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import million
import recalls

SHARES = [
    pytest.param("burst", 0.025),
    # Whether shares are fair is seen in test_schedule.py, too, and whether buffers are kept to in test_buffer.py.
    pytest.param("stream", 0.05, marks=pytest.mark.thorough),
    pytest.param("buffer", 0.1, marks=pytest.mark.thorough),
    pytest.param("faults", 0.05),
    pytest.param("coalesce", 0.1),
]
"""How much of each scenario: the bars are the same for all of it, which C{bench/recalls.py} measures."""


@pytest.fixture(autouse=True)
def _nothing_open() -> Iterator[None]:
    """There are no threads whose end closes the connections to the store: it is done here."""
    yield
    gc.collect()


@pytest.mark.parametrize(("scenario", "share"), SHARES)
def test_the_bars_are_met(scenario: str, share: float) -> None:
    """Mounts, order, fair shares, lost requests, cancelling, a small buffer, and one recall for all who ask."""
    figures = list(recalls.SCENARIOS[scenario](share, 1))
    assert any(figure.at_most is not None for figure in figures)
    assert [figure for figure in figures if not figure.is_good] == []


def test_estimates() -> None:
    """Of jobs that come at once, half are right within a tenth; what they were worked out from is told."""
    jobs = recalls.arrivals(random.Random(1), "abcd", range(5, 41), 0.1, 1.0, 1)
    figures = {figure.label: figure for figure in recalls.estimates("all", jobs, 1, 10)}
    assert figures["all: jobs without an estimate"].value == 0
    assert figures["all: error, median, %"].is_good


@pytest.mark.server
def test_a_kill(tmp_path: Path) -> None:
    """What was acknowledged is there, nothing is counted wrong, and another process goes on."""
    found = million.measure(tmp_path, 60, 200, 0.5)
    assert found.files >= 60 * 200
    assert found.damage == []
