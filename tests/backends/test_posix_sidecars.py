"""Digests in documents of their own, where a file system has no user attributes."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.calls import Calls
from backends.handling import ALLOW, DENY, IDENTICAL, content, in_reactor, matching, pattern, store
from backends.interleaving import before
from backends.posix import on_a_system, without_attributes
from pacarchive import errors
from pacarchive.backends import sidecars
from pacarchive.cli import main
from pacarchive.digests import PRIMARY

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86400.0
factory = on_a_system(without_attributes)


def documents(directory: Path) -> dict[str, bytes]:
    """All of them by name."""
    return {path.name: path.read_bytes() for path in (directory / "archive/.pacarchive/digests").iterdir()}


def age(directory: Path, seconds: float = 2 * DAY) -> None:
    """Make all documents older."""
    for path in (directory / "archive/.pacarchive/digests").iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


def sweep(directory: Path) -> list[str]:
    """C{admin sweep}.  @return: What is left."""
    assert main(["admin", "sweep", "--prefix", str(directory / "archive")]) == 0
    return sorted(documents(directory))


def name_of(path: Path) -> str:
    """Of the document of a file."""
    return f"{path.stat().st_ino}.json"


@pytest.mark.parametrize("mode", [0o444, 0o644])
@pytest.mark.parametrize("lacking", [(), (without_attributes,)])
@in_reactor
async def test_a_move_that_is_refused_changes_nothing(
    tmp_path: Path, mode: int, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Neither a digest of the source nor its mode."""
    async with on_a_system(*lacking)(tmp_path) as backend:
        before = await store(backend, 1, b"words")
        await store(backend, 2, b"other")
        source = tmp_path / "archive/1"
        source.chmod(mode)
        stored = documents(tmp_path)
        for conditions in (DENY, IDENTICAL, matching('"x"')):
            with pytest.raises((errors.AlreadyExists, errors.PreconditionFailed)):
                await backend.move(2, str(source), conditions)
        assert documents(tmp_path) == stored
        assert source.stat().st_mode & 0o777 == mode
        assert (await backend.status(1)).digests == before.digests


@in_reactor
async def test_a_document_is_never_changed_in_place(tmp_path: Path) -> None:
    """Whoever reads meanwhile, and whatever ends the writer, there is the old one or the new one."""
    async with factory(tmp_path) as backend:
        await store(backend, 1, b"words")
        await store(backend, 2, b"other")
        stored = documents(tmp_path)

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        for call in ("write", "rename"):
            with before(sidecars, call, fail), pytest.raises(errors.BackendUnavailable):
                await backend.move(3, str(tmp_path / "archive/1"), ALLOW)
            assert documents(tmp_path) == stored
        with before(sidecars, "open", lambda _, flags, *__, **___: _no_truncation(flags)):
            await backend.move(2, str(tmp_path / "archive/1"), ALLOW)
        assert len(documents(tmp_path)) == 1
        assert PRIMARY in (await backend.status(2)).digests


def _no_truncation(flags: int) -> None:
    assert not flags & os.O_TRUNC


@in_reactor
async def test_a_document_that_finds_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it is none."""
    really_write = os.write
    async with factory(tmp_path) as backend:
        monkeypatch.setattr(os, "write", lambda descriptor, data: really_write(descriptor, data[:10]))
        with pytest.raises(errors.NoSpace):
            await store(backend, 1, b"words")
        monkeypatch.undo()
        assert documents(tmp_path) == {}
        assert await content(backend, 1) is None


@pytest.mark.parametrize("size", [5, 1 << 20])
@in_reactor
async def test_the_replaced_version_keeps_its_digest_until_it_is_gone(tmp_path: Path, size: int) -> None:
    """A crash before the sync of the directory brings it back."""
    async with factory(tmp_path) as backend:
        await store(backend, 7, b"old")
        old = name_of(tmp_path / "archive/7")
        with Calls(tmp_path / "archive").watched() as calls:
            await store(backend, 7, pattern(size))
        assert calls.text("rename", "fsync", "unlink")[-3:] == [
            *("rename 7", "fsync .", f"unlink .pacarchive/digests/{old}"),
        ]
        (tmp_path / "incoming/file").write_bytes(b"moved")
        old = name_of(tmp_path / "archive/7")
        with Calls(tmp_path / "archive").watched() as calls:
            await backend.move(7, str(tmp_path / "incoming/file"), ALLOW)
        steps = calls.text("rename", "fsync", "unlink")
        assert steps.index("rename 7") < steps.index("fsync .") < steps.index(f"unlink .pacarchive/digests/{old}")


@in_reactor
async def test_a_failed_replacement_keeps_the_digest(tmp_path: Path) -> None:
    """When the directory could not be synced, nobody knows which version a crash would leave."""
    async with factory(tmp_path) as backend:
        for size in (5, 1 << 20):
            await store(backend, 7, b"old")
            with Calls(tmp_path / "archive").watched() as usual:
                await store(backend, 7, pattern(size))
            await store(backend, 7, b"old")
            old = name_of(tmp_path / "archive/7")
            failing = Calls(tmp_path / "archive")
            failing.failing = max(i for i, call in enumerate(usual.made) if str(call) == "fsync ."), errno.EIO
            with failing.watched(), pytest.raises(errors.BackendUnavailable):
                await store(backend, 7, pattern(size))
            assert old in documents(tmp_path)


@in_reactor
async def test_a_version_with_two_names_keeps_its_digest(tmp_path: Path) -> None:
    """A crash in a move leaves both: the removal or replacement of one is not the end of the other."""
    async with factory(tmp_path) as backend:
        for end in ("remove", "replace"):
            before = await store(backend, 1, b"words")
            os.link(tmp_path / "archive/1", tmp_path / "archive/2")
            if end == "remove":
                await backend.remove(1, ALLOW)
            else:
                await store(backend, 1, b"new")
            assert (await backend.status(2)).digests == before.digests
            await backend.remove(2, ALLOW)


@in_reactor
async def test_all_digests_of_a_version_are_kept(tmp_path: Path) -> None:
    """One that a reader computes is added to the others."""
    async with on_a_system(without_attributes, digests=("md5",))(tmp_path) as backend:
        before = await store(backend, 1, b"words")
        stored = await backend.open(1)
        try:
            await stored.remember({"adler32": b"1234"})
        finally:
            stored.close()
        assert (await backend.status(1)).digests == {**before.digests, "adler32": b"1234"}


@in_reactor
async def test_a_sweep_removes_what_belongs_to_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever removed it, a crash or somebody with C{rm}; and leaves what is in use, or may be so in a moment."""
    async with factory(tmp_path) as backend:
        for file_id in range(1, 6):
            await store(backend, file_id, pattern(10, file_id))
        await backend.move(11, str(tmp_path / "archive/1"), ALLOW)
        for name in "23":  # not removed, as another file would get the inode
            (tmp_path / "archive" / name).rename(tmp_path / f"archive/taken away {name}")
        os.link(tmp_path / "archive/4", tmp_path / "archive/14")
        assert len(sweep(tmp_path)) == 5
        age(tmp_path)
        await store(backend, 6, b"words")
        (tmp_path / "archive/6").rename(tmp_path / "archive/taken away just now")
        capsys.readouterr()
        left = sweep(tmp_path)
        assert "2 left over" in capsys.readouterr().out
        assert len(left) == 4
        for file_id in (4, 5, 11):
            assert PRIMARY in (await backend.status(file_id)).digests


@in_reactor
async def test_a_sweep_leaves_what_it_does_not_know(tmp_path: Path) -> None:
    """Documents of earlier releases, which name no id, and other things."""
    async with factory(tmp_path) as backend:
        await store(backend, 1, b"words")
    place = tmp_path / "archive/.pacarchive/digests"
    name = name_of(tmp_path / "archive/1")
    document = json.loads((place / name).read_text())
    del document["files"]
    (place / name).write_text(json.dumps(document))
    (place / "words.json").write_text("{")
    (place / "1.json").write_text("[]")
    (place / "2.json").symlink_to("words.json")
    (place / "half a document").write_text("{")
    age(tmp_path)
    assert sweep(tmp_path) == sorted(["1.json", "2.json", name, "words.json"])


@in_reactor
async def test_a_sweep_takes_no_new_document(tmp_path: Path) -> None:
    """One that is put in the place of the one that was looked at, because its inode is in use again."""
    async with factory(tmp_path) as backend:
        await store(backend, 1, b"words")
    name = name_of(tmp_path / "archive/1")
    place = tmp_path / "archive/.pacarchive/digests"
    (tmp_path / "archive/1").rename(tmp_path / "archive/taken away")
    age(tmp_path)

    def replace(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(name):
            (place / "new").write_text("new")
            (place / "new").rename(place / name)

    with before(sidecars, "fstat", replace):
        assert name in sweep(tmp_path)
    assert (place / name).read_text() == "new"
