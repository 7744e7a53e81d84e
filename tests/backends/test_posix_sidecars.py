"""Digests in documents of their own, where a file system has no user attributes."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.calls import Calls
from backends.interleaving import before
from backends.posix import on_a_system, settings_for, without_attributes
from pacarchive import errors
from pacarchive.backends import posix
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    in_reactor,
    matching,
    open_descriptors,
    pattern,
    store,
)
from pacarchive.backends.local import hidden, sidecars
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
        with before(hidden, "open", lambda _, flags, *__, **___: _no_truncation(flags)):
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


DAMAGED = {
    "deep": b"[" * 60_000,
    "deep in a member": b'{"size": ' + b"[" * 60_000,
    "no number": b'{"size": ' + b"9" * 5000 + b"}",
    "a list": b"[1, 2]",
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
@in_reactor
async def test_a_damaged_document_says_nothing(tmp_path: Path, text: bytes) -> None:
    """Whatever is in it, its file is read, replaced and removed, and a sweep goes on to the next."""
    async with factory(tmp_path) as backend:
        await store(backend, 1, b"words")
        document = tmp_path / "archive/.pacarchive/digests" / name_of(tmp_path / "archive/1")
        document.write_bytes(text)
        age(tmp_path)
        assert document.name in sweep(tmp_path)
        assert (await backend.status(1)).digests == {}
        assert await content(backend, 1) == b"words"
        with pytest.raises(errors.PreconditionFailed):
            await store(backend, 1, b"other", ABSENT)
        await store(backend, 1, b"other")
        assert await content(backend, 1) == b"other"
        document = document.with_name(name_of(tmp_path / "archive/1"))
        document.write_bytes(text)
        await backend.remove(1, ALLOW)
        assert documents(tmp_path) == {}


@in_reactor
async def test_parts_of_a_document_that_make_no_sense(tmp_path: Path) -> None:
    """Digests of no algorithm, and ids that no file can have, are not believed; the rest is."""
    async with factory(tmp_path) as backend:
        digests = (await store(backend, 1, b"words")).digests
        path = tmp_path / "archive/.pacarchive/digests" / name_of(tmp_path / "archive/1")
        document = json.loads(path.read_text())
        document["digests"]["words"] = "00"
        document["files"] = [[], -1, 10**400, True]
        path.write_text(json.dumps(document))
        assert (await backend.status(1)).digests == digests
        age(tmp_path)
        assert sweep(tmp_path) == [path.name]


def put_instead(kind: str, place: Path) -> None:
    """Something that is no document, in the place of one."""
    place.unlink()
    match kind:
        case "link to nothing":
            place.symlink_to("nothing")
        case "link to itself":
            place.symlink_to(place.name)
        case "directory":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case "socket":
            os.mknod(place, stat.S_IFSOCK | 0o600)


@pytest.mark.parametrize("kind", ["link to nothing", "link to itself", "directory", "pipe", "socket"])
@in_reactor
async def test_what_is_no_document_says_nothing(tmp_path: Path, kind: str) -> None:
    """Its file is there for all that, with its conditions; nobody waits for a pipe; and a sweep leaves it."""
    async with factory(tmp_path) as backend:
        for size in (5, 1 << 20):
            await store(backend, 1, b"words")
            place = tmp_path / "archive/.pacarchive/digests" / name_of(tmp_path / "archive/1")
            put_instead(kind, place)
            before, state = open_descriptors(), place.lstat()
            assert (await backend.status(1)).digests == {}
            assert await content(backend, 1) == b"words"
            for conditions, refusal in ((ABSENT, errors.PreconditionFailed), (DENY, errors.AlreadyExists)):
                with pytest.raises(refusal):
                    await store(backend, 1, pattern(size), conditions)
            assert await content(backend, 1) == b"words"
            assert main(["admin", "sweep", "--prefix", str(tmp_path / "archive")]) == 0
            assert os.path.samestat(place.lstat(), state)
            assert open_descriptors() == before
            if size == 5:
                await store(backend, 1, pattern(size))
                assert await content(backend, 1) == pattern(size)
            await backend.remove(1, ALLOW)
            assert await content(backend, 1) is None
            if kind == "directory":
                place.rmdir()
            else:
                place.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", ["link to nothing", "directory", "pipe", "socket"])
@in_reactor
async def test_a_digest_where_something_else_is(tmp_path: Path, kind: str) -> None:
    """It takes the place of what is no directory; where it cannot, that is trouble of the storage's and no file's."""
    async with factory(tmp_path) as backend:
        before = await store(backend, 1, b"words")
        place = tmp_path / "archive/.pacarchive/digests" / name_of(tmp_path / "archive/1")
        put_instead(kind, place)
        stored = await backend.open(1)
        try:
            await stored.remember(before.digests)
        finally:
            stored.close()
        digests = {} if kind == "directory" else before.digests
        assert (await backend.status(1)).digests == digests
        if kind == "directory":
            with pytest.raises(errors.BackendUnavailable):
                await backend.move(2, str(tmp_path / "archive/1"), ALLOW)
            assert await content(backend, 1) == b"words"
        else:
            await backend.move(2, str(tmp_path / "archive/1"), ALLOW)
            assert (await backend.status(2)).digests == before.digests
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_half_a_document_goes_at_the_next_start(tmp_path: Path) -> None:
    """And not at one while its writer lives: it is a temporary as others are until it is whole."""
    temporaries, place = (tmp_path / "archive/.pacarchive" / name for name in ("tmp", "digests"))
    seen: list[list[str]] = []

    def look(*_: object, **__: object) -> None:
        tree = posix.tree_of(settings_for(tmp_path))
        tree.open_root()
        tree.close_root()
        (new,) = temporaries.iterdir()
        seen.append(os.listdir(place))
        os.link(new, temporaries / "as a crash would leave it")

    async with factory(tmp_path) as backend:
        with before(sidecars, "rename", look):
            status = await store(backend, 1, b"words")
        assert seen == [[]]
        assert os.listdir(temporaries) == ["as a crash would leave it"]
        assert os.listdir(place) == [name_of(tmp_path / "archive/1")]
    async with factory(tmp_path) as backend:
        assert os.listdir(temporaries) == []
        assert (await backend.status(1)).digests == status.digests
