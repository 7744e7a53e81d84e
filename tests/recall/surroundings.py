"""What surrounds the engine in tests: a reactor in virtual time, threads that are none, and a storage system."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from uuid import UUID

import attrs
import pymysql
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from pacarchive import errors
from pacarchive.backends.memory import MemoryArchive
from pacarchive.interfaces import IRecaller
from pacarchive.model import FileStatus, Locality, RecallProgress, RecallState, TapeLocation
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.settings import RecallSettings
from recall.ordered import OrderedClock

T = TypeVar("T")

BEGINNING = 1_000_000_000.0
"""When virtual time begins."""

ARCHIVE = "memory:/archive"

BEFORE, AFTER, READING = "before", "after", "reading"


class VirtualReactor(OrderedClock):
    """
    One process's reactor; time only passes in L{spend}.

    @param time: Where the time comes from: another one's, which says what time it is for all; C{None} for its own.
    @ivar latency: What a call in a thread takes, in seconds.  0: it is made at once.
    @ivar trouble_reading: How many of the next calls that only read from it fail.
    @ivar trouble: What becomes of the next calls that write to the store: with L{BEFORE}, they fail and change nothing;
        with L{AFTER}, they seem to fail.
    """

    def __init__(self, time: Clock | None = None) -> None:
        super().__init__()
        self.rightNow = BEGINNING
        self.latency = 0.0
        self.trouble: list[str] = []
        self.trouble_reading = 0
        self._time = time
        self._dead = False
        self._triggers: dict[int, Callable[[], object]] = {}
        self._made: list[Any] = []

    def seconds(self) -> float:
        return super().seconds() if self._time is None else self._time.seconds()

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:  # noqa: A002
        if self._time is None:
            return super().callLater(delay, callable, *args, **kw)

        call = self._time.callLater(delay, callable, *args, **kw)
        self._made = [each for each in self._made if each.active()]
        self._made.append(call)
        return call

    def callFromThread(self, callable: Callable[..., object], *args: object, **kw: object) -> None:  # noqa: A002
        if not self._dead:
            callable(*args, **kw)

    def callWhenRunning(self, callable: Callable[..., object], *args: object, **kw: object) -> None:  # noqa: A002
        callable(*args, **kw)

    def addSystemEventTrigger(
        self,
        phase: str,
        event: str,
        callable: Callable[..., object],  # noqa: A002
        *args: object,
        **kw: object,
    ) -> int:
        number = len(self._triggers) + 1
        self._triggers[number] = lambda: callable(*args, **kw)
        return number

    def removeSystemEventTrigger(self, number: int) -> None:
        del self._triggers[number]

    @property
    def dead(self) -> bool:
        """Whether the process has crashed."""
        return self._dead

    def die(self) -> None:
        """Crash: nothing that this process has begun goes on."""
        self._dead = True
        for each in self._made:
            if each.active():
                each.cancel()

    def spend(self, seconds: float) -> None:
        """Let time pass, and do what is due at the very time when it is."""
        end = self.seconds() + seconds
        while self.calls and (due := self.calls[0].getTime()) <= end:
            self.advance(max(0.0, due - self.seconds()))
        self.advance(max(0.0, end - self.seconds()))

    def make_pool(self, reactor: Any, name: str, size: int) -> Any:
        """What stands for L{pacarchive.runtime.threads.BlockingPool}."""
        return InlinePool(self, name, size)


class Trouble(sqlite3.OperationalError, pymysql.OperationalError):
    """What either driver may raise."""


class InlinePool:
    """
    Threads that are none: each call is made at once, or one after the other when their time has come.

    @param reactor: The process that they belong to.
    """

    def __init__(self, reactor: VirtualReactor, name: str, size: int) -> None:
        self._reactor = reactor
        self._name = name
        self._waiting: list[tuple[Callable[[], None], Any]] = []
        self.size = size
        self.threadpool = self

    def start(self) -> None:
        """There is nothing to start."""

    def call(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """As that of L{pacarchive.runtime.threads.BlockingPool}."""
        pool: Any = self
        reactor: Any = self._reactor
        return deferToThreadPool(reactor, pool, call, *args)

    def stop(self, seconds: float = 5.0) -> bool:
        """Calls that were accepted are made."""
        self._catch_up()
        return True

    def _catch_up(self, last: Callable[[], None] | None = None) -> None:
        # In the order in which they came, also where one that came later is due before: latency changes.
        while self._waiting:
            run, call = self._waiting.pop(0)
            if call.active():
                call.cancel()
            run()
            if run is last:
                break

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], call: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """As that of L{twisted.python.threadpool.ThreadPool}."""

        def run() -> None:
            if self._reactor.dead:
                return
            trouble = self._trouble()
            try:
                if trouble == READING:
                    raise Trouble("trouble reading")
                if trouble == BEFORE:
                    raise Trouble("trouble before")
                result = call(*args, **kw)
                if trouble == AFTER:
                    raise Trouble("trouble after")
            except Exception:  # noqa: BLE001  (whoever waits for the call gets it)
                on_result(False, Failure())
            else:
                on_result(True, result)

        if not self._reactor.latency:
            self.stop()  # those that came before
            run()
            return

        self._waiting.append((run, self._reactor.callLater(self._reactor.latency, self._catch_up, run)))

    def _trouble(self) -> str:
        if self._name == "recall-write":
            return self._reactor.trouble.pop(0) if self._reactor.trouble else ""
        if not self._reactor.trouble_reading:
            return ""
        self._reactor.trouble_reading -= 1
        return READING


def done(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that does not wait for anything but inline threads."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    assert results, "it waits for something"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    result: T = results[0]
    return result


class Going:
    """Work that goes on: its result, or what it failed with, once it has ended."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._results: list[Any] = []
        self.deferred = Deferred.fromCoroutine(work)
        self.deferred.addBoth(self._results.append)

    @property
    def ended(self) -> Any:
        """Whether it has."""
        return bool(self._results)

    @property
    def result(self) -> Any:
        """What came of it."""
        assert self._results, "it goes on"
        if isinstance(self._results[0], Failure):
            self._results[0].raiseException()
        return self._results[0]


@attrs.define(kw_only=True)
class TapeFile:
    """
    A file of the storage system.

    @ivar request: By what name its recall goes, while there is one.
    @ivar given_up: It was asked to give that recall up, and did not.
    @ivar sentence: What it says of recalls from now on, whatever else is true.
    @ivar reads: How often it was asked for and not under way already.
    """

    medium: str = "V1"
    position: int = 0
    size: int = 1000
    on_disk: bool = False
    lost: bool = False
    request: UUID | None = None
    given_up: bool = False
    sentence: RecallProgress | None = None
    reads: int = 0


@implementer(IRecaller)
class Tapes(MemoryArchive):
    """
    A storage system that does what it is told to by the test.

    @ivar files: All that there are.
    @ivar down: Why it does not answer; empty while it does.
    @ivar deaf: Why its answers do not arrive, although it does what it is asked for.
    @ivar agrees: Whether it gives recalls up when it is asked to.
    @ivar prompt: A recall has ended as soon as it is asked for.
    @ivar delay: What each call takes, in seconds.
    @ivar calls: How often each method was called.
    @ivar released: Files that were released, in order.
    @ivar twice: Files that it was asked for by two names at the same time.
    """

    batch_limit = 1

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._time = clock
        self.files: dict[int, TapeFile] = {}
        self.down = ""
        self.deaf = ""
        self.agrees = True
        self.prompt = False
        self.delay = 0.0
        self.calls: Counter[str] = Counter()
        self.released: list[int] = []
        self.twice: list[int] = []

    def add(self, *file_ids: int, **more: Any) -> None:
        """Have files, each at a position of its own."""
        for file_id in file_ids:
            self.files[file_id] = TapeFile(**{"position": file_id % 1_000_000, **more})

    def come(self, *file_ids: int) -> None:
        """Recalls have ended: the bytes are on disk.  Without ids: all that are under way."""
        for file_id in file_ids or self.under_way():
            each = self.files[file_id]
            each.on_disk, each.request, each.given_up = True, None, False

    def forget(self, *file_ids: int) -> None:
        """Lose recalls.  Without ids: all."""
        for file_id in file_ids or self.under_way():
            self.files[file_id].request, self.files[file_id].given_up = None, False

    def under_way(self) -> list[int]:
        """The files that are being recalled."""
        return [file_id for file_id, each in self.files.items() if each.request is not None]

    async def _call(self, name: str, effect: Callable[[], T]) -> T:
        self.calls[name] += 1
        delay = self.delay
        if delay:
            await deferLater(self._time, delay / 2)
        if self.down:
            raise errors.BackendUnavailable(self.down)
        result = effect()
        if delay:
            await deferLater(self._time, delay / 2)
        if self.deaf:
            raise errors.BackendUnavailable(self.deaf)
        return result

    async def status(self, file_id: int) -> FileStatus:
        def look() -> FileStatus:
            if (each := self.files.get(file_id)) is None:
                raise errors.NotFound("No file has this id.")
            where = Locality.LOST if each.lost else Locality.DISK if each.on_disk else Locality.TAPE
            return FileStatus(
                file_id=file_id,
                path=f"tape:{file_id}",
                size=each.size,
                mtime_ns=0,
                ctime_ns=0,
                bytes_per_level=(each.size * each.on_disk, each.size),
                media=("disk", "tape"),
                locality=where,
                digests={},
                generation="1",
            )

        return await self._call("status", look)

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        return await self._call("locate", lambda: {file_id: self._location(file_id) for file_id in file_ids})

    def _location(self, file_id: int) -> TapeLocation | None:
        each = self.files.get(file_id)
        if each is None or each.on_disk or each.lost:
            return None
        return TapeLocation(medium=each.medium, position=each.position, size=each.size)

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        def ask() -> Mapping[int, RecallProgress]:
            for file_id in file_ids:
                each = self.files.get(file_id)
                if each is None or each.on_disk or each.lost or each.sentence is not None:
                    continue
                if each.request is None:
                    each.reads += 1
                    each.request = request
                elif each.request != request and not each.given_up:
                    self.twice.append(file_id)
                if self.prompt:
                    self.come(file_id)
            return self._say(file_ids)

        return await self._call("recall", ask)

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        return await self._call("poll", lambda: self._say(file_ids))

    def _say(self, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        said = {}
        for file_id in file_ids:
            each = self.files.get(file_id)
            if each is None:
                said[file_id] = RecallProgress(RecallState.FAILED, "No file has this id.")
            elif each.on_disk:
                said[file_id] = RecallProgress(RecallState.RESIDENT)
            elif each.sentence is not None:
                said[file_id] = each.sentence
            elif each.request is not None:
                said[file_id] = RecallProgress(RecallState.ACTIVE)
            else:
                said[file_id] = RecallProgress(RecallState.UNKNOWN)
        return said

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        def cancel_requests() -> frozenset[int]:
            agreed = set()
            for file_id in file_ids:
                each = self.files.get(file_id)
                if each is None or each.request != request:
                    agreed.add(file_id)
                elif self.agrees:
                    agreed.add(file_id)
                    each.request = None
                else:
                    each.given_up = True
            return frozenset(agreed)

        return await self._call("cancel", cancel_requests)

    async def release(self, file_id: int) -> None:
        await self._call("release", lambda: self.released.append(file_id))


def settings(**changes: Any) -> RecallSettings:
    """Settings with which things happen soon."""
    return RecallSettings(**{"batch_delay": 0, "poll_interval": 1, "attempts": 3, **changes})


class Surroundings:
    """
    A storage system, and the processes that share a job store over it.

    @param store: How to reach the store: settings of the section C{[recall]}.
    @ivar time: Virtual time, and the reactor of a process.
    @ivar tapes: The storage system.
    """

    def __init__(self, store: Mapping[str, Any]) -> None:
        self.time = VirtualReactor()
        self.tapes = Tapes(self.time)
        self._store = store
        self._running: list[RecallEngine] = []

    def engine(self, reactor: VirtualReactor | None = None, *, archive: str = ARCHIVE, **changes: Any) -> RecallEngine:
        """An engine that has started."""
        reactor = reactor or self.time
        engine = RecallEngine(reactor, self.tapes, self.settings(**changes), archive, make_pool=reactor.make_pool)
        work = Going(_start(engine))
        self.spend(0 if work.ended else 2)
        assert work.result is None
        self._running.append(engine)
        return engine

    def settings(self, **changes: Any) -> RecallSettings:
        """The settings of an engine."""
        return settings(**{**self._store, **changes})

    def spend(self, seconds: float) -> None:
        """Let time pass."""
        self.time.spend(seconds)

    def stop(self, engine: RecallEngine) -> None:
        """End an engine in order."""
        self._running.remove(engine)
        work = Going(_stop(engine))
        for _ in range(100):
            if work.ended:
                break
            self.spend(0.5)
        assert work.result is None

    def forget(self, engine: RecallEngine) -> None:
        """An engine's process has crashed."""
        self._running.remove(engine)

    def close(self) -> None:
        """End all; nothing is left to do."""
        self.tapes.down, self.tapes.deaf = "", ""
        for each in list(self._running):
            self.stop(each)
        assert not self.time.getDelayedCalls(), self.time.getDelayedCalls()


async def _start(engine: RecallEngine) -> None:
    await engine.startService()


async def _stop(engine: RecallEngine) -> None:
    await engine.stopService()


@contextmanager
def logged() -> Iterator[list[str]]:
    """What is logged as an error or as unexpected meanwhile."""
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            found.append(str(event.get("log_failure") or event.get("error") or event.get("log_format")))

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)


def ids(found: Collection[Any]) -> list[int]:
    """The ids of files, pins or the like."""
    return [each.file_id for each in found]
