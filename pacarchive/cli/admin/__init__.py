"""C{pacarchive admin}: what operators do to the archive itself, without HTTP, on the machine that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = subparsers.add_parser(
        "admin",
        help="what operators do to the archive itself, without HTTP",
        description="Works on the archive's storage itself, with the service's settings. No server is needed.",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    _register_digest(commands)


def settings_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which archive."""
    parser.add_argument("-c", "--config", metavar="FILE", help="the settings file (default: $ARCHIVEINTERFACE_CONFIG)")
    parser.add_argument("--prefix", metavar="DIRECTORY", help="the archive's prefix, in place of the settings file's")


def _register_digest(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "digest",
        help="store missing digests, or verify stored ones",
        description=(
            "Reads every file of a posix archive that has no stored digest, and stores one. A file that its predecessor"
            " wrote has none: what is stored is the digest of the bytes as they are now. Can be interrupted and run"
            " again, and beside a running server. Exit code: 0; 1 when a file is damaged or cannot be read; 2 for"
            " settings that cannot be used."
        ),
    )
    settings_options(parser)
    parser.add_argument(
        "--verify", action="store_true", help="also read the files that have a digest, and name those that differ"
    )
    parser.set_defaults(run="pacarchive.cli.admin.digest:run")
