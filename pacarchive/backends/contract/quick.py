"""The contract of a backend: what it can say at once, where it can say anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, pattern, store
from pacarchive.interfaces import IQuickReads

if TYPE_CHECKING:
    from pacarchive.interfaces import IArchiveBackend


def _quick(backend: IArchiveBackend) -> IQuickReads:
    if not IQuickReads.providedBy(backend):
        pytest.skip("the backend says nothing at once")
    return IQuickReads(backend)


class QuickTests:
    """L{pacarchive.interfaces.IQuickReads}."""

    @pytest.mark.parametrize("size", [0, 1, 5000])
    @in_reactor
    async def test_what_is_said_at_once(self, backend: IArchiveBackend, size: int) -> None:
        """It is what is said otherwise, or nothing: also after each change of the file."""
        quick = _quick(backend)
        for file_id, data in ((1, pattern(size)), (1, pattern(size)[::-1]), (12345, pattern(size))):
            await store(backend, file_id, data)
            for _ in range(2):
                status = await backend.status(file_id)
                assert quick.look_now(file_id) in (None, status)
                assert quick.read_now(file_id, size) in (None, (status, data))
                assert await content(backend, file_id) == data

    @in_reactor
    async def test_what_is_not_said_at_once(self, backend: IArchiveBackend) -> None:
        """Errors, and files that are too large."""
        quick = _quick(backend)
        await store(backend, 1, pattern(100))
        await content(backend, 1)
        assert quick.read_now(1, 99) is None
        await backend.remove(1, ALLOW)
        for file_id in (1, 2, 2**64 - 1):
            assert quick.look_now(file_id) is None
            assert quick.read_now(file_id, 100) is None
