"""What every answer says, and those that no route gives."""

from __future__ import annotations

from http import HTTPStatus

from twisted.web.http import datetimeToString

from pacarchive import __version__
from pacarchive.web.errors import error_body

SERVER = f"pacarchive/{__version__}"
"""The C{Server} field."""

ALLOW = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PROPFIND, PUT"
"""What an id answers to; the predecessor said it in every answer."""

UNCACHED = "no-store"
"""The C{Cache-Control} of every answer that is no file's: how things stand, which no cache knows later."""

REVALIDATED = "no-cache"
"""That of a file's: a cache may keep it, and asks before it gives it away: the file may be gone, or replaced."""


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
