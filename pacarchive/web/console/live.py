"""What is shown, made once for all who look at the same.

Nothing is computed for viewers that are not there: a screen is made when somebody asks for it, and is good for a second
for all others who may see the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive import errors
from pacarchive.runtime.shared import Wanted

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.web.context import RouteContext

FRESH = 0.9
"""Seconds for which what was made for one viewer is good for the others."""

SHARED = "console"
"""Whose turns of the reactor it takes to write, and to send, what is shared by viewers."""

_KEPT = 200
"""Screens that are kept."""


@attrs.frozen
class Seen:
    """
    What is on a screen.

    @ivar body: It, written.
    @ivar failure: Why it is no more than the words for that; C{None} where it is all there.
    """

    body: bytes
    failure: errors.Unavailable | None = None


@attrs.define
class _Shot:
    work: Wanted[Seen]
    begun: float


class Snapshots:
    """
    Screens that were just made.

    @param clock: The time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._shots: OrderedDict[Hashable, _Shot] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Seen]]) -> Seen:
        """
        What was made for a key, or is being made, or else is made now.

        @param key: What is shown, and to whom: two viewers that may see the same have the same.
        @param make: Makes it.
        """
        now = self._clock.seconds()
        shot = self._shots.get(key)
        if shot is None or (shot.work.is_over and (shot.work.failed or not 0 <= now - shot.begun < FRESH)):
            shot = self._shots[key] = _Shot(Wanted(make()), now)
            self._shots.move_to_end(key)
            while len(self._shots) > _KEPT:
                self._shots.popitem(last=False)
        return await shot.work.result()

    def forget(self) -> None:
        """Make everything again: something was changed."""
        self._shots.clear()


def snapshots_of(app: RouteContext) -> Snapshots:
    """Those of a server."""
    return app.kept(Snapshots, lambda: Snapshots(app.clock))
