"""What the machine can do at all, by bare programs, for scale: under the labels of what the servers do."""

from __future__ import annotations

import hashlib
import itertools
import json
import mmap
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
from clients import ClientError, compile_load

if TYPE_CHECKING:
    from pathlib import Path

    from clients import Source

CREATES = ((1, 2000), (8, 4000), (32, 4000))
"""How many small files are put at a time, and how many in all."""

CREATES_SECONDS = 4

_BLOCK = 4 << 20


@attrs.define
class Findings:
    """
    What was measured in a round.

    @ivar figures: By the words that stand in the table, in order; C{None} where it failed.
    @ivar problems: What went wrong, in words.
    @ivar foreign: The share of the machine that others used, in percent, by phase.
    """

    figures: dict[str, float | None] = attrs.field(factory=dict, kw_only=True)
    problems: list[str] = attrs.field(factory=list, kw_only=True)
    foreign: dict[str, float] = attrs.field(factory=dict, kw_only=True)

    def note(self, label: str, figure: float | None) -> None:
        """Add a figure."""
        self.figures[label] = None if figure is None else round(figure, 3)

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {"figures": self.figures, "problems": self.problems, "foreign": self.foreign}


@attrs.define
class Machine(Findings):
    """
    A round without a server.

    @ivar folder: A place on the disk that is measured.
    @ivar share: The factor on all counts of files.
    """

    source: Source
    folder: Path
    share: float

    def run(self, names: list[str]) -> None:
        """Measure what there is of the named phases."""
        for name in names:
            try:
                if name == "put":
                    self.create()
                if name in ("one", "four"):
                    self.write(4 if name == "four" else 1)
            except (ClientError, OSError) as error:
                self.problems.append(f"{name}: {error}")

    def create(self) -> None:
        """Small files, durably: what a PUT of them cannot do without."""
        program = compile_load(self.folder, "creates")
        settle(self.folder, self.source.size * 3 // 10)
        for threads, full in CREATES:
            count = max(20, round(full * self.share))
            folder = self.folder / f"creates-{threads}"
            folder.mkdir()
            command = [str(each) for each in (program, folder, threads, count, CREATES_SECONDS)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ClientError(f"durable creates: {done.stderr.strip()}")
            found = json.loads(done.stdout)
            self.note(f"PUT 1 KiB c{threads}, ops/s", found["made"] / found["seconds"])
            self.note(f"PUT 1 KiB c{threads}, server CPU us a request", found["cpu"] * 1e6 / found["made"])

    def write(self, streams: int) -> None:
        """The large object, in one or several files at the same time: write and fsync."""
        size, whole = self.source.size // streams, self.source.size
        what = f"PUT {size_words(size)} x{streams}"
        settle(self.folder, whole * 22 // 10)
        with mmap.mmap(self.source.descriptor, whole, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ) as data:

            def write(start: int) -> None:
                path = self.folder / f"raw-{start}"
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    for offset in range(start, start + size, _BLOCK):
                        _write_whole(descriptor, data, offset, min(offset + _BLOCK, start + size))
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

            begun, used = time.monotonic(), time.process_time()
            starts = range(0, whole, size)
            with ThreadPoolExecutor(streams) as pool:
                list(pool.map(write, starts))
            self.note(f"{what}, MB/s", whole / 1e6 / (time.monotonic() - begun))
            self.note(f"{what}, server CPU s/GiB", (time.process_time() - used) * 2**30 / whole)
        for start in starts:
            (self.folder / f"raw-{start}").unlink()

    def hash(self) -> float:
        """@return: What one core makes digests of, in MB/s."""
        hasher, block, done = hashlib.sha256(), os.urandom(1 << 20), 0
        begun, most = time.monotonic(), max(20, round(1000 * self.share))
        while done < most and time.monotonic() < begun + 1:
            hasher.update(block)
            done += 1
        return done * len(block) / 1e6 / (time.monotonic() - begun)


def _write_whole(descriptor: int, data: mmap.mmap, start: int, end: int) -> None:
    with memoryview(data) as whole, whole[start:end] as view:
        written = 0
        while written < len(view):
            with view[written:] as rest:
                written += os.write(descriptor, rest)


def settle(folder: Path, size: int) -> None:
    """
    Write out what is dirty, then touch memory.

    On a virtual machine whose host takes back free pages, the first touch of memory is slow and would be most of
    what a write phase measures.  A page cache that was filled and dropped just before is still backed.

    @param size: How much, in bytes.
    """
    os.sync()
    with open(folder / "prime", "wb", buffering=0) as file:
        file.writelines(itertools.repeat(bytes(1 << 20), size >> 20))
    (folder / "prime").unlink()


def size_words(size: int) -> str:
    """A size in bytes, for a label."""
    return f"{size >> 20} MiB" if size % 2**30 else f"{size >> 30} GiB"
