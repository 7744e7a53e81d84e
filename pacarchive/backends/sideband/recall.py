"""Recalls: those that were requested, and their progress.

SAM has its own queue and order, merges a second request for a file with the first, and does not report when one fails.
That a file is on disk again shows in the sideband database, some seconds late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive.backends.sideband.stage import FileToStage, Stager
from pacarchive.model import RecallProgress, RecallState

_RETRY = 60.0
"""Seconds for which a request that failed is not retried; its message is returned instead."""

_FINAL = 3600.0
"""Seconds after which a file that could not be recalled at all is requested again."""

_LAG = 900.0
"""Seconds that the database may take to show that a file which was read whole is on disk."""

_MOST = 200_000
"""The most requests that are remembered; if one is forgotten, SAM may be asked twice for the file."""

_UNDER_WAY = {RecallState.QUEUED, RecallState.ACTIVE}

_log = Logger()


@attrs.define
class _Request:
    """
    A recall that was requested.

    @ivar file: The file.
    @ivar progress: Its progress, as the stager last reported it.
    @ivar since: When C{progress} last changed, by the clock.
    """

    file: FileToStage
    progress: RecallProgress
    since: float


class Recalls:
    """
    Submits recalls to SAM in the background, and remembers them.

    @param clock: The time.
    @param stager: How to have SAM stage files.
    @param lost_after: Seconds without any report after which a recall counts as lost.
    """

    def __init__(self, clock: Any, stager: Stager, lost_after: float) -> None:
        self._clock = clock
        self._stager = stager
        self._lost_after = lost_after
        self._requests: dict[int, _Request] = {}
        self._queue: OrderedDict[int, None] = OrderedDict()  # ids to submit, each once
        self._submissions: set[Deferred[None]] = set()
        self._running = False

    def start(self) -> None:
        """Start to submit recalls."""
        self._stager.start()
        self._running = True

    async def stop(self) -> None:
        """Stop; recalls that SAM has accepted go on."""
        if not self._running:
            return
        self._running = False
        self._queue.clear()
        await self._stager.stop()

    def request(self, file: FileToStage) -> RecallProgress:
        """Queue the recall of an offline file, unless it is under way or has just failed; return its progress."""
        known = self._known(file.file_id)
        if known is not None and known.progress.state is RecallState.RESIDENT:
            return self._read_whole(known)
        if known is not None:
            pause = _FINAL if known.progress.state is RecallState.FAILED else _RETRY
            if known.progress.state in _UNDER_WAY or self._age(known) < pause:
                return known.progress
        while len(self._requests) >= _MOST:
            del self._requests[next(iter(self._requests))]
        request = _Request(file, RecallProgress(RecallState.QUEUED), self._clock.seconds())
        self._requests[file.file_id] = request
        self._queue[file.file_id] = None
        self._submit_next()
        return request.progress

    async def progress(self, file: FileToStage) -> RecallProgress:
        """Return the progress of the recall of an offline file."""
        known = self._known(file.file_id)
        if known is not None and known.progress.state is RecallState.QUEUED:
            return known.progress
        reported = await self._stager.inspect(file)
        if reported is not None:
            return reported
        if known is None:
            return RecallProgress(RecallState.UNKNOWN)
        if known.progress.state is RecallState.RESIDENT:
            return self._read_whole(known)
        return known.progress

    async def may_be_on_disk(self, file: FileToStage) -> bool:
        """Return whether a file that is only on tape, by the database, is on disk again by the stager's reports."""
        known = self._known(file.file_id)
        if known is None or known.progress.state is RecallState.QUEUED:
            return False
        if known.progress.state is RecallState.RESIDENT:
            return True
        reported = await self._stager.inspect(file)
        return reported is not None and reported.state is RecallState.RESIDENT

    def was_read_back(self, file_id: int) -> bool:
        """Return whether the whole file was read lately; used while the database does not answer."""
        request = self._known(file_id)
        if request is None or request.progress.state is not RecallState.RESIDENT:
            return False
        if self._age(request) < _LAG:
            return True
        self.forget(file_id)  # it may have been released since, and then has to be requested again
        return False

    async def cancel(self, file_id: int) -> bool:
        """
        Cancel a recall.

        @return: Whether it is certain that it was cancelled.
        """
        request = self._known(file_id)
        if request is None:
            return False
        if request.progress.state is RecallState.QUEUED and file_id in self._queue:
            del self._queue[file_id]
            del self._requests[file_id]
            return True
        if await self._stager.cancel(request.file):
            self._requests.pop(file_id, None)
            return True
        return False

    def forget(self, file_id: int) -> None:
        """Forget the recall of a file that is on disk, or does not exist any more."""
        self._requests.pop(file_id, None)

    def found_on_disk(self, file_id: int) -> None:
        """
        Forget the recall of a file whose bytes are on disk.  One that was read whole is remembered, until the database
        shows it too.
        """
        request = self._requests.get(file_id)
        if request is not None and request.progress.state is not RecallState.RESIDENT:
            self.forget(file_id)

    def _known(self, file_id: int) -> _Request | None:
        request = self._requests.get(file_id)
        if request is None:
            return None
        if request.progress.state is RecallState.ACTIVE and self._age(request) > self._lost_after:
            del self._requests[file_id]
            return None
        return request

    def _age(self, request: _Request) -> float:
        age: float = self._clock.seconds() - request.since
        return age

    def _read_whole(self, request: _Request) -> RecallProgress:
        if self._age(request) < _LAG:
            return RecallProgress(RecallState.ACTIVE, "The file was read back; the database does not know of it yet.")
        message = "The file was read back whole, and is on tape only: it is marked never to be staged, or was released."
        request.progress = RecallProgress(RecallState.FAILED, message)
        request.since = self._clock.seconds()
        return request.progress

    def _submit_next(self) -> None:
        while self._running and self._queue and len(self._submissions) < self._stager.concurrency:
            batch: list[_Request] = []
            while self._queue and len(batch) < self._stager.batch_size:
                file_id, _ = self._queue.popitem(last=False)
                if (request := self._requests.get(file_id)) is not None:
                    batch.append(request)
            if batch:
                submission = Deferred.fromCoroutine(self._submit(batch))
                self._submissions.add(submission)
                submission.addBoth(self._submitted, submission, batch)

    async def _submit(self, batch: Sequence[_Request]) -> None:
        for request in batch:
            request.progress = RecallProgress(RecallState.ACTIVE)
        answers = await self._stager.stage([request.file for request in batch])
        for request in batch:
            request.progress = answers[request.file.file_id]
            request.since = self._clock.seconds()
            if message := request.progress.words:
                _log.warn("file {file_id}: {message}", file_id=request.file.file_id, message=message)

    def _submitted(self, result: Failure | None, submission: Deferred[None], batch: Sequence[_Request]) -> None:
        self._submissions.discard(submission)
        if isinstance(result, Failure):
            _log.failure("recalls: unexpected", result)
            for request in batch:
                request.progress = RecallProgress(RecallState.UNKNOWN, "The recall could not be requested.")
                request.since = self._clock.seconds()
        self._submit_next()
