"""Server-Sent Events: an answer with events as they happen (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from pacarchive.client.errors import ProtocolError

LIMIT = 16 << 20
"""How many bytes an event may have."""


@attrs.frozen
class Event:
    """
    One event.

    @ivar kind: What it is about.
    @ivar identifier: What to say to go on after it.
    """

    kind: str
    data: str
    identifier: str


class EventParser:
    """Makes events of pieces of text, wherever they are cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = ""
        self._identifier = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        Take the next bytes; gives the events that end in them.

        @raise ProtocolError: One has no end.
        """
        self._size += len(data)
        # A line may end in CR LF; the archive ends none in CR alone.
        *lines, self._rest = (self._rest + data).split(b"\n") if b"\n" in data else (self._rest + data,)
        for line in lines:
            event = self._line(line.rstrip(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event
        if self._size > LIMIT:
            raise ProtocolError("An event of the archive about a job has no end.")

    def _line(self, line: str) -> Event | None:
        if not line:
            data, kind = self._data, self._kind or "message"
            self._data, self._kind, self._size = [], "", len(self._rest)
            return Event(kind, "\n".join(data), self._identifier) if data else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id":
            self._identifier = value
        return None
