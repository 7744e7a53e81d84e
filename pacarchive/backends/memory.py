"""The C{memory} backend: files in a dictionary, which are lost when the process ends.

For tests and demonstrations, and the reference to read before writing another backend: it implements all that
L{pacarchive.interfaces} requires, and the list of files that it does not.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from heapq import nsmallest

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from pacarchive import errors
from pacarchive.digests import PRIMARY, Digests, Hasher
from pacarchive.ids import parse_file_id
from pacarchive.interfaces import BackendSettings, IArchiveBackend, IIncomingFile, IInventory, IStoredFile
from pacarchive.model import FileStatus, Health, InventoryPage, Locality, Overwrite, WriteConditions
from pacarchive.texts import counted
from pacarchive.times import SECOND


@attrs.frozen
class MemorySettings:
    """The C{memory} backend has no settings: C{[memory]}."""


def make(reactor: IReactorTime, settings: BackendSettings) -> IArchiveBackend:
    """Build the backend (L{pacarchive.interfaces.IBackendProvider.make})."""
    return MemoryArchive(reactor)


@attrs.frozen
class _Version:
    """A published version; it is immutable, so that readers keep theirs while it is replaced."""

    data: bytes
    status: FileStatus


@implementer(IArchiveBackend, IInventory)
class MemoryArchive(Service):
    """
    An L{IArchiveBackend} in memory.

    @param clock: The source of time.
    """

    name = "backend"

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._versions: dict[int, _Version] = {}
        self._generation = 0

    async def receive(
        self, file_id: int, size: int | None, conditions: WriteConditions, algorithms: Collection[str]
    ) -> IIncomingFile:
        conditions.require(self._published(file_id))
        return _Incoming(self, file_id, conditions, {PRIMARY, *algorithms})

    async def open(self, file_id: int) -> IStoredFile:
        return _Stored(self._version(file_id))

    async def status(self, file_id: int) -> FileStatus:
        return self._version(file_id).status

    async def move(self, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
        raise errors.NotPermitted("This archive is in memory; there is nothing to move in.")

    async def remove(self, file_id: int, conditions: WriteConditions) -> None:
        WriteConditions(if_match=conditions.if_match).require(self._version(file_id).status)
        del self._versions[file_id]

    async def inventory(
        self, place: str, most: int, *, ids: Container[int] | None = None, digests: bool = True, locality: bool = True
    ) -> InventoryPage:
        """List files by id; a place is the next id to look at."""
        try:
            first = parse_file_id(place or "0")
        except ValueError:
            raise errors.InvalidRequest("There is no such place in the list of files.") from None
        found = nsmallest(most + 1, (file_id for file_id in self._versions if file_id >= first))
        some = {each: self._versions[each].status for each in found[:most] if ids is None or each in ids}
        return InventoryPage(some, str(found[most]) if len(found) > most else None)

    async def health(self) -> Health:
        return Health(True, f"{counted(len(self._versions), 'file')} in memory")

    def publish(
        self, file_id: int, data: bytes, mtime_ns: int | None, digests: Digests, conditions: WriteConditions
    ) -> FileStatus:
        """Publish a complete file.  The conditions are checked again, as time has passed since C{receive}."""
        current = self._published(file_id)
        conditions.require(current)
        if current is not None and conditions.overwrite is Overwrite.IDENTICAL:
            if current.digests[PRIMARY] == digests[PRIMARY]:
                return current
            raise errors.AlreadyExists("The id is taken by a file with other bytes.")
        now = int(self._clock.seconds() * SECOND)
        self._generation += 1
        status = FileStatus(
            file_id=file_id,
            path=f"memory:{file_id}",
            size=len(data),
            mtime_ns=now if mtime_ns is None else mtime_ns,
            ctime_ns=now,
            bytes_per_level=(len(data),),
            media=("disk",),
            locality=Locality.DISK,
            digests=digests,
            generation=str(self._generation),
        )
        self._versions[file_id] = _Version(data, status)
        return status

    def _published(self, file_id: int) -> FileStatus | None:
        version = self._versions.get(file_id)
        return None if version is None else version.status

    def _version(self, file_id: int) -> _Version:
        try:
            return self._versions[file_id]
        except KeyError:
            raise errors.NotFound("No file has this id.") from None


@implementer(IIncomingFile)
class _Incoming:
    """A file that is not visible before C{commit}."""

    def __init__(
        self, archive: MemoryArchive, file_id: int, conditions: WriteConditions, algorithms: Collection[str]
    ) -> None:
        self._archive = archive
        self._file_id = file_id
        self._conditions = conditions
        self._hasher = Hasher(algorithms)
        self._data = bytearray()

    async def write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._hasher.update(piece)
            self._data += piece

    async def commit(self, mtime_ns: int | None, expected: Digests) -> FileStatus:
        digests = self._hasher.digests()
        for name, digest in expected.items():
            if digests[name] != digest:
                raise errors.DigestMismatch(f"The {name} digest of the body is {digests[name].hex()}.")
        return self._archive.publish(self._file_id, bytes(self._data), mtime_ns, digests, self._conditions)

    async def abort(self) -> None:
        self._data.clear()


@implementer(IStoredFile)
class _Stored:
    """One version, open for reading."""

    def __init__(self, version: _Version) -> None:
        self._version = version
        self.status = version.status

    async def read(self, offset: int, length: int) -> bytes:
        return self._version.data[offset : offset + length]

    async def remember(self, digests: Digests) -> None:
        """Do nothing: every version has its digests already."""

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
