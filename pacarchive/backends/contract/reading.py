"""The contract of a backend: reading, describing and removing files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import gatherResults

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ALLOW,
    DENY,
    content,
    in_reactor,
    load,
    matching,
    pattern,
    running,
    store,
)
from pacarchive.digests import PRIMARY
from pacarchive.model import FileStatus, Locality
from pacarchive.runtime.statuses import statuses_of

if TYPE_CHECKING:
    from pacarchive.interfaces import IArchiveBackend

MIB = 1 << 20


class ReadingTests:
    """L{pacarchive.interfaces.IStoredFile} and the status."""

    @in_reactor
    async def test_an_id_without_file_is_not_found(self, backend: IArchiveBackend) -> None:
        """By nothing that could be asked."""
        for _ in range(2):
            with pytest.raises(errors.NotFound):
                await backend.open(404)
            with pytest.raises(errors.NotFound):
                await backend.status(404)
            with pytest.raises(errors.NotFound):
                await backend.remove(404, ALLOW)

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, 0), (0, 1), (MIB, 0), (MIB - 1, 1), (1, MIB - 2), (65535, 65537), (500_000, 3), (262_143, 262_146)],
    )
    @in_reactor
    async def test_any_part_can_be_read(self, backend: IArchiveBackend, offset: int, length: int) -> None:
        """In any order, and more than once."""
        await store(backend, 1, pattern(MIB))
        stored = await backend.open(1)
        try:
            for _ in range(2):
                assert await stored.read(offset, length) == pattern(MIB)[offset : offset + length]
        finally:
            stored.close()

    @in_reactor
    async def test_parts_can_be_read_side_by_side(self, backend: IArchiveBackend) -> None:
        """Through one opened file: a read has no position to disturb."""
        await store(backend, 1, pattern(MIB))
        stored = await backend.open(1)

        async def read(offset: int, length: int) -> bool:
            return await stored.read(offset, length) == pattern(MIB)[offset : offset + length]

        try:
            assert all(await gatherResults([running(read(at, 100_000 + at)) for at in range(0, 400_000, 37_000)]))
        finally:
            stored.close()

    @in_reactor
    async def test_close_can_be_repeated(self, backend: IArchiveBackend) -> None:
        """And does not disturb another reader of the file."""
        await store(backend, 1, b"words")
        one, two = await backend.open(1), await backend.open(1)
        one.close()
        one.close()
        assert await two.read(0, 5) == b"words"
        two.close()

    @pytest.mark.parametrize("size", [5, 3 * MIB])
    @pytest.mark.parametrize("fate", ["replaced", "removed", "removed and written anew"])
    @in_reactor
    async def test_a_reader_keeps_its_version(self, backend: IArchiveBackend, size: int, fate: str) -> None:
        """Whatever becomes of the id meanwhile."""
        await store(backend, 1, pattern(size, 1))
        stored = await backend.open(1)
        try:
            half = size // 2
            start = await stored.read(0, half)
            if fate != "replaced":
                await backend.remove(1, ALLOW)
            if fate != "removed":
                await store(backend, 1, pattern(size, 2))
            assert start + await stored.read(half, size - half) == pattern(size, 1)
            assert stored.status.size == size
        finally:
            stored.close()
        assert await content(backend, 1) == (None if fate == "removed" else pattern(size, 2))

    @in_reactor
    async def test_the_status_is_complete(self, backend: IArchiveBackend) -> None:
        """Size, times, levels and digests agree with each other, and from every source."""
        stated = await store(backend, 1, pattern(1000), mtime=1234567890)
        asked = await backend.status(1)
        opened, _ = await load(backend, 1)
        for status in (stated, asked, opened):
            assert isinstance(status, FileStatus)
            assert (status.file_id, status.size, status.mtime) == (1, 1000, 1234567890)
            assert status.ctime > 1234567890
            assert status.path
            assert len(status.media) == len(status.bytes_per_level)
            assert status.locality in {Locality.DISK, Locality.DISK_AND_TAPE}
            assert status.storage_media == "disk"
            assert len(status.digests[PRIMARY]) == 32
        assert stated.etag == asked.etag == opened.etag

    @in_reactor
    async def test_many_statuses_are_those_of_the_single_files(self, backend: IArchiveBackend) -> None:
        """Of files that there are, and of others, in any number; whether the backend takes batches or not."""
        for file_id in (1, 2, 3):
            await store(backend, file_id, pattern(file_id))
        for file_ids in ([], [2], [9, 1, 2, 8, 3], range(500)):
            found = await statuses_of(backend, file_ids)
            assert sorted(found) == sorted(file_ids)
            for file_id, status in found.items():
                if file_id in (1, 2, 3):
                    assert status == await backend.status(file_id)
                else:
                    assert isinstance(status, errors.NotFound)
                    assert str(status) == "No file has this id."

    @in_reactor
    async def test_asking_again_changes_nothing(self, backend: IArchiveBackend) -> None:
        """Neither a status nor a read is seen in the status."""
        await store(backend, 1, b"words")
        before = await backend.status(1)
        await load(backend, 1)
        assert await backend.status(1) == before

    @in_reactor
    async def test_remembering_a_known_digest_changes_no_bytes(self, backend: IArchiveBackend) -> None:
        """Nor the digests, and a version that has been replaced meanwhile gets nothing."""
        status = await store(backend, 1, b"words")
        stored = await backend.open(1)
        await stored.remember({PRIMARY: status.digests[PRIMARY]})
        assert (await backend.status(1)).digests == status.digests
        second = await store(backend, 1, b"WORDS")
        await stored.remember({PRIMARY: status.digests[PRIMARY]})
        stored.close()
        assert (await backend.status(1)).digests == second.digests
        assert await content(backend, 1) == b"WORDS"


class RemovingTests:
    """C{IArchiveBackend.remove}."""

    @in_reactor
    async def test_a_removed_file_is_gone(self, backend: IArchiveBackend) -> None:
        """And its id is free, under every policy."""
        await store(backend, 1, b"words")
        await store(backend, 2, b"others")
        await backend.remove(1, DENY)
        assert await content(backend, 1) is None
        with pytest.raises(errors.NotFound):
            await backend.remove(1, ALLOW)
        await store(backend, 1, b"again", DENY)
        assert await content(backend, 1) == b"again"
        assert await content(backend, 2) == b"others"

    @in_reactor
    async def test_only_the_named_version_is_removed(self, backend: IArchiveBackend) -> None:
        """With C{If-Match}, which C{*} fulfils with any."""
        first = await store(backend, 1, b"first")
        second = await store(backend, 1, b"second")
        with pytest.raises(errors.PreconditionFailed):
            await backend.remove(1, matching(first.etag))
        assert await content(backend, 1) == b"second"
        await backend.remove(1, matching(first.etag, second.etag))
        assert await content(backend, 1) is None
        await store(backend, 1, b"third")
        await backend.remove(1, matching("*"))
        for tags in (["*"], [second.etag]):
            with pytest.raises((errors.NotFound, errors.PreconditionFailed)):
                await backend.remove(1, matching(*tags))
