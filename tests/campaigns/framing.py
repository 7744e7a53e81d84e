"""
A second opinion on where HTTP/1.1 messages end, written after RFC 9112 and apart from the server's own.

It is as strict as the server promises to be: what leaves two ways to read it is malformed here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence

import attrs

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20]+) HTTP/1\.([01])\Z")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\Z", re.DOTALL)
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;.*)?\Z", re.DOTALL)
_FRAMING = (b"content-length", b"transfer-encoding", b"host")
_PATIENCE = 1 << 20  # more of a head, or of a chunk's first line, is no head any more


class End(enum.Enum):
    """How a stream of messages ends."""

    CLEAN = "clean"
    """Behind a whole message."""
    CUT = "cut"
    """Within one."""
    MALFORMED = "malformed"
    """In what is none."""


@attrs.frozen
class Message:
    """
    A request, or an answer.

    @ivar line: Its first line, in words.
    @ivar fields: By their names in small letters; of several of a name the last.
    """

    line: Sequence[bytes]
    fields: Mapping[bytes, bytes]
    body: bytes


class _Malformed(Exception):
    """It is no HTTP."""


class _Cut(Exception):
    """There is not all of it."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def line(self) -> bytes:
        """What there is up to the next CR LF, in which neither stands alone."""
        end = self.data.find(b"\r\n", self.at)
        line = self.data[self.at : end if end >= 0 else len(self.data)]
        if end < 0 and line.endswith(b"\r"):
            line = line[:-1]
        if any(each in line for each in (b"\r", b"\n", b"\0")) or len(line) > _PATIENCE:
            raise _Malformed
        if end < 0:
            raise _Cut
        self.at = end + 2
        return line

    def take(self, count: int) -> bytes:
        if self.left < count:
            raise _Cut
        self.at += count
        return self.data[self.at - count : self.at]

    def fields(self) -> list[tuple[bytes, bytes]]:
        found = []
        while line := self.line():
            if (match := _FIELD.match(line)) is None:
                raise _Malformed
            found.append((match[1].lower(), match[2]))
        return found

    def chunks(self) -> bytes:
        body = b""
        while True:
            if (match := _CHUNK.match(self.line())) is None:
                raise _Malformed
            if not (size := int(match[1], 16)):
                break
            body += self.take(size)
            if (end := self.data[self.at : self.at + 2]) != b"\r\n":
                raise _Cut if b"\r\n".startswith(end) else _Malformed
            self.at += 2
        if any(name in _FRAMING for name, _ in self.fields()):
            raise _Malformed
        return body


@attrs.frozen
class Rest:
    """
    What follows the last whole message.

    @ivar end: Of what kind it is.
    @ivar method: That of the request whose body is cut, or malformed; empty where that can be said of its head.
    """

    end: End
    method: bytes = b""


def read_requests(data: bytes) -> tuple[list[Message], Rest]:
    """
    Read what came over one connection.

    @return: The requests that are whole and well formed, up to the first that is not; and what follows them.
    """
    reader = _Reader(data)
    found: list[Message] = []
    while True:
        while reader.data.startswith(b"\r\n", reader.at):  # RFC 9112, section 2.2
            reader.at += 2
        if not reader.left:
            return found, Rest(End.CLEAN)
        method = b""
        try:
            line, fields, coding = _head(reader)
            method = line[0]
            found.append(Message(line, fields, reader.chunks() if coding is None else reader.take(coding)))
        except _Cut:
            return found, Rest(End.CUT, method)
        except _Malformed:
            return found, Rest(End.MALFORMED, method)


def _head(reader: _Reader) -> tuple[Sequence[bytes], Mapping[bytes, bytes], int | None]:
    """Read the head of a request.  @return: Its line and fields, and the length of its body; C{None} for chunks."""
    if (match := _LINE.match(reader.line())) is None:
        raise _Malformed
    pairs = reader.fields()
    hosts, lengths, codings = ([value for name, value in pairs if name == each] for each in
                               (b"host", b"content-length", b"transfer-encoding"))  # fmt: skip
    modern = match[3] == b"1"
    if len(hosts) > 1 or (modern and not hosts) or len(lengths) + len(codings) > 1:
        raise _Malformed
    if codings and (codings[0].lower() != b"chunked" or not modern):
        raise _Malformed
    if lengths and not re.fullmatch(rb"[0-9]{1,20}", lengths[0]):
        raise _Malformed
    return match.groups(), dict(pairs), None if codings else int(lengths[0]) if lengths else 0


def read_answers(data: bytes, methods: Sequence[bytes]) -> tuple[list[Message], End]:
    """
    Read what the server sent over one connection; interim answers are passed over.

    @param methods: Those of the requests; they decide which answers have no body.
    """
    reader = _Reader(data)
    found: list[Message] = []
    try:
        while reader.left:
            line = reader.line().split(b" ", 2)
            if (
                len(line) != 3
                or line[0] not in (b"HTTP/1.1", b"HTTP/1.0")
                or not re.fullmatch(rb"[1-5][0-9]{2}", line[1])
            ):
                raise _Malformed
            pairs = reader.fields()
            fields = dict(pairs)
            if len(fields) != len(pairs) or b"transfer-encoding" in fields:
                raise _Malformed
            if line[1].startswith(b"1"):
                continue
            method = methods[len(found)] if len(found) < len(methods) else b""
            bare = line[1] in (b"204", b"304") or method == b"HEAD"
            if not bare and b"content-length" not in fields:
                raise _Malformed
            # The head of what was refused is not understood: whether it was HEAD's is not known then.
            whole = reader.left == int(fields.get(b"content-length", b"0")) and fields.get(b"connection") == b"close"
            body = b"" if bare and not whole else reader.take(int(fields.get(b"content-length", b"0")))
            found.append(Message(line, fields, body))
    except _Cut:
        return found, End.CUT
    except (_Malformed, ValueError):
        return found, End.MALFORMED
    return found, End.CLEAN
