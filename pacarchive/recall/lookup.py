"""Finding out where files are: each recall is looked up before it is queued."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.interfaces import IArchiveBackend
from pacarchive.model import FileStatus, Locality, TapeLocation
from pacarchive.recall import work
from pacarchive.recall.dispatcher_state import DispatcherState
from pacarchive.recall.loops import Tasks
from pacarchive.recall.schedule import Demand
from pacarchive.recall.schema import from_key
from pacarchive.recall.store import StoreUnavailable, Transaction
from pacarchive.recall.work import Located, New
from pacarchive.runtime import measuring
from pacarchive.runtime.shared import Shared
from pacarchive.runtime.statuses import statuses_of

AT_ONCE = 500
"""The most files of one look-up."""

_LOCATE_TIMEOUT = 10.0
"""
Seconds after which a file that exists is queued although its cartridge cannot be found out: the storage system may know
it when the file is submitted.
"""

_BATCH_TIMEOUT = 10.0
"""The timeout of a look-up of many files, in seconds; after that, each is looked up separately."""

ABSENT = "No file has this id."

_log = Logger()

_NOWHERE = TapeLocation(medium="", position=0, size=0)
_ON_DISK = frozenset({Locality.DISK, Locality.DISK_AND_TAPE, Locality.NONE})


@attrs.frozen
class Found:
    """
    What was found out about a file.

    @ivar status: Its status; C{None} if there is no such file, or if the status cannot be read.
    @ivar location: Where it has to be recalled from; C{None} if it need not or cannot be recalled.
    @ivar problem: Why it cannot be recalled; empty if it can be, or need not.
    """

    status: FileStatus | None
    location: TapeLocation | None
    problem: str = ""

    @property
    def on_disk(self) -> bool:
        """Whether it needs no recall."""
        return self.location is None and self.status is not None and self.status.locality in _ON_DISK


async def find(
    backend: IArchiveBackend, locations: Mapping[int, TapeLocation | None], file_ids: Sequence[int]
) -> dict[int, Found]:
    """
    Look files up.

    @param backend: The archive.
    @param locations: Locations on tape that are known already, by file id.
    @param file_ids: The files.
    @return: What was found out, by file id.
    @raise errors.BackendUnavailable: The storage does not answer.
    """
    found = {file_id: Found(None, location) for file_id, location in locations.items() if location is not None}
    others = [file_id for file_id in file_ids if file_id not in found]
    for file_id, status in (await statuses_of(backend, others)).items():
        found[file_id] = _found(file_id, status)
    return found


def _found(file_id: int, status: FileStatus | Exception) -> Found:
    match status:
        case errors.NotFound():
            return Found(None, None, ABSENT)
        case errors.Unavailable():
            raise status
        case errors.ArchiveError():
            return Found(None, None, str(status))
        case Exception():
            _log.failure("recalls: file {file_id}: unexpected", Failure(status), file_id=file_id)
            return Found(None, None, "Its state cannot be read.")
    if status.locality in (Locality.TAPE, Locality.UNAVAILABLE):
        return Found(status, attrs.evolve(_NOWHERE, size=status.size))
    return Found(status, None, "" if status.locality in _ON_DISK else "The bytes of the file are lost.")


class LookUp:
    """
    The loop that looks recalls up.

    It looks many up together.  Where that fails or times out, one of them may be the reason: then each is looked up
    separately, and none waits for another.

    @param shared: The dispatcher's state.
    @param queued: Called when recalls have been queued.
    """

    def __init__(self, shared: DispatcherState, queued: Callable[[], None]) -> None:
        self._shared = shared
        self._queued = queued
        self._tasks = Tasks()
        self._separate: set[int] = set()  # keys of those that are being looked up separately

    async def stop(self) -> None:
        """Wait for look-ups that are under way, after the loop has stopped."""
        await self._tasks.stop()

    async def step(self) -> bool:
        """Look some recalls up.  @return: Whether there may be more."""
        shared = self._shared
        new = await shared.read(lambda cursor: work.new_recalls(cursor, AT_ONCE + len(self._separate)))
        batch = [each for each in new if each.key not in self._separate][:AT_ONCE]
        if len(self._separate) >= AT_ONCE:
            batch = []  # the reason is not a single file
        if len(batch) > 1:
            try:
                together = Shared(self._look_up(batch))
                await Deferred.fromCoroutine(together.result()).addTimeout(_BATCH_TIMEOUT, shared.clock)
            except StoreUnavailable:
                raise
            except errors.BackendUnavailable:
                self._look_up_separately(batch)
                raise
            except defer.TimeoutError:
                self._look_up_separately(batch)
        else:
            self._look_up_separately(batch)
        self._tasks.check()
        return len(batch) == AT_ONCE

    def _look_up_separately(self, batch: Sequence[New]) -> None:
        for each in batch:
            self._separate.add(each.key)
            self._tasks.begin(str(each.key), self._look_up_one(each))

    async def _look_up_one(self, each: New) -> None:
        try:
            await self._look_up([each])
        finally:
            self._separate.discard(each.key)

    async def _look_up(self, new: Sequence[New]) -> None:
        shared, begun = self._shared, self._shared.now
        results = await self._find(new)
        if len(new) > 1 and shared.now - begun >= _BATCH_TIMEOUT:
            return  # it timed out, and each has been looked up separately since
        located: list[Located] = []
        on_disk: dict[int, int] = {}
        failed: dict[int, str] = {}
        for each, found in results:
            if found.location is not None:
                location = found.location
                located.append(Located(each.key, location.medium, location.position, location.size))
            elif found.status is None or found.problem:
                failed[each.key] = found.problem
            else:
                on_disk[each.key] = found.status.size
        await shared.write(lambda transaction: _store_results(transaction, located, on_disk, failed))
        for problem in failed.values():
            measuring.count("recall_failures_total", "absent" if problem == ABSENT else "look-up")
        flows = {each.key: ((each.owner, each.priority), each.since) for each in new}
        for place in located:
            flow, since = flows[place.key]
            shared.wait_for(Demand(medium=place.medium, flow=flow, files=1, size=place.size, since=since))
        if located:
            self._queued()

    async def _find(self, new: Sequence[New]) -> list[tuple[New, Found]]:
        shared = self._shared
        ids = {from_key(each.key): each for each in new}
        locations: Mapping[int, TapeLocation | None] = {}
        if shared.recaller is not None:
            try:
                locations = await shared.recaller.locate(list(ids))
            except errors.BackendUnavailable:
                ids = {file_id: each for file_id, each in ids.items() if each.since + _LOCATE_TIMEOUT <= shared.now}
                if not ids:
                    raise
        found = await find(shared.backend, locations, list(ids))
        return [(ids[file_id], each) for file_id, each in found.items()]


def _store_results(
    transaction: Transaction, located: Sequence[Located], on_disk: dict[int, int], failed: dict[int, str]
) -> None:
    work.queue(transaction, located)
    work.complete(transaction, on_disk)
    work.fail_all(transaction, failed)
