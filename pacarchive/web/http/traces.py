"""The trace that a request is part of: what its client says of one (W3C Trace Context, level 1), or one of our own."""

from __future__ import annotations

import re

import attrs

_TRACEPARENT = re.compile(rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*\Z")


@attrs.frozen
class Trace:
    """
    A trace.

    @ivar trace: Its id, 32 hexadecimal digits.
    @ivar parent: The client's own part of it, 16 digits; empty where the trace begins here.
    @ivar sampled: Whether it is kept.
    """

    trace: str
    parent: str
    sampled: bool


def parse_traceparent(given: bytes) -> Trace | None:
    """Read C{traceparent}; C{None} where it is not well formed, and is to be ignored (section 3.2)."""
    match = _TRACEPARENT.match(given)
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5]):
        return None
    if not match[2].strip(b"0") or not match[3].strip(b"0"):
        return None
    return Trace(match[2].decode("ascii"), match[3].decode("ascii"), bool(int(match[4], 16) & 1))
