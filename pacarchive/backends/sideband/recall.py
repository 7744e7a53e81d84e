"""Recalls: what was asked for, and how it stands.

SAM queues and orders by itself, merges a second request for a file with the first, and tells nobody when one fails.
That a file is on disk again is seen in the sideband database, some seconds late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive.backends.sideband.stage import Wanted, Way
from pacarchive.model import RecallProgress, RecallState

_RETRY = 60.0
"""Seconds for which a request that failed is not repeated, and its words are given instead."""

_FINAL = 3600.0
"""Seconds for which what cannot be recalled is not tried again."""

_LAG = 900.0
"""Seconds that the database may take to hear of a file that was read whole."""

_MOST = 200_000
"""Requests that are remembered; forgetting one only means that SAM may be asked twice."""

_UNDER_WAY = {RecallState.QUEUED, RecallState.ACTIVE}

_log = Logger()


@attrs.define
class _Request:
    """
    A recall that was asked for.

    @ivar progress: How it stands, by what the way has said.
    @ivar since: When it came to stand so.
    """

    wanted: Wanted
    progress: RecallProgress
    since: float


class Recalls:
    """
    Asks for recalls in the background, and remembers them.

    @param clock: The time.
    @param way: How to ask.
    @param forget_after: Seconds after which a recall of which nothing more was heard counts as lost.
    """

    def __init__(self, clock: Any, way: Way, forget_after: float) -> None:
        self._clock = clock
        self._way = way
        self._forget_after = forget_after
        self._requests: dict[int, _Request] = {}
        self._queue: OrderedDict[int, None] = OrderedDict()  # each once, in order
        self._asking: set[Deferred[None]] = set()
        self._running = False

    def start(self) -> None:
        """Begin."""
        self._way.start()
        self._running = True

    async def stop(self) -> None:
        """End; what SAM was asked for goes on without us."""
        if not self._running:
            return
        self._running = False
        self._queue.clear()
        await self._way.stop()

    def want(self, wanted: Wanted) -> RecallProgress:
        """Ask for an offline file, unless that was done; returns at once."""
        known = self._known(wanted.file_id)
        if known is not None and known.progress.state is RecallState.RESIDENT:
            return self._read_whole(known)
        if known is not None:
            pause = _FINAL if known.progress.state is RecallState.FAILED else _RETRY
            if known.progress.state in _UNDER_WAY or self._age(known) < pause:
                return known.progress
        while len(self._requests) >= _MOST:
            del self._requests[next(iter(self._requests))]
        request = _Request(wanted, RecallProgress(RecallState.QUEUED), self._clock.seconds())
        self._requests[wanted.file_id] = request
        self._queue[wanted.file_id] = None
        self._ask_next()
        return request.progress

    async def progress(self, wanted: Wanted) -> RecallProgress:
        """How the recall of an offline file stands."""
        known = self._known(wanted.file_id)
        if known is not None and known.progress.state is RecallState.QUEUED:
            return known.progress
        said = await self._way.inspect(wanted)
        if said is not None:
            return said
        if known is None:
            return RecallProgress(RecallState.UNKNOWN)
        if known.progress.state is RecallState.RESIDENT:
            return self._read_whole(known)
        return known.progress

    async def may_be_back(self, wanted: Wanted) -> bool:
        """Whether a file that the database has on tape only is on disk again by what else is known of its recall."""
        known = self._known(wanted.file_id)
        if known is None or known.progress.state is RecallState.QUEUED:
            return False
        if known.progress.state is RecallState.RESIDENT:
            return True
        said = await self._way.inspect(wanted)
        return said is not None and said.state is RecallState.RESIDENT

    def was_read(self, file_id: int) -> bool:
        """Whether the whole file was read lately, which is the best that is known while the database is silent."""
        request = self._known(file_id)
        if request is None or request.progress.state is not RecallState.RESIDENT:
            return False
        if self._age(request) < _LAG:
            return True
        self.forget(file_id)  # it may have been released since: it can be asked for again
        return False

    async def cancel(self, file_id: int) -> bool:
        """Give a recall up.  @return: Whether it was given up for certain."""
        request = self._known(file_id)
        if request is None:
            return False
        if request.progress.state is RecallState.QUEUED and file_id in self._queue:
            del self._queue[file_id]
            del self._requests[file_id]
            return True
        if await self._way.cancel(request.wanted):
            self._requests.pop(file_id, None)
            return True
        return False

    def forget(self, file_id: int) -> None:
        """The file is on disk, or there is none any more."""
        self._requests.pop(file_id, None)

    def came_back(self, file_id: int) -> None:
        """
        The file's bytes were on disk just now.  That it was read whole is remembered until the database knows, too.
        """
        request = self._requests.get(file_id)
        if request is not None and request.progress.state is not RecallState.RESIDENT:
            self.forget(file_id)

    def _known(self, file_id: int) -> _Request | None:
        request = self._requests.get(file_id)
        if request is None:
            return None
        if request.progress.state is RecallState.ACTIVE and self._age(request) > self._forget_after:
            del self._requests[file_id]
            return None
        return request

    def _age(self, request: _Request) -> float:
        age: float = self._clock.seconds() - request.since
        return age

    def _read_whole(self, request: _Request) -> RecallProgress:
        if self._age(request) < _LAG:
            return RecallProgress(RecallState.ACTIVE, "The file was read back; the database does not know of it yet.")
        words = "The file was read back whole, and is on tape only: it is marked never to be staged, or was released."
        request.progress = RecallProgress(RecallState.FAILED, words)
        request.since = self._clock.seconds()
        return request.progress

    def _ask_next(self) -> None:
        while self._running and self._queue and len(self._asking) < self._way.at_once:
            batch: list[_Request] = []
            while self._queue and len(batch) < self._way.batch:
                file_id, _ = self._queue.popitem(last=False)
                if (request := self._requests.get(file_id)) is not None:
                    batch.append(request)
            if batch:
                work = Deferred.fromCoroutine(self._ask(batch))
                self._asking.add(work)
                work.addBoth(self._asked, work, batch)

    async def _ask(self, batch: Sequence[_Request]) -> None:
        for request in batch:
            request.progress = RecallProgress(RecallState.ACTIVE)
        answers = await self._way.ask([request.wanted for request in batch])
        for request in batch:
            request.progress = answers[request.wanted.file_id]
            request.since = self._clock.seconds()
            if words := request.progress.words:
                _log.warn("file {file_id}: {words}", file_id=request.wanted.file_id, words=words)

    def _asked(self, result: Failure | None, work: Deferred[None], batch: Sequence[_Request]) -> None:
        self._asking.discard(work)
        if isinstance(result, Failure):
            _log.failure("recalls: unexpected", result)
            for request in batch:
                request.progress = RecallProgress(RecallState.UNKNOWN, "The recall could not be asked for.")
                request.since = self._clock.seconds()
        self._ask_next()
