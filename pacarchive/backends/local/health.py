"""Whether a L{FileTree} can do what it is there for: found out by doing it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from pacarchive import errors
from pacarchive.backends.local.commit import Draft
from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.backends.local.tree import FileTree, translating
from pacarchive.model import Health

_BELIEVED = 5.0
"""Seconds; for so long a file that could be written stands for the next."""

_INCOMPLETE = f"The archive's own directory {HIDDEN} is not as it was when the server was started: start it again."
_READ_ONLY = "The file system is read-only."
_NO_INODES = "The file system has no inodes left: it takes no more files."


class HealthCheck:
    """
    Looks after a tree.  All methods block.

    @param tree: The files.
    @param seconds: A clock that only goes forward.
    """

    def __init__(self, tree: FileTree, seconds: Callable[[], float] = time.monotonic) -> None:
        self._tree = tree
        self._seconds = seconds
        self._believed_until = -1.0

    def look(self) -> Health:
        """
        See whether files can be read and stored.

        What the file system says of itself is asked for each time; a file is written, synced and dropped now and then,
        because a file system can refuse what it says it has room for: quotas, lost rights, a failing disk.
        """
        try:
            self._tree.require_in_place()
            if not self._tree.is_whole():
                return Health(False, _INCOMPLETE)
            space = os.fstatvfs(self._tree.root)
            free = space.f_bavail * space.f_frsize
            size = (space.f_blocks - space.f_bfree) * space.f_frsize + free  # without what is root's alone
            words = f"{free >> 20} MiB free"
            if space.f_flag & os.ST_RDONLY:
                return Health(False, _READ_ONLY)
            if not free:
                return Health(False, words, free=free, size=size)
            if space.f_files and not space.f_favail:  # some have no such number
                return Health(False, _NO_INODES)
            self._write()
        except errors.ArchiveError as error:
            return Health(False, _words_of(error))
        except OSError as error:
            return Health(False, f"The file system answers: {error.strerror}.")
        return Health(True, words, free=free, size=size)

    def _write(self) -> None:
        """
        @raise errors.ArchiveError: No file can be stored.
        """
        now = self._seconds()
        if now < self._believed_until:
            return
        self._believed_until = -1.0
        draft = Draft.create(self._tree)
        try:
            draft.write([b"Can files be stored?\n"])
            with translating("Can't write posix file"):
                self._tree.sync(draft.descriptor)
        finally:
            draft.discard()
        self._believed_until = now + _BELIEVED


def _words_of(error: errors.ArchiveError) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, FileNotFoundError | NotADirectoryError):
        return _READ_ONLY if cause.errno == errno.EROFS else f"No file can be stored: {os.strerror(cause.errno)}."
    return str(error)
