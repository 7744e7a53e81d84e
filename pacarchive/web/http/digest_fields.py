"""Digests in headers and trailers: C{Content-MD5}, RFC 3230 and RFC 9530.

RFC 3230 (C{Digest}, C{Want-Digest}) is what the grid's tools and download managers speak; RFC 9530
(C{Content-Digest}, C{Repr-Digest}, C{Want-Repr-Digest}) is the present standard.  The content of a PUT and the
representation are the same bytes, as nothing is ever encoded.  Outside this module algorithms have the names of
L{pacarchive.digests.ALGORITHMS}.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

from pacarchive.digests import ALGORITHMS, PRIMARY
from pacarchive.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pacarchive.digests import Digests

# The registered names, and those that senders write instead.
_RFC_3230_NAMES = {
    "md5": "md5", "sha": "sha1", "sha-1": "sha1", "sha1": "sha1", "sha-256": "sha256", "sha256": "sha256",
    "sha-512": "sha512", "sha512": "sha512", "adler32": "adler32",
}  # fmt: skip
_RFC_9530_NAMES = {**_RFC_3230_NAMES, "adler": "adler32"}
_SIZES = {name: len(make().digest()) for name, make in ALGORITHMS.items()}

_TRAILER_ALGORITHMS = {
    "content-md5": frozenset(("md5",)),
    "digest": frozenset(_RFC_3230_NAMES.values()),
    "content-digest": frozenset(("sha256", "sha512")),
    "repr-digest": frozenset(("sha256", "sha512")),
}

# An element of Digest (RFC 3230, section 4.3.2).
_INSTANCE_DIGEST = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(.*))?", re.DOTALL)
_ADLER32_VALUE = re.compile(r"[0-9A-Fa-f]{1,8}")

# RFC 9110, section 12.4.2, as RFC 3230 uses it.
_WANTED = re.compile(r"[ \t]*([A-Za-z0-9-]+)[ \t]*(?:;[ \t]*[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?")

# A member of a dictionary (RFC 9651, section 3.2).  Inner lists, strings and parameters are none of a digest's, but an
# unknown algorithm may have them, and their commas separate nothing.  Possessive, so that nonsense costs no more than
# one pass.
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_STRING = r'"(?:[^"\\]|\\.)*+"'
_BARE_ITEM = rf':[A-Za-z0-9+/=]*+:|{_STRING}|[^ \t,;:"()]++[^ \t,;"()]*+'
_INNER_LIST = rf'\((?:{_STRING}|[^"()])*+\)'
_PARAMETERS = rf"(?:;[ ]*+{_KEY}(?:=(?:{_BARE_ITEM}))?+)*+"
_MEMBER = re.compile(rf"({_KEY})(?:=({_BARE_ITEM}|{_INNER_LIST}))?+{_PARAMETERS}[ \t]*+(?:,[ \t]*+|\Z)")
_PREFERENCE = re.compile(r"10|[1-9]")


def expected_digests(get: Callable[[str], Sequence[str]]) -> dict[str, bytes]:
    """
    Gather the digests that a sender gives for its bytes.

    Unknown algorithms are ignored.  Nothing else is: a sender that asks for a check must not believe that one
    was made.

    @param get: All values of a header, or trailer, by its name; empty when it is absent.
    @return: Raw digests by algorithm.
    @raise InvalidRequest: A value is not well formed, or two values for one algorithm differ.
    """
    expected: dict[str, bytes] = {}
    for value in get("Content-MD5"):
        _expect(expected, "md5", _from_base64("md5", value.strip(" \t")))
    for value in get("Digest"):
        for name, encoded in _instance_digests(value):
            algorithm = _RFC_3230_NAMES.get(name.lower())
            if algorithm is not None:
                decode = _from_hex if algorithm == "adler32" else _from_base64
                _expect(expected, algorithm, decode(algorithm, encoded))
    for field in ("Content-Digest", "Repr-Digest"):
        for value in get(field):
            for key, item in _dictionary(field, value):
                algorithm = _RFC_9530_NAMES.get(key)
                if algorithm is not None:
                    if not item.startswith(":"):
                        raise InvalidRequest(f"a digest in {field} is base64 between colons ({key}=:...:)")
                    _expect(expected, algorithm, _from_base64(algorithm, item[1:-1]))
    return expected


def announced_fields(values: Sequence[str]) -> frozenset[str]:
    """
    Which fields with digests a sender announces for after its body; others mean nothing here.

    @param values: All values of the C{Trailer} header.
    @return: Their names, in small letters.
    """
    names = {name.strip(" \t").lower() for value in values for name in value.split(",")}
    return frozenset(names & _TRAILER_ALGORITHMS.keys())


def trailer_algorithms(announced: Collection[str]) -> frozenset[str]:
    """
    Which digests a sender can demand after its body.

    Of RFC 9530 only the two algorithms that are not deprecated count: a deprecated one that comes in such a
    trailer was not computed.

    @param announced: As L{announced_fields} has them.
    @return: The algorithms that must be computed while the body passes.
    """
    return frozenset[str]().union(*(_TRAILER_ALGORITHMS[name] for name in announced))


def repr_digest_field(digests: Digests) -> str:
    """The C{Repr-Digest} of the digest that every new file has."""
    return _member("sha-256", digests[PRIMARY])


def repr_digest(digests: Digests, want: Sequence[str]) -> str | None:
    """
    Answer C{Want-Repr-Digest}.

    @param digests: The digests that are known.
    @param want: All values of the header.  One that is not well formed does not count.
    @return: C{Repr-Digest} with the wanted digests, best liked first; C{None} when none is known.
    """
    if not want:
        return None
    preferences: dict[str, int] = {}
    for value in want:
        try:
            members = _dictionary("Want-Repr-Digest", value)
        except InvalidRequest:
            continue
        preferences.update((key, int(item) if _PREFERENCE.fullmatch(item) else 0) for key, item in members)
    known = [
        _member(name, digests[algorithm])
        for name, preference in sorted(preferences.items(), key=lambda each: -each[1])
        if preference > 0 and (algorithm := _RFC_9530_NAMES.get(name)) is not None and algorithm in digests
    ]
    return ", ".join(known) or None


def digest(digests: Digests, want: Sequence[str]) -> str | None:
    """
    Answer C{Want-Digest}.

    @param digests: The digests that are known.
    @param want: All values of the header.  An element that is not well formed does not count.
    @return: C{Digest} with the wanted digests, best liked first; C{None} when none is known.  Each has the
        name that the client gave it, and no space follows a comma: davix looks for just this.
    """
    if not want:
        return None
    wanted = []
    for element in ",".join(want).split(","):
        match = _WANTED.fullmatch(element)
        if match is not None and (quality := float(match[2] or 1)) > 0:
            wanted.append((-quality, match[1]))
    wanted.sort(key=lambda each: each[0])
    known: dict[str, str] = {}
    for _, name in wanted:
        algorithm = _RFC_3230_NAMES.get(name.lower())
        if algorithm is not None and algorithm in digests:
            raw = digests[algorithm]
            known.setdefault(algorithm, f"{name}={raw.hex() if algorithm == 'adler32' else _to_base64(raw)}")
    return ",".join(known.values()) or None


def _expect(expected: dict[str, bytes], algorithm: str, value: bytes) -> None:
    if expected.setdefault(algorithm, value) != value:
        raise InvalidRequest(f"two different {algorithm} digests are given for the same bytes")


def _instance_digests(text: str) -> list[tuple[str, str]]:
    """
    Split a value of C{Digest} into names and values.

    @raise InvalidRequest: It is not well formed, so that a digest in there may not be seen.
    """
    elements = []
    for element in filter(None, (each.strip(" \t") for each in text.split(","))):
        if (match := _INSTANCE_DIGEST.fullmatch(element)) is None:
            raise InvalidRequest("Digest is not well formed; it reads like sha-256=..., with base64")
        elements.append((match[1], match[2] or ""))
    return elements


def _dictionary(field: str, text: str) -> list[tuple[str, str]]:
    """
    Split a dictionary of RFC 9651 into keys and the text of their values, parameters left out.

    @raise InvalidRequest: The text is no dictionary.
    """
    text = text.strip(" \t")
    members = []
    position = 0
    while position < len(text):
        match = _MEMBER.match(text, position)
        if match is None:
            raise InvalidRequest(f"{field} is not well formed; it reads like sha-256=:...:, with base64 between colons")
        members.append((match[1], match[2] or ""))
        position = match.end()
    return members


def _member(name: str, value: bytes) -> str:
    return f"{name}=:{_to_base64(value)}:"


def _to_base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _from_base64(algorithm: str, text: str) -> bytes:
    text = text.rstrip("=")
    try:
        # RFC 9651, section 4.2.7: missing padding is no reason to fail.
        value = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        value = b""
    if len(value) != _SIZES[algorithm]:
        raise InvalidRequest(f"the given {algorithm} digest is not {_SIZES[algorithm]} bytes in base64")
    return value


def _from_hex(algorithm: str, text: str) -> bytes:
    if _ADLER32_VALUE.fullmatch(text) is None:
        raise InvalidRequest(f"the given {algorithm} digest is not up to 8 hexadecimal digits")
    return bytes.fromhex(text.zfill(8))
