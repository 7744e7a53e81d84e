"""C{pacarchive config}: print the settings in force."""

from __future__ import annotations

import configparser
import json
import os
import sys
from typing import TYPE_CHECKING

from pacarchive.cli.words import SETTINGS_FILE

if TYPE_CHECKING:
    import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "config",
        help="print the settings in force",
        description="Prints the settings in force as a settings file, with explanations; secrets are masked.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help=SETTINGS_FILE)
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    parser.set_defaults(run="pacarchive.cli.show_config:run")


def run(arguments: argparse.Namespace) -> int:
    """Run it."""
    from pacarchive.settings.explaining import describe
    from pacarchive.settings.reading import load

    text = describe(load(arguments.config, os.environ, {}, create_default=False))
    if arguments.json:
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        parser.read_string(text)
        text = json.dumps({name: dict(parser[name]) for name in parser.sections()}) + "\n"
    sys.stdout.write(text)
    return 0
