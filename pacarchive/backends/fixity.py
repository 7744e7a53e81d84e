"""Digests that are stored with their files.

Each is an extended attribute C{user.pacarchive.<algorithm>} holding the raw bytes, set before the file is published.
Raw, because 32 bytes still fit into a 256-byte ext4 inode beside nothing else, and then cost no block of their own;
C{getfattr -e hex -d FILE} shows them.

File systems without such attributes get a sidecar: one small JSON document for each version of a file, named for its
inode and valid only with the size and mtime that it states, so that a digest is never taken for another version's.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from pacarchive.backends.syscalls import release
from pacarchive.digests import ALGORITHMS, Digests

_ATTRIBUTE = "user.pacarchive."
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EPERM})


class FixityStore:
    """
    Reads and writes the digests of files in one archive.  All methods block.

    @param sidecars: Descriptor of the directory for sidecars.
    @param sync: Puts a file or directory on stable storage.
    """

    def __init__(self, sidecars: int, sync: Callable[[int], None]) -> None:
        self._sidecars = sidecars
        self._sync = sync

    def store(self, descriptor: int, digests: Digests) -> None:
        """
        Attach digests to an open file.  The caller syncs the file afterwards; a sidecar is synced here.

        @raise OSError: They could not be stored.
        """
        try:
            try:
                _set_attributes(descriptor, digests)
            except PermissionError:
                # The file is protected already (0444), and that counts for its attributes too.
                mode = os.fstat(descriptor).st_mode
                os.fchmod(descriptor, mode | stat.S_IWUSR)
                try:
                    _set_attributes(descriptor, digests)
                finally:
                    # Not simply what it was: another thread may be doing just the same.
                    os.fchmod(descriptor, mode & ~stat.S_IWUSR)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._store_sidecar(descriptor, digests)

    def load(self, descriptor: int, *, path_only: bool = False) -> dict[str, bytes]:
        """
        All stored digests of an open file; empty where there are none.

        @param path_only: The file was opened with C{O_PATH}, which gives no right to ask for attributes by descriptor.
        """
        file = f"/proc/self/fd/{descriptor}" if path_only else descriptor
        try:
            names = os.listxattr(file)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return self._load_sidecar(descriptor)
        found = {}
        for name in names:
            if name.startswith(_ATTRIBUTE) and (algorithm := name.removeprefix(_ATTRIBUTE)) in ALGORITHMS:
                found[algorithm] = os.getxattr(file, name)
        return found or self._load_sidecar(descriptor)

    def forget(self, descriptor: int) -> None:
        """Remove what would outlive an unpublished version: its sidecar, if it has one."""
        with suppress(FileNotFoundError):
            os.unlink(_sidecar_name(os.fstat(descriptor)), dir_fd=self._sidecars)

    def clear(self, descriptor: int) -> None:
        """Remove all digests of an open file."""
        self.forget(descriptor)
        for algorithm in self.load(descriptor):
            os.removexattr(descriptor, _ATTRIBUTE + algorithm)

    def _store_sidecar(self, descriptor: int, digests: Digests) -> None:
        state = os.fstat(descriptor)
        document = {
            "size": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "digests": {name: digest.hex() for name, digest in digests.items()},
        }
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        sidecar = os.open(_sidecar_name(state), flags, 0o600, dir_fd=self._sidecars)
        try:
            os.write(sidecar, json.dumps(document).encode("ascii"))
            self._sync(sidecar)
        finally:
            release(sidecar)
        self._sync(self._sidecars)

    def _load_sidecar(self, descriptor: int) -> dict[str, bytes]:
        state = os.fstat(descriptor)
        try:
            sidecar = os.open(_sidecar_name(state), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._sidecars)
        except FileNotFoundError:
            return {}
        try:
            document = json.loads(os.read(sidecar, 65536))
            if (document["size"], document["mtime_ns"]) != (state.st_size, state.st_mtime_ns):
                return {}
            return {name: bytes.fromhex(value) for name, value in document["digests"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            # Cut short by a crash before its file was published, or edited: the file then has no stored digest.
            return {}
        finally:
            release(sidecar)


def _set_attributes(descriptor: int, digests: Digests) -> None:
    for name, digest in digests.items():
        os.setxattr(descriptor, _ATTRIBUTE + name, digest)


def _sidecar_name(state: os.stat_result) -> str:
    return f"{state.st_ino}.json"
