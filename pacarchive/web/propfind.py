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
    from pacarchive.model import FileStatus
    from pacarchive.web.http.request import ArchiveRequest

CONTENT_TYPE = b'application/xml; charset="utf-8"'


def multistatus(href: str, status: FileStatus) -> bytes:
    """
    Describe a file.

    @param href: The path of the file's URL, percent-encoded as in the URL.
    @param status: The file.
    """
    return _response(
        href,
        f"<D:getcontentlength>{status.size}</D:getcontentlength>"
        f"<D:getlastmodified>{format_http_date(status.mtime_ns).decode('ascii')}</D:getlastmodified>"
        f"<D:getetag>{escape(status.etag)}</D:getetag>"
        "<D:resourcetype/>"
        f"<D:creationdate>{format_iso_date(status.ctime_ns)}</D:creationdate>",
    )


def collection_multistatus(href: str) -> bytes:
    """
    Describe the archive itself as a collection whose members are not listed.

    @param href: The path of the collection's URL, percent-encoded as in the URL.
    """
    return _response(href, "<D:resourcetype><D:collection/></D:resourcetype>")


def _response(href: str, properties: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<D:multistatus xmlns:D="DAV:"><D:response><D:href>{escape(href)}</D:href>'
        f"<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
        "</D:response></D:multistatus>\n"
    ).encode()


def write_multistatus(request: ArchiveRequest, body: bytes) -> bytes:
    """
    Answer a PROPFIND.

    @return: The body, for the route to return.
    @raise HTTPRefusal: It asks for more than one level: 403.
    """
    depth = request.field("depth")
    if depth and depth[0].strip().lower() not in ("0", "1"):
        raise HTTPRefusal(HTTPStatus.FORBIDDEN, "The Depth of a PROPFIND is 0 or 1 here.")
    request.setResponseCode(HTTPStatus.MULTI_STATUS)
    request.set(b"Content-Type", CONTENT_TYPE)
    request.set(b"Content-Length", b"%d" % len(body))
    return body
