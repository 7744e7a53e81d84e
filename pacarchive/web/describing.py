"""What an answer's header says of the version that it is about."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pacarchive.times import SECOND, format_iso
from pacarchive.web.http import digest_fields
from pacarchive.web.http.answers import REVALIDATED
from pacarchive.web.http.dates import format_http_date

if TYPE_CHECKING:
    from pacarchive.model import FileStatus
    from pacarchive.web.http.request import ArchiveRequest


def describe(request: ArchiveRequest, status: FileStatus) -> None:
    """Tell all that is known of a file, for HEAD: the predecessor's fields, as it wrote them, and ours beside them."""
    request.set(b"Content-Type", b"application/json")
    request.set(b"X-Pacifica-Messsage", b"File was found")  # three s: it is read by this name
    request.set(b"X-Pacifica-File", status.path)
    request.set(b"X-Content-Length", str(status.size))
    request.set(b"Last-Modified", str(status.mtime))
    request.set(b"X-Pacifica-Ctime", str(status.ctime))
    request.set(b"X-Pacifica-Bytes-Per-Level", str(tuple(status.bytes_per_level)))
    request.set(b"X-Pacifica-File-Storage-Media", status.storage_media)
    request.set(b"X-Pacarchive-Locality", status.locality.value)
    set_mtime(request, status)
    request.set(b"ETag", status.etag)
    request.set(b"Cache-Control", REVALIDATED)
    request.set(b"Accept-Ranges", b"bytes")
    set_digests(request, status)


def set_validators(request: ArchiveRequest, status: FileStatus, now: float) -> None:
    """
    Tell which version it is, for GET.

    A file may be newer than the present, by its sender's word.  C{Last-Modified} may not (RFC 9110, section 8.8.2.1):
    it comes back as the date of a copy, and must not be later than any version that replaces this one.
    """
    request.set(b"ETag", status.etag)
    request.set(b"Cache-Control", REVALIDATED)
    request.set(b"Last-Modified", format_http_date(min(status.mtime_ns, int(now) * SECOND)))
    set_mtime(request, status)


def set_mtime(request: ArchiveRequest, status: FileStatus) -> None:
    """
    Tell the time of a file to the nanosecond, for which neither a date in HTTP nor a float has room.  The few times
    that no four-digit year has are left out.
    """
    with suppress(ValueError):
        request.set(b"X-Pacarchive-Mtime", format_iso(status.mtime_ns))


def set_digests(request: ArchiveRequest, status: FileStatus) -> None:
    """Answer C{Want-Repr-Digest} (RFC 9530) and C{Want-Digest} (RFC 3230) with what is known."""
    if (want := request.field("want-repr-digest")) and (value := digest_fields.repr_digest(status.digests, want)):
        request.set(b"Repr-Digest", value)
    if (want := request.field("want-digest")) and (value := digest_fields.digest(status.digests, want)):
        request.set(b"Digest", value)
