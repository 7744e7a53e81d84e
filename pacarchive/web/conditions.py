"""Conditional requests (RFC 9110, section 13).

Entity tags are kept as they are written, quotes and C{W/} included.  The archive's own tags are strong, so
two tags match strongly when they are the same text, and weakly when they differ in no more than C{W/}.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from pacarchive.errors import InvalidRequest
from pacarchive.model import Overwrite, WriteConditions
from pacarchive.times import SECOND
from pacarchive.web.http.dates import parse_condition_date

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pacarchive.model import FileStatus

ANY = "*"
"""The condition that holds for any existing file."""

_CLOCK_STEP = 20_000_000
"""Nanoseconds; the clock of inode times lags behind that of dates by a tick, which is 1 to 10 ms."""

_ENTITY_TAG = re.compile(r'((?:W/)?"[^\x00-\x20"\x7f]*")(?:[ \t]*,[ \t,]*|\Z)')


class ReadOutcome(enum.Enum):
    """What the conditions of a read make of it."""

    PROCEED = enum.auto()
    """Answer as if there were no conditions."""
    NOT_MODIFIED = enum.auto()
    """Answer 304: the client has this very version."""
    FAILED = enum.auto()
    """Answer 412."""


def parse_etags(values: Sequence[str]) -> frozenset[str] | None:
    """
    Read all values of C{If-Match} or C{If-None-Match}.

    @return: The entity tags, or only L{ANY}; C{None} when the header is absent.
    @raise InvalidRequest: The values are not well formed.
    """
    if not values:
        return None
    text = ",".join(values).strip(" \t,")
    if text == ANY:
        return frozenset((ANY,))
    tags = set()
    position = 0
    while match := _ENTITY_TAG.match(text, position):
        tags.add(match[1])
        position = match.end()
    if not tags or position < len(text):
        raise InvalidRequest('an entity tag is written with its quotes ("abc"), several are separated by commas')
    return frozenset(tags)


def evaluate_read(get: Callable[[str], Sequence[str]], status: FileStatus, now: float) -> ReadOutcome:
    """
    Evaluate the conditions of a GET or HEAD in the order of section 13.2.2.

    A condition that is not well formed does not count.

    @param get: All values of a request header by its name; empty when it is absent.
    @param status: The version that would be read.
    @param now: The present.
    """
    etag = status.etag
    if (tags := _etags_or_none(get("If-Match"))) is not None:
        if etag not in tags and ANY not in tags:
            return ReadOutcome.FAILED
    elif (date := _date_or_none(get("If-Unmodified-Since"), now)) is not None and not _is_as_of(date, status, now):
        return ReadOutcome.FAILED
    if (tags := _etags_or_none(get("If-None-Match"))) is not None:
        if _matches_weakly(tags, etag):
            return ReadOutcome.NOT_MODIFIED
    elif (date := _date_or_none(get("If-Modified-Since"), now)) is not None and _is_as_of(date, status, now):
        return ReadOutcome.NOT_MODIFIED
    return ReadOutcome.PROCEED


def is_held(if_none_match: Sequence[str], etag: str) -> bool:
    """Whether C{If-None-Match} says that the client has a version; what is not well formed says nothing."""
    tags = _etags_or_none(if_none_match)
    return tags is not None and _matches_weakly(tags, etag)


def _matches_weakly(tags: frozenset[str], etag: str) -> bool:
    return not tags.isdisjoint((etag, f"W/{etag}", ANY))


def _is_as_of(date: int, status: FileStatus, now: float) -> bool:
    """
    Whether a copy that was right at some date must be of this version.

    The file's own time says nothing of that: it is its sender's, who may give it to any number of versions.  What
    counts is when the version was stored.  Not in the second of the date either, as the copy may have been made before
    it in that second; and a date that is still to come is no copy's.

    @param date: Seconds since the epoch.
    """
    return status.mtime_ns // SECOND <= date <= now and status.ctime_ns + _CLOCK_STEP < date * SECOND


def range_applies(if_range: Sequence[str], etag: str) -> bool:
    """
    Whether C{If-Range} lets a C{Range} count.  When it does not, the whole file is the answer, which is always right.
    So anything but the entity tag of the very version that the client has is no: a weak tag, nonsense, and any date, as
    the time of a file is its sender's and makes no strong validator (RFC 9110, sections 8.8.2.2 and 13.1.5).

    @param if_range: The values of the header.
    @param etag: The file's entity tag.
    """
    return not if_range or list(if_range) == [etag]


def write_conditions(get: Callable[[str], Sequence[str]], overwrite: Overwrite = Overwrite.ALLOW) -> WriteConditions:
    """
    Translate the conditions of a request that writes.

    Nothing is ignored here as it is for reads: a client that is not understood must not have its file replaced.
    C{If-Modified-Since} alone is no condition of a write (section 13.1.3).

    @param get: All values of a request header by its name; empty when it is absent.  Weak tags in C{If-Match} match no
        file, as the comparison is strong.
    @param overwrite: The policy for a taken id.
    @raise InvalidRequest: A header is not well formed, C{If-None-Match} is not C{*}, or a date is to be the condition:
        it would let through what was stored in the same second, and the file's own time is its sender's.
    """
    wanted = parse_etags(get("If-Match"))
    unwanted = parse_etags(get("If-None-Match"))
    if wanted is None and get("If-Unmodified-Since"):
        raise InvalidRequest("a date tells no version from another: a write takes If-Match with the ETag of the file")
    if unwanted is not None and ANY not in unwanted:
        raise InvalidRequest("a write takes If-None-Match with * only")
    if wanted is not None:
        wanted = frozenset(tag for tag in wanted if not tag.startswith("W/"))
    return WriteConditions(overwrite=overwrite, if_absent=unwanted is not None, if_match=wanted)


def _etags_or_none(values: Sequence[str]) -> frozenset[str] | None:
    try:
        return parse_etags(values)
    except InvalidRequest:
        return None


def _date_or_none(values: Sequence[str], now: float) -> int | None:
    return parse_condition_date(values[0], now=now) if len(values) == 1 else None
