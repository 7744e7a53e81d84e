"""The contract of a backend: what it can say at once, and what it can be given in one call, where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    digest,
    in_reactor,
    pattern,
    store,
)
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import IQuickReads, IQuickWrites
from pacarchive.times import SECOND

if TYPE_CHECKING:
    from pacarchive.digests import Digests
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.model import FileStatus, WriteConditions


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


class GivenTests:
    """L{pacarchive.interfaces.IQuickWrites}."""

    @pytest.mark.parametrize("size", [0, 1, 1000, 200_000])
    @in_reactor
    async def test_it_is_stored(self, backend: IArchiveBackend, size: int) -> None:
        """As a whole, with its time, also over another; and what is reported is what is told of it from then on."""
        writes = _writes(backend)
        for data in (pattern(size), pattern(size, 1)):
            status = await _given(
                writes, 1, data, mtime_ns=1_234_567_890 * SECOND, expected={PRIMARY: digest(PRIMARY, data)}
            )
            assert await backend.status(1) == status
            assert (status.size, status.mtime_ns) == (size, 1_234_567_890 * SECOND)
            assert status.digests == {PRIMARY: digest(PRIMARY, data)}
            assert await content(backend, 1) == data

    @in_reactor
    async def test_another_digest(self, backend: IArchiveBackend) -> None:
        """The file is refused, and nothing has changed; others beside it are stored."""
        writes = _writes(backend)
        await store(backend, 1, b"before")
        before = await backend.status(1)
        beside = [_given(writes, number, pattern(number)) for number in range(2, 40)]
        with pytest.raises(errors.DigestMismatch):
            await _given(writes, 1, b"after", expected={PRIMARY: digest(PRIMARY, b"other")})
        assert await backend.status(1) == before
        assert [(await each).size for each in beside] == list(range(2, 40))

    @pytest.mark.parametrize("conditions", [DENY, IDENTICAL, ABSENT], ids=["deny", "identical", "absent"])
    @in_reactor
    async def test_conditions(self, backend: IArchiveBackend, conditions: WriteConditions) -> None:
        """They hold, or nothing has happened."""
        writes = _writes(backend)
        await store(backend, 1, b"before")
        before = await backend.status(1)
        reported: Deferred[FileStatus] = Deferred()
        if writes.store_small(1, b"after", None, {}, conditions, reported.callback):
            with pytest.raises(errors.ArchiveError):
                await reported
        assert await backend.status(1) == before


def _writes(backend: IArchiveBackend) -> IQuickWrites:
    if not IQuickWrites.providedBy(backend):
        pytest.skip("the backend is given files in pieces")
    return IQuickWrites(backend)


def _given(
    writes: IQuickWrites, file_id: int, data: bytes, mtime_ns: int | None = None, expected: Digests | None = None
) -> Deferred[FileStatus]:
    reported: Deferred[FileStatus] = Deferred()
    assert writes.store_small(file_id, data, mtime_ns, expected or {}, ALLOW, reported.callback)
    assert not reported.called
    return reported
