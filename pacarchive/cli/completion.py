"""C{pacarchive completion}: print the script with which a shell completes the command."""

from __future__ import annotations

import argparse
import sys

from pacarchive.cli import exits


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "completion",
        help="print what lets a shell complete this command",
        description="Prints a script that lets a shell complete commands, options and files.",
        epilog="examples:\n"
        "  source <(pacarchive completion bash)                   in ~/.bashrc\n"
        "  pacarchive completion zsh > ~/.zfunc/_pacarchive       with ~/.zfunc in $fpath\n"
        "  pacarchive completion fish | source                    in config.fish",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish", "tcsh"])
    parser.set_defaults(run="pacarchive.cli.completion:run")


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    import shtab

    sys.stdout.write(shtab.complete(arguments.root, arguments.shell))
    return exits.OK
