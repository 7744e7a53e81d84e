"""An issuer in memory: its keys, and the tokens that it signs."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, TypeVar

from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from joserfc.jwk import Key

T = TypeVar("T")

URL = "https://issuer.example/wlcg"
HERE = "https://archive.example.org"
NOW = 1_800_000_000

KEYS: dict[str, Key] = {
    "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
    "ec384": ECKey.generate_key("P-384", {"kid": "ec384"}),
    "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
"""Another's key, of the same id."""


def jwks(*kids: str, **more: Any) -> bytes:
    """The key set that the issuer publishes, with what more entries have."""
    return json.dumps({"keys": [{**KEYS[kid].as_dict(private=False), **more} for kid in kids or KEYS]}).encode()


def wlcg(**changes: Any) -> dict[str, Any]:
    """The claims of a token of the WLCG profile; C{None} leaves one out, C{__} in its name stands for a dot."""
    claims = {
        "wlcg.ver": "1.0",
        "iss": URL,
        "sub": "5b2a",
        "aud": HERE,
        "iat": NOW - 60,
        "nbf": NOW - 60,
        "exp": NOW + 3600,
        "jti": "a1b2c3",
        "scope": "storage.read:/",
    }
    claims.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in claims.items() if value is not None}


def scitoken(**changes: Any) -> dict[str, Any]:
    """The same of a SciToken."""
    claims = {"ver": "scitoken:2.0", "iss": URL, "sub": "alice", "aud": HERE, "exp": NOW + 3600, "scope": "read:/"}
    return {name: value for name, value in (claims | changes).items() if value is not None}


def sign(claims: dict[str, Any], algorithm: str = "RS256", kid: str | None = "rsa", *, key: Key | None = None,
         **header: Any) -> str:  # fmt: skip
    """Sign a token as the issuer does; a field of C{None} is left out of its header."""
    fields = {"typ": "JWT", "alg": algorithm, "kid": kid, **header}
    return jwt.encode(
        {name: value for name, value in fields.items() if value is not None}, claims, key or KEYS[kid or "rsa"],
        registry=jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False), default_type=None,
    )  # fmt: skip


def unsigned(header: Any, claims: Any, signature: bytes = b"nothing") -> str:
    """What anybody can write."""
    return ".".join(encoded(each if isinstance(each, bytes) else json.dumps(each).encode())
                    for each in (header, claims, signature))  # fmt: skip


def encoded(data: bytes) -> str:
    """As it stands in a token."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def secret() -> Key:
    """A key that both sides have."""
    return OctKey.generate_key(256, {"kid": "rsa"})


def done(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, or raises, that has nothing to wait for."""
    ended: list[T | Failure] = []
    Deferred.fromCoroutine(work).addBoth(ended.append)
    assert ended, "it waits for something"
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    return ended[0]
