"""What is measured, phase by phase.  Figures go by the words that stand in the table."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import attrs
from clients import ClientError, finish_load, idle_connections, nothing, slow_clients
from server import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clients import Source, Tally
    from server import Server

SMALL = 1024
"""The size of a small object, in bytes."""

_TELLING = 0.3
"""From how many seconds on the CPU that others use can be told, of what the kernel counts in hundredths."""


@attrs.define
class Bench:
    """
    One round of measurements.

    @ivar server: C{None} where it is not ours, and only its answers can be measured.
    @ivar load: The load program.
    @ivar folder: A place for files of the harness, on the disk that is measured.
    @ivar share: The factor on all counts of requests and connections.
    @ivar next_id: Ids from here on are free.
    @ivar figures: What was measured, in order; C{None} where it failed.
    @ivar problems: What went wrong, in words.
    @ivar foreign: The share of the machine that others used, in percent, by phase.
    """

    port: int
    server: Server | None
    load: Path
    source: Source
    folder: Path
    share: float
    next_id: int
    figures: dict[str, float | None] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    foreign: dict[str, float] = attrs.field(factory=dict)
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
            self._note("RSS after start, MiB", self.server.resident())
            self._note("PSS after start, MiB", self.server.proportional())
            self._note("time to first answer, s", self.server.start_seconds)

    def hello(self) -> None:
        """The least that can be asked for."""
        self._measure("GET / c8", "GET", 8, 40_000, 2.5)

    def put(self) -> None:
        """Small objects in."""
        self._settle(0.3)
        for connections, requests in ((1, 2000), (8, 4000), (32, 4000)):
            ids = self._take_small(requests)
            self._measure(f"PUT 1 KiB c{connections}", "PUT", connections, requests, 4, ids)

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
        large, size = self._take(1), _words(self.source.size)
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
        """Requests beside many connections that only wait."""
        ids, count = self.objects(), self._count(500)
        with idle_connections(self.port, count) as still_open:
            self._measure(f"GET 1 KiB c8 beside {count} idle connections", "GET", 8, 60_000, 2.5, ids)
            left = still_open()
        self._note(f"{count} idle connections: still open", left)
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
        self._settle()
        block, size = os.urandom(1 << 20), self.source.size
        begun = time.monotonic()
        with open(self.folder / "raw", "wb", buffering=0) as file:
            file.writelines(itertools.repeat(block, size >> 20))
            os.fsync(file.fileno())
        self._note(f"machine: write and fsync {_words(size)}, MB/s", size / 1e6 / (time.monotonic() - begun))
        (self.folder / "raw").unlink()
        hasher = hashlib.sha256()
        sums = _rate(lambda: hasher.update(block), self._count(1000))
        self._note("machine: sha256 on one core, MB/s", sums * len(block) / 1e6)
        (self.folder / "creates").mkdir()
        self._note("machine: durable creates on one core, per s", _creates(self.folder / "creates", self._count(2000)))

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
        words = (str(word) for option in options.items() for word in option)
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
        process = self._start(method, connections, self._count(requests), seconds, ids, rate)
        bad = "failed or wrong" if method == "GET" and ids else "failed"
        self._tell(label, finish_load(process, meanwhile), rate, bad)

    def _tell(self, label: str, tally: Tally, rate: int, bad: str) -> None:
        if rate:
            self._note(f"{label}, p50 ms", tally.p50_ms)
        else:
            self._note(f"{label}, ops/s", tally.ok / tally.seconds if tally.ok else None)
        self._note(f"{label}, p99 ms", tally.p99_ms)
        self._note(f"{label}, {bad} %", 100 * (tally.failed + tally.wrong) / max(1, tally.started))
        if tally.ok < tally.started or not tally.ok:
            counts = f"{tally.failed} failed and {tally.wrong} wrong of {tally.started}"
            self.problems.append(f"{label}: {counts}; first: {tally.problem}")

    def _note(self, label: str, figure: float | None) -> None:
        self.figures[label] = None if figure is None else round(figure, 3)

    def _large(self, streams: int) -> None:
        """Large objects in and out, and then out again to compare them."""
        ids, what = self._take(streams), f"{_words(self.source.size // streams)} x{streams}"
        peak = 0.0

        def watch() -> None:
            nonlocal peak
            peak = max(peak, self.server.resident() if self.server else 0)

        self._settle()
        for method in ("PUT", "GET"):
            before, peak = self.server.cpu_seconds() if self.server else 0, 0.0
            watch()
            self._speed(f"{method} {what}", *self.source.transfer(self.port, method, ids, watch))
            if self.server is not None:
                used = self.server.cpu_seconds() - before
                self._note(f"{method} {what}, server CPU s/GiB", used * 2**30 / self.source.size)
                self._note(f"{method} {what}, peak RSS MiB", peak)
        _, problems = self.source.transfer(self.port, "GET", ids, compare=True)
        self._note(f"{what}, intact", streams - len(problems))
        self.problems += [f"{what}, compared: {problem}" for problem in problems]
        self._remove(ids)

    def _speed(self, label: str, seconds: float, problems: list[str]) -> None:
        self._note(f"{label}, MB/s", None if problems else self.source.size / 1e6 / seconds)
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

    def _settle(self, sizes: float = 2.2) -> None:
        """
        Write out what is dirty, then touch memory.

        On a virtual machine whose host takes back free pages, the first touch of memory is slow and would be most of
        what a write phase measures.  A page cache that was filled and dropped just before is still backed.

        @param sizes: How much, in sizes of the large object: one for it, and one for a server that spools it.
        """
        os.sync()
        with open(self.folder / "prime", "wb", buffering=0) as file:
            file.writelines(itertools.repeat(bytes(1 << 20), int(self.source.size * sizes) >> 20))
        (self.folder / "prime").unlink()


def _rate(call: Callable[[], object], most: int) -> float:
    """How often something can be done, per second; tried for about a second."""
    begun, done = time.monotonic(), 0
    while done < most and time.monotonic() < begun + 1:
        call()
        done += 1
    return done / (time.monotonic() - begun)


def _creates(folder: Path, most: int) -> float:
    """How many small files this process alone can make durable, per second."""
    directory = os.open(folder, os.O_RDONLY)
    names = map(str, itertools.count())

    def create() -> None:
        name = next(names)
        descriptor = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444, dir_fd=directory)
        os.write(descriptor, bytes(SMALL))
        os.fsync(descriptor)
        os.close(descriptor)
        os.link(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)
        os.unlink(f"{name}.new", dir_fd=directory)
        os.fsync(directory)

    try:
        return _rate(create, most)
    finally:
        os.close(directory)


def _words(size: int) -> str:
    return f"{size >> 20} MiB" if size % 2**30 else f"{size >> 30} GiB"


_ALL = (
    *(Bench.start, Bench.hello, Bench.put, Bench.get, Bench.head, Bench.one, Bench.four),
    *(Bench.under, Bench.idle, Bench.slow, Bench.machine),
)
PHASES: dict[str, Callable[[Bench], None]] = {phase.__name__: phase for phase in _ALL}
"""By name, in the order in which they run."""
