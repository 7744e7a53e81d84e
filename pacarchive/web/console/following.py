"""Screens that are kept up to date for those who go on looking (Server-Sent Events).

However many look at the same, it is made, compared with what was before, and written as an event once (L{Feed}).  While
nothing changes, no viewer is called.  For one who takes nothing nothing piles up: what is sent next is what is to be
seen then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from pacarchive.web.console.frame import with_token
from pacarchive.web.console.live import SHARED
from pacarchive.web.http.admission import Admission, Crowds
from pacarchive.web.http.documents import streaming

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.telemetry.table import Series
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.http.settings import LimitSettings
    from pacarchive.web.http.state import SharedSite

PERIOD = 1.0
"""Seconds between two looks."""

SIGN_OF_LIFE = 15.0
"""Seconds without news after which viewers are told that there are none."""

LONGEST = 300.0
"""Seconds after which a viewer has to come again: rights may have changed, and so may the server."""

_ALIVE = b": nothing new\n\n"

_SOME = 40
"""Viewers that are told something at once."""

_COST = 80
"""What that takes for each of them, in about microseconds."""

Look = Callable[[], Coroutine[Any, Any, bytes]]


class Feed:
    """
    A screen for all who go on looking at it and may see the same.

    @param clock: The time.
    @param site: Whose viewers they are.
    @param look: Gives what is to be seen now, but for the viewers' own tokens.
    @ivar event: What was to be seen last, as an event.
    """

    def __init__(self, clock: IReactorTime, site: SharedSite, look: Look) -> None:
        self._clock = clock
        self._site = site
        self._look = look
        self._shown: bytes | None = None
        self.event = b""
        self._viewers = 0
        self._calling = False
        self._waiting: dict[Deferred[bytes], bytes] = {}
        self._failed: Failure | None = None
        self._work: Deferred[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing new will come: there is nothing to be seen, or nobody who looks."""
        return self._failed is not None or (self._work is not None and not self._viewers)

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """Somebody looks; when nobody does any more, all ends."""
        self._viewers += 1
        if self._work is None:
            self._work = Deferred.fromCoroutine(self._run())
            self._work.addErrback(lambda failure: failure.trap(CancelledError))
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers and not self._calling:  # else it sees that by itself
                self._work.cancel()

    async def look(self) -> None:
        """See what is to be seen now; fails where there is nothing."""
        shown = await self._look()
        if shown != self._shown:
            self._shown = shown
            self.event = b"event: screen\ndata: " + json.dumps(shown.decode()).encode("ascii") + b"\n\n"

    async def news(self, known: bytes) -> bytes:
        """
        Wait for what is new.

        @param known: The event that the viewer has.
        @return: Another; or a sign of life; or nothing, where the service stops.
        @raise Exception: There is nothing to be seen any more.
        """
        if self._failed is not None:
            self._failed.raiseException()
        if self._site.draining:
            return b""
        if known is not self.event:
            return self.event
        done: Deferred[bytes] = Deferred()
        self._waiting[done] = known
        try:
            return await done
        finally:
            del self._waiting[done]

    async def _run(self) -> None:
        try:
            await self._keep_up()
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001  (each viewer's own route answers, logs and counts it)
            self._failed = Failure()
            await self._tell(self._failed, list(self._waiting))

    async def _keep_up(self) -> None:
        last, told = self.event, self._clock.seconds()
        while self._viewers and not self._site.draining:
            await _pause(self._clock, PERIOD)
            await self.look()
            if last is not self.event:
                last, told = self.event, self._clock.seconds()
                # Not those who came after it did, and have seen it first.
                await self._tell(last, [each for each, known in self._waiting.items() if known is not last])
            elif self._clock.seconds() - told >= SIGN_OF_LIFE:
                told = self._clock.seconds()
                await self._tell(_ALIVE, list(self._waiting))
        await self._tell(b"", list(self._waiting))

    async def _tell(self, what: bytes | Failure, waiting: Sequence[Deferred[bytes]]) -> None:
        for number, each in enumerate(waiting, 1):
            if not each.called:
                self._calling = True
                each.callback(what)
                self._calling = False
            if not number % _SOME and self._viewers:
                await self._site.turns.come(_SOME * _COST, SHARED)


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
        self._feeds: dict[Hashable, Feed] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return self._places.shares.held

    def sample(self) -> list[tuple[Series, float]]:
        """What metrics say of them."""
        return [(("console_viewers",), float(self.count))]

    async def keep_up(
        self, request: ArchiveRequest, clock: IReactorTime, key: Hashable, look: Look, token: str
    ) -> None:
        """
        Send a viewer what changes, until one of both has enough.

        @param key: What is looked at: two viewers who may see the same have the same.
        @param look: Gives what is to be seen now, but for the viewers' own tokens.
        @param token: The viewer's own.
        @raise errors.Overloaded: There are as many as are let in.
        """
        with self._places.enter(request.client):
            feed = self._feeds.get(key)
            if feed is None or feed.is_over:
                feed = self._feeds[key] = Feed(clock, request.site, look)
            try:
                with feed.viewer():
                    await self._follow(request, clock, feed, token)
            finally:
                if feed.is_over and self._feeds.get(key) is feed:
                    del self._feeds[key]

    async def _follow(self, request: ArchiveRequest, clock: IReactorTime, feed: Feed, token: str) -> None:
        await feed.look()  # what there is to refuse is refused before the answer begins
        request.set(b"Content-Type", b"text/event-stream")
        request.set(b"X-Accel-Buffering", b"no")  # nginx would keep events until it has a buffer full of them
        if request.method == b"HEAD":
            return
        with request.while_listened_to():
            async with streaming(request) as stream:
                ends = clock.seconds() + LONGEST
                news = known = feed.event
                while news:
                    await stream.room()
                    if news is not _ALIVE:
                        news = known = feed.event  # there may be another by now
                    await stream.send([with_token(news, token)])
                    if clock.seconds() >= ends:
                        return
                    news = await feed.news(known)


async def _pause(clock: IReactorTime, seconds: float) -> None:
    done: Deferred[None] = Deferred()
    call = clock.callLater(seconds, done.callback, None)
    try:
        await done
    finally:
        if call.active():
            call.cancel()
