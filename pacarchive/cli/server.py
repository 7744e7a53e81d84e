"""Which server a command asks, with which token, and which authorities it trusts: options, else the environment."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

import attrs

from pacarchive.cli.arguments import complete_path
from pacarchive.cli.words import Misunderstood
from pacarchive.texts import NotText, read_text


@attrs.frozen
class Server:
    """
    A server, as it is given to L{ArchiveClient<pacarchive.client.ArchiveClient>}.

    @ivar url: Its URL.
    @ivar token: The bearer token for it.
    @ivar ca: The file with the authorities to trust; C{None} for the system's.
    """

    url: str
    token: str | None = attrs.field(default=None, repr=False)
    ca: str | None = None

    @property
    def caller(self) -> dict[str, Any]:
        """What says who asks, in each request."""
        return {"token": self.token}

    @property
    def options(self) -> dict[str, Any]:
        """All but the URL."""
        return {**self.caller, "ca": self.ca}


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that L{server_of} reads, but for the URL."""
    token = "a file with the bearer token (default: $PACARCHIVE_TOKEN has it)"  # noqa: S105
    complete_path(parser.add_argument("--token-file", metavar="FILE", help=token))
    authorities = "authorities to trust, in PEM (default: $PACARCHIVE_CA, else the system's)"
    complete_path(parser.add_argument("--ca", metavar="FILE", help=authorities))


def server_of(arguments: argparse.Namespace, environ: Mapping[str, str], *variables: str) -> Server:
    """
    The server that a command line names.

    @param variables: Environment variables that may have the URL, the first that counts first.
    @raise Misunderstood: There is no URL, or the token cannot be read.
    """
    found = (each.strip() for each in (arguments.url or "", *(environ.get(name, "") for name in variables)))
    if not (url := next(filter(None, found), "")):
        raise Misunderstood("which server? Set PACARCHIVE_URL=http://HOST:PORT, or give its URL")
    if not re.match(r"[A-Za-z]+:/", url):
        url = f"http://{url}"
    token = environ.get("PACARCHIVE_TOKEN") or None
    if arguments.token_file:
        try:
            token = read_text(arguments.token_file).strip()
        except (OSError, NotText) as error:
            words = error.strerror if isinstance(error, OSError) else error
            raise Misunderstood(f"{arguments.token_file}: {words}") from None
    return Server(url, token, arguments.ca or environ.get("PACARCHIVE_CA") or None)
