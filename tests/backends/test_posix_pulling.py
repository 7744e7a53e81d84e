"""Files whose bytes a thread of the backend's calls for: it is not the only work that threads have."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from backends.posix import archive
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, pattern, running, store
from pacarchive.interfaces import IPullingFile

MIB = 1 << 20


@in_reactor
async def test_others_have_the_thread_after_a_block(tmp_path: Path) -> None:
    """One who waits for a thread waits for no more than a read, however much there is to be read."""
    async with archive(tmp_path, io_threads=1) as backend:
        incoming: Any = await backend.receive(7, 100 * MIB, ALLOW, ())
        others = threading.Event()
        sizes: list[int] = []

        def read(buffer: memoryview) -> int:
            assert others.wait(30)
            sizes.append(len(buffer))
            return len(buffer) if len(sizes) < 20 else 0

        assert IPullingFile.providedBy(incoming)
        pulled = running(incoming.pull(read))
        health = running(backend.health())
        others.set()
        await pulled
        assert len(sizes) == 1
        assert (await health).ready
        await running(incoming.pull(lambda buffer: 0 if len(sizes) == 3 else read(buffer)))
        assert len(sizes) == 3, "nobody waits"
        status = await incoming.commit(None, {})
        assert status.size == sum(sizes)


@in_reactor
async def test_nothing_is_stored_with_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull that fails fails the file, also where what comes after it could be written."""
    async with archive(tmp_path) as backend:
        await store(backend, 7, b"old")
        incoming: Any = await backend.receive(7, 3 * MIB, ALLOW, ())
        await incoming.write([pattern(MIB)])
        blocks = [MIB, MIB]

        def read(buffer: memoryview) -> int:
            return min(blocks.pop(), len(buffer)) if blocks else 0

        def fail(*args: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", fail)
            with pytest.raises(errors.BackendUnavailable):
                await incoming.pull(read)
        await incoming.pull(read)
        with pytest.raises(errors.BackendUnavailable):
            await incoming.commit(None, {})
        await incoming.abort()
        assert await content(backend, 7) == b"old"
