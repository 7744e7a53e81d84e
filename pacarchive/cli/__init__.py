"""Operator commands; no HTTP inside.

Each module of L{_COMMANDS} is one command: its C{register(subparsers)} adds a parser whose C{run} default is a
function of the parsed arguments that returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pacarchive import __version__
from pacarchive.cli import digest, show_config
from pacarchive.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (show_config, digest)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    @param argv: The arguments without the program's name; those of the process by default.
    @return: The exit code: 0; 2 for a bad command line or settings that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="pacarchive", description="Looks after a pacarchive server's archive.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for command in _COMMANDS:
        command.register(subparsers)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        sys.stderr.write(f"pacarchive: {error}\n")
        return 2
