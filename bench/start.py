#!/usr/bin/env python3
"""
Measures how soon a server answers, what memory it and each further worker take, and what the command costs.

Several checkouts take turns, each with its own .venv.  What a figure is worth depends on the machine: compare ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from server import HOST, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

FIGURES = {
    "first answer": "s",
    "CPU until then": "s",
    "PSS": "MiB",
    "PSS of each worker more": "MiB",
    "CPU of pacarchive stat": "s",
}
"""What is measured, and in which unit."""

_REQUESTS = (
    ("GET", "/"),
    ("PUT", "/{id}"),
    ("HEAD", "/{id}"),
    ("GET", "/{id}"),
    ("POST", "/{id}"),
    ("GET", "/health"),
    ("DELETE", "/{id}"),
)
_CONNECTIONS = 24
"""Enough that each worker gets some."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, help="the first is what the others are compared with")
    parser.add_argument("--rounds", type=int, default=5, help="how often, in turns (default 5)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default 2)")
    parser.add_argument("--more", type=int, default=2, help="how many more tell what one takes (default 2)")
    return parser.parse_args()


def use(port: int) -> None:
    """Ask for everything once, over each of some connections."""
    for number in range(1, _CONNECTIONS + 1):
        with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
            for method, path in _REQUESTS:
                connection.request(method, path.format(id=number), b"content" if method == "PUT" else None)
                answer = connection.getresponse()
                answer.read()
                if answer.status >= 300:
                    raise SystemExit(f"{method} {path}: {answer.status}")


def command_seconds(programs: Path, port: int) -> float:
    """The CPU of one C{pacarchive stat}, in seconds."""
    command = subprocess.Popen(
        [programs / "pacarchive", "stat", "--url", f"http://{HOST}:{port}", "1"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(command.pid, 0)
    command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        raise SystemExit(f"pacarchive stat: exit code {command.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(programs: Path, workers: int, more: int) -> dict[str, float]:
    """One round of one checkout."""
    figures: dict[str, float] = {}
    memory = []
    for count in (workers, workers + more):
        with tempfile.TemporaryDirectory(prefix="bench.") as folder:
            server = Server(Path(folder), count, [], programs / "twistd")
            used = server.cpu_seconds()
            try:
                use(server.port)
                memory.append(server.proportional())
                if count == workers:
                    figures |= {"first answer": server.start_seconds, "CPU until then": used}
                    with closing(HTTPConnection(HOST, server.port, timeout=30)) as connection:
                        connection.request("PUT", "/1", b"content")
                        connection.getresponse().read()
                    figures["CPU of pacarchive stat"] = command_seconds(programs, server.port)
            finally:
                server.stop()
    return figures | {"PSS": memory[0], "PSS of each worker more": (memory[1] - memory[0]) / more}


def table(names: Sequence[str], rounds: Sequence[Sequence[dict[str, float]]]) -> str:
    """The medians in Markdown, each with its ratio to that of the first checkout in the same round."""
    lines = [f"| what | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for what, unit in FIGURES.items():
        cells = []
        for index in range(len(names)):
            median = statistics.median(each[index][what] for each in rounds)
            ratio = statistics.median(each[index][what] / each[0][what] for each in rounds)
            cells.append(f"{median:.2f} {unit}" + (f" ({ratio:.2f})" if index else ""))
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the medians."""
    arguments = parse_arguments()
    places = [each / ".venv" / "bin" for each in arguments.checkouts] or [Path(sys.executable).parent]
    places = [Path(os.path.abspath(each)) for each in places]
    rounds: list[list[dict[str, float]]] = []
    for number in range(arguments.rounds + 1):
        figures = [measure(each, arguments.workers, arguments.more) for each in places]
        if number:  # the first of each only compiles and fills caches
            rounds.append(figures)
    print(table([str(each.parent.parent) for each in places], rounds))


if __name__ == "__main__":
    main()
