"""Sums by which a store finds out that a body is not what was sent."""

from __future__ import annotations

import base64
import enum
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from pacarchive.backends.s3.request import UNSIGNED


class Check(enum.Enum):
    """By what a store finds out that a body is not what was sent; the cheapest that it heeds is used."""

    CRC32 = "CRC32"
    SHA256 = "signed SHA-256"
    MD5 = "Content-MD5"


@attrs.frozen
class Sum:
    """
    The sum of a body, for the store to compare.

    @ivar headers: The headers that carry it.
    @ivar sha256: What is signed for the body.
    @ivar part: What completes the description of a part.
    """

    headers: Mapping[str, str]
    sha256: str
    part: Mapping[str, str]


class Summing(Protocol):
    """Computes a sum of bytes as they come."""

    def update(self, data: bytes) -> None:
        """Add bytes."""

    def total(self) -> Sum:
        """The sum of all so far."""


class _Crc32:
    def __init__(self) -> None:
        self._crc = 0

    def update(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)

    def total(self) -> Sum:
        value = _encoded(self._crc.to_bytes(4, "big"))
        return Sum({"x-amz-checksum-crc32": value}, UNSIGNED, {"ChecksumCRC32": value})


class _Sha256:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.update = self._hash.update

    def total(self) -> Sum:
        return Sum({}, self._hash.hexdigest(), {})


class _Md5:
    def __init__(self, *, signed: bool) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)
        self._signed = hashlib.sha256() if signed else None

    def update(self, data: bytes) -> None:
        self._hash.update(data)
        if self._signed is not None:
            self._signed.update(data)

    def total(self) -> Sum:
        signed = UNSIGNED if self._signed is None else self._signed.hexdigest()
        return Sum({"Content-MD5": _encoded(self._hash.digest())}, signed, {})


def summing(check: Check, *, signed: bool) -> Summing:
    """
    Return what computes a sum.

    @param check: What the store heeds.
    @param signed: Whether the data is to be signed, where that does not come with the sum.
    """
    match check:
        case Check.CRC32:
            return _Crc32()
        case Check.SHA256:
            return _Sha256()
        case Check.MD5:
            return _Md5(signed=signed)


def small_sum(body: Sequence[bytes]) -> Sum:
    """The sum of a small body: both that nearly all stores heed one of."""
    both = _Md5(signed=True)
    for piece in body:
        both.update(piece)
    return both.total()


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
