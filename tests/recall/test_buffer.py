"""The disk that recalled files come to: no more is asked for than it has room for."""

from __future__ import annotations

from pacarchive.recall.words import JobRequest
from recall.surroundings import Surroundings, done


def test_what_is_on_its_way_and_what_is_pinned_takes_room(locally: Surroundings) -> None:
    """The rest is asked for when what came is released, not before."""
    around, tapes = locally, locally.tapes
    tapes.add(*range(1, 11), size=1000)
    engine = around.engine(drives=1, buffer=5000, high_water=80)
    job = done(engine.submit(JobRequest(owner="a", file_ids=list(range(1, 11)))))
    around.spend(30)
    first = set(tapes.under_way())
    assert len(first) == 4
    tapes.come(min(first))
    around.spend(30)
    assert set(tapes.under_way()) == first - {min(first)}
    for each in sorted(first)[1:]:
        tapes.come(each)
    around.spend(30)
    assert not tapes.under_way()
    done(engine.release(job, sorted(first)))
    around.spend(30)
    assert len(tapes.under_way()) == 4
