"""C{pacarchive config}: print the settings in force."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pacarchive.config import CONFIG_VARIABLE, describe, load

if TYPE_CHECKING:
    import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "config",
        help="print the settings in force",
        description="Prints the settings in force as a settings file, with explanations; secrets are masked.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help=f"the settings file (default: ${CONFIG_VARIABLE})")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    sys.stdout.write(describe(load(arguments.config, os.environ, {}, create_default=False)))
    return 0
