"""A version of a file, open for reading."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.s3.bucket import Bucket, Stored
from pacarchive.backends.s3.record import Layout, Record
from pacarchive.backends.s3.sending import NoAnswerError, Stream
from pacarchive.digests import Digests
from pacarchive.interfaces import IStoredFile

_AHEAD = 64 << 20
"""The most that is asked for with one request, in bytes."""

_ATTEMPTS = 3


@implementer(IStoredFile)
class StoredSmall:
    """
    A file that is in memory whole.

    @param layout: The keys.
    @param record: Its record, with its bytes.
    @param remember: Stores digests.
    """

    def __init__(self, layout: Layout, record: Record, remember: Callable[[Record, Digests], Awaitable[None]]) -> None:
        self.status = layout.status(record)
        self._record = record
        self._remember = remember

    async def read(self, offset: int, length: int) -> bytes:
        return self._record.body[offset : offset + length]

    async def remember(self, digests: Digests) -> None:
        await self._remember(self._record, digests)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


@implementer(IStoredFile)
class StoredLarge:
    """
    A file whose bytes are an object of their own.

    One that is read from one end to the other is asked for in large ranges, of which as much is fetched as is read.

    @param bucket: The bucket.
    @param layout: The keys.
    @param record: Its record.
    @param remember: Stores digests.
    """

    def __init__(
        self, bucket: Bucket, layout: Layout, record: Record, remember: Callable[[Record, Digests], Awaitable[None]]
    ) -> None:
        assert record.data is not None, "a file without an object is small"
        self.status = layout.status(record)
        self._bucket = bucket
        self._record = record
        self._key = layout.data_key(record)
        self._object = Stored(record.data.tag, record.data.version, record.size)
        self._remember = remember
        self._ahead: Stream | None = None
        self._next = -1  # where the stream is, or the next read would be if one were to follow

    async def read(self, offset: int, length: int) -> bytes:
        if not length:
            return b""
        # Reads side by side are none that follow each other: only one of them gets the stream.
        stream, self._ahead = (self._ahead, None) if offset == self._next else (None, self._ahead)
        follows = offset == self._next
        self._next = offset + length
        for attempt in range(_ATTEMPTS):
            if stream is None or stream.left < length:
                if stream is not None:
                    stream.close()
                ahead = min(max(length, _AHEAD), self.status.size - offset) if follows else length
                stream = await self._bucket.stream(self._key, self._object, offset, ahead)
            try:
                data = await stream.read(length)
            except NoAnswerError as error:
                stream = None
                if attempt == _ATTEMPTS - 1:
                    raise errors.BackendUnavailable("The object store stopped in the middle of the file.") from error
            except BaseException:
                stream.close()
                raise
            else:
                self._keep(stream, offset + length)
                return data
        raise AssertionError("the last attempt ends it")

    async def remember(self, digests: Digests) -> None:
        await self._remember(self._record, digests)

    def close(self) -> None:
        stream, self._ahead = self._ahead, None
        self._next = -1
        if stream is not None:
            stream.close()

    def _keep(self, stream: Stream, place: int) -> None:
        """Keep a stream for the read that follows, unless another has been there meanwhile."""
        if stream.left and self._next == place and self._ahead is None:
            self._ahead = stream
        else:
            stream.close()
