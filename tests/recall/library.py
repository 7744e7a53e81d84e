"""A tape library in virtual time, and a desk that hands it recalls as L{pacarchive.recall.schedule} decides.

Both are plain Python: whoever uses them says what time it is.  All that happens follows from the arguments and the
seed.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right, insort
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, islice

import attrs

from pacarchive.model import RecallState
from pacarchive.recall.forecast import Load, Rates
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
)

LENGTH = 100_000
"""Positions of a cartridge."""


@attrs.frozen
class TapeFile:
    """Where a file lies, and its bytes."""

    medium: str
    position: int
    size: int


def make_files(
    count: int, media: int, *, seed: int = 0, mean_size: float = 1e9, first_id: int = 1
) -> dict[int, TapeFile]:
    """Files at random places; their sizes are exponentially distributed."""
    rng = random.Random(seed)
    return {
        first_id + index: TapeFile(
            medium=f"V{rng.randrange(media):05}",
            position=rng.randrange(LENGTH),
            size=1 + int(rng.expovariate(1 / mean_size)),
        )
        for index in range(count)
    }


@attrs.define(eq=False)
class _Drive:
    """
    @ivar medium: What is in it, or just being put there.
    @ivar head: Where on the tape.
    @ivar reading: The file that is being read.
    @ivar busy: Whether it does anything, until it has an event.
    """

    medium: str | None = None
    head: int = 0
    reading: int | None = None
    busy: bool = False


class Library:
    """
    Cartridges, drives, and requests.

    A drive serves the requests for the cartridge that is in it, in the order in which they were handed; then it takes
    the cartridge with the oldest request that is in no other drive.  A cartridge stays in its drive until another
    is put there.

    @param files: All that there are, by id.  May be changed.
    @param drives: How many.
    @param mount: Seconds until a cartridge can be read.
    @param unmount: Seconds to put one back.
    @param seek: Seconds to get to any other place.
    @param wind: Seconds for the whole length of the tape, in addition; parts of it likewise.
    @param rate: Bytes a second.
    @param jitter: By how much of itself everything takes more or less than that.
    @param drop: The share of requests that are silently lost: accepted, and nothing comes of them.
    @param bad: Files that cannot be read.
    @ivar resident: Files whose bytes are on disk.  May be changed: that is how they leave it.
    @ivar mounts: How often something was put in a drive.
    @ivar reads: How often each file was read.
    @ivar busy: Seconds that drives were busy; an operation counts when it has ended.
    @ivar ended: When each file was read last.
    """

    def __init__(
        self,
        files: Mapping[int, TapeFile],
        *,
        drives: int = 4,
        mount: float = 75,
        unmount: float = 25,
        seek: float = 3,
        wind: float = 80,
        rate: float = 250e6,
        jitter: float = 0,
        drop: float = 0,
        bad: Collection[int] = (),
        seed: int = 0,
    ) -> None:
        self.files = files
        self.now = 0.0
        self.resident: set[int] = set()
        self.mounts = 0
        self.reads: Counter[int] = Counter()
        self.busy = 0.0
        self.ended: dict[int, float] = {}
        self.bad = bad
        self.drop = drop
        self._mount, self._unmount, self._seek, self._wind, self._rate = mount, unmount, seek, wind, rate
        self._jitter = jitter
        self._rng = random.Random(seed)
        self._drives = [_Drive() for _ in range(drives)]
        self._number = 0
        # By medium, and among these by file, in the order in which they were handed; with the number of the request.
        self._queues: dict[str, OrderedDict[int, int]] = {}
        self._failed: set[int] = set()
        self._events: list[tuple[float, int, int]] = []

    def submit(self, file_ids: Iterable[int]) -> None:
        """Hand requests now (see L{advance}), except for files that are on disk or were handed before."""
        for file_id in file_ids:
            if self.state(file_id) in (RecallState.RESIDENT, RecallState.QUEUED, RecallState.ACTIVE):
                continue
            self._failed.discard(file_id)
            if self.drop and self._rng.random() < self.drop:
                continue
            self._number += 1
            self._queues.setdefault(self.files[file_id].medium, OrderedDict())[file_id] = self._number
        self._start()

    def state(self, file_id: int) -> RecallState:
        """How a file stands."""
        if file_id in self.resident:
            return RecallState.RESIDENT
        if file_id in self._failed:
            return RecallState.FAILED
        if any(drive.reading == file_id for drive in self._drives):
            return RecallState.ACTIVE
        file = self.files.get(file_id)
        if file is not None and file_id in self._queues.get(file.medium, ()):
            return RecallState.QUEUED
        return RecallState.UNKNOWN

    def cancel(self, file_id: int) -> bool:
        """
        Give a request up.

        @return: Whether it was; what is being read comes.
        """
        if self.state(file_id) is not RecallState.QUEUED:
            return False
        self._take(file_id)
        return True

    def forget(self) -> None:
        """Lose all requests, those too that are being served: the drives go on, and nothing comes of it."""
        self._queues.clear()
        self._failed.clear()
        for drive in self._drives:
            drive.reading = None

    def next_event(self) -> float | None:
        """When something will have happened; C{None} if nothing is under way."""
        return self._events[0][0] if self._events else None

    def advance(self, now: float) -> None:
        """Let everything happen until then."""
        while self._events and self._events[0][0] <= now:
            self.now, _, index = heapq.heappop(self._events)
            self._finish(self._drives[index])
            self._start()
        self.now = max(self.now, now)

    def run(self) -> float:
        """
        Let everything happen.

        @return: When the last did.
        """
        while (then := self.next_event()) is not None:
            self.advance(then)
        return self.now

    def outstanding(self) -> int:
        """Requests that wait or are being served."""
        return sum(map(len, self._queues.values())) + sum(drive.reading is not None for drive in self._drives)

    def _take(self, file_id: int) -> None:
        medium = self.files[file_id].medium
        queue = self._queues[medium]
        del queue[file_id]
        if not queue:
            del self._queues[medium]

    def _finish(self, drive: _Drive) -> None:
        drive.busy = False
        file_id, drive.reading = drive.reading, None
        if file_id is None:
            return
        self.reads[file_id] += 1
        self.ended[file_id] = self.now
        if file_id in self.bad:
            self._failed.add(file_id)
        else:
            self.resident.add(file_id)

    def _start(self) -> None:
        """Give all drives something to do."""
        for index, drive in enumerate(self._drives):
            if drive.busy:
                continue
            if (seconds := self._read(drive) or self._exchange(drive)) is None:
                continue
            seconds *= 1 + self._rng.uniform(-self._jitter, self._jitter)
            drive.busy = True
            self.busy += seconds
            self._number += 1
            heapq.heappush(self._events, (self.now + seconds, self._number, index))

    def _read(self, drive: _Drive) -> float | None:
        if drive.medium is None or drive.medium not in self._queues:
            return None
        file_id = next(iter(self._queues[drive.medium]))
        self._take(file_id)
        file = self.files[file_id]
        seconds = self._seek + self._wind * abs(file.position - drive.head) / LENGTH + file.size / self._rate
        drive.reading, drive.head = file_id, file.position
        return seconds

    def _exchange(self, drive: _Drive) -> float | None:
        elsewhere = {each.medium for each in self._drives}
        found = [
            (next(iter(queue.values())), medium) for medium, queue in self._queues.items() if medium not in elsewhere
        ]
        if not found:
            return None
        seconds = self._mount + (self._unmount if drive.medium is not None else 0)
        drive.medium, drive.head = min(found)[1], 0
        self.mounts += 1
        return seconds


def best_order(library: Library, file_ids: Iterable[int]) -> float:
    """
    Hand everything at once, in the best order known: each cartridge once, in the order of its positions, the one with
    most to read first.

    @return: When the last has come.
    """
    by_medium: dict[str, list[tuple[int, int]]] = {}
    for file_id in file_ids:
        file = library.files[file_id]
        by_medium.setdefault(file.medium, []).append((file.position, file_id))
    for _, found in sorted(by_medium.items(), key=lambda item: -len(item[1])):
        library.submit(file_id for _, file_id in sorted(found))
    return library.run()


def first_in_first_out(library: Library, file_ids: Iterable[int], outstanding: int) -> float:
    """
    Hand everything in the order given, so many at a time.

    @return: When the last has come.
    """
    left = list(reversed(list(file_ids)))
    while left:
        while left and library.outstanding() < outstanding:
            library.submit([left.pop()])
        then = library.next_event()
        if then is not None:
            library.advance(then)
    return library.run()


@attrs.define(eq=False)
class Reading(TimeSlice):
    """
    @ivar cursor: The last place that was handed: the next are those behind it, and then the tape's beginning.
    @ivar handed: What has not come.
    @ivar heard: When the last came.
    @ivar fed: When it was last handed something.
    """

    cursor: tuple[int, int] = (-1, 0)
    handed: set[int] = attrs.field(factory=set)
    heard: float | None = None
    fed: float = 0


class Desk:
    """
    A dispatcher reduced to what the scheduler decides: it keeps the queue in memory, and hands requests to a library.

    @param outstanding: The most files of a cartridge that the library has at a time.
    @param limit: Seconds of a turn.
    @param buffer: Bytes; C{None} for no limit.
    @param keep: Seconds that a file takes room after it has come.
    @ivar waited: Seconds from asking to having, by file.
    @ivar held: Bytes of what is outstanding or in the buffer.
    @ivar fullest: The most of them that there were.
    @ivar had: Drive-seconds that were handed, by flow.
    """

    few = 2
    """
    A slot is free when no more than that is outstanding, so that the drive need not wait for us; but not before
    something has come: else the cartridge of before could be handed more, and the drive would stay with that.
    """

    def __init__(
        self,
        library: Library,
        *,
        drives: int = 4,
        outstanding: int = 200,
        limit: float = 1200,
        batch_delay: float = 5,
        buffer: int | None = None,
        keep: float = 0,
    ) -> None:
        self.library = library
        self.queue = FairQueue()
        self.rates = Rates()
        self.demands: dict[tuple[str, Flow], Demand] = {}
        self.time_slices: dict[str, Reading] = {}
        self.waited: dict[int, float] = {}
        self.had: defaultdict[Flow, float] = defaultdict(float)
        self.held = self.fullest = 0
        self._drives, self._outstanding, self._limit, self._batch_delay = drives, outstanding, limit, batch_delay
        self._buffer, self._keep = buffer, keep
        self._leaving: list[tuple[float, int]] = []
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._wishes: dict[int, tuple[Flow, float]] = {}
        self._stray: set[int] = set()

    @property
    def left(self) -> int:
        """Files that have not come."""
        return len(self._wishes)

    def ask(self, flow: Flow, file_ids: Iterable[int], now: float) -> None:
        """Somebody wants files that nobody wants yet."""
        for file_id in file_ids:
            file = self.library.files[file_id]
            self._wishes[file_id] = flow, now
            insort(self._places.setdefault(file.medium, []), (file.position, file_id))
            new = Demand(medium=file.medium, flow=flow, files=0, size=0, since=now)
            demand = self.demands.setdefault((file.medium, flow), new)
            demand.files += 1
            demand.size += file.size

    def step(self, now: float) -> None:
        """See what has come, end turns, begin others, and hand files."""
        self.library.advance(now)
        while self._leaving and self._leaving[0][0] <= now:
            self.held -= heapq.heappop(self._leaving)[1]
        self._stray -= set(self._arrived(self._stray, now))
        for time_slice in list(self.time_slices.values()):
            self._collect(time_slice, now)
            size = sum(self.library.files[file_id].size for file_id in time_slice.handed)
            time_slice.ahead = self.rates.reading_time(len(time_slice.handed), size)
            few = 0 if time_slice.heard is None else self.few
            if (time_slice.over or time_slice.medium not in self._places) and len(time_slice.handed) <= few:
                self._stray |= self.time_slices.pop(time_slice.medium).handed
        demands = self.demands.values()
        granted = self._granted(now)
        for medium, flows in granted.items():
            self.time_slices[medium].over = not flows and medium in self._places
        while len(self.time_slices) < self._drives:
            chosen = next_medium(demands, self.queue, self.time_slices.keys(), now, self._batch_delay)
            if chosen is None:
                break
            self.queue.charge(chosen.flow, self.rates.mount_seconds)
            self.had[chosen.flow] += self.rates.mount_seconds
            self.time_slices[chosen.medium] = Reading(medium=chosen.medium, flow=chosen.flow, begun=now, fed=now)
        self._hand(now)

    def run(self, every: float = 10, until: float = 1e9, now: float = 0) -> float:
        """
        Step until nothing is left.

        @return: When that was.
        """
        while self.left and now < until:
            self.step(now)
            now += every
        return now

    def loads(self) -> tuple[list[Load], list[Load]]:
        """What waits, in order, and what is being read."""
        totals: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for demand in self.demands.values():
            totals[demand.medium] += demand.files
            sizes[demand.medium] += demand.size
        for time_slice in self.time_slices.values():
            totals[time_slice.medium] += len(time_slice.handed)
            sizes[time_slice.medium] += sum(self.library.files[file_id].size for file_id in time_slice.handed)
        waiting = [each.medium for each in in_order(self.demands.values(), self.queue, self.time_slices.keys())]
        return (
            [Load(medium=each, files=totals[each], size=sizes[each]) for each in waiting],
            [
                Load(medium=each.medium, files=totals[each.medium], size=sizes[each.medium], mounted=bool(each.heard))
                for each in self.time_slices.values()
            ],
        )

    def _arrived(self, handed: Iterable[int], now: float) -> list[int]:
        come = [file_id for file_id in handed if file_id in self.library.resident]
        for file_id in come:
            self.waited[file_id] = self.library.ended[file_id] - self._wishes.pop(file_id)[1]
            heapq.heappush(self._leaving, (now + self._keep, self.library.files[file_id].size))
        return come

    def _collect(self, time_slice: Reading, now: float) -> None:
        come = self._arrived(time_slice.handed, now)
        if not come:
            return
        time_slice.handed.difference_update(come)
        size = sum(self.library.files[file_id].size for file_id in come)
        if time_slice.heard is None:
            self.rates.learn_mount(max(0, now - time_slice.begun - self.rates.reading_time(len(come), size)))
        else:
            self.rates.learn_reading(len(come), size, now - time_slice.heard)
        time_slice.heard = now

    def _hand(self, now: float) -> None:
        files = self.library.files
        granted = self._granted(now)
        coming = {medium: self._coming(self.time_slices[medium], flows) for medium, flows in granted.items() if flows}
        ready = sorted((self.time_slices[medium] for medium in coming), key=lambda time_slice: time_slice.fed)
        free = None if self._buffer is None else self._buffer - self.held
        wants = [
            SpaceNeed(
                medium=time_slice.medium,
                first=files[coming[time_slice.medium][0][1]].size,
                size=sum(files[file_id].size for _, file_id in coming[time_slice.medium]),
            )
            for time_slice in ready
        ]
        room = divide_buffer(free, wants, self._buffer)
        for time_slice in ready:
            places = coming[time_slice.medium]
            sizes = [files[file_id].size for _, file_id in places]
            count = count_fitting(room[time_slice.medium], sizes, self._outstanding - len(time_slice.handed), self.held)
            if count:
                self._submit(time_slice, places[:count], now)

    def _granted(self, now: float) -> dict[str, frozenset[Flow]]:
        return eligible_flows(
            self.time_slices.values(),
            self.demands.values(),
            self.queue,
            self.rates,
            now,
            limit=self._limit,
            batch_delay=self._batch_delay,
            free=self._drives - len(self.time_slices),
        )

    def _coming(self, time_slice: Reading, flows: Collection[Flow]) -> list[tuple[int, int]]:
        places = self._places[time_slice.medium]
        index = bisect_right(places, time_slice.cursor)
        found = (place for place in chain(places[index:], places[:index]) if self._wishes[place[1]][0] in flows)
        return list(islice(found, self._outstanding))

    def _submit(self, time_slice: Reading, places: list[tuple[int, int]], now: float) -> None:
        medium, time_slice.cursor, time_slice.fed = time_slice.medium, places[-1], now
        gone = set(places)
        left = self._places[medium] = [place for place in self._places[medium] if place not in gone]
        if not left:
            del self._places[medium]
        costs: defaultdict[Flow, float] = defaultdict(float)
        for _, file_id in places:
            flow, size = self._wishes[file_id][0], self.library.files[file_id].size
            costs[flow] += self.rates.cost(size)
            self.demands[medium, flow].files -= 1
            self.demands[medium, flow].size -= size
            self.held += size
        self.fullest = max(self.fullest, self.held)
        for flow, cost in costs.items():
            self.queue.charge(flow, cost)
            self.had[flow] += cost
            if self.demands[medium, flow].files == 0:
                del self.demands[medium, flow]
            else:
                ages = (self._wishes[file_id] for _, file_id in left)
                self.demands[medium, flow].since = min(since for each, since in ages if each == flow)
        time_slice.handed |= {file_id for _, file_id in places}
        self.library.submit(file_id for _, file_id in places)
