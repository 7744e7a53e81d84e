"""The system calls of the C{posix} backend, seen one by one, and made to fail.

L{Calls} stands in for the modules C{os} and C{fcntl} and for C{openat2} in the backend's own modules only: what the
test and the rest of the process do is their own.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from pacarchive.backends.local import archive as local
from pacarchive.backends.local import (
    batch,
    commit,
    directories,
    filetimes,
    fixity,
    health,
    hidden,
    move,
    place,
    sidecars,
    syscalls,
    tree,
)

MODULES = (batch, commit, directories, filetimes, fixity, health, hidden, local, move, place, sidecars, syscalls, tree)

WATCHED = {
    *("open", "close", "dup", "mkdir", "unlink", "rename", "link", "fsync", "fchmod", "utime", "fstat", "stat"),
    *("setxattr", "getxattr", "listxattr", "removexattr", "pwritev", "pwrite", "pread", "preadv", "read", "write"),
    *("flock", "fstatvfs", "listdir"),
}


@attrs.frozen
class Call:
    """
    One system call.

    @ivar name: Its name in L{os} or L{fcntl}, or C{openat2}.
    @ivar target: What it was about, relative to the prefix; C{<unnamed>} for an unnamed file.
    """

    name: str
    target: str

    def __str__(self) -> str:
        return f"{self.name} {self.target}"


class Calls:
    """
    Records calls, and lets one of them fail.

    @param prefix: The archive's prefix, which is left out of the targets.
    @ivar made: The calls so far.
    @ivar failing: The index of the call that fails, or the name of which the first does, and its error number.
    """

    def __init__(self, prefix: object) -> None:
        self._prefix = str(prefix)
        self.made: list[Call] = []
        self.failing: tuple[int | str, int] | None = None

    @contextmanager
    def watched(self) -> Iterator[Calls]:
        """Stand between the backend and the system."""
        with pytest.MonkeyPatch.context() as patch:
            for module in MODULES:
                for name, real in (("os", os), ("fcntl", fcntl)):
                    if hasattr(module, name):
                        patch.setattr(module, name, _Module(self, real))
            patch.setattr(syscalls, "_blocking_call", self._openat2(syscalls._blocking_call))
            yield self

    def text(self, *names: str) -> list[str]:
        """The calls of these names."""
        return [str(call) for call in self.made if call.name in names]

    def note(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """
        Record a call.

        @return: The error number with which it has to fail.
        """
        index = len(self.made)
        self.made.append(Call(name, self._target(name, args, kwargs)))
        if self.failing is None:
            return None
        which, number = self.failing
        first = all(call.name != name for call in self.made[:index])
        return number if which == index or (which == name and first) else None

    def _target(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if name in {"rename", "link"}:
            return self._path(args[1], kwargs["dst_dir_fd"])
        if name == "open" and args[1] & os.O_TMPFILE == os.O_TMPFILE:
            return "<unnamed>"
        return self._path(args[0], kwargs.get("dir_fd"))

    def _path(self, path: Any, directory: int | None) -> str:
        if isinstance(path, int):
            if path < 0:
                return "closed"
            found = os.readlink(f"/proc/self/fd/{path}")
        else:
            found = os.fsdecode(path) if directory is None else f"{self._path(directory, None)}/{os.fsdecode(path)}"
        if re.search(r"#\d+ \(deleted\)$", found):
            return "<unnamed>"
        found = re.sub(r"[0-9a-f]{32}", "<temporary>", found)
        return os.path.relpath(found, self._prefix) if found.startswith("/") else os.path.normpath(found)

    def _openat2(self, real: Callable[..., int]) -> Callable[..., int]:
        def openat2(number: int, directory: int, path: bytes, how: object, size: int) -> int:
            failure = self.note("openat2", (path,), {"dir_fd": directory})
            if failure is not None:
                ctypes.set_errno(failure)
                return -1
            return real(number, directory, path, how, size)

        return openat2


class _Module:
    """L{os} or L{fcntl}, watched."""

    def __init__(self, calls: Calls, real: Any) -> None:
        self._calls = calls
        self._real = real

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name not in WATCHED:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            failure = self._calls.note(name, args, kwargs)
            if failure is not None:
                if name == "close":
                    value(*args)  # Linux releases the descriptor in any case
                raise OSError(failure, os.strerror(failure))
            return value(*args, **kwargs)

        return call
