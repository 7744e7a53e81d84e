"""Which transfers are under way, for those who look."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any, Protocol

from pacarchive.ids import parse_file_id
from pacarchive.telemetry.parts import TRANSFERS, Transfer


class Moving(Protocol):
    """What is asked of a request."""

    begun: bool
    began: float
    body: Any
    client: Any
    method: bytes
    path: bytes
    responseHeaders: Any
    sentLength: int
    startedWriting: int

    @property
    def principal(self) -> str | None:
        """Who asks, where that is known."""

    @property
    def identifier(self) -> str:
        """What it is called."""


def transfers_of(requests: Iterable[Moving]) -> list[Transfer]:
    """Those of the requests that move a body; the oldest, where there are many."""
    moving = (each for each in requests if each.begun and _direction(each) is not None)
    return [_described(each) for each in nsmallest(TRANSFERS, moving, key=lambda each: each.began)]


def _direction(request: Moving) -> str | None:
    if request.startedWriting:
        return "out" if _length(request) else None
    return "in" if request.body.received or not request.body.complete else None


def _length(request: Moving) -> int | None:
    """How long the answer is to be; none where that is not known, as of one that follows a job."""
    given = request.responseHeaders.getRawHeaders(b"content-length")
    return int(given[0]) if given else None


def _described(request: Moving) -> Transfer:
    direction = _direction(request) or "in"
    try:
        file_id = parse_file_id(request.path[1:].decode("ascii", "replace"))
    except ValueError:
        file_id = None
    return Transfer(
        direction,
        request.method.decode("ascii", "replace")[:20],
        file_id,
        request.principal,
        str(getattr(request.client, "host", "local")),
        request.sentLength if direction == "out" else request.body.received,
        _length(request) if direction == "out" else request.body.length,
        request.began,
        request.identifier,
    )
