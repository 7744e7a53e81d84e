"""Adding and removing files of an L{HpssTree}: the order of steps behind an acknowledgement.

    temporary name -> data -> hpss_Fsync, hpss_Close -> digests as attributes -> mtime -> mode 0444
    -> size and mtime compared -> hpss_Rename over the old version, or hpss_Link under a name that must be free
    -> answer

The target is never opened for writing: what is there stays whole until HPSS exchanges the name.  A crash anywhere
leaves the old state or the new one; the temporary that it may leave as well is swept.

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
from pacarchive.backends.hpss.tree import HpssTree, unless_there
from pacarchive.backends.hpss.words import translating
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
    A file that is not published yet.

    @param tree: Where it is going to be.
    @param size: The expected size in bytes, if it is known.
    @param block: How much is written at a time.
    @param cos: The class of service; C{None} lets HPSS choose by the size.
    @param family: The file family, if it is to have one.
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
                tree.drop(self._path)  # an answer that was lost does not mean that nothing was made
                raise

    def write(self, data: Buffer) -> None:
        """
        Append.

        @raise errors.NoSpace: The storage is full; likewise other L{errors.ArchiveError}.
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
        Complete the file, make it durable, and publish it.  L{discard} must follow in any case.

        @param mtime_ns: Nanoseconds since the epoch, of which HPSS keeps whole seconds; C{None} keeps the time of the
            last write.
        @return: The status of the published version.
        @raise errors.InvalidRequest: HPSS cannot keep this time.
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
        """Release the file; if it was not published, it is gone.  Raises nothing."""
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
    Give a complete file its place.

    @param source: Its name so far, which nobody else uses, and which is gone afterwards.
    @param digests: Those that are stored with it, with the primary one for L{Overwrite.IDENTICAL}.
    @return: The status of the published version: this one, or the one that was kept because it has the same bytes.
    @raise HpssError: HPSS failed.
    """
    mine = tree.session.call(client.attributes, source)
    with tree.locks.held(file_id):
        return place(tree, source, mine, file_id, digests, conditions)


def place(
    tree: HpssTree, source: str, mine: Attributes, file_id: int, digests: Digests, conditions: WriteConditions
) -> FileStatus:
    """
    L{publish} with the id locked, and that of the source's name, where it is an id's.

    @param mine: The attributes of the file.
    """
    target = tree.path_of(file_id)
    _require_directories(tree, target)
    tree.is_wanted_again(target)
    if conditions.unconditional:
        _replace(tree, source, file_id)
    else:
        while True:
            current = tree.published(file_id)
            conditions.require(current)
            if current is None:
                if not _take_free_name(tree, source, file_id, mine.file_id):
                    _refuse_what_is_no_file(tree, target)
                    continue  # another machine has taken it since we looked
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
        tree.know(target, mine, digests)
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
    Read a whole file for its primary digest.

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
    The published version, with a digest: one that has to be computed is stored.

    @raise errors.AlreadyExists: It has other bytes, or that cannot be told.
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
    Rename a file to its place, over what is there.

    @raise errors.NotAFile: That is no file, which HPSS says in many ways.
    """
    try:
        _place(tree, client.rename, source, file_id)
    except HpssError as error:
        with suppress(HpssError):
            kind = tree.session.call(client.lstat, tree.path_of(file_id)).kind
            if kind not in (Kind.FILE, Kind.SYMLINK):
                raise errors.NotAFile("What is in the place of this id is not a file.") from error
        raise


def _take_free_name(tree: HpssTree, source: str, file_id: int, identity: int) -> bool:
    """HPSS decides whether the name is free: also when somebody on another machine wants it."""
    try:
        _place(tree, client.link, source, file_id)
    except HpssError as error:
        if error.errno == errno.EEXIST:
            return False
        raise
    tree.drop(source, identity, linked=True)
    return True


def _require_directories(tree: HpssTree, path: str) -> None:
    """
    @raise errors.NotAFile: Something else is in the place of one of those that there are.
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
    @raise errors.AlreadyExists: The name is neither free nor a file's.
    """
    try:
        kind = tree.session.call(client.lstat, path).kind
    except HpssError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    if kind is not Kind.FILE:
        raise errors.AlreadyExists("The id is taken by something that is not a file.")


def _place(tree: HpssTree, call: Callable[[str, str], None], source: str, file_id: int) -> None:
    """Rename or link a file to its place; directories are made when it turns out that they are missing."""
    target = tree.path_of(file_id)
    try:
        tree.session.call(call, source, target)
    except HpssError as error:
        if error.errno != errno.ENOENT:
            raise
        _make_parents(tree, target)
        tree.session.call(call, source, target)


def _make_parents(tree: HpssTree, path: str) -> None:
    """Make the directories between the prefix, which is never made, and a file."""
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
