"""Request bodies as streams, and a PUT's way through one.

Bytes come from the transport in pieces, are gathered into large blocks, and are given to the backend one block at a
time while the next is being received.  When more waits than L{HIGH_WATER}, the transport is paused: that, the block
under way and one read from the socket are all the memory that an upload ever takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pacarchive import errors
from pacarchive.interfaces import IArchiveBackend
from pacarchive.model import FileStatus, WriteConditions
from pacarchive.web.admission import IDLE, Place
from pacarchive.web.checks import Checks

BLOCK = 1 << 20
"""How much is gathered before it is worth a thread hop."""

FIRST = 64 << 10
"""How much comes before a transfer is counted: one that never brings so much is none."""

HIGH_WATER = 2 << 20
"""How much may wait before the sender is held back."""


class BodySource(Protocol):
    """What a body asks of the request that it belongs to."""

    def pause_body(self) -> None:
        """Receive no more for now."""

    def resume_body(self) -> None:
        """Receive again."""

    def invite_body(self) -> None:
        """Answer C{Expect: 100-continue}, if that is still open."""


class RequestBody:
    """
    The body of one request: filled by the protocol, read by one route.

    @param source: The request.
    @param length: Bytes to come, C{None} where that is not known (chunked).
    @ivar received: Bytes so far.
    @ivar timed: Bytes when its time began anew.
    @ivar complete: Whether the last byte has come.
    @ivar trailers: The trailer fields of a chunked body, once it is complete.
    """

    def __init__(self, source: BodySource, length: int | None) -> None:
        self._source = source
        self.length = length
        self.received = 0
        self.timed = 0
        self.complete = length == 0
        self.trailers: list[tuple[str, str]] = []
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._paused = False
        self._dropped = False
        self._failure: errors.ArchiveError | None = None
        self._reader: Deferred[None] | None = None
        self._wanted = 0

    # The protocol's side

    def feed(self, data: bytes) -> None:
        """Take the next bytes from the transport."""
        self.received += len(data)
        if self._dropped:
            return
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._reader is not None and self._waiting_bytes >= self._wanted:
            self._wake()
        elif self._waiting_bytes >= HIGH_WATER and not self._paused:
            self._paused = True
            self._source.pause_body()

    def end(self) -> None:
        """The last byte has come."""
        self.complete = True
        self._wake()

    def fail(self, error: errors.ArchiveError) -> None:
        """No more bytes will come, although some are missing."""
        if not self.complete:
            self._failure = error
            self._pieces.clear()
            self._wake()

    def drop(self) -> None:
        """Nobody will read any more: let the rest pass unread."""
        self._dropped = True
        self._pieces.clear()
        self._waiting_bytes = 0
        self._resume()

    # The route's side

    async def read(self, want: int = BLOCK) -> list[bytes]:
        """
        Take bytes.

        @param want: Wait for at least so many, unless the body ends before.
        @return: Pieces; none at the end.
        @raise errors.IncompleteBody: The sender stopped.
        """
        self._source.invite_body()
        if self._waiting_bytes < want and not self.complete and self._failure is None:
            self._wanted = want
            self._reader = Deferred()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._failure is not None:
            raise self._failure
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        self._resume()
        return pieces

    def _wake(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.callback(None)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._source.resume_body()

    # twisted.web.http.Request wants a file; it asks for the position, goes to the start, and closes.

    def tell(self) -> int:
        """Nothing has been read when the request begins."""
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """The only place to go to is the start, where the reader still is."""
        return 0

    def close(self) -> None:
        """The request is over."""
        self.drop()


async def receive_file(
    body: RequestBody,
    enter: Callable[[], Place],
    clock: IReactorTime,
    backend: IArchiveBackend,
    file_id: int,
    *,
    conditions: WriteConditions,
    checks: Checks,
    limit: int,
    mtime_ns: int | None,
) -> FileStatus:
    """
    Stream a body into the archive.

    @param enter: Has the transfer counted, once there are bytes.
    @param checks: What the sender wants to have checked.
    @param limit: The largest body, in bytes.
    @param mtime_ns: Nanoseconds since the epoch; C{None} for now.
    @return: The status of the stored file.
    """
    incoming = await backend.receive(file_id, body.length, conditions, checks.algorithms)
    try:
        pieces = await body.read(FIRST)
        with enter() as place:
            while pieces:
                if body.received > limit:
                    raise errors.TooLarge(f"The body may have {limit} bytes at the most.")
                await incoming.write(pieces)
                pieces = await _next(body, place, clock)
            return await incoming.commit(mtime_ns, checks.complete(body.trailers))
    except BaseException:
        await incoming.abort()
        raise


async def _next(body: RequestBody, place: Place, clock: IReactorTime) -> list[bytes]:
    """The next block; a sender that is long about it is not counted meanwhile."""
    if body.complete:
        return await body.read()
    resting = clock.callLater(IDLE, place.rest)
    try:
        return await body.read()
    finally:
        if resting.active():
            resting.cancel()
        place.go_on()
