#!/usr/bin/env python3
"""
Measures the list of files: how long it takes, what memory, and what it costs others.

The archive is made by hand, without HTTP, file by file with a digest in its attribute.  Its list (NDJSON, with all
fields) is compared with what the system's own tools take for the same on the same tree: find -printf, and getfattr -R
(Debian: attr).  The cache is warm for all of them.  Small GETs at 300 a second are measured calm, and beside lists, for
as long: among few requests, a single pause would be the p99.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from clients import Source, compile_load, finish_load
from phases import Bench
from server import HOST, Server

from pacarchive.ids import id_to_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from clients import Tally

_SLOWER, _PER_CENT = 1.5, 2.0
_RATE = 300
_SHOWN = 10
_WHILE = 10.0
"""Seconds for which GETs are measured: one in a hundred of them are thirty."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000, help="how many (default 1000000)")
    parser.add_argument("--layout", choices=["flat", "id2filename"], default="flat")
    parser.add_argument("--rounds", type=int, default=3, help="how often, in turns (default 3)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server (default 1: all in one)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    return parser.parse_args()


def main() -> int:
    """Run it.  @return: The exit status: 1 where a bar is not met, or a list is wrong."""
    arguments = parse_arguments()
    spread = arguments.layout == "id2filename"
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder.absolute()) as name:
        folder = Path(name)
        load, source = compile_load(folder), Source.create(folder / "source", 4 << 20)
        server = Server(folder, arguments.workers, [("posix", "use_id2filename", str(spread).lower())])
        try:
            bench = Bench(server.port, server, load, source, folder, 1, arguments.files)
            objects = bench.objects()
            made = time.monotonic()
            make_files(folder / "archive", arguments.files, spread=spread)
            print(f"{arguments.files} files, {arguments.layout}, made in {time.monotonic() - made:.0f} s", flush=True)
            return measure(bench, server, folder / "archive", arguments.files + len(objects), arguments.rounds)
        finally:
            server.stop()


def make_files(archive: Path, count: int, *, spread: bool) -> None:
    """Make files as the backend would, but for the syncs."""
    made: set[str] = set()
    for file_id in range(count):
        path = id_to_path(file_id)[1:] if spread else str(file_id)
        directory = os.path.dirname(path)
        if directory not in made:
            made.add(directory)
            os.makedirs(archive / directory, exist_ok=True)
        data = b"%d" % file_id
        descriptor = os.open(archive / path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        os.write(descriptor, data)
        os.setxattr(descriptor, "user.pacarchive.sha256", hashlib.sha256(data).digest())
        os.fchmod(descriptor, 0o444)
        os.close(descriptor)


def measure(bench: Bench, server: Server, archive: Path, count: int, rounds: int) -> int:
    """Measure all, and print it."""
    figures: dict[str, list[float]] = {}
    bad = 0

    def note(what: str, figure: float) -> None:
        figures.setdefault(what, []).append(figure)

    read_with_tools(archive)  # once, so that what it reads is in memory
    for _ in range(rounds):
        wall, cpu = read_with_tools(archive)
        note("find and getfattr, s", wall)
        note("find and getfattr, CPU s", cpu)
        before = server.cpu_seconds()
        wall, listed, sizes = list_files(server)
        note("list, s", wall)
        note("list, CPU s of the server", server.cpu_seconds() - before)
        note("list: greatest memory less that before, MiB", max(sizes) - sizes[0])
        bad += listed != count
        print(f"memory while {listed} of {count} files were listed, MiB: {thinned(sizes)}", flush=True)
        calm = gets(bench, lambda: time.sleep(_WHILE))
        beside = gets(bench, lambda: list_for_a_while(server, note))
        for what, tally in (("calm", calm), ("beside a list", beside)):
            note(f"GET at {_RATE}/s, {what}, p50 ms", tally.p50_ms)
            note(f"GET at {_RATE}/s, {what}, p99 ms", tally.p99_ms)
            bad += tally.failed + tally.wrong
    medians = {what: statistics.median(values) for what, values in figures.items()}
    for what, values in figures.items():
        print(f"| {what} | {medians[what]:.4g} | {', '.join(f'{value:.4g}' for value in values)} |")
    slower = medians["list, s"] / medians["find and getfattr, s"]
    costs = medians[f"GET at {_RATE}/s, beside a list, p99 ms"] / medians[f"GET at {_RATE}/s, calm, p99 ms"]
    print(f"the list takes {slower:.2f} of the tools' time (at most {_SLOWER})")
    print(f"p99 beside it is {costs:.2f} of the calm one (at most {_PER_CENT})")
    print(f"{bad} wrong")
    return int(bad > 0 or slower > _SLOWER or costs > _PER_CENT)


def read_with_tools(archive: Path) -> tuple[float, float]:
    """
    Read what a list has, by the system's tools.

    @return: The time, and the CPU of it.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    for command in (
        ["find", str(archive), "-type", "f", "-printf", "%f %s %T@ %C@\\n"],
        ["getfattr", "-R", "-h", "-d", "-e", "hex", "-m", r"^user\.pacarchive\.", "--absolute-names", str(archive)],
    ):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    wall, now = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def list_for_a_while(server: Server, note: Callable[[str, float], None]) -> None:
    """List again and again, without looking at the server's memory: that takes it milliseconds."""
    begun = time.monotonic()
    while time.monotonic() < begun + _WHILE:
        note("list beside GETs, s", list_files(server, sampling=False)[0])


def list_files(server: Server, *, sampling: bool = True) -> tuple[float, int, list[float]]:
    """
    List all files over HTTP.

    @return: The time, how many there were, and the memory of the server meanwhile, in MiB.
    """
    sizes = [server.proportional()]
    listed = 0
    with closing(HTTPConnection(HOST, server.port, timeout=60)) as connection:
        begun = sampled = time.monotonic()
        connection.request("GET", "/files", headers={"Accept": "application/x-ndjson"})
        answer = connection.getresponse()
        last = b""
        while block := answer.read(1 << 20):
            listed += block.count(b"\n")
            last = block
            if sampling and time.monotonic() > sampled + 0.5:
                sizes.append(server.proportional())
                sampled = time.monotonic()
        json.loads(last.splitlines()[-1])
        return time.monotonic() - begun, listed, [*sizes, server.proportional()]


def gets(bench: Bench, meanwhile: Callable[[], None]) -> Tally:
    """Small GETs, for as long as something else takes."""
    process = bench._start("GET", 32, 1_000_000, 100, bench.objects(), _RATE)
    try:
        meanwhile()
    finally:
        process.send_signal(signal.SIGINT)
    return finish_load(process)


def thinned(sizes: list[float]) -> str:
    """Some of them, from the first to the last."""
    some = sizes[:: max(1, len(sizes) // _SHOWN)]
    return ", ".join(f"{size:.1f}" for size in some)


if __name__ == "__main__":
    sys.exit(main())
