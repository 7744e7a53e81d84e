"""C{pacarchive config set}, C{unset} and C{list}: a user's profiles."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pacarchive.cli import exits
from pacarchive.cli.printing import print_json, write_line
from pacarchive.cli.profiles import CREDENTIALS, PATHS, changing, name_of, path_of, read
from pacarchive.cli.words import Misunderstood
from pacarchive.texts import printable

if TYPE_CHECKING:
    import argparse

_MASK = "(set)"


def put(arguments: argparse.Namespace) -> int:
    """Set a key."""
    name, key = name_of(arguments, os.environ), arguments.name
    value = _checked(key, arguments.value)
    with changing(path_of(os.environ)) as profiles:
        if name not in profiles:
            profiles.add_section(name)
        own = profiles[name]
        if key in CREDENTIALS:
            for each in set(CREDENTIALS) - {key}:
                if own.pop(each, None) is not None:
                    write_line(f"{key} replaces {each}", sys.stderr)
        own[key] = value
    return exits.OK


def remove(arguments: argparse.Namespace) -> int:
    """Remove a key, or a profile."""
    name, key = name_of(arguments, os.environ), arguments.name
    with changing(path_of(os.environ)) as profiles:
        if name not in profiles:
            raise Misunderstood(f"there is no profile {name!r}")
        if key is None:
            profiles.remove_section(name)
        elif not profiles.remove_option(name, key):
            raise Misunderstood(f"profile {name!r} has no {key}")
    return exits.OK


def show(arguments: argparse.Namespace) -> int:
    """Print the profiles; all of them, if none is named."""
    profiles = read(path := path_of(os.environ))
    names = [name_of(arguments, os.environ)] if arguments.profile else profiles.sections()
    if unknown := [name for name in names if name not in profiles]:
        raise Misunderstood(f"there is no profile {unknown[0]!r} in {path}")
    shown = {name: {key: _shown(key, value) for key, value in profiles[name].items()} for name in names}
    if arguments.json:
        print_json(shown)
        return exits.OK
    for name, values in shown.items():
        write_line(f"[{name}]")
        for key, value in values.items():
            write_line(printable(f"{key} = {value}"))
        write_line("")
    return exits.OK


def _shown(key: str, value: str) -> str:
    return _MASK if key == "token" else value


def _checked(key: str, value: str) -> str:
    """
    The value to set: a token is read from standard input, and paths are made absolute.

    @raise Misunderstood: It is invalid.
    """
    if key == "token":
        return _token(value)
    if not (value := value.strip()) or not value.isprintable():
        raise Misunderstood(f"the value of {key} must be one line; 'pacarchive config unset {key}' removes it")
    if key in PATHS:
        return os.path.abspath(os.path.expanduser(value))
    if key == "url":
        from pacarchive.cli.server import whole_url
        from pacarchive.client.addresses import Place

        try:
            Place.of(value := whole_url(value))
        except ValueError as error:
            raise Misunderstood(error) from None
    if key == "user" and ":" in value:
        raise Misunderstood("a user name must not contain a colon; a password is read from ~/.netrc, or typed")
    if key == "allow-plain-http" and value not in ("yes", "no"):
        raise Misunderstood(f"{key} must be yes or no")
    return value


def _token(value: str) -> str:
    from pacarchive.cli.secrets import token_of_stdin
    from pacarchive.client.tokens import is_token

    if value != "-":
        raise Misunderstood(
            "a token is not given on the command line, which other users of this machine can see: run "
            "'pacarchive config set token -', and type it, or send it to standard input"
        )
    if not is_token(token := token_of_stdin()):
        raise Misunderstood("what was read is not a bearer token, which is letters, digits and -._~+/=")
    return token
