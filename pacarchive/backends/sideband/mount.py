"""What is read of the mounted files outside of transfers.

SAM brings a file back when somebody reads it: the read hangs in the kernel until it is there, for minutes or days, and
nothing can cancel it.  So whoever reads what may not be there does it in a thread that nobody else needs.
"""

from __future__ import annotations

import os
from contextlib import suppress

from pacarchive import errors
from pacarchive.backends.local.tree import FileTree

RETRY_OFFLINE = 60
"""Seconds; a mount and a seek."""


class Mount:
    """
    Blocking reads; an object, so that a test can hold them back as a tape does.
    """

    def read(self, descriptor: int, offset: int, length: int) -> bytes:
        """Read, and bring the file back for that if need be."""
        return os.pread(descriptor, length, offset)

    def is_in_memory(self, descriptor: int, offset: int) -> bool:
        """Whether a byte can be read without waiting for anything (C{RWF_NOWAIT}); no is also "cannot tell"."""
        buffer = bytearray(1)
        with suppress(OSError):  # EAGAIN: not in memory; EOPNOTSUPP: the file system cannot tell
            return os.preadv(descriptor, (buffer,), offset, os.RWF_NOWAIT) == 1
        return False


class SamTree(FileTree):
    """
    A L{FileTree} that moves by linking alone, and reads nothing of its own accord that lies on tape.

    A copy would stage the source, and have the archiver write a second one to tape.
    """

    copies = False

    def open_root(self) -> None:
        """
        As L{FileTree.open_root}.

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
    """A file that must be recalled first."""
    return errors.Offline("The file is on tape; it has to be recalled first.", job=None, retry_after=RETRY_OFFLINE)
