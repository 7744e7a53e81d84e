"""Reading files of HPSS: what any reads give, what is read ahead, and files that change meanwhile."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hpss_simulator import Archive
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import INCOMING, PREFIX
from surroundings import (
    running_archive,
    settled,
)
from threaded import log, until
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread, deferToThread

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ALLOW,
    content,
    cut,
    in_reactor,
    pattern,
    running,
    store,
)
from pacarchive.backends.hpss.archive import HpssArchive

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

MIB = 1 << 20
WORDS = b"words"


LARGE = pattern(20_000_000)
BLOCK = 4 * MIB


@asynccontextmanager
async def reading(directory: Path) -> AsyncIterator[tuple[Archive, HpssArchive]]:
    """An archive with one large file, whose id is 1."""
    async with running_archive(directory, block_size=BLOCK) as (archive, backend):
        await store(backend, 1, LARGE, pieces=[[piece] for piece in cut(LARGE, MIB)])
        yield archive, backend


OFFSETS = st.one_of(
    st.integers(0, len(LARGE)), st.sampled_from([0, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, len(LARGE) - 1])
)
LENGTHS = st.one_of(st.integers(0, 100_000), st.integers(0, 6 * MIB), st.sampled_from([1, BLOCK, BLOCK + 1]))


@in_reactor
async def test_any_reads(tmp_path: Path) -> None:
    """In any order, and on from where the last ended: the bytes that are there."""

    @given(st.lists(st.tuples(st.one_of(st.none(), OFFSETS), LENGTHS), min_size=1, max_size=6))
    @settings(max_examples=150, deadline=None)
    def any_reads(reads: list[tuple[int | None, int]]) -> None:
        blockingCallFromThread(cast("Any", reactor), lambda: running(read(reads)))  # type: ignore[arg-type]

    async def read(reads: list[tuple[int | None, int]]) -> None:
        stored = await backend.open(1)
        end = 0
        try:
            for start, wish in reads:
                offset = end if start is None else start
                length = min(wish, len(LARGE) - offset)
                assert await stored.read(offset, length) == LARGE[offset : offset + length]
                end = offset + length
        finally:
            stored.close()

    async with reading(tmp_path) as (_, backend):
        await deferToThread(any_reads)


@pytest.mark.parametrize("start", [0, 12345])
@in_reactor
async def test_reading_on(tmp_path: Path, start: int) -> None:
    """From a place to the end, in pieces of one size; HPSS is asked for whole blocks only."""
    async with reading(tmp_path) as (archive, backend):
        for size in (65536, MIB, BLOCK - 1, BLOCK, BLOCK + 1, len(LARGE)):
            before = archive.calls("hpss_Read")
            stored = await backend.open(1)
            places = range(start, len(LARGE), size)
            parts = [await stored.read(offset, min(size, len(LARGE) - offset)) for offset in places]
            stored.close()
            await settled(archive)
            assert b"".join(parts) == LARGE[start:]
            assert archive.calls("hpss_Read") - before <= 1 + math.ceil(len(LARGE) / BLOCK)


@in_reactor
async def test_one_block_is_read_ahead(tmp_path: Path) -> None:
    """And no more, however slowly its reader reads; nothing after a single read, which says nothing of a next one."""
    async with reading(tmp_path) as (archive, backend):
        stored, piece = await backend.open(1), 65536
        await stored.read(0, piece)
        assert archive.calls("hpss_Read") == 1
        for block in range(3):
            for offset in range(piece + block * BLOCK, piece + (block + 1) * BLOCK, piece):
                await stored.read(offset, piece)
                await until(lambda: archive.calls("hpss_Read") >= 1 + block + 2)  # noqa: B023
                assert archive.calls("hpss_Read") == 1 + block + 2
        stored.close()
        await settled(archive)
        assert archive.calls("hpss_Read") == 1 + 4


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("renewed", [False, True])
@pytest.mark.parametrize("change", ["replaced", "moved over", "removed", "nothing"])
@in_reactor
async def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str, renewed: bool, begun: bool) -> None:
    """Its reader gets the version that he opened, or an error; also after a new login, with which HPSS forgets him."""
    old, new = pattern(12 * MIB, 1), pattern(12 * MIB, 2)
    async with running_archive(tmp_path, block_size=BLOCK) as (archive, backend):
        await store(backend, 1, old)
        stored = await backend.open(1)
        parts = [await stored.read(0, MIB), await stored.read(MIB, MIB)] if begun else []
        match change:
            case "replaced":
                await store(backend, 1, new)
            case "moved over":
                archive.write(f"{INCOMING}/file", new)
                await backend.move(1, f"{INCOMING}/file", ALLOW)
            case "removed":
                await backend.remove(1, ALLOW)
        if renewed:
            await settled_but_for(archive, 1)
            archive.expire_credentials()
        failed = False
        try:
            parts += [await stored.read(offset, MIB) for offset in range(len(parts) * MIB, len(old), MIB)]
        except errors.BackendUnavailable:
            failed = True
        stored.close()
        assert failed or b"".join(parts) == old
        if change == "nothing" or not renewed:
            assert not failed
        assert await content(backend, 1) == {"removed": None, "nothing": old}.get(change, new)


async def settled_but_for(archive: Archive, descriptors: int) -> None:
    """Wait until no call is under way, while some files stay open."""
    await until(lambda: archive.calls_in_flight() == 0 and archive.descriptors() == descriptors)


@in_reactor
async def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    """Somebody cuts it in place, as we never do: that is an error, and no end of the file."""
    async with running_archive(tmp_path) as (archive, backend):
        await store(backend, 1, pattern(5 * MIB))
        stored = await backend.open(1)
        archive.write(f"{PREFIX}/file.1", WORDS)
        with pytest.raises(errors.BackendUnavailable) as raised:
            await stored.read(0, MIB)
        stored.close()
        assert raised.value.reason.startswith("Can't read hpss file with error: HPSS_EIO")
