"""Requests, and what may become of them on the way: drawn from a seed, the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import attrs

HOSTS = ["localhost", "localhost", "localhost", "LocalHost:80", "127.0.0.1", "evil.example", "", "a b", "a,b"]
FRAMINGS = [
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: +5", b"Content-Length: -1", b"Content-Length: 5, 5",
    b"Content-Length: 5,6", b"Content-Length: 0x5", b"Content-Length: 5 5", b"Content-Length: ", b"Content-Length: 05",
    b"Content-Length: 99999999999999999999999", b"Content-Length : 5", b" Content-Length: 5", b"content-length:5",
    b"Content-Length: 5\x0b", b"Content_Length: 5", b"Content-Length\x00: 5", b"Content-Length:\r 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding",
    b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\x0b", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: chunked;x=y", b"Transfer-Encoding: gzip, chunked", b"Transfer_Encoding: chunked",
    b"Transfer-Encoding:", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"TE: trailers",
    b"Transfer-Encoding:\r\n chunked", b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked",
    b"X: y\nContent-Length: 5", b"Transfer-\xc8ncoding: chunked", b"Transfer-Encoding: chun\xa0ked",
]  # fmt: skip
FIELDS = [
    b"Host: other.example", b"host: localhost", b"X: y", b"X", b": y", b"X : y", b" folded", b"\tfolded", b"X: \x00",
    b"X: \xff\xfe", b"Connection: close", b"Connection: keep-alive", b"Connection: Content-Length", b"Connection: Host",
    b"Connection: Transfer-Encoding", b"Expect: 100-continue", b"Expect: 101-nothing", b"Upgrade: h2c", b"Upgrade: x",
    b"Trailer: Repr-Digest", b"Range: bytes=0-1", b"If-None-Match: *", b"X-Long: " + b"x" * 9000, b"Keep-Alive: 1",
    b"X-Forwarded-Host: evil.example", b"Content-Encoding: gzip", b"Max-Forwards: 0", b"Via: 1.0 x",
]  # fmt: skip
SIZES = [
    b"0", b"00000", b"5 ", b" 5", b"5;x=y", b"5 ;x", b'5;x="\r\n"', b"+5", b"-5", b"0x5", b"5\x00", b"5_0", b"g",
    b"", b"5;\n", b"FFFFFFFFFFFFFFFF", b"fffffffffffffffff", b"100000000", b"0000000000000000000005", b"5\t;x=y",
    b"5;" + b"x" * 5000, b"5,5", b"5\r", b"\xb5", b"5;x=\x01",
]  # fmt: skip
TRAILERS = [
    b"X: y", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil.example", b" folded", b"X", b": y",
    b"X : y", b"X: y\nX: z", b"X: y\rX: z", b"X: \x00", b"X-Long: " + b"x" * 70_000, b"Repr-Digest: sha-256=:AA==:",
    b"\nGET /1 HTTP/1.1", b"Connection: close", b"Authorization: x",
]  # fmt: skip
LINES = [
    b"%b %b HTTP/1.0", b"%b %b HTTP/1.1 ", b"%b  %b HTTP/1.1", b"%b %b", b"%b %b HTTP/0.9", b"%b %b HTTP/2.0",
    b"%b %b http/1.1", b"%b\t%b HTTP/1.1", b" %b %b HTTP/1.1", b"%b %b HTTP/1.1\r", b"%b %b HTTP/01.1",
    b"%b %b\x00 HTTP/1.1", b"%b %b HTTP/1.2",
    b"%b http://localhost%b HTTP/1.1", b"%b http://evil.example%b HTTP/1.1", b"%b /%b HTTP/1.1", b"%b %b?x=y HTTP/1.1",
    b"%b %b#x HTTP/1.1", b"x%b %b HTTP/1.1", b"%b \x7f%b HTTP/1.1", b"%b %b HTTP/1.1\n",
]  # fmt: skip
BYTES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"\x80",
    b"\r\n\r\n",
    b"\r\n0\r\n\r\n",
]
METHODS = [
    b"PUT",
    b"PUT",
    b"PUT",
    b"PUT",
    b"GET",
    b"HEAD",
    b"DELETE",
    b"POST",
    b"PATCH",
    b"PROPFIND",
    b"OPTIONS",
    b"BREW",
]


@attrs.frozen
class Case:
    """
    What a client sends over one connection.

    @ivar pieces: The bytes, as they are sent one after the other.
    @ivar requests: How many requests they were made of.
    """

    pieces: Sequence[bytes]
    requests: int

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


@attrs.define
class _Request:
    method: bytes
    target: bytes
    fields: list[bytes]
    body: bytes
    chunked: bool
    line: bytes = b"%b %b HTTP/1.1"
    chunks: list[bytes] = attrs.field(factory=list)
    trailers: list[bytes] = attrs.field(factory=list)
    credential: list[bytes] = attrs.field(factory=list)

    def write(self) -> bytes:
        head = b"\r\n".join([self.line % (self.method, self.target), *self.fields, *self.credential, b"", b""])
        if not self.chunked:
            return head + self.body
        return head + b"".join(self.chunks) + b"\r\n".join([b"0", *self.trailers, b"", b""])


def draw(seed: str, first_id: int, credentials: Sequence[str | None] = ()) -> Case:
    """
    Draw a case.

    @param first_id: The first of eight file ids that are the case's own.
    @param credentials: What requests have in C{Authorization}, one of them each; C{None} for no such field.
    """
    # Not for secrets: to be drawn again.
    chance = random.Random(seed)
    ids = iter(range(first_id, first_id + 8))
    requests = [_request(chance, next(ids)) for _ in range(chance.choice([1, 1, 2, 2, 3]))]
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        _change(chance, chance.choice(requests), b"/%d" % next(ids, first_id))
    if credentials:
        for each in requests:
            if (credential := chance.choice(credentials)) is not None:
                each.credential.append(f"Authorization: {credential}".encode())
    data = b"".join(each.write() for each in requests)
    if chance.random() < 0.25:
        for _ in range(chance.choice([1, 1, 2])):
            data = _scratch(chance, data)
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data) + 1)]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 1, 2])))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return Case([each for each in pieces if each], len(requests))


def _request(chance: random.Random, file_id: int) -> _Request:
    method = chance.choice(METHODS)
    host = chance.choice(HOSTS) if chance.random() < 0.2 else "localhost"
    fields = [f"Host: {host}".encode()]
    with_body = method in (b"PUT", b"PATCH") or chance.random() < 0.2
    body = _content(chance) if with_body else b""
    if with_body and chance.random() < 0.2:  # what is a request to whoever begins to read too early
        body = b"5\r\n12345\r\n0\r\n\r\nPUT /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nbad" % (
            file_id + 1
        )
    request = _Request(method, b"/%d" % file_id, fields, body, with_body and chance.random() < 0.5)
    if request.chunked:
        fields.append(b"Transfer-Encoding: chunked")
        cuts = sorted({0, len(body), *(chance.randrange(len(body) + 1) for _ in range(chance.choice([0, 1, 3])))})
        for start, end in pairwise(cuts):
            request.chunks.append(b"%x\r\n%b\r\n" % (end - start, body[start:end]))
        if chance.random() < 0.2:
            request.trailers.append(chance.choice(TRAILERS[:1]))
    elif with_body:
        fields.append(b"Content-Length: %d" % len(body))
    return request


def _content(chance: random.Random) -> bytes:
    """Bytes of a body: any at all, or more of those that are easy to look at."""
    if (size := chance.choice([0, 1, 5, 36, 300, 20_000, 70_000])) <= 36:
        return chance.randbytes(size)
    return bytes(chance.choices(b"abcdefghijklmnop0123", k=size))


def _change(chance: random.Random, request: _Request, other: bytes) -> None:
    """Make one thing of a request another."""
    fields = request.fields
    kind = chance.choice(
        ["framing", "framing", "field", "size", "size", "trailer", "line", "double", "drop", "swap", "short"]
    )
    if kind == "framing":
        fields.insert(chance.randrange(len(fields) + 1), chance.choice(FRAMINGS))
    elif kind == "field":
        fields.insert(chance.randrange(len(fields) + 1), chance.choice(FIELDS))
    elif kind == "size" and request.chunked:
        request.chunks.insert(chance.randrange(len(request.chunks) + 1), chance.choice(SIZES) + b"\r\n12345\r\n")
    elif kind == "trailer" and request.chunked:
        request.trailers.insert(chance.randrange(len(request.trailers) + 1), chance.choice(TRAILERS))
    elif kind == "line":
        request.line = chance.choice(LINES)
    elif kind == "double" and fields:
        fields.insert(chance.randrange(len(fields) + 1), chance.choice(fields))
    elif kind == "drop" and fields:
        del fields[chance.randrange(len(fields))]
    elif kind == "swap":
        known = [index for index, field in enumerate(fields) if field.startswith((b"Content-Length", b"Transfer"))]
        for index in known:
            fields[index] = chance.choice(FRAMINGS)
    else:  # a body that is shorter or longer than was said, with another request behind it
        smuggled = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % other
        request.body = request.body[: chance.randrange(len(request.body) + 1)] + chance.choice([b"", b"x", smuggled])


def _scratch(chance: random.Random, data: bytes) -> bytes:
    """Change a few bytes anywhere, most often in what is framing."""
    at = chance.randrange(len(data) + 1)
    if chance.random() < 0.7 and (end := data.find(b"\r\n", at)) >= 0:
        at = end + chance.choice([0, 1, 2])
    what = chance.choice(BYTES)
    return data[:at] + what + data[at + chance.choice([0, 0, 1, len(what)]) :]
