#!/usr/bin/env python3
"""
Measures what a second node over the same object store gives: files a second and MiB a second, of one node and of two.

The store is SeaweedFS, which is started for this, and each node is a server with one worker. The clients are curl, a
process for each connection, spread over the nodes. In each round one node and two are measured after each other, so
that both have the same machine; beside their ratio stands how many cores the nodes, the store and the clients had.
Where those come near the cores that there are, the ratio says nothing of the nodes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS
from server import HOST, Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tools/bench nodes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often (default 3)")
    parser.add_argument("--small", type=int, default=2000, help="how many files of 1 KiB (default 2000)")
    parser.add_argument("--large", type=int, default=16, help="how many files of --mib (default 16)")
    parser.add_argument("--mib", type=int, default=64, help="the size of large files (default 64)")
    parser.add_argument("--connections", type=int, default=8, help="clients at a time (default 8)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    return parser.parse_args()


def cpu_of(pid: int) -> float:
    """The CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / _TICKS


def transfer(method: str, ports: Sequence[int], ids: Sequence[int], body: Path, connections: int) -> None:
    """Put or get files, over so many connections."""
    running = []
    for first in range(min(connections, len(ids))):
        url = f"http://{HOST}:{ports[first % len(ports)]}"
        lines = []
        for each in ids[first::connections]:
            lines += [f'url = "{url}/{each}"', 'output = "/dev/null"']
            lines += [f'upload-file = "{body}"'] if method == "PUT" else []
        config = body.parent / f"curl.{first}"
        config.write_text("\n".join(lines))
        command = ["curl", "-sS", "--fail", "--fail-early", "-H", "Expect:", "-K", str(config)]
        running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
    statuses = [each.wait() for each in running]
    if any(statuses):
        raise SystemExit("a request has failed")


def measure(
    nodes: Sequence[Server], store: int, sizes: Mapping[str, tuple[int, Path]], first: int, connections: int
) -> dict[str, tuple[float, str]]:
    """How much a second, and with how many cores, by what was done."""
    found = {}
    for name, (count, body) in sizes.items():
        ids = range(first, first + count)
        first += count
        for method in ("PUT", "GET"):
            own, stored = sum(each.cpu_seconds() for each in nodes), cpu_of(store)
            of_clients, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            transfer(method, [each.port for each in nodes], ids, body, connections)
            seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
            clients = after.ru_utime + after.ru_stime - of_clients.ru_utime - of_clients.ru_stime
            own = sum(each.cpu_seconds() for each in nodes) - own
            parts = [each / seconds for each in (own, cpu_of(store) - stored, clients)]
            amount = count if count * body.stat().st_size < count << 20 else count * body.stat().st_size / 2**20
            found[f"{method}, {name}"] = amount / seconds, " + ".join(f"{each:.2f}" for each in parts)
    return found


def main() -> None:
    """Measure, and print the medians."""
    arguments = parse_arguments()
    with SeaweedFS() as store, tempfile.TemporaryDirectory(prefix="bench.", dir=arguments.folder) as name:
        folder = Path(os.path.abspath(name))
        for size, path in ((1024, folder / "small"), (arguments.mib << 20, folder / "large")):
            path.write_bytes(os.urandom(size))
        own = {"endpoint": store.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        settings = [("s3", key, value) for key, value in own.items()]
        nodes: list[Server] = []
        rounds = []
        try:
            for number in range(2):
                (folder / f"node{number}").mkdir()
                listening = ("-p", "0", "-t", "s3", "--prefix", f"/{BUCKET}/bench")
                nodes.append(Server(folder / f"node{number}", 1, settings, listening=listening))
            sizes = {
                "1 KiB, files/s": (arguments.small, folder / "small"),
                f"{arguments.mib} MiB, MiB/s": (arguments.large, folder / "large"),
            }
            process = store._process
            assert process is not None
            pid, step = process.pid, arguments.small + arguments.large
            for number in range(arguments.rounds):
                pair = []
                for count in (1, 2):
                    first = (2 * number + count) * step
                    pair.append(measure(nodes[:count], pid, sizes, first, arguments.connections))
                rounds.append(pair)
        finally:
            for each in nodes:
                each.stop()
    print(f"{os.cpu_count()} cores; cores used: nodes + store + clients\n")
    print("| what | one node | cores | two nodes | cores | ratio |\n|---|---|---|---|---|---|")
    for what in rounds[0][0]:
        one, two = ([pair[side][what] for pair in rounds] for side in (0, 1))
        ratio = statistics.median(b[0] / a[0] for a, b in zip(one, two, strict=True))
        cells = [f"{statistics.median(each[0] for each in side):.1f} | {side[-1][1]}" for side in (one, two)]
        print(f"| {what} | {' | '.join(cells)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
