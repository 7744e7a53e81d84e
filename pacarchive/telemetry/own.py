"""What the kernel says of this process."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress

from pacarchive.telemetry.table import Series

_PAGE = resource.getpagesize()
_TICK = os.sysconf("SC_CLK_TCK")


def sample_process(name: str) -> Iterator[tuple[Series, float]]:
    """
    Say what this process uses.

    @param name: What it is called.
    """
    yield ("process_cpu_seconds_total", name), time.process_time()
    yield ("process_max_fds", name), float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    # The kernel's own files never wait for a disk; one that has changed its user may not look into all of them.
    with suppress(OSError, ValueError):
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        yield ("process_resident_memory_bytes", name), float(int(fields[21]) * _PAGE)
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICK
        yield ("process_start_time_seconds", name), time.time() - since_boot
    with suppress(OSError):
        yield ("process_open_fds", name), float(len(os.listdir("/proc/self/fd")))
