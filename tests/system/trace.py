"""What strace saw of a process's dealings with paths (C{strace -f -y -e trace=%file})."""

from __future__ import annotations

import codecs
import os
import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@attrs.frozen
class Call:
    """
    A system call with paths.

    @ivar paths: Absolute ones, as resolved against the directory that was given with them, but without following links.
    @ivar result: For a call that opened something, what the descriptor is, links followed.
    """

    name: str
    paths: list[str]
    result: str | None
    line: str


_PATH = re.compile(rb'(?:(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')
_RESULT = re.compile(rb"\) += \d+<((?:[^>\\]|\\.)*)>(?:\(deleted\))?$")


def read_trace(log: Path) -> Iterator[Call]:
    """The calls in strace's log; those that were interrupted by others are put together again."""
    unfinished: dict[bytes, bytes] = {}
    for line in log.read_bytes().splitlines():
        pid, _, rest = line.partition(b" ")
        rest = rest.strip()
        if rest.endswith(b"<unfinished ...>"):
            unfinished[pid] = rest.removesuffix(b"<unfinished ...>")
            continue
        if resumed := re.match(rb"<\.\.\. \w+ resumed>", rest):
            rest = unfinished.pop(pid) + rest[resumed.end() :]
        if call := re.match(rb"(\w+)\(", rest):
            paths = [os.path.join(_text(base), _text(path)) for base, path in _PATH.findall(rest)]
            result = _RESULT.search(rest)
            yield Call(call[1].decode(), paths, _text(result[1]) if result else None, rest.decode(errors="replace"))


def _text(escaped: bytes) -> str:
    return os.fsdecode(codecs.escape_decode(escaped)[0])


LOOKUPS = {"newfstatat", "lstat", "readlink", "readlinkat", "statx"}
"""
What os.path.realpath() asks about each component of a source.  They tell what a name is, and neither open nor change
anything.
"""


def stray_calls(calls: Sequence[Call], prefix: str) -> Iterator[Call]:
    """Those that opened or changed something that is not below the prefix."""
    for call in calls:
        if call.name in LOOKUPS:
            continue
        paths = list(call.paths)
        if call.name == "linkat" and re.fullmatch(r"/proc/self/fd/\d+", paths[0]):
            del paths[0]  # the file that the call publishes: linkat() names an open file in no other way
        if call.result is not None:
            paths.append(call.result)
        if not paths or any(not _is_below(path, prefix) for path in paths):
            yield call


def _is_below(path: str, prefix: str) -> bool:
    return os.path.normpath(path) == prefix or os.path.normpath(path).startswith(prefix + "/")
