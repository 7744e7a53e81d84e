"""What the commands C{jobs}, C{pins}, C{hold} and C{retry} are called, and what they take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


EVERY_DRIVE = -1
"""C{--drives} without a number, as to end a hold."""


class Add(Protocol):
    """Adds a command that asks a server."""

    def __call__(
        self,
        subparsers: Subparsers,
        name: str,
        run: str,
        what: str,
        description: str,
        examples: Sequence[tuple[str, str]],
        /,
    ) -> argparse.ArgumentParser:
        """Return its parser."""


def register(subparsers: Subparsers, add: Add) -> None:
    """Add the commands."""
    _register_lists(subparsers, add)
    _register_hold(subparsers, add)
    _register_retry(subparsers, add)


def _register_lists(subparsers: Subparsers, add: Add) -> None:
    parser = add(
        subparsers,
        "jobs",
        "operating:jobs",
        "list jobs of stage",
        "Lists jobs, the latest first: your own; operators see those of all owners.",
        [
            ("pacarchive jobs", ""),
            ("pacarchive jobs --running", "those that have not ended"),
            ("pacarchive jobs -n 1000 --json", "for programs"),
        ],
    )
    parser.add_argument("--owner", metavar="WHO", help="only those of this owner")
    parser.add_argument("--running", action="store_true", help="only those that have not ended")
    parser.add_argument("-n", "--most", type=_most, default=100, metavar="N", help="how many at most (default: 100)")
    parser = add(
        subparsers,
        "pins",
        "operating:pins",
        "list what is to stay on disk",
        "Lists files that were recalled and are to stay on disk, until when, and for whom.",
        [("pacarchive pins", ""), ("pacarchive pins --owner ada --json", "")],
    )
    parser.add_argument("--owner", metavar="WHO", help="only those of this owner")
    parser.add_argument("-n", "--most", type=_most, default=1000, metavar="N", help="how many at most (default: 1000)")


def _register_hold(subparsers: Subparsers, add: Add) -> None:
    parser = add(
        subparsers,
        "hold",
        "operating:hold",
        "keep a cartridge, drives or everything from being recalled",
        "For operators: holds a cartridge, drives or everything. No more of it is submitted to the tape system, and "
        "all jobs say by whom it is held and why; what was submitted before is recalled all the same. Without "
        "anything, it lists what is held.",
        [
            ("pacarchive hold", "what is held, and by whom"),
            ("pacarchive hold --cartridge VB0123 --why dirty", ""),
            ("pacarchive hold --drives 2 --for 8h", "use two at the most"),
            ("pacarchive hold --everything", "what runs ends: a drain"),
            ("pacarchive hold --cartridge VB0123 --end", "go on"),
        ],
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cartridge", metavar="NAME", help="this cartridge")
    what.add_argument(
        "--drives",
        type=_drives,
        metavar="N",
        nargs="?",
        const=EVERY_DRIVE,
        help="all drives but so many, which may still be used",
    )
    what.add_argument("--everything", action="store_true", help="everything")
    parser.add_argument("--end", action="store_true", help="end the hold")
    parser.add_argument("--why", metavar="TEXT", default="", help="why, for others to read")
    parser.add_argument("--for", dest="lasts", metavar="TIME", help="end it by itself after 90s, 15m, 2h or 7d")


def _register_retry(subparsers: Subparsers, add: Add) -> None:
    parser = add(
        subparsers,
        "retry",
        "operating:retry",
        "retry recalls that have failed",
        "Retries recalls that have failed, also those of jobs that have ended, and has those tried at once that were "
        "to be tried again later: after a tape was repaired, for example. It says how many there are, and at a "
        "terminal asks before it does so. Operators retry those of all owners, others their own.",
        [
            ("pacarchive retry --cartridge VB0123 --dry-run", "how many are there?"),
            ("pacarchive retry --cartridge VB0123", ""),
            ("pacarchive retry --since 1d", "what has failed in the last day"),
            ("pacarchive retry --job 0f3c...", ""),
        ],
    )
    parser.add_argument("--cartridge", metavar="NAME", help="only files of this cartridge")
    parser.add_argument("--owner", metavar="WHO", help="only those of this owner")
    parser.add_argument("--reason", metavar="TEXT", help="only those that have failed for this reason, word for word")
    parser.add_argument("--since", metavar="TIME", help="only those that have failed in the last 90s, 15m, 2h or 7d")
    parser.add_argument("--job", metavar="JOB", help="only those of this job")
    parser.add_argument("--everything", action="store_true", help="all of them; needed if nothing else is said")
    parser.add_argument("--why", metavar="TEXT", default="", help="why, for the archive's audit file")
    parser.add_argument("--dry-run", action="store_true", help="only say how many there are")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _most(text: str) -> int:
    if not text.isdecimal() or not 1 <= (count := int(text)) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return count


def _drives(text: str) -> int:
    if not text.isdecimal() or (count := int(text)) > 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of drives")
    return count
