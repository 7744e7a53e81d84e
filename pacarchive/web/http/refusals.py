"""What is said of refusals in the log: each, up to so many a minute of a kind; of the others, how many there were.

Whoever sends nonsense as fast as the network takes it would else write the log full, and take the time for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

LINES = 200
"""Lines of one kind within L{WINDOW}."""

WINDOW = 60.0
"""Seconds."""

_log = Logger()


def text_of(names: Mapping[str, str]) -> str:
    """The format of what a line says of its request, at its end."""
    return " [{request_id}]" if names else ""


@attrs.define
class _Window:
    begun: float
    lines: int = 0
    left_out: int = 0
    end: IDelayedCall | None = None


class RefusalLog:
    """
    Logs refusals.

    @param clock: The time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def note(self, kind: str, peer: str, message: str, names: Mapping[str, str]) -> None:
        """
        Log one, or count it.

        @param names: What the request is called: C{request_id}, and C{trace_id} where it is part of a trace.
        """
        if self.admits(kind):
            text = f"refused ({{kind}}) {{peer}}: {{message}}{text_of(names)}"
            _log.info(text, kind=kind, peer=peer, message=message, **names)

    def admits(self, kind: str) -> bool:
        """Whether one is to be logged; else it is counted."""
        now = self._clock.seconds()
        window = self._windows.get(kind)
        if window is None or now - window.begun >= WINDOW:
            self._end(kind)
            window = self._windows[kind] = _Window(now)
        window.lines += 1
        if window.lines <= LINES:
            return True
        if not window.left_out:
            _log.info(
                "refused ({kind}): {lines} within {seconds:g} s; for the rest of that time they are counted only",
                kind=kind, lines=LINES, seconds=WINDOW,
            )  # fmt: skip
            window.end = self._clock.callLater(max(0.0, window.begun + WINDOW - now), self._end, kind)
        window.left_out += 1
        return False

    def close(self) -> None:
        """Say what is still unsaid, and begin again: nothing is left to wait for."""
        for kind in list(self._windows):
            self._end(kind)

    def _end(self, kind: str) -> None:
        """The time of a kind is over: what was only counted is said, whether or not there are more."""
        if (window := self._windows.pop(kind, None)) is None or window.end is None:
            return
        if window.end.active():
            window.end.cancel()
        _log.info("refused ({kind}): {count} more, which were not logged", kind=kind, count=window.left_out)
