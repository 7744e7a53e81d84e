"""What the storage system reports on recalls, and how they continue or end."""

from __future__ import annotations

from collections import Counter, defaultdict
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
from pacarchive.runtime import measuring
from pacarchive.texts import counted

_NOTE_REPORT = 60.0
"""Seconds after which it is noted in the store again that the storage system still knows of a recall."""

_FIRST_BACKOFF = 5.0
_LONGEST_BACKOFF = 3600.0
_BACKOFF_FACTOR = 4

_LEARN_AFTER = 10.0
"""The least seconds of reading from which rates are learned."""

_log = Logger()


@attrs.define
class _Outcomes:
    """
    The outcomes of some recalls.

    @ivar reported: The recalls that the storage system has reported on, by key.
    @ivar recalled: The sizes of those that are on disk, by key.
    @ivar failed: The reasons of those that have failed for good, by key.
    @ivar backing_off: When those are retried that failed for a passing reason, and that reason, by key.
    @ivar heard: The keys of those that the storage system still knows.
    @ivar overdue: The keys of those that the storage system has been working on for too long.
    @ivar given_up: The keys of those that have failed after their last attempt.
    """

    reported: dict[int, Active] = attrs.field(factory=dict)
    recalled: dict[int, int] = attrs.field(factory=dict)
    failed: dict[int, str] = attrs.field(factory=dict)
    backing_off: dict[int, tuple[float, str]] = attrs.field(factory=dict)
    heard: list[int] = attrs.field(factory=list)
    overdue: list[int] = attrs.field(factory=list)
    given_up: set[int] = attrs.field(factory=set)

    @property
    def empty(self) -> bool:
        return not (self.ended or self.heard)

    @property
    def ended(self) -> list[int]:
        return [*self.recalled, *self.failed, *self.backing_off]

    def note(self, transaction: Transaction) -> tuple[list[float], Counter[str]]:
        """
        Store them.

        @return: How many seconds each recall took that has ended well; and how many have not, by why.
        """
        current = work.current(transaction, {key: self.reported[key].file.request for key in self.ended})
        took = work.complete(transaction, {key: size for key, size in self.recalled.items() if key in current})
        work.fail_all(transaction, {key: reason for key, reason in self.failed.items() if key in current})
        work.back_off(transaction, {key: until for key, until in self.backing_off.items() if key in current})
        work.reported(transaction, self.heard)
        failed = Counter("attempts" if key in self.given_up else "storage" for key in self.failed if key in current)
        return took, failed + Counter("retried" for key in self.backing_off if key in current)


class Progress:
    """
    The loops that poll the storage system for recalls, and cancel those that no request needs.

    @param shared: The dispatcher's state.
    @param recaller: The storage system.
    @param ended: Called when recalls have ended, so that others can be submitted.
    """

    def __init__(self, shared: DispatcherState, recaller: IRecaller, ended: Callable[[], None]) -> None:
        self._shared = shared
        self._recaller = recaller
        self._ended = ended
        self._polls = Tasks()
        self._cancels = Tasks()
        self._too_short = (0, 0, 0.0)  # files, bytes and seconds of readings that were each too short to learn from

    async def stop(self) -> None:
        """Wait for calls that are under way, after the loops have stopped."""
        await self._polls.stop()
        await self._cancels.stop()

    async def poll(self) -> bool:
        """Poll all recalls that are under way.  @return: C{False}: there is nothing more to do."""
        answered = self._by_request(key for key, each in self._shared.active.items() if each.answered)
        for request, keys in answered.items():
            if not self._polls.is_under_way(request):
                self._polls.begin(request, self._poll(request, keys))
        self._polls.check()  # last: if it came first, every other step would succeed, and the pause would not grow
        return False

    async def _poll(self, request: str, keys: Sequence[int]) -> None:
        await self.process(request, await self._recaller.poll(UUID(request), [from_key(key) for key in keys]))

    async def cancel(self) -> bool:
        """Cancel recalls that no request needs any more.  @return: C{False}: there is nothing more to do."""
        shared = self._shared
        cancelling = await shared.read(work.cancelling)
        answered = [key for key in cancelling if (active := shared.active.get(key)) is not None and active.answered]
        for key in answered:
            # What the storage system does not know need not be cancelled: the next poll ends it.
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
        """
        Process what the storage system reports on a submission.

        @param request: The name of the submission.
        @param reports: The reports, by file id.
        """
        shared = self._shared
        outcomes = _Outcomes()
        for file_id, progress in reports.items():
            active = shared.active.get(to_key(file_id))
            if active is not None and active.file.request == request:  # else it was cancelled meanwhile
                outcomes.reported[active.file.key] = active
                self._decide(active, progress, outcomes)
        for request, keys in self._by_request(outcomes.overdue).items():
            await self._recaller.cancel(UUID(request), [from_key(key) for key in keys])
        if outcomes.empty:
            return
        took, failed = await shared.write(outcomes.note)
        for seconds in took:
            measuring.observe(seconds, "recall_duration_seconds")
        for why, number in failed.items():
            measuring.count("recall_failures_total", why, amount=number)
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
        """Return why a recall that the storage system does not know has to be retried; empty if it may still appear."""
        if progress.words:
            return progress.words
        now = self._shared.now
        if active.unknown_since is None:
            active.unknown_since = now
        return "The tape system dropped the request." if now - active.unknown_since >= active.grace else ""

    def _retry(self, active: Active, reason: str, outcomes: _Outcomes) -> None:
        """Retry a recall after a pause, or let it fail for good after the last attempt."""
        file = active.file
        if file.attempts >= self._shared.settings.attempts:
            outcomes.given_up.add(file.key)
            outcomes.failed[file.key] = f"Tried {counted(file.attempts, 'time')}; the last time: {reason}"
            return
        pause = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * _BACKOFF_FACTOR ** (file.attempts - 1))
        _log.info(
            "file {file_id} is retried in {pause:.0f} s: {reason}",
            file_id=from_key(file.key),
            pause=pause,
            reason=reason,
        )
        outcomes.backing_off[file.key] = (self._shared.now + pause, reason)

    def _learn(self, recalled: Sequence[Active], now: float) -> None:
        """Learn the rates of the drives from files that were recalled."""
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
        """Learn from the end of a cartridge's reading, together with the ends of others."""
        if reading.learned is None or reading.stalled or not reading.recalled[0]:
            return
        files, size, seconds = self._too_short
        files, size = files + reading.recalled[0], size + reading.recalled[1]
        self._too_short = files, size, seconds + reading.last_recalled - reading.learned
        if self._too_short[2] >= _LEARN_AFTER:
            self._shared.rates.learn_reading(*self._too_short)
            self._too_short = (0, 0, 0.0)
