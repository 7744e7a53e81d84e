"""Digests: the algorithms, and how to compute several of them in one pass."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

from pacarchive import errors

Digests: TypeAlias = Mapping[str, bytes]
"""Raw digest bytes by algorithm name (L{ALGORITHMS})."""

Buffer: TypeAlias = bytes | bytearray | memoryview


class Hash(Protocol):
    """The methods of C{hashlib}'s objects that are used here."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class Adler32:
    """C{zlib.adler32} with the interface of C{hashlib}; the grid's usual checksum (RFC 1950, section 8.2)."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: Buffer, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


ALGORITHMS: Mapping[str, Callable[[], Hash]] = {
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "adler32": Adler32,
}
"""Every algorithm that can be computed or compared, by its name in settings and stored attributes."""

PRIMARY = "sha256"
"""The algorithm that is always computed and stored."""


class Hasher:
    """
    Computes several digests of one stream of bytes.  Only one thread at a time may use it.

    @param algorithms: Names of L{ALGORITHMS}.
    """

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._hashes = {name: ALGORITHMS[name]() for name in algorithms}
        self._updates = [each.update for each in self._hashes.values()]

    def update(self, data: Buffer) -> None:
        """Add bytes.  For more than 2 KiB the interpreter lock is released meanwhile."""
        for update in self._updates:
            update(data)

    def digests(self) -> dict[str, bytes]:
        """Return the digests of all bytes so far."""
        return {name: each.digest() for name, each in self._hashes.items()}

    def verified(self, expected: Digests) -> dict[str, bytes]:
        """
        Return the digests of all bytes so far, after comparing them with those that came with the bytes.

        @param expected: The digests that came with the bytes, of algorithms that are being computed.
        @raise errors.DigestMismatch: One of them differs.
        """
        digests = self.digests()
        for name, digest in expected.items():
            if digests[name] != digest:
                raise errors.DigestMismatch(
                    f"The {name} digest of the body is {digests[name].hex()}, not {digest.hex()} as given with it."
                )
        return digests
