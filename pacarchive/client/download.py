"""Getting a file: in parts where it is large, going on where it was cut, all parts of one version, and checked.

A part goes on at the byte where the connection was lost, on condition that the file is still the same version
(C{If-Range}).  If it is not, all begins anew.

Without TLS a byte of the request may change on the way just as one of the answer may, and what comes then is another
file, complete and with its right digest.  So the archive is asked once more, for the digest alone, before the file is
believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError
from twisted.internet.task import deferLater

from pacarchive.client.errors import (
    ConnectionFailed,
    DigestMismatch,
    FileChanged,
    NotVerifiable,
    Offline,
    ProtocolError,
    ServerUnavailable,
)
from pacarchive.client.fields import ContentRange, parse_content_range, parse_mtime, parse_repr_digest
from pacarchive.client.refusals import refused
from pacarchive.client.retry import Tries
from pacarchive.client.words import Fetched, OnProgress, Progress, RetryPolicy, Status
from pacarchive.digests import PRIMARY

if TYPE_CHECKING:
    from pacarchive.client.sinks import Sink
    from pacarchive.client.wire import Answer, Wire
    from pacarchive.digests import Digests

FIRST = 64 << 20
"""How much is asked for first where a file may be read over several connections; most need no more."""

PART = 64 << 20
"""How much each further request asks for."""

FAST = 128 << 20
"""From how many bytes a second one connection is as good as several: more would only be in each other's way."""

LOOK = 0.5
"""After how many seconds it is seen how fast it is."""

SOON = 1.0
"""For how many seconds at the least a file on tape is not asked for again."""

PROGRESS = 1 << 20
"""How many bytes have to come for the tries of a part to be counted anew: a few now and then could go on for ever."""

_CHANGES = 5
"""How many versions to begin with before it is given up."""


class _Changed(Exception):
    """The archive has another version than the one that was begun with."""


@attrs.define
class _Part:
    """
    A part of the file that somebody reads.

    @ivar position: What comes next.
    @ivar end: The byte behind it; C{None} for the end of the file, where that is not known.
    """

    position: int
    end: int | None


@attrs.define(kw_only=True)
class Download:
    """
    One file on its way out of the archive.

    @ivar wait: For how many seconds to wait for its recall, if it needs one.
    @ivar connections: How many parts are read at a time, at the most.
    @ivar keep_time: Whether a local file gets the time of modification of its version.
    @ivar status: Asks for the file's status.
    """

    wire: Wire
    policy: RetryPolicy
    file_id: int
    sink: Sink
    wait: float | None
    connections: int
    verify: bool
    keep_time: bool
    on_progress: OnProgress | None
    status: Callable[[int], Awaitable[Status]]

    # of the version that is being read
    _etag: str | None = None
    _size: int | None = None
    _digests: Digests = attrs.field(factory=dict)
    _mtime_ns: int | None = None
    _next: int = 0
    _done: int = 0
    _helpers: list[Deferred[None]] = attrs.field(factory=list)
    _begun: float = 0.0
    _claimed: bool = False
    _resumed: int = 0
    _patient_until: float = 0.0

    async def run(self) -> Fetched:
        """
        Get the file.

        @raise ClientError: It did not come, or is not right.
        @raise OSError: It cannot be written.
        """
        if not self.sink.parallel:
            self.connections = 1
        self._patient_until = self.wire.clock.seconds() + (self.wait or 0.0)
        for _ in range(min(_CHANGES, self.policy.attempts)):
            try:
                await self._version()
                return await self._checked()
            except _Changed:
                if not self.sink.repeats:
                    break
                await self.sink.begin_anew()
        raise FileChanged(f"File {self.file_id} was replaced while it was read.")

    async def _version(self) -> None:
        """Read one version to its end."""
        self._etag = self._size = None
        self._digests, self._next, self._done, self._claimed = {}, 0, 0, False
        await together(self._work(), *(self._work_later() for _ in range(self.connections - 1)))

    async def _work_later(self) -> None:
        """Take part as soon as it is seen that one connection is not enough, if it is."""
        if self._claimed:
            return
        self._helpers.append(called := Deferred[None]())
        try:
            await called
        finally:
            if called in self._helpers:
                self._helpers.remove(called)
        await self._work()

    async def _work(self) -> None:
        while (part := self._claim()) is not None:
            await self._read(part)
        self._claimed = True
        self._call_helpers()  # to see that there is nothing left to do

    def _call_helpers(self) -> None:
        helpers, self._helpers = self._helpers, []
        for each in helpers:
            each.callback(None)

    def _look(self) -> None:
        elapsed = self.wire.clock.seconds() - self._begun
        if self._helpers and elapsed >= LOOK and self._done < FAST * elapsed:
            self._call_helpers()

    def _claim(self) -> _Part | None:
        start = self._next
        if self._size is None:
            if start:
                return None
            end = FIRST if self.connections > 1 else None
        elif start >= self._size:
            return None
        else:
            end = min(start + PART, self._size)
        self._next = end or 1
        return _Part(start, end)

    async def _read(self, part: _Part) -> None:
        """Read a part to its end, over as many connections as that takes."""
        tries = Tries(self.wire.clock, self.policy)
        counted_from = part.position
        while part.end is None or part.position < part.end or self._size is None:
            before = part.position
            try:
                await self._go_on(part)
            except Offline as error:
                await self._recalled(error)
            except (ConnectionFailed, ServerUnavailable) as error:
                moved = part.position > before
                self._resumed += moved
                if advanced := part.position - counted_from >= PROGRESS:
                    counted_from = part.position
                await tries.after(error, resumes=advanced)

    async def _recalled(self, error: Offline) -> None:
        left = self._patient_until - self.wire.clock.seconds()
        if left <= 0:
            raise error
        await deferLater(self.wire.clock, min(left, max(SOON, error.retry_after)))

    async def _go_on(self, part: _Part) -> None:
        """Read on until the part's end, or that of the connection."""
        fields = {"Want-Repr-Digest": "sha-256=10"}
        whole = part.position == 0 and part.end is None
        if not whole:
            fields["Range"] = f"bytes={part.position}-{'' if part.end is None else part.end - 1}"
        if self._etag is not None and not whole:
            fields["If-Range"] = self._etag
        wait = max(0.0, self._patient_until - self.wire.clock.seconds())
        if wait >= 1:
            fields["Prefer"] = f"wait={int(wait)}"
        async with self.wire.exchange("GET", f"/{self.file_id}", fields, patience=wait) as answer:
            left = self._judge(part, answer)
            if answer.status not in (200, 206, 416):
                raise await refused(answer)
            if answer.status == 200:
                await self._take_whole(part, answer, left)
            else:
                await self._take(part, answer, left)

    async def _take(self, part: _Part, answer: Answer, left: int) -> None:
        """Read what was asked for."""
        while left and (pieces := await answer.read()):
            size = sum(map(len, pieces))
            if size > left:
                raise ProtocolError("The archive sends more than was asked for.", status=answer.status)
            await self._keep(part, pieces, size)
            left -= size
        if left:
            raise ConnectionFailed("The answer ended early.")

    async def _take_whole(self, part: _Part, answer: Answer, left: int) -> None:
        """Read what was asked for out of the whole file: pass over what is there already, and what others read."""
        known = part.position
        while left and (pieces := await answer.read()):
            size = sum(map(len, pieces))
            if known or size > left:
                passed = min(known, size)
                pieces = _section(pieces, passed, left)
                known -= passed
                size = min(size - passed, left)
            if size:
                await self._keep(part, pieces, size)
                left -= size
        if left:
            raise ConnectionFailed("The answer ended early.")

    async def _keep(self, part: _Part, pieces: Sequence[bytes], size: int) -> None:
        await self.sink.write(part.position, pieces)
        part.position += size
        self._done += size
        self._tell()
        self._look()

    def _judge(self, part: _Part, answer: Answer) -> int:
        """
        See what an answer is good for.

        @return: How many bytes of it to read.
        @raise _Changed: It is of another version.
        """
        if answer.status == 206:
            return self._judge_part(part, answer)
        if answer.status == 200:
            if (size := answer.length) is None:
                raise ProtocolError("The archive does not say how large the file is.", status=200)
            if part.position and not self._etag:
                raise _Changed  # or not: nothing tells
            first = self._size is None
            self._learn(answer, size)
            # Ranges are not to be had.  Who goes on has to pass over what is there already.
            if first or part.end is None:
                part.end = self._next = size
            return part.end - part.position
        if answer.status == 416:
            found = parse_content_range(answer.field("Content-Range"))
            if self._etag is not None or found != ContentRange(None, None, 0):
                raise _Changed
            self._learn(answer, 0)
            part.end = part.position = 0
        return 0

    def _judge_part(self, part: _Part, answer: Answer) -> int:
        """As L{_judge}, of an answer that says that it is a part."""
        found = parse_content_range(answer.field("Content-Range"))
        if found is None or found.start != part.position:
            raise ProtocolError("The archive sends another part than was asked for.", status=206)
        self._learn(answer, found.size)
        if part.end is None:
            self._next = found.size
        expected = found.size if part.end is None else min(part.end, found.size)
        if found.end != expected:
            raise ProtocolError("The archive sends another part than was asked for.", status=206)
        part.end = expected
        return expected - part.position

    def _learn(self, answer: Answer, size: int) -> None:
        """Take down which version it is, or see that it is still the same."""
        etag = answer.field("ETag")
        if self._size is None:
            self._etag, self._size = etag, size
            self._digests = parse_repr_digest(answer.field("Repr-Digest"))
            self._mtime_ns = parse_mtime(answer.field)
            self._begun = self.wire.clock.seconds()
        elif (etag, size) != (self._etag, self._size):
            raise _Changed

    def _tell(self) -> None:
        if self.on_progress is not None:
            self.on_progress(Progress(self._done, self._size))

    async def _checked(self) -> Fetched:
        """
        Compare what came with what the archive has, and give it its name.

        @raise DigestMismatch: It is something else.
        """
        assert self._size is not None
        digests: Digests = {}
        if self.verify:
            digests = await self.sink.digests()
            await self._compare(digests[PRIMARY])
        await self.sink.publish(self._mtime_ns if self.keep_time else None)
        self._tell()
        return Fetched(
            file_id=self.file_id,
            size=self._size,
            etag=self._etag or "",
            digests=digests,
            verified=self.verify,
            resumed=self._resumed,
            mtime_ns=self._mtime_ns,
        )

    async def _compare(self, digest: bytes) -> None:
        expected = self._digests.get(PRIMARY)
        if expected == digest and self._etag and not self.wire.plain:
            return
        status = await self.status(self.file_id)
        now = status.digests.get(PRIMARY)
        if now == digest or (now is None and expected == digest and status.etag == self._etag):
            self._etag = status.etag
            return
        if self._etag and status.etag != self._etag:
            raise _Changed
        if now is None and expected is None:
            raise NotVerifiable(f"The archive knows no digest of file {self.file_id}.")
        raise DigestMismatch(
            f"What came of file {self.file_id} is not what the archive has: the SHA-256 is {digest.hex()}, not "
            f"{(now or expected or b'').hex()}."
        )


def _section(pieces: Sequence[bytes], start: int, size: int) -> list[bytes]:
    """So many bytes of pieces that are one behind the other, from a position on."""
    found = []
    for piece in pieces:
        if part := piece[start : start + size]:
            found.append(part)
            size -= len(part)
        start = max(0, start - len(piece))
    return found


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """
    Run coroutines at the same time, to the end of all of them.

    @raise Exception: What the first failed with; the others are cancelled, and have ended.
    """
    running = [Deferred.fromCoroutine(each) for each in coroutines]
    try:
        await DeferredList(running, fireOnOneErrback=True, consumeErrors=True)
    except FirstError as first:
        await _end(running)
        first.subFailure.raiseException()
    except CancelledError:
        await _end(running)
        raise


async def _end(running: list[Deferred[None]]) -> None:
    for each in running:
        each.cancel()
    await DeferredList(running, consumeErrors=True)
