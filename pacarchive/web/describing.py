"""What an answer's header says of the version that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.times import SECOND, format_iso
from pacarchive.web.http import digest_fields
from pacarchive.web.http.answers import REVALIDATED
from pacarchive.web.http.dates import format_http_date

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacarchive.model import FileStatus
    from pacarchive.web.http.request import ArchiveRequest


def describe(request: ArchiveRequest, status: FileStatus) -> None:
    """Tell all that is known of a file, for HEAD: the predecessor's fields, as it wrote them, and ours beside them."""
    request.set(b"Cache-Control", REVALIDATED)
    for name, value in description_of(status):
        request.set(name, value)
    set_digests(request, status)


def description_of(status: FileStatus) -> Iterator[tuple[bytes, str]]:
    """The fields that tell of a file, but for digests that are asked for."""
    yield b"Content-Type", "application/json"
    yield b"X-Pacifica-Messsage", "File was found"  # three s: it is read by this name
    yield b"X-Pacifica-File", status.path
    yield b"X-Content-Length", str(status.size)
    yield b"Last-Modified", str(status.mtime)
    yield b"X-Pacifica-Ctime", str(status.ctime)
    yield b"X-Pacifica-Bytes-Per-Level", str(tuple(status.bytes_per_level))
    yield b"X-Pacifica-File-Storage-Media", status.storage_media
    yield b"X-Pacarchive-Locality", status.locality.value
    if (mtime := mtime_of(status)) is not None:
        yield b"X-Pacarchive-Mtime", mtime
    yield b"ETag", status.etag
    yield b"Accept-Ranges", "bytes"


def set_validators(request: ArchiveRequest, status: FileStatus, now: float) -> None:
    """Tell which version it is, for GET."""
    request.set(b"ETag", status.etag)
    request.set(b"Cache-Control", REVALIDATED)
    request.set(b"Last-Modified", last_modified(status, now))
    set_mtime(request, status)


def last_modified(status: FileStatus, now: float) -> bytes:
    """
    The date of a version, for GET.

    A file may be newer than the present, by its sender's word.  C{Last-Modified} may not (RFC 9110, section 8.8.2.1):
    it comes back as the date of a copy, and must not be later than any version that replaces this one.
    """
    return format_http_date(min(status.mtime_ns, int(now) * SECOND))


def set_mtime(request: ArchiveRequest, status: FileStatus) -> None:
    """Tell the time of a file to the nanosecond, for which neither a date in HTTP nor a float has room."""
    if (mtime := mtime_of(status)) is not None:
        request.set(b"X-Pacarchive-Mtime", mtime)


def mtime_of(status: FileStatus) -> str | None:
    """The time of a file to the nanosecond; C{None} for the few times that no four-digit year has."""
    try:
        return format_iso(status.mtime_ns)
    except ValueError:
        return None


def set_digests(request: ArchiveRequest, status: FileStatus) -> None:
    """Answer C{Want-Repr-Digest} (RFC 9530) and C{Want-Digest} (RFC 3230) with what is known."""
    if (want := request.field("want-repr-digest")) and (value := digest_fields.repr_digest(status.digests, want)):
        request.set(b"Repr-Digest", value)
    if (want := request.field("want-digest")) and (value := digest_fields.digest(status.digests, want)):
        request.set(b"Digest", value)
