"""Passwords and tokens: from C{netrc}, from a terminal, or from standard input; never from the arguments of a command,
which all users of the machine can see."""

from __future__ import annotations

import netrc
import os
import stat
import sys
from collections.abc import Mapping
from getpass import getpass

from pacarchive.cli.words import Misunderstood
from pacarchive.texts import NotText, decoded


def password_of(user: str, host: str, url: str, environ: Mapping[str, str]) -> str:
    """
    A user's password for an archive: from C{netrc}, else typed at the terminal.

    @param host: The archive's host, as in C{netrc}.
    @param url: The archive's URL, for messages.
    @raise Misunderstood: There is no password, and no terminal.
    """
    found = _from_netrc(user, host, environ)
    return _typed(f"Password of {user} at {url}: ", "put it into ~/.netrc") if found is None else found


def token_of_stdin() -> str:
    """
    A token that is typed, or read from standard input.

    @raise Misunderstood: There is no text.
    """
    if sys.stdin.isatty():
        return _typed("Token: ", "give it on standard input").strip()
    try:
        return decoded(sys.stdin.buffer.read()).strip()
    except NotText as error:
        raise Misunderstood(f"standard input {error}") from None


def _typed(prompt: str, otherwise: str) -> str:
    """Read a line from the terminal, without echo."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise Misunderstood(f"there is no terminal to type at ({prompt.rstrip(': ')}); {otherwise}") from None
    try:
        return getpass(prompt)
    except EOFError:
        raise Misunderstood("nothing was typed") from None


def _from_netrc(user: str, host: str, environ: Mapping[str, str]) -> str | None:
    path = environ.get("NETRC") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".netrc")
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
        entry = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        if environ.get("NETRC"):
            raise Misunderstood(f"{path} ($NETRC): No such file or directory") from None
        return None
    except OSError as error:
        raise Misunderstood(f"{path}: {error.strerror}") from None
    except netrc.NetrcParseError as error:
        # The error's own message may contain a password.
        raise Misunderstood(f"{path}: line {error.lineno} cannot be understood") from None
    except UnicodeDecodeError:
        raise Misunderstood(f"{path}: is not UTF-8 text") from None
    if entry is None or entry[0] not in (user, "") or not entry[2]:
        return None
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise Misunderstood(f"{path}: contains a password, and other users own it or can access it: chmod 600 {path}")
    return entry[2]
