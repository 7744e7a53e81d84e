"""The way of a PUT's body into the archive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from pacarchive import errors
from pacarchive.interfaces import IArchiveBackend, IIncomingFile, IPullingFile
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.runtime.measuring import measured
from pacarchive.web.http.admission import IDLE, Place
from pacarchive.web.http.body import BLOCK, FIRST, RequestBody
from pacarchive.web.http.checks import Checks
from pacarchive.web.http.inflow import Inflow, comes_fast

if TYPE_CHECKING:
    from pacarchive.web.http.request import ArchiveRequest


@attrs.frozen
class UploadPlan:
    """
    What an upload asks for.

    @ivar conditions: What must hold for the id.
    @ivar checks: What the sender wants to have checked.
    @ivar mtime_ns: The file's time, in nanoseconds since the epoch; C{None} for now.
    """

    conditions: WriteConditions
    checks: Checks
    mtime_ns: int | None

    @property
    def compares(self) -> bool:
        """Whether the body is compared with digests of its sender's."""
        return bool(self.checks.given or self.checks.announced)


Recorder = Callable[[Callable[[], Awaitable[FileStatus]]], Awaitable[FileStatus]]
"""Has the commit done that it is given, to its end if it has begun."""


async def receive_file(
    request: ArchiveRequest,
    enter: Callable[[], Place],
    clock: IReactorTime,
    backend: IArchiveBackend,
    file_id: int,
    plan: UploadPlan,
    *,
    limit: int,
    commit: Recorder,
) -> FileStatus:
    """
    Stream a body into the archive.

    @param enter: Has the transfer counted, once there are bytes.
    @param limit: The largest body, in bytes.
    @return: The status of the stored file.
    """
    body = request.body
    upload = _Upload(await backend.receive(file_id, body.length, plan.conditions, plan.checks.algorithms), plan)
    incoming = upload.incoming
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
            return await commit(lambda: upload.commit(body.trailers))
    except BaseException:
        await upload.give_up()
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


async def receive_whole(
    data: bytes,
    enter: Callable[[], Place],
    backend: IArchiveBackend,
    file_id: int,
    plan: UploadPlan,
    *,
    commit: Recorder,
) -> FileStatus:
    """As L{receive_file}, with a small body that is there, and is not too large."""
    upload = _Upload(await backend.receive(file_id, len(data), plan.conditions, plan.checks.algorithms), plan)
    try:
        with enter():
            if data:
                await upload.incoming.write([data])
            return await commit(lambda: upload.commit(()))
    except BaseException:
        await upload.give_up()
        raise


class _Upload:
    """
    A body on its way into the archive, and its end: it is committed, or given up.

    @ivar incoming: The backend's side of it.
    """

    def __init__(self, incoming: IIncomingFile, plan: UploadPlan) -> None:
        self.incoming = incoming
        self._plan = plan
        self._ends = False

    async def commit(self, trailers: Collection[tuple[str, str]]) -> FileStatus:
        """Make it a file, if it is what was announced."""
        self._ends = True
        try:
            expected = self._plan.checks.complete(trailers)
            with measured("commit_duration_seconds"):
                return await self.incoming.commit(self._plan.mtime_ns, expected)
        except BaseException:
            await self.incoming.abort()
            raise

    async def give_up(self) -> None:
        """Release what it holds, unless L{commit} does."""
        if not self._ends:
            await self.incoming.abort()


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
