"""The contents of test files: bytes that are computed from the id, so that no copy of them has to be kept.

Every test file begins with a line that says that it is one.  So files that an earlier check has left can be
distinguished from all others, on every archive: see L{recognise}.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from email.utils import formatdate
from functools import cached_property

import attrs

from pacarchive.texts import counted

BLOCK = 1 << 20
"""The size in bytes of the blocks that contents are computed in."""

_HEAD = re.compile(
    rb"A test file of 'pacarchive check', which may be removed: id (?P<id>\d+), (?P<kind>text|binary) version"
    rb" (?P<version>\d+), (?P<size>\d+) bytes\.\n"
)

BEGINNING = b"A test file of 'pacarchive check', which may be removed: id "
"""How every test file begins."""

HEAD_LIMIT = 160
"""Bytes; the first line of a test file is shorter."""


@attrs.frozen(slots=False)
class Content:
    """
    The bytes of one version of one file.

    @ivar size: Its size in bytes.
    @ivar kind: C{text} or C{binary}.
    @ivar version: A number; each has other bytes.
    """

    file_id: int
    size: int
    kind: str = "binary"
    version: int = 0

    @property
    def head(self) -> bytes:
        """The first line, which identifies the file as a test file."""
        return (
            f"A test file of 'pacarchive check', which may be removed: id {self.file_id}, {self.kind} version"
            f" {self.version}, {self.size} bytes.\n"
        ).encode("ascii")

    @cached_property
    def _base(self) -> bytes:
        size = min(self.size, BLOCK)
        if self.kind == "text":
            lines = "".join(
                f"line {number} of file {self.file_id}: Größe, 大きさ, \t\"'\\\r\n" for number in range(size // 40 + 1)
            )
            return lines.encode()[:size]
        return hashlib.shake_256(self.head).digest(size)

    def _block(self, number: int) -> bytes:
        """Return block C{number}: L{BLOCK} bytes, or the whole contents of a smaller file."""
        base = self._base
        if number:
            # No two blocks are equal, so that one in the place of another is noticed.
            turn = number * 7919 % len(base)
            return (number.to_bytes(8, "big") + base[turn + 8 :] + base[:turn])[: len(base)]
        return (self.head[: self.size] + base[len(self.head) :])[: self.size]

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from C{start} to before C{end}, as far as the file has them."""
        end = min(end, self.size)
        pieces = []
        while start < end:
            number, offset = divmod(start, BLOCK)
            piece = self._block(number)[offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def blocks(self) -> Iterator[bytes]:
        """Return all bytes, block by block."""
        for start in range(0, self.size, BLOCK):
            yield self.read(start, start + BLOCK)

    @cached_property
    def whole(self) -> bytes:
        """All bytes at once, for small files."""
        return self.read(0, self.size)

    @cached_property
    def sha256(self) -> bytes:
        """The SHA-256 digest."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.digest()


class Comparison:
    """
    Compares the bytes that are received with those of a test file.

    @param content: What the file should contain.
    @param start: The offset of the first byte that is expected.
    @param end: The offset behind the last; C{None} for the end of the file.
    @ivar position: The offset behind the last byte that was received.
    @ivar wrong_at: The offset of the first wrong byte.
    """

    def __init__(self, content: Content, start: int = 0, end: int | None = None) -> None:
        self._content = content
        self._start = start
        self._end = content.size if end is None else min(end, content.size)
        self._number = -1
        self._block = b""
        self.position = start
        self.wrong_at: int | None = None

    def feed(self, data: bytes) -> None:
        """Compare the next bytes."""
        taken = 0
        while taken < len(data) and self.wrong_at is None:
            number, offset = divmod(self.position + taken, BLOCK)
            if number != self._number:
                self._number, self._block = number, self._content.read(number * BLOCK, (number + 1) * BLOCK)
            expected = self._block[offset : offset + len(data) - taken]
            if not expected:
                self.wrong_at = self.position + taken
                break
            came = data[taken : taken + len(expected)]
            if came != expected:
                first = next(index for index, pair in enumerate(zip(came, expected, strict=True)) if pair[0] != pair[1])
                self.wrong_at = self.position + taken + first
            taken += len(expected)
        self.position += len(data)

    @property
    def trouble(self) -> str | None:
        """What is wrong, as text, once all has been received; C{None} if nothing is."""
        if self.wrong_at is not None and self.wrong_at < self._end:
            return f"byte {self.wrong_at} is wrong"
        if self.position != self._end:
            return f"{counted(self.position - self._start, 'byte')} came instead of {self._end - self._start}"
        return None


def recognise(file_id: int, head: bytes) -> Content | None:
    """
    Recognise a test file by its first line.

    @param head: The file's first L{HEAD_LIMIT} bytes, or all if there are fewer.
    @return: The contents that it should have; C{None} if it is not a test file of this id.
    """
    found = _HEAD.match(head)
    if found is None or int(found["id"]) != file_id:
        return None
    return Content(file_id, int(found["size"]), found["kind"].decode("ascii"), int(found["version"]))


def http_date(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as HTTP writes it (RFC 9110, section 5.6.7)."""
    return formatdate(seconds, usegmt=True)
