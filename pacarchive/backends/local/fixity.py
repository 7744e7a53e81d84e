"""Digests that are stored with their files.

Each is an extended attribute C{user.pacarchive.<algorithm>} holding the raw bytes, set before the file is published.
Raw, because 32 bytes still fit into a 256-byte ext4 inode beside nothing else, and then cost no block of their own;
C{getfattr -e hex -d FILE} shows them.

File systems without such attributes get a document beside them (L{pacarchive.backends.local.sidecars}).

A file whose sync has failed is marked so (C{user.pacarchive.unsynced}): the kernel reports each failure only once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ParamSpec

import attrs

from pacarchive.backends.local.sidecars import Document, Sidecars
from pacarchive.digests import ALGORITHMS, Digests

P = ParamSpec("P")

_ATTRIBUTE = "user.pacarchive."
_ALGORITHM_OF = {_ATTRIBUTE + algorithm: algorithm for algorithm in ALGORITHMS}
_UNSYNCED = "unsynced"
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EPERM})


class FixityStore:
    """
    Reads and writes the digests of files in one archive.  All methods block.

    @param sidecars: Descriptor of the directory for documents.
    @param temporaries: Of the one for temporaries; -1 for who only reads.
    @param sync: Puts a file or directory on stable storage.
    @param locked: Excludes others who change names in the directory.
    """

    def __init__(
        self,
        sidecars: int,
        temporaries: int,
        sync: Callable[[int], None],
        locked: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.sidecars = Sidecars(sidecars, temporaries, sync, locked)

    def store(self, descriptor: int, digests: Digests, file_id: int) -> None:
        """
        Attach digests to an open file that is new.  The caller syncs the file afterwards; a document is synced here.

        @param file_id: The id that it is going to have.
        @raise OSError: They could not be stored.
        """
        if not _set_attributes(descriptor, digests):
            self.sidecars.store(descriptor, Document(digests, frozenset({file_id})))

    def add(self, descriptor: int, digests: Digests, file_id: int) -> None:
        """L{store} for a file that has an id already, and may have other digests."""
        if not _set_attributes(descriptor, digests):
            document = self.sidecars.load(descriptor)
            ids = document.file_ids | {file_id}
            self.sidecars.store(
                descriptor, attrs.evolve(document, digests={**document.digests, **digests}, file_ids=ids)
            )

    def replace(self, descriptor: int, digests: Digests, file_id: int) -> bool:
        """
        See that an open file that is going to have an id has these digests, and no others.

        @return: Whether something had to be changed, so that the file is to be synced.
        """
        found = _attributes(descriptor)
        if found is not None and _set_attributes(
            descriptor, {name: digest for name, digest in digests.items() if found.get(name) != digest}
        ):
            for name in (stale := found.keys() - digests.keys()):
                with _perhaps_removed():
                    _with_right_to_write(descriptor, os.removexattr, descriptor, _ATTRIBUTE + name)
            if found != digests or not found:
                self.sidecars.forget(descriptor)  # else what it says would count now
            return bool(stale) or found != digests
        document = self.sidecars.load(descriptor)
        wanted = attrs.evolve(document, digests=dict(digests), file_ids=document.file_ids | {file_id})
        if wanted == document:
            return False
        self.sidecars.store(descriptor, wanted)
        return True

    def load(self, descriptor: int, *, path_only: bool = False) -> Digests:
        """
        All stored digests of an open file; empty where there are none.

        @param path_only: The file was opened with C{O_PATH}, which gives no right to ask for attributes by descriptor.
        """
        return _attributes(f"/proc/self/fd/{descriptor}" if path_only else descriptor) or (
            self.sidecars.load(descriptor).digests
        )

    def forget(self, descriptor: int) -> None:
        """Remove what would outlive a version that has lost its last name: its document, if it has one."""
        self.sidecars.forget(descriptor)

    def mark_unsynced(self, descriptor: int) -> None:
        """
        Keep in mind that an open file could not be synced.  This need not be durable: what is read after the system's
        next start comes from the disk.

        @raise OSError: It cannot be kept.
        """
        if not _set_attributes(descriptor, {_UNSYNCED: b"1"}):
            document = attrs.evolve(self.sidecars.load(descriptor), unsynced=True)
            self.sidecars.store(descriptor, document, durable=False)

    def is_unsynced(self, descriptor: int) -> bool:
        """Whether an open file was marked so."""
        try:
            if os.getxattr(descriptor, _ATTRIBUTE + _UNSYNCED):
                return True
        except OSError as error:
            if error.errno not in (*_UNSUPPORTED, errno.ENODATA):
                raise
        return self.sidecars.load(descriptor).unsynced


def digests_by_name(path: str) -> Digests:
    """
    The digests of a file in its attributes; empty where it has none there.

    @param path: Which may be another file's after each system call.
    @raise OSError: They could not be read, or the file system has none.
    """
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if (algorithm := _ALGORITHM_OF.get(name)) is not None:
            found[algorithm] = os.getxattr(path, name, follow_symlinks=False)
    return found


def _attributes(file: int | str) -> dict[str, bytes] | None:
    """@return: C{None} where the file system has none."""
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return None
    found = {}
    for name in names:
        if (algorithm := _ALGORITHM_OF.get(name)) is not None:
            try:
                found[algorithm] = os.getxattr(file, name)
            except OSError as error:
                if error.errno != errno.ENODATA:  # removed since, by another who moves the same file
                    raise
    return found


@contextmanager
def _perhaps_removed() -> Iterator[None]:
    """An attribute that was there a moment ago may have been removed by another who moves the same file."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise


def _set_attributes(descriptor: int, values: Mapping[str, bytes]) -> bool:
    """@return: False where the file system has none, or the file is somebody else's."""
    try:
        for name, value in values.items():
            _with_right_to_write(descriptor, os.setxattr, descriptor, _ATTRIBUTE + name, value)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def _with_right_to_write(descriptor: int, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        call(*args, **kwargs)
    except PermissionError:
        # The file is protected already (0444), and that counts for its attributes too.
        mode = os.fstat(descriptor).st_mode
        os.fchmod(descriptor, mode | stat.S_IWUSR)
        try:
            call(*args, **kwargs)
        finally:
            # Not simply what it was: another thread may be doing just the same.
            os.fchmod(descriptor, mode & ~stat.S_IWUSR)
