"""C{pacarchive check}: checks that a running archive does what it should, and leaves it as it was.

L{pacarchive.cli.check.catalogue} lists the checks in their order, L{pacarchive.cli.check.session} has what they share,
and L{pacarchive.cli.check.run} runs them.  This module has the command's parser alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.server import add_options

if TYPE_CHECKING:
    import argparse

_DESCRIPTION = (
    "Checks a running server with requests of every kind, and test files of its own. It uses ids that are free, refuses"
    " to begin where one is taken, changes no file but its own, and removes those at the end. It needs space for the"
    " large file. Exit code: 0 when every check passed, or failed as expected; 1 when one failed, or test files could"
    " not be removed; 2 when it did not begin; 3 when the server cannot be reached."
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("check", help="check a server after it was deployed", description=_DESCRIPTION)
    add = parser.add_argument
    add("url", metavar="URL", nargs="?", help="URL of the archive (default: $ARCHIVE_URL, or else $PACARCHIVE_URL)")
    add("--large-file-size", metavar="SIZE", help="size of the large file (default: $LARGE_FILE_SIZE, or 1GiB)")
    add("--many", metavar="N", help="number of small files (default: $MANY_FILES_TEST_COUNT, or 1000)")
    add("--only", metavar="NAME", action="append", default=[], help="run only these checks; can be repeated")
    add("--list", action="store_true", help="list the checks, and run none")
    add("--expect", choices=["predecessor"], help="expect the known failures of pacifica-archiveinterface")
    add("--move-from", metavar="PATH", help="a file in the archive's storage, as the server sees it, to be moved")
    add("--stage-timeout", metavar="SECONDS", help="how long to wait for files on tape (default: 600)")
    add("--first-id", metavar="N", help="first of the ids that are used (default: 2**56)")
    add("--keep", action="store_true", help="leave the test files")
    add("--clean-up", action="store_true", help="run no check, but remove the test files of earlier ones")
    add_options(parser)
    add("--json", action="store_true", help="report in JSON, one document a line")
    parser.set_defaults(run="pacarchive.cli.check.command:run")
