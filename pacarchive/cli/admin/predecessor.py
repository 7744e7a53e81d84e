"""C{pacifica-archiveinterface-cmd}: the predecessor's command, for scripts that call it.

Its arguments, in its order: C{[-c FILE] [-t TYPE] [--prefix DIRECTORY] delete ID...}.  Like the original, it removes
the files in turn without asking, prints nothing, and ends with 1 at the first that cannot be removed.  The differences:
C{-c} has an effect; defaults come from the settings file and the environment, before the predecessor's C{posix} and
C{/tmp}; an error is one line and not a traceback; and a name that is not an id is never removed.
"""

from __future__ import annotations

import argparse
import configparser
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pacarchive.cli import exits
from pacarchive.cli.streams import Parser, run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pacarchive.cli.admin.running import Interruption
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.settings.sections import Settings

_PROGRAM = "pacifica-archiveinterface-cmd"
_TYPES = ("hpss", "posix", "hsmsideband")
_DEFAULT_CONFIG = "~/.pacifica-archiveinterface/config.ini"
_DEFAULT_PREFIX = "/tmp"  # noqa: S108  (the predecessor's default)


class _Failed(Exception):
    """A failure; C{str()} is one line for stderr."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    @param argv: The arguments without the program's name; those of the process by default.
    @return: 0, or 1 if a file could not be removed.
    """
    return run_program(_PROGRAM, lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = make_parser().parse_args(argv)
    from pacarchive.cli.admin.running import NotStarted, with_backend
    from pacarchive.settings.reading import ConfigError

    async def remove(backend: IArchiveBackend, interruption: Interruption) -> None:
        for text in arguments.files:
            if interruption.received:
                return
            await _remove(backend, text)

    try:
        with_backend(_settings(arguments), remove)
    except (ConfigError, NotStarted, _Failed) as error:
        sys.stderr.write(f"{_PROGRAM}: {error}\n")
        return exits.FAILED
    return exits.OK


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = Parser(prog=_PROGRAM, description='The predecessor\'s command. New scripts say "pacarchive admin delete".')
    parser.add_argument("-c", "--config", metavar="CONFIG", help="the settings file")
    parser.add_argument("-t", "--type", choices=_TYPES, help="the kind of storage")
    parser.add_argument("--prefix", metavar="PREFIX", help="where the archive is")
    commands = parser.add_subparsers(metavar="command", required=True)
    delete = commands.add_parser("delete", help="remove files", description="Removes files, without asking.")
    delete.add_argument("files", nargs="+", metavar="FILES", help="their ids")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    from pacarchive.settings.reading import CONFIG_VARIABLE, load, settings_file

    path = arguments.config or os.environ.get(CONFIG_VARIABLE)
    if not path and os.path.exists(default := os.path.expanduser(_DEFAULT_CONFIG)):
        path = default
    path = settings_file(path, os.environ)
    overrides: dict[tuple[str, str], object] = {}
    if arguments.type:
        overrides["server", "type"] = arguments.type
    if arguments.prefix or not _has_prefix(path):
        overrides["server", "prefix"] = arguments.prefix or _DEFAULT_PREFIX
    return load(path, os.environ, overrides, create_default=False)


def _has_prefix(path: str | None) -> bool:
    """Return whether the environment or the settings file sets the prefix."""
    from pacarchive.texts import NotText, read_text

    parser = configparser.ConfigParser(interpolation=None, default_section="")
    if path:
        with suppress(configparser.Error, NotText, OSError):  # loading the settings reports the error
            parser.read_string(read_text(path))
    return bool(os.environ.get("PAI_PREFIX")) or parser.has_option("server", "prefix")


async def _remove(backend: IArchiveBackend, text: str) -> None:
    from pacarchive.errors import ArchiveError
    from pacarchive.ids import parse_file_id
    from pacarchive.model import WriteConditions

    try:
        file_id = parse_file_id(text)
    except ValueError as error:
        raise _Failed(f"{text!r} is not a valid file id") from error
    try:
        await backend.remove(file_id, WriteConditions())
    except ArchiveError as error:
        raise _Failed(f"file {file_id}: {error.reason}") from error
