"""Memory that two processes have: a worker counts in it, and its parent reads."""

from __future__ import annotations

import mmap
import os

from pacarchive.telemetry.counts import SIZE


class CountingMemory:
    """
    Memory of L{SIZE} bytes, with a descriptor that a child process can inherit.

    @param inherited: The descriptor that a child has, which is closed here; C{None} for new memory.
    @ivar descriptor: What a child can inherit.
    @ivar view: The memory.
    """

    def __init__(self, inherited: int | None = None) -> None:
        self.descriptor = -1
        if inherited is None:
            self.descriptor = os.memfd_create("pacarchive-counts", os.MFD_CLOEXEC)
            os.ftruncate(self.descriptor, SIZE)
        self._map = mmap.mmap(self.descriptor if inherited is None else inherited, SIZE)
        self.view = memoryview(self._map)
        if inherited is not None:
            os.close(inherited)  # the mapping has one of its own

    def close(self) -> None:
        """Have it no more; the other process may."""
        self.view.release()
        self._map.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
