"""Reading long lists of objects, also side by side, and objects as they are read once for their digests."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pacarchive import errors
from pacarchive.backends.s3.bucket import Bucket, Stored
from pacarchive.backends.s3.documents import Listed
from pacarchive.backends.s3.order import Pace
from pacarchive.backends.s3.sending import NoAnswerError
from pacarchive.digests import Hasher

_PAGE = 1000
_BLOCK = 1 << 20


async def listed(bucket: Bucket, prefix: str, of: str | None = None) -> AsyncIterator[Listed]:
    """
    All objects whose keys begin so, in the order of the keys.

    @param of: The bucket that they are in, where it is not the archive's.
    """
    token: str | None = None
    while True:
        page = await bucket.page(prefix, _PAGE, token=token, bucket=of)
        for each in page.objects:
            yield each
        token = page.token
        if token is None:
            return


class Beside:
    """
    Finds keys in a list that is read beside another, whose keys have the same ends in the same order.

    @param bucket: The bucket.
    @param prefix: What the keys begin with.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._list = listed(bucket, prefix)
        self._prefix = prefix
        self._at: str | None = ""

    async def has(self, place: str) -> bool:
        """Whether there is a key with this end; it is asked for in order."""
        while self._at is not None and self._at < place:
            each = await anext(self._list, None)
            self._at = None if each is None else each.key.removeprefix(self._prefix)
        return self._at == place


async def hash_object(
    bucket: Bucket, key: str, stored: Stored, hasher: Hasher, pace: Pace | None = None, of: str | None = None
) -> None:
    """
    Compute digests of an object by reading it once.

    @param stored: What it has to be still.
    @param of: The bucket that it is in, where it is not the archive's.
    @raise errors.BackendUnavailable: It cannot be read to its end.
    """
    if not stored.size:
        return
    stream = await bucket.stream(key, stored, 0, stored.size, bucket=of)
    try:
        while stream.left:
            size = min(_BLOCK, stream.left)
            if pace is not None:
                await pace(size)
            hasher.update(await stream.read(size))
    except NoAnswerError as error:
        raise errors.BackendUnavailable("The object store stopped in the middle of the source.") from error
    finally:
        stream.close()
