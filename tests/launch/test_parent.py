"""A worker that asks its parent how the whole service is."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pacarchive.errors import BackendUnavailable
from pacarchive.launch.parent import PATIENCE, Parent
from pacarchive.telemetry.parts import Totals, write_totals

LINE = write_totals(Totals(1.0, {}, {("workers",): 2.0}))


class Asked:
    """A parent that is asked, and answers when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.times = 0
        self.parent = Parent(self.clock, self._ask)

    def _ask(self) -> None:
        self.times += 1

    def totals(self) -> Deferred[Totals]:
        """Begin to ask."""
        return Deferred.fromCoroutine(self.parent.totals())


@pytest.fixture
def asked() -> Asked:
    """One."""
    return Asked()


def result(work: Deferred[Totals]) -> Totals | type[BaseException]:
    """What came of it."""
    found: list[Totals | type[BaseException]] = []
    work.addCallbacks(found.append, lambda failure: found.append(failure.type))
    return found[0]


def test_several_at_once(asked: Asked) -> None:
    """They are told the same; who comes later asks again."""
    both = asked.totals(), asked.totals()
    asked.parent.tells(LINE)
    assert [result(each) for each in both] == [Totals(1.0, {}, {("workers",): 2.0})] * 2
    assert asked.times == 1
    asked.totals().addErrback(lambda failure: None)
    assert asked.times == 2


def test_one_who_goes_away(asked: Asked) -> None:
    """The others are told all the same."""
    gone, stays = asked.totals(), asked.totals()
    gone.addErrback(lambda failure: None)
    gone.cancel()
    asked.parent.tells(LINE)
    assert isinstance(result(stays), Totals)


def test_a_question_that_was_lost(asked: Asked) -> None:
    """It is put again, also where somebody always waits."""
    first = asked.totals()
    asked.clock.advance(PATIENCE - 1)
    second = asked.totals()
    asked.clock.advance(1)
    assert result(first) is BackendUnavailable
    assert result(second) is BackendUnavailable
    third = asked.totals()
    assert asked.times == 2
    asked.parent.tells(LINE)
    assert isinstance(result(third), Totals)


def test_an_answer_that_nobody_waits_for(asked: Asked) -> None:
    """It is passed over, before a question and after its time."""
    late = asked.totals()
    asked.clock.advance(PATIENCE)
    assert result(late) is BackendUnavailable
    asked.parent.tells(LINE)
    asked.parent.tells(LINE)
    assert isinstance(result(_next(asked)), Totals)


def _next(asked: Asked) -> Deferred[Totals]:
    work = asked.totals()
    asked.parent.tells(LINE)
    return work
