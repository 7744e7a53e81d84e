"""Bodies in chunks (RFC 9112, section 7.1), read strictly and a bounded number of chunks at a time.

Twisted's decoder calls for each chunk, however small, and reads all that has come in one go: a megabyte of chunks of
one byte takes it seconds.  It is also lenient: it leaves trailer fields as they are, and they end where a client likes
them to.
"""

from __future__ import annotations

import re
from collections.abc import Callable

EXTENSION_BYTES = 256
"""What a chunk's extensions may have, which this server has no use for."""

TRAILER_BYTES = 4096
"""What all trailer fields may have together."""

TRAILER_COUNT = 32
"""How many trailer fields there may be."""

FRAMING_BYTES = 256 << 10
"""How much longer than L{FRAMING_RATIO} times the data all that is not data may be: 87,000 chunks of one byte."""

FRAMING_RATIO = 2
"""A sender whose chunks have three bytes or more may send any number of them."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_EXTENSIONS = rb"(?:;%b(?:=(?:%b|%b))?+)*+" % (_TOKEN, _TOKEN, _QUOTED)
# No sign, no underscore, no 0x, no space: another reader might take them for another number, or for none.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(%b)\r\n" % _EXTENSIONS)
_LONGEST_LINE = 16 + EXTENSION_BYTES + 2
_TRAILER = re.compile(rb"(%b):[ \t]*+([\t -~\x80-\xff]*+)\r\n" % _TOKEN)

FORBIDDEN = frozenset(
    {
        # Where the message ends, and what becomes of the connection
        *("content-length", "transfer-encoding", "trailer", "te", "connection", "keep-alive", "upgrade"),
        *("proxy-connection", "http2-settings"),
        # Where it goes, and where it came from
        *("host", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
        # What is asked for, and on which condition
        *("expect", "max-forwards", "cache-control", "pragma", "range", "prefer"),
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
        # Who asks
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "www-authenticate", "proxy-authenticate"),
        # What the content is
        *("content-encoding", "content-type", "content-range", "content-location"),
    }
)
"""What is no trailer field (RFC 9110, section 6.5.1): framing, routing, modifiers, credentials and content format."""


class MalformedChunks(Exception):
    """These are no chunks, or more of them than their bytes are worth; the message tells what is wrong."""


class ChunkedDecoder:
    """
    Takes chunks off the data that they frame.

    @param deliver: Called with data, once in each L{decode} at the most.
    @param finish: Called with what follows the body.
    @ivar pending: Whether L{decode} stopped because it had done enough.
    @ivar trailers: Names, in lower case, and values of the trailer fields.
    """

    def __init__(self, deliver: Callable[[bytes], None], finish: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._finish = finish
        self.pending = False
        self.trailers: list[tuple[str, str]] = []
        self._buffer = b""
        self._at = 0
        self._left = 0  # bytes of the chunk that has begun
        self._at_end = False  # of a chunk's data
        self._in_trailers = False
        self._trailer_bytes = 0
        self._framing = 0
        self._content = 0

    def feed(self, data: bytes) -> None:
        """Take what came; L{decode} reads it."""
        rest = self._buffer[self._at :]
        self._buffer, self._at = (rest + data if rest else data), 0

    def drop(self) -> None:
        """Read no more of what came."""
        self.pending = False
        self._buffer, self._at = b"", 0

    @property
    def unread(self) -> int:
        """Bytes that came and wait to be read."""
        return len(self._buffer) - self._at

    def decode(self, most: int) -> int:
        """
        Read chunks, as far as they have come.

        @param most: How many chunks and trailer fields at the most.
        @return: How many it were.
        @raise MalformedChunks: What came cannot be read in one way only.
        """
        begin, pieces = self._at, list[bytes]()
        try:
            count, over = self._read(pieces, most)
        except MalformedChunks:
            self.drop()
            raise
        self.pending = count >= most and not over and self._at < len(self._buffer)
        data = b"".join(pieces)
        self._content += len(data)
        self._framing += self._at - begin - len(data)
        if self._framing > FRAMING_BYTES + FRAMING_RATIO * self._content:
            self.pending = False
            raise MalformedChunks("The chunks of the body are too small for their number.")
        if over:
            rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        if data:
            self._deliver(data)
        if over:
            self._finish(rest)
        return count

    def _read(self, pieces: list[bytes], most: int) -> tuple[int, bool]:
        """
        Do the work of L{decode}.

        @param pieces: Takes the data.
        @return: How much was done, and whether the body is over.
        """
        buffer, at, count = self._buffer, self._at, 0
        size_of = _SIZE.match
        while count < most and not self._in_trailers:
            if self._left:
                piece = buffer[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
                if self._left:
                    break
                self._at_end = True
            if self._at_end:
                if buffer[at : at + 2] != b"\r\n":
                    self._check_begun_end(at)
                    break
                self._at_end = False
                at += 2
            if (match := size_of(buffer, at, at + _LONGEST_LINE)) is None:
                self._check_begun_line(at)
                break
            count += 1
            at = match.end()
            self._left = int(match[1], 16)
            self._in_trailers = not self._left
        self._at = at
        if not self._in_trailers:
            return count, False
        done, over = self._read_trailers(most - count)
        return count + done, over

    def _check_begun_end(self, at: int) -> None:
        """See that what is no end of a chunk may become one."""
        if not b"\r\n".startswith(self._buffer[at : at + 2]):
            raise MalformedChunks("A chunk is longer than its size.")

    def _check_begun_line(self, at: int) -> None:
        """See that what is no whole chunk size may become one."""
        if self._buffer.find(b"\n", at, at + _LONGEST_LINE) >= 0:
            raise MalformedChunks("The size of a chunk is malformed.")
        if len(self._buffer) - at >= _LONGEST_LINE:
            raise MalformedChunks("The size of a chunk, or its extensions, are too long.")

    def _read_trailers(self, most: int) -> tuple[int, bool]:
        for count in range(most):
            end = self._buffer.find(b"\n", self._at) + 1
            length = (end or len(self._buffer)) - self._at
            if self._trailer_bytes + length > TRAILER_BYTES + 2:
                raise MalformedChunks(f"The trailer fields may have {TRAILER_BYTES} bytes at the most.")
            if not end:
                return count, False
            if self._buffer.startswith(b"\r\n", self._at):
                self._at = end
                return count, True
            match = _TRAILER.match(self._buffer, self._at)
            if match is None:
                raise MalformedChunks("A trailer field is malformed.")
            name = match[1].decode("ascii").lower()
            if name in FORBIDDEN:
                raise MalformedChunks(f"{name.title()} is not allowed as a trailer field.")
            if len(self.trailers) >= TRAILER_COUNT:
                raise MalformedChunks(f"There may be {TRAILER_COUNT} trailer fields at the most.")
            self.trailers.append((name, match[2].decode("latin-1").strip(" \t")))
            self._trailer_bytes += length
            self._at = end
        return most, False
