"""L{pacarchive.recall.loops}: work that is done over and over, with pauses, back-off and an end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.recall.loops import LONGEST_PAUSE, Loop
from pacarchive.recall.store import LeaseLost, StoreUnavailable
from recall.surroundings import Going, VirtualReactor, logged

INTERVAL = 2.0


class Work:
    """
    What a loop does.

    @ivar outcomes: What the next steps do: they say whether there is more, fail, or wait.
    @ivar times: When steps were begun, in seconds after the beginning.
    """

    def __init__(self) -> None:
        self.time = VirtualReactor()
        self._began = self.time.seconds()
        self.outcomes: list[bool | Exception | Deferred[bool]] = []
        self.usual: bool | Exception = False
        self.times: list[float] = []
        self.lost = 0
        self.loop = Loop(self.time, "working", self._step, INTERVAL, self._lose)

    async def _step(self) -> bool:
        self.times.append(self.time.seconds() - self._began)
        outcome = self.outcomes.pop(0) if self.outcomes else self.usual
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, bool) else await outcome

    def _lose(self) -> None:
        self.lost += 1


@pytest.fixture
def work() -> Work:
    """A loop that has not begun."""
    return Work()


def test_begins_at_once_and_goes_on_in_intervals(work: Work) -> None:
    work.loop.start()
    work.time.spend(7)
    assert work.times == [0, 2, 4, 6]


def test_goes_on_at_once_while_there_is_more(work: Work) -> None:
    work.outcomes = [True, True, False]
    work.loop.start()
    work.time.spend(3)
    assert work.times == [0, 0, 0, 2]


def test_does_one_step_at_a_time(work: Work) -> None:
    step: Deferred[bool] = Deferred()
    work.outcomes = [step]
    work.loop.start()
    work.time.spend(100)
    assert work.times == [0]
    step.callback(False)
    work.time.spend(2)
    assert work.times == [0, 102]


def test_is_poked_while_it_pauses(work: Work) -> None:
    work.loop.start()
    work.time.spend(1)
    work.loop.poke()
    assert work.times == [0, 1]
    work.time.spend(2)
    assert work.times == [0, 1, 3], "the pause begins anew"


def test_is_poked_while_it_works(work: Work) -> None:
    # What there is to do may have come after it looked.
    step: Deferred[bool] = Deferred()
    work.outcomes = [step]
    work.loop.start()
    work.time.spend(1)
    work.loop.poke()
    work.loop.poke()
    assert work.times == [0]
    step.callback(False)
    work.time.spend(0)
    assert work.times == [0, 1]
    work.time.spend(1.9)
    assert work.times == [0, 1], "twice is once"


def test_is_poked_before_it_begins_and_after_its_end(work: Work) -> None:
    work.loop.poke()
    assert work.times == []
    work.loop.start()
    Going(work.loop.stop())
    work.loop.poke()
    work.time.spend(100)
    assert work.times == [0]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.BackendUnavailable("It is away."), "It is away."),
        (StoreUnavailable("It is locked."), "It is locked."),
        (KeyError("secret"), "An unexpected failure; it is in the server's log."),
    ],
)
def test_backs_off_when_it_fails(work: Work, error: Exception, words: str) -> None:
    work.usual = error
    with logged() as log:
        work.loop.start()
        work.time.spend(0)
        assert work.loop.trouble == words
        work.loop.poke()
        assert work.times == [0], "it is not asked again just because there is something to do"
        work.time.spend(200)
    assert work.times == [0, 4, 12, 28, 58, 88, 118, 148, 178]
    assert bool(log) == isinstance(error, KeyError)
    work.usual = False
    work.time.spend(30)
    assert work.loop.trouble == ""
    work.times.clear()
    work.time.spend(3)
    assert len(work.times) == 1, "all is as before"


def test_is_poked_while_a_step_fails(work: Work) -> None:
    step: Deferred[bool] = Deferred()
    work.outcomes = [step]
    work.loop.start()
    work.loop.poke()
    step.errback(errors.BackendUnavailable("It is away."))
    work.time.spend(3)
    assert work.times == [0]


def test_fails_for_days(work: Work) -> None:
    work.usual = errors.BackendUnavailable("It is away.")
    work.loop.start()
    work.time.spend(LONGEST_PAUSE * 1500)
    assert len(work.times) > 1400
    work.usual = False
    work.time.spend(LONGEST_PAUSE + INTERVAL)
    assert work.loop.trouble == ""
    assert Going(work.loop.stop()).ended


def test_ends_when_the_lease_is_lost(work: Work) -> None:
    work.outcomes = [False, LeaseLost()]
    work.loop.start()
    work.time.spend(100)
    assert work.times == [0, 2]
    assert work.lost == 1
    work.loop.poke()
    assert work.times == [0, 2]
    assert Going(work.loop.stop()).ended
    assert not work.time.getDelayedCalls()


def test_stops_while_it_pauses(work: Work) -> None:
    work.loop.start()
    assert Going(work.loop.stop()).ended
    assert not work.time.getDelayedCalls()


@pytest.mark.parametrize("outcome", [False, True, errors.BackendUnavailable("It is away."), LeaseLost()])
def test_stops_when_its_step_has_ended(work: Work, outcome: bool | Exception) -> None:
    step: Deferred[bool] = Deferred()
    work.outcomes = [step]
    work.loop.start()
    stopping = Going(work.loop.stop())
    work.time.spend(10)
    assert not stopping.ended
    finish: Callable[..., None] = step.errback if isinstance(outcome, Exception) else step.callback
    finish(outcome)
    assert stopping.ended
    work.time.spend(100)
    assert work.times == [0]
    assert not work.time.getDelayedCalls()


def test_stops_before_it_has_begun(work: Work) -> None:
    assert Going(work.loop.stop()).ended
