"""The contract of a backend: listing its files, where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, begin, in_reactor, pattern, store
from pacarchive.interfaces import IInventory, IInventoryLines
from pacarchive.model import INVENTORY_FIELDS, FileStatus, inventory_line

if TYPE_CHECKING:
    from collections.abc import Container

    from pacarchive.interfaces import IArchiveBackend

_IDS = (0, 1, 9, 10, 255, 256, 257, 1234, 12345, 65536, 65537, 2**40, 2**63, 2**64 - 1)
_FIRST_PAGE = 5


def _lister(backend: IArchiveBackend) -> IInventory:
    if not IInventory.providedBy(backend):
        pytest.skip("the backend lists no files")
    return IInventory(backend)


async def listed(
    backend: IArchiveBackend, most: int = 1000, ids: Container[int] | None = None, *, place: str = ""
) -> list[int]:
    """The ids of all pages, as often as they come."""
    found: list[int] = []
    while True:
        page = await _lister(backend).inventory(place, most, ids=ids)
        assert len(page.files) <= most
        found += page.files
        if page.place is None:
            return found
        place = page.place


class ListingTests:
    """L{pacarchive.interfaces.IInventory}."""

    @pytest.mark.parametrize("most", [1, 3, 1000])
    @in_reactor
    async def test_every_file_is_listed_once(self, backend: IArchiveBackend, most: int) -> None:
        """Those of all lengths, however small the pages; and nothing where there is nothing."""
        assert await listed(backend, most) == []
        for file_id in _IDS:
            await store(backend, file_id, pattern(3))
        assert sorted(await listed(backend, most)) == sorted(_IDS)

    @in_reactor
    async def test_the_status_is_that_of_the_file(self, backend: IArchiveBackend) -> None:
        """Size, times, digests and locality are what a look-up of the single file tells."""
        for file_id in (1, 12345):
            await store(backend, file_id, pattern(file_id), mtime=1234567890)
        page = await _lister(backend).inventory("", 1000)
        assert page.files == {file_id: await backend.status(file_id) for file_id in (1, 12345)}

    @in_reactor
    async def test_what_is_not_asked_for_may_be_missing(self, backend: IArchiveBackend) -> None:
        """But nothing else: the size and the time are always there."""
        whole = await store(backend, 7, pattern(100), mtime=1234567890)
        page = await _lister(backend).inventory("", 1000, digests=False, locality=False)
        status = page.files[7]
        assert isinstance(status, FileStatus)
        assert (status.size, status.mtime_ns, status.ctime_ns) == (whole.size, whole.mtime_ns, whole.ctime_ns)
        assert status.digests in ({}, whole.digests)

    @pytest.mark.parametrize("most", [1, 3, 1000])
    @pytest.mark.parametrize("fields", [INVENTORY_FIELDS, ("mtime", "digests"), ()], ids=["all", "some", "none"])
    @in_reactor
    async def test_lines_say_what_pages_do(self, backend: IArchiveBackend, most: int, fields: tuple[str, ...]) -> None:
        """Where the backend writes them itself; also of a part of the ids."""
        if not IInventoryLines.providedBy(backend):
            pytest.skip("the backend writes no lines")
        for file_id in _IDS:
            await store(backend, file_id, pattern(3))
        for ids in (None, range(10, 65537)):
            pages, lines = list[str](), list[str]()
            place: str | None = ""
            while place is not None:
                page = await _lister(backend).inventory(place, most, ids=ids)
                written = await IInventoryLines(backend).inventory_lines(place, most, ids=ids, fields=fields)
                pages.append("".join(inventory_line(*each, fields) for each in page.files.items()))
                lines.append(written.text)
                assert written.place == page.place
                place = page.place
            assert lines == pages

    @pytest.mark.parametrize("most", [2, 1000])
    @in_reactor
    async def test_others_are_left_out(self, backend: IArchiveBackend, most: int) -> None:
        """Of a range, and of none."""
        for file_id in _IDS:
            await store(backend, file_id, pattern(3))
        assert sorted(await listed(backend, most, range(10, 65537))) == [10, 255, 256, 257, 1234, 12345, 65536]
        assert await listed(backend, most, range(0)) == []

    @in_reactor
    async def test_files_come_and_go(self, backend: IArchiveBackend) -> None:
        """Those that stay are listed once; those that are removed, also where the list stopped, do no harm."""
        for file_id in _IDS:
            await store(backend, file_id, pattern(3))
        page, seen = await _lister(backend).inventory("", _FIRST_PAGE), list[int]()
        seen += page.files
        while not seen:  # a page may have none, as of directories without files
            assert page.place is not None
            page = await _lister(backend).inventory(page.place, _FIRST_PAGE)
            seen += page.files
        assert page.place is not None
        gone, replaced = {seen[-1], next(each for each in _IDS if each not in seen)}, seen[0]
        for file_id in gone:
            await backend.remove(file_id, ALLOW)
        await store(backend, replaced, pattern(5))
        await store(backend, 77, pattern(5))
        seen += await listed(backend, 2, place=page.place)
        stayed = set(_IDS) - gone
        assert [seen.count(each) for each in sorted(stayed)] == [1] * len(stayed)
        assert set(seen) <= {*_IDS, 77}

    @in_reactor
    async def test_what_is_not_published_is_not_listed(self, backend: IArchiveBackend) -> None:
        """Files on their way in have no id yet."""
        incoming = await begin(backend, 1, pattern(3 << 20))
        try:
            assert await listed(backend) == []
        finally:
            await incoming.abort()

    @pytest.mark.parametrize("place", ["nowhere", "-1", "1.zz.1", "1.00", "99999999999999999999999", "/../..", "\0"])
    @in_reactor
    async def test_a_place_is_not_believed(self, backend: IArchiveBackend, place: str) -> None:
        """It comes from a client."""
        await store(backend, 1, pattern(3))
        with pytest.raises(errors.InvalidRequest):
            await _lister(backend).inventory(place, 1000)
