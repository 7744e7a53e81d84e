"""Names of unfinished files, and whether their writers still live.

HPSS has no locks that end with their holder, so the name says who writes: C{HOST.BOOT.NAMESPACE.PID.START.UNIQUE}.
Pure, but for L{this_writer} and L{starting_time}.
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

ANOTHERS_LASTS = 7 * 86400
"""Seconds after which a file of a writer that cannot be asked after is taken for left over: no upload takes so long."""


@attrs.frozen
class Writer:
    """
    A process.

    @ivar host: Its machine.
    @ivar boot: Its machine's start.
    @ivar namespace: Its name space of process ids: containers have their own.
    @ivar pid: Its process id there.
    @ivar started: When it started, in clock ticks since the machine's start (C{proc(5)}).
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    def new_name(self) -> str:
        """The name of a new temporary."""
        return f"{self.host}.{self.boot}.{self.namespace}.{self.pid}.{self.started}.{uuid.uuid4().hex}"


def this_writer() -> Writer:
    """This process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return Writer(
        host=_short(socket.gethostname() + _machine_id()),
        boot=_short(boot),
        namespace=_short(os.readlink("/proc/self/ns/pid")),
        pid=os.getpid(),
        started=starting_time(os.getpid()) or 0,
    )


def _machine_id() -> str:
    """What tells machines of one name apart (C{machine-id(5)}); empty where there is none."""
    with suppress(OSError):
        return Path("/etc/machine-id").read_text()
    return ""


def starting_time(pid: int) -> int | None:
    """When a process of this name space started, in the kernel's clock ticks; C{None} when none lives."""
    with suppress(FileNotFoundError, ProcessLookupError):
        # After the name in parentheses, which may hold anything: the state, and as the 20th field 22 of the line.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] not in "ZX":  # dead, and not yet waited for by its parent, which may never do so
            return int(fields[19])
    return None


def is_left_over(name: str, age: float, me: Writer, starting_time: Callable[[int], int | None]) -> bool:
    """
    Whether nobody writes a temporary any more.

    @param name: Its name.
    @param age: Seconds since it was last changed.
    @param me: The process that asks.
    @param starting_time: As L{starting_time}.
    """
    parts = name.split(".")
    if len(parts) != 6 or not (parts[3].isdecimal() and parts[4].isdecimal()):
        return False  # not ours
    host, boot, namespace, pid, started = *parts[:3], int(parts[3]), int(parts[4])
    if host == me.host and boot != me.boot:
        return True
    if (host, namespace) != (me.host, me.namespace):
        return age > ANOTHERS_LASTS
    return starting_time(pid) != started


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
