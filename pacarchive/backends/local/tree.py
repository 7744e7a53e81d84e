"""A tree of archived files on a mounted file system: opening, describing, locking and removing them.

Everything here blocks and is called in pool threads.  L{pacarchive.backends.local.commit} adds and moves files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.local.directories import IdDirectories
from pacarchive.backends.local.fixity import FixityStore
from pacarchive.backends.local.groupsync import GroupSync
from pacarchive.backends.local.hidden import HIDDEN, TEMPORARIES, Hidden, named_in, sweep
from pacarchive.backends.local.syscalls import LOOK_FLAGS, READ_FLAGS, open_beneath, release
from pacarchive.digests import Digests
from pacarchive.model import Durability, FileStatus, Locality, WriteConditions

_NOT_TO_BE_OPENED = frozenset({errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP, errno.EACCES})

_log = Logger()


class translating:  # noqa: N801  (a word of the language to those who use it, as C{suppress} is)
    """
    Puts failed system calls into the archive's words.  A class: what a generator costs is paid several times a file.

    @param doing: As of L{translated}.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing has failed yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise translated(error, self._doing) from error


def translated(error: OSError, doing: str) -> errors.ArchiveError:
    """
    Return a failed system call in the archive's words.

    What the system said is kept as the reason, without its file name: the words go to clients.

    @param doing: The predecessor's beginning of the sentence, such as C{"Can't open posix file"}.
    """
    number = error.errno or 0
    reason = f"{doing} with error: [Errno {number}] {os.strerror(number)}"
    match number:
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.EXDEV:
            return errors.NotFound("No file has this id.", reason=reason)
        case errno.ENOSPC | errno.EDQUOT:
            return errors.NoSpace("The archive has no space left for this file.", reason=reason)
        case errno.EISDIR:
            return errors.NotAFile("What is in the place of this id is not a file.", reason=reason)
        case errno.EFBIG:
            return errors.TooLarge("The file system takes no file of this size.", reason=reason)
        case _:
            return errors.BackendUnavailable("The storage failed.", reason=reason)


def _no_file(state: os.stat_result) -> errors.NotFound:
    """What it means that something else is in the place of a file.  A symbolic link is nothing: it is not followed."""
    reason = "Can't open posix file: not a regular file"
    if stat.S_ISLNK(state.st_mode):
        return errors.NotFound("No file has this id.", reason=reason)
    return errors.NotAFile("What is in the place of this id is not a file.", reason=reason)


class FileTree(IdDirectories):
    """
    The files of one archive.

    @param prefix: The archive's root directory.
    @param name_of: Converts an id to a path relative to the prefix.
    @param move_roots: Directories out of which files may be moved into the archive.
    @param durability: Whether to sync.
    @cvar copies: Whether what cannot be linked into place is copied there.
    """

    copies = True

    def __init__(
        self,
        prefix: Path,
        name_of: Callable[[int], str],
        move_roots: Sequence[Path] = (),
        durability: Durability = Durability.FULL,
    ) -> None:
        super().__init__(prefix, name_of, durability)
        self.move_roots = [Path(os.path.realpath(root)) for root in move_roots]

    def open_root(self) -> None:
        """
        Open the prefix, make the hidden directory, and sweep what crashed writers left.

        @raise OSError: The prefix cannot be used; its C{filename} is the whole path of what is wrong.
        @raise errors.BackendUnavailable: Something that is not the archive's own is in the place of what is.
        """
        self.enter()
        try:
            self._hidden = Hidden(self.root, self.prefix, self.sync)
            try:
                hidden = self._hidden
                self.fixity = FixityStore(hidden.sidecars, hidden.temporaries, self.sync, hidden.sidecars_locked)
                with named_in(self.prefix / HIDDEN / TEMPORARIES):
                    self.sweep()
            except BaseException:
                self._hidden.close()
                raise
        except BaseException:
            release(self.root)
            raise

    def close_root(self) -> None:
        """Release the descriptors of L{open_root}."""
        self._hidden.close()
        release(self.root)

    @property
    def temporaries(self) -> int:
        """A descriptor of the directory for temporaries."""
        return self._hidden.temporaries

    def sweep(self) -> int:
        """
        Remove temporaries whose writer is gone.

        @return: How many.
        """
        return sum(1 for _ in sweep(self.temporaries))

    def open_stored(self, file_id: int) -> tuple[int, os.stat_result, FileStatus]:
        """
        Open the published version of a file.

        @return: A descriptor, the caller's to close, and of just that version what the file system tells, and the
            status.
        @raise errors.NotFound: There is none; L{errors.NotAFile} where it is not a regular file.
        """
        return self._open(file_id, READ_FLAGS)

    def look(self, file_id: int) -> tuple[os.stat_result, FileStatus]:
        """
        What the file system reports about the published version, and its status; does not open its data.

        @raise errors.NotFound: As L{open_stored}.
        """
        descriptor, state, status = self._open(file_id, LOOK_FLAGS)
        release(descriptor)
        return state, status

    def look_in(
        self, directory: int, name: str, file_id: int, *, digests: bool = True
    ) -> tuple[os.stat_result, FileStatus]:
        """
        L{look}, where the directory of the file is open already.

        @param directory: Its descriptor.
        @param name: The file's name in it.
        @param digests: Whether to look for digests; else the status has none.
        """
        if not digests:
            with translating("Can't open posix file"):
                state = os.stat(name, dir_fd=directory, follow_symlinks=False)
            return state, self.status_of(state, file_id, {})
        descriptor, state, status = self._opened(
            lambda: os.open(name, LOOK_FLAGS, dir_fd=directory), file_id, path_only=True
        )
        release(descriptor)
        return state, status

    def _open(self, file_id: int, flags: int) -> tuple[int, os.stat_result, FileStatus]:
        name = self.name_of(file_id)
        return self._opened(lambda: self._open_place(name, flags), file_id, path_only=flags == LOOK_FLAGS)

    def _opened(
        self, opens: Callable[[], int], file_id: int, *, path_only: bool
    ) -> tuple[int, os.stat_result, FileStatus]:
        try:  # a context manager would take a tenth of the time
            while True:
                descriptor = opens()
                try:
                    state, status = self.describe(descriptor, file_id, path_only=path_only)
                    if status.digests or os.fstat(descriptor).st_nlink:
                        return descriptor, state, status
                except BaseException:
                    release(descriptor)
                    raise
                release(descriptor)  # replaced or removed just now, and a sidecar with it
        except OSError as error:
            raise translated(error, "Can't open posix file") from error

    def _open_place(self, name: str, flags: int) -> int:
        try:
            return open_beneath(self.root, name, flags)
        except OSError as error:
            if error.errno not in _NOT_TO_BE_OPENED:
                raise
            # A socket, or a device that is not there, in which case it is no trouble of the storage's; or it is.
            place = open_beneath(self.root, name, LOOK_FLAGS)
            try:
                state = os.fstat(place)
            finally:
                release(place)
            if not stat.S_ISREG(state.st_mode):
                raise _no_file(state) from error
            raise

    def status(self, file_id: int) -> FileStatus:
        """The status of the published version, without opening its data."""
        return self.look(file_id)[1]

    def published(self, file_id: int) -> FileStatus | None:
        """
        L{status}, or C{None} where the id is free.

        @raise errors.NotAFile: It can have no file.
        """
        try:
            return self.status(file_id)
        except errors.NotAFile:
            raise
        except errors.NotFound:
            return None

    def describe(self, descriptor: int, file_id: int, *, path_only: bool = False) -> tuple[os.stat_result, FileStatus]:
        """What the file system reports about an open version, and the status, digests included."""
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise _no_file(state)  # a link or a device is not asked for attributes
        return state, self.status_of(state, file_id, self.fixity.load(descriptor, path_only=path_only))

    def status_of(self, state: os.stat_result, file_id: int, digests: Digests) -> FileStatus:
        """
        Build the status from its parts.

        @raise errors.NotFound: It is not a regular file.
        """
        if not stat.S_ISREG(state.st_mode):
            raise _no_file(state)
        return FileStatus(
            file_id=file_id,
            path=f"{self.prefix}/{self.name_of(file_id)}",
            size=state.st_size,
            mtime_ns=state.st_mtime_ns,
            ctime_ns=state.st_ctime_ns,
            bytes_per_level=(state.st_size,),
            media=("disk",),
            locality=Locality.DISK,
            digests=digests,
            generation=f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_ctime_ns:x}-{state.st_size:x}",
        )

    def require_readable(self, descriptor: int) -> None:
        """
        Called before the archive reads a whole file for a purpose of its own.

        @raise errors.Offline: That would have to wait for a recall.
        """

    def read(self, descriptor: int, offset: int, length: int) -> bytes:
        """
        Read exactly C{length} bytes.

        @raise errors.BackendUnavailable: The disk failed, or the file has become shorter.
        """
        pieces = []
        with translating("Can't read posix file"):
            while length:
                piece = os.pread(descriptor, length, offset)
                if not piece:
                    raise errors.BackendUnavailable("The file became shorter while it was read.")
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def remember(self, descriptor: int, status: FileStatus, digests: Digests) -> None:
        """
        Store digests that were computed from a whole read of an open version, unless it has changed since.

        The version is synced first: one that has a digest counts as one whose bytes are on the disk (L{is_durable}).

        @param status: The status from before the read.
        """
        with translating("Can't store the digest of posix file"):
            self.sync_found(descriptor)
            if self.describe(descriptor, status.file_id)[1].generation == status.generation:
                self.fixity.add(descriptor, digests, status.file_id)

    def check(self, file_id: int, size: int | None, conditions: WriteConditions) -> None:
        """
        Refuse early what could not be committed anyway.

        @raise errors.NoSpace: Fewer bytes are free.
        @raise errors.AlreadyExists: By the conditions; likewise C{PreconditionFailed}.
        """
        if size:
            with translating("Can't open posix file"):
                space = os.fstatvfs(self.root)
            if size > space.f_bavail * space.f_frsize:
                raise errors.NoSpace("The archive has no space left for this file.")
        if not conditions.unconditional:
            conditions.require(self.published(file_id))

    def remove(self, file_id: int, conditions: WriteConditions) -> None:
        """Unlink the published version, and make that durable."""
        with translating("Can't remove posix file"), self.locked(file_id):
            descriptor, state, status = self.open_stored(file_id)
            try:
                WriteConditions(if_match=conditions.if_match).require(status)
                self.require_in_place()
                with self.directory_of(file_id) as (directory, name):
                    os.unlink(name, dir_fd=directory)
                    self.sync(directory)
                if state.st_nlink == 1:
                    self.fixity.forget(descriptor)
            finally:
                release(descriptor)

    def sync_found(self, descriptor: int) -> None:
        """
        L{sync} for a file that somebody else may have written.  A failure is kept in mind with the file, for all who
        ever ask L{is_durable}: the kernel tells each failure once, and then takes the bytes for written.
        """
        try:
            self.sync(descriptor)
        except OSError:
            self.fixity.mark_unsynced(descriptor)
            raise

    def is_durable(self, descriptor: int) -> bool:
        """
        Whether the bytes of an open file are on stable storage, as far as can be known: no sync of it has failed in our
        presence, and one that is made now does not.
        """
        if self.fixity.is_unsynced(descriptor):
            return False
        try:
            self.sync_found(descriptor)
        except OSError as error:
            _log.warn("a file of the storage cannot be put on stable storage: {error}", error=error.strerror)
            return False
        return True

    def sync_all(self, descriptors: Sequence[int], group_sync: GroupSync) -> list[OSError | None]:
        """
        L{sync} for many files.

        @return: What went wrong with each.
        """
        if self._durability is not Durability.FULL:
            return [None] * len(descriptors)
        return group_sync.sync(descriptors, self.sync)

    @contextmanager
    def locked(self, *keys: int) -> Iterator[None]:
        """
        Exclude every other replacement and removal of these ids, in all processes and nodes of the archive.

        Whoever frees the name of an id, or gives it to another file, holds its lock from the look that made him do it
        to the deed.  Publishing under a free name needs no lock: link(2) decides, and takes nothing from anybody.

        @param keys: The ids; of a file that has none, its inode number.
        """
        with self._hidden.locked(*keys):
            yield

    def is_whole(self) -> bool:
        """Whether the archive's own directories are in it, as they were opened."""
        return self._hidden.is_in_place(self.root)
