"""Which files are submitted to the storage system, and when."""

from __future__ import annotations

from functools import partial
from uuid import UUID, uuid4

from pacarchive.interfaces import IRecaller
from pacarchive.recall import schedule, work
from pacarchive.recall.dispatcher_state import BEGINNING, Active, DispatcherState, Reading
from pacarchive.recall.holds import read_holds
from pacarchive.recall.loops import Tasks
from pacarchive.recall.progress import Progress
from pacarchive.recall.schedule import Flow, SpaceNeed
from pacarchive.recall.schema import from_key
from pacarchive.recall.store import Cursor, Transaction
from pacarchive.runtime.shared import all_of

GRACE = 10.0
"""Seconds for which the storage system may not know of what was just submitted."""

_ANSWERED = 5.0
"""The most seconds that a submission waits for the answer to an earlier one of the same cartridge."""

_RECOUNT = 60.0
"""Seconds after which the files that wait for a cartridge which is being read are counted again."""


class StorageRequests:
    """
    The loop that chooses cartridges, and submits their files in the order of the tape.

    @param shared: The dispatcher's state.
    @param recaller: The storage system.
    @param progress: Processes the answers.
    @ivar full: Why nothing is submitted, if the disk buffer is full; else empty.
    """

    def __init__(self, shared: DispatcherState, recaller: IRecaller, progress: Progress) -> None:
        self._shared = shared
        self._recaller = recaller
        self._progress = progress
        self._sending = Tasks()
        self.full = ""

    async def stop(self) -> None:
        """Wait for submissions that are under way, after the loop has stopped."""
        await self._sending.stop()

    async def step(self) -> bool:
        """Submit what can be submitted now.  @return: C{False}: there is nothing more to do."""
        self._sending.check()
        await self._end_readings()
        self._give_up_held()
        self._choose()
        grants = self._grants()
        candidates = [
            each for each in self._shared.readings.values() if self._can_take_more(each) and grants.get(each.medium)
        ]
        if not candidates:
            return False
        occupied, space = await self._available_space(candidates)
        ready = [each for each in candidates if space[each.medium] != 0]
        if not ready and not occupied:
            ready = candidates[:1]  # its next file is larger than the whole buffer
        await all_of(self._submit_next(each, grants[each.medium], space[each.medium], occupied) for each in ready)
        return False

    def _give_up_held(self) -> None:
        """Submit no more from cartridges that are held, nor from those that were chosen last for drives that are."""
        shared = self._shared
        for reading in shared.readings.values():
            reading.over = reading.over or reading.medium in shared.holds.cartridges
        if shared.drives < shared.settings.drives:
            standing = [reading for reading in shared.readings.values() if not reading.over]
            for reading in sorted(standing, key=lambda reading: reading.begun)[shared.drives :]:
                reading.over = True

    def _grants(self) -> dict[str, frozenset[Flow]]:
        """
        Return the flows whose files may be submitted, by cartridge; one that has files, but none of these flows, gives
        way.
        """
        shared, settings = self._shared, self._shared.settings
        for reading in shared.readings.values():
            reading.ahead = shared.rates.reading_time(reading.left, reading.left_size)
        grants = schedule.eligible_flows(
            shared.readings.values(),
            shared.free_demands,
            shared.queue,
            shared.rates,
            shared.now,
            limit=settings.turn,
            batch_delay=settings.batch_delay,
            free=max(0, shared.drives - len(shared.readings)),
        )
        waited_for = {medium for medium, _ in shared.demands}
        for reading in shared.readings.values():
            if reading.medium in waited_for and not grants.get(reading.medium):
                reading.over = True
        return grants

    async def _end_readings(self) -> None:
        """Remove cartridges that have been read."""
        shared = self._shared
        for reading in list(shared.readings.values()):
            has_waiting = any(medium == reading.medium for medium, _ in shared.demands)
            if (reading.finished or reading.over or not has_waiting) and reading.left <= 0:
                del shared.readings[reading.medium]
                self._progress.learn_remaining(reading)
                await self._recount(reading)
            elif shared.now - reading.counted >= _RECOUNT:
                await self._recount(reading)

    async def _recount(self, reading: Reading) -> None:
        """
        Count again what waits for a cartridge: the oldest files have been submitted, and some may have been cancelled.
        """
        shared, medium = self._shared, reading.medium
        reading.counted = shared.now
        shared.recount(medium, await shared.read(partial(work.demands, medium=medium)))

    def _choose(self) -> None:
        """Choose cartridges for drives that are free, or will be when those are mounted."""
        shared, settings = self._shared, self._shared.settings
        while True:
            soon_free = [each for each in shared.readings.values() if self._is_ending(each)]
            if len(shared.readings) - len(soon_free) >= shared.drives or len(shared.readings) >= 2 * shared.drives:
                return
            demand = schedule.next_medium(
                shared.free_demands, shared.queue, shared.readings, shared.now, settings.batch_delay
            )
            if demand is None:
                return
            shared.readings[demand.medium] = Reading(
                medium=demand.medium,
                flow=demand.flow,
                begun=shared.now,
                counted=shared.now,
                last_recalled=shared.now,
                after=BEGINNING,
            )
            shared.queue.charge(demand.flow, shared.rates.mount_seconds)

    def _is_ending(self, reading: Reading) -> bool:
        """
        Return whether a cartridge's last files will probably be recalled before the next cartridge can be mounted.
        """
        if reading.learned is None or not (reading.finished or reading.over):
            return False  # before its first file is on disk, another cartridge may still be in the drive
        left = self._shared.rates.reading_time(reading.left, reading.left_size)
        return left <= self._shared.settings.poll_interval

    def _can_take_more(self, reading: Reading) -> bool:
        """
        Return whether more files of a cartridge should be submitted, before the storage system has recalled the earlier
        ones.
        """
        if reading.finished or reading.over:
            return False
        if reading.unanswered and self._shared.now - reading.last_submitted < _ANSWERED:
            return False
        return 2 * reading.left <= self._most and 2 * reading.ahead <= self._most_seconds

    @property
    def _most(self) -> int:
        """The most files of a cartridge that are submitted at a time."""
        return max(self._shared.settings.outstanding, self._recaller.batch_limit)

    @property
    def _most_seconds(self) -> float:
        """
        The most seconds of reading that are submitted of a cartridge: nothing can overtake files that were submitted.
        """
        return self._shared.settings.turn / 4

    def _next_count(self, reading: Reading) -> int:
        """Return how many more files of a cartridge may be submitted now."""
        shared = self._shared
        waiting = [demand for (medium, _), demand in shared.demands.items() if medium == reading.medium]
        files, size = sum(each.files for each in waiting), sum(each.size for each in waiting)
        each = shared.rates.reading_time(files, size) / max(1, files) or shared.rates.cost(0)
        return max(1, min(self._most - reading.left, int((self._most_seconds - reading.ahead) / each)))

    async def _available_space(self, candidates: list[Reading]) -> tuple[int, dict[str, int | None]]:
        """
        Divide the free disk buffer.

        @return: What occupies the buffer already; and the bytes that may be submitted, by cartridge.
        """
        shared, settings = self._shared, self._shared.settings
        if not settings.buffer:
            self.full = ""
            return 0, dict.fromkeys((each.medium for each in candidates), None)

        def look(cursor: Cursor) -> tuple[int, dict[str, int | None]]:
            return work.pinned_bytes(cursor), {
                each.medium: work.next_size(cursor, each.medium, each.after) for each in candidates
            }

        pinned, first = await shared.read(look)
        started = sum(each.file.size for each in shared.active.values())
        whole = settings.buffer * settings.high_water // 100
        free = whole - pinned - started
        waiting = dict.fromkeys(first, 0)
        for demand in shared.demands.values():
            if demand.medium in waiting:
                waiting[demand.medium] += demand.size
        needs = [
            SpaceNeed(medium=each.medium, first=first[each.medium] or 0, size=waiting[each.medium])
            for each in sorted(candidates, key=lambda each: each.last_submitted)
        ]
        space = schedule.divide_buffer(free, needs, whole)
        blocked = [need for need in needs if (space[need.medium] or 0) < need.first]
        for need in blocked:
            shared.readings[need.medium].stalled = True
            space[need.medium] = 0
        self.full = (
            f"The disk buffer is full: {pinned:,} bytes are pinned and {started:,} on their way, of {whole:,}."
            if blocked
            else ""
        )
        return pinned + len(shared.active), space

    async def _submit_next(self, reading: Reading, flows: frozenset[Flow], space: int | None, occupied: int) -> None:
        """Submit the next files of a cartridge."""
        shared, request = self._shared, uuid4()
        most = self._next_count(reading)

        def start(transaction: Transaction) -> tuple[list[tuple[work.SubmittedFile, Flow]], bool]:
            if read_holds(transaction).reason(reading.medium):  # it was held since the step began
                return [], False
            return work.start_next(
                transaction,
                reading.medium,
                reading.after,
                flows,
                most,
                request.hex,
                lambda sizes: schedule.count_fitting(space, sizes, most, occupied),
            )

        submitted, finished = await shared.write(start)
        if finished:
            # Files that were queued at earlier positions are read in another pass, without another mount.
            reading.finished = not submitted and reading.after == BEGINNING
            reading.after = BEGINNING
        for file, flow in submitted:
            shared.served(reading.medium, flow, file.size)
            shared.queue.charge(flow, shared.rates.cost(file.size))
            shared.end(file.key)  # an earlier recall may have ended unnoticed, if the file was removed and stored again
            shared.active[file.key] = Active(file, GRACE, shared.now, answered=False, flow=flow)
            reading.left += 1
            reading.left_size += file.size
            if not finished:
                reading.after = (file.position, file.key)
        if submitted:
            reading.last_submitted = shared.now
            self._sending.begin(
                f"{reading.medium} {request}", self._send(reading, request, [file.key for file, _ in submitted])
            )

    async def _send(self, reading: Reading, request: UUID, keys: list[int]) -> None:
        """Send a submission; if the storage system does not answer, polling finds out the result."""
        reading.unanswered += 1
        try:
            reports = await self._recaller.recall(request, [from_key(key) for key in keys])
        finally:
            reading.unanswered -= 1
            for key in keys:
                if (active := self._shared.active.get(key)) is not None:
                    active.answered = True
        await self._progress.process(request.hex, reports)
