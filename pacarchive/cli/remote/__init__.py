"""The commands for users of an archive, by HTTP: what they are called, and what they take.

They work through L{pacarchive.client}, and know nothing of storage.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from pacarchive.cli.arguments import complete_path
from pacarchive.cli.remote import operations
from pacarchive.cli.server import add_options

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ROOM = "pacarchive.cli.remote"
_WIDTH = 79
_IDS = "ids, ranges like 12-20, @FILE with a list of these, or - for such a list on stdin"
_MAP = "a file with a line ID PATH for each; - for stdin"


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    _register_put(subparsers)
    _register_get(subparsers)
    _register_stat(subparsers)
    _register_ls(subparsers)
    _register_stage(subparsers)
    _register_job(subparsers)
    operations.register(subparsers, _add)
    _register_mv(subparsers)
    _register_rm(subparsers)
    _register_verify(subparsers)
    _register_health(subparsers)
    _register_top(subparsers)


def _add(
    subparsers: Subparsers, name: str, run: str, what: str, description: str, examples: Sequence[tuple[str, str]]
) -> argparse.ArgumentParser:
    """Add a command that asks a server."""
    width = max(len(line) for line, _ in examples)
    shown = "\n".join(f"  {line:{width}}  {words}".rstrip() for line, words in examples)
    parser = subparsers.add_parser(
        name,
        help=what,
        description=fill(description, _WIDTH),
        epilog=f"examples:\n{shown}\n\nThe server is $PACARCHIVE_URL, or what --url says.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=f"{_ROOM}.{run}")
    server = parser.add_argument_group("server and output")
    server.add_argument("--url", metavar="URL", help="the archive's address (default: $PACARCHIVE_URL)")
    add_options(server)
    server.add_argument(
        "--connections", type=_count, default=8, metavar="N", help="requests at the same time (default: 8)"
    )
    server.add_argument(
        "--retry", type=_count, default=5, metavar="N", help="how often to try again in a row what failed (default: 5)"
    )
    server.add_argument("--json", action="store_true", help="results as JSON, an object in each line")
    server.add_argument("-q", "--quiet", action="store_true", help="no progress, and no words about what went well")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 <= (count := int(text)) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 256")
    return count


def _register_put(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "put",
        "putting:put",
        "store files",
        "Stores files. Each is compared with the archive's digest before it counts as stored, and keeps its time of "
        "modification. What the archive has already is not sent again, so a command that was cut short can be typed "
        "again. A file under the id that is different is never replaced without --replace.",
        [
            ("pacarchive put results.h5 --id 12345", ""),
            ("pacarchive put run*.dat --id 500", "500, 501, ... in that order"),
            ("pacarchive put run*.dat --id 500 --save-map map", "and keep which is which"),
            ("pacarchive put --id-file map.txt", "lines of ID PATH"),
            ("tar c run7 | pacarchive put - --id 77", "what a pipe brings"),
        ],
    )
    complete_path(parser.add_argument("files", nargs="*", metavar="FILE", help="a file; - for stdin"))
    parser.add_argument("--id", metavar="N", help="the id of the first file; the others have the next ones")
    complete_path(parser.add_argument("--id-file", metavar="MAP", help=_MAP))
    complete_path(parser.add_argument("--save-map", metavar="FILE", help="write such a map of what is stored"))
    parser.add_argument("--replace", action="store_true", help="replace what the archive has under the ids")


def _register_get(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "get",
        "getting:get",
        "read files",
        "Reads files. A local file appears under its name when it is complete and its digest was compared with the "
        "archive's; whatever ends the command before that leaves none. While it runs, a connection that is lost is "
        "made again, and the file goes on where it was; typed again, the command reads a file that is not complete "
        "from its beginning.",
        [
            ("pacarchive get 12345 -o results.h5", ""),
            ("pacarchive get 500-599 -o runs/", "as runs/500, runs/501, ..."),
            ("pacarchive get @ids.txt -o runs/ --wait", "also from tape"),
            ("pacarchive get --id-file map", "to the paths that put has saved there"),
            ("pacarchive get 77 -o - | tar t", "into a pipe"),
        ],
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help=_IDS)
    complete_path(parser.add_argument("--id-file", metavar="MAP", help=_MAP))
    complete_path(
        parser.add_argument(
            "-o", "--output", metavar="PATH", help="a file, a directory, or - for stdout (default: ./ID)"
        )
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace local files")
    parser.add_argument("-w", "--wait", action="store_true", help="recall what is on tape, and wait for it")
    parser.add_argument("--wait-limit", metavar="TIME", help="the same, but no longer than 90s, 15m, 2h or 7d")
    parser.add_argument("--no-times", action="store_true", help="do not give files the times of their versions")
    parser.add_argument(
        "--no-verify", action="store_true", help="take files of which the archive has no digest, unchecked"
    )


def _register_stat(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "stat",
        "looking:stat",
        "show size, time and where files are",
        "Shows what the archive knows of files; nothing is recalled. LEVELS are the storage levels, the fastest "
        "first, each with a bar of how much of the file is there.",
        [
            ("pacarchive stat 12345", ""),
            ("pacarchive stat 500-599 --json", "for programs"),
            ("pacarchive stat 12345 --long", "all there is to tell"),
        ],
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help=_IDS)
    parser.add_argument("-l", "--long", action="store_true", help="all of it, in several lines")


def _register_ls(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "ls",
        "listing:ls",
        "list the files of the archive",
        "Lists the files that the archive has, as far as you may know of them; nothing is recalled. They come in the "
        "archive's own order, as they are found.",
        [
            ("pacarchive ls", "all of them"),
            ("pacarchive ls 500-599", "which of these are there"),
            ("pacarchive ls --json", "for programs"),
            ("pacarchive ls --only-ids | pacarchive stage -", "for other commands"),
        ],
    )
    parser.add_argument("range", nargs="?", metavar="RANGE", help="a range of ids, as 500-599, or 500- (default: all)")
    parser.add_argument("--only-ids", action="store_true", help="only ids, one in each line")


def _register_stage(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "stage",
        "staging:stage",
        "bring files from tape to disk",
        "Brings files from tape to disk, as one job, which the archive carries out in the order of the tapes. It goes "
        "on without this command.",
        [
            ("pacarchive stage 12345 --wait", "wait until it is there"),
            ("pacarchive stage 500-599 --plan", "what would it mean? Nothing moves"),
            ("pacarchive stage @ids.txt --pin 7d", "keep them on disk for a week"),
        ],
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help=_IDS)
    parser.add_argument("-w", "--wait", action="store_true", help="wait until all are there, and show how it goes on")
    parser.add_argument("--plan", action="store_true", help="only say what it would mean")
    parser.add_argument("--pin", metavar="TIME", help="keep each on disk for so long: 90s, 15m, 2h, 7d")
    parser.add_argument("--deadline", metavar="TIME", help="what has not come by then has failed")
    parser.add_argument("--priority", choices=["low", "normal", "high"], default="normal", help="(default: normal)")


def _register_job(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "job",
        "staging:job",
        "look at a job of stage, or end it",
        "Shows how a job stands that 'pacarchive stage' has made.",
        [
            ("pacarchive job 0f3c...", "as stage has printed it"),
            ("pacarchive job 0f3c... --wait", "to its end"),
            ("pacarchive job 0f3c... --cancel", ""),
            ("pacarchive job 0f3c... --priority high", ""),
        ],
    )
    parser.add_argument("job", metavar="JOB", help="the job")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-w", "--wait", "--follow", action="store_true", help="wait for its end, and show how it goes on")
    what.add_argument("--cancel", action="store_true", help="give it up; what has come stays")
    what.add_argument("--release", action="store_true", help="its files need not stay on disk any more")
    what.add_argument("--priority", choices=["low", "normal", "high"], help="its priority from now on")


def _register_mv(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "mv",
        "changing:move",
        "have the archive take a file that lies in its storage",
        "Has the archive take a file that lies in its own storage, without a copy. The path is the server's, and must "
        "be below one of the directories that the server's settings allow.",
        [("pacarchive mv /srv/archive/incoming/x.dat 12345", "")],
    )
    parser.add_argument("path", metavar="PATH", help="where it lies, as the server sees it")
    parser.add_argument("id", metavar="ID", help="the id that it gets")
    parser.add_argument("--replace", action="store_true", help="replace what the archive has under the id")


def _register_rm(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "rm",
        "changing:remove",
        "remove files",
        "Removes files from the archive, for good. Asks first; where there is no terminal, --yes is needed.",
        [("pacarchive rm 12345", ""), ("pacarchive rm 500-599 --yes", "")],
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help=_IDS)
    complete_path(parser.add_argument("--id-file", metavar="MAP", help=_MAP))
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _register_verify(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "verify",
        "looking:verify",
        "compare local files with the archive",
        "Compares local files with the archive's by size and digest; the archive's are not read, wherever they are.",
        [
            ("pacarchive verify results.h5 --id 12345", ""),
            ("pacarchive verify --id-file map.txt", "what put has stored"),
            ("pacarchive verify runs/", "files named by ids, as get makes them"),
        ],
    )
    complete_path(
        parser.add_argument("files", nargs="*", metavar="FILE", help="a file, or a directory of files named by ids")
    )
    parser.add_argument("--id", metavar="N", help="the id of the first file; the others have the next ones")
    complete_path(parser.add_argument("--id-file", metavar="MAP", help=_MAP))
    parser.add_argument(
        "--read", action="store_true", help="read files of which the archive has no digest, to compare their bytes"
    )


def _register_health(subparsers: Subparsers) -> None:
    _add(
        subparsers,
        "health",
        "looking:health",
        "ask whether the archive is well",
        "Asks whether requests can be expected to succeed. Exit code: 0 if so, 3 if not.",
        [("pacarchive health", "")],
    )


def _register_top(subparsers: Subparsers) -> None:
    parser = _add(
        subparsers,
        "top",
        "top:top",
        "show live how the archive is",
        "Shows whether the archive is well, and if not, why; what moves, how fast, what is refused and what fails, and "
        "what waits for tape. It needs the right admin. On a terminal q ends it; elsewhere it writes a line each time.",
        [
            ("pacarchive top", ""),
            ("pacarchive top --once", "all of it, once; exit code 3 if not well"),
            ("pacarchive top --json --interval 1m", "for programs, a line each minute"),
        ],
    )
    parser.add_argument("--once", action="store_true", help="show it once, with rates over one interval")
    parser.add_argument("--interval", metavar="TIME", default="2s", help="how often to look: 2s, 1m (default: 2s)")
