"""The C{pacarchive} command.

A module of L{_COMMANDS} has a C{register(subparsers)} that adds the parsers of one command or of some.  It imports next
to nothing: what a command does is named by its parser's default C{run}, C{"module:function"}, and is imported only when
it is called, so that C{--help} and the completion of a shell are quick.  The function takes the parsed arguments and
returns the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from pacarchive import __version__
from pacarchive.cli import admin, exits, show_config

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (show_config, admin)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="pacarchive", description="Looks after a pacarchive server's archive.", epilog=exits.TEXT
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for command in _COMMANDS:
        command.register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    @param argv: The arguments without the program's name; those of the process by default.
    @return: One of L{exits}.
    """
    arguments = make_parser().parse_args(argv)
    module, _, function = arguments.run.partition(":")
    from pacarchive.config import ConfigError

    try:
        return int(getattr(import_module(module), function)(arguments))
    except ConfigError as error:
        sys.stderr.write(f"pacarchive: {error}\n")
        return exits.USAGE
    except KeyboardInterrupt:
        sys.stderr.write("pacarchive: interrupted\n")
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; at exit Python would complain about what it could not write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
