"""Reading what has changed of a job: once for all who have seen the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from pacarchive.recall.following import Following
from pacarchive.recall.words import FilesPage
from recall.surroundings import Going

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = FilesPage(files=(), cursor="7-0", more=False)


class Reads:
    """Reads from a store that takes its time."""

    def __init__(self) -> None:
        self.under_way: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []

    async def __call__(self, query: Callable[[Any], Any]) -> Any:
        read: Deferred[Any] = Deferred()
        self.under_way.append(read)
        try:
            return await read
        except CancelledError:
            self.cancelled.append(read)
            raise


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def following(reads: Reads) -> Following:
    return Following(reads)


def test_those_who_wait_for_the_same_share_a_read(reads: Reads, following: Following) -> None:
    """Others have their own: who follows another job, or has seen less."""
    asked = [Going(following.changes("a", "5-0")) for _ in range(50)]
    others = [Going(following.changes("b", "5-0")), Going(following.changes("a", "4-0"))]
    assert len(reads.under_way) == 3
    reads.under_way[0].callback((PAGE, 1))
    assert all(each.result == (PAGE, 1) for each in asked)
    assert not any(each.ended for each in others)


def test_who_asks_later_reads_anew(reads: Reads, following: Following) -> None:
    """There may be more by then."""
    first = Going(following.changes("a", ""))
    reads.under_way[0].callback((PAGE, 1))
    second = Going(following.changes("a", ""))
    assert len(reads.under_way) == 2
    reads.under_way[1].callback((PAGE, 0))
    assert (first.result, second.result) == ((PAGE, 1), (PAGE, 0))


def test_a_failure_is_everyones_and_nobodys_later(reads: Reads, following: Following) -> None:
    """The next who asks reads anew."""
    asked = [Going(following.changes("a", "")) for _ in range(2)]
    reads.under_way[0].errback(ZeroDivisionError())
    for each in asked:
        with pytest.raises(ZeroDivisionError):
            _ = each.result
    Going(following.changes("a", ""))
    assert len(reads.under_way) == 2


def test_who_leaves_takes_nothing_from_the_others(reads: Reads, following: Following) -> None:
    """The read ends with the last who waits for it."""
    first, second = (Going(following.changes("a", "")) for _ in range(2))
    first.deferred.cancel()
    assert not reads.cancelled
    second.deferred.cancel()
    assert reads.cancelled == reads.under_way
    third = Going(following.changes("a", ""))
    reads.under_way[1].callback((PAGE, 1))
    assert third.result == (PAGE, 1)
