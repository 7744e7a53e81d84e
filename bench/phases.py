"""What is measured, phase by phase.  Figures go by the words that stand in the table."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import attrs
from clients import ClientError, finish_load, idle_connections, nothing, slow_clients
from machine import CREATES, CREATES_SECONDS, Findings, Machine, settle, size_words
from server import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clients import Source, Tally
    from server import Program

SMALL = 1024
"""The size of a small object, in bytes."""

IDLE = 10_000
"""How many connections wait."""

_TELLING = 0.3
"""From how many seconds on the CPU that others use can be told, of what the kernel counts in hundredths."""


@attrs.define
class Bench(Findings):
    """
    One round of measurements.

    @ivar server: C{None} where it is not ours, and only its answers can be measured.
    @ivar load: The load program.
    @ivar folder: A place for files of the harness, on the disk that is measured.
    @ivar share: The factor on all counts of requests and connections.
    @ivar next_id: Ids from here on are free.
    """

    port: int
    server: Program | None
    load: Path
    source: Source
    folder: Path
    share: float
    next_id: int
    _small: list[range] = attrs.field(factory=list)
    _stored: range | None = None

    def run(self, names: list[str]) -> None:
        """Measure the named phases."""
        for name in names:
            begun, before = time.monotonic(), self.server.foreign_cpu_seconds() if self.server else 0
            try:
                PHASES[name](self)
            except (ClientError, OSError) as error:
                self.problems.append(f"{name}: {error}")
            if self.server is None:
                continue
            if self.server.process.poll() is not None:
                self.problems.append(f"{name}: the server has ended: {self.server.log}")
                return
            took = time.monotonic() - begun
            if took > _TELLING:
                used = (self.server.foreign_cpu_seconds() - before) / took / (os.cpu_count() or 1)
                self.foreign[name] = round(max(0.0, 100 * used), 1)

    def tidy(self) -> None:
        """Remove the small objects, from a server that goes on."""
        for ids in self._small:
            finish_load(self._start("DELETE", 8, len(ids), 60, ids))

    # -- The phases

    def start(self) -> None:
        """What the start took."""
        if self.server is not None:
            self.note("RSS after start, MiB", self.server.resident())
            self.note("PSS after start, MiB", self.server.proportional())
            self.note("time to first answer, s", self.server.start_seconds)

    def hello(self) -> None:
        """The least that can be asked for."""
        self._measure("GET / c8", "GET", 8, 40_000, 2.5)

    def put(self) -> None:
        """Small objects in."""
        settle(self.folder, self.source.size * 3 // 10)
        for connections, requests in CREATES:
            ids = self._take_small(requests)
            self._measure(f"PUT 1 KiB c{connections}", "PUT", connections, requests, CREATES_SECONDS, ids)

    def get(self) -> None:
        """Small objects out."""
        for connections in (8, 64):
            self._measure(f"GET 1 KiB c{connections}", "GET", connections, 60_000, 3, self.objects())

    def head(self) -> None:
        """The state of small objects."""
        self._measure("HEAD c8", "HEAD", 8, 60_000, 2.5, self.objects())

    def one(self) -> None:
        """A large object in and out."""
        self._large(1)

    def four(self) -> None:
        """Four quarters of it at the same time."""
        self._large(4)

    def under(self) -> None:
        """Small GETs at a fixed rate: calm, and then while a large object comes in."""
        ids = self.objects()
        self._measure("GET at 300/s, calm", "GET", 32, 450, 5, ids, 300)
        self._settle()
        large, size = self._take(1), size_words(self.source.size)
        gets = self._start("GET", 32, 30_000, 100, ids, 300)
        try:
            put = self.source.transfer(self.port, "PUT", large)
        finally:
            gets.send_signal(signal.SIGINT)
            tally = finish_load(gets)
        self._tell(f"GET at 300/s under a {size} PUT", tally, 300, "failed or wrong")
        self._speed(f"that PUT of {size}", *put)
        self._remove(large)

    def idle(self) -> None:
        """Requests beside many connections that only wait, and what each of those takes."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        ids, count = self.objects(), min(self._count(IDLE), limit - 200)
        few = count // 10  # first, so that it does not count what memory had been freed before, and is used again
        with idle_connections(self.port, few) as few_open, ExitStack() as stack:
            before = self.server.proportional() if self.server else 0
            still_open = stack.enter_context(idle_connections(self.port, count - few))
            if self.server is not None:
                grown = self.server.proportional() - before
                self.note(f"{count} idle connections, KiB of memory each", grown * 1024 / (count - few))
            self._measure(f"GET 1 KiB c8 beside {count} idle connections", "GET", 8, 60_000, 2.5, ids)
            left = still_open() + few_open()
        self.note(f"{count} idle connections: still open", left)
        if left < count:
            self.problems.append(f"{count - left} of {count} idle connections were closed")

    def slow(self) -> None:
        """Requests beside many clients that take for ever."""
        ids, count = self.objects(), self._count(200)
        with slow_clients(self.port, self._take(count)) as dribble:
            for _ in range(2 if self.share < 1 else 5):
                dribble()
                time.sleep(0.5)
            label = f"GET at 100/s beside {count} slow clients"
            self._measure(label, "GET", 32, 500, 8, ids, 100, dribble)

    def machine(self) -> None:
        """What the machine can do at all."""
        machine = Machine(self.source, self.folder, self.share)
        machine.run(["put", "one", "four"])
        for label, figure in machine.figures.items():
            if "CPU" not in label:
                self.note(
                    f"machine: {label.replace('PUT 1 KiB', 'durable creates').replace('PUT', 'write and fsync')}",
                    figure,
                )
        self.problems += machine.problems
        self.note("machine: sha256 on one core, MB/s", machine.hash())

    # -- How they do it

    def _count(self, full: int) -> int:
        return max(20, round(full * self.share))

    def _take(self, count: int) -> range:
        """Ids that nothing else uses."""
        self.next_id += count
        return range(self.next_id - count, self.next_id)

    def _take_small(self, full: int) -> range:
        self._small.append(self._take(self._count(full)))
        return self._small[-1]

    def objects(self) -> range:
        """Ids of small objects to ask for, put there at the first call."""
        if self._stored is None:
            ids = self._take_small(1000)
            tally = finish_load(self._start("PUT", 4, len(ids), 20, ids))
            if tally.ok < len(ids):
                raise ClientError(f"cannot put objects to ask for: {tally.ok} of {len(ids)}: {tally.problem}")
            self._stored = ids
        return self._stored

    def _start(
        self, method: str, connections: int, requests: int, seconds: float, ids: range, rate: int = 0
    ) -> subprocess.Popen[bytes]:
        """Have the load program begin.  It is under way on return."""
        options = {"-p": self.port, "-m": method, "-c": connections, "-N": requests, "-t": seconds, "-r": rate}
        options |= {"-i": ids.start, "-n": len(ids), "-b": SMALL}
        words = [str(word) for option in options.items() for word in option]
        words += ["-k"] if self.server and self.server.closes else []
        process = subprocess.Popen([self.load, *words], stdout=subprocess.PIPE, bufsize=0)
        assert process.stdout is not None
        process.stdout.read(1)
        return process

    def _measure(
        self,
        label: str,
        method: str,
        connections: int,
        requests: int,
        seconds: float,
        ids: range = range(0),
        rate: int = 0,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Many small requests: as fast as they are answered, or at a rate."""
        before = self._cpu_seconds()
        process = self._start(method, connections, self._count(requests), seconds, ids, rate)
        tally = finish_load(process, meanwhile)
        self._tell(label, tally, rate, "failed or wrong" if method == "GET" and ids else "failed")
        if self.server is not None and tally.ok and not rate:
            used = (self._cpu_seconds() - before) * 1e6 / tally.ok
            self.note(f"{label}, server CPU us a request", used)

    def _tell(self, label: str, tally: Tally, rate: int, bad: str) -> None:
        if rate:
            self.note(f"{label}, p50 ms", tally.p50_ms)
        else:
            self.note(f"{label}, ops/s", tally.ok / tally.seconds if tally.ok else None)
        self.note(f"{label}, p99 ms", tally.p99_ms)
        self.note(f"{label}, {bad} %", 100 * (tally.failed + tally.wrong) / max(1, tally.started))
        if tally.ok < tally.started or not tally.ok:
            counts = f"{tally.failed} failed and {tally.wrong} wrong of {tally.started}"
            self.problems.append(f"{label}: {counts}; first: {tally.problem}")

    def _large(self, streams: int) -> None:
        """Large objects in and out, and then out again to compare them."""
        ids, what = self._take(streams), f"{size_words(self.source.size // streams)} x{streams}"
        peak = 0.0

        def watch() -> None:
            nonlocal peak
            peak = max(peak, self.server.resident() if self.server else 0)

        self._settle()
        for method in ("PUT", "GET"):
            before, peak = self._cpu_seconds(), 0.0
            watch()
            seconds, problems = self.source.transfer(self.port, method, ids, watch)
            if method == "PUT" and self.server is not None and not self.server.syncs:
                seconds += _sync(self.folder)
            self._speed(f"{method} {what}", seconds, problems)
            if self.server is not None:
                used = self._cpu_seconds() - before
                self.note(f"{method} {what}, server CPU s/GiB", used * 2**30 / self.source.size)
                self.note(f"{method} {what}, peak RSS MiB", peak)
        _, problems = self.source.transfer(self.port, "GET", ids, compare=True)
        self.note(f"{what}, intact", streams - len(problems))
        self.problems += [f"{what}, compared: {problem}" for problem in problems]
        self._remove(ids)

    def _speed(self, label: str, seconds: float, problems: list[str]) -> None:
        self.note(f"{label}, MB/s", None if problems else self.source.size / 1e6 / seconds)
        self.problems += [f"{label}: {problem}" for problem in problems]

    def _remove(self, ids: range) -> None:
        """Make room: large objects go as soon as they are measured, if the server lets them."""
        for file_id in ids:
            try:
                with closing(HTTPConnection(HOST, self.port, timeout=30)) as connection:
                    connection.request("DELETE", f"/{file_id}")
                    connection.getresponse().read()
            except (OSError, HTTPException) as error:
                self.problems.append(f"DELETE: {error}")

    def _settle(self) -> None:
        """Memory for the large object, and once more for a server that spools it."""
        settle(self.folder, self.source.size * 22 // 10)

    def _cpu_seconds(self) -> float:
        return self.server.cpu_seconds() if self.server else 0


def _sync(folder: Path) -> float:
    """
    Have what is written on a file system reach it.

    @return: The seconds that took.
    """
    begun = time.monotonic()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs fails")
    finally:
        os.close(descriptor)
    return time.monotonic() - begun


_ALL = (
    *(Bench.start, Bench.hello, Bench.put, Bench.get, Bench.head, Bench.one, Bench.four),
    *(Bench.under, Bench.idle, Bench.slow, Bench.machine),
)
PHASES: dict[str, Callable[[Bench], None]] = {phase.__name__: phase for phase in _ALL}
"""By name, in the order in which they run."""
