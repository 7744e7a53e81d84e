"""Reading what has changed of a job: once for all who follow it, who have all seen the same before."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from pacarchive.recall import listing
from pacarchive.recall.store import Cursor
from pacarchive.recall.words import FilesPage
from pacarchive.runtime.shared import Wanted

_PAGE = 1000
"""The most files of a page."""

Changes: TypeAlias = tuple[FilesPage, int]
"""A page, and how many files of the job have not ended."""


class Following:
    """
    Reads that are under way.

    @param read: Reads from the store.
    """

    def __init__(self, read: Callable[[Callable[[Cursor], Changes]], Coroutine[Any, Any, Changes]]) -> None:
        self._read = read
        self._under_way: dict[tuple[str, str], Wanted[Changes]] = {}

    async def changes(self, job: str, since: str) -> Changes:
        """
        Return the changes of a job since a cursor, as far as they are one page.

        Who asks while others wait for the same gets what they get.  What has changed in the meantime is no part of it,
        and comes behind its cursor.

        @raise errors.NotFound: There is no such job.
        @raise errors.InvalidRequest: It is not a cursor.
        """
        key = (job, since)
        work = self._under_way.get(key)
        if work is None or work.is_over:
            read = self._read(partial(listing.changes, job=job, since=since, limit=_PAGE))
            work = self._under_way[key] = Wanted(read)
        try:
            return await work.result()
        finally:
            if work.is_over and self._under_way.get(key) is work:
                del self._under_way[key]
