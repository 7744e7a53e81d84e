"""Services that want to know who asks, with a token that is good and credentials that are not."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import attrs
import bcrypt

from pacarchive.access.rights import parse_rights
from pacarchive.access.tokens import Token, digest_of, make_token


@attrs.frozen
class Guard:
    """
    What is known of such a service.

    @ivar settings: Lines for its settings.
    @ivar good: What is to be presented in C{Authorization}.
    @ivar bad: What nothing may come of.
    """

    settings: str
    good: str
    bad: Sequence[str]

    @property
    def fields(self) -> dict[str, str]:
        """The field of a request with what is good."""
        return {"Authorization": self.good}


def guarded(directory: Path) -> Guard:
    """
    Make the files of tokens and of users.

    @param directory: Gets them.
    """
    token = make_token()
    (directory / "tokens").write_text(f"{Token('good', digest_of(token), parse_rights('all')).line}\n")
    (directory / "users").write_text(f"ada:{bcrypt.hashpw(b'lovelace', bcrypt.gensalt(4)).decode()}\n")
    bad = [
        f"Bearer {make_token()}", f"Bearer {token[:-1]}", f"Bearer {token}, Bearer {token}", "Bearer", "",
        "Bearer eyJhbGciOiJub25lIn0.e30.", f"Basic {b64encode(b'ada:byron').decode()}", f"Digest {token}", token,
    ]  # fmt: skip
    settings = f"[auth]\ntokens = {directory}/tokens\nhtpasswd = {directory}/users\n"
    return Guard(settings, f"Bearer {token}", bad)
