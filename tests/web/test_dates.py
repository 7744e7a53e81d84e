"""Dates in headers: what is read, what is refused, what is written."""

from __future__ import annotations

import email.utils
import locale
import math
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pacarchive.errors import InvalidRequest
from pacarchive.times import EARLIEST, LATEST, SECOND, format_iso
from pacarchive.web.http.dates import format_http_date, format_iso_date, parse_condition_date, parse_http_date

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC).timestamp()
RFC_EXAMPLE = 784111777 * SECOND

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_SECONDS = st.integers(
    int((datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()),
    int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds()),
)
MOMENTS = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31))  # noqa: DTZ001


def parse(text: str, zone: str = "UTC") -> int:
    return parse_http_date(text, now=NOW, asctime_zone=ZoneInfo(zone))


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "1994-11-06T08:49:37Z",
        "1994-11-06t08:49:37z",
        "1994-11-06T08:49:37",
        "1994-11-06 08:49:37",
        "1994-11-06T08:49:37+00:00",
        "1994-11-06T10:19:37+01:30",
        "1994-11-06T10:19:37+0130",
        "1994-11-06T00:49:37-08",
        "1994-11-05T20:49:37-12:00",
        "1994-11-06T08:49:37.000Z",
    ],
)
def test_one_moment_in_every_form(text: str) -> None:
    """The forms of RFC 9110 and of ISO 8601 name the same second."""
    assert parse(text) == RFC_EXAMPLE


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1994-11-06T08:49:37.25Z", RFC_EXAMPLE + 250_000_000),
        ("1994-11-06T08:49:37,5", RFC_EXAMPLE + 500_000_000),
        ("1994-11-06T08:49:37.123456789Z", RFC_EXAMPLE + 123_456_789),
        ("2024-03-31T02:30:00.999999999Z", 1711852200_999999999),
        ("9999-12-31T23:59:59.000000001Z", 253402300799_000000001),
        ("1969-12-31T23:59:58.75Z", -1_250_000_000),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -SECOND),
        ("Mon, 01 Jan 0001 00:00:00 GMT", -62135596800 * SECOND),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 * SECOND),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800 * SECOND),
        ("Tue, 29 Feb 2000 00:00:00 GMT", 951782400 * SECOND),
        ("Mon, 06 Nov 1994 08:49:37 GMT", RFC_EXAMPLE),
    ],
    ids=[
        "fraction",
        "comma",
        "nanoseconds",
        "just before the next second",
        "a nanosecond that no float has",
        "fraction before the epoch",
        "before the epoch",
        "first year",
        "last year",
        "leap second",
        "leap day",
        "wrong weekday",
    ],
)
def test_moments(text: str, nanoseconds: int) -> None:
    """Fractions, times before 1970, leap seconds and days are exact; a weekday that does not fit is let pass."""
    assert parse(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0",
        "784111777",
        "784111777.5",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "So, 06 Nov 1994 08:49:37 GMT",
        "Dim., 06 nov. 1994 08:49:37 GMT",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Thu, 29 Feb 1900 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Sun, 06 Nov 10000 08:49:37 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov 31 08:49:37 1994",
        "1994-11-06",
        "1994-11-06T08:49",
        "1994-11-06T08:49:37.Z",
        "1994-11-06T08:49:37.1234567890Z",
        "1994-11-06T08:49:37+24:00",
        "1994-11-06T08:49:37+01:60",
        "1994-13-06T08:49:37Z",
        "1994-00-06T08:49:37Z",
        "1994-W44-7T08:49:37Z",
        "\u0661\u0669\u0669\u0664-11-06T08:49:37Z",
        "1994-11-06T08:49:37Z ",
        "1" * 100_000,
    ],
)
def test_refused(text: str) -> None:
    """Anything else is refused with words, never read as some other date."""
    with pytest.raises(InvalidRequest, match="Sun, 06 Nov 1994 08:49:37 GMT"):
        parse(text)


@given(st.text())
def test_text_never_breaks_the_parser(text: str) -> None:
    """Whatever a client sends is a date or an L{InvalidRequest}."""
    try:
        parse(text)
    except InvalidRequest:
        assert parse_condition_date(text, now=NOW) is None


@pytest.mark.parametrize(
    ("now", "text", "year"),
    [
        ("2026-07-01T12:00:00", "Wednesday, 01-Jul-76 12:00:00 GMT", 2076),
        ("2026-07-01T12:00:00", "Thursday, 01-Jul-76 12:00:01 GMT", 1976),
        ("2026-07-01T12:00:00", "Thursday, 31-Dec-76 00:00:00 GMT", 1976),
        ("2026-07-01T12:00:00", "Thursday, 01-Jan-76 00:00:00 GMT", 2076),
        ("2026-07-01T12:00:00", "Friday, 01-Jul-77 12:00:00 GMT", 1977),
        ("2026-07-01T12:00:00", "Saturday, 01-Jan-00 00:00:00 GMT", 2000),
        ("2090-07-01T12:00:00", "Thursday, 01-Jan-05 00:00:00 GMT", 2105),
        ("2028-02-29T12:00:00", "Tuesday, 28-Feb-78 00:00:00 GMT", 2078),
        ("2050-01-01T00:00:00", "Tuesday, 29-Feb-00 00:00:00 GMT", 2000),
    ],
)
def test_two_digit_years(now: str, text: str, year: int) -> None:
    """A two-digit year is never more than 50 years in the future, to the second."""
    present = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp()
    seconds = parse_condition_date(text, now=present)
    assert seconds is not None
    assert datetime.fromtimestamp(seconds, UTC).year == year


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("Sun Nov  6 08:49:37 1994", "America/Los_Angeles", "1994-11-06T16:49:37"),
        ("Fri Jul  1 08:49:37 1994", "America/Los_Angeles", "1994-07-01T15:49:37"),
        ("Fri Jul  1 08:49:37 1994", "Europe/Berlin", "1994-07-01T06:49:37"),
        ("Sun Oct 30 02:30:00 2022", "Europe/Berlin", "2022-10-30T00:30:00"),
    ],
)
def test_asctime_zone(text: str, zone: str, utc: str) -> None:
    """asctime dates are read in the zone that is set, summer time included."""
    assert parse(text, zone) == parse(utc)


def test_zone_is_for_asctime_only() -> None:
    """The forms that name their zone, and ISO 8601 without one, do not ask for the set zone."""
    for text in (
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "1994-11-06T08:49:37",
        "1994-11-06T08:49:37Z",
    ):
        assert parse(text, "Asia/Tokyo") == RFC_EXAMPLE


@given(st.sampled_from(["Asia/Tokyo", "America/New_York", "UTC"]), st.sampled_from(["0001-01-01", "9999-12-31"]))
def test_asctime_at_the_ends_of_time(zone: str, date: str) -> None:
    """A zone that pushes a date out of the calendar does not break the parser."""
    year = date[:4]
    seconds = parse(f"Mon {'Jan  1 00:00:00' if year == '0001' else 'Dec 31 23:59:59'} {year}", zone)
    assert format_http_date(seconds).endswith(b" GMT")


def test_conditions_take_http_dates_only() -> None:
    """In conditional headers ISO 8601 is no date, and asctime is UTC."""
    assert parse_condition_date("1994-11-06T08:49:37Z", now=NOW) is None
    assert parse_condition_date("Sun Nov  6 08:49:37 1994", now=NOW) == RFC_EXAMPLE // SECOND


def test_format_of_the_rfc() -> None:
    """The example of RFC 9110, section 5.6.7."""
    assert format_http_date(RFC_EXAMPLE) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_iso_date(RFC_EXAMPLE) == "1994-11-06T08:49:37Z"


def test_fraction_is_cut_downwards() -> None:
    """A time is written as the second that holds it, before 1970 as well."""
    assert format_http_date(RFC_EXAMPLE + SECOND - 1) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(-1) == b"Wed, 31 Dec 1969 23:59:59 GMT"
    assert format_iso_date(-1) == "1969-12-31T23:59:59Z"


def test_times_that_cannot_be_written() -> None:
    """A file system's times beyond the calendar are written as its last and first second."""
    assert format_http_date(2**90) == b"Fri, 31 Dec 9999 23:59:59 GMT"
    assert format_http_date(-(2**90)) == b"Mon, 01 Jan 0001 00:00:00 GMT"
    assert format_iso_date(2**90) == "9999-12-31T23:59:59Z"


@given(EPOCH_SECONDS)
def test_what_is_written_is_read(seconds: int) -> None:
    """Both written forms are read as the same second, all years having four digits."""
    assert parse(format_http_date(seconds * SECOND).decode("ascii")) == seconds * SECOND
    assert parse(format_iso_date(seconds * SECOND)) == seconds * SECOND


@given(st.integers(0, 4102444800))
def test_agrees_with_the_standard_library(seconds: int) -> None:
    """C{email.utils} writes the same IMF-fixdate, C{time.asctime} a date that is read as the same second."""
    assert format_http_date(seconds * SECOND) == email.utils.formatdate(seconds, usegmt=True).encode("ascii")
    assert parse(time.asctime(time.gmtime(seconds))) == seconds * SECOND


@given(MOMENTS, st.integers(-1439, 1439))
def test_agrees_with_isoformat(moment: datetime, offset: int) -> None:
    """Python's own ISO 8601, microseconds and offset included, gives the moment that Python says it is, exactly."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert parse(aware.isoformat()) == (aware - EPOCH) // timedelta(microseconds=1) * 1000
    assert parse(moment.isoformat()) == (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) * 1000


@given(MOMENTS.filter(lambda moment: moment.year >= 1000))
def test_agrees_with_zoneinfo(moment: datetime) -> None:
    """asctime in a zone with summer time gives the time stamp that C{zoneinfo} gives; of two, the first."""
    whole = moment.replace(microsecond=0, fold=0)  # the text does not tell which
    expected = whole.replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert parse(whole.ctime(), "Europe/Berlin") == math.floor(expected) * SECOND


def test_locale_makes_no_difference() -> None:
    """Month names are English whatever the process's language is."""
    before = locale.setlocale(locale.LC_TIME)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_TIME, name)
            break
        except locale.Error:
            continue
    try:
        assert parse("Tue, 06 Dec 1994 08:49:37 GMT") == 786703777 * SECOND
        assert format_http_date(786703777 * SECOND + 1) == b"Tue, 06 Dec 1994 08:49:37 GMT"
    finally:
        locale.setlocale(locale.LC_TIME, before)


@given(st.integers(EARLIEST * SECOND, (LATEST + 1) * SECOND - 1))
@example(0)
@example(-1)
@example(1)
@example(SECOND - 1)
@example(SECOND)
@example(SECOND + 1)
@example(EARLIEST * SECOND)
@example((LATEST + 1) * SECOND - 1)
def test_a_time_with_all_its_nanoseconds(nanoseconds: int) -> None:
    """As C{datetime} has it, with three more digits, before the epoch and after it."""
    moment = EPOCH + timedelta(microseconds=nanoseconds // 1000)
    wanted = f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}{nanoseconds % 1000:03}Z"
    assert format_iso(nanoseconds) == wanted


@pytest.mark.parametrize("nanoseconds", [EARLIEST * SECOND - 1, (LATEST + 1) * SECOND])
def test_a_time_that_has_no_year(nanoseconds: int) -> None:
    """The form has four digits for it."""
    with pytest.raises(ValueError, match="1 to 9999"):
        format_iso(nanoseconds)
