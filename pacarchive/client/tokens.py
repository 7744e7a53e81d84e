"""Bearer tokens: their syntax, and where they are read from."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs

from pacarchive.client.errors import TokenUnusable
from pacarchive.texts import NotText, decoded

TokenSource: TypeAlias = Callable[[], "str | None"]
"""A function that reads a token, called in a thread: before the first request, and when the archive has refused the
token that it returned before.  It returns C{None} where there is none."""

LONGEST = 64 << 10
"""How many bytes a file with a token may have; no server takes as long a header."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # RFC 6750, 2.1
_BLANKS = " \t\n\v\f\r"
"""What the discovery strips: the white space of C."""

_TEMPORARY = "/tmp"  # noqa: S108  (that very place: other programs put it there)


def is_token(text: str) -> bool:
    """Whether a text looks like a bearer token."""
    return _TOKEN.fullmatch(text) is not None


def _as_text(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


@attrs.frozen
class TokenFile:
    """
    Reads the token in a file; a L{TokenSource}.

    What is not a regular file, such as the C{/dev/fd/63} of a shell's C{<(command)}, is read only once.
    """

    path: str = attrs.field(converter=_as_text)
    _spent: list[str] = attrs.field(factory=list, repr=False, eq=False, init=False)

    def __call__(self) -> str:
        """
        Read it.

        @raise OSError: The file cannot be read.
        @raise TokenUnusable: What it has is no token.
        """
        if self._spent:
            return self._spent[0]
        with open(self.path, "rb") as file:
            token = _only(file.read(LONGEST + 1), self.path)
            if not token:
                raise TokenUnusable(f"{self.path} is empty, and contains no token.")
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self._spent.append(token)
        return token


def discovered_token(environ: Mapping[str, str] | None = None) -> str | None:
    """
    Find a token as the tools of the WLCG do (WLCG Bearer Token Discovery); a L{TokenSource}.

    It is the value of C{$BEARER_TOKEN}, else in the file that C{$BEARER_TOKEN_FILE} names, else in the file C{bt_uID}
    of C{$XDG_RUNTIME_DIR}, else in that of C{/tmp}, where C{ID} is the effective user id.  What is empty or missing is
    skipped, and so are, in the last two places, links and files of other users.

    @param environ: The environment; that of the process by default.
    @raise OSError: C{$BEARER_TOKEN_FILE} exists, and cannot be read.
    @raise TokenUnusable: The first that is not empty is not a valid token.
    """
    return next((token for token in _found(os.environ if environ is None else environ) if token), None)


def _found(environ: Mapping[str, str]) -> Iterator[str]:
    yield _checked(environ.get("BEARER_TOKEN", "").strip(_BLANKS), "$BEARER_TOKEN")
    if path := environ.get("BEARER_TOKEN_FILE"):
        with suppress(FileNotFoundError, NotADirectoryError):
            yield _only(Path(path).read_bytes(), path)
    for directory in filter(None, (environ.get("XDG_RUNTIME_DIR"), _TEMPORARY)):
        yield _own(f"{directory}/bt_u{os.geteuid()}")


def _own(path: str) -> str:
    """
    The token in a file of this user, in a directory that other users can write to; empty where there is none.

    @raise TokenUnusable: The file contains something else.
    """
    try:
        # A link of somebody else could lead to another secret of this user, and a pipe would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
            return ""
        data = os.read(descriptor, LONGEST + 1)
    finally:
        os.close(descriptor)
    return _only(data, path)


def _only(data: bytes, where: str) -> str:
    """The token in the contents of a file; empty where there is only white space."""
    try:
        return _checked(decoded(data).strip(_BLANKS), where)
    except NotText as error:
        raise TokenUnusable(f"{where}: {error}", reason=str(error)) from None


def _checked(token: str, where: str) -> str:
    if token and (len(token) > LONGEST or not is_token(token)):
        # The message must not contain it.
        raise TokenUnusable(f"{where} contains no valid bearer token: letters, digits and -._~+/= only.")
    return token
