"""Lines of text from a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 256 * 1024
"""The most bytes of a line, which are more than L{pacarchive.launch.jsonlog} makes of one."""


class Lines:
    """
    Cuts what is read from a pipe into lines.

    @param deliver: Called with each line.
    """

    def __init__(self, deliver: Callable[[str], None]) -> None:
        self._deliver = deliver
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Add data, and deliver the lines that are complete; one longer than L{LONGEST} is cut."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > LONGEST:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            self._deliver(line.decode(errors="replace"))

    def end(self) -> None:
        """Deliver a last line that has no line end."""
        if self._partial:
            self.feed(b"\n")
