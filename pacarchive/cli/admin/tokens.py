"""C{pacarchive admin token}: make, list and revoke static tokens."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pacarchive.access import tokens
from pacarchive.access.rights import NOTHING, parse_id_ranges, parse_rights
from pacarchive.access.settings import AuthSettings
from pacarchive.access.tokens import Token, check_name, digest_of, make_token, moment
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import settings_of
from pacarchive.cli.printing import complain, print_json
from pacarchive.settings.reading import ConfigError
from pacarchive.texts import counted

if TYPE_CHECKING:
    import argparse

_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_YEAR_10000 = 253402300800
_SHORT = 12  # digits of a digest that tell one token from another


def create(arguments: argparse.Namespace) -> int:
    """Make one, and show it this once."""
    path = _path(arguments)
    try:
        name, rights = check_name(arguments.name), parse_rights(arguments.may)
        ids = None if arguments.ids is None else parse_id_ranges(arguments.ids)
        expires = None if arguments.expires is None else end_of(arguments.expires, time.time())
    except ValueError as error:
        return complain(error, exits.USAGE)
    if rights == NOTHING:
        return complain("a token that allows nothing is of no use", exits.USAGE)
    token = make_token()
    made = Token(name, digest_of(token), rights, ids, expires)
    others = 0

    def add(lines: list[tuple[str, Token | None]]) -> list[str]:
        nonlocal others
        others = sum(each is not None and each.name == name for _, each in lines)
        return [*(line for line, _ in lines), made.line]

    if (code := _change(path, add)) != exits.OK:
        return code
    sys.stdout.write(f"{token}\n")
    until = "for ever" if expires is None else f"until {moment(expires)}"
    more = f"; {name} has {counted(others, 'other token')} beside it" if others else ""
    sys.stderr.write(
        f"{name} may {rights}{'' if ids is None else f' for ids {ids}'}, {until}{more}. The token is shown this once.\n"
    )
    return exits.OK


def show(arguments: argparse.Namespace) -> int:
    """List them."""
    path = _path(arguments)
    try:
        found = tokens.load(path).values()
    except (OSError, ValueError) as error:
        return _refuse(path, error)
    now = time.time()
    for each in found:
        if arguments.json:
            print_json(
                {
                    "name": each.name,
                    "digest": each.digest,
                    "rights": str(each.rights).split(),
                    "ids": None if each.ids is None else str(each.ids),
                    "expires": each.expires,
                }
            )
            continue
        ended = " (ended)" if each.expires is not None and each.expires <= now else ""
        until = "never ends" if each.expires is None else f"until {moment(each.expires)}{ended}"
        ids = "" if each.ids is None else f", ids {each.ids}"
        sys.stdout.write(f"{each.name}  {each.digest[:_SHORT]}  {each.rights}{ids}, {until}\n")
    return exits.OK


def revoke(arguments: argparse.Namespace) -> int:
    """Take out all of a name, or the one of a digest."""
    path = _path(arguments)
    revoked = 0

    def take_out(lines: list[tuple[str, Token | None]]) -> list[str]:
        nonlocal revoked
        kept = [
            line
            for line, each in lines
            if each is None or each.name != arguments.name or not each.digest.startswith(arguments.digest)
        ]
        revoked = len(lines) - len(kept)
        return kept

    if (code := _change(path, take_out)) != exits.OK:
        return code
    if not revoked:
        return complain(f"{path} has no such token of {arguments.name}", exits.FAILED)
    sys.stderr.write(f"{counted(revoked, 'token')} of {arguments.name} revoked; a server that runs notices within")
    sys.stderr.write(" [auth] refresh, or at once with SIGHUP\n")
    return exits.OK


def end_of(text: str, now: float) -> float:
    """
    When something ends that lasts so long, or ends then.

    @param text: C{90d}, C{12h}, C{2w}, C{1y}; or a date, with or without a time.
    @return: Seconds since the epoch.
    @raise ValueError: It is neither; or it is over.
    """
    if match := re.fullmatch(r"([1-9][0-9]{0,3})([hdwy])", text, re.ASCII):
        end = now + int(match[1]) * _UNITS[match[2]]
    else:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither a time nor how long; write 90d, 12h, 2027-01-31") from None
        end = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if end >= _YEAR_10000:
        raise ValueError(f"{text} is too far away; leave --expires out for a token that never ends")
    if end <= now:
        raise ValueError(f"{text} is over")
    return end


def _path(arguments: argparse.Namespace) -> Path:
    if arguments.file is not None:
        return Path(arguments.file)
    path = settings_of(arguments).of(AuthSettings).tokens
    if path is None:
        raise ConfigError("settings", "names no file for them; or name one by --file", "auth", "tokens")
    return path


def _change(path: Path, edit: tokens.Edit) -> int:
    try:
        tokens.change(path, edit)
    except (OSError, ValueError) as error:
        return _refuse(path, error)
    return exits.OK


def _refuse(path: Path, error: OSError | ValueError) -> int:
    words = error.strerror if isinstance(error, OSError) else error
    return complain(f"{path}: {words}", exits.USAGE)
