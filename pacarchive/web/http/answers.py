"""What every answer says, and those that no route gives."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote_from_bytes

from twisted.web.http import datetimeToString

from pacarchive import __version__
from pacarchive.web.http.errors import error_body

SERVER = f"pacarchive/{__version__}"
"""The C{Server} field."""

ALLOW = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PROPFIND, PUT"
"""What an id answers to; the predecessor said it in every answer."""

UNCACHED = "no-store"
"""The C{Cache-Control} of every answer that is no file's: how things stand, which no cache knows later."""

REVALIDATED = "no-cache"
"""That of a file's: a cache may keep it, and asks before it gives it away: the file may be gone, or replaced."""


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
