"""C{pacarchive admin}: what operators do to the archive itself, without HTTP, on the machine that has it.

It works on storage through L{pacarchive.backends}, and knows nothing of L{pacarchive.client}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.words import SETTINGS_FILE

if TYPE_CHECKING:
    import argparse

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def register(subparsers: Subparsers) -> None:
    """Add the commands."""
    parser = subparsers.add_parser(
        "admin",
        help="what operators do to the archive itself, without HTTP",
        description=(
            "Works on the archive's storage itself, with the service's settings. No server is needed, and one that"
            " runs is not disturbed. Run it as the user that the service runs as."
        ),
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    _register_adopt(commands)
    _register_delete(commands)
    _register_digest(commands)
    _register_sweep(commands)


def settings_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which archive."""
    parser.add_argument("-c", "--config", metavar="FILE", help=SETTINGS_FILE)
    parser.add_argument("--prefix", metavar="DIRECTORY", help="the archive's prefix, in place of the settings file's")


def _json_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--json", action="store_true", help=f"print JSON lines: an object for each {what}, and the summary as the last"
    )


def _register_adopt(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "adopt",
        help="report on a tree that the predecessor wrote, changing nothing",
        description=(
            "Looks at every name below the prefix, before the archive is taken over or afterwards, and reports what"
            " pacarchive will not serve, what may be half written, and what is in the way. Opens no file's data and"
            " changes nothing. Exit code: 0 when nothing needs attention; 1 when something does; 2 for settings that"
            " cannot be used."
        ),
    )
    settings_options(parser)
    parser.add_argument(
        "--examples", type=_count, default=5, metavar="N", help="how many names to show for each finding (default: 5)"
    )
    _json_option(parser, "finding")
    parser.set_defaults(run="pacarchive.cli.admin.adopt:run")


def _register_delete(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "delete",
        help="remove files by their ids",
        description=(
            "Removes files from the archive, as DELETE does over HTTP; on tape, too, as far as the storage system lets"
            " go of them. Asks first, on a terminal. Exit code: 0; 1 when an id had no file, or a file could not be"
            " removed; 2 for a command line or settings that cannot be used, or a no, and then nothing was removed; 3"
            " when the storage does not answer."
        ),
    )
    settings_options(parser)
    parser.add_argument("ids", nargs="+", metavar="ID", help="a file's id")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    _json_option(parser, "id")
    parser.set_defaults(run="pacarchive.cli.admin.delete:run")


def _register_digest(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "digest",
        help="store missing digests, or verify stored ones",
        description=(
            "Reads every file of a posix archive that has no stored digest, and stores one. A file that its predecessor"
            " wrote has none: what is stored is the digest of the bytes as they are now. Can be interrupted and run"
            " again, and beside a running server. Exit code: 0; 1 when a file is damaged or cannot be read; 2 for"
            " settings that cannot be used; 130 when it was interrupted."
        ),
    )
    settings_options(parser)
    parser.add_argument(
        "--verify", action="store_true", help="also read the files that have a digest, and name those that differ"
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=_count,
        metavar="N",
        help="read so many files at a time (default: as many as there are processors, 4 at most)",
    )
    _json_option(parser, "bad file")
    parser.set_defaults(run="pacarchive.cli.admin.digest:run")


def _register_sweep(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "sweep",
        help="remove what writers left that are no more",
        description=(
            "Removes unfinished files whose writer is gone, as every start of the service does. Those of uploads that"
            " are under way stay. Exit code: 0; 1 when one could not be removed; 2 for settings that cannot be used; 3"
            " when the storage does not answer."
        ),
    )
    settings_options(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="only list them")
    _json_option(parser, "file")
    parser.set_defaults(run="pacarchive.cli.admin.sweep:run")


def _count(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isdecimal() or not 0 < (count := int(text)) <= 10**6:
        raise ArgumentTypeError(f"{text!r} is not a valid number; write one from 1")
    return count
