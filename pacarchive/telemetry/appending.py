"""Log files, to the end of which several processes write whole lines.

What is written goes in one call and at the end of the file (C{O_APPEND}), so that lines of different processes never
mix.  Everything here may wait for a disk, and is called in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MODE = 0o640


class AppendedFile:
    """
    One of them.

    @ivar lost: How many lines of the last L{append} are not in the file as a whole, as it has failed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._torn = False
        self.lost = 0

    @property
    def is_open(self) -> bool:
        """Whether there is something to L{close}."""
        return self._descriptor >= 0

    def open(self) -> None:
        """
        Open it, or another one that has its name now; the one before is closed then.

        @raise OSError: As L{open_log}.
        """
        fresh = open_log(self._path)
        self.close()
        self._descriptor = fresh

    def append(self, data: bytes, *, reopens: bool) -> None:
        """
        Write lines; behind a part of one that could not be written to its end, on a line of their own.

        @param reopens: Whether to L{open} it again before.
        @raise OSError: Not all of them could be.
        """
        self.lost = data.count(b"\n")
        if reopens:
            self.open()
        rest = memoryview((b"\n" if self._torn else b"") + data)
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
            self._torn = bool(rest)
            self.lost = bytes(rest).count(b"\n")

    def close(self) -> None:
        """Be done with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def open_log(path: Path) -> int:
    """
    Open a file to append to it; it is made where there is none.  Does not wait for one who reads a pipe.

    @return: The descriptor.
    @raise OSError: It cannot be opened, or is no file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, _MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return descriptor
