"""Where a file lands: under no name while it is incomplete, whole and synced under its own after that.

All of it blocks, and is called in threads.

The file is unnamed (C{O_TMPFILE}) until it is published, so that whatever ends the process leaves nothing behind.  A
name that is taken cannot be linked to, so the file is linked under a hidden name first and renamed; where the file
system has no unnamed files, it has that hidden name from the start.  Such a name is locked while its process lives.
The next download to the same destination removes those that are not; a directory with many files is not looked through
for each of thousands of downloads, but now and then.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from pacarchive.digests import Hasher

_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_READ = 4 << 20
_VECTORS = 512  # fewer than IOV_MAX
_HIDDEN = ".pacarchive-get-"

_COARSEST = 2_000_000_000
"""To how many nanoseconds at the worst file systems keep times."""

MANY = 1000
"""How many names a directory has whose list is good for C{FRESH} seconds."""

FRESH = 10.0

# Of those directories, by device and inode: when they were listed, and the hidden names there.
_listed: dict[tuple[int, int], tuple[float, list[str]]] = {}


class Landing:
    """
    A file that is being written.

    @param path: Where it will be; whatever cannot be done with it is said of this, and not of hidden names.
    @raise OSError: It cannot be there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with self._named():
            self._begin(os.path.realpath(path))  # of a symbolic link, what it names is replaced

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), self._path) from error

    def _begin(self, path: str) -> None:
        directory, self._name = os.path.split(path)
        if not self._name or os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                # A rename would put a file in the place of a device.
                raise FileExistsError(errno.EEXIST, "exists and is not a regular file")
        digest = hashlib.sha256(os.fsencode(self._name)).hexdigest()[:16]
        self._prefix = f"{_HIDDEN}{digest}-"
        self._hidden: str | None = None
        self._file = -1
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sweep()
            self._file = self._make(directory)
        except BaseException:
            self.close()
            raise

    def _make(self, directory: str) -> int:
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
        while True:
            name = self._new_name()
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._directory)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                self._hidden = name
                return descriptor
            os.close(descriptor)  # another process found it before it was locked

    def _new_name(self) -> str:
        return f"{self._prefix}{secrets.token_hex(8)}"

    def _sweep(self) -> None:
        """Remove what earlier processes left."""
        for name in self._hidden_names():
            if not name.startswith(self._prefix):
                continue
            with suppress(OSError):
                descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(name, dir_fd=self._directory)
                finally:
                    os.close(descriptor)

    def _hidden_names(self) -> list[str]:
        found = os.fstat(self._directory)
        key, now = (found.st_dev, found.st_ino), time.monotonic()
        when, names = _listed.get(key, (-math.inf, []))
        if now - when < FRESH:
            return names
        for each in [each for each, (when, _) in list(_listed.items()) if now - when >= FRESH]:
            _listed.pop(each, None)
        entries = os.listdir(self._directory)
        names = [name for name in entries if name.startswith(_HIDDEN)]
        if len(entries) >= MANY:
            _listed[key] = now, names
        return names

    def write(self, pieces: Sequence[bytes], offset: int) -> None:
        """Write all of the pieces, one behind the other."""
        with self._named():
            for start in range(0, len(pieces), _VECTORS):
                self._write(list(pieces[start : start + _VECTORS]), offset)
                offset += sum(map(len, pieces[start : start + _VECTORS]))

    def _write(self, some: list[bytes | memoryview], offset: int) -> None:
        while some:
            written = os.pwritev(self._file, some, offset)
            offset += written
            while some and written >= len(some[0]):
                written -= len(some.pop(0))
            if written:
                some[0] = memoryview(some[0])[written:]

    def hash(self, hasher: Hasher, start: int, end: int) -> None:
        """Hash a part of what was written."""
        with self._named():
            while start < end:
                block = os.pread(self._file, min(_READ, end - start), start)
                if not block:
                    raise OSError(errno.EIO, "the file is shorter than what was written to it")
                hasher.update(block)
                # Of pages that are to be written this only says that it may begin, so that less is left for the end.
                os.posix_fadvise(self._file, start, len(block), os.POSIX_FADV_DONTNEED)
                start += len(block)

    def clear(self) -> None:
        """Begin with nothing again."""
        with self._named():
            os.ftruncate(self._file, 0)

    def set_mtime(self, mtime_ns: int) -> None:
        """
        Give it a time of modification.

        @param mtime_ns: Nanoseconds since the epoch.
        @raise OSError: The file system cannot keep it.
        """
        with self._named():
            try:
                os.utime(self._file, ns=(os.fstat(self._file).st_atime_ns, mtime_ns))
            except (OSError, OverflowError) as error:
                code, words = (error.errno, error.strerror) if isinstance(error, OSError) else (errno.EOVERFLOW, error)
                raise OSError(code, f"the time of its version cannot be set here: {words}") from error
            # One that is too far away is cut off without a word.
            if abs(os.fstat(self._file).st_mtime_ns - mtime_ns) > _COARSEST:
                raise OSError(errno.EOVERFLOW, "the time of its version is beyond those that can be kept here")

    def publish(self) -> None:
        """Bring the file to stable storage, and give it its name."""
        with self._named():
            self._publish()

    def _publish(self) -> None:
        os.fsync(self._file)
        if self._hidden is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            name = self._new_name()
            # Without both descriptors Python calls link(2), which does not follow what /proc has.
            os.link(
                f"/proc/self/fd/{self._file}",
                name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
                follow_symlinks=True,
            )
            self._hidden = name
        os.rename(self._hidden, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._hidden = None
        os.fsync(self._directory)

    def close(self) -> None:
        """Be done with it; what was not published is gone."""
        if self._hidden is not None:
            with suppress(OSError):
                os.unlink(self._hidden, dir_fd=self._directory)
            self._hidden = None
        for descriptor in (self._file, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._directory = -1
