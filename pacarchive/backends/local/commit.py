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
from pacarchive.backends.local.filetimes import set_time
from pacarchive.backends.local.hidden import make_temporary
from pacarchive.backends.local.syscalls import READ_FLAGS, open_beneath, release, start_writeback
from pacarchive.backends.local.tree import FileTree, translating
from pacarchive.digests import PRIMARY, Buffer, Digests, Hasher
from pacarchive.model import FileStatus, Overwrite, WriteConditions

FILE_MODE = 0o444
_COPY_BLOCK = 4 << 20
_WRITEV_MOST = 512
_UNNAMED_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE
_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})


@attrs.define
class Draft:
    """
    A file that is not published yet.

    @ivar descriptor: Open for reading and writing.
    @ivar temporary: Its name among the tree's temporaries, where it has one.
    @ivar size: Bytes written so far.
    @ivar published: Whether it is known to have been published.
    @ivar replaced: A descriptor of the version whose place it took, while that may come back (L{settle}).
    """

    tree: FileTree
    descriptor: int
    temporary: str | None
    size: int = 0
    published: bool = False
    replaced: int = -1

    @classmethod
    def create(cls, tree: FileTree) -> Draft:
        """
        Make an empty draft on the archive's file system.

        @raise errors.ArchiveError: The file system refuses.
        """
        with translating("Can't open posix file"):
            try:
                return cls(tree, os.open(".", _UNNAMED_FLAGS, 0o600, dir_fd=tree.root), None)
            except OSError as error:
                if error.errno not in _NO_UNNAMED_FILES:
                    raise
            return cls(tree, *make_temporary(tree.temporaries))

    def write(self, pieces: Sequence[Buffer]) -> None:
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
            complete(self.tree, self.descriptor, mtime_ns, digests, file_id)
            self.tree.sync(self.descriptor)
        status = self.publish(file_id, digests, conditions, self.tree.sync)
        self.settle()
        return status

    def publish(
        self, file_id: int, digests: Digests, conditions: WriteConditions, sync_directory: Callable[[int], None]
    ) -> FileStatus:
        """
        Publish a file that is complete and durable, and sync its directory.  L{settle} follows.

        @param sync_directory: Called with the directory of the file, which is to be synced before the file is
            acknowledged.
        @return: The status of the published version.
        """
        tree, kept = self.tree, None
        with (
            translating("Can't write posix file"),
            tree.directory_of(file_id, make=True) as (directory, name),
        ):
            if conditions.if_match is not None or not self._take_free_name(directory, name):
                with tree.locked(file_id):
                    kept = self.place(file_id, (directory, name), digests, conditions)
            # Also when nothing was published: whoever linked the version that was kept may not have got as far as this.
            sync_directory(directory)
            return kept or tree.status_of(os.fstat(self.descriptor), file_id, digests)

    def place(
        self,
        file_id: int,
        place: tuple[int, str],
        digests: Digests,
        conditions: WriteConditions,
        finish: Callable[[], None] = lambda: None,
    ) -> FileStatus | None:
        """
        Make the file visible under its id, if the conditions let it.  Called with the id locked: nobody frees or
        replaces the name meanwhile, so the version that is held against the conditions is the one that is replaced.

        @param place: The id's directory, and its name there.
        @param finish: Called when it is decided that the file is wanted, before it gets the name: does what is lacking
            to make it complete and durable.
        @return: The version that was kept, because it has the same bytes (L{Overwrite.IDENTICAL}) or is this very file.
        """
        tree = self.tree
        while True:
            current = tree.published(file_id)
            if current is not None and _is_published(self.descriptor, *place):
                finish()
                return tree.status(file_id)
            conditions.require(current)
            if (
                current is not None
                and conditions.overwrite is Overwrite.IDENTICAL
                and _is_to_be_kept(tree, current, os.fstat(self.descriptor).st_size, digests)
            ):
                return current
            finish()
            if current is None:
                if self._take_free_name(*place):
                    return None
                if tree.published(file_id) is not None:
                    continue  # somebody has taken the free name, which needs no lock
                _require_replaceable(conditions)
            self._replace(*place)
            return None

    def _take_free_name(self, directory: int, name: str) -> bool:
        """Link the file under its name; no lock is needed, the system call decides.  False where that cannot be."""
        try:
            link(self.descriptor, directory, name)
        except FileExistsError:
            return False
        if self.temporary is not None:
            self.drop_temporary()  # now, because it changes the ctime, and the status is taken next
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # as in _replace
        self.published = True
        return True

    def _replace(self, directory: int, name: str) -> None:
        if self.temporary is None:
            self.temporary = uuid.uuid4().hex
            # Locked before it is linked: a sweep never takes it for a dead writer's.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            link(self.descriptor, self.tree.temporaries, self.temporary)
        try:
            replaced = open_beneath(directory, name, READ_FLAGS)
        except OSError:  # there is none, or it is no file: a symbolic link is replaced, not followed
            replaced = -1
        try:
            is_last_name = replaced >= 0 and os.fstat(replaced).st_nlink == 1
            os.rename(self.temporary, name, src_dir_fd=self.tree.temporaries, dst_dir_fd=directory)
            self.temporary, self.published = None, True
            # While the id is locked: the next who moves this very file on locks it as well.
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            if is_last_name:
                self.replaced, replaced = replaced, -1
        finally:
            if replaced >= 0:
                release(replaced)

    def settle(self) -> None:
        """The name is durable: what the replaced version leaves is removed.  Not before, as a crash may restore it."""
        if self.replaced >= 0:
            self.tree.fixity.forget(self.replaced)

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
        replaced, self.replaced = self.replaced, -1
        if replaced >= 0:
            release(replaced)

    close = discard

    def drop_temporary(self) -> None:
        """Remove the name among the temporaries, where there is one; raises nothing."""
        temporary, self.temporary = self.temporary, None
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self.tree.temporaries)


def complete(tree: FileTree, descriptor: int, mtime_ns: int | None, digests: Digests, file_id: int) -> None:
    """
    Give a new file all that belongs to it but its name.  It is to be synced next.

    @raise errors.InvalidRequest: The file system cannot keep this time.
    """
    if mtime_ns is not None:
        set_time(descriptor, mtime_ns)
    tree.fixity.store(descriptor, digests, file_id)  # before the mode: attributes need the right to write
    os.fchmod(descriptor, FILE_MODE)


def link(descriptor: int, directory: int, name: str) -> None:
    """
    Give an open file a name; fails where the name is taken.

    Both directory arguments are needed: without them Python calls link(2), which does not follow the link in /proc.
    """
    os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)


def _require_replaceable(conditions: WriteConditions) -> None:
    """
    Called where something is in the place of an id, and no file can be seen there: a symbolic link, or what cannot be
    told.  No condition that keeps files may be taken for fulfilled by that.

    @raise errors.PreconditionFailed: By C{if_absent}.
    @raise errors.AlreadyExists: By the overwrite policy.
    """
    if conditions.if_absent:
        raise errors.PreconditionFailed("The place of the id is taken, and was to be free.")
    if conditions.overwrite is not Overwrite.ALLOW:
        raise errors.AlreadyExists("The place of the id is taken, and this archive does not overwrite.")


def _is_published(descriptor: int, directory: int, name: str) -> bool:
    """Whether an open file is the published version itself."""
    return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor))


def _is_to_be_kept(tree: FileTree, current: FileStatus, size: int, digests: Digests) -> bool:
    """
    Whether the published version, which has the same bytes as a durable draft, needs no replacement by that.

    It does where it was put there by a program that may not have synced it: there is no digest then, or a sync fails.

    @param size: Of the draft; likewise C{digests}.
    @raise errors.AlreadyExists: It has other bytes.
    """
    if current.size == size:
        descriptor, _, status = tree.open_stored(current.file_id)
        try:
            stored = status.digests.get(PRIMARY)
            if stored is None:
                tree.require_readable(descriptor)
                if compute_digests(descriptor, [PRIMARY])[PRIMARY] == digests[PRIMARY]:
                    return False
            elif stored == digests[PRIMARY]:
                return tree.is_durable(descriptor)
        finally:
            release(descriptor)
    raise errors.AlreadyExists("The id is taken by a file with other bytes.")


def compute_digests(descriptor: int, algorithms: Sequence[str]) -> dict[str, bytes]:
    """Read a whole file for its digests."""
    hasher, offset = Hasher(algorithms), 0
    while block := os.pread(descriptor, _COPY_BLOCK, offset):
        hasher.update(block)
        offset += len(block)
    return hasher.digests()
