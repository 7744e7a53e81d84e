"""Sizes, times and counts, in words for people."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")  # as the command prints them


def size_words(size: float) -> str:
    """Return a size in bytes as text."""
    exponent = 0
    while size >= 1023.95 and exponent < len(_UNITS) - 1:
        size /= 1024
        exponent += 1
    return f"{size:.0f} B" if exponent == 0 else f"{size:.1f} {_UNITS[exponent]}"


def rate_words(rate: float) -> str:
    """Return bytes per second as text."""
    return f"{size_words(rate)}/s"


def span_words(seconds: float) -> str:
    """Return a duration as text, no finer than a person needs it."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    days, hours = divmod(whole // 3600, 24)
    return f"{days} d {hours} h" if hours and days < 100 else f"{days:,} d"


def percent_of(part: float, whole: float) -> int:
    """Return a share in percent; 100 only of what is complete, and 0 only of nothing."""
    if whole <= 0:
        return 0
    share = min(1.0, max(0.0, part / whole)) * 100
    return math.floor(share) if share >= 1 else math.ceil(share)


def clock_words(moment: float) -> str:
    """Return a moment, in UTC."""
    return f"{_utc(moment):%Y-%m-%d %H:%M} UTC"


def machine_words(moment: float) -> str:
    """Return a moment as the C{datetime} of a C{time} element."""
    return f"{_utc(moment):%Y-%m-%dT%H:%M:%SZ}"


def _utc(moment: float) -> datetime:
    try:
        return datetime.fromtimestamp(moment, UTC)
    except (OverflowError, ValueError, OSError):  # of a deadline in some thousand years
        return datetime.max.replace(tzinfo=UTC)
