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
from pacarchive.recall.store import Turn
from pacarchive.texts import counted

_NOTE_HEARD = 60.0
"""Seconds after which it is noted again that the storage system still knows of a recall."""

_FIRST_REST = 5.0
_LONGEST_REST = 3600.0
_REST_GROWS = 4

_LEARN_AFTER = 10.0
"""Seconds of reading that are worth learning from."""

_log = Logger()


@attrs.define
class _Verdicts:
    """What becomes of some recalls, by key: the sizes of those that have come, the reasons of those that have not."""

    judged: dict[int, Active] = attrs.field(factory=dict)
    come: dict[int, int] = attrs.field(factory=dict)
    failed: dict[int, str] = attrs.field(factory=dict)
    resting: dict[int, tuple[float, str]] = attrs.field(factory=dict)
    heard: list[int] = attrs.field(factory=list)
    silent: list[int] = attrs.field(factory=list)

    @property
    def empty(self) -> bool:
        return not (self.ended or self.heard)

    @property
    def ended(self) -> list[int]:
        return [*self.come, *self.failed, *self.resting]

    def note(self, turn: Turn) -> None:
        current = work.current(turn, {key: self.judged[key].handed.request for key in self.ended})
        work.complete(turn, {key: size for key, size in self.come.items() if key in current})
        work.fail_all(turn, {key: reason for key, reason in self.failed.items() if key in current})
        work.rest(turn, {key: until for key, until in self.resting.items() if key in current})
        work.heard(turn, self.heard)


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
        self._short = (0, 0, 0.0)  # files, bytes and seconds of readings that were each too short to learn from

    async def stop(self) -> None:
        """End, when the loops have."""
        await self._polls.stop()
        await self._cancels.stop()

    async def poll(self) -> bool:
        """Ask how all of them stand."""
        settled = self._by_request(key for key, each in self._shared.active.items() if each.settled)
        for request, keys in settled.items():
            if not self._polls.is_under_way(request):
                self._polls.begin(request, self._poll(request, keys))
        self._polls.check()  # last: were every other step without failure, the loop would never pause for longer
        return False

    async def _poll(self, request: str, keys: Sequence[int]) -> None:
        await self.take(request, await self._recaller.poll(UUID(request), [from_key(key) for key in keys]))

    async def cancel(self) -> bool:
        """Have given up what nobody wants any more."""
        shared = self._shared
        unwanted = await shared.read(work.cancelling)
        settled = [key for key in unwanted if (active := shared.active.get(key)) is not None and active.settled]
        for key in settled:
            # There is nothing to give up of what it does not know of: the next poll tells.
            shared.active[key].grace = 0.0
        for request, keys in self._by_request(settled).items():
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
        await shared.write(lambda turn: work.given_up(turn, work.current(turn, agreed)))
        for key in agreed:
            if (active := shared.active.get(key)) is not None and active.handed.request == request:
                shared.end(key)
        self._ended()

    async def take(self, request: str, said: Mapping[int, RecallProgress]) -> None:
        """Draw the conclusions from what the storage system says of a request, by id."""
        shared = self._shared
        verdicts = _Verdicts()
        for file_id, progress in said.items():
            active = shared.active.get(to_key(file_id))
            if active is not None and active.handed.request == request:  # else it was given up meanwhile
                verdicts.judged[active.handed.key] = active
                self._judge(active, progress, verdicts)
        for request, keys in self._by_request(verdicts.silent).items():
            await self._recaller.cancel(UUID(request), [from_key(key) for key in keys])
        if verdicts.empty:
            return
        await shared.write(verdicts.note)
        ended = [active for key in verdicts.ended if (active := verdicts.judged[key]) is shared.active.get(key)]
        for active in ended:
            shared.end(active.handed.key)
        self._learn([active for active in ended if active.handed.key in verdicts.come], shared.now)
        if ended:
            self._ended()

    def _judge(self, active: Active, progress: RecallProgress, verdicts: _Verdicts) -> None:
        key, now = active.handed.key, self._shared.now
        match progress.state:
            case RecallState.RESIDENT:
                verdicts.come[key] = active.handed.size
            case RecallState.FAILED:
                verdicts.failed[key] = progress.words or "The storage system cannot recall it."
            case RecallState.UNKNOWN:
                if words := self._lost(active, progress):
                    self._again(active, words, verdicts)
            case _:
                active.unknown_since = None
                if now - active.handed.started >= self._shared.settings.silence:
                    verdicts.silent.append(key)
                    self._again(active, "The tape system worked on the request for too long, without an end.", verdicts)
                elif now - active.heard >= _NOTE_HEARD:
                    active.heard = now
                    verdicts.heard.append(key)

    def _by_request(self, keys: Iterable[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for key in keys:
            found[self._shared.active[key].handed.request].append(key)
        return found

    def _lost(self, active: Active, progress: RecallProgress) -> str:
        """Why a recall that the storage system does not know of has to be asked for again, if it has to."""
        if progress.words:
            return progress.words
        now = self._shared.now
        if active.unknown_since is None:
            active.unknown_since = now
        return "The tape system dropped the request." if now - active.unknown_since >= active.grace else ""

    def _again(self, active: Active, words: str, verdicts: _Verdicts) -> None:
        """Try a recall again after a rest, or not, when that was done often enough."""
        handed = active.handed
        if handed.attempts >= self._shared.settings.attempts:
            verdicts.failed[handed.key] = f"Tried {counted(handed.attempts, 'time')}; the last time: {words}"
            return
        rest = min(_LONGEST_REST, _FIRST_REST * _REST_GROWS ** (handed.attempts - 1))
        _log.info(
            "file {file_id} is asked for again in {rest:.0f} s: {words}",
            file_id=from_key(handed.key),
            rest=rest,
            words=words,
        )
        verdicts.resting[handed.key] = (self._shared.now + rest, words)

    def _learn(self, come: Sequence[Active], now: float) -> None:
        """Learn how fast the drives are."""
        self._shared.rates.recalled += len(come)
        readings: dict[str, tuple[int, int]] = {}
        for active in come:
            files, size = readings.get(active.handed.medium, (0, 0))
            readings[active.handed.medium] = files + 1, size + active.handed.size
        for medium, (files, size) in readings.items():
            if (reading := self._shared.readings.get(medium)) is not None and medium:
                self._learn_reading(reading, files, size, now)

    def _learn_reading(self, reading: Reading, files: int, size: int, now: float) -> None:
        rates = self._shared.rates
        reading.came = now
        if reading.learned is None:
            if not reading.stalled:
                rates.learn_mount(max(0.0, now - reading.begun - rates.reading_time(files, size)))
            reading.learned, reading.stalled = now, False
            return
        reading.come = (reading.come[0] + files, reading.come[1] + size)
        if now - reading.learned >= _LEARN_AFTER:
            if not reading.stalled:
                rates.learn_reading(*reading.come, now - reading.learned)
            reading.come, reading.learned, reading.stalled = (0, 0), now, False

    def learn_the_rest(self, reading: Reading) -> None:
        """A cartridge is done with: what came since it was last learned from counts together with others' rests."""
        if reading.learned is None or reading.stalled or not reading.come[0]:
            return
        files, size, seconds = self._short
        files, size = files + reading.come[0], size + reading.come[1]
        self._short = files, size, seconds + reading.came - reading.learned
        if self._short[2] >= _LEARN_AFTER:
            self._shared.rates.learn_reading(*self._short)
            self._short = (0, 0, 0.0)
