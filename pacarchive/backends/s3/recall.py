"""Recalls of files whose data is in a cold storage class, which is this archive's tape.

What is known of a recall is what the store says of the object, so that any process can go on with it.  In memory is
only when it is looked at again: a restore takes minutes to days, and each look is a request.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.s3.archive import S3Archive
from pacarchive.backends.s3.bucket import Bucket
from pacarchive.backends.s3.record import Record
from pacarchive.backends.s3.records import Records
from pacarchive.backends.s3.residency import Residency, Seen, usual_wait, with_residency
from pacarchive.backends.s3.restore import Outcome, Restorer
from pacarchive.interfaces import IRecaller
from pacarchive.model import FileStatus, RecallProgress, RecallState, TapeLocation
from pacarchive.runtime.shared import all_of

T = TypeVar("T")

_DAY = 86400.0
_SETTLES = 600.0
"""For how many seconds a store may not say yet that it restores: some write requests down, and read them later."""

_SOONEST, _LATEST, _SHARE = 1.0, 300.0, 20
"""When it is looked again: after this share of the time that has been waited."""

_MOST_WATCHED = 200_000
_AT_ONCE = 200
_WORTH = 20
"""How many files of a page make a list worth its while: one look at a page costs as much as several at a file."""

_ABSENT = RecallProgress(RecallState.FAILED, "No file has this id.")
_LOST = RecallProgress(RecallState.FAILED, "The bytes of the file are lost.")
_RESIDENT = RecallProgress(RecallState.RESIDENT)
_ACTIVE = RecallProgress(RecallState.ACTIVE)
_QUEUED = RecallProgress(RecallState.QUEUED)
_UNKNOWN = RecallProgress(RecallState.UNKNOWN)
_NOTHING_TO_DO = RecallProgress(
    RecallState.UNKNOWN,
    "The object store says that there is nothing to restore, and still has the file in a cold class.",
)

_log = Logger()


@attrs.define
class _Watched:
    """
    A restore that was asked for.

    @ivar key: The key of the data.
    @ivar since: When it was.
    @ivar due: When it is looked at again.
    """

    key: str
    since: float
    due: float


class Recaller:
    """
    Recalls files.

    @param restorer: Looks at objects, and asks for restores.
    @param bucket: The bucket.
    @param records: The records.
    @param cold: The names of cold classes, in capitals.
    @param days: For how many days a restored copy stays.
    """

    def __init__(self, restorer: Restorer, bucket: Bucket, records: Records, cold: Collection[str], days: int) -> None:
        self._restorer = restorer
        self._bucket = bucket
        self._records = records
        self._cold = frozenset(cold)
        self._margin = days * _DAY / 2
        self._watched: dict[int, _Watched] = {}
        self._lists = True

    async def residency(self, record: Record) -> tuple[Residency, Seen]:
        """
        Find out where the bytes of a version are.

        @raise errors.BackendUnavailable: The store does not answer.
        """
        if record.data is None:
            return Residency.ONLINE, Seen()
        seen = await self._restorer.look(self._records.layout.data_key(record), record.data.version)
        if seen is None:
            return Residency.LOST, Seen()
        return seen.residency(self._cold, self._bucket.store.now()), seen

    def offline(self, seen: Seen) -> errors.Offline:
        """What a reader is told of a file that has to be restored first."""
        wait = usual_wait(seen.storage_class, self._restorer.tier)
        more = f" That takes {wait} as a rule." if wait else ""
        return errors.Offline(f"The file is on tape; it has to be recalled first.{more}", job=None, retry_after=60)

    async def location(self, file_id: int) -> TapeLocation | None:
        """Where a file would be recalled from; what was stored together lies together."""
        record = await self._record(file_id)
        if record is None:
            return None
        residency, seen = await self.residency(record)
        if residency is Residency.RESTORED:
            if seen.lasts(self._bucket.store.now()) >= self._margin:
                return None
        elif residency not in (Residency.OFFLINE, Residency.RESTORING):
            return None
        medium = f"{self._records.layout.bucket}/{seen.storage_class or seen.archive}"
        return TapeLocation(medium=medium, position=int(seen.modified), size=record.size)

    async def recall(self, file_id: int) -> RecallProgress:
        """Ask for a file's restore, if it has to be."""
        record = await self._record(file_id)
        if record is None or record.data is None:
            return _ABSENT if record is None else _RESIDENT
        residency, seen = await self.residency(record)
        lasts = seen.lasts(self._bucket.store.now())
        if residency is not Residency.OFFLINE and not (residency is Residency.RESTORED and lasts < self._margin):
            return self._told(file_id, record, residency)
        key, version = self._records.layout.data_key(record), record.data.version
        result = await self._restorer.restore(key, version, has_days=seen.has_days)
        if residency is Residency.RESTORED:
            if result.outcome is not Outcome.EXTENDED:
                _log.warn("file {file_id}: its restored copy does not stay longer", file_id=file_id)
            return _RESIDENT
        match result.outcome:
            case Outcome.STARTED | Outcome.EXTENDED:
                self._watch(file_id, key)
                return _ACTIVE
            case Outcome.BUSY:
                return RecallProgress(RecallState.UNKNOWN, result.words)
            case Outcome.REFUSED:
                return RecallProgress(RecallState.FAILED, result.words)
        residency, _ = await self.residency(record)  # it is another now, or the store does not agree with itself
        return _NOTHING_TO_DO if residency is Residency.OFFLINE else self._told(file_id, record, residency)

    async def poll(self, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        """The progress of files; of those that it is too early to look at again, what was known last."""
        now = self._bucket.store.now()
        early = {each for each in file_ids if (found := self._watched.get(each)) is not None and found.due > now}
        progress = dict.fromkeys(early, _ACTIVE)
        late = [each for each in file_ids if each not in early]
        listed = await self._listed(late) if self._lists else {}
        for file_id, seen in listed.items():
            if seen.residency(self._cold, now) is Residency.RESTORING:
                progress[file_id] = self._still(file_id, self._watched[file_id].key)
        rest = [each for each in late if each not in progress]
        progress |= await _each(rest, self._look)
        untold = [each for each, seen in listed.items() if seen.restore is None and seen.is_cold(self._cold)]
        if any(progress[each] is _ACTIVE for each in untold):
            self._lists = False
            _log.info("the object store tells nothing of restores in its lists: files are looked at one by one")
        return progress

    async def _listed(self, file_ids: Sequence[int]) -> dict[int, Seen]:
        """
        Look at many files by listing, as long as enough of them are in each page.

        @return: What was found, of some of them.
        """
        wanted = {each.key: file_id for file_id in file_ids if (each := self._watched.get(file_id)) is not None}
        keys, found, place = sorted(wanted), dict[int, Seen](), 0
        while len(keys) - place >= _WORTH:
            page, last = await self._restorer.listed(self._records.layout.data, keys[place][:-1])
            found |= {wanted[key]: seen for key, seen in page.items() if key in wanted}
            end = len(keys) if last is None else bisect_right(keys, last)
            if end - place < _WORTH:
                break
            place = end
        return found

    async def _look(self, file_id: int) -> RecallProgress:
        record = await self._record(file_id)
        if record is None:
            self._watched.pop(file_id, None)
            return _ABSENT
        residency, _ = await self.residency(record)
        return self._told(file_id, record, residency)

    def _told(self, file_id: int, record: Record, residency: Residency) -> RecallProgress:
        """What the engine is told of where a file's bytes are."""
        key = self._records.layout.data_key(record)
        if residency is Residency.RESTORING:
            return self._still(file_id, key)
        watched = self._watched.get(file_id)
        is_own = watched is not None and watched.key == key and self._bucket.store.now() - watched.since < _SETTLES
        if residency is Residency.OFFLINE and is_own:
            self._still(file_id, key)
            return _QUEUED
        self._watched.pop(file_id, None)
        if residency is Residency.OFFLINE:
            return _UNKNOWN
        return _LOST if residency is Residency.LOST else _RESIDENT

    def _still(self, file_id: int, key: str) -> RecallProgress:
        """A restore is under way; set when it is looked at again."""
        watched = self._watched.get(file_id)
        if watched is None or watched.key != key:
            watched = self._watch(file_id, key)
        now = self._bucket.store.now()
        watched.due = now + min(_LATEST, max(_SOONEST, (now - watched.since) / _SHARE))
        return _ACTIVE

    def _watch(self, file_id: int, key: str) -> _Watched:
        now = self._bucket.store.now()
        self._watched.pop(file_id, None)
        if len(self._watched) >= _MOST_WATCHED:
            del self._watched[next(iter(self._watched))]  # it is looked at each time, which is only dearer
        watched = self._watched[file_id] = _Watched(key, now, now + _SOONEST)
        return watched

    async def _record(self, file_id: int) -> Record | None:
        current = await self._records.find(file_id)
        return None if current is None or current.record.removed else current.record


@implementer(IRecaller)
class RecallingArchive(S3Archive):
    """
    An archive in a bucket whose objects may be in cold classes.

    @param recaller: Recalls files.
    @param args: As of the archive; likewise C{kwargs}.
    """

    batch_limit = 2000  # a store takes as many as it is asked for, and works on all of them

    def __init__(self, recaller: Recaller, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recaller = recaller

    async def require_online(self, record: Record) -> None:
        residency, seen = await self._recaller.residency(record)
        if residency in (Residency.OFFLINE, Residency.RESTORING):
            raise self._recaller.offline(seen)
        if residency is Residency.LOST:
            raise errors.BackendUnavailable("The bytes of the file are lost.", retry_after=600)

    async def located(self, record: Record) -> FileStatus:
        try:
            residency, _ = await self._recaller.residency(record)
        except errors.Unavailable:
            residency = Residency.UNKNOWN
        return with_residency(await super().located(record), residency)

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        return await _each(file_ids, self._recaller.location)

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        return await _each(file_ids, self._recaller.recall)

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        return await self._recaller.poll(file_ids)

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        """Cancel nothing: a restore that was asked for cannot be taken back."""
        return frozenset()

    async def release(self, file_id: int) -> None:
        """Do nothing: the store removes a copy when its days are over."""


async def _each(file_ids: Sequence[int], ask: Callable[[int], Coroutine[Any, Any, T]]) -> dict[int, T]:
    """Ask for each of some files, so many at a time that the reactor is not held up."""
    answers: dict[int, T] = {}
    for start in range(0, len(file_ids), _AT_ONCE):
        some = file_ids[start : start + _AT_ONCE]
        answers |= zip(some, await all_of(ask(each) for each in some), strict=True)
    return answers
