"""The recall engine in virtual time: hours pass in seconds, and the same seed gives the same figures.

The engine and its store are the real ones; only the reactor, the threads of the store and the archive are not.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.settings import RecallSettings

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from recall.ordered import OrderedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pacarchive.interfaces import IArchiveBackend

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""When virtual time begins."""

LATENCY = 0.002
"""What an answer of the store takes."""

_STUCK = 100_000
"""So many calls without any time passing are an endless loop."""

_MEMORY = "/dev/shm"
"""Where files are on no disk: syncs cost real time, and virtual time has no use for them."""


class VirtualReactor(OrderedClock):
    """
    A reactor that only knows time, and whose threads do their work in no time at all; but what they did is told a
    moment later, so that other things happen in between, as they do in life.

    @param latency: Seconds until it is told.
    """

    def __init__(self, latency: float = LATENCY) -> None:
        super().__init__()
        self.rightNow = EPOCH
        self._latency = latency

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.seconds() - EPOCH

    def callFromThread(self, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
        self.callLater(self._latency, call, *arguments, **named)

    def callWhenRunning(self, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
        call(*arguments, **named)

    def addSystemEventTrigger(self, *arguments: Any, **named: Any) -> object:
        return object()  # it is never shut down

    def removeSystemEventTrigger(self, trigger: object) -> None:
        """It is not known."""

    def sleep(self, seconds: float) -> Deferred[None]:
        """Wait."""
        return deferLater(self, seconds)

    def run_until(self, condition: Callable[[], bool], limit: float) -> None:
        """
        Let time pass until something is true.

        @param limit: The most seconds.
        @raise TimeoutError: It is not true by then.
        """
        end, before, calls = self.seconds() + limit, -1.0, 0
        while not condition():
            due = self.calls[0].getTime() if self.calls else end + 1
            if due > end:
                raise TimeoutError(f"nothing came of it within {limit:,.0f} seconds of virtual time")
            calls = calls + 1 if due <= before else 0
            if calls > _STUCK:
                raise TimeoutError(f"something goes on for ever at {self.elapsed:,.3f} s of virtual time")
            before = max(due, self.seconds())
            self.advance(before - self.seconds())


class _InlineThreads:
    """What stands for L{twisted.python.threadpool.ThreadPool}."""

    def start(self) -> None:
        """There are none."""

    def callInThreadWithCallback(self, told: Any, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        try:
            succeeded, result = True, call(*arguments, **named)
        except Exception:  # noqa: BLE001  (whoever asked gets it)
            succeeded, result = False, Failure()
        told(succeeded, result)


class InlinePool:
    """What stands for L{pacarchive.runtime.threads.BlockingPool}: calls are done where they are made."""

    def __init__(self, reactor: Any, name: str, size: int) -> None:
        self.size = size
        self.threadpool = _InlineThreads()
        self._reactor = reactor

    def start(self) -> None:
        """There is nothing to start."""

    def call(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """As that of L{pacarchive.runtime.threads.BlockingPool}."""
        threads: Any = self.threadpool
        return deferToThreadPool(self._reactor, threads, call, *arguments)

    def stop(self, seconds: float) -> None:
        """There is nothing to end."""


class Simulation:
    """
    The engine over some archive, in virtual time.

    @param make_backend: Makes the archive.
    @param settings: Of C{[recall]}; all but C{store}.
    @ivar asked_at: C{elapsed} is the time.
    """

    def __init__(self, make_backend: Callable[[VirtualReactor], IArchiveBackend], **settings: Any) -> None:
        self.reactor = VirtualReactor()
        self.settings = settings
        self.backend = make_backend(self.reactor)
        self._folder = tempfile.TemporaryDirectory(
            prefix="recall-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None
        )
        self.engine = self._make_engine()
        self._others: list[Deferred[Any]] = []

    def __enter__(self) -> Simulation:
        self.do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.do(self._stop())
        finally:
            self._folder.cleanup()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.reactor.elapsed

    def restart(self) -> None:
        """Let another engine go on, as after a restart in good order."""
        self.do(self._stop())
        self.engine = self._make_engine()
        self.do(self._start())

    def do(self, work: Coroutine[Any, Any, T], limit: float = 30 * 86400.0) -> T:
        """Let time pass until some work is done.  @return: Its result."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        self.reactor.run_until(lambda: bool(results), limit)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def _make_engine(self) -> RecallEngine:
        settings = RecallSettings(store=f"{self._folder.name}/recall.sqlite", **self.settings)
        return RecallEngine(self.reactor, self.backend, settings, "simulated", InlinePool)  # type: ignore[arg-type]

    async def _start(self) -> None:
        await self.engine.startService()

    async def _stop(self) -> None:
        await self.engine.stopService()
