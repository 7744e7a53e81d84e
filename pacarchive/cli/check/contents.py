"""What the files of a check hold: bytes that follow from the id, so that no copy of them has to be kept.

Every file begins with a line that says whose it is.  So what an earlier check has left is told from what others have
stored, on every archive: see L{recognise}.
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
"""How many bytes are made at once."""

_HEAD = re.compile(
    rb"A test file of 'pacarchive check', which may be removed: id (?P<id>\d+), (?P<kind>text|binary) version"
    rb" (?P<version>\d+), (?P<size>\d+) bytes\.\n"
)

BEGINNING = b"A test file of 'pacarchive check', which may be removed: id "
"""How all of them begin."""

HEAD_LIMIT = 160
"""The first line is shorter than that."""


@attrs.frozen(slots=False)
class Content:
    """
    The bytes of one version of one file.

    @ivar kind: C{text} or C{binary}.
    @ivar version: Another number, other bytes.
    """

    file_id: int
    size: int
    kind: str = "binary"
    version: int = 0

    @property
    def head(self) -> bytes:
        """The line that says whose file this is."""
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
        """The bytes from C{number * BLOCK} on, BLOCK of them or as many as there are in a file of one block."""
        base = self._base
        if number:
            # No two blocks are equal, so that one in the place of another is seen.
            turn = number * 7919 % len(base)
            return (number.to_bytes(8, "big") + base[turn + 8 :] + base[:turn])[: len(base)]
        return (self.head[: self.size] + base[len(self.head) :])[: self.size]

    def read(self, start: int, end: int) -> bytes:
        """The bytes from C{start} to before C{end}, as far as there are any."""
        end = min(end, self.size)
        pieces = []
        while start < end:
            number, offset = divmod(start, BLOCK)
            piece = self._block(number)[offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def blocks(self) -> Iterator[bytes]:
        """All of it, in pieces."""
        for start in range(0, self.size, BLOCK):
            yield self.read(start, start + BLOCK)

    @cached_property
    def whole(self) -> bytes:
        """All of it at once: for small ones."""
        return self.read(0, self.size)

    @cached_property
    def sha256(self) -> bytes:
        """Its digest."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.digest()


class Comparison:
    """
    Bytes that come, compared with those that should.

    @ivar position: How many have come.
    @ivar wrong_at: Where the first wrong byte was.
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
        """Take the next bytes."""
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
        """What is wrong, in words, now that all has come."""
        if self.wrong_at is not None and self.wrong_at < self._end:
            return f"byte {self.wrong_at} is wrong"
        if self.position != self._end:
            return f"{counted(self.position - self._start, 'byte')} came instead of {self._end - self._start}"
        return None


def recognise(file_id: int, head: bytes) -> Content | None:
    """
    Tell whose file this is.

    @param head: Its first L{HEAD_LIMIT} bytes, or all where there are fewer.
    @return: What it would hold if it were whole; C{None} for a file that is not a check's.
    """
    found = _HEAD.match(head)
    if found is None or int(found["id"]) != file_id:
        return None
    return Content(file_id, int(found["size"]), found["kind"].decode("ascii"), int(found["version"]))


def http_date(seconds: float) -> str:
    """A time as HTTP writes it."""
    return formatdate(seconds, usegmt=True)
