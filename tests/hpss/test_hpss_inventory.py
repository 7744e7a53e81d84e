"""The list of files of an archive in HPSS: what is not listed, what is not recalled, and how long a page takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import PREFIX, serving, simulated
from surroundings import neighbour
from threaded import log

from pacarchive import errors
from pacarchive.backends.contract.handling import in_reactor, store
from pacarchive.backends.contract.listing import listed
from pacarchive.backends.hpss import inventory
from pacarchive.model import FileStatus, Locality

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")


@in_reactor
async def test_a_file_on_tape(tmp_path: Path) -> None:
    """Is listed as that, and stays there."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, b"words")
            archive.migrate(f"{PREFIX}/file.1")
            archive.purge(f"{PREFIX}/file.1")
            for digests in (True, False):
                page = await backend.inventory("", 100, digests=digests)
                status = page.files[1]
                assert isinstance(status, FileStatus)
                assert status.locality is Locality.TAPE
                assert bool(status.digests) is digests
            with pytest.raises(errors.Offline):
                await backend.open(1)


@in_reactor
async def test_what_is_no_file_of_an_id(tmp_path: Path) -> None:
    """Links lead nowhere, whether they have the name of a file or of a directory; other names have no ids."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 0x3039, b"words")
            with neighbour() as other:
                other.symlink(f"{PREFIX}/39", f"{PREFIX}/3a")
                other.symlink(f"{PREFIX}/39/3039", f"{PREFIX}/39/4039")
                other.symlink(f"{PREFIX}/39/3039", f"{PREFIX}/file.7")
            archive.mkdir(f"{PREFIX}/file.8")
            archive.mkdir(f"{PREFIX}/README")
            for digests in (True, False):
                page = await backend.inventory("", 100, digests=digests)
                assert list(page.files) == [0x3039]


@in_reactor
async def test_a_slow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends before it would look stuck, and the next goes on behind it."""
    monkeypatch.setattr(inventory, "LONGEST", -1.0)
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            for file_id in (1, 0x3039, 0x3139, 0x1F3039):
                await store(backend, file_id, b"words")
            page = await backend.inventory("", 1000)
            assert page.place is not None
            assert not page.files
            assert await listed(backend) == [1, 0x3039, 0x3139, 0x1F3039]
