"""Requests that wait for a file from tape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pacarchive import errors

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest

LOOK_AGAIN = 15.0
"""How often a file that a request waits for is looked for by the request itself, in seconds: it may come without the
engine's doing, and the engine's word may be late."""

T = TypeVar("T")


async def arrival(
    app: RouteContext, request: ArchiveRequest, file_id: int, seconds: float, look: Callable[[], Awaitable[T]]
) -> T | None:
    """
    Wait for a file that was asked for.  A client that ends its side waits no longer, and has its answer at once.

    @param look: Gives the result, or raises L{errors.Offline}.
    @return: The result; C{None} where it did not come in time, or will not come.
    @raise errors.BackendUnavailable: Its recall has failed.
    """
    with request.phase("wait for recall"):
        return await _arrival(app, request, file_id, seconds, look)


async def _arrival(
    app: RouteContext, request: ArchiveRequest, file_id: int, seconds: float, look: Callable[[], Awaitable[T]]
) -> T | None:
    clock, channel = app.clock, request.connection
    end = clock.seconds() + seconds
    bell = _Bell()
    word = Deferred.fromCoroutine(app.recall.wait(file_id, seconds))
    word.addBoth(bell.ring)
    ended = False
    try:
        # One that has ended its side may be gone, which nothing else would tell for as long as nothing is sent.
        with channel.when_peer_ends(lambda: bell.ring(None)):
            while True:
                if ended or not (word.called or channel.peer_has_ended):
                    await bell.wait(clock, max(0.0, min(LOOK_AGAIN, end - clock.seconds())))
                if word.called:
                    ended = await word
                last = clock.seconds() >= end or channel.peer_has_ended or (word.called and not ended)
                try:
                    return await look()
                except errors.Offline:
                    pass
                except errors.Unavailable:
                    if last:
                        raise
                if ended and (failure := await app.recall.reason(file_id)):
                    raise errors.BackendUnavailable(failure)
                if last:
                    return None
    finally:
        word.addErrback(lambda failure: None)  # CancelledError; or what look had no use for
        word.cancel()


class _Bell:
    """Wakes the one who waits."""

    def __init__(self) -> None:
        self._waiting: Deferred[None] | None = None

    def ring(self, result: T) -> T:
        """Wake it, if it waits; the argument is passed on."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)
        return result

    async def wait(self, clock: IReactorTime, seconds: float) -> None:
        """Wait until it rings, or for so long."""
        self._waiting = Deferred()
        alarm = clock.callLater(seconds, self.ring, None)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if alarm.active():
                alarm.cancel()
