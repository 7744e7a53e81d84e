"""The C{posix} backend's order of steps, and what it leaves on the disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from backends.calls import Calls
from backends.posix import archive, on_a_system, without_attributes, without_unnamed_files
from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ALLOW,
    DENY,
    IDENTICAL,
    begin,
    content,
    in_reactor,
    load,
    matching,
    pattern,
    store,
)
from pacarchive.digests import ALGORITHMS, PRIMARY
from pacarchive.ids import id_to_path
from pacarchive.model import Durability

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = (
    *("open", "pwritev", "utime", "setxattr", "fchmod", "fsync", "mkdir", "link", "unlink", "rename", "flock"),
    "write",
)
COMPLETE = ["pwritev <unnamed>", "utime <unnamed>", "setxattr <unnamed>", "fchmod <unnamed>", "fsync <unnamed>"]
DEEP = 0x012345
"""An id whose path is C{45/23/12345}."""


def test_where_the_deep_id_lies() -> None:
    """The tests below spell it out."""
    assert id_to_path(DEEP) == "/45/23/12345"


@in_reactor
async def test_a_new_file(tmp_path: Path) -> None:
    """Data, time, attributes, mode and sync come before the name, and the directory's sync before the answer."""
    async with archive(tmp_path) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, 7, b"words", mtime=1000)
        assert calls.text(*STEPS) == ["open <unnamed>", *COMPLETE, "link 7", "fsync ."]


@in_reactor
async def test_a_large_file(tmp_path: Path) -> None:
    """Its data goes to the disk as it comes; the steps at the end are the same."""
    async with archive(tmp_path) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, 7, b"", pieces=[[pattern(300_000)]] * 3, mtime=1000, announced=False)
        assert calls.text(*STEPS) == [
            *("open <unnamed>", "pwritev <unnamed>", "pwritev <unnamed>", *COMPLETE, "link 7", "fsync ."),
        ]


@in_reactor
async def test_new_directories(tmp_path: Path) -> None:
    """Each is made durable in its parent before the file gets a name in it; once is enough."""
    async with archive(tmp_path, use_id2filename=True) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, DEEP, b"words")
            await store(backend, DEEP + (1 << 16), b"words")
        assert calls.text("mkdir", "link", "fsync") == [
            "fsync <unnamed>",
            *("mkdir 45", "fsync .", "mkdir 45/23", "fsync 45", "link 45/23/12345", "fsync 45/23"),
            *("fsync <unnamed>", "link 45/23/22345", "fsync 45/23"),
        ]


@in_reactor
async def test_directories_of_others(tmp_path: Path) -> None:
    """That a directory exists does not mean that it is durable: another process may have made it just now."""
    (tmp_path / "archive/45/23").mkdir(parents=True)
    async with archive(tmp_path, use_id2filename=True) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, DEEP, b"words")
        assert calls.text("link", "fsync") == [
            *("fsync <unnamed>", "fsync .", "fsync 45", "link 45/23/12345", "fsync 45/23"),
        ]


@pytest.mark.parametrize("gone", ["45/23", "45"])
@in_reactor
async def test_directories_that_somebody_removed(tmp_path: Path, gone: str) -> None:
    """They are made again, and as durable as before."""
    async with archive(tmp_path, use_id2filename=True) as backend:
        await store(backend, DEEP, b"words")
        shutil.rmtree(tmp_path / "archive" / gone)
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, DEEP, b"again")
        assert calls.text("link", "fsync") == [
            *("fsync <unnamed>", "fsync .", "fsync 45", "link 45/23/12345", "fsync 45/23"),
        ]
        assert await content(backend, DEEP) == b"again"


@pytest.mark.parametrize("conditional", [False, True])
@in_reactor
async def test_a_replaced_file(tmp_path: Path, conditional: bool) -> None:
    """The complete new version gets a name among the temporaries, under a lock, and takes the old one's place."""
    async with archive(tmp_path) as backend:
        old = await store(backend, 7, b"old")
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, 7, b"words", matching(old.etag) if conditional else ALLOW, mtime=1000)
        steps = calls.text(*STEPS)
        assert [step for step in steps if step != "link 7" and "digests" not in step] == [
            *("open <unnamed>", *COMPLETE, "open .pacarchive/locks/07", "flock .pacarchive/locks/07"),
            *("flock <unnamed>", "link .pacarchive/tmp/<temporary>", "rename 7", "flock <unnamed>", "fsync ."),
        ]
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_without_unnamed_files(tmp_path: Path) -> None:
    """A locked name among the temporaries serves instead, and is gone before the answer."""
    async with on_a_system(without_unnamed_files)(tmp_path) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, 7, b"words", mtime=1000)
        name = ".pacarchive/tmp/<temporary>"
        assert calls.text(*STEPS) == [
            *("open <unnamed>", f"open {name}", f"flock {name}"),
            *(step.replace("<unnamed>", name) for step in COMPLETE),
            *("link 7", f"unlink {name}", f"flock {name} (deleted)", "fsync ."),
        ]


@in_reactor
async def test_without_attributes(tmp_path: Path) -> None:
    """The sidecar is durable before the file has a name."""
    async with on_a_system(without_attributes)(tmp_path) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            status = await store(backend, 7, b"words", mtime=1000)
        number = (tmp_path / "archive/7").stat().st_ino
        sidecar, new = f".pacarchive/digests/{number}.json", ".pacarchive/tmp/<temporary>"
        assert calls.text("write", "fsync", "link", "rename") == [
            *(f"write {new}", f"fsync {new}", f"rename {sidecar}", "fsync .pacarchive/digests"),
            *("fsync <unnamed>", "link 7", "fsync ."),
        ]
        assert (await backend.status(7)).digests == status.digests
        await backend.remove(7, ALLOW)
        assert os.listdir(tmp_path / "archive/.pacarchive/digests") == []


@in_reactor
async def test_sidecars_go_with_their_versions(tmp_path: Path) -> None:
    """What was aborted, refused or replaced leaves none."""
    async with on_a_system(without_attributes, without_unnamed_files)(tmp_path) as backend:
        await (await begin(backend, 1, pattern(1 << 20))).abort()
        with pytest.raises(errors.DigestMismatch):
            await store(backend, 1, b"words", expected={PRIMARY: b""})
        late = await begin(backend, 1, b"words", DENY)
        for seed in range(3):
            await store(backend, 1, pattern(10, seed))
        with pytest.raises(errors.AlreadyExists):
            await late.commit(None, {})
        assert len(os.listdir(tmp_path / "archive/.pacarchive/digests")) == 1
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_an_acceptance_of_identical_bytes_is_durable(tmp_path: Path) -> None:
    """Whoever stored them first may have been killed before the sync of the directory."""
    async with archive(tmp_path) as backend:
        before = await store(backend, 7, b"words")
        with Calls(tmp_path / "archive").watched() as calls:
            assert await store(backend, 7, b"words", IDENTICAL) == before
        assert calls.text("fsync", "rename")[-2:] == ["fsync 7", "fsync ."]


@in_reactor
async def test_a_removal(tmp_path: Path) -> None:
    """It is locked out from replacements, and durable."""
    async with archive(tmp_path) as backend:
        await store(backend, 7, b"words")
        with Calls(tmp_path / "archive").watched() as calls:
            await backend.remove(7, ALLOW)
        assert calls.text("flock", "unlink", "fsync")[:3] == ["flock .pacarchive/locks/07", "unlink 7", "fsync ."]


@in_reactor
async def test_relaxed_durability_syncs_nothing(tmp_path: Path) -> None:
    """On no path, with or without attributes."""
    (tmp_path / "incoming").mkdir()
    for number, lacking in enumerate(([], [without_attributes], [without_unnamed_files])):
        settings = {"durability": Durability.RELAXED, "use_id2filename": True}
        with Calls(tmp_path / "archive").watched() as calls:
            async with on_a_system(*lacking, **settings)(tmp_path) as backend:
                await store(backend, DEEP + number, b"words")
                await store(backend, DEEP + number, pattern(1 << 20))
                await store(backend, DEEP + number, pattern(1 << 20), IDENTICAL)
                (tmp_path / "incoming/one").write_bytes(b"words")
                await backend.move(DEEP + number, str(tmp_path / "incoming/one"), ALLOW)
                await backend.remove(DEEP + number, ALLOW)
        assert calls.made
        assert calls.text("fsync") == []


@in_reactor
async def test_files_are_read_only(tmp_path: Path) -> None:
    """New, replaced and moved ones: mode 0444."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"words")
        await store(backend, 1, b"words")
        await store(backend, 2, pattern(1 << 20))
        (tmp_path / "incoming/one").write_bytes(b"words")
        await backend.move(3, str(tmp_path / "incoming/one"), ALLOW)
        for name in "123":
            assert stat.S_IMODE((tmp_path / "archive" / name).stat().st_mode) == 0o444


@in_reactor
async def test_digests_lie_beside_the_file(tmp_path: Path) -> None:
    """As raw bytes, the primary one and those of the settings, the same that the status tells."""
    async with archive(tmp_path, digests=("md5", "adler32")) as backend:
        status = await store(backend, 1, b"words")
        assert set(status.digests) == {PRIMARY, "md5", "adler32"}
        for name, digest in status.digests.items():
            hasher = ALGORITHMS[name]()
            hasher.update(b"words")
            assert os.getxattr(tmp_path / "archive/1", f"user.pacarchive.{name}") == digest == hasher.digest()
        assert (await backend.status(1)).digests == status.digests


@in_reactor
async def test_a_start_sweeps_dead_writers_only(tmp_path: Path) -> None:
    """A live writer holds a lock on its temporary, which the kernel drops when it dies."""
    temporaries = tmp_path / "archive/.pacarchive/tmp"
    temporaries.mkdir(parents=True)
    for name in ("dead", "living"):
        (temporaries / name).write_bytes(b"half a fi")
    with (temporaries / "living").open() as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        async with archive(tmp_path):
            assert os.listdir(temporaries) == ["living"]
    async with archive(tmp_path):
        assert os.listdir(temporaries) == []


@in_reactor
async def test_a_start_disturbs_no_upload(tmp_path: Path) -> None:
    """A second process that starts leaves the temporaries of the first alone."""
    factory = on_a_system(without_unnamed_files)
    async with factory(tmp_path) as one, AsyncExitStack() as others:
        await store(one, 1, b"old")
        drafts = [await begin(one, file_id, pattern(1 << 20, file_id)) for file_id in (1, 2)]
        two = await others.enter_async_context(factory(tmp_path))
        for draft in drafts:
            await draft.commit(None, {})
        for file_id in (1, 2):
            assert (await load(two, file_id))[1] == pattern(1 << 20, file_id)
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@pytest.mark.parametrize("lacking", [without_unnamed_files, without_attributes])
@in_reactor
async def test_an_upload_survives_a_sweep_before_its_lock(
    tmp_path: Path, lacking: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts between the creation of a temporary and its lock takes it for a dead writer's."""
    swept: list[str] = []
    really_lock = fcntl.flock

    def lock_late(descriptor: int, how: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not swept and "/tmp/" in path.removeprefix(str(tmp_path)):
            swept.append(path)
            os.unlink(path)
        really_lock(descriptor, how)

    async with on_a_system(lacking)(tmp_path) as backend:
        monkeypatch.setattr(fcntl, "flock", lock_late)
        await store(backend, 1, b"words")
        assert len(swept) == 1
        assert await content(backend, 1) == b"words"
