"""How something is done for very many files, some at a time, and what is told of each.  It needs no botocore."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import DeferredLock

from pacarchive import errors
from pacarchive.runtime.shared import all_of

T = TypeVar("T")

_GIVE_UP = 10
"""After so many files in a row that the store had no answer for, the rest is not tried."""

Pace = Callable[[int], Awaitable[None]]
"""Waits until so many bytes more may be read."""


class Outcome(enum.Enum):
    """What has become of an object; the values are words of a report."""

    MADE = "made"
    THERE = "there"
    COMPARED = "compared"
    OLDER = "older"
    YOUNG = "young"
    MARKED = "marked"
    NO_ID = "no_id"
    CLASH = "clash"
    STAYS = "stays"
    FAILED = "failed"


@attrs.frozen
class Told:
    """
    What has become of an object.

    @ivar outcome: That.
    @ivar key: Its key.
    @ivar size: Its size in bytes, where known.
    @ivar file_id: The file's id; C{None} where it has none.
    @ivar words: Why.
    """

    outcome: Outcome
    key: str
    size: int = 0
    file_id: int | None = None
    words: str = ""


@attrs.frozen(kw_only=True)
class Order:
    """
    How something is done for many files.

    @ivar trial: Only look.
    @ivar jobs: How many files at a time.
    @ivar pace: How fast they are read.
    @ivar stopped: Whether to begin with no more.
    @ivar told: Called with what has become of each.
    """

    trial: bool
    jobs: int
    pace: Pace
    stopped: Callable[[], bool]
    told: Callable[[Told], None]

    async def work_off(
        self, items: AsyncIterator[T], work: Callable[[T], Awaitable[Told]], failed: Callable[[T, str], Told]
    ) -> None:
        """
        Do something for each, some at a time.

        @param failed: What is told of one that it fails for.
        @raise errors.Unavailable: The store does not answer, for many in a row; or for the list.
        """
        turn = DeferredLock()
        in_a_row = 0
        given_up: errors.Unavailable | None = None

        async def following() -> T | None:
            async with turn:
                return None if given_up is not None or self.stopped() else await anext(items, None)

        async def worker() -> None:
            nonlocal in_a_row, given_up
            while (item := await following()) is not None:
                try:
                    told = await work(item)
                    in_a_row = 0
                except errors.ArchiveError as error:
                    told = failed(item, str(error))
                    if isinstance(error, errors.Unavailable) and not isinstance(error, errors.Offline):
                        in_a_row += 1
                        given_up = error if in_a_row >= _GIVE_UP else given_up
                self.told(told)

        await all_of(worker() for _ in range(self.jobs))
        if given_up is not None:
            raise given_up
