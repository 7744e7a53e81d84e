"""The C{pacarchive} command.

A module of L{_COMMANDS} has a C{register(subparsers)} that adds the parsers of one command or of some.  It imports next
to nothing: what a command does is named by its parser's default C{run}, C{"module:function"}, and is imported only when
it is called, so that C{--help} and the completion of a shell are quick.  The function takes the parsed arguments and
returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from pacarchive import __version__
from pacarchive.cli import admin, check, completion, exits, remote, show_config
from pacarchive.cli.arguments import parsed
from pacarchive.cli.needs import leave_out
from pacarchive.cli.printing import complain
from pacarchive.cli.streams import Parser, run_program
from pacarchive.cli.words import Misunderstood

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (remote, check, admin, show_config, completion)

_TUTORIAL = """\
Files go into an archive, and come back out of it, by their ids:

  export PACARCHIVE_URL=http://archive.example.org:8080
  pacarchive put results.h5 --id 12345       store a file
  pacarchive stat 12345                      what the archive has, and where
  pacarchive get 12345 -o copy.h5            read it
  pacarchive verify results.h5 --id 12345    are they still the same?

Many files, and files on tape:

  pacarchive put run*.dat --id 500           as 500, 501, ...
  pacarchive stage 500-599 --wait            bring them from tape to disk
  pacarchive get 500-599 -o runs/ --wait     both at once

Whatever was cut short can be typed again: what is complete by then is left as
it is, and a file that is not begins anew.
"""

_EPILOG = f"""\
'pacarchive COMMAND --help' has the options of each command, with examples.

environment:
  PACARCHIVE_URL            the archive's address
  PACARCHIVE_TOKEN          a bearer token; or --token-file
  PACARCHIVE_CA             authorities to trust, in PEM
  PACARCHIVE_PROFILE        the profile; or --profile
  BEARER_TOKEN, BEARER_TOKEN_FILE, XDG_RUNTIME_DIR
                            where else a token may be found (WLCG discovery)
  NETRC                     passwords for --user; else ~/.netrc
  ARCHIVEINTERFACE_CONFIG   the server's settings, for admin and config; else
                            /etc/pacarchive/pacarchive.ini, if that is there
  NO_COLOR                  no colours

{exits.TEXT}"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = Parser(
        prog="pacarchive",
        description=_TUTORIAL,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [--version] [OPTION ...] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, title="commands", prog="pacarchive")
    for command in _COMMANDS:
        command.register(subparsers)
    parser.set_defaults(root=parser)  # for the completion of shells
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command.

    @param argv: The arguments without the program's name; those of the process by default.
    @return: An exit code of L{exits}.
    """
    return run_program("pacarchive", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = make_parser()
    arguments = parsed(parser, sys.argv[1:] if argv is None else argv)
    module, _, function = arguments.run.partition(":")
    own = argv is None and module.startswith(remote.__name__)
    try:
        if own:
            leave_out(arguments)
    except Misunderstood as error:
        return complain(error, exits.USAGE)
    from pacarchive.settings.errors import ConfigError

    try:
        return int(getattr(import_module(module), function)(arguments))
    except (ConfigError, Misunderstood) as error:
        return complain(error, exits.USAGE)
