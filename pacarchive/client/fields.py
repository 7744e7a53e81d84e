"""Header fields: those that a client sends and reads."""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs
from twisted.web.http import stringToDatetime

from pacarchive.times import SECOND, parse_iso

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

    from pacarchive.digests import Digests

_REPR_NAMES = {"sha256": "sha-256", "sha512": "sha-512"}
_DIGEST_NAMES = {"md5": "MD5", "sha1": "SHA", "adler32": "adler32"}
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5", "sha": "sha1", "adler": "adler32"}
_MEMBER = re.compile(r"([a-z0-9*_.-]+)=:([A-Za-z0-9+/]+={0,2}):")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,20})-(\d{1,20})|\*)/(\d{1,20})", re.ASCII)
_ENCODED = re.compile(r"%(?:[01][0-9A-F]|7F|[89A-F][0-9A-F])")
_FLOAT = re.compile(r"-?\d{1,12}(?:\.\d{1,20})?", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_CHALLENGE = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:(\s*=\s*)(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?""", re.ASCII)
_JOB = re.compile(r"<[^>]*/jobs/([0-9a-f]{32})>[^,]*rel=\"?monitor")


def field(headers: Headers, name: str) -> str:
    """The values of a field, as one; empty where there is none."""
    return ", ".join(value.decode("latin-1") for value in headers.getRawHeaders(name.encode("ascii"), []))


def parse_challenges(text: str) -> list[tuple[str, dict[str, str]]]:
    """The challenges of C{WWW-Authenticate}, in order: each scheme, as it is written, with its parameters."""
    found: list[tuple[str, dict[str, str]]] = []
    for name, equals, quoted, plain in _CHALLENGE.findall(text):
        if not equals:
            found.append((name, {}))
        elif found:
            found[-1][1].setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted))
    return found


def digest_fields(digests: Digests) -> dict[str, str]:
    """The fields that demand a check of digests: RFC 9530 where it has a name that is not deprecated, else RFC 3230."""
    fields = {}
    if members := [f"{_REPR_NAMES[name]}=:{_base64(raw)}:" for name, raw in digests.items() if name in _REPR_NAMES]:
        fields["Repr-Digest"] = ", ".join(members)
    others = [
        f"{_DIGEST_NAMES[name]}={raw.hex() if name == 'adler32' else _base64(raw)}"
        for name, raw in digests.items()
        if name in _DIGEST_NAMES
    ]
    if others:
        fields["Digest"] = ",".join(others)
    return fields


def announced(algorithms: Collection[str]) -> str:
    """The C{Trailer} field for digests of these algorithms."""
    return ", ".join(digest_fields(dict.fromkeys(algorithms, b"")))


def parse_repr_digest(text: str) -> dict[str, bytes]:
    """The digests in a C{Repr-Digest}; what cannot be read is left out."""
    digests = {}
    for key, value in _MEMBER.findall(text):
        if (algorithm := _ALGORITHMS.get(key)) is not None:
            try:
                digests[algorithm] = binascii.a2b_base64(value, strict_mode=True)
            except ValueError:
                continue
    return digests


@attrs.frozen
class ContentRange:
    """
    The C{Content-Range} of an answer.

    @ivar start: The first byte; C{None} in the answer that there is none.
    @ivar end: The byte behind the last.
    @ivar size: That of the whole file.
    """

    start: int | None
    end: int | None
    size: int


def parse_content_range(text: str) -> ContentRange | None:
    """Read a C{Content-Range}; C{None} where it makes no sense."""
    if (match := _CONTENT_RANGE.fullmatch(text)) is None:
        return None
    first, last, size = match.groups()
    if first is None:
        return ContentRange(None, None, int(size))
    start, end = int(first), int(last) + 1
    return ContentRange(start, end, int(size)) if start < end <= int(size) else None


def parse_mtime(field: Callable[[str], str]) -> int | None:
    """
    The time of modification of the version that an answer to HEAD or GET is about.

    @param field: Gives a header field of the answer; empty where there is none.
    @return: Nanoseconds since the epoch; whole seconds where the archive does not tell it to the nanosecond, and
        C{None} where it tells nothing that can be read.
    """
    exact = parse_iso(field("X-Pacarchive-Mtime"))
    if exact is not None:
        return exact
    text = field("Last-Modified")
    try:
        if _FLOAT.fullmatch(text):
            rest, seconds = math.modf(float(text))
            return int(seconds) * SECOND + round(rest * 1e9)
        return int(stringToDatetime(text.encode("latin-1"))) * SECOND
    except (ValueError, KeyError, IndexError):
        return None


def parse_path(text: str) -> str:
    """
    The path in C{X-Pacifica-File}.  One with other letters than those of ASCII is percent-encoded, and any other is as
    it is: that some byte in it needs the encoding tells which.
    """
    return unquote(text, errors="surrogateescape") if _ENCODED.search(text) else text


def parse_retry_after(text: str, otherwise: float) -> float:
    """The seconds of a C{Retry-After}."""
    return float(text) if _SECONDS.fullmatch(text) else otherwise


def parse_monitor(text: str) -> str | None:
    """The job in a C{Link} that says where a recall can be watched.  Of the URL nothing else is used."""
    match = _JOB.search(text)
    return match[1] if match else None


def parse_levels(text: str) -> Sequence[int]:
    """The predecessor's tuple of bytes on each level, C{(0, 36)}."""
    return tuple(int(each) for each in re.findall(r"\d+", text, re.ASCII))


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")
