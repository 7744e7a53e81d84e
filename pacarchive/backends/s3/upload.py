"""The data of a large file on its way to the store: in parts, several at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.backends.s3.bucket import Bucket, Stored
from pacarchive.backends.s3.memory import Memory
from pacarchive.backends.s3.sums import Sum
from pacarchive.runtime.threads import finished

MOST_PARTS = 10_000

_GROWS_AFTER = 1000

_log = Logger()


@attrs.frozen(kw_only=True)
class Parting:
    """
    How files are parted.

    @ivar size: The size of a part, of the first ones at least.
    @ivar equal: Whether it is that of all.
    @ivar in_flight: How many are sent at a time.
    """

    size: int
    equal: bool
    in_flight: int

    def size_of(self, number: int) -> int:
        """The size of a part, by its number, which counts from 1: twice as large after each thousand of them."""
        return self.size if self.equal else self.size << ((number - 1) // _GROWS_AFTER)

    @property
    def largest(self) -> int:
        """The size of the largest file that has so few parts, which stores may have a limit below."""
        # It is asked for before each file: by the thousand, as all of a thousand have one size.
        return sum(_GROWS_AFTER * self.size_of(number) for number in range(1, MOST_PARTS + 1, _GROWS_AFTER))


class Upload:
    """
    The data of one file.

    The part that is being filled and those that are being sent are in memory, each until the store has it, as it may
    have to be sent again.  A sender that is faster than the store waits in L{write}.

    @param bucket: The bucket.
    @param key: The key, which is used once.
    @param memory: The memory.
    @param parting: How files are parted.
    @param expected: How many bytes will come, where that is known.
    @ivar size: How many bytes have come.
    """

    def __init__(self, bucket: Bucket, key: str, memory: Memory, parting: Parting, expected: int | None = None) -> None:
        self.size = 0
        self._expected = expected
        self._bucket = bucket
        self._key = key
        self._memory = memory
        self._parting = parting
        self._reserved = 0  # of the part that is being filled
        self._held: list[bytes] = []
        self._held_size = 0
        self._summing = bucket.summing()
        self._id: str | None = None
        self._parts: dict[int, Mapping[str, str]] = {}
        self._sent = 0
        self._flying: dict[int, Deferred[None]] = {}
        self._failure: Failure | None = None
        self._left_over: Deferred[int] | None = None  # memory of a part that has been sent
        self._may_be_stored = False
        self._stored: Stored | None = None

    async def write(self, piece: bytes) -> None:
        """
        Add bytes.

        @raise errors.ArchiveError: The store does not take them.
        """
        view = memoryview(piece)
        while view:
            await self._make_room()
            most = self._reserved - self._held_size
            # Most pieces are taken as they are; only one that goes beyond the end of a part is copied.
            some = piece if len(piece) <= most and len(view) == len(piece) else bytes(view[:most])
            view = view[len(some) :]
            self._summing.update(some)
            self._held.append(some)
            self._held_size += len(some)
            self.size += len(some)

    async def finish(self) -> Stored:
        """
        Store what has come as one object.

        @raise errors.ArchiveError: The store does not take it.
        """
        self._may_be_stored = True
        if self._id is None:
            stored = await self._bucket.put(self._key, self._held, total=self._summing.total())
            if stored.size != self.size or not stored.tag:
                stored = await self._looked_at()
        else:
            if self._held:
                self._send()
            await self._landed()
            parts = [self._parts[number] for number in range(1, self._sent + 1)]
            stored = await self._bucket.complete(self._key, self._id, parts, self.size)
        self._stored = stored
        self._drop()
        return stored

    async def discard(self) -> None:
        """Stop, and leave nothing in the store; what cannot be removed now is swept later."""
        for each in list(self._flying.values()):
            each.cancel()
        while self._flying:
            await finished(next(iter(self._flying.values())))
        self._drop()
        try:
            if self._id is not None and self._stored is None:
                await self._bucket.abort(self._key, self._id)
            if self._may_be_stored:
                await self._bucket.delete(self._key, version="" if self._stored is None else self._stored.version)
        except errors.ArchiveError as error:
            _log.warn("an upload is left behind, to be swept: {key}: {error}", key=self._key, error=error)

    def _drop(self) -> None:
        """Give the memory back."""
        self._held, self._held_size = [], 0
        size, self._reserved = self._reserved, 0
        if size:
            self._memory.give_back(size)

    async def _make_room(self) -> None:
        """See to it that there is a part that is not full, and memory for all of it."""
        needed = self._parting.size_of(self._sent + 1)
        if self._reserved and self._held_size < needed:
            if self._held_size >= self._reserved:  # more than was expected
                self._memory.overdraw(needed - self._reserved)
                self._reserved = needed
            return
        if not self._reserved:
            needed = min(needed, self._expected or needed)
        if self._held_size:
            if self._id is None:
                self._id = await self._bucket.create(self._key)
            self._send()
            needed = self._parting.size_of(self._sent + 1)
        await self._reserve(needed)
        self._raise_failure()

    async def _reserve(self, size: int) -> None:
        if len(self._flying) < self._parting.in_flight and self._memory.take_now(size):
            self._reserved = size
            return
        if self._flying and size == self._parting.size_of(self._sent):
            # What is held already is enough to go on with, if slowly; to wait for more could be for ever.
            self._left_over = Deferred()
            try:
                self._reserved = await self._left_over
            finally:
                self._left_over = None
            return
        await self._landed()
        await self._memory.take(size)
        self._reserved = size

    def _send(self) -> None:
        """Begin to send the part that is full."""
        self._sent += 1
        number, body, total = self._sent, self._held, self._summing.total()
        size, self._reserved = self._reserved, 0
        self._held, self._held_size, self._summing = [], 0, self._bucket.summing()
        work = Deferred.fromCoroutine(self._send_part(number, body, total))
        self._flying[number] = work

        def landed(result: Failure | None) -> None:
            self._flying.pop(number, None)
            if isinstance(result, Failure) and self._failure is None:
                self._failure = result
            if self._left_over is not None and not self._left_over.called:
                self._left_over.callback(size)
            else:
                self._memory.give_back(size)

        work.addBoth(landed)

    async def _send_part(self, number: int, body: list[bytes], total: Sum) -> None:
        assert self._id is not None, "it was begun"
        self._parts[number] = await self._bucket.put_part(self._key, self._id, number, body, total)

    async def _landed(self) -> None:
        """Wait for all parts."""
        while self._flying:
            await finished(next(iter(self._flying.values())))
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            if self._failure.check(CancelledError):
                raise errors.BackendUnavailable("The upload was stopped.")
            self._failure.raiseException()

    async def _looked_at(self) -> Stored:
        """What the store has under the key, where it does not say so when it takes it."""
        found = await self._bucket.head(self._key)
        if found is None or found.size != self.size:
            raise errors.BackendUnavailable("The object store has lost data.")
        return found
