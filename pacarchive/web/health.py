"""How the storage is, however many ask: one look at a time, whose result all get who wait for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pacarchive import errors
from pacarchive.model import Health
from pacarchive.runtime.shared import Shared

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.interfaces import IArchiveBackend

PATIENCE = 10.0
"""Seconds after which storage that has not said how it is cannot be expected to do anything else."""

EVERY = 300.0
"""Seconds between two samples of the room that there is."""

SAMPLES = 2016
"""The most of them that are kept: those of a week."""

_log = Logger()


@attrs.frozen
class Sample:
    """
    How much room there was.

    @ivar time: Seconds since the epoch.
    @ivar free: Bytes that could still be stored.
    @ivar size: Bytes that the storage had room for in all.
    """

    time: float
    free: int
    size: int


class HealthProbe:
    """
    Asks a backend how it is.

    @param backend: The backend.
    @param clock: The time.
    @ivar samples: How much room there was, the oldest first: one for each L{EVERY} in which somebody asked, as
        balancers and monitoring do all the time; and the last.
    """

    def __init__(self, backend: IArchiveBackend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock
        self._look: Shared[Health] | None = None
        self._begun = 0.0
        self._ready = True
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)

    async def ask(self) -> Health:
        """Look how it is, or wait for the look that somebody else has begun."""
        now = self._clock.seconds()
        if self._look is None or self._look.ended:
            self._begun = now
            self._look = Shared(self._backend.health())
        left = self._begun + PATIENCE - now
        try:
            if left <= 0:
                raise defer.TimeoutError
            health = await Deferred.fromCoroutine(self._look.result()).addTimeout(left, self._clock)
        except defer.TimeoutError:
            health = Health(False, f"The storage has not said for {PATIENCE:g} s how it is.")
        except errors.ArchiveError as error:
            health = Health(False, str(error))
        self._tell(health)
        if health.free is not None and health.size is not None:
            self._keep(Sample(self._clock.seconds(), health.free, health.size))
        return health

    def _keep(self, sample: Sample) -> None:
        """The last sample counts as the last until it is old enough to be followed."""
        if len(self.samples) > 1 and sample.time - self.samples[-2].time < EVERY:
            self.samples.pop()
        self.samples.append(sample)

    def _tell(self, health: Health) -> None:
        """Log it when it changes."""
        if health.ready == self._ready:
            return
        self._ready = health.ready
        if health.ready:
            _log.info("ready again: {words}", words=health.words)
        else:
            _log.error("not ready: {words}", words=health.words)
