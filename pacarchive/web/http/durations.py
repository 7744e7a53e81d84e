"""ISO 8601 durations, as the WLCG Tape REST API has them for how long a file is to stay on disk."""

from __future__ import annotations

import re

from pacarchive.errors import InvalidRequest

_DAY = 86400.0

_SECONDS = {
    "weeks": 7 * _DAY,
    "years": 365 * _DAY,
    "months": 30 * _DAY,
    "days": _DAY,
    "hours": 3600.0,
    "minutes": 60.0,
    "seconds": 1.0,
}
"""What each unit has, in the order in which they are written."""

_DURATION = re.compile(
    r"P(?:{weeks}W|(?:{years}Y)?(?:{months}M)?(?:{days}D)?"
    r"(?:T(?=[0-9])(?:{hours}H)?(?:{minutes}M)?(?:{seconds}S)?)?)".format(
        # The most that 64 bits can say has 20 digits.
        **{unit: rf"(?P<{unit}>[0-9]{{1,20}}(?:[.,][0-9]{{1,9}})?)" for unit in _SECONDS}
    ),
    re.ASCII,
)


def parse_duration(text: str) -> float:
    """
    Read a duration: C{PnYnMnDTnHnMnS} with any of its parts, or C{PnW}; the last part may have a fraction.

    A year counts as 365 days and a month as 30: nobody who says how long a file is to stay means a calendar.

    @return: Seconds.
    @raise InvalidRequest: The text is no such duration.
    """
    found = _DURATION.fullmatch(text)
    parts = [(unit, number) for unit, number in found.groupdict().items() if number] if found else []
    if not parts or not all(number.isdigit() for _, number in parts[:-1]):
        raise InvalidRequest("a duration is written as in ISO 8601: PT1H30M, P7D, P2W")
    return sum(float(number.replace(",", ".")) * _SECONDS[unit] for unit, number in parts)
