"""Static tokens: C{pac_}, 256 random bits, and a check of them.

The file keeps their SHA-256 alone.  That needs no slow hash, as nobody guesses 256 bits; nor does the look-up tell
anything by its time, as the digest is what is looked up.  The check finds a token that was cut or mistyped without the
file, and makes leaked ones easy to find for scanners of secrets.  A line of the file::

    robot  sha256:2cf2...  read,create  expires=2027-01-31T00:00:00Z  ids=1000000-1999999
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pacarchive.access.identity import BadCredentials, How, Identity
from pacarchive.access.rights import IdRanges, Right, grant, parse_id_ranges, parse_rights
from pacarchive.runtime.files import read_file, replace_file
from pacarchive.texts import NotText, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "pac_"

_TOKEN = re.compile(r"pac_[A-Za-z0-9_-]{49}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_MODE = 0o640


def make_token() -> str:
    """A new token."""
    body = _text(os.urandom(32))
    return f"{PREFIX}{body}{_check(body)}"


def digest_of(token: str) -> str:
    """What the file has of a token."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def _check(body: str) -> str:
    return _text(zlib.crc32(body.encode("ascii")).to_bytes(4, "big"))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@attrs.frozen
class Token:
    """
    A line of the file.

    @ivar digest: SHA-256, in hexadecimal.
    @ivar expires: Seconds since the epoch; C{None} for never.
    """

    name: str
    digest: str
    rights: Right
    ids: IdRanges | None = None
    expires: float | None = None

    @property
    def line(self) -> str:
        """As the file has it."""
        words = [self.name, f"sha256:{self.digest}", str(self.rights).replace(" ", ",")]
        if self.expires is not None:
            words.append(f"expires={moment(self.expires)}")
        if self.ids is not None:
            words.append(f"ids={str(self.ids).replace(' ', '')}")
        return "  ".join(words)


def check_name(name: str) -> str:
    """
    The name of a token's holder.

    @raise ValueError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name; it has up to 100 letters, digits and . _ @ -")
    return name


def moment(seconds: float) -> str:
    """A moment, to the second, as the file has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; write for example 2027-01-31, or 2027-01-31T12:00:00Z") from None
    try:
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except OverflowError:
        raise ValueError(f"{text!r} is not between the years 1 and 9999") from None


def parse_line(text: str) -> Token | None:
    """
    A line of the file; C{None} where it is empty, or a comment.

    @raise ValueError: It is not well formed.  The message does not repeat what might be a token.
    """
    words = text.partition("#")[0].split()
    if not words:
        return None
    if len(words) < 3 or not (digest := _DIGEST.fullmatch(words[1])):
        raise ValueError('a line is NAME sha256:HEX RIGHTS; "pacarchive admin token create" makes one')
    ids, expires = None, None
    for option in words[3:]:
        key, _, value = option.partition("=")
        if key == "ids":
            ids = parse_id_ranges(value)
        elif key == "expires":
            expires = _moment(value)
        else:
            raise ValueError(f"{key!r} is neither expires= nor ids=")
    return Token(check_name(words[0]), digest[1], parse_rights(words[2]), ids, expires)


def parse_lines(text: str) -> Iterator[tuple[str, Token | None]]:
    """
    All lines, and what each means.

    @raise ValueError: One is not well formed; the message has its number.
    """
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield line, parse_line(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def load(path: Path) -> Mapping[str, Token]:
    """
    Read the file.  Blocks.

    @return: The tokens by their digests.
    @raise ValueError: It is not well formed.
    @raise OSError: It cannot be read.
    """
    found = [token for _, token in parse_lines(_text_of(path)) if token is not None]
    tokens: dict[str, Token] = {}
    for token in found:
        if token.digest in tokens:
            raise ValueError(f"{token.name} and {tokens[token.digest].name} are the same token")
        tokens[token.digest] = token
    return tokens


def identify(token: str, known: Mapping[str, Token], now: float) -> Identity:
    """
    Whose a token is.

    @raise BadCredentials: Nobody's.
    """
    if not _TOKEN.fullmatch(token) or _check(token[len(PREFIX) : -6]) != token[-6:]:
        raise BadCredentials("a static token that is damaged: its check characters are wrong")
    if (found := known.get(digest_of(token))) is None:
        raise BadCredentials("a static token that is not, or no longer, in the file")
    if found.expires is not None and now >= found.expires:
        words = f"The token of {found.name} expired at {moment(found.expires)}."
        raise BadCredentials(words, words)
    name = f"token:{found.name}"
    given = grant(found.rights, found.ids, f"the line of {found.name} in the file of tokens")
    return Identity(name, How.TOKEN, frozenset({name}), (given,), found.expires)


Edit = Callable[[list[tuple[str, Token | None]]], list[str]]
"""From the lines of the file, and what each means, to those that there are to be."""


def change(path: Path, edit: Edit) -> None:
    """
    Rewrite the file, with all of it or nothing, while nobody else does.  Blocks.

    @param edit: Says which lines there are to be.
    @raise ValueError: It is not well formed.
    @raise OSError: It cannot be written.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        mode, owner, text = _MODE, None, ""
        with suppress(FileNotFoundError):
            text, status = _text_of(path), os.stat(path)
            mode, owner = status.st_mode & 0o7777, (status.st_uid, status.st_gid)
        lines = edit(list(parse_lines(text)))
        replace_file(path, "".join(f"{line}\n" for line in lines).encode(), mode, owner)
    finally:
        os.close(directory)


def _text_of(path: Path) -> str:
    try:
        return decoded(read_file(path))
    except NotText as error:
        raise ValueError(str(error)) from None
