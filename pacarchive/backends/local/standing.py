"""Names as short as the kernel can have them, for who looks at many files in one directory.

Extended attributes are asked for by path, or by a descriptor of an open file; and no file is opened to list it.  The
path is shortest in the working directory, which all threads of a process share, unless one parts from them
(C{unshare(2)} with C{CLONE_FS}, for which no privilege is needed, but which filters of containers may refuse).
Elsewhere the path leads over the descriptor of the directory.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from typing import Final

_CLONE_FS: Final = 0x200
_thread = threading.local()


def have_own_directory() -> None:
    """Let this thread have a working directory of its own, if it may; other threads keep theirs."""
    _thread.has_own = ctypes.CDLL(None).unshare(_CLONE_FS) == 0


def stand_in(directory: int) -> str:
    """
    Go to a directory, where this thread has a working directory of its own.

    @param directory: A descriptor of it.
    @return: What goes before a name in it, so that it is a path.
    """
    if getattr(_thread, "has_own", False):
        with suppress(OSError):  # who may not go there may not look at its files either, and is told so for each
            os.fchdir(directory)
            return ""
    return f"/proc/self/fd/{directory}/"
