"""What the posix backend says at once, of files that the kernel holds in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from backends.posix import archive
from pacarchive.backends.contract.handling import content, in_reactor, store
from pacarchive.backends.local.syscalls import read_cached
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


@pytest.fixture(params=["in memory", "on a disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the archive is: the folder of a test may well be on a file system that can tell nothing."""
    if request.param == "in memory":
        yield tmp_path
    else:
        with TemporaryDirectory(dir="/var/tmp") as folder:
            yield Path(folder)


@in_reactor
async def test_files_that_are_in_memory(place: Path) -> None:
    """All of them, or nothing: not a part of one that has become longer, nor one that is too large."""
    async with archive(place) as backend:
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


def test_a_file_that_becomes_shorter(place: Path) -> None:
    """What is read of it then is not all that it had."""
    path = place / "file"
    path.write_bytes(DATA)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert read_cached(descriptor, 0, len(DATA)) == (DATA if can_tell(path) else None)
        assert read_cached(descriptor, 0, len(DATA) + 1) is None
    finally:
        os.close(descriptor)
