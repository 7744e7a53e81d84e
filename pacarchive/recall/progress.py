"""What the storage system says of recalls, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

import attrs
from twisted.logger import Logger

from pacarchive.interfaces import IRecaller
from pacarchive.model import RecallProgress, RecallState
from pacarchive.recall import work
from pacarchive.recall.dispatcher_state import Active, DispatcherState, Reading
from pacarchive.recall.loops import Tasks
from pacarchive.recall.schema import from_key, to_key
from pacarchive.recall.store import Transaction
from pacarchive.texts import counted

_NOTE_REPORT = 60.0
"""Seconds after which it is noted again that the storage system still knows of a recall."""

_FIRST_BACKOFF = 5.0
_LONGEST_BACKOFF = 3600.0
_BACKOFF_FACTOR = 4

_LEARN_AFTER = 10.0
"""Seconds of reading that are worth learning from."""

_log = Logger()


@attrs.define
class _Outcomes:
    """What becomes of some recalls, by key: the sizes of those that have come, the reasons of those that have not."""

    reported: dict[int, Active] = attrs.field(factory=dict)
    recalled: dict[int, int] = attrs.field(factory=dict)
    failed: dict[int, str] = attrs.field(factory=dict)
    backing_off: dict[int, tuple[float, str]] = attrs.field(factory=dict)
    heard: list[int] = attrs.field(factory=list)
    overdue: list[int] = attrs.field(factory=list)

    @property
    def empty(self) -> bool:
        return not (self.ended or self.heard)

    @property
    def ended(self) -> list[int]:
        return [*self.recalled, *self.failed, *self.backing_off]

    def note(self, transaction: Transaction) -> None:
        current = work.current(transaction, {key: self.reported[key].file.request for key in self.ended})
        work.complete(transaction, {key: size for key, size in self.recalled.items() if key in current})
        work.fail_all(transaction, {key: reason for key, reason in self.failed.items() if key in current})
        work.back_off(transaction, {key: until for key, until in self.backing_off.items() if key in current})
        work.reported(transaction, self.heard)


class Progress:
    """
    The loops that ask how recalls stand, and that have them given up.

    @param shared: What is shared.
    @param recaller: The storage system.
    @param ended: Is called when some have ended, so that there is room for others.
    """

    def __init__(self, shared: DispatcherState, recaller: IRecaller, ended: Callable[[], None]) -> None:
        self._shared = shared
        self._recaller = recaller
        self._ended = ended
        self._polls = Tasks()
        self._cancels = Tasks()
        self._too_short = (0, 0, 0.0)  # files, bytes and seconds of readings that were each too short to learn from

    async def stop(self) -> None:
        """End, when the loops have."""
        await self._polls.stop()
        await self._cancels.stop()

    async def poll(self) -> bool:
        """Ask how all of them stand."""
        answered = self._by_request(key for key, each in self._shared.active.items() if each.answered)
        for request, keys in answered.items():
            if not self._polls.is_under_way(request):
                self._polls.begin(request, self._poll(request, keys))
        self._polls.check()  # last: were every other step without failure, the loop would never pause for longer
        return False

    async def _poll(self, request: str, keys: Sequence[int]) -> None:
        await self.process(request, await self._recaller.poll(UUID(request), [from_key(key) for key in keys]))

    async def cancel(self) -> bool:
        """Have given up what nobody wants any more."""
        shared = self._shared
        unwanted = await shared.read(work.cancelling)
        answered = [key for key in unwanted if (active := shared.active.get(key)) is not None and active.answered]
        for key in answered:
            # There is nothing to give up of what it does not know of: the next poll tells.
            shared.active[key].grace = 0.0
        for request, keys in self._by_request(answered).items():
            if not self._cancels.is_under_way(request):
                self._cancels.begin(request, self._cancel(request, keys))
        self._cancels.check()  # last, as above
        return False

    async def _cancel(self, request: str, keys: Sequence[int]) -> None:
        shared = self._shared
        some = await self._recaller.cancel(UUID(request), [from_key(key) for key in keys])
        if not some:
            return
        agreed = dict.fromkeys(map(to_key, some), request)
        await shared.write(lambda transaction: work.recalls_cancelled(transaction, work.current(transaction, agreed)))
        for key in agreed:
            if (active := shared.active.get(key)) is not None and active.file.request == request:
                shared.end(key)
        self._ended()

    async def process(self, request: str, reports: Mapping[int, RecallProgress]) -> None:
        """Draw the conclusions from what the storage system says of a request, by id."""
        shared = self._shared
        outcomes = _Outcomes()
        for file_id, progress in reports.items():
            active = shared.active.get(to_key(file_id))
            if active is not None and active.file.request == request:  # else it was given up meanwhile
                outcomes.reported[active.file.key] = active
                self._decide(active, progress, outcomes)
        for request, keys in self._by_request(outcomes.overdue).items():
            await self._recaller.cancel(UUID(request), [from_key(key) for key in keys])
        if outcomes.empty:
            return
        await shared.write(outcomes.note)
        ended = [active for key in outcomes.ended if (active := outcomes.reported[key]) is shared.active.get(key)]
        for active in ended:
            shared.end(active.file.key)
        self._learn([active for active in ended if active.file.key in outcomes.recalled], shared.now)
        if ended:
            self._ended()

    def _decide(self, active: Active, progress: RecallProgress, outcomes: _Outcomes) -> None:
        key, now = active.file.key, self._shared.now
        match progress.state:
            case RecallState.RESIDENT:
                outcomes.recalled[key] = active.file.size
            case RecallState.FAILED:
                outcomes.failed[key] = progress.words or "The storage system cannot recall it."
            case RecallState.UNKNOWN:
                if reason := self._lost_reason(active, progress):
                    self._retry(active, reason, outcomes)
            case _:
                active.unknown_since = None
                if now - active.file.started >= self._shared.settings.silence:
                    outcomes.overdue.append(key)
                    self._retry(active, "The tape system worked on the request for too long, without an end.", outcomes)
                elif now - active.heard >= _NOTE_REPORT:
                    active.heard = now
                    outcomes.heard.append(key)

    def _by_request(self, keys: Iterable[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for key in keys:
            found[self._shared.active[key].file.request].append(key)
        return found

    def _lost_reason(self, active: Active, progress: RecallProgress) -> str:
        """Why a recall that the storage system does not know of has to be asked for again, if it has to."""
        if progress.words:
            return progress.words
        now = self._shared.now
        if active.unknown_since is None:
            active.unknown_since = now
        return "The tape system dropped the request." if now - active.unknown_since >= active.grace else ""

    def _retry(self, active: Active, reason: str, outcomes: _Outcomes) -> None:
        """Try a recall again after a rest, or not, when that was done often enough."""
        file = active.file
        if file.attempts >= self._shared.settings.attempts:
            outcomes.failed[file.key] = f"Tried {counted(file.attempts, 'time')}; the last time: {reason}"
            return
        pause = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * _BACKOFF_FACTOR ** (file.attempts - 1))
        _log.info(
            "file {file_id} is asked for again in {pause:.0f} s: {reason}",
            file_id=from_key(file.key),
            pause=pause,
            reason=reason,
        )
        outcomes.backing_off[file.key] = (self._shared.now + pause, reason)

    def _learn(self, recalled: Sequence[Active], now: float) -> None:
        """Learn how fast the drives are."""
        self._shared.rates.recalled += len(recalled)
        readings: dict[str, tuple[int, int]] = {}
        for active in recalled:
            files, size = readings.get(active.file.medium, (0, 0))
            readings[active.file.medium] = files + 1, size + active.file.size
        for medium, (files, size) in readings.items():
            if (reading := self._shared.readings.get(medium)) is not None and medium:
                self._learn_reading(reading, files, size, now)

    def _learn_reading(self, reading: Reading, files: int, size: int, now: float) -> None:
        rates = self._shared.rates
        reading.last_recalled = now
        if reading.learned is None:
            if not reading.stalled:
                rates.learn_mount(max(0.0, now - reading.begun - rates.reading_time(files, size)))
            reading.learned, reading.stalled = now, False
            return
        reading.recalled = (reading.recalled[0] + files, reading.recalled[1] + size)
        if now - reading.learned >= _LEARN_AFTER:
            if not reading.stalled:
                rates.learn_reading(*reading.recalled, now - reading.learned)
            reading.recalled, reading.learned, reading.stalled = (0, 0), now, False

    def learn_remaining(self, reading: Reading) -> None:
        """A cartridge is done with: what came since it was last learned from counts together with others' rests."""
        if reading.learned is None or reading.stalled or not reading.recalled[0]:
            return
        files, size, seconds = self._too_short
        files, size = files + reading.recalled[0], size + reading.recalled[1]
        self._too_short = files, size, seconds + reading.last_recalled - reading.learned
        if self._too_short[2] >= _LEARN_AFTER:
            self._shared.rates.learn_reading(*self._too_short)
            self._too_short = (0, 0, 0.0)
