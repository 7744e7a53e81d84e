"""Where the objects of a file are, and the record of it: the small object whose conditional PUT is the commit.

Data is stored first, under a key that is used once.  Then one PUT of the record publishes it, under the condition that
the record is still the one that was looked at, or that there is none.  So a reader finds one whole version, always, and
of all who write an id at the same time one wins.  A record has a version of its own and so an entity tag of its own,
also where the bytes are the same.

A small file has no data object: its bytes are in the record, behind the line that describes them.

A file that was removed leaves a record that says so.  And each record names those that it took the place of: so whoever
has got no answer to a PUT of his, and finds another's record, can tell whether his own was there between.
"""

from __future__ import annotations

import json
import re
from uuid import uuid4
from zlib import crc32

import attrs

from pacarchive import errors
from pacarchive.digests import ALGORITHMS, Digests
from pacarchive.ids import parse_file_id
from pacarchive.model import FileStatus, Locality

HEAD = 4096
"""The most bytes of a record's first line."""

GONE_SIZE = 1021
"""The size of a record of a file that was removed, by which it is told in a list: hardly any other has it."""

_REMEMBERED = 16
_FORMAT = 1
_VERSION = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_PLACE = re.compile(r"([0-9a-f]{2})/([0-9]+)\Z", re.ASCII)
_DATA = re.compile(r"([0-9a-f]{2}/[0-9]+)/([0-9a-f]{32})\Z", re.ASCII)


class Damaged(errors.BackendUnavailable):
    """A record cannot be read."""


@attrs.frozen
class Data:
    """
    The object that has the bytes of a file.

    @ivar tag: Its entity tag.
    @ivar version: Its version, in a bucket that keeps them; else empty.
    """

    tag: str
    version: str


@attrs.frozen(kw_only=True)
class Record:
    """
    What is known of one version of a file; or, if C{removed}, that there was one.

    @ivar file_id: The id.
    @ivar version: A name that no other version has, of any file; also of its data object.
    @ivar size: The size in bytes.
    @ivar mtime_ns: As of a status; likewise C{ctime_ns} and C{digests}.
    @ivar data: The object with the bytes; C{None} where they are in C{body}.
    @ivar body: The bytes of a small file.
    @ivar removed: Whether the file was removed.
    @ivar before: The marks of the last records that it took the place of, the newest first.
    @ivar first: The mark of the record that took no other's place, from which on that went on; empty if not known.
    """

    file_id: int
    version: str = attrs.field(factory=lambda: uuid4().hex)
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    digests: Digests = attrs.field(factory=dict)
    data: Data | None = None
    body: bytes = b""
    removed: bool = False
    before: tuple[str, ...] = ()
    first: str = ""

    @property
    def mark(self) -> str:
        """What the record is called in those that take its place."""
        return self.version[:16]

    def after(self, replaced: Record | None) -> Record:
        """This record as what takes the place of another; or of C{None}, where there is none."""
        if replaced is None:
            return attrs.evolve(self, first=self.mark)
        return attrs.evolve(self, before=(replaced.mark, *replaced.before)[:_REMEMBERED], first=replaced.first)

    def has_followed(self, other: Record) -> bool:
        """Whether this is another record, or it is certain that the other one was there before."""
        return self.version == other.version or other.mark in (*self.before, self.first)

    def encode(self) -> list[bytes]:
        """The record as it is stored."""
        document: dict[str, object] = {
            "pacarchive": _FORMAT,
            "file": str(self.file_id),
            "version": self.version,
            "ctime": self.ctime_ns,
            "before": self.before,
            "first": self.first,
        }
        if self.removed:
            document["removed"] = True
        else:
            document |= {
                "size": self.size,
                "mtime": self.mtime_ns,
                "digests": {name: digest.hex() for name, digest in self.digests.items()},
            }
        if self.data is not None:
            document["data"] = {"tag": self.data.tag, "version": self.data.version}
        head = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        if self.removed:
            return [head[:-1].ljust(GONE_SIZE - 1) + b"\n"]
        return [head, self.body] if self.body else [head]


def decode(stored: bytes, file_id: int, *, whole: bool) -> Record:
    """
    Read a record.

    @param stored: The record, or its first L{HEAD} bytes.
    @param whole: Whether it is all of it.
    @raise Damaged: It is none, or another file's.
    """
    head, line_end, body = stored.partition(b"\n")
    try:
        document = json.loads(head)
        if not line_end or document["pacarchive"] != _FORMAT or document["file"] != str(file_id):
            raise ValueError
        version, removed = document["version"], document.get("removed", False) is True
        if not _VERSION.match(version):
            raise ValueError
        before, first = tuple(map(str, document.get("before", ()))), str(document.get("first", ""))
        if removed:
            ctime_ns = int(document["ctime"])
            return Record(file_id=file_id, version=version, ctime_ns=ctime_ns, removed=True, before=before, first=first)
        data = None
        if (found := document.get("data")) is not None:
            data = Data(str(found["tag"]), str(found["version"]))
        size = int(document["size"])
        if size < 0 or (whole and data is None and len(body) != size):
            raise ValueError
        digests = {name: bytes.fromhex(digest) for name, digest in document["digests"].items() if name in ALGORITHMS}
        return Record(
            file_id=file_id,
            version=version,
            size=size,
            mtime_ns=int(document["mtime"]),
            ctime_ns=int(document["ctime"]),
            digests=digests,
            data=data,
            body=body if whole and data is None else b"",
            before=before,
            first=first,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged("What is known of this file cannot be read.") from error


@attrs.frozen
class Layout:
    """
    The keys of an archive.

    @ivar bucket: The bucket.
    @ivar prefix: What all keys begin with; empty, or ending in a slash.
    """

    bucket: str
    prefix: str

    @property
    def records(self) -> str:
        """What the keys of all records begin with."""
        return f"{self.prefix}i/"

    @property
    def data(self) -> str:
        """What the keys of all data begin with."""
        return f"{self.prefix}d/"

    @property
    def garbage(self) -> str:
        """What the keys of all marks begin with, each of which says of data that nothing needs it any more."""
        return f"{self.prefix}g/"

    @property
    def probes(self) -> str:
        """What the keys begin with by which it is found out what the store heeds."""
        return f"{self.prefix}p/"

    def record_key(self, file_id: int) -> str:
        """The key of a file's record."""
        return f"{self.records}{place_of(file_id)}"

    def data_key(self, record: Record) -> str:
        """The key of a file's data."""
        return f"{self.data}{place_of(record.file_id)}/{record.version}"

    def garbage_key(self, record: Record) -> str:
        """The key of the mark that a file's data is not needed any more."""
        return f"{self.garbage}{place_of(record.file_id)}/{record.version}"

    def owns(self, key: str) -> bool:
        """Whether a key is one of the archive's own."""
        return key.startswith((self.records, self.data, self.garbage, self.probes))

    def status(self, record: Record) -> FileStatus:
        """What callers are told of a file."""
        return FileStatus(
            file_id=record.file_id,
            path=f"/{self.bucket}/{self.record_key(record.file_id)}",
            size=record.size,
            mtime_ns=record.mtime_ns,
            ctime_ns=record.ctime_ns,
            bytes_per_level=(record.size,),
            media=("disk",),
            locality=Locality.DISK,
            digests=record.digests,
            generation=record.version,
        )


def place_of(file_id: int) -> str:
    """
    The end of a file's keys.  They are spread over 256 places, also the ids that follow each other, as stores part
    buckets by how keys begin.
    """
    text = str(file_id)
    return f"{crc32(text.encode()) & 0xFF:02x}/{text}"


def file_id_at(place: str) -> int:
    """
    The inverse of L{place_of}.

    @raise ValueError: No file has this place.
    """
    if (match := _PLACE.match(place)) is None:
        raise ValueError("no place")
    file_id = parse_file_id(match[2])
    if place_of(file_id) != place:
        raise ValueError("no place of a file")
    return file_id


def data_at(place: str) -> tuple[int, str]:
    """
    The file and the version that the end of a data key names.

    @raise ValueError: It is none.
    """
    if (match := _DATA.match(place)) is None:
        raise ValueError("no data key")
    return file_id_at(match[1]), match[2]
