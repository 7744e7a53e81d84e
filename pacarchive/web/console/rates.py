"""How fast bytes move: from two looks at what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pacarchive.telemetry.parts import Totals
    from pacarchive.web.context import RouteContext

_SPAN = 5.0
"""Seconds over which rates are taken, at the least, once there are as many."""


class Rates:
    """
    Bytes per second, of the whole service.

    @ivar received: Of bodies that come in; C{sent} likewise.
    """

    def __init__(self) -> None:
        self.received = self.sent = 0.0
        self._looks: list[tuple[float, float, float]] = []

    def update(self, totals: Totals) -> Rates:
        """Take another look into account, unless it is the same."""
        received = totals.value("transfer_bytes_total", "in") or 0.0
        sent = totals.value("transfer_bytes_total", "out") or 0.0
        looks = self._looks
        if looks and not looks[-1][0] < totals.time < looks[-1][0] + 12 * _SPAN:
            if totals.time == looks[-1][0]:
                return self
            looks.clear()  # nobody has looked for long, or the clock was set
        looks.append((totals.time, received, sent))
        while len(looks) > 2 and totals.time - looks[1][0] >= _SPAN:
            del looks[0]
        seconds = totals.time - looks[0][0]
        self.received = max(0.0, received - looks[0][1]) / seconds if seconds else 0.0
        self.sent = max(0.0, sent - looks[0][2]) / seconds if seconds else 0.0
        return self


def rates_of(app: RouteContext) -> Rates:
    """Those of a server."""
    return app.kept(Rates, Rates)
