"""The client library and connections that are cut, and bytes that are flipped on the way: by a proxy that does so."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pacarchive.client import (
    NEVER,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    Progress,
    SourceChanged,
)
from system.faulty_proxy import FaultyProxy
from system.harness import HOST, Service, content
from system.library import (
    CUTS,
    LARGE,
    MIB,
    asynchronous,
    client,
    digest_of,
    hidden,
    in_parts,
    large_file,
    service,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A fixture that is used here.
__all__ = ["service"]


# cuts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("parts", [False, True])
@asynchronous
async def test_a_get_that_is_cut_twenty_times_goes_on_each_time(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: bool
) -> None:
    """What came before a cut is not read again: all in all hardly more is moved than the file has bytes."""
    if parts:
        in_parts(monkeypatch)
    digest = large_file(tmp_path / "source")
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(101, tmp_path / "source")
    with FaultyProxy(service.port, cuts=CUTS, cut_after=min(LARGE // 30, 5 * MIB) if parts else LARGE // 30) as proxy:
        async with client(proxy.url) as archive:
            fetched = await archive.get(101, tmp_path / "target")
        assert proxy.faults.cuts == 0
        assert proxy.moved["down"] < 1.3 * LARGE
    assert digest_of(tmp_path / "target") == digest == fetched.digests["sha256"].hex()
    assert fetched.resumed > 0
    assert not hidden(tmp_path)


@pytest.mark.timeout(600)
@asynchronous
async def test_a_put_that_is_cut_twenty_times_ends_right(service: Service, tmp_path: Path) -> None:
    """A PUT begins anew each time, and is there once, whole."""
    digest = large_file(tmp_path / "source")
    with FaultyProxy(service.port, cuts=CUTS, cut_after=LARGE // 30, cut_way="up") as proxy:
        async with client(proxy.url) as archive:
            stored = await archive.put(102, tmp_path / "source")
        assert proxy.faults.cuts == 0
    assert stored.digests["sha256"].hex() == digest
    assert digest_of(service.prefix / "102") == digest
    assert not service.temporaries()


@asynchronous
async def test_a_put_that_is_hashed_while_it_is_sent_survives_cuts_as_well(service: Service, tmp_path: Path) -> None:
    """It is hashed anew each time."""
    digest = large_file(tmp_path / "source", 8 * MIB)
    with FaultyProxy(service.port, cuts=3, cut_after=2 * MIB, cut_way="up") as proxy:
        async with client(proxy.url) as archive:
            stored = await archive.put(103, tmp_path / "source", hash_first=False)
    assert stored.digests["sha256"].hex() == digest == digest_of(service.prefix / "103")


@asynchronous
async def test_a_put_whose_answer_is_lost_is_not_sent_again(service: Service, tmp_path: Path) -> None:
    """The archive is asked whether it has the bytes; it does."""
    data = content("answer", 3 * MIB)
    for file_id, if_absent in ((104, False), (105, True)):
        with FaultyProxy(service.port, cuts=1, cut_after=0) as proxy:
            async with client(proxy.url) as archive:
                stored = await archive.put(file_id, data, if_absent=if_absent)
            assert stored.digests["sha256"] == hashlib.sha256(data).digest()
            assert (proxy.asked("PUT"), proxy.asked("HEAD")) == (1, 1)


@asynchronous
async def test_a_source_that_can_be_read_once_is_not_begun_anew(service: Service) -> None:
    """There is nothing to send the second time."""

    async def once() -> AsyncIterator[bytes]:
        for number in range(32):
            yield content(number, MIB)

    with FaultyProxy(service.port, cuts=1, cut_after=4 * MIB, cut_way="up") as proxy:
        async with client(proxy.url) as archive:
            with pytest.raises(ConnectionFailed):
                await archive.put(106, once())
            with pytest.raises(NotFound):
                await archive.status(106)
            assert proxy.asked("PUT") == 1


@asynchronous
async def test_a_connection_that_was_closed_while_nobody_used_it_is_made_again(service: Service) -> None:
    """What was sent over it is sent again where that is safe."""
    with FaultyProxy(service.port) as proxy:
        async with client(proxy.url) as archive:
            await archive.put(107, b"idle")
            for each in list(proxy._sockets):
                with suppress(OSError):  # the proxy closes one of a pair when the other ends
                    each.shutdown(2)
            assert (await archive.status(107)).size == 4
            await archive.put(107, b"idle again")


# flips


@asynchronous
async def test_a_byte_that_is_flipped_on_the_way_out_is_found_wherever_it_is(service: Service, tmp_path: Path) -> None:
    """Either the file is right, or there is none; of the bytes of the file none is right when flipped."""
    data = content("flipped", 3000)
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(111, data)
        await direct.put(110, b"another file, whose id differs in one bit")
    target = tmp_path / "target"
    found = 0
    with FaultyProxy(service.port) as proxy:
        async with client(proxy.url) as archive:
            await archive.get(111, target)
        end, position = proxy.moved["down"], 0
        while position < end:
            async with client(proxy.url, retry=NEVER, progress_timeout=0.3) as archive:
                target.unlink(missing_ok=True)
                proxy.faults.flips = {"down": {proxy.moved["down"] + position}}
                with suppress(ClientError):
                    await archive.get(111, target)
            if target.exists():
                assert target.read_bytes() == data, position
            else:
                found += 1
            # Each byte of the head, and some of the rest, as there all are alike.
            position += 1 if position < 600 else 97
    assert found > 20
    assert not hidden(tmp_path)


@asynchronous
async def test_a_byte_that_is_flipped_on_the_way_in_is_found_wherever_it_is(service: Service) -> None:
    """When put returns, the archive has the file; when it does not have it, put has raised."""
    data = content("in", 3000)
    found = 0
    with FaultyProxy(service.port) as proxy:
        end, position = 10**9, 0
        while position < end:
            file_id = 2000 + 2 * position
            async with client(proxy.url, retry=NEVER, progress_timeout=0.3) as archive:
                begun = proxy.moved["up"]
                proxy.faults.flips = {"up": {begun + position}}
                try:
                    await archive.put(file_id, data)
                except ClientError:
                    found += 1
                else:
                    assert (service.prefix / str(file_id)).read_bytes() == data, position
                end = min(end, proxy.moved["up"] - begun)
            assert not [path for path in (str(file_id),) if _wrong(service.prefix / path, data)]
            position += 1 if position < 450 else 97
    assert found > 20


def _wrong(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() != data


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("position", [1000, 1 * MIB + 400, 4 * MIB, 8 * MIB - 1])
@asynchronous
async def test_nothing_that_was_flipped_is_ever_visible(
    service: Service, tmp_path: Path, position: int, behind: bool
) -> None:
    """Whether the digest goes before the body or follows it: the archive refuses what does not have it."""
    data = content("visible", 8 * MIB + 17)
    (tmp_path / "source").write_bytes(data)

    async def once() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    with FaultyProxy(service.port, flips={"up": {position}}) as proxy:
        async with client(proxy.url, retry=NEVER) as archive:
            file_id = 5000 + position + behind
            with pytest.raises(DigestMismatch) as caught:
                await archive.put(file_id, once() if behind else tmp_path / "source")
            assert not caught.value.stored
            assert not (service.prefix / str(file_id)).exists()


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("position", [1000, 4 * MIB, 8 * MIB - 1])
@asynchronous
async def test_what_was_flipped_while_it_was_hashed_is_undone_or_told(
    service: Service, tmp_path: Path, position: int, if_absent: bool
) -> None:
    """It is removed where the id had been free; else the failure says that it is there."""
    (tmp_path / "source").write_bytes(content("undone", 8 * MIB + 17))
    file_id = 5100 + position + if_absent
    with FaultyProxy(service.port, flips={"up": {position}}) as proxy:
        async with client(proxy.url) as archive:
            with pytest.raises(DigestMismatch) as caught:
                await archive.put(file_id, tmp_path / "source", hash_first=False, if_absent=if_absent)
    assert caught.value.stored is not if_absent
    assert (service.prefix / str(file_id)).exists() is not if_absent


@pytest.mark.parametrize("hash_first", [False, True])
@asynchronous
async def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    service: Service, tmp_path: Path, hash_first: bool
) -> None:
    """The end of it is kept back until it is known that it is still the same."""
    source = tmp_path / "source"
    source.write_bytes(content("changes", 32 * MIB))

    def change(progress: Progress) -> None:
        if progress.done >= MIB:
            os.utime(source, (1, 1))

    async with client(f"http://{HOST}:{service.port}") as archive:
        with pytest.raises(SourceChanged):
            await archive.put(171, source, hash_first=hash_first, on_progress=change)
        with pytest.raises(NotFound):
            await archive.status(171)


@asynchronous
async def test_a_byte_of_a_large_file_that_is_flipped_is_found(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where parts of it come over several connections, and nothing is left of it."""
    in_parts(monkeypatch)
    large_file(tmp_path / "source", 96 * MIB)
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(112, tmp_path / "source")
    for position in (1000, 40 * MIB, 95 * MIB):
        with FaultyProxy(service.port, flips={"down": {position}}) as proxy:
            async with client(proxy.url) as archive:
                with pytest.raises(DigestMismatch):
                    await archive.get(112, tmp_path / "target")
            assert proxy.connections >= 4
        assert not (tmp_path / "target").exists()
    assert not hidden(tmp_path)
