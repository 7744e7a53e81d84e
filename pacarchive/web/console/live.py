"""What is shown, made once for all who look at the same, and sent to those who go on looking.

Nothing is computed for viewers that are not there: a screen is made when somebody asks for it, and is good for a second
for all others who may see the same.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from pacarchive.runtime.shared import Wanted
from pacarchive.web.http.admission import Admission, Crowds
from pacarchive.web.http.documents import streaming

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.telemetry.table import Series
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.http.settings import LimitSettings

PERIOD = 1.0
"""Seconds between two looks of a viewer."""

FRESH = 0.9
"""Seconds for which what was made for one viewer is good for the others."""

SIGN_OF_LIFE = 15.0
"""Seconds without news after which a viewer is told that there are none."""

LONGEST = 300.0
"""Seconds after which a viewer has to come again: rights may have changed, and so may the server."""

_KEPT = 200
"""Screens that are kept."""


@attrs.define
class _Shot:
    work: Wanted[bytes]
    begun: float


class Snapshots:
    """
    Screens that were just made.

    @param clock: The time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._shots: OrderedDict[Hashable, _Shot] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
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


class Viewers:
    """
    Those who go on looking, as many as are let in.

    @param limits: The limits in force.
    @param most: The most.
    """

    def __init__(self, limits: LimitSettings, most: int) -> None:
        self._places = Admission(
            "live pages of the console", "[console] viewers", most, limits.client_share, Crowds(limits.proxies)
        )

    @property
    def count(self) -> int:
        """How many there are."""
        return self._places.shares.held

    def sample(self) -> list[tuple[Series, float]]:
        """What metrics say of them."""
        return [(("console_viewers",), float(self.count))]

    async def keep_up(
        self, request: ArchiveRequest, clock: IReactorTime, look: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> None:
        """
        Send a viewer what changes (Server-Sent Events), until one of both has enough.

        @param look: Gives what is to be seen now.
        @raise errors.Overloaded: There are as many as are let in.
        """
        with self._places.enter(request.client):
            shown = await look()  # what there is to refuse is refused before the answer begins
            request.set(b"Content-Type", b"text/event-stream")
            request.set(b"X-Accel-Buffering", b"no")  # nginx would keep events until it has a buffer full of them
            if request.method == b"HEAD":
                return
            with request.while_listened_to():
                async with streaming(request) as stream:
                    await stream.send([_event(shown)])
                    begun = told = clock.seconds()
                    while not request.site.draining and clock.seconds() - begun < LONGEST:
                        await _pause(clock, PERIOD)
                        found = await look()
                        if found != shown:
                            shown, told = found, clock.seconds()
                            await stream.send([_event(shown)])
                        elif clock.seconds() - told >= SIGN_OF_LIFE:
                            told = clock.seconds()
                            await stream.send([b": nothing new\n\n"])


async def _pause(clock: IReactorTime, seconds: float) -> None:
    done: Deferred[None] = Deferred()
    call = clock.callLater(seconds, done.callback, None)
    try:
        await done
    finally:
        if call.active():
            call.cancel()


def _event(shown: bytes) -> bytes:
    return b"event: screen\ndata: " + json.dumps(shown.decode()).encode("ascii") + b"\n\n"
