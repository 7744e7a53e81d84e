"""L{pacarchive.recall.schedule}: what holds of each decision, and what they come to in a simulated library."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from itertools import count

import attrs
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pacarchive.model import RecallState
from pacarchive.recall.forecast import Rates
from pacarchive.recall.schedule import (
    Demand,
    FairQueue,
    Flow,
    SpaceNeed,
    TimeSlice,
    count_fitting,
    divide_buffer,
    eligible_flows,
    in_order,
    next_medium,
    weight,
)
from pacarchive.recall.words import Priority
from recall.library import Desk, Library, TapeFile, best_order, first_in_first_out, make_files

LIMIT = 1200.0
DELAY = 5.0

FLOWS: list[Flow] = [(owner, priority) for owner in "abc" for priority in Priority]
MEDIA = [f"V{index}" for index in range(6)]

flows = st.sampled_from(FLOWS)
media = st.sampled_from(MEDIA)
times = st.integers(0, 5000).map(float)
charges = st.lists(st.tuples(flows, st.floats(0, 2000)), max_size=30)


@st.composite
def demand_lists(draw: st.DrawFn) -> list[Demand]:
    keys = draw(st.sets(st.tuples(media, flows), max_size=15))
    return [
        Demand(
            medium=medium,
            flow=flow,
            files=draw(st.integers(0, 300)),
            size=draw(st.integers(0, 10**12)),
            since=draw(times),
        )
        for medium, flow in sorted(keys)
    ]


@st.composite
def time_slice_lists(draw: st.DrawFn) -> list[TimeSlice]:
    return [
        TimeSlice(
            medium=medium,
            begun=draw(times),
            flow=draw(st.none() | flows),
            ahead=draw(st.floats(0, 2000)),
            over=draw(st.booleans()),
        )
        for medium in sorted(draw(st.sets(media, max_size=4)))
    ]


def _queue(charged: list[tuple[Flow, float]]) -> FairQueue:
    queue = FairQueue()
    for flow, seconds in charged:
        queue.charge(flow, seconds)
    return queue


def _demand(medium: str, owner: str, files: int = 100, since: float = 0, priority: int = 0) -> Demand:
    return Demand(medium=medium, flow=(owner, priority), files=files, size=files * 10**9, since=since)


class TestFairQueue:
    """Tags and virtual time."""

    @given(st.lists(st.one_of(demand_lists(), st.tuples(flows, st.floats(0, 2000))), max_size=30))
    def test_never_goes_back(self, steps: list[list[Demand] | tuple[Flow, float]]) -> None:
        """Neither virtual time nor any tag ever falls, and what is served moves on by its weight."""
        queue = FairQueue()
        for step in steps:
            virtual, tags = queue.virtual, {flow: queue.tag(flow) for flow in FLOWS}
            if isinstance(step, tuple):
                queue.charge(*step)
                assert queue.tag(step[0]) >= tags[step[0]] + step[1] / weight(step[0])
            else:
                queue.update(step)
            assert queue.virtual >= virtual
            assert all(queue.tag(flow) >= tag for flow, tag in tags.items())

    @settings(max_examples=examples(30))
    @given(st.lists(st.floats(1, 300), min_size=200, max_size=200), st.sets(flows, min_size=2))
    def test_shares_by_weight(self, costs: list[float], busy: set[Flow]) -> None:
        """Flows that always wait get drive-seconds by their weights, up to one service each."""
        queue = FairQueue()
        queue.update(Demand(medium="V0", flow=flow, files=1, size=1, since=0) for flow in busy)
        had = dict.fromkeys(busy, 0.0)
        for cost in costs:
            flow = min(busy, key=queue.tag)
            queue.charge(flow, cost)
            had[flow] += cost
        shares = [had[flow] / weight(flow) for flow in busy]
        assert max(shares) - min(shares) <= 300 / min(map(weight, busy))

    def test_weights(self) -> None:
        """Each step of priority is worth four times as much."""
        assert [weight(("a", priority)) for priority in Priority] == [0.25, 1, 4]

    @given(st.lists(st.floats(0.1, 2000), min_size=1), st.integers(0, 5))
    def test_nobody_saves_up(self, charged: list[float], others: int) -> None:
        """Who comes, comes before those who have just been served, and has no more than a service before them."""
        queue = FairQueue()
        waiting = [_demand("V0", f"a{index}") for index in range(others + 1)]
        queue.update(waiting)
        for seconds in charged:
            queue.charge(min((each.flow for each in waiting), key=queue.tag), seconds)
        queue.update([*waiting, _demand("V1", "new")])
        tags = [queue.tag(each.flow) for each in waiting]
        assert max(tags) - max(charged) - 1e-6 <= queue.tag(("new", 0)) < max(tags)

    def test_alone_is_no_debt(self) -> None:
        """Who read for a day while nobody else waited owes nobody a day."""
        queue = FairQueue()
        queue.update([_demand("V0", "a")])
        for _ in range(86400 // 100):
            queue.charge(("a", 0), 100)
        assert queue.tag(("a", 0)) - queue.tag(("b", 0)) <= 200

    def test_newcomers_without_end(self) -> None:
        """However many new owners come, one that had much is served after some."""
        queue = _queue([(("much", 0), 10_000)])
        for index in range(1000):
            demands = [_demand("V0", "much"), _demand("V1", f"new{index}", files=1, since=index)]
            chosen = next_medium(demands, queue, (), index, 0)
            assert chosen is not None
            if chosen.medium == "V0":
                break
            queue.charge(chosen.flow, 100)
        else:
            pytest.fail("It starves.")

    def test_memory_is_bounded(self) -> None:
        """Flows that do not wait are forgotten when others had as much."""
        queue = FairQueue()
        for index in range(1000):
            demands = [_demand("V0", f"o{index}"), _demand("V1", "a")]
            queue.update(demands)
            queue.charge((f"o{index}", 0), 10)
            queue.charge(("a", 0), 10)
        assert len(queue) < 50

    @given(charges, demand_lists())
    def test_outlives_a_restart(self, charged: list[tuple[Flow, float]], demands: list[Demand]) -> None:
        """Through JSON; only who fell behind gets no more than a newcomer."""
        before, after = _queue(charged), FairQueue()
        before.update(demands)
        after.load(json.loads(json.dumps(before.dump())))
        assert after.virtual == before.virtual
        assert all(after.tag(flow) == max(before.virtual, before.tag(flow)) for flow in FLOWS)

    @pytest.mark.parametrize(
        "kept",
        [
            {},
            {"virtual": "x", "tags": 3},
            {"virtual": -1, "tags": [[], ["a"], ["a", 0, "x"], [1, 2, 3], ["a", 0, -5.0], None]},
            {"virtual": float("nan"), "tags": [["a", 0, float("inf")]]},
        ],
    )
    def test_nonsense_that_was_kept(self, kept: dict[str, object]) -> None:
        """Everybody begins anew."""
        queue = FairQueue()
        queue.load(kept)
        assert queue.virtual == 0
        assert queue.tag(("a", 0)) == 0


class TestNext:
    """L{next_medium}, L{in_order}."""

    @given(demand_lists(), charges, st.sets(media), times)
    def test_is_the_first_of_all(
        self, demands: list[Demand], charged: list[tuple[Flow, float]], busy: set[str], now: float
    ) -> None:
        """None that could be read comes before it, by tag and then by age."""
        queue = _queue(charged)
        chosen = next_medium(demands, queue, busy, now, DELAY)
        oldest: dict[str, float] = {}
        for each in demands:
            if each.files:
                oldest[each.medium] = min(each.since, oldest.get(each.medium, each.since))
        ready = [
            each for each in demands if each.files and each.medium not in busy and oldest[each.medium] + DELAY <= now
        ]
        if chosen is None:
            assert not ready
        else:
            assert chosen in ready
            assert (queue.tag(chosen.flow), chosen.since) == min((queue.tag(each.flow), each.since) for each in ready)

    @given(demand_lists(), charges, st.sets(media))
    def test_order(self, demands: list[Demand], charged: list[tuple[Flow, float]], busy: set[str]) -> None:
        """The order is that in which they would be chosen, each cartridge once."""
        queue = _queue(charged)
        order = [each.medium for each in in_order(demands, queue, busy)]
        taken: list[str] = []
        while (chosen := next_medium(demands, queue, busy | set(taken), 1e9, 0)) is not None:
            taken.append(chosen.medium)
        assert order == taken

    def test_ties(self) -> None:
        """Lowest tag, then longest wait, then most files, then name."""
        queue = _queue([(("z", 0), 50)])
        demands = [
            _demand("V4", "z", since=-100),
            _demand("V3", "a", since=2, files=500),
            _demand("V2", "a", since=1),
            _demand("V1", "a", since=1),
            _demand("V0", "a", since=1, files=20),
        ]
        assert [each.medium for each in in_order(demands, queue)] == ["V1", "V2", "V0", "V3", "V4"]


class TestHanding:
    """Whose files may be handed, and who gives way."""

    rates = Rates()

    def _granted(
        self, time_slices: list[TimeSlice], demands: list[Demand], queue: FairQueue, now: float, *, free: int = 0
    ) -> dict[str, frozenset[Flow]]:
        return eligible_flows(time_slices, demands, queue, self.rates, now, limit=LIMIT, batch_delay=DELAY, free=free)

    @given(time_slice_lists(), demand_lists(), charges, times, st.integers(0, 2))
    def test_always(
        self,
        time_slices: list[TimeSlice],
        demands: list[Demand],
        charged: list[tuple[Flow, float]],
        now: float,
        free: int,
    ) -> None:
        """
        Only who waits is granted anything; none gives way in vain, nor while it is left in peace with files of the
        flow that it was mounted for; and what follows does come before it.
        """
        queue = _queue(charged)
        granted = self._granted(time_slices, demands, queue, now, free=free)
        there: defaultdict[str, set[Flow]] = defaultdict(set)
        for each in demands:
            if each.files:
                there[each.medium].add(each.flow)
        assert granted.keys() == {time_slice.medium for time_slice in time_slices if not time_slice.over}
        assert all(given_to <= there[medium] for medium, given_to in granted.items())
        yielding = [
            time_slice
            for time_slice in time_slices
            if not time_slice.over and there[time_slice.medium] and not granted[time_slice.medium]
        ]
        for time_slice in yielding:
            assert time_slice.has_expired(now, LIMIT) or (
                time_slice.flow is not None and time_slice.flow not in there[time_slice.medium]
            )
        reading = {time_slice.medium for time_slice in time_slices}
        taken: list[Demand] = []
        ending_anyway = sum(time_slice.over or not there[time_slice.medium] for time_slice in time_slices)
        for _ in range(free + ending_anyway + len(yielding)):
            busy = reading | {each.medium for each in taken}
            chosen = next_medium(demands, queue, busy, now, DELAY)
            if chosen is not None:
                taken.append(chosen)
        if yielding:
            assert len(taken) == free + ending_anyway + len(yielding)
            worst = max(queue.tag(each.flow) for each in taken[free + ending_anyway :])
            lowest = min(min(queue.tag(flow) for flow in there[time_slice.medium]) for time_slice in yielding)
            assert worst <= max(min(queue.tag(flow) for flow in there[time_slice.medium]) for time_slice in yielding)
            assert queue.tag(taken[free + ending_anyway].flow) <= lowest

    @given(st.integers(1, 100), times, st.integers(1, 4))
    def test_one_burst_never_gives_way(self, files: int, now: float, drives: int) -> None:
        """All cartridges of a flow have one tag, whatever it had of which."""
        demands = [_demand(medium, "a", files=files) for medium in MEDIA]
        time_slices = [TimeSlice(medium=medium, flow=("a", 0), begun=-1e6) for medium in MEDIA[:drives]]
        queue = _queue([(("a", 0), 500)])
        assert all(flows == {("a", 0)} for flows in self._granted(time_slices, demands, queue, now).values())

    def test_others_wait_for_a_turn(self) -> None:
        """Who had less comes when the turn has lasted, not sooner."""
        queue = FairQueue()
        demands = [_demand("V0", "a"), _demand("V1", "b")]
        queue.update(demands[:1])
        queue.charge(("a", 0), 500)
        time_slice = TimeSlice(medium="V0", flow=("a", 0), begun=100)
        assert self._granted([time_slice], demands, queue, 100 + LIMIT - 1) == {"V0": {("a", 0)}}
        assert self._granted([time_slice], demands, queue, 100 + LIMIT) == {"V0": frozenset()}
        assert self._granted([time_slice], demands, queue, 100 + LIMIT, free=1) == {"V0": {("a", 0)}}
        time_slice.ahead = 600
        assert self._granted([time_slice], demands, queue, 100 + LIMIT - 600) == {"V0": frozenset()}

    def test_no_more_give_way_than_wait(self) -> None:
        """One cartridge that waits needs one drive: that of who had most."""
        queue = FairQueue()
        demands = [_demand("V0", "a"), _demand("V1", "b"), _demand("V2", "a"), _demand("V3", "new", since=10)]
        queue.update(demands[:3])
        queue.charge(("a", 0), 500)
        queue.charge(("b", 0), 900)
        queue.update(demands)
        time_slices = [TimeSlice(medium=f"V{index}", begun=-1e6) for index in range(3)]
        granted = self._granted(time_slices, demands, queue, 1000)
        assert [medium for medium, to in granted.items() if not to] == ["V1"]
        time_slices[1].over = True
        assert all(self._granted(time_slices, demands, queue, 1000).values())

    def test_who_can_give_way_does(self) -> None:
        """Where the one that had most is still left in peace, another gives way whose turn has lasted."""
        queue = FairQueue()
        demands = [_demand("V0", "a"), _demand("V1", "b"), _demand("V2", "new", since=10)]
        queue.update(demands[:2])
        queue.charge(("a", 0), 900)
        queue.charge(("b", 0), 500)
        time_slices = [
            TimeSlice(medium="V0", flow=("a", 0), begun=900),
            TimeSlice(medium="V1", flow=("b", 0), begun=-1e6),
        ]
        assert self._granted(time_slices, demands, queue, 1000) == {"V0": {("a", 0)}, "V1": frozenset()}

    def test_riders_do_not_hold_the_next_up(self) -> None:
        """What others want of a cartridge is read after, and only while nobody with less waits; small rests are."""
        queue = FairQueue()
        mine, many, few = _demand("V0", "b", files=1), _demand("V0", "a", files=500), _demand("V0", "c", files=3)
        queue.update([mine, many, few])
        queue.charge(("a", 0), 5000)
        queue.charge(("c", 0), 5000)
        time_slice = TimeSlice(medium="V0", flow=("b", 0), begun=0)
        other = _demand("V1", "b")
        assert self._granted([time_slice], [mine, many, few, other], queue, 10) == {"V0": {("b", 0), ("c", 0)}}
        assert self._granted([time_slice], [many, few, other], queue, 10) == {"V0": {("c", 0)}}
        assert self._granted([time_slice], [many, other], queue, 10) == {"V0": frozenset()}
        assert self._granted([time_slice], [many], queue, 10) == {"V0": {("a", 0)}}

    def test_who_had_less_is_first_of_a_cartridge(self) -> None:
        """One file behind thousands of somebody's who had much is not read last; near ones go in tape order."""
        queue = FairQueue()
        demands = [_demand("V0", "a", files=5000), _demand("V0", "b", files=1)]
        queue.update(demands)
        time_slice = TimeSlice(medium="V0", flow=("a", 0), begun=-1e6)
        queue.charge(("a", 0), LIMIT)
        assert self._granted([time_slice], demands, queue, 0) == {"V0": {("a", 0), ("b", 0)}}
        queue.charge(("a", 0), 1)
        assert self._granted([time_slice], demands, queue, 0) == {"V0": {("b", 0)}}

    def test_arrivals_without_end(self) -> None:
        """Files that keep coming for one cartridge do not starve another of the same flow for ever."""
        queue = FairQueue()
        time_slice = TimeSlice(medium="V0", flow=("a", 0), begun=0)
        waiting = _demand("V1", "a", since=0)
        for now in range(0, 10_000, 100):
            # What waited for a minute has been read: what waits is young.
            demands = [waiting, _demand("V0", "a", since=now - 60)]
            if not self._granted([time_slice], demands, queue, now)["V0"]:
                assert now > LIMIT
                chosen = next_medium(demands, queue, (), now, DELAY)
                assert chosen is waiting
                break
            queue.charge(("a", 0), 100)
        else:
            pytest.fail("It starves.")


class TestRoom:
    """What may be handed at all."""

    @given(st.none() | st.integers(0, 300), st.lists(st.integers(0, 100)), st.integers(0, 10), st.integers(0, 2))
    def test_share(self, room: int | None, sizes: list[int], most: int, occupied: int) -> None:
        """As many as fit, and no more, but one larger than the room when nothing else is there."""
        fitting = count_fitting(room, sizes, most, occupied)
        assert 0 <= fitting <= min(most, len(sizes))
        total = sum(sizes[:fitting])
        alone = fitting == 1 and occupied == 0
        assert room is None or total <= room or alone
        if fitting < min(most, len(sizes)):
            assert room is not None
            assert total + sizes[fitting] > room
            assert fitting > 0 or occupied > 0

    def test_a_file_larger_than_the_buffer(self) -> None:
        """It comes, by itself."""
        assert count_fitting(100, [500, 1], 10, occupied=0) == 1
        assert count_fitting(100, [500, 1], 10, occupied=1) == 0
        assert count_fitting(0, [500], 10, occupied=0) == 1

    @given(
        st.integers(-10, 1000),
        st.lists(st.tuples(st.integers(1, 400), st.integers(0, 2000)), max_size=6),
        st.none() | st.just(300),
    )
    def test_rooms(self, free: int, sizes: list[tuple[int, int]], capacity: int | None) -> None:
        """No more than there is, no more than is wanted, and the first can go on if it can at all."""
        wants = [SpaceNeed(medium=str(index), first=one, size=one + more) for index, (one, more) in enumerate(sizes)]
        divided = divide_buffer(free, wants, capacity)
        got = [divided[want.medium] or 0 for want in wants]
        assert all(0 <= each <= want.size for each, want in zip(got, wants, strict=True))
        assert sum(got) <= max(0, free)
        fitting = [want for want in wants if capacity is None or want.first <= capacity]
        if fitting:
            assert (divided[fitting[0].medium] or 0) >= min(fitting[0].first, max(0, free))
        if sum(want.size for want in wants) <= free and len(fitting) == len(wants):
            assert got == [want.size for want in wants]

    def test_even_shares(self) -> None:
        """One cannot take all; what one does not need is for the others."""
        wants = [SpaceNeed(medium=name, first=1, size=size) for name, size in (("a", 1000), ("b", 10), ("c", 1000))]
        assert divide_buffer(110, wants) == {"a": 50, "b": 10, "c": 50}
        assert divide_buffer(None, wants) == {"a": None, "b": None, "c": None}

    def test_a_large_file_is_kept_room(self) -> None:
        """Small files of others do not take the room for which a large one waits, if that waits longest."""
        large, small = SpaceNeed(medium="a", first=80, size=80), SpaceNeed(medium="b", first=1, size=1000)
        assert divide_buffer(90, [large, small]) == {"a": 80, "b": 10}
        assert divide_buffer(60, [large, small]) == {"a": 60, "b": 0}
        assert divide_buffer(90, [small, large]) == {"a": 80, "b": 10}
        assert divide_buffer(60, [small, large]) == {"a": 30, "b": 30}
        assert divide_buffer(60, [large, small], capacity=70) == {"a": 0, "b": 60}
        # But not what the next file of one that waits longer needs.
        assert divide_buffer(2, [SpaceNeed(medium="a", first=1, size=1), SpaceNeed(medium="b", first=2, size=2)]) == {
            "a": 1,
            "b": 1,
        }


class TestLibrary:
    """That the simulated library is what it says."""

    def test_drops_cancels_and_forgets(self) -> None:
        """Its faults, as the engine will see them."""
        files = make_files(300, 5, seed=3)
        library = Library(files, drives=2, drop=0.3, bad={1}, seed=3)
        library.submit(files)
        states = [library.state(file_id) for file_id in files]
        assert 40 < states.count(RecallState.UNKNOWN) < 140
        waiting = next(file_id for file_id in files if library.state(file_id) is RecallState.QUEUED)
        assert library.cancel(waiting)
        assert not library.cancel(waiting)
        library.advance(500)
        assert any(library.state(file_id) is RecallState.ACTIVE for file_id in files)
        library.forget()
        library.run()
        come = sum(library.state(file_id) is RecallState.RESIDENT for file_id in files)
        assert 0 < come < 150
        library.drop = 0
        while library.outstanding() or len(library.resident) < 299:
            library.submit(files)
            library.run()
        assert library.state(1) is RecallState.FAILED
        assert all(library.reads[file_id] == 1 for file_id in files if file_id != 1)

    def test_takes_its_time(self) -> None:
        """Mount, seek, read; and put back before the next."""
        files = {1: TapeFile("V0", 50_000, 10**9), 2: TapeFile("V0", 0, 10**9), 3: TapeFile("V1", 0, 10**9)}
        library = Library(files, drives=1, mount=70, unmount=30, seek=2, wind=80, rate=1e8)
        library.submit([1, 2, 3])
        assert library.run() == pytest.approx(70 + (2 + 40 + 10) * 2 + 100 + 12)
        assert library.busy == library.now
        assert library.mounts == 2


class TestBurst:
    """Many files of one owner at once."""

    def test_is_near_the_best_order(self) -> None:
        """10,000 files on 20 cartridges: each is mounted once, and it takes hardly longer than the best order known."""
        files = make_files(10_000, 20, seed=1)
        best = best_order(Library(files), files)
        library = Library(files)
        desk = Desk(library)
        desk.ask(("a", 0), files, 0)
        desk.run()
        assert set(library.reads.values()) == {1}
        assert len(library.reads) == len(files)
        assert library.mounts <= 25
        assert library.now <= 1.15 * best
        plain = Library(files)
        assert first_in_first_out(plain, files, 800) > 3 * best
        assert plain.mounts > 60

    def test_stays_below_the_high_water_mark(self) -> None:
        """With little room everything comes, also what is nearly as large as all of it, and no more than fits."""
        files = make_files(1500, 8, seed=2)
        files[99_999] = TapeFile("V00003", 500, 45 * 10**9)
        library = Library(files)
        desk = Desk(library, buffer=50 * 10**9, keep=60)
        desk.ask(("a", 0), files, 0)
        desk.run(until=1e5)
        assert desk.left == 0
        assert 45 * 10**9 < desk.fullest <= 50 * 10**9
        assert library.mounts <= 10

    def test_larger_than_the_buffer(self) -> None:
        """It comes when nothing else is there."""
        files = make_files(50, 3, seed=2) | {99_999: TapeFile("V00001", 500, 10**11)}
        desk = Desk(Library(files), buffer=50 * 10**9, keep=60)
        desk.ask(("a", 0), files, 0)
        desk.run(until=1e5)
        assert desk.left == 0
        assert desk.fullest == 10**11


@attrs.frozen
class Job:
    """Files that somebody asks for at some time."""

    owner: str
    time: float
    file_ids: list[int]


def fair_shares(files: dict[int, TapeFile], jobs: list[Job]) -> list[float]:
    """
    The fair share of an owner's jobs, with as many owners as drives: when each job would be done, in seconds after it
    was asked for, if the owner had 1/owners of the drives, one, for nobody else.  There the jobs are done one after
    the other, each in its own best order: each of its cartridges mounted once, and read in the order of positions.
    """
    library = Library(files, drives=1)
    found = []
    for job in sorted(jobs, key=lambda job: job.time):
        library.advance(job.time)
        found.append(best_order(library, job.file_ids) - job.time)
    return found


def _arrivals(rng: random.Random, owners: str, sizes: range, gap: float, until: float) -> list[Job]:
    ids, jobs = count(100_001), []
    for owner in owners:
        time = rng.expovariate(1 / gap)
        while time < until:
            jobs.append(Job(owner, time, [next(ids) for _ in range(rng.choice(sizes))]))
            time += rng.expovariate(1 / gap)
    return sorted(jobs, key=lambda job: job.time)


def _waits(files: dict[int, TapeFile], jobs: list[Job], *, outstanding: int) -> list[tuple[float, float]]:
    """For each job, how long it took, and its fair share."""
    library = Library(files)
    desk = Desk(library, outstanding=outstanding, limit=LIMIT)
    coming = list(reversed(jobs))
    for now in range(0, 1_000_000, 10):
        while coming and coming[-1].time <= now:
            job = coming.pop()
            desk.ask((job.owner, 0), job.file_ids, job.time)
        desk.step(now)
        if not coming and not desk.left:
            break
    found = []
    for owner in {job.owner for job in jobs}:
        mine = [job for job in jobs if job.owner == owner]
        took = [max(map(desk.waited.__getitem__, job.file_ids)) for job in mine]
        found += list(zip(took, fair_shares(files, mine), strict=True))
    return found


class TestOwners:
    """A greedy owner with 10,000 files, and three others who come with jobs all the time; four drives."""

    @staticmethod
    def _case(seed: int, sizes: range, gap: float) -> tuple[dict[int, TapeFile], list[Job]]:
        greedy = make_files(10_000, 20, seed=seed)
        jobs = _arrivals(random.Random(seed), "bcd", sizes, gap, until=15_000)
        others = make_files(sum(len(job.file_ids) for job in jobs), 20, seed=seed + 1, first_id=100_001)
        return greedy | others, [Job("a", 0, list(greedy)), *jobs]

    @pytest.mark.parametrize("seed", [1, 2])
    def test_nobody_waits_for_long(self, seed: int) -> None:
        """No job takes more than twice its fair share (see L{fair_shares}), the greedy one included."""
        files, jobs = self._case(seed, range(10, 41), 3000)
        waits = _waits(files, jobs, outstanding=50)
        assert len(waits) > 8
        assert max(took / fair for took, fair in waits) <= 2

    def test_nor_for_single_files(self) -> None:
        """
        What takes less than a turn by itself cannot be had at once while all drives are in use: it takes no more than a
        turn in addition.
        """
        files, jobs = self._case(3, range(1, 6), 1000)
        waits = _waits(files, jobs, outstanding=50)
        assert len(waits) > 20
        assert max(took - 2 * fair for took, fair in waits) <= LIMIT

    def test_priorities(self) -> None:
        """Of three greedy ones with the same cartridges, the more urgent gets more, by four or so, while all wait."""
        files = make_files(6000, 60, seed=5)
        desk = Desk(Library(files), limit=300, outstanding=20)
        for index, priority in enumerate(Priority):
            desk.ask(("a", priority), [file_id for file_id in files if file_id % 3 == index], 0)
        desk.run(until=8000)
        low, normal, high = (desk.had["a", priority] for priority in Priority)
        assert 2.5 < high / normal < 6
        assert 1.5 < normal / low < 8

    def test_a_stream_for_one_cartridge(self) -> None:
        """With one drive, files that keep coming for the mounted cartridge do not starve another of the same owner."""
        files = {index: TapeFile("V0", index * 10, 10**9) for index in range(1, 3000)}
        files[5000] = TapeFile("V1", 0, 10**9)
        desk = Desk(Library(files, drives=1), drives=1, outstanding=20, limit=300)
        coming = iter(range(1, 3000))
        desk.ask(("a", 0), [next(coming) for _ in range(50)], 0)
        for now in range(0, 10_000, 10):
            # A little more than the drive can read.
            desk.ask(("a", 0), [next(coming), next(coming)], now)
            if now == 100:
                desk.ask(("a", 0), [5000], now)
            desk.step(now)
        assert desk.waited.get(5000, 1e9) < 3000
