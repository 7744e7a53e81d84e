"""Read mounted files outside of transfers.

SAM stages a file when it is read: the read hangs in the kernel until the bytes are on disk, for minutes or days, and
nothing can cancel it.  So a file that may be on tape is read only in a thread that nothing else needs.
"""

from __future__ import annotations

import os
from contextlib import suppress

from pacarchive import errors
from pacarchive.backends.local.tree import FileTree

RETRY_OFFLINE = 60
"""Seconds after which a client should retry to read a file from tape: the time of a mount and a seek."""


class Mount:
    """
    Blocking reads of mounted files.  It is an object so that tests can delay them as a tape does.
    """

    def read(self, descriptor: int, offset: int, length: int) -> bytes:
        """Read bytes at an offset; where the file is on tape, SAM stages it meanwhile."""
        return os.pread(descriptor, length, offset)

    def is_in_memory(self, descriptor: int, offset: int) -> bool:
        """
        Return whether the byte at an offset can be read without blocking (C{RWF_NOWAIT}); C{False} also where the file
        system cannot tell.
        """
        buffer = bytearray(1)
        with suppress(OSError):  # EAGAIN: not in memory; EOPNOTSUPP: the file system cannot tell
            return os.preadv(descriptor, (buffer,), offset, os.RWF_NOWAIT) == 1
        return False


class SamTree(FileTree):
    """
    A L{FileTree} that moves files by linking only, and never reads one that is on tape on its own account.

    A move by copying would stage the source, and make SAM archive the data a second time.
    """

    copies = False

    def open_root(self) -> None:
        """
        Open the archive's directories, as L{FileTree.open_root} does.

        @raise errors.BackendUnavailable: The temporaries are on another file system: a rename from there is a copy.
        """
        super().open_root()
        if os.fstat(self.temporaries).st_dev != os.fstat(self.root).st_dev:
            self.close_root()
            raise errors.BackendUnavailable("The directory for temporaries is on another file system than the archive.")

    def require_readable(self, descriptor: int) -> None:
        state = os.fstat(descriptor)
        if state.st_size and not state.st_blocks:
            raise offline()


def offline() -> errors.Offline:
    """Return the error for a file that has to be recalled before it can be read."""
    return errors.Offline("The file is on tape; it has to be recalled first.", job=None, retry_after=RETRY_OFFLINE)
