"""An issuer's public keys: read from a JSON Web Key Set (RFC 7517), and kept in a file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.runtime.directories import make_durable
from pacarchive.runtime.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from joserfc.jwk import Key

LARGEST = 256 << 10
"""The most bytes of a key set, or of another document of an issuer's."""

LEAST_RSA_BITS = 2048

_KINDS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth")
_KEPT = ("kty", "kid", "alg", "use")


@attrs.frozen
class KeySet:
    """
    Public keys.

    @ivar keys: By their C{kid}.
    @ivar public: The same as JSON Web Keys, without all that is not needed.
    """

    keys: Mapping[str, Key]
    public: tuple[Mapping[str, str], ...]


def parse_key_set(data: bytes) -> KeySet:
    """
    Read a key set.  Keys that nothing could be signed with for us are left out: those for encryption, symmetric ones,
    such without a C{kid}, RSA below L{LEAST_RSA_BITS} bits, and kinds that are not known.

    @raise ValueError: It is none, it holds a private key, or no key of it is left.
    """
    entries = read_json_object(data, "the key set").get("keys")
    if not isinstance(entries, list):
        raise ValueError("the key set has no list of keys")  # noqa: TRY004  (of what was read, not a caller's mistake)
    found: dict[str, Key] = {}
    public = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        kind = str(entry.get("kty"))
        if kind in _KINDS and any(each in entry for each in _PRIVATE):
            raise ValueError("the key set holds a private key, which everyone must be taken to know now")
        if (key := _key(entry)) is not None and entry["kid"] not in found:
            found[entry["kid"]] = key
            public.append({name: entry[name] for name in (*_KEPT, *_KINDS[kind]) if name in entry})
    if not found:
        raise ValueError("the key set has no key that signatures could be verified with")
    return KeySet(found, tuple(public))


def _key(entry: dict[str, Any]) -> Key | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key
    from joserfc.util import base64_to_int

    kind, kid, operations = entry.get("kty"), entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _KINDS or not isinstance(kid, str) or not kid:
        return None
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    wanted = {name: entry[name] for name in (*_KEPT, *_KINDS[kind]) if name in entry}
    try:
        if kind == "RSA" and base64_to_int(entry["n"]).bit_length() < LEAST_RSA_BITS:
            return None
        key = import_key(wanted)
        key.get_op_key("verify")  # made now, and not with the first token
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    return key


def read_json_object(data: bytes, what: str) -> dict[str, Any]:
    """
    Read a document of an issuer's.

    @param what: What it is, in words.
    @raise ValueError: It is no JSON object, or larger than L{LARGEST}.
    """
    if len(data) > LARGEST:
        raise ValueError(f"{what} has more than {LARGEST >> 10} KiB")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f"{what} is no JSON object")  # noqa: TRY004
    return found


def keep(path: str, issuer: str, fetched: float, keys: KeySet) -> None:
    """
    Write keys into a file, which at every moment has either what it had or what it is to have.

    @param issuer: Whose they are: its URL.
    @param fetched: When they were fetched, in seconds since the epoch.
    @raise OSError: It cannot be written; the file is as it was.
    """
    make_durable(os.path.dirname(path))
    document = {"issuer": issuer, "fetched": fetched, "keys": keys.public}
    replace_file(path, json.dumps(document, indent=1).encode("ascii"), 0o644)


def kept(path: str, issuer: str) -> tuple[float, KeySet] | None:
    """
    Read what L{keep} wrote.

    @return: When the keys were fetched, and they; C{None} where there are none of this issuer.
    @raise ValueError: The file is damaged.
    @raise OSError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    found = read_json_object(data, path)
    fetched = found.get("fetched")
    if found.get("issuer") != issuer:
        return None
    if not isinstance(fetched, int | float):
        raise ValueError(f"{path} does not say when its keys were fetched")  # noqa: TRY004
    return float(fetched), parse_key_set(data)
