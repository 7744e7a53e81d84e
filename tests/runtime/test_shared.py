"""L{pacarchive.runtime.shared}: one piece of work that several wait for, and several that one waits for."""

from __future__ import annotations

import pytest
from recall.surroundings import Going
from twisted.internet.defer import CancelledError, Deferred

from pacarchive.runtime.shared import Shared, all_of


class Oops(Exception):
    pass


async def awaited(work: Deferred[int]) -> int:
    return await work


class TestShared:
    def test_is_begun_once_and_at_once(self) -> None:
        begun = []

        async def work() -> int:
            begun.append(1)
            return 7

        shared = Shared(work())
        assert begun == [1]
        assert [Going(shared.result()).result for _ in range(3)] == [7, 7, 7]
        assert begun == [1]
        assert not shared.failed

    def test_all_who_wait_get_its_result(self) -> None:
        work: Deferred[int] = Deferred()
        shared = Shared(awaited(work))
        waiting = [Going(shared.result()) for _ in range(3)]
        assert not any(each.ended for each in waiting)
        work.callback(7)
        assert [each.result for each in waiting] == [7, 7, 7]

    def test_all_who_wait_get_its_failure(self) -> None:
        work: Deferred[int] = Deferred()
        shared = Shared(awaited(work))
        waiting = [Going(shared.result()) for _ in range(3)]
        assert shared.failed is False
        work.errback(Oops())
        assert bool(shared.failed)
        for each in [*waiting, Going(shared.result()), Going(shared.result())]:
            with pytest.raises(Oops):
                assert each.result

    def test_its_failure_need_interest_nobody(self) -> None:
        async def work() -> int:
            raise Oops

        assert Shared(work()).failed

    def test_goes_on_without_those_who_leave(self) -> None:
        work: Deferred[int] = Deferred()
        shared = Shared(awaited(work))
        waiting = [Going(shared.result()) for _ in range(3)]
        waiting[1].deferred.cancel()
        with pytest.raises(CancelledError):
            assert waiting[1].result
        assert not work.called
        work.callback(7)
        assert [waiting[0].result, waiting[2].result, Going(shared.result()).result] == [7, 7, 7]

    def test_goes_on_without_anybody(self) -> None:
        work: Deferred[int] = Deferred()
        shared = Shared(awaited(work))
        Going(shared.result()).deferred.cancel()
        work.callback(7)
        assert Going(shared.result()).result == 7

    @pytest.mark.parametrize("leaving", [0, 1, 2])
    def test_one_leaves_because_another_was_told(self, leaving: int) -> None:
        work: Deferred[int] = Deferred()
        shared = Shared(awaited(work))
        waiting = [Going(shared.result()) for _ in range(3)]
        waiting[0].deferred.addCallback(lambda _: waiting[leaving].deferred.cancel())
        work.callback(7)
        assert all(each.ended for each in waiting)
        assert waiting[0].result == 7
        assert waiting[1 if leaving == 2 else 2].result == 7

    def test_one_asks_because_another_was_told(self) -> None:
        work: Deferred[int] = Deferred()
        shared = Shared(awaited(work))
        more: list[Going] = []
        Going(shared.result()).deferred.addCallback(lambda _: more.append(Going(shared.result())))
        work.callback(7)
        assert [each.result for each in more] == [7]


class TestAllOf:
    def test_results_are_in_order(self) -> None:
        work: list[Deferred[int]] = [Deferred() for _ in range(3)]
        waiting = Going(all_of(awaited(each) for each in work))
        for index in (2, 0, 1):
            assert not waiting.ended
            work[index].callback(index)
        assert waiting.result == [0, 1, 2]

    def test_of_nothing(self) -> None:
        assert Going(all_of([])).result == []

    def test_waits_for_the_others_when_one_fails(self) -> None:
        work: list[Deferred[int]] = [Deferred() for _ in range(3)]
        waiting = Going(all_of(awaited(each) for each in work))
        work[1].errback(Oops("the second"))
        work[2].errback(KeyError("the third"))
        assert not waiting.ended
        work[0].callback(0)
        with pytest.raises(Oops, match="the second"):
            assert waiting.result

    def test_is_cancelled(self) -> None:
        work: list[Deferred[int]] = [Deferred() for _ in range(3)]
        waiting = Going(all_of(awaited(each) for each in work))
        work[0].callback(0)
        waiting.deferred.cancel()
        with pytest.raises(CancelledError):
            assert waiting.result
        assert all(each.called for each in work), "nothing is left behind"
