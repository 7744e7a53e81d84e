"""Add and remove files of an L{HpssTree}: the order of steps behind an acknowledgement.

    temporary name -> data -> hpss_Fsync, hpss_Close -> digests as attributes -> mtime -> mode 0444
    -> size and mtime compared -> hpss_Rename over the old version, or hpss_Link under a name that must be free
    -> answer

The target is never opened for writing: the old version stays whole until HPSS replaces the name.  A crash at any step
leaves the old version or the new one; a temporary that it also leaves is swept later.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import Attributes, HpssError, Kind
from pacarchive.backends.hpss.openfile import OpenFile
from pacarchive.backends.hpss.residency import Residency, residency_of
from pacarchive.backends.hpss.translation import translating
from pacarchive.backends.hpss.tree import HpssTree, unless_there
from pacarchive.digests import PRIMARY, Buffer, Digests, Hasher
from pacarchive.model import FileStatus, Overwrite, WriteConditions
from pacarchive.times import SECOND

FILE_MODE = 0o444
_DIRECTORY_MODE = 0o755
_COMPARED_BLOCK = 8 << 20
_FARTHEST_TIME = 2**32 - 1  # timestamp_sec_t is unsigned and has 32 bits; zero stands for a time that is not set

_log = Logger()


class Draft:
    """
    A file that is not published yet.  Creates a temporary.

    @param tree: The archive that it will be published in.
    @param size: The expected size in bytes; C{None} where it is not known.
    @param block: The size of writes, in bytes.
    @param cos: The class of service; C{None} lets HPSS choose by the size.
    @param family: The file family; C{None} for none.
    @raise errors.ArchiveError: The temporary cannot be created.
    """

    def __init__(self, tree: HpssTree, size: int | None, block: int, cos: int | None, family: int | None) -> None:
        self._tree = tree
        self._path = tree.new_temporary()
        self._buffer = memoryview(bytearray(block if size is None else max(1, min(block, size))))
        self._filled = 0
        self._size = 0
        self._published = False
        with translating("Can't open hpss file", absent=errors.BackendUnavailable):
            try:
                self._file = OpenFile.create(tree.session, self._path, size, cos, family)
            except HpssError:
                tree.drop(self._path)  # it may have been created, and only the answer lost
                raise

    def write(self, data: Buffer) -> None:
        """
        Append data.

        @raise errors.NoSpace: The storage is full; other failures raise other L{errors.ArchiveError}s.
        """
        view = memoryview(data)
        while view:
            count = min(len(view), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + count] = view[:count]
            self._filled += count
            view = view[count:]
            if self._filled == len(self._buffer):
                self._flush()

    def commit(self, file_id: int, mtime_ns: int | None, digests: Digests, conditions: WriteConditions) -> FileStatus:
        """
        Complete the file, make it durable, and publish it.  L{discard} must be called afterwards in any case.

        @param mtime_ns: The modification time in nanoseconds since the epoch, of which HPSS stores whole seconds;
            C{None} leaves the time of the last write.
        @param digests: Those of the data, to be stored with it.
        @param conditions: What must hold of the version under this id.
        @return: The status of the published version.
        @raise errors.InvalidRequest: HPSS cannot store this time.
        """
        mtime = None if mtime_ns is None else mtime_ns // SECOND
        if mtime is not None and not 0 < mtime <= _FARTHEST_TIME:
            raise errors.InvalidRequest("HPSS keeps times from the first second after the start of 1970 to 2106 only.")
        self._flush()
        session = self._tree.session
        with translating("Can't write hpss file", absent=errors.BackendUnavailable):
            self._file.finish()
            self._tree.store_digests(self._path, digests, self._size)
            if mtime is not None:
                session.call(client.utime, self._path, mtime, mtime)
            session.call(client.chmod, self._path, FILE_MODE)
            stored = session.call(client.attributes, self._path)
            if stored.size != self._size:
                raise errors.BackendUnavailable(f"HPSS kept {stored.size} of {self._size} bytes.")
            if mtime is not None and stored.mtime != mtime:
                raise errors.BackendUnavailable("HPSS kept another time than it was given.")
            status = publish(self._tree, self._path, file_id, digests, conditions)
        self._published = True
        return status

    def discard(self) -> None:
        """Close the file, and remove it if it was not published.  Raises nothing."""
        self._file.close()
        if not self._published:
            self._tree.drop(self._path)

    close = discard

    def _flush(self) -> None:
        with translating("Can't write hpss file", absent=errors.BackendUnavailable):
            self._file.write(self._buffer[: self._filled])
        self._size += self._filled
        self._filled = 0


def publish(tree: HpssTree, source: str, file_id: int, digests: Digests, conditions: WriteConditions) -> FileStatus:
    """
    Give a complete file the name of an id.

    @param source: Its name so far, which no other process uses, and which is gone afterwards.
    @param digests: Those that are stored with it; with the primary one for L{Overwrite.IDENTICAL}.
    @param conditions: What must hold of the version under this id.
    @return: The status of the published version: this one, or the one that was kept because it has the same bytes.
    @raise HpssError: HPSS failed.
    """
    mine = tree.session.call(client.attributes, source)
    with tree.locks.held(file_id):
        return publish_locked(tree, source, mine, file_id, digests, conditions)


def publish_locked(
    tree: HpssTree, source: str, mine: Attributes, file_id: int, digests: Digests, conditions: WriteConditions
) -> FileStatus:
    """
    Do what L{publish} does; the id must be locked, and that of C{source} too where it is the name of one.

    @param mine: The attributes of the file.
    """
    target = tree.path_of(file_id)
    _require_directories(tree, target)
    tree.forget_left_over(target)
    if conditions.unconditional:
        _replace(tree, source, file_id)
    else:
        while True:
            current = tree.published(file_id)
            conditions.require(current)
            if current is None:
                if not _take_free_name(tree, source, file_id, mine.file_id):
                    _refuse_what_is_no_file(tree, target)
                    continue  # another machine has taken the name meanwhile
            elif conditions.overwrite is Overwrite.IDENTICAL:
                current = _with_same_bytes(tree, current, mine.size, digests)
                tree.drop(source, mine.file_id)
                return current
            else:
                _replace(tree, source, file_id)
            break
    try:
        found = tree.attributes(target)
    except errors.NotFound:  # removed on another machine already
        found = mine
    if found.file_id == mine.file_id:
        mine = found
        tree.cache_digests(target, mine, digests)
    return tree.status_of(file_id, mine, digests)


def remove(tree: HpssTree, file_id: int, conditions: WriteConditions) -> None:
    """Remove a file (L{pacarchive.interfaces.IArchiveBackend.remove})."""
    with translating("Can't remove hpss file"), tree.locks.held(file_id):
        if conditions.if_match is not None:
            WriteConditions(if_match=conditions.if_match).require(tree.status(file_id))
        else:
            tree.refuse_links(tree.path_of(file_id))
        tree.session.call(client.unlink, tree.path_of(file_id))


def computed_digests(tree: HpssTree, path: str, found: Attributes) -> dict[str, bytes]:
    """
    Read a whole file to compute its primary digest.

    @raise errors.AlreadyExists: It would have to be recalled for that.
    """
    if residency_of(found.size, found.levels) is not Residency.RESIDENT:
        raise errors.AlreadyExists("The id is taken, and the bytes cannot be compared without recalling a file.")
    hasher, offset = Hasher([PRIMARY]), 0
    buffer = memoryview(bytearray(_COMPARED_BLOCK))
    file = OpenFile.read_only(tree.session, path, found.file_id)
    try:
        while offset < found.size:
            part = buffer[: found.size - offset]
            file.read_into(offset, part)
            hasher.update(part)
            offset += len(part)
    finally:
        file.close()
    return hasher.digests()


def _with_same_bytes(tree: HpssTree, current: FileStatus, size: int, digests: Digests) -> FileStatus:
    """
    Check that the published version has the bytes of a new file.  If its digest has to be computed, it is stored.

    @return: Its status.
    @raise errors.AlreadyExists: It has other bytes, or that cannot be decided.
    """
    if current.size == size:
        stored = current.digests.get(PRIMARY)
        if stored is not None:
            if stored == digests[PRIMARY]:
                return current
        else:
            path = tree.path_of(current.file_id)
            computed = computed_digests(tree, path, tree.attributes(path))
            if computed[PRIMARY] == digests[PRIMARY]:
                tree.add_digests(path, computed, size)
                return tree.status(current.file_id)
    raise errors.AlreadyExists("The id is taken by a file with other bytes.")


def _replace(tree: HpssTree, source: str, file_id: int) -> None:
    """
    Rename a file to the name of an id, replacing the version there.

    @raise errors.NotAFile: Something else has the name; HPSS has several errors for that.
    """
    try:
        _publish_by(tree, client.rename, source, file_id)
    except HpssError as error:
        with suppress(HpssError):
            kind = tree.session.call(client.lstat, tree.path_of(file_id)).kind
            if kind not in (Kind.FILE, Kind.SYMLINK):
                raise errors.NotAFile("What is in the place of this id is not a file.") from error
        raise


def _take_free_name(tree: HpssTree, source: str, file_id: int, identity: int) -> bool:
    """
    Give a file the name of an id if that is free.  HPSS decides it, and so it holds between machines too.

    @return: Whether it was free.
    """
    try:
        _publish_by(tree, client.link, source, file_id)
    except HpssError as error:
        if error.errno == errno.EEXIST:
            return False
        raise
    tree.drop(source, identity, linked=True)
    return True


def _require_directories(tree: HpssTree, path: str) -> None:
    """
    Check that the directories on a path are directories, as far as they exist.

    @raise errors.NotAFile: One of them is something else.
    """
    for directory in tree.directories_of(path):
        try:
            kind = tree.session.call(client.lstat, directory).kind
        except HpssError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        if kind is not Kind.DIRECTORY:
            raise errors.NotAFile("Something that is not a directory is on the way to this id.")


def _refuse_what_is_no_file(tree: HpssTree, path: str) -> None:
    """
    Check that a name is free or that of a file.

    @raise errors.AlreadyExists: Something else has it.
    """
    try:
        kind = tree.session.call(client.lstat, path).kind
    except HpssError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    if kind is not Kind.FILE:
        raise errors.AlreadyExists("The id is taken by something that is not a file.")


def _publish_by(tree: HpssTree, call: Callable[[str, str], None], source: str, file_id: int) -> None:
    """Rename or link a file to the name of an id; create its directories if that fails because they are missing."""
    target = tree.path_of(file_id)
    try:
        tree.session.call(call, source, target)
    except HpssError as error:
        if error.errno != errno.ENOENT:
            raise
        _make_parents(tree, target)
        tree.session.call(call, source, target)


def _make_parents(tree: HpssTree, path: str) -> None:
    """Create the directories between the prefix and a file; the prefix itself is never created."""
    missing: list[str] = []
    directory = posixpath.dirname(path)
    while directory != tree.prefix:
        try:
            with unless_there():
                tree.session.call(client.mkdir, directory, _DIRECTORY_MODE)
            break
        except HpssError as error:
            if error.errno != errno.ENOENT:
                raise
            missing.append(directory)
            directory = posixpath.dirname(directory)
    for each in reversed(missing):
        with unless_there():
            tree.session.call(client.mkdir, each, _DIRECTORY_MODE)
