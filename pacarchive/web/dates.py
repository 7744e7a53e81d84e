"""Dates in headers: every form that clients send, and the one form that is answered.

Nothing here asks the locale: C{strptime} and C{strftime} would read and write month names in its language.
"""

from __future__ import annotations

import functools
import math
import re
import time
from datetime import UTC, datetime, tzinfo

from pacarchive.errors import InvalidRequest

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)}

_WEEKDAY = f"(?:{'|'.join(_WEEKDAYS)})"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"

# RFC 9110, section 5.6.7.  Whether the weekday fits the date is not checked: the date says the same without it.
_IMF_FIXDATE = re.compile(rf"{_WEEKDAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT", re.ASCII)
_RFC_850 = re.compile(rf"(?:{'|'.join(_LONG_WEEKDAYS)}), (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT", re.ASCII)
_ASCTIME = re.compile(rf"{_WEEKDAY} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.ASCII)

_ISO_8601 = re.compile(
    rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ]{_TIME}(?:[.,](?P<fraction>\d{{1,9}}))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<offset_hours>[01]\d|2[0-3])(?::?(?P<offset_minutes>[0-5]\d))?)?",
    re.ASCII,
)

_EARLIEST = -62135596800
_LATEST = 253402300799
"""The first and last second of the years 1 to 9999, all that the fixed-width forms can say."""


def parse_http_date(text: str, *, now: float, asctime_zone: tzinfo) -> float:
    """
    Read a date that a client gave for a file.

    The three forms of RFC 9110 (IMF-fixdate, RFC 850, asctime) are read, and ISO 8601 with or without
    fraction and offset (none: UTC).

    @param now: The present, which decides the century of RFC 850's two-digit years.
    @param asctime_zone: The zone of asctime dates, which name none; HTTP says UTC, but C{time.ctime()} of a
        sender says its own.
    @return: Seconds since the epoch, negative before 1970.
    @raise InvalidRequest: The text is no such date.
    """
    seconds = _http_date(text, now, asctime_zone)
    if seconds is None:
        seconds = _iso_date(text)
    if seconds is None:
        raise InvalidRequest(
            "a date is written as in HTTP (Sun, 06 Nov 1994 08:49:37 GMT) or ISO 8601 (1994-11-06T08:49:37Z)"
        )
    return seconds


def parse_condition_date(text: str, *, now: float) -> float | None:
    """
    Read the date of a conditional header: HTTP's three forms only, asctime being UTC.

    @return: Whole seconds since the epoch, or C{None} when this is no HTTP date, so that the condition
        does not count.
    """
    return _http_date(text, now, UTC)


def format_http_date(seconds: float) -> bytes:
    """
    Write the IMF-fixdate of the whole second that holds this time.

    Times outside the years 1 to 9999, which a file system can hold and the form cannot, give the nearest
    that it can.
    """
    return _imf_fixdate(_whole_second(seconds))


def format_iso_date(seconds: float) -> str:
    """Write the whole second as RFC 3339 in UTC, with the limits of L{format_http_date}."""
    year, month, day, hour, minute, second = time.gmtime(_whole_second(seconds))[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def _whole_second(seconds: float) -> int:
    return min(max(math.floor(seconds), _EARLIEST), _LATEST)


@functools.lru_cache(maxsize=1024)
def _imf_fixdate(whole_seconds: int) -> bytes:
    year, month, day, hour, minute, second, weekday = time.gmtime(whole_seconds)[:7]
    return (
        f"{_WEEKDAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
    ).encode("ascii")


def _http_date(text: str, now: float, asctime_zone: tzinfo) -> float | None:
    zone: tzinfo = UTC
    if match := _IMF_FIXDATE.fullmatch(text):
        year = int(match["year"])
    elif match := _RFC_850.fullmatch(text):
        year = _full_year(match, now)
    elif match := _ASCTIME.fullmatch(text):
        year = int(match["year"])
        zone = asctime_zone
    else:
        return None
    return _epoch_seconds(match, year, _MONTH_NUMBERS[match["month"]], zone)


def _iso_date(text: str) -> float | None:
    match = _ISO_8601.fullmatch(text)
    if match is None:
        return None
    seconds = _epoch_seconds(match, int(match["year"]), int(match["month"]), UTC)
    if seconds is None:
        return None
    if match["sign"] is not None:
        offset = int(match["offset_hours"]) * 3600 + int(match["offset_minutes"] or 0) * 60
        seconds += offset if match["sign"] == "-" else -offset
    if match["fraction"] is not None:
        seconds += float(f"0.{match['fraction']}")
    return seconds


def _epoch_seconds(match: re.Match[str], year: int, month: int, zone: tzinfo) -> float | None:
    second = int(match["second"])
    leap = second == 60  # allowed by the grammar; the clock that the epoch counts has no such second
    try:
        moment = datetime(
            year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second - leap, tzinfo=zone
        )
    except ValueError:
        return None
    return moment.timestamp() + leap


def _full_year(match: re.Match[str], now: float) -> int:
    """
    The latest year with these two last digits that is not more than 50 years ahead (RFC 9110, section 5.6.7).
    """
    present = datetime.fromtimestamp(now, UTC)
    latest = present.year + 50
    year = latest - (latest - int(match["year"])) % 100
    if year == latest:
        # Fields are compared, not moments: 29 February need not exist 50 years on.
        fields = (_MONTH_NUMBERS[match["month"]], *(int(match[each]) for each in ("day", "hour", "minute", "second")))
        if fields > (present.month, present.day, present.hour, present.minute, present.second):
            year -= 100
    return year
