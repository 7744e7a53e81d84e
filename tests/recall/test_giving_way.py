"""The engine has a cartridge give way to another while all drives are in use; whose turn it is, is for the schedule."""

from __future__ import annotations

from typing import Any

import pytest

from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.words import JobRequest
from recall.surroundings import Surroundings, done

# It asks the store for nothing that another test does not.
pytestmark = pytest.mark.parametrize("store_address", ["sqlite"], indirect=True)

TURN = 60


def submit(engine: RecallEngine, *file_ids: int, owner: str) -> None:
    done(engine.submit(JobRequest(owner=owner, file_ids=file_ids)))


def order(around: Surroundings, **settings: Any) -> list[int]:
    """In what order files come, each after 20 s: nine that one owner wants, and another's, on another cartridge."""
    around.tapes.add(*range(1, 10))
    around.tapes.add(20, medium="V2")
    engine = around.engine(outstanding=1, turn=TURN, **settings)
    submit(engine, *range(1, 10), owner="a")
    around.spend(5)
    submit(engine, 20, owner="b")
    found: list[int] = []
    for _ in range(20):
        around.spend(20)
        found += sorted(around.tapes.under_way())
        around.tapes.come()
    assert sorted(found) == [*range(1, 10), 20]
    return found


def test_when_its_turn_is_over(around: Surroundings) -> None:
    """One drive: the other's file comes after a turn, and long before the last of the nine."""
    found = order(around, drives=1)
    assert TURN / 20 - 1 <= found.index(20) <= TURN / 20 + 1
    assert [each for each in found if each != 20] == list(range(1, 10))


def test_not_while_a_drive_is_free(around: Surroundings) -> None:
    """Two drives: the other's file is asked for at once."""
    assert order(around, drives=2).index(20) == 1
