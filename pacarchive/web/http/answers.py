"""What every answer says, and those that no route gives."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

import attrs
from twisted.web.http import datetimeToString

from pacarchive import __version__
from pacarchive.web.http.errors import ErrorAnswer, error_body

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime

    from pacarchive.access.identity import Access
    from pacarchive.web.http.traces import Trace

SERVER = f"pacarchive/{__version__}"
"""The C{Server} field."""

ALLOW = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PROPFIND, PUT"
"""What an id answers to; the predecessor said it in every answer."""

UNCACHED = "no-store"
"""The C{Cache-Control} of every answer that is no file's: how things stand, which no cache knows later."""

REVALIDATED = "no-cache"
"""That of a file's: a cache may keep it, and asks before it gives it away: the file may be gone, or replaced."""


@attrs.define
class QuickAnswer:
    """
    What is known of a request that was answered without a request object (L{pacarchive.web.http.ledger}).

    @ivar method: That of the request.
    @ivar uri: Its target.
    @ivar status: The status of the answer.
    @ivar sentLength: The bytes of its body.
    @ivar identifier: What the request is called.
    @ivar access: Who asked.
    @ivar agent: What the client calls itself.
    @ivar digest: How the comparison of digests ended, where there was one.
    @ivar client: Where the request came from.
    @ivar began: When it came.
    @ivar first: When the answer began; 0 where nobody has noted that.
    @ivar received: The bytes of the request's body.
    @ivar broken_by: By whose doing it ended unanswered, if it did.
    @ivar trace: The trace that begins with it, if one does: of what is part of another, there is no such answer.
    @ivar routed: Whether its route was looked for.
    """

    method: bytes
    uri: bytes
    status: int
    sentLength: int
    identifier: str
    digest: str | None = None
    access: Access | None = None
    agent: bytes | None = None
    client: IAddress | None = None
    began: float = 0.0
    first: float = 0.0
    received: int = 0
    broken_by: str = ""
    trace: Trace | None = None
    routed: bool = True

    clientproto = b"HTTP/1.1"


class Present:
    """
    The C{Date} of answers, which is written once a second.

    @param clock: The time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._second = 0
        self._date = b""

    def __call__(self) -> tuple[bytes, int]:
        """The C{Date} of this second, and the second."""
        second = int(self._clock.seconds())
        if second != self._second:
            self._second, self._date = second, datetimeToString(second)
        return self._date, second


_VISIBLE = bytes(each for each in range(0x20, 0x7F) if each != 0x25)


def field_value(text: str) -> bytes:
    """
    Write text as the value of a header field.

    What is plain ASCII stays as it is.  In everything else, as in a path that has letters of other alphabets, each byte
    of its UTF-8 that is not visible ASCII is percent-encoded, and so is the percent sign: what a client reads is one
    thing, whatever it takes the encoding of header fields for, and no name can end the line.  The odd bytes of a file
    name, which are no UTF-8, are encoded as they are.
    """
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, of which no file name is made
        data = text.encode("utf-8", "replace")
    return quote_from_bytes(data, _VISIBLE).encode("ascii")


@lru_cache(256)
def _rest_of(status: HTTPStatus, fields: tuple[tuple[str, str], ...], content_type: str, length: int) -> bytes:
    """The head of an answer without the version before it, from the status to the field before C{Date}."""
    lines = (
        f" {status.value} {status.phrase}",
        f"Server: {SERVER}",
        f"Allow: {ALLOW}",
        f"Cache-Control: {UNCACHED}",
        *(f"{name}: {value}" for name, value in fields),
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
        "Date: ",
    )
    return "\r\n".join(lines).encode("ascii")


def head_of(answer: ErrorAnswer, version: bytes, last: bool, identifier: str) -> bytes:
    """
    Write the head of an answer that nothing has to be added to.

    @param version: That of HTTP, as the request has it.
    @param last: Whether the connection is closed after it.
    @param identifier: What the request is called.
    """
    rest = _rest_of(answer.status, tuple(answer.headers.items()), answer.content_type, len(answer.body))
    end = b"\r\nConnection: close\r\n\r\n" if last else b"\r\n\r\n"
    return b"".join((version, rest, datetimeToString(), b"\r\nX-Request-Id: ", identifier.encode("ascii"), end))


def last_answer(status: HTTPStatus, message: str, *fields: str) -> bytes:
    """
    Write an answer that no route gives, and after which the connection is closed.

    @param fields: Further header lines.
    """
    body = error_body(status, message, message)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Server: {SERVER}",
        f"Date: {datetimeToString().decode('ascii')}",
        f"Allow: {ALLOW}",
        f"Cache-Control: {UNCACHED}",
        *fields,
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(head).encode("ascii") + body
