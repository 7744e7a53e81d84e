#!/usr/bin/env python3
"""
Measures pacarchive on this machine, alone or beside other servers, and prints a table in Markdown; see bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from against import Plan, Result, measure
from clients import ClientError, Source, compile_load
from goals import collect, figure_words, remarks
from history import describe_commit, keep
from peers import PEERS, PeerError, parse_peers
from phases import PHASES, Bench
from server import HOST, Server, ServerError, greet

_EXAMPLES = """examples:
  tools/bench                                        what this checkout does on this machine
  tools/bench --against nginx,rclone --rounds 3      it and others in turns, with ratios and the project's goals
  tools/bench --against nginx --only one,four        only large files; --quick shows in a minute that it works
  tools/bench --compare main --only put --rounds 5   this checkout and another commit in turns: is it worse?
  tools/bench --against nginx,rclone,pai-uwsgi --rounds 3 --keep
                                                     and write the ratios down in bench/history.md

Other measurements, each with a --help of its own: tools/bench recalls, client, start, access, tls,
idle.
"""

_DESCRIPTORS = 65536
"""How many descriptors are wanted for the connections that wait."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/bench", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(PHASES)
    parser.add_argument("--rounds", type=int, default=1, help="how often; of several the table has medians (default 1)")
    parser.add_argument("--only", type=_phases, default=list(PHASES), help=f"these phases, with commas: {names}")
    parser.add_argument("--skip", type=_phases, default=[], help="all but these phases")
    parser.add_argument("--big-mib", type=int, help="the size of the large object (default 1024)")
    parser.add_argument("--quick", action="store_true", help="64 MiB and few requests: does it work at all?")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default 2)")
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="SECTION.KEY=VALUE", help="of the server"
    )
    parser.add_argument("--url", type=_port, dest="port", help=f"measure what runs there already, on {HOST}")
    parser.add_argument("--out", type=Path, help="write the figures to this file too, as JSON")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, and no table")
    peers = ", ".join(PEERS)
    parser.add_argument(
        "--against", type=_peers, default=[], metavar="NAMES", help=f"measure these too, installed if missing: {peers}"
    )
    parser.add_argument("--compare", metavar="COMMIT", help="measure this commit too, in an environment of its own")
    parser.add_argument("--keep", action="store_true", help="with --against: append the ratios to bench/history.md")
    arguments = parser.parse_args()
    if arguments.keep and not arguments.against:
        parser.error("--keep needs --against: it keeps ratios to others")
    if arguments.keep and (arguments.quick or arguments.big_mib not in (None, 1024)):
        parser.error("--keep keeps figures of full size: leave out --quick and --big-mib")
    if arguments.port is not None and (arguments.against or arguments.compare):
        parser.error("--url measures a server that runs, and nothing beside it")
    arguments.big_mib = arguments.big_mib or (64 if arguments.quick else 1024)
    if arguments.rounds < 1 or arguments.big_mib < 4 or arguments.big_mib % 4:
        parser.error("--rounds must be at least 1, --big-mib a multiple of 4")
    return arguments


def _phases(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PHASES):
        raise argparse.ArgumentTypeError(f"no such phase: {', '.join(sorted(unknown))}")
    return names


def _peers(text: str) -> list[str]:
    try:
        return parse_peers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    size = arguments.big_mib << 20
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder.absolute()) as name:
            folder = Path(name)
            if shutil.disk_usage(folder).free < 5 * size:
                raise ClientError(f"{arguments.folder.absolute()} has not {5 * size >> 20} MiB free")
            load, source = compile_load(folder), Source.create(folder / "source", size)
            result = run(arguments, load, source, folder)
            tell(arguments, result)  # before the folder is removed, which may take minutes
    except (ClientError, PeerError, ServerError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0 if result.right else 1


def run(arguments: argparse.Namespace, load: Path, source: Source, folder: Path) -> Result:
    """Measure one server or several, in rounds."""
    names = [name for name in PHASES if name in arguments.only and name not in arguments.skip]
    if arguments.against or arguments.compare:
        plan = Plan(arguments.rounds, names, _share(arguments), arguments.workers, arguments.set)
        return measure(plan, arguments.against, arguments.compare, load, source, folder)
    rounds = []
    for number in range(arguments.rounds):
        place = folder / str(number)
        place.mkdir()
        rounds.append(run_round(arguments, names, load, source, place))
    return Result(table(rounds), as_json(rounds), not any(each.problems for each in rounds))


def tell(arguments: argparse.Namespace, result: Result) -> None:
    """Print what came of it, and keep it."""
    text = json.dumps(result.report, indent=1)
    print(text if arguments.json else "\n".join(result.lines), flush=True)
    if arguments.out:
        arguments.out.write_text(f"{text}\n", encoding="utf-8")
    if arguments.keep:
        keep(result.goals, describe_commit(), result.beside, result.foreign)


def _share(arguments: argparse.Namespace) -> float:
    return 0.02 if arguments.quick else 1


def run_round(arguments: argparse.Namespace, names: list[str], load: Path, source: Source, folder: Path) -> Bench:
    """Measure once: a server that is started for it, or the one that runs."""
    share = _share(arguments)
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


def table(rounds: list[Bench]) -> list[str]:
    """The lines of the table, and of the notes below it."""
    columns = ["median", "lowest", "highest"] if len(rounds) > 1 else ["value"]
    lines = [f"| figure | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for label, figures in _known(rounds).items():
        cells = [figure_words(pick(figures)) if figures else "-" for pick in (statistics.median, min, max)]
        lines.append(f"| {label} | {' | '.join(cells[: len(columns)])} |")
    return [*lines, "", *remarks(rounds)]


def _known(rounds: list[Bench]) -> dict[str, list[float]]:
    """What each figure was in the rounds that have it."""
    return {label: [figure for figure in figures if figure is not None] for label, figures in collect(rounds).items()}


def as_json(rounds: list[Bench]) -> dict[str, object]:
    """Everything, by the words of the table."""
    return {
        "cores": os.cpu_count(),
        "median": {label: statistics.median(figures) for label, figures in _known(rounds).items() if figures},
        "rounds": [each.as_json() for each in rounds],
    }


if __name__ == "__main__":
    sys.exit(main())
