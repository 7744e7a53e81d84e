"""L{pacarchive.digests}."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.digests import ALGORITHMS, PRIMARY, Hasher

REFERENCES: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "md5": lambda data: hashlib.md5(data).digest(),
    "adler32": lambda data: zlib.adler32(data).to_bytes(4, "big"),
}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("sha256", "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069"),
        ("sha1", "2ef7bde608ce5404e97d5f042f95f89f1c232871"),
        ("md5", "ed076287532e86365e841e92bfc50d8c"),
        ("adler32", "1c49043e"),
    ],
)
def test_known_digests(name: str, digest: str) -> None:
    """The published values for C{Hello World!}."""
    hasher = Hasher([name])
    hasher.update(b"Hello World!")
    assert hasher.digests()[name].hex() == digest


@given(st.lists(st.binary(max_size=5000), max_size=8), st.sets(st.sampled_from(sorted(ALGORITHMS))))
def test_it_does_not_matter_how_it_is_cut(pieces: list[bytes], names: set[str]) -> None:
    """All digests that were asked for, and no others, of all bytes together."""
    hasher = Hasher(names)
    for piece in pieces:
        hasher.update(piece)
    expected = {name: REFERENCES[name](b"".join(pieces)) for name in names}
    assert hasher.digests() == expected
    assert hasher.digests() == expected
    hasher.update(b"more")
    assert hasher.digests() == {name: REFERENCES[name](b"".join([*pieces, b"more"])) for name in names}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    """What the transport or the disk gives is hashed without a copy."""
    hasher = Hasher(ALGORITHMS)
    hasher.update(kind(b"words"))
    assert hasher.digests() == {name: reference(b"words") for name, reference in REFERENCES.items()}


def test_every_algorithm_is_tested_here() -> None:
    """The primary one is among them."""
    assert set(ALGORITHMS) == set(REFERENCES)
    assert PRIMARY in ALGORITHMS


def test_an_unknown_algorithm() -> None:
    """Is no silent gap."""
    with pytest.raises(KeyError):
        Hasher(["crc"])
