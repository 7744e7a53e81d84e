"""What the kernel tells of a socket."""

from __future__ import annotations

import fcntl
import sys
import termios


def unsent(descriptor: int) -> int:
    """How many bytes of what was written the peer has not taken yet (C{SIOCOUTQ}, see C{tcp(7)})."""
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(answer, sys.byteorder)
