"""What the kernel reports about a socket."""

from __future__ import annotations

import fcntl
import select
import sys
import termios


def unsent(descriptor: int) -> int:
    """How many bytes of what was written the peer has not taken yet (C{SIOCOUTQ}, see C{tcp(7)})."""
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(answer, sys.byteorder)


def has_ended(descriptor: int) -> bool:
    """
    Whether the peer has ended its side, or is gone; the reactor sees neither while a socket is not read from.

    What lies in the socket unread does not hide it (C{POLLRDHUP}, see C{poll(2)}); what does not fit in there does.
    """
    if descriptor < 0:
        return True
    socket = select.poll()
    socket.register(descriptor, select.POLLRDHUP)
    return bool(socket.poll(0))
