"""The client in a program on asyncio.

Twisted and asyncio share one loop, Twisted's reactor on top of it.  A coroutine of this client waits for Twisted's
Deferreds, and C{asyncio} for futures; L{call} makes one of the other::

    async def main() -> None:
        async with aio.connected("http://archive.example.org:8080") as archive:
            await aio.call(archive.put(12345, "results.h5"))
            await asyncio.gather(*(aio.call(archive.get(each, f"{each}.h5")) for each in (1, 2, 3)))

    asyncio.run(main())

C{asyncio.run} makes a loop each time, and a process has one reactor: so one C{asyncio.run} a process.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred

from pacarchive.client.client import ArchiveClient

T = TypeVar("T")


def reactor() -> Any:
    """
    Twisted's reactor on the loop that runs; made, and started, at the first call.

    @raise RuntimeError: No loop runs, or the reactor is on another one.
    @raise TypeError: Twisted was given a reactor of another kind before.
    """
    loop = asyncio.get_running_loop()
    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install(loop)
    from twisted.internet import reactor as installed  # not before it is decided which it is

    if not isinstance(installed, asyncioreactor.AsyncioSelectorReactor):
        raise TypeError("Twisted's reactor was installed before, and is not the one for asyncio")
    if installed._asyncioEventloop is not loop:
        raise RuntimeError("Twisted's reactor is on another loop; a process can have one asyncio.run() with it")
    if not installed.running:
        # The loop runs already, so this only has to believe it.  Signals are asyncio's.
        installed.startRunning(installSignalHandlers=False)
        # asyncio.run() ends without stopping it, and the threads that look up names must not keep the process.
        installed.getThreadPool().threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment]
    return installed


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[ArchiveClient]:
    """
    A client, closed at the end.

    @param options: Those of L{ArchiveClient}.
    """
    archive = ArchiveClient(reactor(), url, **options)
    try:
        yield archive
    finally:
        await call(archive.close())


def call(coroutine: Coroutine[Deferred[Any], Any, T]) -> asyncio.Future[T]:
    """Run one of the client's calls; to cancel the future is to cancel it."""
    return Deferred.fromCoroutine(coroutine).asFuture(asyncio.get_running_loop())


async def source(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What an asynchronous iterator of asyncio's makes, for C{put}."""
    try:
        while (piece := await Deferred.fromFuture(asyncio.ensure_future(_next(pieces)))) is not None:
            yield piece
    finally:
        if callable(close := getattr(pieces, "aclose", None)):
            await Deferred.fromFuture(asyncio.ensure_future(close()))


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    # None for the end: a future cannot hold a StopAsyncIteration.
    return await anext(pieces, None)


def destination(function: Callable[[bytes], Awaitable[object]]) -> Callable[[bytes], Awaitable[object]]:
    """A coroutine function of asyncio's, for C{get}: the next piece comes when it is done with one."""

    async def take(piece: bytes) -> None:
        await Deferred.fromFuture(asyncio.ensure_future(function(piece)))

    return take
