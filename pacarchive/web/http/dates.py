"""Dates in headers: every form that clients send, and the one form that is answered.

Nothing here asks the locale: C{strptime} and C{strftime} would read and write month names in its language.
"""

from __future__ import annotations

import functools
import re
import time
from datetime import UTC, datetime, tzinfo

from pacarchive.errors import InvalidRequest
from pacarchive.times import EARLIEST, LATEST, SECOND, parse_iso, whole_seconds

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


def parse_http_date(text: str, *, now: float, asctime_zone: tzinfo) -> int:
    """
    Read a date that a client gave for a file.

    The three forms of RFC 9110 (IMF-fixdate, RFC 850, asctime) are read, and ISO 8601 with or without
    fraction and offset (none: UTC).

    @param now: The present, which decides the century of RFC 850's two-digit years.
    @param asctime_zone: The zone of asctime dates, which name none; HTTP says UTC, but C{time.ctime()} of a
        sender says its own.
    @return: Nanoseconds since the epoch, negative before 1970.
    @raise InvalidRequest: The text is no such date.
    """
    seconds = _http_date(text, now, asctime_zone)
    moment = parse_iso(text) if seconds is None else seconds * SECOND
    if moment is None:
        raise InvalidRequest(
            "a date is written as in HTTP (Sun, 06 Nov 1994 08:49:37 GMT) or ISO 8601 (1994-11-06T08:49:37Z, with up "
            "to nine digits of a fraction)"
        )
    return moment


def parse_condition_date(text: str, *, now: float) -> int | None:
    """
    Read the date of a conditional header: HTTP's three forms only, asctime being UTC.

    @return: Whole seconds since the epoch, or C{None} when this is no HTTP date, so that the condition
        does not count.
    """
    return _http_date(text, now, UTC)


def format_http_date(nanoseconds: int) -> bytes:
    """
    Write the IMF-fixdate of the whole second that holds this time.

    Times outside the years 1 to 9999, which a file system can hold and the form cannot, give the nearest
    that it can.
    """
    return _imf_fixdate(_whole_second(nanoseconds))


def format_iso_date(nanoseconds: int) -> str:
    """Write the whole second as RFC 3339 in UTC, with the limits of L{format_http_date}."""
    year, month, day, hour, minute, second = time.gmtime(_whole_second(nanoseconds))[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def _whole_second(nanoseconds: int) -> int:
    return min(max(nanoseconds // SECOND, EARLIEST), LATEST)


@functools.lru_cache(maxsize=1024)
def _imf_fixdate(whole_seconds: int) -> bytes:
    year, month, day, hour, minute, second, weekday = time.gmtime(whole_seconds)[:7]
    return (
        f"{_WEEKDAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
    ).encode("ascii")


def _http_date(text: str, now: float, asctime_zone: tzinfo) -> int | None:
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
    return whole_seconds(match, year, _MONTH_NUMBERS[match["month"]], zone)


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
