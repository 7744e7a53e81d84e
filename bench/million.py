"""The real engine in a process of its own: many jobs, a kill in the middle of the work, and the start after it.

As a program, this is that process: it submits jobs and does recalls, and tells on its standard output what it did.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner, textFileLogObserver
from zope.interface import implementer

from pacarchive.backends.memory import MemoryArchive
from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.model import RecallProgress, RecallState, TapeLocation
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.words import LIVE, JobRequest
from pacarchive.runtime.shared import all_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

MEDIA = 400
"""Cartridges."""

CLIENTS = 16
"""Jobs that are submitted at the same time."""

OWNERS = 8

_PROBE = 0.05
"""Seconds between two questions how a job stands."""

_SIZE = 10**9
_READ = 3.0
"""Seconds that each recall takes, however many there are."""

_SCATTER = 2654435761
"""Odd, so that its multiples, modulo a power of two, are all different; and far from each other."""

_PATIENCE = 900.0


@implementer(IArchiveBackend, IRecaller)
class InstantTapes(MemoryArchive):
    """
    Any number of files; it tells at once where they are, and each recall takes the same time.

    @ivar asked: Is called when the dispatcher asks for anything.
    """

    batch_limit = 1

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.asked = Deferred[None]()
        self._begun: dict[int, float] = {}

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        return {file_id: _place(file_id) for file_id in file_ids}

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        now = self._clock.seconds()
        for file_id in file_ids:
            self._begun.setdefault(file_id, now)
        return await self.poll(request, file_ids)

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        if not self.asked.called:
            self.asked.callback(None)
        now = self._clock.seconds()
        answers = {}
        for file_id in file_ids:
            begun = self._begun.get(file_id)
            if begun is None:
                answers[file_id] = RecallProgress(RecallState.UNKNOWN)
            elif now - begun < _READ:
                answers[file_id] = RecallProgress(RecallState.ACTIVE)
            else:
                del self._begun[file_id]
                answers[file_id] = RecallProgress(RecallState.RESIDENT)
        return answers

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        for file_id in file_ids:
            self._begun.pop(file_id, None)
        return frozenset(file_ids)

    async def release(self, file_id: int) -> None:
        """It makes no difference."""


def _place(file_id: int) -> TapeLocation:
    return TapeLocation(medium=f"V{file_id % MEDIA:05}", position=file_id // MEDIA, size=_SIZE)


def files_of(number: int, files: int) -> list[int]:
    """The files of a job: from anywhere in the archive, and no other job's."""
    return [index * _SCATTER % (1 << 32) for index in range(number * files, (number + 1) * files)]


# The process


class _Process:
    """What runs as a program."""

    def __init__(self, reactor: Any, arguments: argparse.Namespace) -> None:
        self._reactor = reactor
        self._arguments = arguments
        self._tapes = InstantTapes(reactor)
        settings = RecallSettings(store=arguments.store, batch_delay=1)
        self._engine = RecallEngine(reactor, self._tapes, settings, "million")
        self._jobs: list[str] = []
        self._latencies: list[float] = []
        self._ended = False

    async def run(self) -> None:
        await self._engine.startService()
        if self._arguments.ask:
            await self._engine.status(self._arguments.ask)
            _tell(answered=time.time())
        await self._tapes.asked if not self._arguments.jobs else None
        if not self._arguments.jobs:
            _tell(dispatching=time.time())
            await Deferred()
        begun = time.monotonic()
        probing = ensureDeferred(self._probe())
        numbers = iter(range(self._arguments.jobs))
        await all_of(self._submit(numbers) for _ in range(CLIENTS))
        took = time.monotonic() - begun
        self._ended = True
        await probing
        _tell(
            took=took,
            latencies=self._latencies,
            memory=_memory(),
        )
        # Go on, so that there is something to kill.
        self._ended = False
        more = iter(range(self._arguments.jobs, 1 << 60))
        await all_of(self._submit(more) for _ in range(CLIENTS))

    async def _submit(self, numbers: Iterator[int]) -> None:
        files = self._arguments.files
        for number in numbers:
            job = await self._engine.submit(
                JobRequest(owner=f"owner{number % OWNERS}", file_ids=files_of(number, files))
            )
            self._jobs.append(job)
            _tell(job=job, number=number)

    async def _probe(self) -> None:
        rng = random.Random(1)
        while not self._ended:
            if self._jobs:
                asked = time.monotonic()
                await self._engine.status(rng.choice(self._jobs))
                self._latencies.append(time.monotonic() - asked)
            await deferLater(self._reactor, _PROBE)


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _memory() -> tuple[float, float]:
    """MiB in memory: now, and the most there ever were."""
    with open("/proc/self/status", encoding="ascii") as file:
        found = dict(line.split(":", 1) for line in file)
    return int(found["VmRSS"].split()[0]) / 1024, int(found["VmHWM"].split()[0]) / 1024


# Whoever starts it


@attrs.define
class Outcome:
    """
    What was measured.

    @ivar files: Files that were submitted, to the last acknowledged job.
    @ivar rate: Files a second.
    @ivar p50: Seconds that the status of a job took meanwhile: the median; C{p99} likewise.
    @ivar memory: MiB at the end, and the most.
    @ivar damage: What was not as it had been acknowledged, after the kill.
    @ivar answered: Seconds from the second start until the status of a job was answered.
    @ivar dispatching: Until the dispatcher asked the storage system.
    """

    files: int = 0
    rate: float = 0
    p50: float = 0
    p99: float = 0
    memory: tuple[float, float] = (0, 0)
    damage: list[str] = attrs.field(factory=list)
    answered: float = 0
    dispatching: float = 0


def measure(folder: Path, jobs: int, files: int, linger: float) -> Outcome:
    """
    Submit jobs, kill the process while it goes on, see what is left, and start it again.

    @param folder: Where the store and the logs go.
    @param files: Of each job.
    @param linger: Seconds from the last of the jobs to the kill.
    """
    outcome = Outcome()
    store = folder / "recall.sqlite"
    acknowledged: dict[str, int] = {}
    first = _start(store, folder / "first.log", "--jobs", str(jobs), "--files", str(files))
    try:
        kill_at = None
        assert first.stdout is not None
        for line in first.stdout:
            told = json.loads(line)
            if "job" in told:
                acknowledged[told["job"]] = told["number"]
            else:
                outcome.rate = jobs * files / told["took"]
                latencies = sorted(told["latencies"])
                outcome.p50 = statistics.median(latencies)
                outcome.p99 = latencies[int(len(latencies) * 0.99)]
                outcome.memory = tuple(told["memory"])
                kill_at = time.monotonic() + linger
            if kill_at is not None and time.monotonic() >= kill_at:
                break
        first.send_signal(signal.SIGKILL)
        for line in first.stdout:
            if line.endswith("\n"):
                told = json.loads(line)
                acknowledged[told["job"]] = told["number"]
    finally:
        _end(first)
    outcome.files = len(acknowledged) * files
    outcome.damage = inspect(store, acknowledged, files)
    begun = time.time()
    second = _start(store, folder / "second.log", "--ask", next(reversed(acknowledged)))
    try:
        assert second.stdout is not None
        outcome.answered = json.loads(second.stdout.readline())["answered"] - begun
        outcome.dispatching = json.loads(second.stdout.readline())["dispatching"] - begun
    finally:
        _end(second)
    return outcome


def _start(store: Path, log: Path, *arguments: str) -> subprocess.Popen[str]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, __file__, "--store", store, *arguments],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def inspect(store: Path, acknowledged: Mapping[str, int], files: int) -> list[str]:
    """Hold a store against what was acknowledged.  @return: What is wrong, in words."""
    damage = []
    with closing(sqlite3.connect(store)) as database:
        if (found := database.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            damage.append(f"the database is damaged: {found}")
        there = {
            job: (found, remaining - left)
            for job, remaining, left, *found in database.execute(
                "SELECT j.job, j.remaining, SUM(w.state < ?), COUNT(*), MIN(w.file), MAX(w.file), SUM(w.file)"
                " FROM jobs j JOIN wishes w ON w.job = j.number GROUP BY j.number",
                (LIVE,),
            )
        }
        for job, number in acknowledged.items():
            ids = files_of(number, files)
            found, _ = there.get(job, ([], 0))
            if found != [files, min(ids), max(ids), sum(ids)]:
                damage.append(f"job {job} was acknowledged, and is not as it was: {found}")
        damage += [f"job {job} has miscounted by {wrong}" for job, (_, wrong) in there.items() if wrong]
        for what, query in (
            (
                "wishes that nothing is done about",
                "SELECT COUNT(*) FROM wishes w LEFT JOIN recalls r USING (file) WHERE w.state < ? AND r.file IS NULL",
            ),
            (
                "recalls that nobody wishes for",
                "SELECT COUNT(*) FROM recalls WHERE file NOT IN (SELECT file FROM wishes WHERE state < ?)",
            ),
        ):
            if count := database.execute(query, (LIVE,)).fetchone()[0]:
                damage.append(f"{count} {what}")
    return damage


def main() -> None:
    """Be that process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--jobs", type=int, default=0, help="how many, before the figures are told")
    parser.add_argument("--files", type=int, default=200, help="of each job")
    parser.add_argument("--ask", help="a job whose status is asked for at first")
    arguments = parser.parse_args()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    react(lambda reactor: ensureDeferred(_Process(reactor, arguments).run()))


if __name__ == "__main__":
    main()
