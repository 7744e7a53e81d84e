"""L{pacarchive.recall.watch}: nobody who waits misses anything, or is woken for nothing; and all are at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from pacarchive.recall import jobs, listing, work
from pacarchive.recall.jobs import Submission
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Store, StoreSettings
from pacarchive.recall.watch import LOOK, Watch
from pacarchive.recall.words import JobRequest
from recall.surroundings import ARCHIVE, Going, VirtualReactor, done, logged


class House:
    """A store with a watch, and another process's hand in the store."""

    def __init__(self, address: dict[str, Any]) -> None:
        self.time = VirtualReactor()
        self._threads = VirtualReactor(self.time)
        settings = StoreSettings(address=address["store"], password=address.get("store_password", ""), archive=ARCHIVE)
        self.store = Store(self._threads, settings, self._threads.make_pool)
        self.other = Store(self.time, settings, self.time.make_pool)
        done(self.store.start())
        done(self.other.start())
        self.reads = 0
        self._read = self.store.read
        self.store.read = self._count  # type: ignore[method-assign]
        self.watch = Watch(self.time, self.store)

    async def _count(self, query: Any) -> Any:
        self.reads += 1
        return await self._read(query)

    def set_latency(self, seconds: float) -> None:
        """What a look takes."""
        self._threads.latency = seconds

    def fail(self, looks: int) -> None:
        """Let the next looks fail."""
        self._threads.trouble_reading = looks

    def begin(self, *file_ids: int) -> None:
        """Another process asks for files."""
        submission = Submission(request=JobRequest(owner="a", file_ids=file_ids), pin=0, deadline=1000)
        done(self.other.write(lambda turn: jobs.submit_all(turn, [submission], RecallSettings())))

    def end(self, *file_ids: int) -> None:
        """Another process notes that they have come."""
        done(self.other.write(lambda turn: work.complete(turn, dict.fromkeys(file_ids, 1))))

    def change(self) -> int:
        """Another process changes anything.  @return: The number of the change."""
        return done(self.other.write(lambda turn: turn.seq))

    @property
    def seq(self) -> int:
        """The number of the last change."""
        return done(self.other.read(listing.circumstances))[0]

    def close(self) -> None:
        done(self.store.stop())
        done(self.other.stop())


@pytest.fixture
def house(store_address: dict[str, Any]) -> Iterator[House]:
    """All of it, on each kind of store."""
    found = House(store_address)
    yield found
    found.time.spend(10)
    assert not found.time.getDelayedCalls(), "nobody waits, so nothing is looked at"
    found.close()


class TestChanges:
    def test_of_another_process(self, house: House) -> None:
        waiting = Going(house.watch.change(house.seq, 100))
        house.time.spend(10)
        assert not waiting.ended
        house.change()
        house.time.spend(LOOK)
        assert waiting.result is True

    def test_of_this_process(self, house: House) -> None:
        waiting = Going(house.watch.change(house.seq, 100))
        house.change()
        house.watch.poke()
        assert waiting.result is True

    def test_that_was_before(self, house: House) -> None:
        before = house.seq
        house.change()
        assert Going(house.watch.change(before, 100)).result is True

    def test_that_was_before_while_others_wait(self, house: House) -> None:
        house.change()
        late = Going(house.watch.change(house.seq, 100))
        house.time.spend(LOOK)
        early = Going(house.watch.change(house.seq - 1, 100))
        house.time.spend(LOOK)
        assert early.result is True
        assert not late.ended
        house.watch.stop()

    def test_that_does_not_come(self, house: House) -> None:
        waiting = Going(house.watch.change(house.seq, 3))
        house.time.spend(2.9)
        assert not waiting.ended
        house.time.spend(0.1)
        assert waiting.result is False

    @pytest.mark.parametrize("seconds", [0, -1])
    def test_without_time(self, house: House, seconds: float) -> None:
        assert Going(house.watch.change(house.seq, seconds)).result is False
        assert house.reads == 0

    @pytest.mark.parametrize("when", [0.05, 0.15, 0.25])
    def test_in_the_middle_of_a_look(self, house: House, when: float) -> None:
        house.set_latency(0.2)
        waiting = Going(house.watch.change(house.seq, 100))
        house.time.spend(when)
        house.change()
        house.watch.poke()
        house.time.spend(0.5)
        assert waiting.result is True

    def test_for_many(self, house: House) -> None:
        waiting = [Going(house.watch.change(house.seq, 100)) for _ in range(50)]
        house.time.spend(10)
        assert house.reads < 30
        house.change()
        house.time.spend(LOOK)
        assert [each.result for each in waiting] == [True] * 50


class TestTheEndOfFiles:
    def test_that_comes(self, house: House) -> None:
        house.begin(1, 2)
        one, other = Going(house.watch.end_of(1, 100)), Going(house.watch.end_of(2, 100))
        house.time.spend(5)
        house.change()
        house.time.spend(5)
        assert not one.ended
        house.end(1)
        house.time.spend(LOOK)
        assert one.result is True
        house.time.spend(5)
        assert not other.ended
        house.end(2)
        house.time.spend(LOOK)
        assert other.result is True

    def test_that_has_come_before(self, house: House) -> None:
        assert Going(house.watch.end_of(1, 100)).result is True

    def test_that_has_come_before_while_others_wait(self, house: House) -> None:
        house.begin(1, 2)
        other = Going(house.watch.end_of(2, 100))
        house.time.spend(5)
        house.end(1)
        house.time.spend(5)
        late = Going(house.watch.end_of(1, 100))
        house.time.spend(LOOK)
        assert late.result is True
        assert not other.ended
        house.watch.stop()

    @pytest.mark.parametrize("when", [0.0, 0.05, 0.15, 0.25])
    def test_that_comes_in_the_middle_of_a_look(self, house: House, when: float) -> None:
        house.begin(1, 2)
        house.set_latency(0.2)
        Going(house.watch.end_of(2, 5))
        house.time.spend(when)
        waiting = Going(house.watch.end_of(1, 100))
        house.end(1)
        house.time.spend(1)
        assert waiting.result is True

    def test_that_does_not_come(self, house: House) -> None:
        house.begin(1)
        waiting = Going(house.watch.end_of(1, 3))
        house.time.spend(3)
        assert waiting.result is False

    def test_while_others_wait_for_changes(self, house: House) -> None:
        # A look that finds no change at all must not be taken for one that finds no recall.
        house.begin(1)
        change, end = Going(house.watch.change(house.seq, 100)), Going(house.watch.end_of(1, 100))
        house.time.spend(20)
        assert not change.ended
        assert not end.ended
        house.end(1)
        house.time.spend(LOOK)
        assert change.result is True
        assert end.result is True

    def test_of_the_highest_id(self, house: House) -> None:
        highest = (1 << 64) - 1
        house.begin(highest)
        waiting = Going(house.watch.end_of(highest, 100))
        house.time.spend(2)
        assert not waiting.ended
        done(house.other.write(lambda turn: work.complete(turn, {-1: 1})))
        house.time.spend(LOOK)
        assert waiting.result is True

    def test_for_many(self, house: House) -> None:
        house.begin(*range(1000))
        waiting = [Going(house.watch.end_of(each, 100)) for each in range(1000)]
        house.time.spend(2)
        house.end(*range(0, 1000, 2))
        house.time.spend(LOOK)
        assert [each.ended for each in waiting] == [True, False] * 500
        house.watch.stop()
        assert [each.result for each in waiting] == [True, False] * 500


class TestTrouble:
    def test_they_wait_on(self, house: House) -> None:
        house.begin(1)
        change, end = Going(house.watch.change(house.seq, 100)), Going(house.watch.end_of(1, 100))
        house.time.spend(2)
        house.fail(10)
        with logged() as log:
            house.time.spend(3)
            assert set(log) == {"trouble reading"}
            house.end(1)
            house.time.spend(5)
        assert len(log) == 10
        assert change.result is True
        assert end.result is True

    def test_when_it_has_ended_before(self, house: House) -> None:
        # The one look that would have found out fails, and nothing is changed ever after.
        house.begin(1, 2)
        other = Going(house.watch.end_of(2, 100))
        house.time.spend(2)
        house.end(1)
        house.time.spend(2)
        house.fail(1)
        late = Going(house.watch.end_of(1, 100))
        house.time.spend(3)
        assert late.result is True
        assert not other.ended
        house.watch.stop()


class TestLeaving:
    def test_of_one_who_waits(self, house: House) -> None:
        house.begin(1)
        waiting = [Going(house.watch.end_of(1, 100)) for _ in range(3)]
        changes = [Going(house.watch.change(house.seq, 100)) for _ in range(3)]
        house.time.spend(1)
        for left in (waiting[1], changes[1]):
            left.deferred.cancel()
            with pytest.raises(CancelledError):
                assert left.result
        house.end(1)
        house.time.spend(LOOK)
        assert [each.result for each in (waiting[0], waiting[2], changes[0], changes[2])] == [True] * 4

    def test_of_all(self, house: House) -> None:
        house.begin(1)
        waiting = [Going(house.watch.end_of(1, 100)), Going(house.watch.change(house.seq, 100))]
        house.time.spend(1)
        for each in waiting:
            each.deferred.cancel()
        house.time.spend(2)
        reads = house.reads
        house.time.spend(100)
        assert house.reads == reads
        assert not house.watch._files
        assert not house.watch._changes

    def test_in_the_middle_of_a_look(self, house: House) -> None:
        house.set_latency(0.2)
        house.begin(1)
        waiting = Going(house.watch.end_of(1, 100))
        house.time.spend(0.1)
        waiting.deferred.cancel()
        again = Going(house.watch.end_of(1, 100))
        house.end(1)
        house.time.spend(1)
        assert again.result is True


class TestStopping:
    @pytest.mark.parametrize("latency", [0.0, 0.2])
    def test_wakes_everybody(self, house: House, latency: float) -> None:
        house.begin(1)
        house.set_latency(latency)
        waiting = [Going(house.watch.end_of(1, 100)), Going(house.watch.change(house.seq, 100))]
        house.time.spend(0.6)
        house.watch.stop()
        assert [each.result for each in waiting] == [False, False]
        assert Going(house.watch.end_of(1, 100)).result is False
        assert Going(house.watch.change(0, 100)).result is False
        house.watch.poke()
        house.time.spend(1)
        assert not house.time.getDelayedCalls()

    def test_when_one_leaves_because_another_was_woken(self, house: House) -> None:
        waiting = [Going(house.watch.change(house.seq, 100)) for _ in range(2)]
        waiting[0].deferred.addCallback(lambda _: waiting[1].deferred.cancel())
        house.watch.stop()
        assert waiting[0].ended
        assert waiting[1].ended
