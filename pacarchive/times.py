"""Times as integer nanoseconds since the epoch, and their text form without loss.

No float is involved: at present its resolution is a quarter of a microsecond.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

SECOND = 10**9
"""A second in nanoseconds."""

EARLIEST = -62135596800
LATEST = 253402300799
"""The first and last second of the years 1 to 9999, which is the range of the fixed-width forms."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1970, 1, 1)
_ONE_SECOND = timedelta(seconds=1)
_MINUTES = [f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(24 * 60)]
_SECONDS = [f"{second:02}." for second in range(60)]

_ISO_8601 = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<offset_hours>[01]\d|2[0-3])(?::?(?P<offset_minutes>[0-5]\d))?)?",
    re.ASCII,
)


def seconds_of(nanoseconds: int) -> float:
    """Convert nanoseconds to seconds, with the same result as C{os.stat_result.st_mtime} has for the time."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return seconds + rest * 1e-9


def whole_seconds(match: re.Match[str], year: int, month: int, zone: tzinfo) -> int | None:
    """
    Convert a date and a time of day to seconds since the epoch.

    @param match: A match with the groups C{day}, C{hour}, C{minute} and C{second}.
    @param year: The year.
    @param month: The month, from 1.
    @param zone: The time zone.
    @return: The seconds; C{None} where there is no such date or time.
    """
    second = int(match["second"])
    leap = second == 60  # allowed by the grammar; the clock that the epoch counts has no such second
    try:
        moment = datetime(
            year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second - leap, tzinfo=zone
        )
    except ValueError:
        return None
    return (moment - _EPOCH) // _ONE_SECOND + leap


def parse_iso(text: str) -> int | None:
    """
    Parse ISO 8601: a date and a time of day, an optional fraction of up to nine digits, and an optional offset (without
    one, UTC).

    @return: Nanoseconds since the epoch; C{None} where the text has another form.  A fraction of ten digits is refused,
        as cutting it off would change the time.
    """
    match = _ISO_8601.fullmatch(text)
    if match is None:
        return None
    seconds = whole_seconds(match, int(match["year"]), int(match["month"]), UTC)
    if seconds is None:
        return None
    if match["sign"] is not None:
        offset = int(match["offset_hours"]) * 3600 + int(match["offset_minutes"] or 0) * 60
        seconds += offset if match["sign"] == "-" else -offset
    return seconds * SECOND + int((match["fraction"] or "").ljust(9, "0"))


def format_iso(nanoseconds: int) -> str:
    """
    Format a time as RFC 3339 in UTC, with all nine digits of the fraction.

    @raise ValueError: It is outside of the years 1 to 9999, which is the range of the form.
    """
    seconds = nanoseconds // SECOND
    if not EARLIEST <= seconds <= LATEST:
        raise ValueError("a date has a year from 1 to 9999")
    # The last digits of the text are those of the rest, and found in a third of the time, but for times before 1970.
    rest = str(nanoseconds)[-9:] if seconds > 0 else f"{nanoseconds % SECOND:09}"
    minutes, second = divmod(seconds, 60)
    day, minute = divmod(minutes, len(_MINUTES))
    return f"{_date(day)}{_MINUTES[minute]}{_SECONDS[second]}{rest}Z"


@lru_cache(4096)
def _date(day: int) -> str:
    return (_FIRST_DAY + timedelta(day)).isoformat()
