"""L{pacarchive.recall.forecast}: what is learned, what follows from it, and how true that is in a simulated library."""

from __future__ import annotations

import json
import math
import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.recall.forecast import Load, Rates, Span, basis, forecast, position_share
from pacarchive.recall.planning import Learned
from recall.library import Desk, Library, make_files

anything = st.floats() | st.floats(0, 1e4)
durations = st.floats(0.1, 5000)


def _sane(rates: Rates) -> bool:
    return (
        0 < rates.mount_seconds <= 3600
        and 0 < rates.file_seconds < math.inf
        and 0 < rates.byte_seconds < math.inf
        and rates.observations >= 0
    )


@pytest.mark.parametrize("text", ["", "{", "[" * 60_000, "[]", '{"rates": {}}'])
def test_what_the_store_holds_and_makes_no_sense(text: str) -> None:
    """It is as if nothing had been learned."""
    learned = Learned.from_text(text)
    assert (learned.stretch, learned.ends, learned.rates.observations) == (1.0, {}, 0)


class TestRates:
    """Learning."""

    def test_before_anything_is_known(self) -> None:
        """What is assumed is of the kind that libraries are."""
        rates = Rates()
        assert rates.mount_seconds == 90
        assert rates.reading_time(10, 2 * 10**9) == pytest.approx(90)
        assert rates.cost(2 * 10**9) == pytest.approx(18)

    @given(st.floats(1, 30), st.floats(50e6, 1e9), st.integers(0, 1000))
    def test_finds_what_is_true(self, each: float, rate: float, seed: int) -> None:
        """From readings of all kinds, with noise."""
        rng, rates = random.Random(seed), Rates()
        for _ in range(150):
            files = rng.randrange(1, 50)
            size = int(files * rng.expovariate(1e-9))
            rates.learn_reading(files, size, (files * each + size / rate) * rng.uniform(0.9, 1.1))
        for files, size in ((50, 10**10), (10, 10**10), (10, 3 * 10**10)):
            assert rates.reading_time(files, size) == pytest.approx(files * each + size / rate, rel=0.15)

    @given(st.floats(0.1, 60), st.integers(10**6, 10**10))
    def test_files_of_one_size(self, seconds: float, size: int) -> None:
        """Where one cannot be told from the other, what they come to together is still found."""
        rates = Rates()
        for files in list(range(1, 60)) * 5:
            rates.learn_reading(files, files * size, files * seconds)
        assert _sane(rates)
        assert rates.reading_time(50, 50 * size) == pytest.approx(50 * seconds, rel=0.1)

    def test_the_old_fades(self) -> None:
        """A library that was replaced is known after a while."""
        rates = Rates()
        for _ in range(500):
            rates.learn_reading(20, 10**10, 400)
            rates.learn_mount(200)
        assert rates.reading_time(20, 10**10) == pytest.approx(400, rel=0.05)
        assert rates.mount_seconds == pytest.approx(200, rel=0.05)
        for _ in range(3000):
            rates.learn_reading(20, 10**10, 60)
            rates.learn_mount(40)
        assert rates.reading_time(20, 10**10) == pytest.approx(60, rel=0.1)
        assert rates.mount_seconds == pytest.approx(40, rel=0.05)

    def test_one_absurdity(self) -> None:
        """A drive that stood still for a week, or a file that was there already, changes little."""
        rates = Rates()
        for _ in range(200):
            rates.learn_reading(50, 5 * 10**10, 600)
            rates.learn_mount(80)
        rates.learn_reading(1, 10**9, 7 * 86400)
        rates.learn_mount(30_000)
        rates.learn_reading(50, 5 * 10**10, 0)
        assert rates.reading_time(50, 5 * 10**10) == pytest.approx(600, rel=0.1)
        assert rates.mount_seconds < 160

    @given(st.lists(st.tuples(st.integers(-5, 10**12), st.integers(-5, 10**20), anything, anything), max_size=20))
    def test_whatever_is_said(self, said: list[tuple[int, int, float, float]]) -> None:
        """Rates stay positive and finite, and survive a restart."""
        rates = Rates()
        for files, size, seconds, mount in said:
            rates.learn_reading(files, size, seconds)
            rates.learn_mount(mount)
            assert _sane(rates)
        again = Rates()
        again.load(json.loads(json.dumps(rates.dump())))
        assert again.dump() == rates.dump()
        assert again.reading_time(7, 10**9) == pytest.approx(rates.reading_time(7, 10**9))
        assert again.mount_seconds == pytest.approx(rates.mount_seconds)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "observations": st.none() | st.integers() | st.text(),
                "mounts": st.none() | st.lists(anything | st.text(), max_size=3),
                "seen": st.none() | st.lists(anything | st.none(), min_size=4, max_size=6),
            },
        )
    )
    def test_nonsense_that_was_kept(self, kept: dict[str, object]) -> None:
        """It is as good as nothing."""
        rates = Rates()
        rates.learn_reading(100, 10**10, 10)
        rates.load(kept)
        assert _sane(rates)

    def test_loading_replaces(self) -> None:
        """Nothing of before is left."""
        rates = Rates()
        rates.learn_reading(100, 10**10, 10)
        rates.learn_mount(300)
        rates.load({})
        assert rates.dump() == Rates().dump()
        assert rates.file_seconds == Rates().file_seconds


loads = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**12), st.booleans()), max_size=12)


class TestForecast:
    """List scheduling."""

    @given(loads, loads, st.integers(1, 6))
    def test_always(
        self, waiting: list[tuple[int, int, bool]], reading: list[tuple[int, int, bool]], drives: int
    ) -> None:
        """No more drives than there are, nobody before who was before, and no drive idle while one waits."""
        rates, now = Rates(), 1e9
        queue = [Load(medium=f"W{index}", files=n, size=size) for index, (n, size, _) in enumerate(waiting)]
        running = [
            Load(medium=f"R{index}", files=n, size=size, mounted=mounted)
            for index, (n, size, mounted) in enumerate(reading[:drives])
        ]
        spans = forecast(queue, running, drives, rates, now)
        assert spans.keys() == {load.medium for load in (*queue, *running)}
        assert all(now <= span.begin <= span.ready <= span.end for span in spans.values())
        assert all(spans[load.medium].begin == now for load in running)
        begins = [spans[load.medium].begin for load in queue]
        assert begins == sorted(begins)
        for load in queue:
            begin = spans[load.medium].begin
            busy = sum(span.begin < begin < span.end for span in spans.values())
            assert busy < drives
            if begin > now:
                assert sum(span.begin < begin <= span.end for span in spans.values()) >= drives
            assert spans[load.medium].end == pytest.approx(
                begin + rates.mount_seconds + rates.reading_time(load.files, load.size)
            )

    def test_fewer_drives_than_before(self) -> None:
        """What waits begins when few enough are left."""
        running = [Load(medium=f"R{index}", files=index * 10, size=0, mounted=True) for index in (1, 2, 3)]
        spans = forecast([Load(medium="W", files=1, size=0)], running, 1, Rates(), 0)
        assert spans["W"].begin == pytest.approx(240)

    def test_to_be_read_again(self) -> None:
        """A cartridge that gave way, and waits again, ends when it has been read for the second time."""
        running = [Load(medium="V", files=10, size=0, mounted=True)]
        spans = forecast([Load(medium="V", files=10, size=0)], running, 1, Rates(), 0)
        assert spans["V"] == Span(begin=0, ready=0, end=80 + 90 + 80)

    @given(st.integers(), st.integers(), st.integers())
    def test_position_share(self, position: int, lowest: int, highest: int) -> None:
        """From 0 to 1, growing along the tape."""
        assert 0 <= position_share(position, lowest, highest) <= position_share(position + 1, lowest, highest) <= 1

    def test_along_the_tape(self) -> None:
        """A file in the middle comes in the middle of the reading, not of the mount."""
        span = Span(begin=0, ready=100, end=300)
        assert [span.at(position_share(each, 10, 20)) for each in (5, 10, 15, 20, 99)] == [100, 100, 200, 300, 300]
        assert span.at(position_share(10, 10, 10)) == 300

    def test_basis(self) -> None:
        """Words for people."""
        rates = Rates()
        assert basis(1, 1, 1, rates) == (
            "1 file on 1 cartridge, 1 drive; 90 s a mount, 8.0 s a file and 200 MB/s, assumed, as nothing was recalled"
            " yet"
        )
        for _ in range(301):
            rates.learn_reading(4, 10**9, 14)
        assert basis(12_400, 31, 4, rates).startswith("12,400 files on 31 cartridges, 4 drives; 90 s a mount, ")
        assert basis(12_400, 31, 4, rates).endswith(" MB/s, learned from 1,204 recalls")


class TestTruth:
    """Forecasts against what happens."""

    @staticmethod
    def _errors(*, learned: bool) -> list[float]:
        """Of each file that has not come after a quarter, by how much of the true time the forecast is wrong."""
        files = make_files(3000, 20, seed=7, mean_size=3e9)
        library = Library(files, mount=150, unmount=50, seek=10, wind=90, rate=120e6, jitter=0.3, seed=7)
        desk = Desk(library)
        desk.ask(("a", 0), files, 0)
        now = desk.run(until=7000)
        assert 1500 < desk.left < 2700
        left = [file_id for file_id in files if file_id not in desk.waited]
        spans = forecast(*desk.loads(), 4, desk.rates if learned else Rates(), now)
        extents: dict[str, list[int]] = {}
        for file_id in left:
            extents.setdefault(files[file_id].medium, []).append(files[file_id].position)
        desk.run(now=now)
        errors = []
        for file_id in left:
            place, truth = files[file_id], library.ended[file_id] - now
            extent = extents[place.medium]
            part = position_share(place.position, min(extent), max(extent))
            errors.append(abs(spans[place.medium].at(part) - now - truth) / truth)
        return errors

    def test_of_each_file(self) -> None:
        """Half of all forecasts are wrong by a quarter at most; what is only assumed is not that good here."""
        assert median(self._errors(learned=True)) <= 0.25
        assert median(self._errors(learned=False)) > 0.35
