"""Archives of the C{posix} backend, on kernels and file systems of every kind that it has a way around."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from pacarchive.backends import posix
from pacarchive.backends.contract import Capabilities, Factory, started
from pacarchive.backends.local import syscalls
from pacarchive.backends.local.settings import PosixSettings
from pacarchive.interfaces import BackendSettings, IArchiveBackend
from pacarchive.model import Durability


def settings_for(
    directory: Path, *, use_id2filename: bool = False, durability: Durability = Durability.FULL, **more: Any
) -> BackendSettings:
    """
    Settings of an archive below a scratch directory: it lives in C{archive}, and takes files from itself and from
    C{incoming}.
    """
    prefix, incoming = directory / "archive", directory / "incoming"
    for each in (prefix, incoming):
        each.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "prefix": prefix,
        "move_roots": (prefix, incoming),
        "digests": (),
        "durability": durability,
        "io_threads": 4,
        "own": PosixSettings(use_id2filename=use_id2filename),
    }
    return BackendSettings(**(values | more))


@asynccontextmanager
async def archive(directory: Path, **settings: Any) -> AsyncIterator[IArchiveBackend]:
    """An archive that runs."""
    async with started(posix.make(reactor, settings_for(directory, **settings))) as backend:  # type: ignore[arg-type]
        yield backend


def put_for_move(directory: Path, name: str, data: bytes) -> str:
    """A file in the second of the move roots."""
    source = directory / "incoming" / name
    source.write_bytes(data)
    return str(source)


CAPABILITIES = Capabilities(durable=True, moves=put_for_move)


def failing(number: int) -> Callable[..., Any]:
    """A function of L{os} that the system does not support."""

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def without_unnamed_files(patch: pytest.MonkeyPatch) -> None:
    """C{O_TMPFILE} is not supported, as on NFS."""
    really_open = os.open

    def open_named(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return really_open(path, flags, *args, **kwargs)

    patch.setattr(os, "open", open_named)


def without_attributes(patch: pytest.MonkeyPatch) -> None:
    """Extended attributes are not supported."""
    for name in ("setxattr", "getxattr", "listxattr", "removexattr"):
        patch.setattr(os, name, failing(errno.ENOTSUP))


def without_openat2(patch: pytest.MonkeyPatch) -> None:
    """The kernel is older than 5.6, or a container's filter refuses the call."""

    def refuse(*args: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    patch.setattr(syscalls, "_blocking_call", refuse)
    patch.setattr(syscalls, "_instant_call", refuse)


def without_cached_opens(patch: pytest.MonkeyPatch) -> None:
    """The kernel is older than 5.12, or the file system is a network's."""
    patch.setattr(syscalls, "_instant_call", lambda *_: -1)


def on_a_system(*lacking: Callable[[pytest.MonkeyPatch], None], **settings: Any) -> Factory:
    """The factory of archives on a system that lacks something."""

    @asynccontextmanager
    async def factory(directory: Path) -> AsyncIterator[IArchiveBackend]:
        with pytest.MonkeyPatch.context() as patch:
            for lack in lacking:
                lack(patch)
            async with archive(directory, **settings) as backend:
                yield backend

    return factory


def on_another_file_system(than: Path) -> str:
    """A directory for scratch that is on another file system: memory, or the disk where memory is what is not it."""
    device = than.stat().st_dev
    return next(each for each in ("/dev/shm", "/tmp", "/var/tmp", "/") if os.stat(each).st_dev != device)
