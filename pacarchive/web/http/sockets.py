"""What the kernel reports about a socket, and is told about it."""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
from contextlib import suppress


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
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))


def acknowledge(connection: socket.socket) -> None:
    """
    Acknowledge now what has come, where nothing is about to be sent (C{TCP_QUICKACK}, see C{tcp(7)}).

    A peer without C{TCP_NODELAY} waits for that before it sends more, up to 40 ms.
    """
    with suppress(OSError):  # it is no TCP, or gone
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
