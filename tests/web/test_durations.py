"""Durations of ISO 8601: what is read, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pacarchive.errors import InvalidRequest
from pacarchive.web.http.durations import parse_duration

HOUR, DAY = 3600, 86400

DATE_PART = {"Y": 365 * DAY, "M": 30 * DAY, "D": DAY}
TIME_PART = {"H": HOUR, "M": 60, "S": 1}

NUMBERS = st.integers(0, 10**20 - 1)
PART = st.none() | NUMBERS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT1H", HOUR),
        ("PT3600S", HOUR),
        ("PT60M", HOUR),
        ("PT1H30M", 1.5 * HOUR),
        ("P1D", DAY),
        ("P1DT1H1M1S", DAY + HOUR + 61),
        ("P2W", 14 * DAY),
        ("P1M", 30 * DAY),
        ("PT1M", 60),
        ("P1Y", 365 * DAY),
        ("P1Y2M3DT4H5M6S", (365 + 60 + 3) * DAY + 4 * HOUR + 306),
        ("PT0S", 0),
        ("P0D", 0),
        ("PT0.5S", 0.5),
        ("PT0,25S", 0.25),
        ("PT1.5H", 1.5 * HOUR),
        ("P0.5W", 3.5 * DAY),
        ("P0.5D", DAY / 2),
        ("P1DT0.5M", DAY + 30),
        ("PT007S", 7),
        ("PT36H", 36 * HOUR),
        ("PT18446744073709551615S", float(2**64)),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """What gfal2 and xrdhttp write, and what people do."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "P", "PT", "P1DT", "P1", "PT1", "1H", "T1H", "P1H", "PT1D", "PT1Y", "PT1W", "P1WT1H", "P1W1D", "P1D1W",
        "P1D1Y", "PT1S1H", "PT1H1H", "P1D1D", "pt1h", "PT1h", "-PT1H", "+PT1H", "P-1D", "PT+1H", "PT-1S", " PT1H",
        "PT1H ", "PT1H\n", "PT 1H", "PT1.H", "PT.5H", "PT1.5.5S", "PT1.5H30M", "P0.5DT1H", "P1.5Y1M", "PT1e3S",
        "PT\u0661H", "PT\u00b2S", "PTnanS", "PTinfS", "PT0x10S", "PT1_0S", "P1H1M", "PT" + "9" * 21 + "S",
        "PT1." + "0" * 10 + "S", "P2024-01-01", "P0001-00-00T00:00:00", "2024-01-01/P1D", "R5/PT1H", "3600", "\x00",
    ],
)  # fmt: skip
def test_what_is_no_duration(text: str) -> None:
    """Nothing is guessed at."""
    with pytest.raises(InvalidRequest, match="ISO 8601"):
        parse_duration(text)


@given(st.tuples(PART, PART, PART), st.tuples(PART, PART, PART))
def test_every_choice_of_parts(dates: tuple[int | None, ...], times: tuple[int | None, ...]) -> None:
    """Each part counts as what it is, whichever others are there."""
    date = [(n, unit) for n, unit in zip(dates, DATE_PART, strict=True) if n is not None]
    time = [(n, unit) for n, unit in zip(times, TIME_PART, strict=True) if n is not None]
    text = "P" + "".join(f"{n}{unit}" for n, unit in date)
    if time:
        text += "T" + "".join(f"{n}{unit}" for n, unit in time)
    if not date and not time:
        with pytest.raises(InvalidRequest):
            parse_duration(text)
        return
    expected = sum(n * DATE_PART[unit] for n, unit in date) + sum(n * TIME_PART[unit] for n, unit in time)
    assert parse_duration(text) == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 10**9))
def test_whole_seconds_are_exact(seconds: int) -> None:
    """As FTS and gfal2 say it."""
    assert parse_duration(f"PT{seconds}S") == seconds


@given(st.text(alphabet="PTWYMDHS0123456789.,-+ \n\u0661", max_size=20) | st.text(max_size=50))
@example("P1W")
def test_any_text(text: str) -> None:
    """It is a number of seconds, or refused; nothing else happens."""
    try:
        seconds = parse_duration(text)
    except InvalidRequest:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0
    assert re.fullmatch(r"P[0-9TWYMDHS.,]+[WYMDHS]", text)


@given(st.text(alphabet="0123456789", min_size=1, max_size=200_000).map(lambda digits: f"PT{digits}"))
def test_a_long_text_takes_no_time(text: str) -> None:
    """However many digits there are, they are looked at once."""
    with pytest.raises(InvalidRequest):
        parse_duration(text)
