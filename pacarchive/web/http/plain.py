"""Heads of requests that are written as most are, read in one go rather than line by line.

What is unusual in the least is left to L{twisted.web.http.HTTPChannel} and L{pacarchive.web.http.channel}, which look
at each line: so nothing is read here that is not read there as well, and as the same.  C{tests/web/test_plain.py} holds
the two together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pacarchive.web.http.settings import LimitSettings

MOST = 1 << 10
"""Bytes that such a head has."""

MOST_FIELDS = 20
"""More are unusual."""

_FIRST_LINE = re.compile(rb"([A-Z]{3,9}) ([!-~]+) HTTP/1\.1\r\n")
# Without those that say where a body ends, but for the plain one.
_FIELD = re.compile(
    rb"(?!transfer-encoding:|content-length:)([a-z0-9-]+): *([!-~](?:[ -~]*[!-~])?)\r\n"
    rb"|content-length: *([0-9]{1,18})\r\n",
    re.IGNORECASE,
)


@attrs.frozen
class PlainHead:
    """
    What it says.

    @ivar length: Of the body; C{None} where nothing is said of one.
    @ivar size: Bytes that it takes.
    """

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    length: int | None
    size: int


def plain_head(data: bytes) -> PlainHead | None:
    """The head at the beginning of what came; C{None} where it is not there as a whole, or not written plainly."""
    end = data.find(b"\r\n\r\n", 0, MOST)
    if end < 0 or (first := _FIRST_LINE.match(data)) is None:
        return None
    at, end = first.end(), end + 2
    fields: list[tuple[bytes, bytes]] = []
    length: int | None = None
    while at < end:
        if (field := _FIELD.match(data, at, end)) is None or len(fields) == MOST_FIELDS:
            return None
        at = field.end()
        name, value, digits = field.groups()
        if digits is None:
            fields.append((name, value))
        elif length is None:
            length = int(digits)
            fields.append((b"Content-Length", digits))
        else:
            return None
    return PlainHead(first[1], first[2], fields, length, end + 2)


def limits_are_usual(limits: LimitSettings) -> bool:
    """Whether no limit is so narrow that a plain head could exceed it."""
    return min(limits.header_bytes, limits.request_line) >= MOST and limits.header_count >= MOST_FIELDS
