"""What the posix backend says at once, of files that the kernel holds in memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.task import deferLater

from backends.posix import archive
from pacarchive.backends.contract.handling import content, in_reactor, store
from pacarchive.interfaces import IQuickReads

if TYPE_CHECKING:
    from pacarchive.interfaces import IArchiveBackend

DATA = b"of a file that is read often" * 10

PATIENCE = 30.0


async def known(backend: IArchiveBackend, file_id: int) -> IQuickReads:
    """The backend, once it knows the digests of a file: not of one that has just been stored."""
    quick, deadline = IQuickReads(backend), time.monotonic() + PATIENCE
    while quick.look_now(file_id) is None:
        assert time.monotonic() < deadline, "it never says anything at once"
        await deferLater(reactor, 0.01)
        assert await content(backend, file_id) == DATA
    return quick


def can_tell(path: Path) -> bool:
    """Whether the file system can tell whether it would have to wait for a disk: tmpfs cannot."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(descriptor, (bytearray(1),), 0, os.RWF_NOWAIT) == 1
    except OSError:
        return False
    finally:
        os.close(descriptor)


def grow(path: Path) -> None:
    """Another program writes more."""
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"more")


@in_reactor
async def test_files_that_are_in_memory(tmp_path: Path) -> None:
    """All of them, or nothing: not a part of one that has become shorter, nor one that is too large."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, DATA)
        quick = await known(backend, 1)
        status = await backend.status(1)
        assert quick.look_now(1) == status
        path = Path(status.path)
        expected = (status, DATA) if can_tell(path) else None
        assert quick.read_now(1, len(DATA)) == expected
        assert quick.read_now(1, len(DATA) - 1) is None
        grow(path)
        assert quick.look_now(1) is None
        assert quick.read_now(1, 10_000) is None
