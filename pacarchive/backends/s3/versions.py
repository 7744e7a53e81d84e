"""Buckets that keep versions: listing all of them, and removing an object for good."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pacarchive import errors
from pacarchive.backends.s3.bucket import Bucket
from pacarchive.backends.s3.documents import BadDocumentError, Version, versions
from pacarchive.backends.s3.request import Request
from pacarchive.backends.s3.store import RefusedError

_LIST = 8 << 20


async def listed(bucket: Bucket, prefix: str) -> AsyncIterator[Version]:
    """
    List all versions in the order of their keys, of each key the latest first.

    The next page is asked for before one is given out, as what it begins after may be removed meanwhile.
    """
    page, after = await _page(bucket, prefix, None)
    while True:
        upcoming: list[Version] = []
        further = None
        if after is not None:
            upcoming, further = await _page(bucket, prefix, after)
        for each in page:
            yield each
        if after is None:
            return
        page, after = upcoming, further


async def remove(bucket: Bucket, key: str) -> None:
    """
    Remove all versions of an object, and the marks that it was removed: only that frees its space.

    @raise errors.Locked: One of them is locked; the others are removed.
    """
    locked: errors.Locked | None = None
    async for each in listed(bucket, key):
        if each.key != key:
            break
        try:
            await bucket.delete(key, version=each.version)
        except errors.Locked as error:
            locked = error
    if locked is not None:
        raise locked


async def _page(
    bucket: Bucket, prefix: str, after: tuple[str, str] | None
) -> tuple[list[Version], tuple[str, str] | None]:
    query = {"versions": "", "prefix": prefix}
    if after is not None:
        query["key-marker"] = after[0]
        if after[1]:
            query["version-id-marker"] = after[1]
    try:
        answer = await bucket.store.ask(Request(method="GET", query=query, most=_LIST))
        return versions(answer.body)
    except RefusedError as error:
        raise error.translated() from error
    except BadDocumentError as error:
        raise errors.BackendUnavailable("The object store sends an answer that is none.") from error
