"""Adding files to a L{FileTree}: the order of steps behind an acknowledgement.

    unnamed file -> data -> mtime -> digests as attributes -> mode 0444 -> fsync(file)
    -> link(2) under its name, or rename(2) over the old version -> fsync(directory) -> answer

and, before the link, an fsync of every parent directory that may be new.  A crash anywhere leaves the old state whole
or the new state whole.  The unnamed file (C{O_TMPFILE}) vanishes by itself; a short-lived name in the hidden directory
is needed only to replace a version, and on file systems that have no unnamed files.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs

from pacarchive import errors
from pacarchive.backends.filetimes import set_time
from pacarchive.backends.syscalls import open_beneath, release, start_writeback
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
    @ivar published: Whether it is known to have been published.
    """

    tree: FileTree
    descriptor: int
    temporary: str | None
    size: int = 0
    published: bool = False

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
            while True:
                name = uuid.uuid4().hex
                draft = cls(tree, os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=tree.temporaries), name)
                try:
                    fcntl.flock(draft.descriptor, fcntl.LOCK_EX)
                    if os.fstat(draft.descriptor).st_nlink:
                        return draft
                except OSError:
                    draft.discard()
                    raise
                draft.discard()  # the sweep of a process that starts just now was faster than the lock

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

    def commit(
        self,
        file_id: int,
        mtime_ns: int | None,
        digests: Digests,
        conditions: WriteConditions,
    ) -> FileStatus:
        """
        Complete the file, make it durable, and publish it.  L{discard} must follow in any case.

        @param mtime_ns: Nanoseconds since the epoch; C{None} keeps the time of the last write.
        @param digests: Stored with the file.
        @return: The status of the published version.
        """
        with translating("Can't write posix file"):
            complete(self.tree, self.descriptor, mtime_ns, digests)
            self.tree.sync(self.descriptor)
        return self.publish(file_id, digests, conditions, self.tree.sync)

    def publish(
        self, file_id: int, digests: Digests, conditions: WriteConditions, sync_directory: Callable[[int], None]
    ) -> FileStatus:
        """
        Publish a file that is complete and durable.

        @param sync_directory: Called with the directory of the file, which is to be synced before the file is
            acknowledged.
        @return: The status of the published version.
        """
        tree = self.tree
        with translating("Can't write posix file"):
            if not publish(tree, self, file_id, digests, conditions, sync_directory):
                return tree.status(file_id)
            self.published = True
            return tree.status_of(os.fstat(self.descriptor), file_id, digests)

    def discard(self) -> None:
        """
        Release the file; if it was not published, it is gone.

        Raises nothing: by now it is decided what the caller is told, and a temporary that cannot be removed is for
        the next start's sweep.
        """
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        if not self.published:
            with suppress(OSError):
                if os.fstat(descriptor).st_nlink <= (self.temporary is not None):
                    self.tree.fixity.forget(descriptor)
        self.drop_temporary()
        release(descriptor)

    close = discard

    def drop_temporary(self) -> None:
        """Remove the name among the temporaries, where there is one; raises nothing."""
        temporary, self.temporary = self.temporary, None
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self.tree.temporaries)


def complete(tree: FileTree, descriptor: int, mtime_ns: int | None, digests: Digests) -> None:
    """
    Give an open file all that belongs to it but its name.  It is to be synced next.

    @raise errors.InvalidRequest: The file system cannot keep this time.
    """
    if mtime_ns is not None:
        set_time(descriptor, mtime_ns)
    if digests:
        tree.fixity.store(descriptor, digests)  # before the mode: attributes need the right to write
    os.fchmod(descriptor, FILE_MODE)


def publish(
    tree: FileTree,
    draft: Draft,
    file_id: int,
    digests: Digests,
    conditions: WriteConditions,
    sync_directory: Callable[[int], None],
) -> bool:
    """
    Make a complete file visible under its id, and sync its directory.

    @return: Whether it was published; otherwise the stored version has the same bytes and was kept
        (L{Overwrite.IDENTICAL}), or is this very file.
    """
    with tree.directory_of(file_id, make=True) as (directory, name):
        published = _take_free_name(draft, directory, name, conditions)
        if not published:
            with tree.locked(file_id):
                # Tried again, because it may have become free.  From here on nobody frees or replaces it, so that the
                # version that is held against the conditions is the version that is replaced.
                published = _take_free_name(draft, directory, name, conditions) or _supersede(
                    tree, draft, file_id, (directory, name), digests, conditions
                )
        # Also when nothing was published: whoever linked the version that was kept may not have got as far as this.
        sync_directory(directory)
    return published


def _take_free_name(draft: Draft, directory: int, name: str, conditions: WriteConditions) -> bool:
    """Link the draft under its name; no lock is needed, the system call decides.  False where that cannot be."""
    if conditions.if_match is not None:
        return False
    try:
        link(draft.descriptor, directory, name)
    except FileExistsError:
        return False
    draft.drop_temporary()  # now, because it changes the ctime, and the status is taken next
    return True


def _supersede(
    tree: FileTree,
    draft: Draft,
    file_id: int,
    place: tuple[int, str],
    digests: Digests,
    conditions: WriteConditions,
) -> bool:
    """
    Replace the published version, if the conditions let it be replaced.  Called with the id locked.

    @param place: The id's directory, and its name there.
    @return: As L{publish}.
    """
    current = tree.published(file_id)
    if current is not None and _is_published(draft.descriptor, *place):
        return False
    conditions.require(current)
    if conditions.overwrite is Overwrite.IDENTICAL and current is not None:
        same_size = current.size == os.fstat(draft.descriptor).st_size
        if same_size and _stored_digest(tree, file_id) == digests[PRIMARY]:
            return False
        raise errors.AlreadyExists("The id is taken by a file with other bytes.")
    _replace(tree, draft, *place)
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
    except OSError:  # there is none, or it is no file: a symbolic link is replaced, not followed
        replaced = -1
    try:
        os.rename(draft.temporary, name, src_dir_fd=tree.temporaries, dst_dir_fd=directory)
        draft.temporary = None
        if replaced >= 0:
            tree.fixity.forget(replaced)
    finally:
        if replaced >= 0:
            release(replaced)


def _is_published(descriptor: int, directory: int, name: str) -> bool:
    """Whether an open file is the published version itself."""
    return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor))


def _stored_digest(tree: FileTree, file_id: int) -> bytes:
    """
    The primary digest of the published version, computed where none is stored.

    The version is synced: it is going to be acknowledged, and it may have come from a program that does not sync.
    """
    descriptor, _, status = tree.open_stored(file_id)
    try:
        tree.sync(descriptor)
        stored = status.digests.get(PRIMARY)
        if stored is not None:
            return stored
        tree.require_readable(descriptor)
        return compute_digests(descriptor, [PRIMARY])[PRIMARY]
    finally:
        release(descriptor)


def compute_digests(descriptor: int, algorithms: Sequence[str]) -> dict[str, bytes]:
    """Read a whole file for its digests."""
    hasher, offset = Hasher(algorithms), 0
    while block := os.pread(descriptor, _COPY_BLOCK, offset):
        hasher.update(block)
        offset += len(block)
    return hasher.digests()
