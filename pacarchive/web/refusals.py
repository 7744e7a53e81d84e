"""What is said of refusals in the log: each, up to so many a minute of a kind; of the others, how many there were.

Whoever sends nonsense as fast as the network takes it would else write the log full, and take the time for it.
"""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

LINES = 200
"""Lines of one kind within L{WINDOW}."""

WINDOW = 60.0
"""Seconds."""

_log = Logger()


@attrs.define
class _Window:
    begun: float
    lines: int = 0
    left_out: int = 0


class RefusalLog:
    """
    Logs refusals.

    @param clock: The time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def note(self, kind: str, peer: str, message: str) -> None:
        """Log one, or count it."""
        if self.admits(kind):
            _log.info("refused ({kind}) {peer}: {message}", kind=kind, peer=peer, message=message)

    def admits(self, kind: str) -> bool:
        """Whether one is to be logged; else it is counted."""
        now = self._clock.seconds()
        window = self._windows.get(kind)
        if window is None or now - window.begun >= WINDOW:
            if window is not None and window.left_out:
                _log.info("refused ({kind}): {count} more, which were not logged", kind=kind, count=window.left_out)
            window = self._windows[kind] = _Window(now)
        window.lines += 1
        if window.lines <= LINES:
            return True
        if not window.left_out:
            _log.info(
                "refused ({kind}): {lines} within {seconds:g} s; for the rest of that time they are counted only",
                kind=kind, lines=LINES, seconds=WINDOW,
            )  # fmt: skip
        window.left_out += 1
        return False
