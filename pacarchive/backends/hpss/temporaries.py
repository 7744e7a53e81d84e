"""Names of temporaries, and whether the processes that write them still live.

HPSS has no locks that end with their holder, so the name of a temporary identifies its writer:
C{HOST.BOOT.NAMESPACE.PID.START.UNIQUE}.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs

OTHER_HOST_MAX_AGE = 7 * 86400
"""Seconds after which a temporary of another machine or container counts as left over; no upload takes that long."""


@attrs.frozen
class Writer:
    """
    A process that writes temporaries.

    @ivar host: A hash of its machine's name and id.
    @ivar boot: A hash of its machine's boot id.
    @ivar namespace: A hash of its namespace of process ids; containers have their own.
    @ivar pid: Its process id there.
    @ivar started: When it started, in clock ticks since the machine's start (C{proc(5)}).
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    def new_name(self) -> str:
        """Return a name for a new temporary."""
        return f"{self.host}.{self.boot}.{self.namespace}.{self.pid}.{self.started}.{uuid.uuid4().hex}"


def this_writer() -> Writer:
    """Return this process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return Writer(
        host=_short(socket.gethostname() + _machine_id()),
        boot=_short(boot),
        namespace=_short(os.readlink("/proc/self/ns/pid")),
        pid=os.getpid(),
        started=starting_time(os.getpid()) or 0,
    )


def _machine_id() -> str:
    """Return what distinguishes machines of the same name (C{machine-id(5)}); empty where there is none."""
    with suppress(OSError):
        return Path("/etc/machine-id").read_text()
    return ""


def starting_time(pid: int) -> int | None:
    """Return when a process of this namespace started, in the kernel's clock ticks; C{None} if it does not live."""
    with suppress(FileNotFoundError, ProcessLookupError):
        # After the name in parentheses, which may hold anything: the state, and as the 20th field 22 of the line.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] not in "ZX":  # it has exited, but its parent has not waited for it, and may never do so
            return int(fields[19])
    return None


def is_left_over(name: str, age: float, me: Writer, starting_time: Callable[[int], int | None]) -> bool:
    """
    Return whether the writer of a temporary is gone.

    @param name: The temporary's name.
    @param age: Seconds since it was last changed.
    @param me: This process.
    @param starting_time: L{starting_time}, or a substitute.
    """
    parts = name.split(".")
    if len(parts) != 6 or not (parts[3].isdecimal() and parts[4].isdecimal()):
        return False  # not a temporary's name
    host, boot, namespace, pid, started = *parts[:3], int(parts[3]), int(parts[4])
    if host == me.host and boot != me.boot:
        return True
    if (host, namespace) != (me.host, me.namespace):
        return age > OTHER_HOST_MAX_AGE
    return starting_time(pid) != started


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
