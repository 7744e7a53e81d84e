"""The control page, C{ARCHIVE/control}: what the library reads or counts on every call.

The layout is that of C{control.h}.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpss_simulator.words import SimulatorError

_MAGIC = b"HPSSSIM"
_VERSION = 1
_SIZE = 32768


class _Calls(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 40), ("count", ctypes.c_uint64))


class _Fault(ctypes.Structure):
    _fields_ = (("matched", ctypes.c_uint64), ("fired", ctypes.c_uint64))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint32),
        ("contexts", ctypes.c_uint32),
        ("started", ctypes.c_uint64),
        ("descriptors", ctypes.c_uint32),
        ("in_flight", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64),
    )


class _Page(ctypes.Structure):
    _fields_ = (
        ("magic", ctypes.c_char * 8),
        ("version", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("generation", ctypes.c_uint64),
        ("credential_epoch", ctypes.c_uint64),
        ("clock_sequence", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("clock_real_base", ctypes.c_double),
        ("clock_sim_base", ctypes.c_double),
        ("clock_scale", ctypes.c_double),
        ("alarms", ctypes.c_uint64),
        ("callbacks", ctypes.c_uint64),
        ("unused", ctypes.c_uint64 * 6),
        ("calls", _Calls * 256),
        ("faults", _Fault * 512),
        ("processes", _Process * 256),
    )


def create_page(path: Path, start: float, scale: float) -> None:
    """
    Write a new archive's control page.

    @param start: The simulated time from which the clock runs.
    @param scale: Simulated seconds in a real one.
    """
    page = _Page(
        magic=_MAGIC,
        version=_VERSION,
        size=_SIZE,
        generation=1,
        clock_real_base=time.monotonic(),
        clock_sim_base=start,
        clock_scale=scale,
    )
    path.write_bytes(bytes(page).ljust(_SIZE, b"\0"))


class ControlPage:
    """
    The mapped page.

    @param path: The file.
    @raise SimulatorError: It is none, or of another version of the simulator.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise SimulatorError(f"{path.parent} is not a simulated archive: {error.strerror}") from None
        try:
            self._map = mmap.mmap(self._file, _SIZE)
            self._page = _Page.from_buffer(self._map)
        except (OSError, ValueError) as error:
            os.close(self._file)
            raise SimulatorError(f"{path} is no control page: {error}") from None
        if (self._page.magic, self._page.version) != (_MAGIC, _VERSION):
            self.close()
            raise SimulatorError(f"{path} was made by another version of the simulator")

    def close(self) -> None:
        """Unmap it."""
        del self._page
        self._map.close()
        os.close(self._file)

    @contextmanager
    def _changing(self) -> Iterator[_Page]:
        # Among operators only; the library takes no locks for what only operators write.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield self._page
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def settings_changed(self) -> None:
        """Have every process read settings, faults and classes of service anew."""
        with self._changing() as page:
            page.generation += 1

    def expire_credentials(self) -> None:
        """End every login."""
        with self._changing() as page:
            page.credential_epoch += 1

    def read_clock(self) -> tuple[float, float, float]:
        """Real base, simulated base and scale, all of one moment."""
        while True:
            before = self._page.clock_sequence
            clock = (self._page.clock_real_base, self._page.clock_sim_base, self._page.clock_scale)
            if before % 2 == 0 and before == self._page.clock_sequence:
                return clock

    @contextmanager
    def changing_clock(self) -> Iterator[None]:
        """Keep other operators off the clock."""
        with self._changing():
            yield

    def write_clock(self, real_base: float, sim_base: float, scale: float) -> None:
        """Set the clock; only within L{changing_clock}."""
        page = self._page
        page.clock_sequence += 1 + page.clock_sequence % 2  # odd, also after someone who died in the middle
        try:
            page.clock_real_base, page.clock_sim_base, page.clock_scale = real_base, sim_base, scale
        finally:
            page.clock_sequence += 1

    def calls(self) -> dict[str, int]:
        """How often each function was called, by all processes."""
        return {entry.name.decode(): entry.count for entry in self._page.calls if entry.name}

    def fault_hits(self, number: int) -> int:
        """How many calls a fault has struck."""
        return int(self._page.faults[number % len(self._page.faults)].fired)

    def clear_fault(self, number: int) -> None:
        """Let a new fault count from 0."""
        fault = self._page.faults[number % len(self._page.faults)]
        fault.matched = fault.fired = 0

    def callbacks(self) -> tuple[int, int]:
        """How many callbacks were delivered, and how many could not be and lit the operator's console."""
        return int(self._page.callbacks), int(self._page.alarms)

    def living(self) -> list[tuple[int, int, int]]:
        """Thread contexts, open descriptors and calls in flight of each process that lives."""
        return [
            (int(process.contexts), int(process.descriptors), int(process.in_flight))
            for process in self._page.processes
            if process.pid and _started(process.pid) == process.started
        ]


def _started(pid: int) -> int:
    """When a process was started, in the kernel's ticks; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


class Clock:
    """
    An archive's simulated clock: a straight line over the real one.

    @param page: Where it is kept.
    """

    def __init__(self, page: ControlPage) -> None:
        self._page = page

    def now(self) -> float:
        """Simulated seconds since 1970."""
        real_base, sim_base, scale = self._page.read_clock()
        return sim_base + (time.monotonic() - real_base) * scale

    @property
    def scale(self) -> float:
        """Simulated seconds in a real one."""
        return self._page.read_clock()[2]

    def set_scale(self, scale: float) -> None:
        """
        Let simulated time pass at another pace from now on.

        @param scale: Simulated seconds in a real one; 0 stands still.
        """
        if scale < 0:
            raise SimulatorError("time does not run backwards")
        with self._page.changing_clock():
            real, now = time.monotonic(), self.now()
            self._page.write_clock(real, now, scale)

    def freeze(self) -> None:
        """Let simulated time stand still."""
        self.set_scale(0)

    def advance(self, seconds: float) -> None:
        """Leap forward."""
        if seconds < 0:
            raise SimulatorError("time does not run backwards")
        with self._page.changing_clock():
            real_base, sim_base, scale = self._page.read_clock()
            self._page.write_clock(real_base, sim_base + seconds, scale)
