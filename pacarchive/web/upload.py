"""The way of a PUT's body into the archive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from pacarchive import errors
from pacarchive.interfaces import IArchiveBackend, IPullingFile
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.runtime.measuring import measured
from pacarchive.web.http.admission import IDLE, Place
from pacarchive.web.http.body import BLOCK, FIRST, RequestBody
from pacarchive.web.http.checks import Checks
from pacarchive.web.http.inflow import Inflow, comes_fast

if TYPE_CHECKING:
    from pacarchive.web.http.request import ArchiveRequest


async def receive_file(
    request: ArchiveRequest,
    enter: Callable[[], Place],
    clock: IReactorTime,
    backend: IArchiveBackend,
    file_id: int,
    *,
    conditions: WriteConditions,
    checks: Checks,
    limit: int,
    mtime_ns: int | None,
    commit: Callable[[Callable[[], Awaitable[FileStatus]]], Awaitable[FileStatus]],
) -> FileStatus:
    """
    Stream a body into the archive.

    @param enter: Has the transfer counted, once there are bytes.
    @param checks: What the sender wants to have checked.
    @param limit: The largest body, in bytes.
    @param mtime_ns: Nanoseconds since the epoch; C{None} for now.
    @param commit: Has the commit done, to its end if it has begun.
    @return: The status of the stored file.
    """
    body = request.body
    incoming = await backend.receive(file_id, body.length, conditions, checks.algorithms)
    begun = False

    async def finish() -> FileStatus:
        nonlocal begun
        begun = True
        try:
            expected = checks.complete(body.trailers)
            with measured("commit_duration_seconds"):
                return await incoming.commit(mtime_ns, expected)
        except BaseException:
            await incoming.abort()
            raise

    try:
        pieces = await body.read(FIRST)
        with enter() as place:
            body.stored = True
            while pieces:
                if body.received > limit:
                    raise errors.TooLarge(f"The body may have {limit} bytes at the most.")
                await incoming.write(pieces)
                if comes_fast(request) and IPullingFile.providedBy(incoming):
                    place.go_on()
                    await _pull(request, IPullingFile(incoming))
                pieces = await _next(body, place, clock)
            return await commit(finish)
    except BaseException:
        if not begun:
            await incoming.abort()
        raise


async def _pull(request: ArchiveRequest, incoming: IPullingFile) -> None:
    """Have the storage read from the socket, for as long as the sender is fast."""
    body, inflow, goes_on = request.body, Inflow(request), True
    try:
        await incoming.write(body.hold())
        while goes_on:
            inflow.begin()
            try:
                await incoming.pull(inflow.read)
            finally:
                goes_on = inflow.end()
    finally:
        inflow.close()
        body.go_on()


async def _next(body: RequestBody, place: Place, clock: IReactorTime) -> list[bytes]:
    """
    The next block; a sender that is long about it is not counted before it brings a whole one, and what it has sent is
    given away meanwhile, so that it holds no memory.
    """
    if body.complete:
        return await body.read()

    def rest() -> None:
        place.rest()
        body.hurry()

    resting = LoopingCall(rest)
    resting.clock = clock
    resting.start(IDLE, now=False)
    try:
        pieces = await body.read()
    finally:
        resting.stop()
    if body.complete or sum(map(len, pieces)) >= BLOCK:
        place.go_on()
    return pieces
