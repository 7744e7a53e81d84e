"""Profiles: the URL, credentials and options for one archive, under a name, in a file of the user."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from pacarchive.cli.words import Misunderstood
from pacarchive.texts import NotText, decoded

if TYPE_CHECKING:
    import argparse
    from configparser import ConfigParser

PATHS = ("token-file", "ca", "cert", "key")
"""The keys that name files."""

CREDENTIALS = ("token", "token-file", "user")
"""The keys of which a profile has at most one: each is a kind of credentials."""

KEYS = ("url", *CREDENTIALS, "ca", "cert", "key", "allow-plain-http")

DEFAULT = "default"
"""The profile that is used where none is named."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*", re.ASCII)


class Profile(NamedTuple):
    """
    The settings for one archive.

    @ivar values: The values, by L{KEYS}.
    @ivar typed: Whether it was chosen on the command line.
    """

    name: str
    values: Mapping[str, str] = MappingProxyType({})
    typed: bool = False

    def __repr__(self) -> str:
        return f"Profile({self.name!r})"  # the values may be secret

    def value(self, key: str) -> str | None:
        """The value of a key; C{None} where it is not set."""
        return self.values.get(key) or None


def path_of(environ: Mapping[str, str]) -> str:
    """Where the profiles are."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # a relative path is ignored: XDG Base Directory Specification
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "pacarchive", "profiles.ini")


def name_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> str:
    """The name of the chosen profile."""
    name = arguments.profile or environ.get("PACARCHIVE_PROFILE") or DEFAULT
    if _NAME.fullmatch(name) is None:
        raise Misunderstood(f"{name!r} is not a valid name of a profile; use letters, digits and ._@-")
    return name


def profile_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Profile:
    """
    The chosen profile; an empty one where none is chosen, and there is no default.

    @raise Misunderstood: The chosen one does not exist, or the file of profiles cannot be used.
    """
    name = name_of(arguments, environ)
    typed = bool(arguments.profile)
    if not os.path.exists(path := path_of(environ)) and not typed and name == DEFAULT:
        return Profile(name)
    found = read(path)
    if name in found:
        return Profile(name, dict(found[name]), typed)
    if not typed and not environ.get("PACARCHIVE_PROFILE"):
        return Profile(name)
    known = f"; there are {', '.join(found.sections())}" if found.sections() else ""
    raise Misunderstood(f"there is no profile {name!r} in {path}{known}")


def read(path: str) -> ConfigParser:
    """
    Read the file of profiles; a missing one has no profiles.

    @raise Misunderstood: It cannot be used, or other users can read the token in it.
    """
    import configparser  # only now: most users have no profiles

    found = configparser.ConfigParser(interpolation=None, default_section="", delimiters=("=",))
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = decoded(file.read())
        found.read_string(text)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise Misunderstood(f"{path}: {error.strerror}") from None
    except NotText as error:
        raise Misunderstood(f"{path}: {error}") from None
    except configparser.Error as error:
        # The error's own message contains the line, which may be a token.
        line = getattr(error, "lineno", None) or next(iter(getattr(error, "errors", ())), ("?",))[0]
        raise Misunderstood(f"{path}: line {line} is not KEY = VALUE in a [PROFILE] of its own") from None
    for name in found.sections():
        if unknown := set(found[name]) - set(KEYS):
            raise Misunderstood(f"{path}: [{name}] {min(unknown)}: there is no such key; there are {', '.join(KEYS)}")
        if len(who := [key for key in CREDENTIALS if found[name].get(key)]) > 1:
            raise Misunderstood(f"{path}: [{name}] has {' and '.join(who)}: only one of them can be used")
        if found[name].get("token") and mode & 0o077:
            raise Misunderstood(
                f"{path}: contains a token, and other users can access it (mode {mode:04o}): chmod 600 {path}"
            )
    return found


@contextmanager
def changing(path: str) -> Iterator[ConfigParser]:
    """
    Change the file of profiles, atomically; only its owner can read it afterwards.

    @raise Misunderstood: As L{read}.
    @raise OSError: It cannot be written.
    """
    from io import StringIO

    from pacarchive.runtime.files import replace_file

    found = read(path)
    yield found
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    text = StringIO()
    found.write(text)
    replace_file(path, text.getvalue().encode())
