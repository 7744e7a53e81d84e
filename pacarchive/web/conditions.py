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
from pacarchive.web.dates import parse_condition_date

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ANY = "*"
"""The condition that holds for any existing file."""

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


def evaluate_read(get: Callable[[str], Sequence[str]], *, etag: str, mtime_ns: int, now: float) -> ReadOutcome:
    """
    Evaluate the conditions of a GET or HEAD in the order of section 13.2.2.

    A condition that is not well formed does not count.

    @param get: All values of a request header by its name; empty when it is absent.
    @param etag: The file's entity tag.
    @param mtime_ns: The file's modification time; its whole second is what counts, as no client knows more.
    @param now: The present.
    """
    if (tags := _etags_or_none(get("If-Match"))) is not None:
        if etag not in tags and ANY not in tags:
            return ReadOutcome.FAILED
    elif (date := _date_or_none(get("If-Unmodified-Since"), now)) is not None and mtime_ns // SECOND > date:
        return ReadOutcome.FAILED
    if (tags := _etags_or_none(get("If-None-Match"))) is not None:
        if not tags.isdisjoint((etag, f"W/{etag}", ANY)):
            return ReadOutcome.NOT_MODIFIED
    elif (date := _date_or_none(get("If-Modified-Since"), now)) is not None and mtime_ns // SECOND <= date:
        return ReadOutcome.NOT_MODIFIED
    return ReadOutcome.PROCEED


def range_applies(if_range: str | None, *, etag: str, mtime_ns: int, now: float) -> bool:
    """
    Whether C{If-Range} lets a C{Range} count.  When it does not, the whole file is the answer, which is
    always right: so anything but the very version that the client has (a weak tag, nonsense) is no.

    @param if_range: The header's value, C{None} when it is absent.
    @param etag: The file's entity tag.
    @param mtime_ns: The file's modification time.
    @param now: The present.
    """
    if if_range is None or if_range == etag:
        return True
    return parse_condition_date(if_range, now=now) == mtime_ns // SECOND


def write_conditions(
    if_match: Sequence[str], if_none_match: Sequence[str], overwrite: Overwrite = Overwrite.ALLOW
) -> WriteConditions:
    """
    Translate the conditions of a request that writes.

    Nothing is ignored here as it is for reads: a client that is not understood must not have its file replaced.

    @param if_match: All values of C{If-Match}.  Weak tags match no file, as the comparison is strong.
    @param if_none_match: All values of C{If-None-Match}.
    @param overwrite: The policy for a taken id.
    @raise InvalidRequest: A header is not well formed, or C{If-None-Match} is not C{*}.
    """
    wanted = parse_etags(if_match)
    unwanted = parse_etags(if_none_match)
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
