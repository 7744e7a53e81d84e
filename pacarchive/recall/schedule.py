"""Which cartridge is read next, for how long, and how many of its files fit.

All of it is arithmetic over small summaries: one L{Demand} for each cartridge and flow, and nothing for each file.
Times are arguments.

A I{flow} is what gets a fair share: an owner's jobs of one priority.  Fairness is start-time fair queueing over
drive-seconds, except that a flow is charged when its files are I{submitted} to the storage system, not when they are
requested.  Cartridges are read in the order of the tape, which takes files from all over an owner's queue, so a tag
given to each file on arrival would say nothing about what the owner has had since.  Hence the tag is the flow's, and
the same for all its cartridges; which of them is first depends on their age.

Cartridges are ordered by the lowest tag of the flows that wait for them, and those with the same tag by how long they
have waited.  While all drives are in use and a cartridge waits, only files of flows that come before it in this order
are submitted from a cartridge that is being read; until its time slice has expired, also those of the flow for which it
was mounted, and small remainders that are not worth another mount.  When there are none of these, it gives way to the
one that waits: see L{eligible_flows}.  It follows that

  - a burst of one flow never mounts a cartridge twice: its cartridges have the same tag, and the same age;
  - flows that had less than others wait for a time slice to expire, not for a cartridge to be read to its end; and what
    others request of a cartridge that was mounted for them does not keep them from the next;
  - files that keep arriving for one cartridge do not starve the owner's others: one that is older by more than a time
    slice comes before it;
  - flows that keep arriving do not starve one that had much: virtual time, at which they begin, moves with the work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest

import attrs

from pacarchive.recall.forecast import Rates
from pacarchive.recall.words import Priority

Flow = tuple[str, int]
"""Owner and L{Priority}."""

_WEIGHTS: Mapping[int, float] = {Priority.LOW: 0.25, Priority.NORMAL: 1.0, Priority.HIGH: 4.0}

_LARGEST_TAG = 1e15
"""Thirty million years: a larger stored value is not a tag."""


def weight(flow: Flow) -> float:
    """Return the weight of a flow's share."""
    return _WEIGHTS.get(flow[1], 1.0)


@attrs.define(kw_only=True)
class Demand:
    """
    What a flow waits for from one cartridge.

    @ivar medium: The cartridge.
    @ivar flow: The flow.
    @ivar files: The count of its files that have not been submitted; a demand without any is ignored.
    @ivar size: Their bytes.
    @ivar since: When the oldest of them began to wait.
    """

    medium: str
    flow: Flow
    files: int
    size: int
    since: float


@attrs.define(kw_only=True)
class TimeSlice:
    """
    The use of a drive by a cartridge that is being read.

    @ivar medium: The cartridge.
    @ivar begun: When it was chosen.
    @ivar flow: The flow for which it was mounted; C{None} if that is not known, and then it counts for all.
    @ivar ahead: Seconds that the files which were submitted and are not on disk yet will take; they count as elapsed.
    @ivar over: Whether no more of its files are submitted; earlier ones are still recalled.
    """

    medium: str
    begun: float
    flow: Flow | None = None
    ahead: float = 0
    over: bool = False

    def has_expired(self, now: float, limit: float) -> bool:
        """Return whether it has lasted for C{limit} seconds."""
        return self.begun + limit <= now + self.ahead

    def is_for(self, demand: Demand) -> bool:
        """Return whether the cartridge was mounted for a demand."""
        return self.flow in (None, demand.flow)


class FairQueue:
    """
    How much each flow had: a tag in weighted drive-seconds, which increases as its files are submitted.

    A flow that begins to wait has at least virtual time as its tag, so that no flow can save up a share for later.
     Virtual time is not below the lowest tag of those that wait, and moves with the work (WF2Q+), so a flow that was
    alone does not pay for that when others come.

    @ivar virtual: Virtual time: the tag of a flow that had nothing lately.
    """

    def __init__(self) -> None:
        self.virtual = 0.0
        self._tags: dict[Flow, float] = {}
        self._waiting: set[Flow] = set()

    def __len__(self) -> int:
        return len(self._tags)

    def tag(self, flow: Flow) -> float:
        """Return a flow's tag; the lowest is served next."""
        if flow in self._waiting:
            return self._tags[flow]
        return max(self.virtual, self._tags.get(flow, self.virtual))

    def update(self, demands: Iterable[Demand]) -> None:
        """
        Update which flows wait, and drop the tags of others that had no more than virtual time.  L{next_medium} and
        L{eligible_flows} call this.
        """
        waiting = {demand.flow for demand in demands if demand.files > 0}
        for flow in waiting - self._waiting:
            self._tags[flow] = self.tag(flow)
        self._waiting = waiting
        self._tags = {flow: tag for flow, tag in self._tags.items() if flow in waiting or tag > self.virtual}

    def charge(self, flow: Flow, seconds: float) -> None:
        """
        Charge a flow for files that are submitted, or for a cartridge that is mounted for it.

        @param flow: The flow.
        @param seconds: How long a drive will be busy with that.
        """
        seconds, start = max(0.0, seconds), self.tag(flow)
        # One more is counted, so that the next flow to come is before those that were served, not level with them.
        waiting_weight = 1 + sum(map(weight, self._waiting | {flow}))
        lowest = min([start, *(self._tags[each] for each in self._waiting)])
        self.virtual = max(self.virtual + seconds / waiting_weight, lowest)
        self._tags[flow] = start + seconds / weight(flow)

    def dump(self) -> dict[str, object]:
        """Return what must outlive a restart, in a form for JSON."""
        return {"virtual": self.virtual, "tags": [[*flow, tag] for flow, tag in self._tags.items()]}

    def load(self, kept: Mapping[str, object]) -> None:
        """Load what L{dump} has returned; invalid values are left out: at worst, all flows begin from 0."""
        self.virtual = _tag(kept.get("virtual")) or 0.0
        self._waiting = set()
        self._tags = {}
        tags = kept.get("tags")
        for entry in tags if isinstance(tags, list) else ():
            match entry:
                case [str(owner), int(priority), value] if (tag := _tag(value)) is not None:
                    self._tags[owner, priority] = tag


def _tag(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= _LARGEST_TAG else None


@attrs.frozen
class _Claim:
    """
    A cartridge in the order of all.

    @ivar tag: The lowest tag of the flows that wait for it.
    @ivar demand: The demand that determines its position.
    @ivar files: The count of files of all its demands.
    @ivar oldest: When the oldest of these files began to wait.
    """

    tag: float
    demand: Demand
    files: int
    oldest: float

    @property
    def key(self) -> tuple[float, float, int, str]:
        """
        The key to sort by.  Of those with the same age, the one with most files is first, so that the drives end at
        about the same time.
        """
        return self.tag, self.demand.since, -self.files, self.demand.medium

    def is_before(self, tag: float, since: float, tolerance: float) -> bool:
        """
        Return whether this is worth the mounts to interrupt a demand with that tag and age.

        @param tolerance: The least difference in age, in seconds, where the tags are the same.
        """
        return self.tag < tag if self.tag != tag else self.demand.since + tolerance < since


def _claims(demands: Iterable[Demand], queue: FairQueue) -> dict[str, _Claim]:
    found: dict[str, _Claim] = {}
    for demand in demands:
        if demand.files <= 0:
            continue
        tag, files, oldest = queue.tag(demand.flow), demand.files, demand.since
        if (known := found.get(demand.medium)) is not None:
            files, oldest = files + known.files, min(oldest, known.oldest)
            if (known.tag, known.demand.since, known.demand.flow) <= (tag, demand.since, demand.flow):
                tag, demand = known.tag, known.demand
        found[demand.medium] = _Claim(tag, demand, files, oldest)
    return found


def in_order(demands: Collection[Demand], queue: FairQueue, busy: Collection[str] = ()) -> list[Demand]:
    """
    Return the cartridges that wait, in order, each as the demand that determines its position.

    @param busy: Cartridges that are being read, which are left out.
    """
    queue.update(demands)
    waiting = [claim for medium, claim in _claims(demands, queue).items() if medium not in busy]
    return [claim.demand for claim in sorted(waiting, key=lambda claim: claim.key)]


def next_medium(
    demands: Collection[Demand], queue: FairQueue, busy: Collection[str], now: float, batch_delay: float
) -> Demand | None:
    """
    Return the cartridge to be read next, as the demand that determines its position; its flow is to be charged for the
    mount.

    @param demands: All demands.
    @param queue: The tags of the flows.
    @param busy: Cartridges that are being read, also those whose time slice is over.
    @param now: The time.
    @param batch_delay: The seconds that the oldest file of a cartridge must have waited.
    @return: C{None} if no cartridge is ready.
    """
    queue.update(demands)
    ready = [
        claim
        for medium, claim in _claims(demands, queue).items()
        if medium not in busy and claim.oldest + batch_delay <= now
    ]
    return min(ready, key=lambda claim: claim.key).demand if ready else None


def eligible_flows(
    time_slices: Iterable[TimeSlice],
    demands: Collection[Demand],
    queue: FairQueue,
    rates: Rates,
    now: float,
    *,
    limit: float,
    batch_delay: float = 0,
    free: int = 0,
) -> dict[str, frozenset[Flow]]:
    """
    Return the flows whose files may be submitted now, for each cartridge that is being read.  One that has files
    waiting, but none of an eligible flow, is to give way: its time slice is over.

    No more cartridges are held back than there are others which wait with a better claim and get no drive otherwise.

    @param time_slices: All of them, also those that are over, whose drives will be free.
    @param demands: All demands.
    @param queue: The tags of the flows.
    @param rates: The rates of the tape library.
    @param now: The time.
    @param limit: The length of a time slice, in seconds.
    @param batch_delay: The seconds that the oldest file of another cartridge must have waited.
    @param free: The count of drives that are not in use.
    @return: The flows, by cartridge, for the time slices that are not over.
    """
    queue.update(demands)
    time_slices, claims = list(time_slices), _claims(demands, queue)
    reading = {time_slice.medium for time_slice in time_slices}
    waiting: defaultdict[str, list[Demand]] = defaultdict(list)
    for demand in demands:
        if demand.files > 0 and demand.medium in reading:
            waiting[demand.medium].append(demand)
    rivals = sorted(
        (each for medium, each in claims.items() if medium not in reading and each.oldest + batch_delay <= now),
        key=lambda claim: claim.key,
    )
    standing = [time_slice for time_slice in time_slices if not time_slice.over and time_slice.medium in waiting]
    ending = len(time_slices) - len(standing)
    # The first to be held back are those that can give way at once, and of these the ones that had most.
    standing.sort(
        key=lambda time_slice: (
            time_slice.has_expired(now, limit) or not any(map(time_slice.is_for, waiting[time_slice.medium])),
            claims[time_slice.medium].key,
        ),
        reverse=True,
    )
    unserved = rivals[max(0, free) + ending :][: len(standing)]
    granted: dict[str, frozenset[Flow]] = {
        time_slice.medium: frozenset() for time_slice in time_slices if not time_slice.over
    }
    for time_slice, rival in zip_longest(standing, unserved):
        has_expired = time_slice.has_expired(now, limit)
        # A flow that had much less than others need not wait until the tape has been read past all of their files.
        most = claims[time_slice.medium].tag + limit
        granted[time_slice.medium] = frozenset(
            each.flow
            for each in waiting[time_slice.medium]
            if (
                queue.tag(each.flow) <= most
                and (rival is None or not rival.is_before(queue.tag(each.flow), each.since, limit))
            )
            or (not has_expired and (time_slice.is_for(each) or _is_small_remainder(each, rates)))
        )
    return granted


def _is_small_remainder(demand: Demand, rates: Rates) -> bool:
    """Return whether another mount for a demand would take longer than to read it."""
    return rates.reading_time(demand.files, demand.size) <= rates.mount_seconds


@attrs.frozen(kw_only=True)
class SpaceNeed:
    """
    The disk buffer that a cartridge which is being read could use.

    @ivar medium: The cartridge.
    @ivar first: Bytes of its next file.
    @ivar size: Bytes of all its files that wait.
    """

    medium: str
    first: int
    size: int


def divide_buffer(free: int | None, needs: Sequence[SpaceNeed], capacity: int | None = None) -> dict[str, int | None]:
    """
    Divide the free disk buffer among cartridges that are being read: evenly, and what one does not need is for the
    others.

    Where a share is too small for the next file, the space for that file is reserved, if there is so much beside the
    next files of those before it; for the first in the list, also while there is not enough yet.  Otherwise a large
    file would wait until small files of others leave enough space by chance.

    @param free: Bytes; C{None} for no limit.
    @param needs: The needs, those first that have waited longest.
    @param capacity: Bytes of the whole buffer.  No space is reserved for a larger file: it waits until the buffer is
        empty, see L{count_fitting}.
    @return: Bytes by cartridge; no more than C{free} in total.
    """
    if free is None:
        return dict.fromkeys((need.medium for need in needs), None)
    left = max(0, free)
    divided: dict[str, int | None] = dict.fromkeys((need.medium for need in needs), 0)
    among = [need for need in needs if capacity is None or need.first <= capacity]
    oldest = among[:1]
    while among:
        shares, before = _even_shares(left, among), 0
        for need in among:
            if shares[need.medium] < need.first and (need in oldest or need.first <= left - before):
                divided[need.medium] = min(need.first, left)
                left -= min(need.first, left)
                among.remove(need)
                break
            before += need.first
        else:
            divided.update(shares)
            break
    return divided


def _even_shares(left: int, needs: Sequence[SpaceNeed]) -> dict[str, int]:
    """Divide space as evenly as possible, without giving any cartridge more than it needs."""
    shares = {}
    for index, need in enumerate(sorted(needs, key=lambda need: max(need.size, need.first))):
        shares[need.medium] = min(max(need.size, need.first), left // (len(needs) - index))
        left -= shares[need.medium]
    return shares


def count_fitting(space: int | None, sizes: Iterable[int], most: int, occupied: int) -> int:
    """
    Return how many of the next files may be submitted now: those before the first that does not fit, so that the order
    remains that of the tape, and large files are not overtaken.

    A file that is larger than the space is submitted when the buffer is empty, as it would wait forever otherwise.

    @param space: Bytes; C{None} for no limit.
    @param sizes: The sizes of the files, in the order of the tape.
    @param most: The most files.
    @param occupied: What is pinned, or was submitted of all cartridges and is not on disk yet: files or bytes.
    """
    count, total = 0, 0
    for size in sizes:
        total += max(0, size)
        if count >= most or (space is not None and total > space and (count > 0 or occupied > 0)):
            break
        count += 1
    return count
