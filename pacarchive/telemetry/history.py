"""What the audit file says of one file: read backwards, from the last line on, and no more than can be waited for.

It blocks: only a thread calls it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

MOST_BYTES = 32 << 20
"""So much is read at the most, of the file and of the one that was rotated last: some 100,000 lines."""

MOST_LINES = 100
"""So many lines of one file are kept at the most."""

ROTATED = ".1"
"""What logrotate appends to the name of the file that was rotated last."""

_BLOCK = 256 << 10
_LONGEST_LINE = 64 << 10


@attrs.frozen
class History:
    """
    What was written down of one file, the last first.

    @ivar lines: What each line says, as it is in the file.
    @ivar whole: Whether all of the audit file was read, and of the one before.
    """

    lines: Sequence[Mapping[str, Any]]
    whole: bool


def read_history(path: Path, file_id: int, most_bytes: int = MOST_BYTES) -> History:
    """
    Return what an audit file says of a file of the archive.  Lines that are torn are left out.

    @param path: The audit file.
    @param most_bytes: How much is read at the most.
    @raise OSError: It cannot be read.
    """
    found: list[Mapping[str, Any]] = []
    for each in (path, path.with_name(path.name + ROTATED)):
        try:
            descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:  # nothing was rotated yet, or just now
            continue
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                continue
            size = min(status.st_size, most_bytes)
            for line in _lines_with(descriptor, status.st_size, size, b'"id": "%d"' % file_id):
                if (said := _parsed(line)) is not None and said.get("id") == str(file_id):
                    found.append(said)
                if len(found) == MOST_LINES:
                    return History(found, whole=False)
            if size < status.st_size:
                return History(found, whole=False)
            most_bytes -= size
        finally:
            os.close(descriptor)
    return History(found, whole=True)


def _lines_with(descriptor: int, end: int, most: int, needle: bytes) -> Iterator[bytes]:
    """The lines with some bytes in them, the last first, of the last C{most} bytes before C{end}."""
    begin, rest = end - most, b""
    while end > begin:
        start = max(begin, end - _BLOCK)
        block = os.pread(descriptor, end - start, start) + rest
        end = start
        # What is before the first end of a line belongs to one that begins in the block before.
        head, _, _ = block.partition(b"\n")
        rest, first = (b"", 0) if start == 0 else (head[:_LONGEST_LINE], len(head) + 1)
        last = len(block)
        while (found := block.rfind(needle, first, last)) >= 0:
            line = max(first, block.rfind(b"\n", 0, found) + 1)
            yield block[line : last if (stop := block.find(b"\n", found)) < 0 else stop]
            last = line


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
