"""Digests of local files, for C{verify} and for what was put before."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest_twisted  # type: ignore[import-untyped]

from pacarchive.cli.remote.hashing import digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from pacarchive.client import Progress

MIB = 1 << 20


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_it_is_told_how_far_it_is(tmp_path: Path) -> None:
    """While a file is read, which takes minutes for a large one; in a thread of its own, not the reactor's."""
    data = bytes(2 * MIB + 5)
    (tmp_path / "file").write_bytes(data)
    told: list[int] = []
    threads: set[threading.Thread] = set()

    def tell(state: Progress) -> None:
        told.append(state.done)
        threads.add(threading.current_thread())

    assert await digest_of(str(tmp_path / "file"), tell) == (len(data), hashlib.sha256(data).digest())
    assert told == [MIB, 2 * MIB, 2 * MIB + 5]
    assert threading.main_thread() not in threads
