"""The archive's own directory below its prefix: temporaries, locks, and digests of files that have no attributes.

What lies there is removed, believed and waited for without a further look, so the directories must be the archive's
own: a symbolic link in the place of one would have a start sweep somebody else's files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS, READ_FLAGS, release

HIDDEN = ".pacarchive"
"""The archive's own directory below the prefix; no id maps into it."""

TEMPORARIES, LOCKS, SIDECARS = "tmp", "locks", "digests"
"""The directories in it."""

_STRIPES = 64
_SIDECARS_LOCK = "digests"
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_TEMPORARY_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MAKE_FLAGS = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_CANNOT_BE_MADE_NOW = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_OF_A_PLACE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EXDEV})

_log = Logger()


@contextmanager
def trouble_of_its_own() -> Iterator[None]:
    """
    For what is done with the archive's own files.  Something else in the place of one says nothing of the place of an
    id, as the same numbers do otherwise: it is trouble of the storage's.

    @raise OSError: C{EIO} for those.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_A_PLACE:
            raise
        raise OSError(errno.EIO, error.strerror, error.filename) from error


@contextmanager
def named_in(directory: Path) -> Iterator[None]:
    """
    For calls that know a directory by its descriptor: has an error say of a path what the system said of a name.

    @param directory: Its path.
    """
    try:
        yield
    except OSError as error:
        # There is no name, or only the descriptor, where it was about the directory itself.
        error.filename = str(directory / error.filename if isinstance(error.filename, str) else directory)
        raise


def open_own(directory: int, name: str, place: Path) -> int:
    """
    Open one of the archive's own directories.

    @param directory: A descriptor of the one that it is in.
    @param place: Its path, for the words of an error.
    @return: A descriptor.
    @raise FileNotFoundError: There is none.
    @raise errors.BackendUnavailable: It is not the archive's own; the words are for the operator.
    """
    try:
        descriptor = os.open(name, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        words = error.strerror
        with suppress(OSError):
            if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                words = "is a symbolic link, where the archive needs a directory of its own"
        raise errors.BackendUnavailable(f"{place}: {words}") from error
    owner, me = os.fstat(descriptor).st_uid, os.geteuid()
    if owner != me and owner != _owner_of_new(descriptor):
        release(descriptor)
        raise errors.BackendUnavailable(f"{place}: belongs to user {owner}, and the archive runs as user {me}")
    return descriptor


def _owner_of_new(directory: int) -> int | None:
    """
    Whose a file is that we make: not ours where a file server takes root, or everybody, for one user of its own.

    @return: C{None} where none can be made.
    """
    name = uuid.uuid4().hex
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_uid
    finally:
        release(descriptor)
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)


class Hidden:
    """
    The directories, open.

    @ivar temporaries: A descriptor of the one for temporaries.
    @ivar sidecars: Of the one for digests.
    """

    def __init__(self, root: int, prefix: Path, sync: Callable[[int], None]) -> None:
        """
        Make what is missing, durably, and open it.

        @param root: A descriptor of the prefix.
        @param sync: Puts a directory on stable storage.
        @raise OSError: It cannot be made.
        @raise errors.BackendUnavailable: It is not the archive's own.
        """
        self._place_of_locks = prefix / HIDDEN / LOCKS
        with ExitStack() as opened:

            def one(directory: int, name: str, place: Path) -> int:
                with named_in(place.parent):
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=directory)
                    descriptor = open_own(directory, name, place)
                opened.callback(release, descriptor)
                return descriptor

            top = one(root, HIDDEN, prefix / HIDDEN)
            self.temporaries, self._locks, self.sidecars = (
                one(top, name, prefix / HIDDEN / name) for name in (TEMPORARIES, LOCKS, SIDECARS)
            )
            with named_in(prefix):
                sync(root)
            with named_in(prefix / HIDDEN):
                sync(top)  # a sidecar is part of what an acknowledgement promises
            with named_in(self._place_of_locks):
                self._make_locks()
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Release the descriptors."""
        self._opened.close()

    def is_in_place(self, root: int) -> bool:
        """
        Whether everybody who works on the archive finds the very directories that are open here.

        @param root: A descriptor of the prefix.
        """
        named = ((TEMPORARIES, self.temporaries), (LOCKS, self._locks), (SIDECARS, self.sidecars))
        try:
            return all(
                os.path.samestat(os.stat(f"{HIDDEN}/{name}", dir_fd=root, follow_symlinks=False), os.fstat(descriptor))
                for name, descriptor in named
            )
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _make_locks(self) -> None:
        """Make them before they are needed: what is full can be freed then without making anything."""
        for name in (*map(_stripe_name, range(_STRIPES)), _SIDECARS_LOCK):
            try:
                release(os.open(name, _MAKE_FLAGS, 0o600, dir_fd=self._locks))
            except OSError as error:
                if error.errno not in _CANNOT_BE_MADE_NOW:
                    raise
                _log.warn(
                    "{place} lacks {name}, which cannot be made: {words}; until it can, not every file can be removed",
                    place=str(self._place_of_locks),
                    name=name,
                    words=error.strerror,
                )
                return

    @contextmanager
    def locked(self, *keys: int) -> Iterator[None]:
        """
        Hold the locks of some ids, or of what else has a number, in all processes and nodes of the archive.

        They are taken in one order, so nobody waits for somebody who waits for him; keys that share one take it once.
        """
        with ExitStack() as held:
            for stripe in sorted({key % _STRIPES for key in keys}):
                held.enter_context(self._lock(_stripe_name(stripe)))
            yield

    @contextmanager
    def sidecars_locked(self) -> Iterator[None]:
        """Exclude others who change names of sidecars.  Whoever holds this waits for no other lock."""
        with self._lock(_SIDECARS_LOCK):
            yield

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        while True:
            with trouble_of_its_own(), named_in(self._place_of_locks):
                lock = os.open(name, _LOCK_FLAGS, 0o600, dir_fd=self._locks)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if os.fstat(lock).st_nlink:
                    yield
                    return
            finally:
                release(lock)
            # Somebody has removed it: others lock its successor.


def _stripe_name(stripe: int) -> str:
    return f"{stripe:02x}"


def make_temporary(temporaries: int) -> tuple[int, str]:
    """
    Make an empty file that no sweep takes while it is open.

    @param temporaries: A descriptor of the directory for temporaries.
    @return: A descriptor of the file, open for reading and writing, and locked; and its name.
    """
    while True:
        name = uuid.uuid4().hex
        with trouble_of_its_own():
            descriptor = os.open(name, _TEMPORARY_FLAGS, 0o600, dir_fd=temporaries)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor, name
        except OSError:
            with suppress(OSError):
                os.unlink(name, dir_fd=temporaries)
            release(descriptor)
            raise
        release(descriptor)  # the sweep of a process that starts just now was faster than the lock


def sweep(temporaries: int, *, dry_run: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """
    Remove temporaries whose writer is gone: writers hold a lock, which the kernel drops with them.  What is no file of
    this user's is none of them, and stays.

    @param temporaries: A descriptor of their directory.
    @param dry_run: Only find them.
    @return: Their names, and what the file system reported about them.
    """
    for name in os.listdir(temporaries):
        if (state := sweep_one(temporaries, name, dry_run=dry_run)) is not None:
            yield name, state


def sweep_one(directory: int, name: str, *, dry_run: bool) -> os.stat_result | None:
    """L{sweep} for one name.  @return: C{None} where it is not left over."""
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EACCES, errno.ENXIO):
            raise
        return None  # a link, another user's, or a socket
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        state = os.fstat(descriptor)
        if not dry_run:
            os.unlink(name, dir_fd=directory)
    except (BlockingIOError, FileNotFoundError):
        return None  # its writer lives, or has just finished
    else:
        return state
    finally:
        release(descriptor)
