"""C{pacarchive check}: sees whether an archive that runs does what it should, and leaves it as it was.

L{pacarchive.cli.check.catalogue} has the checks in their order, L{pacarchive.cli.check.session} what they have in
common, and L{pacarchive.cli.check.run} runs them.  Here is the command's parser alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.server import add_options

if TYPE_CHECKING:
    import argparse

_DESCRIPTION = (
    "Checks a server that runs: every kind of request, with files of its own. It uses ids that nobody else has, refuses"
    " to begin where one is taken, touches nothing that it has not put itself, and removes that at the end. It needs"
    " room for the large file. Exit code: 0 when all is as it should be, or as it is known to be; 1 when something is"
    " not, or test files could not be removed; 2 when it must not begin; 3 when the server cannot be reached."
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("check", help="check a server after it was deployed", description=_DESCRIPTION)
    add = parser.add_argument
    add("url", metavar="URL", nargs="?", help="the archive's (default: $ARCHIVE_URL, or else $PACARCHIVE_URL)")
    add("--large-file-size", metavar="SIZE", help="of the large file (default: $LARGE_FILE_SIZE, or 1GiB)")
    add("--many", metavar="N", help="how many small files (default: $MANY_FILES_TEST_COUNT, or 1000)")
    add("--only", metavar="NAME", action="append", default=[], help="just these checks; may be given several times")
    add("--list", action="store_true", help="tell what the checks are, and do nothing")
    add("--expect", choices=["predecessor"], help="what pacifica-archiveinterface is known to do is not a failure")
    add("--move-from", metavar="PATH", help="a file in the archive's storage, as the server sees it, to be used up")
    add("--stage-timeout", metavar="SECONDS", help="how long to wait for files on tape (default: 600)")
    add("--first-id", metavar="N", help="where the ids that are used begin (default: 2**56)")
    add("--keep", action="store_true", help="leave the test files")
    add("--clean-up", action="store_true", help="check nothing, and remove the test files of earlier checks")
    add_options(parser)
    add("--json", action="store_true", help="one JSON document a line")
    parser.set_defaults(run="pacarchive.cli.check.command:run")
