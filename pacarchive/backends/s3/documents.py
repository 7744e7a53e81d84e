"""XML: what the store answers, which is not trusted, and what is sent to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import attrs

from pacarchive.backends.s3.residency import Restore, Seen, date_in
from pacarchive.texts import printable

_MOST_WORDS = 300


class BadDocumentError(Exception):
    """What was to be an XML document is none, or is not the one that was asked for."""


def parse(data: bytes, name: str) -> ET.Element:
    """
    Parse an answer.

    No document type is accepted, and so no entity but those that XML itself has; no other encoding than UTF-8 either,
    in which one could be hidden.  How long the answer may be was seen to when it was received.

    @param name: The name of the root element, without a name space.
    @raise BadDocumentError: It is something else.
    """
    try:
        text = data.decode("utf-8")
        if "<!DOCTYPE" in text:
            raise BadDocumentError("a document type")
        root = ET.fromstring(text)  # noqa: S314  (see above)
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise BadDocumentError(str(error)) from None
    if local(root.tag) != name:
        raise BadDocumentError(f"{printable(root.tag[:100])} instead of {name}")
    return root


def local(tag: str) -> str:
    """The name of an element without its name space, which stores have various ones of, or none."""
    return tag.rpartition("}")[2]


def fields(element: ET.Element) -> dict[str, str]:
    """The texts of an element's children, by their names."""
    return {local(each.tag): each.text or "" for each in element}


@attrs.frozen
class Refusal:
    """
    What an answer that is an error says.

    @ivar code: The store's word for it; empty where it has none.
    @ivar words: What it says to people, for the log.
    @ivar region: The region that it is in, if it says so.
    """

    code: str
    words: str
    region: str = ""


def refusal(body: bytes) -> Refusal | None:
    """What an C{<Error>} says; C{None} where a body is none."""
    try:
        found = fields(parse(body, "Error"))
    except BadDocumentError:
        return None
    words = printable(found.get("Message", "")[:_MOST_WORDS])
    return Refusal(printable(found.get("Code", "")[:100]), words, found.get("Region", "")[:100])


@attrs.frozen
class Listed:
    """
    An object in a list.

    @ivar key: Its key.
    @ivar size: Its size in bytes.
    @ivar modified: When it was stored, in seconds since the epoch.
    @ivar seen: What is told of its storage class and restore.
    """

    key: str
    size: int
    modified: float
    seen: Seen = attrs.field(factory=Seen)


@attrs.frozen
class Listing:
    """
    A page of a list.

    @ivar objects: The objects.
    @ivar token: What the next page is asked for with; C{None} where there is none.
    """

    objects: list[Listed]
    token: str | None


def listing(body: bytes) -> Listing:
    """
    Parse a list of objects.

    @raise BadDocumentError: It is none.
    """
    root = parse(body, "ListBucketResult")
    objects = []
    for each in root:
        if local(each.tag) == "Contents":
            found = fields(each)
            size, modified = _number(found.get("Size", "")), _time(found.get("LastModified", ""))
            seen = Seen(storage_class=found.get("StorageClass", "").strip(), restore=_restore(each), modified=modified)
            objects.append(Listed(found.get("Key", ""), size, modified, seen))
    about = fields(root)
    token = about.get("NextContinuationToken", "") if about.get("IsTruncated", "") == "true" else ""
    return Listing(objects, token or None)


@attrs.frozen
class Version:
    """
    A version of an object, or a mark that it was removed.

    @ivar key: The key.
    @ivar version: The name of the version, which may be C{null}.
    @ivar size: The size in bytes; 0 for a mark.
    @ivar modified: When it was stored, in seconds since the epoch.
    @ivar is_latest: Whether it is what is found by the key alone.
    @ivar is_mark: Whether it says that the object was removed.
    """

    key: str
    version: str
    size: int
    modified: float
    is_latest: bool
    is_mark: bool


def versions(body: bytes) -> tuple[list[Version], tuple[str, str] | None]:
    """
    Parse a list of versions.

    @return: The versions, and the key and the version that the next page begins after; C{None} where there is none.
    @raise BadDocumentError: It is none.
    """
    root = parse(body, "ListVersionsResult")
    found = []
    for each in root:
        if (kind := local(each.tag)) in ("Version", "DeleteMarker"):
            about, is_mark = fields(each), kind == "DeleteMarker"
            size = 0 if is_mark else _number(about.get("Size", ""))
            modified, is_latest = _time(about.get("LastModified", "")), about.get("IsLatest", "") == "true"
            found.append(Version(about.get("Key", ""), about.get("VersionId", ""), size, modified, is_latest, is_mark))
    about = fields(root)
    more = about.get("IsTruncated", "") == "true"
    return found, (about.get("NextKeyMarker", ""), about.get("NextVersionIdMarker", "")) if more else None


@attrs.frozen
class Upload:
    """
    An upload in parts that is not complete.

    @ivar key: The key that it is for.
    @ivar upload: Its id.
    @ivar begun: When it began, in seconds since the epoch.
    """

    key: str
    upload: str
    begun: float


def uploads(body: bytes) -> tuple[list[Upload], tuple[str, str] | None]:
    """
    Parse a list of uploads.

    @return: The uploads, and the key and the upload that the next page begins after; C{None} where there is none.
    @raise BadDocumentError: It is none.
    """
    root = parse(body, "ListMultipartUploadsResult")
    found = [fields(each) for each in root if local(each.tag) == "Upload"]
    about = fields(root)
    more = about.get("IsTruncated", "") == "true"
    after = (about.get("NextKeyMarker", ""), about.get("NextUploadIdMarker", "")) if more else None
    return [
        Upload(each.get("Key", ""), each.get("UploadId", ""), _time(each.get("Initiated", ""))) for each in found
    ], after


def field(body: bytes, root: str, name: str) -> str:
    """
    The text of one element of a document.

    @raise BadDocumentError: There is none.
    """
    value = fields(parse(body, root)).get(name)
    if not value:
        raise BadDocumentError(f"{root} without {name}")
    return value


def completion(parts: Iterable[Mapping[str, str]]) -> bytes:
    """The document that completes an upload: for each part the elements that the store is to compare."""
    text = "".join(
        f"<Part>{''.join(f'<{name}>{escape(value)}</{name}>' for name, value in part.items())}</Part>" for part in parts
    )
    return f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{text}</CompleteMultipartUpload>'.encode()


def http_time(text: str) -> float | None:
    """A time as headers have it, in seconds since the epoch; C{None} where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _restore(listed: ET.Element) -> Restore | None:
    """What a list tells of an object's restore; C{None} where it tells nothing."""
    for each in listed:
        if local(each.tag) == "RestoreStatus":
            found = fields(each)
            ongoing = found.get("IsRestoreInProgress", "").strip().lower() == "true"
            expiry = date_in(found.get("RestoreExpiryDate", ""))
            return Restore(ongoing=ongoing, expiry=expiry)
    return None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise BadDocumentError("a size that is none")
    return int(text)


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise BadDocumentError("a time that is none") from None
