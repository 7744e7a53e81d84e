"""A worker's parent, as far as the worker asks it how the whole service is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred

from pacarchive.errors import BackendUnavailable
from pacarchive.runtime.shared import Shared
from pacarchive.telemetry.parts import Totals, read_totals

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 5.0
"""Seconds in which it is to say so."""


class Parent:
    """
    Asks once for all who want to know at the same time.

    @param clock: The time.
    @param ask: Asks; may be in vain, as for a parent that does not read.
    """

    def __init__(self, clock: Any, ask: Callable[[], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._look: Shared[Totals] | None = None
        self._answer: Deferred[Totals] = Deferred()

    async def totals(self) -> Totals:
        """
        How the whole service is.

        @raise BackendUnavailable: The parent does not say.
        """
        if self._look is None or self._look.ended:
            self._look = Shared(self._asked())
        return await self._look.result()

    def tells(self, line: str) -> None:
        """It says so."""
        if not self._answer.called:
            self._answer.callback(read_totals(line))

    async def _asked(self) -> Totals:
        self._answer = Deferred()
        self._ask()
        try:
            return await self._answer.addTimeout(PATIENCE, self._clock)
        except defer.TimeoutError:
            raise BackendUnavailable("The parent process does not answer.") from None
