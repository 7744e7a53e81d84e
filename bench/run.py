#!/usr/bin/env python3
"""Measures pacarchive on this machine, and prints a table in Markdown; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import attrs
from clients import ClientError, Source, compile_load
from phases import PHASES, Bench
from server import HOST, Server, ServerError, greet

FOREIGN_MUCH = 10.0
"""The share of the machine, in percent, from which what others use is worth a note."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = ", ".join(PHASES)
    parser.add_argument("--rounds", type=int, default=1, help="how often; of several the table has medians (default 1)")
    parser.add_argument("--only", type=_phases, default=list(PHASES), help=f"these phases, with commas: {names}")
    parser.add_argument("--skip", type=_phases, default=[], help="all but these phases")
    parser.add_argument("--big-mib", type=int, help="the size of the large object (default 1024)")
    parser.add_argument("--quick", action="store_true", help="64 MiB and few requests: does it work at all?")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default 2)")
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--url", type=_port, dest="port", help=f"measure what runs there already, on {HOST}")
    parser.add_argument("--out", type=Path, help="write the figures to this file too, as JSON")
    arguments = parser.parse_args()
    arguments.big_mib = arguments.big_mib or (64 if arguments.quick else 1024)
    if arguments.rounds < 1 or arguments.big_mib < 4 or arguments.big_mib % 4:
        parser.error("--rounds must be at least 1, --big-mib a multiple of 4")
    return arguments


def _phases(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PHASES):
        raise argparse.ArgumentTypeError(f"no such phase: {', '.join(sorted(unknown))}")
    return names


def _setting(text: str) -> tuple[str, str, str]:
    if not (found := re.fullmatch(r"(\w+)\.(\w+)=(.*)", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not SECTION.KEY=VALUE")
    return found[1], found[2], found[3]


def _port(text: str) -> int:
    if not (found := re.fullmatch(r"http://(?:127\.0\.0\.1|localhost):(\d+)/?", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like http://{HOST}:8080/; it must be this machine")
    return int(found[1])


def main() -> int:
    """Run it.  @return: The exit status: 1 where an answer failed or was wrong, 2 where nothing could be measured."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no server is left behind
    names = [name for name in PHASES if name in arguments.only and name not in arguments.skip]
    size, rounds = arguments.big_mib << 20, []
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder.absolute()) as name:
            folder = Path(name)
            if shutil.disk_usage(folder).free < 5 * size:
                raise ClientError(f"{arguments.folder.absolute()} has not {5 * size >> 20} MiB free")
            load, source = compile_load(folder), Source.create(folder / "source", size)
            for number in range(arguments.rounds):
                place = folder / str(number)
                place.mkdir()
                rounds.append(run_round(arguments, names, load, source, place))
    except (ClientError, ServerError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(rounds)))
    if arguments.out:
        arguments.out.write_text(json.dumps(as_json(rounds), indent=1) + "\n", encoding="utf-8")
    return 1 if any(each.problems for each in rounds) else 0


def run_round(arguments: argparse.Namespace, names: list[str], load: Path, source: Source, folder: Path) -> Bench:
    """Measure once: a server that is started for it, or the one that runs."""
    share = 0.02 if arguments.quick else 1
    if arguments.port is None:
        server = Server(folder, arguments.workers, arguments.set)
        try:
            bench = Bench(server.port, server, load, source, folder, share, 1)
            bench.run(names)
        finally:
            server.stop()
    else:
        greet(arguments.port)
        # Ids by the time: they meet neither those of the last run nor, in all likelihood, real ones.
        bench = Bench(arguments.port, None, load, source, folder, share, time.time_ns() // 1000)
        try:
            bench.run(names)
        finally:
            bench.tidy()
    return bench


def collect(rounds: list[Bench]) -> dict[str, list[float]]:
    """What each figure was in the rounds that have it."""
    labels = dict.fromkeys(label for each in rounds for label in each.figures)
    found = {label: [each.figures.get(label) for each in rounds] for label in labels}
    return {label: [figure for figure in figures if figure is not None] for label, figures in found.items()}


def table(rounds: list[Bench]) -> list[str]:
    """The lines of the table, and of the notes below it."""
    columns = ["median", "lowest", "highest"] if len(rounds) > 1 else ["value"]
    lines = [f"| figure | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for label, figures in collect(rounds).items():
        cells = [_words(pick(figures)) if figures else "-" for pick in (statistics.median, min, max)]
        lines.append(f"| {label} | {' | '.join(cells[: len(columns)])} |")
    lines.append("")
    for number, each in enumerate(rounds, 1):
        lines += [f"PROBLEM in round {number}: {problem}" for problem in each.problems]
        if much := [f"{name} {share:.0f} %" for name, share in each.foreign.items() if share >= FOREIGN_MUCH]:
            lines.append(f"CPU used by others in round {number}: {', '.join(much)}. Distrust these figures.")
    return lines


def _words(figure: float) -> str:
    return f"{figure:.{0 if figure >= 100 else 1 if figure >= 10 else 2}f}"


def as_json(rounds: list[Bench]) -> dict[str, object]:
    """Everything, by the words of the table."""
    wanted = attrs.filters.include("figures", "problems", "foreign")
    return {
        "cores": os.cpu_count(),
        "median": {label: statistics.median(figures) for label, figures in collect(rounds).items() if figures},
        "rounds": [attrs.asdict(each, recurse=False, filter=wanted) for each in rounds],
    }


if __name__ == "__main__":
    sys.exit(main())
