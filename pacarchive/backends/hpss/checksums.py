"""Digests as user-defined attributes of HPSS, in the form that hpsssum, HSI and Globus read and write.

That form has room for one digest, which is the archive's primary one; the others are listed in an attribute of the
archive's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from pacarchive.digests import ALGORITHMS, PRIMARY, Digests

_ROOT = "/hpss/user/cksum/"
_VALID = "Valid"

STANDARD_KEYS = tuple(_ROOT + name for name in ("algorithm", "checksum", "filesize", "state"))
"""The keys of the common form that a reader needs; every writer of it sets these."""

OTHERS_KEY = "/hpss/user/pacarchive/digests"
"""
The key of further digests: C{"beside=<checksum> md5=<hex> adler32=<hex>"}.  They are of the bytes that have this
checksum in the common form; when another program stores another checksum there, they are out of date.
"""

_BESIDE = "beside"


def to_attributes(digests: Digests, size: int, now: int) -> dict[str, str]:
    """
    Return the attributes of a file that hold its digests.

    @param digests: The primary one, and perhaps others.
    @param size: The file's size in bytes.
    @param now: The time in seconds since the epoch.
    """
    return {
        _ROOT + "algorithm": PRIMARY,
        _ROOT + "checksum": digests[PRIMARY].hex(),
        _ROOT + "lastupdate": str(now),
        _ROOT + "errors": "0",
        _ROOT + "state": _VALID,
        _ROOT + "app": "pacarchive",
        _ROOT + "filesize": str(size),
        OTHERS_KEY: _listed(digests[PRIMARY].hex(), {name: digests[name] for name in digests if name != PRIMARY}),
    }


def added(values: Mapping[str, str], digests: Digests, size: int, now: int) -> dict[str, str]:
    """
    Return the attributes to set so that a file has further digests.  A valid checksum of another program stays as it
    is.

    @param values: The attributes that the file has.
    @param digests: The digests to add, with the primary one.
    @param size: The file's size in bytes.
    @param now: The time in seconds since the epoch.
    """
    found = from_attributes(values, size)
    is_nonsense = _algorithm(values) in ALGORITHMS and _algorithm(values) not in found
    if not _is_valid(values, size) or is_nonsense:
        return to_attributes(digests, size, now)
    others = {**found, **digests}
    others.pop(_algorithm(values), None)
    return {OTHERS_KEY: _listed(_checksum(values), others)}


def from_attributes(values: Mapping[str, str], size: int) -> dict[str, bytes]:
    """
    Return the digests in attributes, which other programs may have written.

    @param size: The file's size now, in bytes: digests that were stored with another size are of other contents.
    @return: Those that are valid and of a known algorithm.
    """
    if not _is_valid(values, size):
        return {}
    others = [item.partition("=")[::2] for item in values.get(OTHERS_KEY, "").split()]
    found = [(_algorithm(values), _checksum(values))]
    if (_BESIDE, _checksum(values)) in others:
        found += others
    digests = {}
    for algorithm, text in found:
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            continue
        if algorithm in ALGORITHMS and len(digest) == len(ALGORITHMS[algorithm]().digest()):
            digests[algorithm] = digest
    return digests


def _is_valid(values: Mapping[str, str], size: int) -> bool:
    return (
        values.get(_ROOT + "state", "").lower() == _VALID.lower()
        and values.get(_ROOT + "filesize") == str(size)
        and _checksum(values).split() == [_checksum(values)]
    )


def _algorithm(values: Mapping[str, str]) -> str:
    """Return the algorithm by the name that it has here; other programs write C{"SHA1"} or C{"sha-1"} as well."""
    return values.get(_ROOT + "algorithm", "").lower().replace("-", "")


def _checksum(values: Mapping[str, str]) -> str:
    return values.get(_ROOT + "checksum", "").lower()


def _listed(checksum: str, digests: Digests) -> str:
    items = [(name, digest.hex()) for name, digest in sorted(digests.items())]
    return " ".join(f"{name}={text}" for name, text in [(_BESIDE, checksum), *items])
