"""C{pacarchive config}: print the settings in force; C{set}, C{unset} and C{list}: a user's profiles."""

from __future__ import annotations

import configparser
import json
import os
import sys
from typing import TYPE_CHECKING

from pacarchive.cli.profiles import KEYS
from pacarchive.cli.server import add_profile
from pacarchive.cli.words import SETTINGS_FILE

if TYPE_CHECKING:
    import argparse

_KEYS = {
    "url": "the archive's address",
    "token": "a bearer token: give -, then type it or send it to stdin",
    "token-file": "a file with the bearer token",
    "user": "the user name; the password is read from netrc, or typed",
    "ca": "a file with the authorities to trust, in PEM",
    "cert": "a file with the client's certificate, in PEM",
    "key": "a file with its private key",
    "allow-plain-http": "yes: send a token or password even without TLS",
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command, and those below it, to the parser."""
    import argparse

    parser = subparsers.add_parser(
        "config",
        help="print the server's settings in force; change and list your profiles",
        description="Without a command, prints the server's settings in force as a settings file, with explanations; "
        "secrets are masked. The commands are for users of an archive: they keep its URL and the credentials in "
        "profiles.",
        usage="%(prog)s [-h] [-c FILE] [--json]\n       %(prog)s COMMAND ...",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help=SETTINGS_FILE)
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    parser.set_defaults(run="pacarchive.cli.show_config:run")
    below = parser.add_subparsers(metavar="COMMAND", title="commands", prog=parser.prog)
    keys = "\n".join(f"  {key:17} {_KEYS[key]}" for key in KEYS)
    setting = below.add_parser(
        "set",
        help="set a key of a profile",
        description="Sets a key of a profile. A profile has one of token, token-file and user;\n"
        "setting one replaces the other. Nobody but you can read the file of profiles.",
        epilog=f"keys:\n{keys}\n\nexamples:\n"
        "  pacarchive config set url https://archive.example.org\n"
        "  pacarchive config set token -                              and type it\n"
        "  pacarchive config set --profile test user alice",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_profile(setting)
    setting.add_argument("name", metavar="KEY", choices=KEYS, help="one of those below")
    setting.add_argument("value", metavar="VALUE", help="its value; - for a token")
    setting.set_defaults(run="pacarchive.cli.set_config:put")
    unsetting = below.add_parser(
        "unset", help="remove a key of a profile", description="Removes a key of a profile, or all of it."
    )
    add_profile(unsetting)
    unsetting.add_argument("name", metavar="KEY", nargs="?", choices=KEYS, help="the key; without it, all of them")
    unsetting.set_defaults(run="pacarchive.cli.set_config:remove")
    listing = below.add_parser("list", help="show your profiles", description="Shows your profiles; tokens are masked.")
    add_profile(listing)
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    listing.set_defaults(run="pacarchive.cli.set_config:show")


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    from pacarchive.settings.explaining import describe
    from pacarchive.settings.reading import load

    text = describe(load(arguments.config, os.environ, {}, create_default=False))
    if arguments.json:
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        parser.read_string(text)
        text = json.dumps({name: dict(parser[name]) for name in parser.sections()}) + "\n"
    sys.stdout.write(text)
    return 0
