"""Records that are made again: which are, which are not, and what of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.s3.archives import archive
from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, load, pattern, store
from pacarchive.backends.s3.order import Order, Outcome, Told
from pacarchive.backends.s3.record import data_at

LARGE: dict[str, Any] = {"small_file": 4, "sweep_after": 1e-6}


async def rebuilt(
    backend: Any, *, trial: bool = False, settled: float = 0, with_marked: bool = False
) -> dict[Outcome, set[int | None]]:
    """The files, by what has become of them."""
    all_told: list[Told] = []

    async def at_once(size: int) -> None:
        assert size > 0

    order = Order(trial=trial, jobs=3, pace=at_once, stopped=lambda: False, told=all_told.append)
    await backend.rebuilder(settled=settled, with_marked=with_marked).run(order)
    outcomes = {each.outcome for each in all_told}
    return {outcome: {each.file_id for each in all_told if each.outcome is outcome} for outcome in outcomes}


async def lose(backend: Any, *file_ids: int) -> None:
    """Lose records."""
    for file_id in file_ids:
        await backend._bucket.delete(backend._records.layout.record_key(file_id))


@in_reactor
async def test_lost_records_are_made_again(object_server: ObjectServer, tmp_path: Path) -> None:
    """Of all that was in the archive but small files, with the bytes and digests; those that exist stay as they are."""
    async with archive(object_server, tmp_path.name, **LARGE) as any_backend:
        backend: Any = any_backend
        ids = [1, 12, 123, 2, 1000, 77]
        before = {each: await store(backend, each, pattern(each + 10)) for each in ids}
        await store(backend, 5, b"tiny")
        await store(backend, 2, pattern(500))
        kept = await backend.status(77)
        await lose(backend, 1, 12, 123, 2, 5, 1000)
        lost = {1, 12, 123, 2, 1000}
        assert await rebuilt(backend, trial=True) == {
            Outcome.MADE: lost, Outcome.THERE: {77}, Outcome.MARKED: {2}
        }  # fmt: skip
        assert await content(backend, 1) is None
        assert (await rebuilt(backend))[Outcome.MADE] == lost
        assert await rebuilt(backend) == {Outcome.THERE: {*lost, 77, 2}}
        for file_id in (1, 12, 123, 1000):
            status, data = await load(backend, file_id)
            assert data == pattern(file_id + 10)
            assert status.digests == before[file_id].digests
            assert abs(status.mtime_ns - before[file_id].mtime_ns) < 60 * 10**9
        assert (await load(backend, 2))[1] == pattern(500)
        assert await content(backend, 5) is None
        assert await backend.status(77) == kept
        assert [each async for each in backend.sweeper(dry_run=False).run()] != []
        assert (await load(backend, 2))[1] == pattern(500)


@in_reactor
async def test_it_can_be_stopped(object_server: ObjectServer, tmp_path: Path) -> None:
    """Between two objects, also where nothing is to be done for any."""
    async with archive(object_server, tmp_path.name, **LARGE) as any_backend:
        backend: Any = any_backend
        for file_id in (1, 2, 3):
            await store(backend, file_id, pattern(10))
        all_told: list[Told] = []

        async def at_once(size: int) -> None:
            """Go on."""

        def stopped() -> bool:
            return bool(all_told)

        await backend.rebuilder(settled=0, with_marked=False).run(
            Order(trial=False, jobs=2, pace=at_once, stopped=stopped, told=all_told.append)
        )
        assert [each.outcome for each in all_told] == [Outcome.THERE]


@in_reactor
async def test_what_was_removed_stays_so(object_server: ObjectServer, tmp_path: Path) -> None:
    """Also where marks are to be ignored, as a sweep that came between has made them of all."""
    async with archive(object_server, tmp_path.name, **LARGE) as any_backend:
        backend: Any = any_backend
        await store(backend, 1, pattern(100))
        await store(backend, 2, pattern(200))
        await backend.remove(1, ALLOW)
        await lose(backend, 2)
        assert [each async for each in backend.sweeper(dry_run=True).run()] != []
        slow: Any = backend.sweeper(dry_run=False)
        slow._grace = 1000
        assert [each async for each in slow.run()] == []
        assert await rebuilt(backend) == {Outcome.THERE: {1}, Outcome.MARKED: {2}}
        assert await rebuilt(backend, with_marked=True) == {Outcome.THERE: {1}, Outcome.MADE: {2}}
        assert (await load(backend, 2))[1] == pattern(200)


@in_reactor
async def test_the_newest_version_counts(object_server: ObjectServer, tmp_path: Path) -> None:
    """The others are told; and none while one is so young that its record may be on its way."""
    async with archive(object_server, tmp_path.name, **LARGE) as any_backend:
        backend: Any = any_backend
        for size in (100, 200, 300):
            await store(backend, 9, pattern(size))
            layout = backend._records.layout
            async for each in _data(backend):
                await backend._bucket.delete(f"{layout.garbage}{each}")  # as if it had crashed before
            if size < 300:
                await _next_second(backend)
        await lose(backend, 9)
        await backend._bucket.put(f"{layout.data}somebody-elses", [b"words"])
        found = await rebuilt(backend, settled=3600)
        assert found == {Outcome.YOUNG: {9}, Outcome.OLDER: {9}, Outcome.NO_ID: {None}}
        assert await rebuilt(backend) == {Outcome.MADE: {9}, Outcome.OLDER: {9}, Outcome.NO_ID: {None}}
        assert (await load(backend, 9))[1] == pattern(300)


async def _data(backend: Any) -> Any:
    layout = backend._records.layout
    for each in (await backend._bucket.page(layout.data, 1000)).objects:
        place = each.key.removeprefix(layout.data)
        if place != "somebody-elses":
            data_at(place)
            yield place


async def _next_second(backend: Any) -> None:
    """Store something until its time is a later one, as lists have whole seconds."""
    layout = backend._records.layout

    async def time() -> float:
        await backend._bucket.put(f"{layout.probes}time", [b"x"])
        (found,) = (await backend._bucket.page(f"{layout.probes}time", 1)).objects
        return float(found.modified)

    first = await time()
    while int(await time()) == int(first):
        pass


@in_reactor
async def test_records_of_removed_files_count_as_records(object_server: ObjectServer, tmp_path: Path) -> None:
    """A removal that a server has written down is never undone; and who comes first wins."""
    from backends.s3.archives import with_tombstones

    async with archive(object_server, tmp_path.name, with_tombstones, **LARGE) as any_backend:
        backend: Any = any_backend
        await store(backend, 1, pattern(100))
        current = await backend._records.find(1)
        await backend.remove(1, ALLOW)
        assert await rebuilt(backend, with_marked=True) == {Outcome.THERE: {1}}
        assert not await backend._records.create(current.record)
        with pytest.raises(errors.NotFound):
            await backend.status(1)


def test_the_command_rebuilds(ministack: ObjectServer, tmp_path: Path) -> None:
    """As a process, with the service's settings."""
    (tmp_path / "s3.ini").write_text(
        f"[server]\ntype = s3\nprefix = /{BUCKET}/{tmp_path.name}\n[s3]\nendpoint = {ministack.endpoint}\n"
        f"access_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\n"
    )
    place = f"/{BUCKET}/{tmp_path.name}/d/1c/12345/{'0' * 32}"
    assert ministack.ask("PUT", place, b"words")[0] == 200

    def rebuild(*options: str) -> subprocess.CompletedProcess[str]:
        command = "import sys; from pacarchive.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", command, "admin", "rebuild", "-c", str(tmp_path / "s3.ini"), *options],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    young = rebuild()
    assert (young.returncode, young.stdout) == (1, "0 files rebuilt, 0 B (0 bytes), 1 too young, and left out\n")
    assert "file 12345: " in young.stderr
    done = rebuild("--settled", "0", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "1 file would be rebuilt, 5 B (5 bytes)\n")
    done = rebuild("--settled", "0", "--json", "--rate", "100")
    summary = json.loads(done.stdout)["summary"]
    assert (done.returncode, summary["made"], summary["bytes"], summary["complete"]) == (0, 1, 5, True)
    done = rebuild()
    assert (done.returncode, done.stdout) == (0, "0 files rebuilt, 0 B (0 bytes), 1 there already\n")
    assert ministack.ask("GET", f"/{BUCKET}/{tmp_path.name}/i/1c/12345")[0] == 200
    (tmp_path / "posix.ini").write_text(f"[server]\nprefix = {tmp_path}\n")
    assert rebuild("-c", str(tmp_path / "posix.ini")).returncode == 2
