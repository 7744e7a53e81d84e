"""Request bodies as streams.

Bytes come from the transport in pieces, are gathered into large blocks, and are given to the route one block at a time
while the next is being received.  When more waits than L{HIGH_WATER}, the transport is paused: that, the block
under way and one read from the socket are all the memory that an upload ever takes.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from pacarchive import errors

BLOCK = 1 << 20
"""How much is gathered before it is worth a thread hop."""

FIRST = 64 << 10
"""How much comes before a transfer is counted: one that never brings so much is none."""

AT_ONCE = 16 << 10
"""Bodies up to this size are waited for before the route starts."""

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

    def note_held(self, amount: int) -> errors.Overloaded | None:
        """
        Note how many bytes wait to be read.

        @return: Why that is too much, where it is.
        """

    def body_overloaded(self, error: errors.Overloaded) -> object:
        """Have the body L{fail<RequestBody.fail>}, when there is time."""


class RequestBody:
    """
    The body of one request: filled by the protocol, read by one route.

    @param source: The request.
    @param length: Bytes to come, C{None} where that is not known (chunked).
    @ivar received: Bytes so far.
    @ivar timed: Bytes when its time limit began again.
    @ivar stored: Whether it is taken away as it comes, so that to hold the sender back is all that is to be done where
        there is no more memory.
    @ivar complete: Whether the last byte has come.
    @ivar trailers: The trailer fields of a chunked body, once it is complete.
    """

    def __init__(self, source: BodySource, length: int | None) -> None:
        self._source: BodySource = source
        self.length = length
        self.received = 0
        self.timed = 0
        self.stored = False
        self.complete = length == 0
        self.trailers: list[tuple[str, str]] = []
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._taken_bytes = 0  # by the reader, who has not done with them
        self._paused = False
        self._dropped = False
        self._failure: errors.ArchiveError | None = None
        self._reader: Deferred[None] | None = None
        self._wanted = 0

    # The protocol's side

    def feed(self, data: bytes) -> None:
        """Take the next bytes from the transport."""
        self.received += len(data)
        if self._dropped or self._failure is not None:
            return
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        refusal = None if self.received == self.length else self._note_held()
        if self._reader is not None and self._waiting_bytes >= self._wanted:
            self._wake()
        elif refusal is not None and not self.stored:
            self._failure = refusal
            self._forget()
            self._source.body_overloaded(refusal)
        elif self._reader is not None and refusal is not None:
            self._wake()
        elif (self._waiting_bytes >= HIGH_WATER or refusal is not None) and not self._paused:
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
            self._forget()
            self._wake()

    def drop(self) -> None:
        """Nobody will read any more: let the rest pass unread."""
        self._dropped = True
        self._taken_bytes = 0
        self._forget()
        self._resume()

    def _forget(self) -> None:
        self._pieces.clear()
        self._waiting_bytes = 0
        self._note_held()

    def _note_held(self) -> errors.Overloaded | None:
        return self._source.note_held(self._waiting_bytes + self._taken_bytes)

    # The route's side

    async def read(self, want: int = BLOCK) -> list[bytes]:
        """
        Take bytes.  Those that were taken before are done with.

        @param want: Wait for at least so many, unless the body ends before, or L{hurry} is called.
        @return: Pieces; none at the end.
        @raise errors.IncompleteBody: The sender stopped.
        """
        self._source.invite_body()
        self._taken_bytes = 0
        if self._waiting_bytes < want and not (self.complete or self._paused) and self._failure is None:
            self._note_held()
            self._wanted = want
            self._reader = Deferred()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._failure is not None:
            raise self._failure
        pieces, self._pieces = self._pieces, []
        self._taken_bytes, self._waiting_bytes = self._waiting_bytes, 0
        self._note_held()
        self._resume()
        return pieces

    def hold(self) -> list[bytes]:
        """
        Receive no more before L{go_on}: somebody else reads, and notes so in C{received}.

        @return: What has come; none of it waits any more.
        """
        if not self._paused:
            self._paused = True
            self._source.pause_body()
        pieces, self._pieces = self._pieces, []
        self._taken_bytes, self._waiting_bytes = self._waiting_bytes, 0
        return pieces

    def go_on(self) -> None:
        """Receive again, after L{hold}."""
        self._resume()

    @property
    def waiting(self) -> int:
        """How many bytes wait for the reader."""
        return self._waiting_bytes

    def hurry(self) -> None:
        """Let the reader have what there is, if there is anything."""
        if self._waiting_bytes:
            self._wake()

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
        """The request is over.  That each has the other would keep both until the garbage collector comes."""
        self.drop()
        self._source = _OVER


class _Over:
    """A request of which nothing is asked any more."""

    def pause_body(self) -> None:
        """It is over."""

    resume_body = invite_body = pause_body

    def note_held(self, amount: int) -> errors.Overloaded | None:
        return None

    def body_overloaded(self, error: errors.Overloaded) -> None:
        """It is over."""


_OVER = _Over()
