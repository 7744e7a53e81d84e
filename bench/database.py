#!/usr/bin/env python3
"""
Measures what the sideband database costs: HEAD and GET of the same small files from the posix and hsmsideband backends.

The servers take turns, each with an archive of its own and the second with a MariaDB of its own (Debian's
mariadb-server-core), filled by the writer of the tests as SAM's daemon would.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from clients import Source, compile_load
from phases import Bench
from server import HOST, START_LIMIT, Server, ServerError

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from sideband.server import MariaDB
from sideband.writer import SidebandWriter

from pacarchive.ids import id_to_path

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADS = 4
"""Measurements of HEAD, one after the other: together about twice as long as an answer of the database is remembered,
so that requests with and without it both count for what they are."""

ANSWERS_THAT_TELL = 32

POSIX, ALWAYS_ASKED, DEFAULT = "posix", "hsmsideband, remember = 0", "hsmsideband"


def main() -> int:
    """Run it.  @return: The exit status: 1 where an answer failed or was wrong."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often, in turns (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default 2)")
    parser.add_argument("--share", type=float, default=1, help="the factor on all counts of requests (default 1)")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {}
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path().absolute()) as name, MariaDB() as mariadb:
        folder = Path(name)
        load, source = compile_load(folder), Source.create(folder / "source", 4 << 20)
        for number in range(arguments.rounds):
            for kind in (POSIX, ALWAYS_ASKED, DEFAULT):
                place = folder / f"{number} {kind}"
                place.mkdir()
                schema = f"sam_{number}_{len(kind)}"
                server = Server(place, arguments.workers, _settings(kind, mariadb, schema))
                try:
                    bench = Bench(server.port, server, load, source, place, arguments.share, 1)
                    if kind != POSIX:
                        _record(mariadb, schema, place / "archive", bench.objects())
                        _wait_until_well(server.port)
                    bench.run(["head"])  # not counted: both sides, and the database, come to know the files
                    for phase in ("head",) * HEADS + ("get",):
                        bench.figures.clear()
                        bench.run([phase])
                        for label, figure in bench.figures.items():
                            if figure is not None:
                                figures.setdefault(label, {}).setdefault(kind, []).append(figure)
                finally:
                    server.stop()
                problems += bench.problems
    print("\n".join(_table(figures)))
    print("".join(f"PROBLEM: {problem}\n" for problem in problems))
    return 1 if problems else 0


def _settings(kind: str, mariadb: MariaDB, schema: str) -> Sequence[tuple[str, str, str]]:
    if kind == POSIX:
        return [("posix", "use_id2filename", "true")]
    mariadb.create_database(schema)
    user, password = mariadb.create_reader(schema)
    settings = {
        "sam_qfs_prefix": "/archive",
        "schema": schema,
        "user": user,
        "password": password,
        "unix_socket": mariadb.socket,
    }
    if kind == ALWAYS_ASKED:
        settings["remember"] = "0"
    return [("server", "type", "hsmsideband"), *(("hsm_sideband", key, value) for key, value in settings.items())]


def _record(mariadb: MariaDB, schema: str, prefix: Path, ids: range) -> None:
    """Let the database know all files, on disk and with a copy on tape."""
    with SidebandWriter(mariadb, schema) as writer, writer.bulk():
        writer.mkdir("/archive", ino=prefix.stat().st_ino)
        for file_id in ids:
            path = id_to_path(file_id)
            state = os.stat(f"{prefix}{path}")
            writer.mkdirs(os.path.dirname(f"/archive{path}"))
            writer.create(f"/archive{path}", ino=state.st_ino)
            writer.close(f"/archive{path}", size=state.st_size)
            writer.archive(f"/archive{path}", copy=0, media_type="li", vsn="A00017", position=file_id)


def _wait_until_well(port: int) -> None:
    """Until every worker, most likely, has seen that the database knows the archive; before that none asks it."""
    well = 0
    deadline = time.monotonic() + START_LIMIT
    while well < ANSWERS_THAT_TELL:
        if time.monotonic() > deadline:
            raise ServerError("the server does not come to terms with its database")
        with closing(HTTPConnection(HOST, port, timeout=START_LIMIT)) as connection:
            connection.request("GET", "/health")
            well = 0 if json.load(connection.getresponse())["degraded"] else well + 1


def _table(figures: dict[str, dict[str, list[float]]]) -> list[str]:
    """The means, and what part of posix the others are."""
    lines = [f"| figure | {POSIX} | {ALWAYS_ASKED} | {DEFAULT} |", "|---|---|---|---|"]
    for label, kinds in figures.items():
        means = {kind: statistics.fmean(values) for kind, values in kinds.items()}
        scale = means.get(POSIX, 0)
        cells = [
            f"{value:.4g}" + (f" ({value / scale:.2f})" if scale and kind != POSIX else "")
            for kind, value in means.items()
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
