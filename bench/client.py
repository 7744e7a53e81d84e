#!/usr/bin/env python3
"""
Measures the client library against what people use else: curl for a large file, requests in a loop for small ones.

They take turns, against one server.  What a figure is worth depends on the machine: compare the ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from server import HOST, Server
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from pacarchive.client import ArchiveClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

SMALL = 1024
"""The size of a small file, in bytes."""

WANTED = {"small": 3.0, "put": 0.8, "get": 0.8}
"""The ratios that are promised."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often, in turns (default 3)")
    parser.add_argument("--files", type=int, default=1000, help="how many small files (default 1000)")
    parser.add_argument("--mib", type=int, default=1024, help="the size of the large file (default 1024)")
    parser.add_argument("--connections", type=int, default=8, help="of the client (default 8)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default 2)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    parser.add_argument("--only", choices=("small", "large"), help="one half of it")
    return parser.parse_args()


class Bench:
    """
    The measurements.

    @ivar figures: Seconds, by what was measured and with what.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path, port: int, client: ArchiveClient) -> None:
        self._arguments = arguments
        self._folder = folder
        self._url = f"http://{HOST}:{port}"
        self._client = client
        self._ids = iter(range(1, 2**63))
        self.figures: dict[tuple[str, str], list[float]] = {}

    def _note(self, what: str, how: str, begun: float) -> None:
        self.figures.setdefault((what, how), []).append(time.perf_counter() - begun)

    async def small(self) -> None:
        """Many small files, each of its own bytes."""
        count = self._arguments.files
        files = [(next(self._ids), os.urandom(SMALL)) for _ in range(count)]
        begun = time.perf_counter()
        for file_id, data in files:
            _put(f"{self._url}/{file_id}", data)
        self._note("small", "requests", begun)

        files = [(next(self._ids), data) for _, data in files]
        begun = time.perf_counter()
        _requests(self._url, files)
        self._note("small", "requests, one session", begun)

        queue = iter([(next(self._ids), data) for _, data in files])
        begun = time.perf_counter()
        await _together(self._arguments.connections, queue, lambda each: self._client.put(each[0], each[1]))
        self._note("small", "client", begun)

    async def large(self) -> None:
        """One large file, in and out."""
        source = self._folder / "source"
        if not source.exists():
            _fill(source, self._arguments.mib)
        file_id = next(self._ids)
        self._settle()
        begun = time.perf_counter()
        _curl("-o", os.devnull, "-T", str(source), f"{self._url}/{file_id}")
        self._note("put", "curl", begun)

        self._settle()
        begun = time.perf_counter()
        await self._client.put(other := next(self._ids), source)
        self._note("put", "client", begun)

        target = self._folder / "target"
        self._settle(target)
        begun = time.perf_counter()
        _curl("-o", str(target), f"{self._url}/{file_id}")
        self._note("get", "curl", begun)
        _sync(target)
        self._note("get", "curl and fsync", begun)

        self._settle(target)
        begun = time.perf_counter()
        fetched = await self._client.get(other, target)
        self._note("get", "client", begun)
        assert fetched.verified

        self._settle(target)
        begun = time.perf_counter()
        await self._client.get(other, target, parallel=1)
        self._note("get", "client, one connection", begun)
        target.unlink()
        for each in (file_id, other):
            await self._client.delete(each)

    def _settle(self, *unwanted: Path) -> None:
        """
        Let none of the next figure be the last one's: what is written comes to the disk before, and memory that will be
        needed has been touched.  On a virtual machine the first touch takes longer than all else.
        """
        for path in unwanted:
            path.unlink(missing_ok=True)
        os.sync()
        _fill(self._folder / "touch", int(self._arguments.mib * 2.2), os.urandom(1 << 20))
        (self._folder / "touch").unlink()


async def _together(count: int, queue: Iterator[Any], call: Callable[[Any], Awaitable[object]]) -> None:
    async def work() -> None:
        for each in queue:
            await call(each)

    await gatherResults([Deferred.fromCoroutine(work()) for _ in range(count)])


def _put(url: str, data: bytes) -> None:
    requests.put(url, data=data).raise_for_status()


def _requests(url: str, files: Sequence[tuple[int, bytes]]) -> None:
    with requests.Session() as session:
        for file_id, data in files:
            session.put(f"{url}/{file_id}", data=data).raise_for_status()


def _fill(path: Path, mib: int, piece: bytes | None = None) -> None:
    with open(path, "wb") as file:
        file.writelines(piece or os.urandom(1 << 20) for _ in range(mib))


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _curl(*arguments: str) -> None:
    subprocess.run(["curl", "-sSf", *arguments], check=True)


def report(bench: Bench, arguments: argparse.Namespace) -> None:
    """Print a table in Markdown."""
    amount = {"small": (arguments.files, "files/s")}
    print(f"| what | with | median | of {arguments.rounds} | client is |\n|---|---|---|---|---|")
    for (what, how), seconds in bench.figures.items():
        size, unit = amount.get(what, (arguments.mib, "MiB/s"))
        median = statistics.median(seconds)
        ours = statistics.median(bench.figures[what, "client"])
        spread = f"{size / max(seconds):.0f} to {size / min(seconds):.0f}"
        ratio = "" if how.startswith("client") else f"{median / ours:.2f} x"
        print(f"| {what} | {how} | {size / median:.0f} {unit} | {spread} | {ratio} |")
    print(f"\nwanted: {', '.join(f'{what} {ratio} x' for what, ratio in WANTED.items())}")


async def run(reactor: Any, arguments: argparse.Namespace) -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.folder.absolute()))
    try:
        (folder / "server").mkdir()
        server = Server(folder / "server", arguments.workers, [])
        try:
            url = f"http://{HOST}:{server.port}"
            async with ArchiveClient(reactor, url, connections=arguments.connections) as client:
                bench = Bench(arguments, folder, server.port, client)
                for _ in range(arguments.rounds):
                    if arguments.only != "large":
                        await bench.small()
                    if arguments.only != "small":
                        await bench.large()
                report(bench, arguments)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Run it."""
    arguments = parse_arguments()
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, arguments)))


if __name__ == "__main__":
    main()
