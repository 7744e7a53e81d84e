"""Parts of a file: the C{Range} header (RFC 9110, section 14) and the predecessor's C{?byte_range=a-b}."""

from __future__ import annotations

import re

import attrs

from pacarchive.errors import InvalidRequest

# Files are far smaller than 10**40 bytes, and int() of unbounded digits is not free.  Empty list elements are
# allowed by the list grammar.
_ONE_RANGE = re.compile(r"bytes=[ \t,]*(\d{0,40})-(\d{0,40})[ \t,]*", re.ASCII | re.IGNORECASE)
_BYTE_RANGE = re.compile(r"(\d{1,40})-(\d{1,40})", re.ASCII)


@attrs.frozen
class ByteRange:
    """
    A part of a file of C{size} bytes, to be answered with 206; never empty, never beyond the end.
    """

    offset: int
    length: int
    size: int

    @property
    def content_range(self) -> bytes:
        """The C{Content-Range} of the answer."""
        return b"bytes %d-%d/%d" % (self.offset, self.offset + self.length - 1, self.size)


@attrs.frozen
class Unsatisfiable:
    """A range that has no byte of a file of C{size} bytes, to be answered with 416."""

    size: int

    @property
    def content_range(self) -> bytes:
        """The C{Content-Range} of the answer."""
        return b"bytes */%d" % (self.size,)


def parse_range(header: str, size: int) -> ByteRange | Unsatisfiable | None:
    """
    Decide what a C{Range} header selects.

    @param header: The header's value.
    @param size: The size of the file.
    @return: C{None} when the header is to be ignored and the whole file answered: another unit, not well
        formed, or several ranges, which a server may ignore and which would else let a few bytes of request
        ask for many copies of the file.
    """
    match = _ONE_RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if first:
        return _int_range(int(first), int(last) if last else None, size)
    return _suffix_range(int(last), size) if last else None


def _int_range(first: int, last: int | None, size: int) -> ByteRange | Unsatisfiable | None:
    if last is not None and last < first:
        return None
    if first >= size:
        return Unsatisfiable(size)
    end = size if last is None else min(last + 1, size)
    return ByteRange(first, end - first, size)


def _suffix_range(length: int, size: int) -> ByteRange | Unsatisfiable | None:
    if length == 0:
        return Unsatisfiable(size)
    if size == 0:
        # Satisfiable by the letter, but no Content-Range can say "no bytes".
        return None
    length = min(length, size)
    return ByteRange(size - length, length, size)


def parse_byte_range(text: str, size: int) -> tuple[int, int]:
    """
    Decide what the predecessor's query parameter C{byte_range} selects: C{a-b}, B{without} byte C{b}.

    @param text: The parameter's value; empty for the whole file.
    @param size: The size of the file.
    @return: Offset and length, cut at the end of the file; the length is 0 when nothing is selected.
    @raise InvalidRequest: The text is not two whole numbers joined by a hyphen.
    """
    if not text:
        return 0, size
    match = _BYTE_RANGE.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            "byte_range is two whole numbers, a-b: the bytes from a up to b, without b",
            reason=f"Invalid byte range format (int-int) given {text}",
        )
    first, end = int(match[1]), min(int(match[2]), size)
    return min(first, size), max(end - first, 0)
