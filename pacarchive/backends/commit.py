"""Adding files to a L{FileTree}: the order of steps behind an acknowledgement.

    unnamed file -> data -> mtime -> digests as attributes -> mode 0444 -> fsync(file)
    -> link(2) under its name, or rename(2) over the old version -> fsync(directory) -> answer

and, before the link, an fsync of every parent directory that may be new.  A crash anywhere leaves the old state whole or
the new state whole.  The unnamed file (C{O_TMPFILE}) vanishes by itself; a short-lived name in the hidden directory is
needed only to replace a version, and on file systems that have no unnamed files.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress

import attrs

from pacarchive import errors
from pacarchive.backends.syscalls import open_beneath, start_writeback
from pacarchive.backends.tree import READ_FLAGS, FileTree, translating
from pacarchive.digests import PRIMARY, Digests, Hasher
from pacarchive.model import FileStatus, Overwrite, WriteConditions

FILE_MODE = 0o444
_COPY_BLOCK = 4 << 20
_WRITEV_MOST = 512
_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})


@attrs.define
class Draft:
    """
    A file that is not published yet.

    @ivar descriptor: Open for reading and writing.
    @ivar temporary: Its name among the tree's temporaries, where it has one.
    @ivar size: Bytes written so far.
    """

    tree: FileTree
    descriptor: int
    temporary: str | None
    size: int = 0

    @classmethod
    def create(cls, tree: FileTree) -> Draft:
        """
        Make an empty draft on the archive's file system.

        @raise errors.ArchiveError: The file system refuses.
        """
        flags = os.O_RDWR | os.O_CLOEXEC
        with translating("Can't open posix file"):
            try:
                return cls(tree, os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=tree.root), None)
            except OSError as error:
                if error.errno not in _NO_UNNAMED_FILES:
                    raise
            name = uuid.uuid4().hex
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=tree.temporaries)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(tree, descriptor, name)

    def write(self, pieces: Sequence[bytes]) -> None:
        """
        Append.

        @raise errors.NoSpace: The file system is full; likewise other L{errors.ArchiveError}.
        """
        with translating("Can't write posix file"):
            for start in range(0, len(pieces), _WRITEV_MOST):
                some = pieces[start : start + _WRITEV_MOST]
                wanted = sum(map(len, some))
                written = os.pwritev(self.descriptor, some, self.size)
                self.size += written
                if written < wanted:  # a full disk, or a signal: the rest tells which
                    self._write_rest(b"".join(some)[written:])

    def _write_rest(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, self.size)
            self.size += written
            rest = rest[written:]

    def start_writeback(self, offset: int) -> int:
        """
        Ask the kernel to begin writing what was appended since C{offset}, without waiting for it.

        @return: How many bytes that were.
        """
        start_writeback(self.descriptor, offset, self.size - offset)
        return self.size - offset

    def commit(self, file_id: int, mtime: float | None, digests: Digests, conditions: WriteConditions) -> FileStatus:
        """
        Complete the file, make it durable, and publish it.  L{discard} must follow in any case.

        @param mtime: Seconds since the epoch; C{None} keeps the time of the last write.
        @param digests: Stored with the file.
        @return: The status of the published version.
        """
        tree = self.tree
        with translating("Can't write posix file"):
            complete(tree, self.descriptor, mtime, digests)
            if not publish(tree, self, file_id, digests, conditions):
                return tree.status(file_id)
            return tree.status_of(os.fstat(self.descriptor), file_id, digests)

    def discard(self) -> None:
        """Release the file; if it was not published, it is gone."""
        if self.descriptor < 0:
            return
        try:
            if os.fstat(self.descriptor).st_nlink == (self.temporary is not None):
                self.tree.fixity.forget(self.descriptor)
            self.drop_temporary()
        finally:
            os.close(self.descriptor)
            self.descriptor = -1

    close = discard

    def drop_temporary(self) -> None:
        """Remove the name among the temporaries, where there is one."""
        if self.temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.temporary, dir_fd=self.tree.temporaries)
            self.temporary = None


def complete(tree: FileTree, descriptor: int, mtime: float | None, digests: Digests) -> None:
    """Give an open file all that belongs to it but its name, and sync it."""
    if mtime is not None:
        nanoseconds = round(mtime * 1e9)
        os.utime(descriptor, ns=(nanoseconds, nanoseconds))
    if digests:
        tree.fixity.store(descriptor, digests)  # before the mode: attributes need the right to write
    os.fchmod(descriptor, FILE_MODE)
    tree.sync(descriptor)


def publish(tree: FileTree, draft: Draft, file_id: int, digests: Digests, conditions: WriteConditions) -> bool:
    """
    Make a complete file visible under its id, and sync its directory.

    @return: Whether it was published; otherwise the stored version has the same bytes and was kept
        (L{Overwrite.IDENTICAL}), or is this very file.
    """
    with tree.directory_of(file_id, make=True) as (directory, name):
        if conditions.if_match is None:
            try:
                link(draft.descriptor, directory, name)
            except FileExistsError:
                pass
            else:
                tree.sync(directory)
                return True
        with tree.locked(file_id):
            current = tree.published(file_id)
            if current is not None and _is_published(tree, draft.descriptor, file_id):
                return False
            conditions.require(current)
            if conditions.overwrite is Overwrite.IDENTICAL and current is not None:
                if stored_digest(tree, file_id) == digests[PRIMARY]:
                    return False
                raise errors.AlreadyExists("The id is taken by a file with other bytes.")
            _replace(tree, draft, directory, name)
            tree.sync(directory)
    return True


def link(descriptor: int, directory: int, name: str) -> None:
    """
    Give an open file a name; fails where the name is taken.

    Both directory arguments are needed: without them Python calls link(2), which does not follow the link in /proc.
    """
    os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)


def _replace(tree: FileTree, draft: Draft, directory: int, name: str) -> None:
    if draft.temporary is None:
        draft.temporary = uuid.uuid4().hex
        # Locked before it is linked: a sweep never takes it for a dead writer's.
        fcntl.flock(draft.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        link(draft.descriptor, tree.temporaries, draft.temporary)
    try:
        replaced = open_beneath(directory, name, READ_FLAGS)
    except FileNotFoundError:
        replaced = -1
    try:
        os.rename(draft.temporary, name, src_dir_fd=tree.temporaries, dst_dir_fd=directory)
        draft.temporary = None
        if replaced >= 0:
            tree.fixity.forget(replaced)
    finally:
        if replaced >= 0:
            os.close(replaced)


def _is_published(tree: FileTree, descriptor: int, file_id: int) -> bool:
    """Whether an open file is the published version itself."""
    with suppress(OSError), tree.directory_of(file_id) as (directory, name):
        return os.path.samestat(
            os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor)
        )
    return False


def stored_digest(tree: FileTree, file_id: int) -> bytes:
    """The primary digest of the published version, computed where none is stored."""
    descriptor, status = tree.open_stored(file_id)
    try:
        stored = status.digests.get(PRIMARY)
        return stored if stored is not None else compute_digests(descriptor, [PRIMARY])[PRIMARY]
    finally:
        os.close(descriptor)


def compute_digests(descriptor: int, algorithms: Sequence[str]) -> dict[str, bytes]:
    """Read a whole file for its digests."""
    hasher, offset = Hasher(algorithms), 0
    while block := os.pread(descriptor, _COPY_BLOCK, offset):
        hasher.update(block)
        offset += len(block)
    return hasher.digests()
