"""Which cartridge is read next, for how long, and how many of its files fit.

All of it is arithmetic over small summaries: one L{Demand} for each cartridge and flow, never a file.  Times are
arguments; nothing waits, and nothing is asked.

A I{flow} is what gets a fair share: an owner's jobs of one priority.  Fairness is start-time fair queueing over
drive-seconds, but a flow moves on when its files are I{handed} to the storage system, not when they are asked for:
cartridges are read in the order of the tape, which takes files from all over an owner's queue, so that a tag given to
each file when it arrives says nothing of what the owner has had since.  Hence the tag is the flow's, and all its
cartridges have the same; which of them is first is a matter of age.

The order of cartridges is that of the lowest tag of the flows that wait for them; of those with the same, the one
that has waited longest.  While all drives are in use and a cartridge waits, one that is being read is handed only
files of flows that come before it in this order; and, until its turn has lasted, of the flow for which it was mounted,
and small rests, for which it is not worth another mount.  When there is nothing of these, it gives way; L{handing} says
all this.  So

  - a burst of one flow never mounts a cartridge twice: its cartridges have the same tag, and the same age;
  - those who had less than others wait for a turn to last, not for a cartridge to be read to its end; and what others
    want of a cartridge that was mounted for them does not keep them from the next;
  - files that keep arriving for one cartridge do not starve the owner's others: one that is older by more than a turn
    comes before it;
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
"""Thirty million years: what was kept of a larger one is no tag."""


def weight(flow: Flow) -> float:
    """How large a flow's share is beside the others'."""
    return _WEIGHTS.get(flow[1], 1.0)


@attrs.define(kw_only=True)
class Demand:
    """
    What a flow wants from a cartridge and was not handed yet.

    @ivar files: How many files; one without is as good as none.
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
    A cartridge that is being read.

    @ivar begun: When it was chosen.
    @ivar flow: For which it was mounted; C{None}: for all, as nobody knows any more.
    @ivar ahead: Seconds that what it was handed, and has not come, will take; they count as if they had passed.
    @ivar over: It is handed nothing more; what it was handed before is still awaited.
    """

    medium: str
    begun: float
    flow: Flow | None = None
    ahead: float = 0
    over: bool = False

    def has_expired(self, now: float, limit: float) -> bool:
        """Whether it was left in peace for long enough."""
        return self.begun + limit <= now + self.ahead

    def is_for(self, demand: Demand) -> bool:
        """Whether it was mounted for that."""
        return self.flow in (None, demand.flow)


class FairQueue:
    """
    How much each flow had: a tag in weighted drive-seconds, which grows with what it is handed.

    A flow that begins to wait gets no less than virtual time, so that nobody saves up a share for later.  Virtual time
    is not below the lowest tag of those who wait, and moves with the work (WF2Q+), so a flow that is alone does not
    pay for it when others come.

    @ivar virtual: Where a flow begins that had nothing lately.
    """

    def __init__(self) -> None:
        self.virtual = 0.0
        self._tags: dict[Flow, float] = {}
        self._waiting: set[Flow] = set()

    def __len__(self) -> int:
        return len(self._tags)

    def tag(self, flow: Flow) -> float:
        """How much a flow had; the lowest comes next."""
        if flow in self._waiting:
            return self._tags[flow]
        return max(self.virtual, self._tags.get(flow, self.virtual))

    def update(self, demands: Iterable[Demand]) -> None:
        """
        Note who waits, and forget those who do not and had no more than others.  L{next_medium} and L{handing} do so.
        """
        waiting = {demand.flow for demand in demands if demand.files > 0}
        for flow in waiting - self._waiting:
            self._tags[flow] = self.tag(flow)
        self._waiting = waiting
        self._tags = {flow: tag for flow, tag in self._tags.items() if flow in waiting or tag > self.virtual}

    def charge(self, flow: Flow, seconds: float) -> None:
        """
        A flow gets something: files are handed, or a cartridge is mounted for it.

        @param seconds: How long a drive will be busy with it.
        """
        seconds, start = max(0.0, seconds), self.tag(flow)
        # As if one more were there all the time: so whoever comes next is before those who were served, not beside.
        waiting_weight = 1 + sum(map(weight, self._waiting | {flow}))
        lowest = min([start, *(self._tags[each] for each in self._waiting)])
        self.virtual = max(self.virtual + seconds / waiting_weight, lowest)
        self._tags[flow] = start + seconds / weight(flow)

    def dump(self) -> dict[str, object]:
        """All that must outlive a restart, as JSON can have it."""
        return {"virtual": self.virtual, "tags": [[*flow, tag] for flow, tag in self._tags.items()]}

    def load(self, kept: Mapping[str, object]) -> None:
        """Go on from what L{dump} gave.  What makes no sense is left out: at worst, everybody begins from nothing."""
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

    @ivar demand: The one that it owes its place to.
    """

    tag: float
    demand: Demand
    files: int
    oldest: float

    @property
    def key(self) -> tuple[float, float, int, str]:
        """
        What to sort by.  Of those with the same age, the one with most files is first, so that the drives have done at
        about the same time.
        """
        return self.tag, self.demand.since, -self.files, self.demand.medium

    def is_before(self, tag: float, since: float, tolerance: float) -> bool:
        """Whether this is worth the mounts to interrupt what has that tag and age."""
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
    The cartridges that wait, the next first, each as the demand that it owes its place to: as things are now, for
    forecasts.

    @param busy: Those that are being read.
    """
    queue.update(demands)
    waiting = [claim for medium, claim in _claims(demands, queue).items() if medium not in busy]
    return [claim.demand for claim in sorted(waiting, key=lambda claim: claim.key)]


def next_medium(
    demands: Collection[Demand], queue: FairQueue, busy: Collection[str], now: float, batch_delay: float
) -> Demand | None:
    """
    The cartridge to be read next, as the demand that it owes its place to; whose flow is to be charged for the mount.

    @param busy: Those that are being read, also those whose turn is over.
    @param batch_delay: How long the oldest file of a cartridge must have waited.
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
    Whose files each cartridge that is being read may be handed now.  One that has files waiting, but of nobody here, is
    to give way: its turn is over.

    No more turns are held back than there are cartridges which wait with a better claim, and get no drive otherwise.

    @param turns: All, also those which are over, whose drives will be free.
    @param limit: How long a turn is left in peace.
    @param free: Drives that are not in use.
    @return: By medium, for the turns which are not over.
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
    # The first to be held back are those which can give way at once, and of these the ones which had most.
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
        # Who had much less than the others here is not to wait until the tape has come to it past all of theirs.
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
    """Whether another mount for it would take longer than to read it."""
    return rates.reading_time(demand.files, demand.size) <= rates.mount_seconds


@attrs.frozen(kw_only=True)
class SpaceNeed:
    """
    What a cartridge that is being read could be handed.

    @ivar first: Bytes of its next file.
    @ivar size: Bytes of all that wait.
    """

    medium: str
    first: int
    size: int


def divide_buffer(free: int | None, needs: Sequence[SpaceNeed], capacity: int | None = None) -> dict[str, int | None]:
    """
    Share free buffer among cartridges that are being read: evenly, and what one does not need is for the others.

    Where a share is too small for the next file, the cartridge is kept what that file needs, as long as there is so
    much beside the next files of those before it; for the first in the list, also while it is not enough yet.  Else a
    large file would wait until the small ones of others leave room by chance.

    @param free: Bytes; C{None} for no limit.
    @param wants: Those who have waited for room longest first.
    @param whole: Bytes of the whole buffer.  No room is kept for a file that is larger: it waits until nothing else is
        there, see L{share}.
    @return: Bytes by medium; no more than C{free} together.
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
    """As even as can be, and to nobody more than is wanted."""
    shares = {}
    for index, need in enumerate(sorted(needs, key=lambda need: max(need.size, need.first))):
        shares[need.medium] = min(max(need.size, need.first), left // (len(needs) - index))
        left -= shares[need.medium]
    return shares


def count_fitting(space: int | None, sizes: Iterable[int], most: int, occupied: int) -> int:
    """
    How many of the next files may be handed now: those up to the first that does not fit, so that the order stays that
    of the tape, and large files get their turn.

    A file that is larger than its room is handed when there is nothing else: it would wait for ever.

    @param room: Bytes; C{None} for no limit.
    @param sizes: In the order of the tape.
    @param most: The most files.
    @param held: What was handed of all cartridges, also just now, and has not come, and what is pinned: files or bytes.
    """
    count, total = 0, 0
    for size in sizes:
        total += max(0, size)
        if count >= most or (space is not None and total > space and (count > 0 or occupied > 0)):
            break
        count += 1
    return count
