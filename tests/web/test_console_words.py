"""How the console says sizes, times and shares to people, and how fast bytes move."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.telemetry.counts import Numbers
from pacarchive.telemetry.parts import Totals
from pacarchive.telemetry.table import Series
from pacarchive.web.console.rates import Rates
from pacarchive.web.console.words import (
    clock_words,
    machine_words,
    percent_of,
    rate_words,
    size_words,
    span_words,
)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1023.94 * 1024, "1023.9 KiB"),
        (5 << 40, "5.0 TiB"),
        (3 << 70, "3072.0 EiB"),
    ],
)
def test_sizes(size: float, words: str) -> None:
    """In the largest unit of which there is one; beyond the last there is none."""
    assert size_words(size) == words
    assert rate_words(size) == f"{words}/s"


@given(st.integers(0, 2**80))
def test_no_size_is_told_as_a_thousand_of_a_unit_that_has_a_larger_one(size: int) -> None:
    number, unit = size_words(size).split()
    assert float(number) < 1024 or unit == "EiB"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3660, "1 h 01 min"),
        (48 * 3600 - 1, "47 h 59 min"),
        (48 * 3600, "2 d"),
        (49 * 3600, "2 d 1 h"),
        (100 * 86400 + 3600, "100 d"),
        (4000 * 86400, "4,000 d"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    """No finer than a person needs them; what is past is nothing."""
    assert span_words(seconds) == words


@pytest.mark.parametrize(
    ("part", "whole", "percent"),
    [(0, 10, 0), (1, 10_000, 1), (9_999, 10_000, 99), (10_000, 10_000, 100), (5, 0, 0), (20, 10, 100), (-1, 10, 0)],
)
def test_shares(part: float, whole: float, percent: int) -> None:
    """A little is not nothing, and nearly all is not all."""
    assert percent_of(part, whole) == percent


@given(st.integers(0, 10**15), st.integers(1, 10**15))
def test_only_what_is_complete_has_a_hundred_percent(part: int, whole: int) -> None:
    percent = percent_of(part, whole)
    assert (percent == 100) == (part >= whole)
    assert (percent == 0) == (part == 0)


def test_moments() -> None:
    """In UTC, for people and for machines; also those that no calendar has."""
    assert clock_words(1_700_000_000) == "2023-11-14 22:13 UTC"
    assert machine_words(1_700_000_000) == "2023-11-14T22:13:20Z"
    for beyond in (1e300, float("inf"), -1e18):
        assert clock_words(beyond) == "9999-12-31 23:59 UTC"


@given(st.floats(allow_nan=False))
def test_every_moment_is_told(moment: float) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", machine_words(moment))


def _totals(time: float, received: float, sent: float = 0.0) -> Totals:
    counted: dict[Series, Numbers] = {
        ("transfer_bytes_total", "in"): (received,),
        ("transfer_bytes_total", "out"): (sent,),
    }
    return Totals(time, counted, {})


def test_rates_are_those_of_the_last_seconds() -> None:
    """Not of all the time that somebody has looked, nor of one look alone."""
    rates = Rates()
    assert (rates.update(_totals(0, 1000)).received, rates.sent) == (0.0, 0.0)
    assert rates.update(_totals(1, 1100, 50)).received == 100
    assert rates.sent == 50
    for second in range(2, 20):
        rates.update(_totals(second, 1100, 50))
    assert (rates.received, rates.sent) == (0.0, 0.0)


@pytest.mark.parametrize("time", [1000.0, 5.0], ids=["after long", "of a clock that was set back"])
def test_rates_begin_anew(time: float) -> None:
    """Where nobody has looked for long, or the clock was set."""
    rates = Rates()
    rates.update(_totals(10, 0))
    rates.update(_totals(11, 100))
    assert rates.update(_totals(time, 1_000_000)).received == 0.0
    assert rates.update(_totals(time + 2, 1_000_100)).received == 50


def test_the_same_look_changes_nothing() -> None:
    """Viewers share them."""
    rates = Rates()
    rates.update(_totals(10, 0))
    rates.update(_totals(11, 100))
    assert rates.update(_totals(11, 100)).received == 100


def test_a_count_that_begins_again_is_no_rate_below_zero() -> None:
    rates = Rates()
    rates.update(_totals(10, 1000, 1000))
    rates.update(_totals(11, 10, 10))
    assert (rates.received, rates.sent) == (0.0, 0.0)


def test_nothing_was_counted_yet() -> None:
    rates = Rates()
    for time in (1.0, 2.0):
        rates.update(Totals(time, {}, {}))
    assert (rates.received, rates.sent) == (0.0, 0.0)
