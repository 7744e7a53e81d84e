"""The bodies of 207 answers: the little of WebDAV (RFC 4918) that gfal2, davix and rclone read.

HEAD belongs to the predecessor's contract, so PROPFIND is how these clients learn size and date.  The
request's body is not parsed at all: every answer is that of C{allprop}, which has all that they name.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from pacarchive.web.http.dates import format_http_date, format_iso_date
from pacarchive.web.http.errors import HTTPRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.model import FileStatus
    from pacarchive.web.http.request import ArchiveRequest

CONTENT_TYPE = b'application/xml; charset="utf-8"'


BEGIN = '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
END = "</D:multistatus>\n"
COLLECTION = "<D:resourcetype><D:collection/></D:resourcetype>"


def multistatus(href: str, status: FileStatus) -> bytes:
    """
    Describe a file.

    @param href: The path of the file's URL, percent-encoded as in the URL.
    @param status: The file.
    """
    return f"{BEGIN}{response(href, _properties(status))}{END}".encode()


def collection_multistatus(href: str) -> bytes:
    """
    Describe the archive itself as a collection whose members are not listed.

    @param href: The path of the collection's URL, percent-encoded as in the URL.
    """
    return f"{BEGIN}{response(href, COLLECTION)}{END}".encode()


def responses(files: Mapping[int, FileStatus | Exception]) -> str:
    """Describe some members of the archive; with the status of a failure those that storage cannot tell of."""
    return "".join(
        f"<D:response><D:href>/{file_id}</D:href><D:status>HTTP/1.1 503 Service Unavailable</D:status></D:response>\n"
        if isinstance(status, Exception)
        else response(f"/{file_id}", _properties(status)) + "\n"
        for file_id, status in files.items()
    )


def response(href: str, properties: str) -> str:
    """What is told of one URL."""
    return (
        f"<D:response><D:href>{escape(href)}</D:href>"
        f"<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
    )


def _properties(status: FileStatus) -> str:
    return (
        f"<D:getcontentlength>{status.size}</D:getcontentlength>"
        f"<D:getlastmodified>{format_http_date(status.mtime_ns).decode('ascii')}</D:getlastmodified>"
        f"<D:getetag>{escape(status.etag)}</D:getetag>"
        "<D:resourcetype/>"
        f"<D:creationdate>{format_iso_date(status.ctime_ns)}</D:creationdate>"
    )


def depth_of(request: ArchiveRequest) -> int:
    """
    How deep a PROPFIND looks: 0 or 1.  Where nothing is said, that is as little as can be; a client of WebDAV says it.

    @raise HTTPRefusal: It asks for more than one level: 403.
    """
    depth = request.field("depth")
    if depth and depth[0].strip().lower() not in ("0", "1"):
        raise HTTPRefusal(HTTPStatus.FORBIDDEN, "The Depth of a PROPFIND is 0 or 1 here.")
    return int(depth[0]) if depth else 0


def write_multistatus(request: ArchiveRequest, body: bytes) -> bytes:
    """
    Answer a PROPFIND.

    @return: The body, for the route to return.
    @raise HTTPRefusal: It asks for more than one level: 403.
    """
    depth_of(request)
    request.setResponseCode(HTTPStatus.MULTI_STATUS)
    request.set(b"Content-Type", CONTENT_TYPE)
    request.set(b"Content-Length", b"%d" % len(body))
    return body
