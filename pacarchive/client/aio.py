"""
The client in a program on asyncio::

    async def main() -> None:
        async with aio.connected("http://archive.example.org:8080") as archive:
            await archive.put(12345, "results.h5")
            await asyncio.gather(*(archive.get(each, f"{each}.h5") for each in (1, 2, 3)))

    asyncio.run(main())

Twisted and asyncio share one loop, Twisted's reactor on top of it.  A coroutine of L{ArchiveClient} waits for Twisted's
Deferreds, and C{asyncio} for futures; L{AsyncioClient} stands between them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial, wraps
from inspect import isawaitable
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.main import installReactor
from twisted.python.failure import Failure

from pacarchive.client.client import ArchiveClient
from pacarchive.client.recall_words import JobSummary, Pin
from pacarchive.client.words import Fetched, FilesPage, Stored

P = ParamSpec("P")
T = TypeVar("T")

_BLOCK = 1 << 20


def reactor() -> Any:
    """
    Twisted's reactor on the loop that runs; made, and started, at the first call on each loop.

    @raise RuntimeError: No loop runs, or the reactor is on another one that has not ended.
    @raise TypeError: Twisted was given a reactor of another kind before.
    """
    loop = asyncio.get_running_loop()
    installed: Any = sys.modules.get("twisted.internet.reactor")
    if installed is not None and not isinstance(installed, asyncioreactor.AsyncioSelectorReactor):
        raise TypeError("Twisted's reactor was installed before, and is not the one for asyncio")
    if installed is not None and installed._asyncioEventloop is not loop:
        if not installed._asyncioEventloop.is_closed():
            raise RuntimeError("Twisted's reactor is on another loop, which has not ended")
        _discard(installed, loop)
        installed = None
    if installed is None:
        installed = asyncioreactor.AsyncioSelectorReactor(loop)
        installReactor(installed)
    if not installed.running:
        # The loop runs already, so this only has to believe it.  Signals are asyncio's.
        installed.startRunning(installSignalHandlers=False)
        # asyncio.run() ends without stopping it, and the threads that look up names must not keep the process.
        installed.getThreadPool().threadFactory = partial(threading.Thread, daemon=True)
    return installed


def _discard(installed: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Release what is left of a reactor whose loop has ended: C{asyncio.run} makes a loop each time."""
    del sys.modules["twisted.internet.reactor"]
    installed.waker.connectionLost(Failure(ConnectionDone()))
    # It waits for its threads, of which one may still look up a name.
    loop.run_in_executor(None, installed.getThreadPool().stop)


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[AsyncioClient]:
    """
    A client, closed at the end.

    @param options: Those of L{ArchiveClient}.
    """
    archive = AsyncioClient(url, **options)
    try:
        yield archive
    finally:
        await archive.close()


def call(coroutine: Coroutine[Deferred[Any], Any, T]) -> asyncio.Future[T]:
    """Run a coroutine of Twisted's, such as a call of an L{ArchiveClient}; to cancel the future is to cancel it."""
    return Deferred.fromCoroutine(coroutine).asFuture(asyncio.get_running_loop())


def _adapted(
    method: Callable[Concatenate[ArchiveClient, P], Coroutine[Deferred[Any], Any, T]],
) -> Callable[Concatenate[AsyncioClient, P], Coroutine[Any, Any, T]]:
    """The same call, to be awaited by asyncio's tasks."""

    @wraps(method)
    async def adapted(self: AsyncioClient, *args: P.args, **kwargs: P.kwargs) -> T:
        return await call(method(self.client, *args, **kwargs))

    return adapted  # type: ignore[return-value]


class AsyncioClient:
    """
    An archive, seen from outside: the calls of L{ArchiveClient}, which asyncio's tasks await.

    To be made while the loop runs on which it is used; L{connected} also closes it.

    @param url: As for L{ArchiveClient}; likewise C{options}.
    @ivar client: The client itself, whose calls Twisted's coroutines await.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.client = ArchiveClient(reactor(), url, **options)

    @property
    def url(self) -> str:
        """The archive's URL."""
        return self.client.url

    async def put(self, file_id: int, source: object, **options: Any) -> Stored:
        """
        Store a file.

        @param source: What L{ArchiveClient.put} takes, an asynchronous iterator of asyncio's, or an open binary file,
            which is read from where it stands to its end, in a thread, and stays open.
        @param options: As for L{ArchiveClient.put}.
        """
        return await call(self.client.put(file_id, _source(source), **options))

    async def get(self, file_id: int, destination: Any, **options: Any) -> Fetched:
        """
        Read a file.

        @param destination: As for L{ArchiveClient.get}, where the function may be a coroutine function of asyncio's.
        @param options: As for L{ArchiveClient.get}.
        """
        is_function = callable(destination) and not isinstance(destination, os.PathLike)
        return await call(self.client.get(file_id, _taker(destination) if is_function else destination, **options))

    async def files(self, *args: Any, **options: Any) -> AsyncIterator[FilesPage]:
        """
        List files.

        @param args: As for L{ArchiveClient.files}; likewise C{options}.
        """
        pages = self.client.files(*args, **options)
        while (page := await call(_next(pages))) is not None:
            yield page

    async def jobs(self, *, owner: str | None = None) -> AsyncIterator[Sequence[JobSummary]]:
        """
        List jobs.

        @param owner: As for L{ArchiveClient.jobs}.
        """
        pages = self.client.jobs(owner=owner)
        while (page := await call(_next(pages))) is not None:
            yield page

    async def pins(self, *, owner: str | None = None) -> AsyncIterator[Sequence[Pin]]:
        """
        List pins.

        @param owner: As for L{ArchiveClient.pins}.
        """
        pages = self.client.pins(owner=owner)
        while (page := await call(_next(pages))) is not None:
            yield page

    status = _adapted(ArchiveClient.status)
    move = _adapted(ArchiveClient.move)
    delete = _adapted(ArchiveClient.delete)
    stage = _adapted(ArchiveClient.stage)
    plan = _adapted(ArchiveClient.plan)
    job = _adapted(ArchiveClient.job)
    changes = _adapted(ArchiveClient.changes)
    wait_for = _adapted(ArchiveClient.wait_for)
    metrics = _adapted(ArchiveClient.metrics)
    cancel = _adapted(ArchiveClient.cancel)
    release = _adapted(ArchiveClient.release)
    archiveinfo = _adapted(ArchiveClient.archiveinfo)
    set_priority = _adapted(ArchiveClient.set_priority)
    holds = _adapted(ArchiveClient.holds)
    hold = _adapted(ArchiveClient.hold)
    resume = _adapted(ArchiveClient.resume)
    retry = _adapted(ArchiveClient.retry)
    health = _adapted(ArchiveClient.health)
    close = _adapted(ArchiveClient.close)


def _source(given: Any) -> Any:
    if hasattr(given, "__aiter__"):
        return _pieces(aiter(given))
    if hasattr(given, "read") and not isinstance(given, os.PathLike):
        return _pieces(_blocks(given))
    return given


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _BLOCK):
        if not isinstance(piece, bytes):
            raise TypeError("a file to store is opened in binary mode")
        yield piece


async def _pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What an asynchronous iterator of asyncio's makes, for a coroutine of Twisted's."""
    try:
        while (piece := await Deferred.fromFuture(asyncio.ensure_future(_next(pieces)))) is not None:
            yield piece
    finally:
        if callable(close := getattr(pieces, "aclose", None)):
            await Deferred.fromFuture(asyncio.ensure_future(close()))


async def _next(pieces: AsyncIterator[T]) -> T | None:
    # None for the end: a future cannot hold a StopAsyncIteration.
    return await anext(pieces, None)


def _taker(function: Callable[[bytes], Any]) -> Callable[[bytes], Awaitable[object] | None]:
    """A function whose awaitable, if it gives one, is asyncio's: the next piece comes when it is done with one."""

    def take(piece: bytes) -> Awaitable[object] | None:
        result = function(piece)
        if isawaitable(result) and not isinstance(result, Deferred):
            return Deferred.fromFuture(asyncio.ensure_future(result))
        return None

    return take
