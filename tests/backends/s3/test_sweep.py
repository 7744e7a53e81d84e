"""What is removed later: the data of versions that are no more, and what uploads left that were cut off."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.s3.archives import archive
from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer
from pacarchive.backends.contract.handling import ALLOW, in_reactor, load, pattern, store
from pacarchive.backends.s3.record import Layout, Record, data_at, place_of
from pacarchive.backends.s3.sweep import RecordsLostError

MIB = 1 << 20
SOON: dict[str, Any] = {"small_file": 4, "sweep_after": 1e-6, "part_size": 5 * MIB}


async def keys(backend: Any, kind: str) -> set[str]:
    """The ends of the keys of a kind."""
    prefix = getattr(backend._records.layout, kind)
    return {each.key.removeprefix(prefix) for each in (await backend._bucket.page(prefix, 1000)).objects}


async def swept(backend: Any, *, dry_run: bool = False) -> list[tuple[str, int, bool]]:
    """What a sweep has to do with: the last part of each key, the size, and whether it was removed."""
    sweeper = backend.sweeper(dry_run=dry_run)
    return [(each.key.rpartition("/")[2], each.size, each.removed) async for each in sweeper.run()]


@in_reactor
async def test_what_was_replaced_or_removed_goes_in_the_end(object_server: ObjectServer, tmp_path: Path) -> None:
    """And nothing else does: neither what there is, nor what small files have."""
    async with archive(object_server, tmp_path.name, **SOON) as backend:
        for file_id in (1, 2, 3):
            await store(backend, file_id, pattern(100 + file_id))
        await store(backend, 4, b"tiny")
        first = {data_at(each)[0]: data_at(each)[1] for each in await keys(backend, "data")}
        await store(backend, 1, pattern(50))
        await backend.remove(2, ALLOW)
        await backend.remove(4, ALLOW)
        assert len(await keys(backend, "data")) == 4
        gone = {(first[1], 101, False), (first[2], 102, False)}
        assert set(await swept(backend, dry_run=True)) == gone
        assert {each[:2] for each in await swept(backend)} == {each[:2] for each in gone}
        assert {data_at(each)[0] for each in await keys(backend, "data")} == {1, 3}
        assert await keys(backend, "garbage") == set()
        assert await swept(backend) == []
        assert (await load(backend, 1))[1] == pattern(50)
        assert (await load(backend, 3))[1] == pattern(103)


@in_reactor
async def test_records_of_removed_files_go_in_the_end(
    object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nobody can want to know any more what became of a write; but not where data could be taken for a file."""
    async with archive(object_server, tmp_path.name, **SOON) as any_backend:
        backend: Any = any_backend
        for file_id in (1, 2, 3, 4):
            await store(backend, file_id, b"tiny")
        await store(backend, 5, pattern(100))
        for file_id in (1, 2, 3, 5):
            await backend.remove(file_id, ALLOW)
        await store(backend, 3, b"tiny")
        await backend._bucket.put(backend._records.layout.data_key(Record(file_id=2)), [b"data"])
        assert [data_at(each)[0] for each in await keys(backend, "data") if data_at(each)[0] == 5] == [5]
        left = {place_of(file_id) for file_id in (1, 2, 3, 4, 5)}
        assert len(await swept(backend)) == 1
        assert await keys(backend, "records") == left, "they are too young"
        monkeypatch.setattr("pacarchive.backends.s3.sweep.PROOF", 0.0)
        await backend._bucket.put(backend._records.layout.data_key(Record(file_id=2)), [b"data"])
        await swept(backend, dry_run=True)
        assert await keys(backend, "records") == left
        await swept(backend)
        assert await keys(backend, "records") == {place_of(file_id) for file_id in (2, 3, 4)}
        await store(backend, 1, b"again")
        assert (await load(backend, 1))[1] == b"again"


@in_reactor
async def test_what_nobody_marked_is_marked_first(object_server: ObjectServer, tmp_path: Path) -> None:
    """Data of a writer that died between data and record; another that has not died yet still publishes it."""
    async with archive(object_server, tmp_path.name, **SOON) as backend:
        dead: Any = await backend.receive(1, 10, ALLOW, ())
        late: Any = await backend.receive(2, 10, ALLOW, ())
        for each in (dead, late):
            await each.write([pattern(10)])
            await each._upload.finish()
        assert await swept(backend) == []
        assert len(await keys(backend, "garbage")) == 2
        late._upload.finish = _again(late._upload)
        await late.commit(None, {})
        assert await swept(backend) == [(dead._record.version, 10, True)]
        assert await keys(backend, "garbage") == set()
        assert (await load(backend, 2))[1] == pattern(10)


def _again(upload: Any) -> Any:
    async def finish() -> Any:
        return upload._stored

    return finish


@in_reactor
@pytest.mark.parametrize(("files", "lost", "stops"), [(9, 9, False), (10, 10, True), (10, 9, False), (100, 51, True)])
async def test_lost_records_are_no_garbage(
    ministack: ObjectServer, tmp_path: Path, files: int, lost: int, stops: bool
) -> None:
    """Where they are many, and unless the operator knows better: else all their data would be removed in the end."""
    backend: Any
    async with archive(ministack, tmp_path.name, **SOON) as backend:
        for file_id in range(files):
            await store(backend, file_id, b"large")
        for place in sorted(await keys(backend, "records"))[:lost]:
            await backend._bucket.delete(f"{backend._records.layout.records}{place}")
        if stops:
            for dry_run in (True, False):
                with pytest.raises(RecordsLostError, match=f"{lost} of {files} data objects"):
                    await swept(backend, dry_run=dry_run)
            assert await keys(backend, "garbage") == set()
        sweeper = backend.sweeper(dry_run=False, believes=stops)
        assert [each async for each in sweeper.run()] == []
        assert sweeper.marked == len(await keys(backend, "garbage")) == lost


@in_reactor
async def test_nothing_young_is_removed(object_server: ObjectServer, tmp_path: Path) -> None:
    """A reader may have it open, an upload may go on."""
    async with archive(object_server, tmp_path.name, **{**SOON, "sweep_after": 3600}) as backend:
        await store(backend, 1, pattern(100))
        stored = await backend.open(1)
        await store(backend, 1, pattern(50))
        incoming = await backend.receive(2, None, ALLOW, ())
        await incoming.write([pattern(6 * MIB)])
        assert await swept(backend) == []
        assert await stored.read(0, 100) == pattern(100)
        stored.close()
        await incoming.commit(None, {})
        assert (await load(backend, 2))[1] == pattern(6 * MIB)


@in_reactor
async def test_uploads_without_a_sender_are_aborted(object_server: ObjectServer, tmp_path: Path) -> None:
    """And what is left of asking the store what it heeds goes, too."""
    async with archive(object_server, tmp_path.name, **SOON) as any_backend:
        backend: Any = any_backend
        layout = backend._records.layout
        upload = await backend._bucket.create(f"{layout.data}00/1/{'0' * 32}")
        await backend._bucket.put(f"{layout.probes}left", [b"words"])
        await backend._bucket.put(f"{layout.data}somebody-elses", [b"words"])
        assert await swept(backend) == [("0" * 32, 0, True), ("left", 5, True)]
        assert upload not in [each.upload for each in (await backend._bucket.uploads(layout.data, None))[0]]
        assert await keys(backend, "data") == {"somebody-elses"}


def test_the_command_stops_where_records_are_lost(ministack: ObjectServer, tmp_path: Path) -> None:
    """And says what to do."""
    layout = Layout(BUCKET, f"{tmp_path.name}/")
    for file_id in range(10):
        assert ministack.ask("PUT", f"/{BUCKET}/{layout.data_key(Record(file_id=file_id))}", b"words")[0] == 200
    done = sweep(ministack, tmp_path)
    assert done.returncode == 1
    assert (
        "10 of 10 data objects in a row have no record; if records were lost, pacarchive admin rebuild" in done.stderr
    )
    done = sweep(ministack, tmp_path, "--force")
    assert (done.returncode, done.stderr[:16]) == (0, "10 objects more ")


def sweep(server: ObjectServer, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    (folder / "s3.ini").write_text(
        f"[server]\ntype = s3\nprefix = /{BUCKET}/{folder.name}\n[s3]\nendpoint = {server.endpoint}\n"
        f"access_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\nsweep_after = 0.000001\n"
    )
    command = "import sys; from pacarchive.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", command, "admin", "sweep", "-c", str(folder / "s3.ini"), *options],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_command_sweeps(ministack: ObjectServer, tmp_path: Path) -> None:
    """As a process, with the service's settings."""
    place = f"{BUCKET}/{tmp_path.name}/d/1c/12345/{'0' * 32}"
    assert ministack.ask("PUT", f"/{place}", b"words")[0] == 200
    done = sweep(ministack, tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 left over, 0 bytes: 0 removed, 0 not removed\n")
    assert done.stderr.startswith("1 object more can be removed in ")
    done = sweep(ministack, tmp_path, "--json")
    assert done.returncode == 0
    found, summary = map(json.loads, done.stdout.splitlines())
    assert (f"{BUCKET}/{found['path']}", found["size"], found["removed"]) == (place, 5, True)
    assert summary == {"summary": {"found": 1, "bytes": 5, "failed": 0, "removed": 1}}
    assert ministack.ask("GET", f"/{place}")[0] == 404
