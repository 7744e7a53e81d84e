"""Things that are no files, and that somebody put where the C{posix} backend keeps files."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from backends.posix import on_a_system, without_attributes, without_openat2
from pacarchive import errors
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
from pacarchive.backends.local.tree import FileTree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pacarchive.model import WriteConditions

MIB = 1 << 20

systems = pytest.mark.parametrize("lacking", [(), (without_openat2,), (without_attributes,)])


@systems
@pytest.mark.parametrize("size", [5, MIB])
@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "link to a pipe"])
@in_reactor
async def test_a_link_is_nothing(
    tmp_path: Path, kind: str, size: int, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Somebody put one at an id's place: it is not followed, and not removed; a new file takes the place."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    os.mkfifo(tmp_path / "pipe")
    async with on_a_system(*lacking)(tmp_path) as backend:
        place = tmp_path / "archive/1"
        target = {"link to a file": "outside", "link to nothing": "nothing", "link to a pipe": "pipe"}[kind]
        place.symlink_to(tmp_path / target)
        before = open_descriptors()
        for _ in range(2):
            for call in (backend.open(1), backend.status(1), backend.remove(1, ALLOW), backend.remove(1, DENY)):
                with pytest.raises(errors.NotFound) as caught:
                    await call
                assert not isinstance(caught.value, errors.NotAFile)
        assert place.is_symlink()
        await store(backend, 1, pattern(size))
        assert await content(backend, 1) == pattern(size)
        assert open_descriptors() == before
        assert outside.read_bytes() == b"secret"
        assert not (tmp_path / "nothing").exists()
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


WRITE_ONCE = pytest.mark.parametrize(
    ("conditions", "refusal"),
    [(ABSENT, errors.PreconditionFailed), (DENY, errors.AlreadyExists), (IDENTICAL, errors.AlreadyExists)],
    ids=["absent", "deny", "identical"],
)


@systems
@WRITE_ONCE
@pytest.mark.parametrize("size", [5, MIB])
@in_reactor
async def test_a_link_is_not_replaced_by_who_replaces_nothing(
    tmp_path: Path,
    size: int,
    conditions: WriteConditions,
    refusal: type[errors.ArchiveError],
    lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...],
) -> None:
    """No file can be seen there, and yet the name is taken: that is not what the condition means by a free id."""
    (tmp_path / "outside").write_bytes(b"secret")
    async with on_a_system(*lacking)(tmp_path) as backend:
        source = tmp_path / "archive/source"
        source.write_bytes(b"words")
        place = tmp_path / "archive/1"
        place.symlink_to(tmp_path / "outside")
        before = open_descriptors()
        with pytest.raises(refusal):
            await store(backend, 1, pattern(size), conditions)
        with pytest.raises(refusal):
            await backend.move(1, str(source), conditions)
        assert place.is_symlink()
        assert source.read_bytes() == b"words"
        assert open_descriptors() == before
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@WRITE_ONCE
@pytest.mark.parametrize("size", [5, MIB])
@in_reactor
async def test_a_file_that_cannot_be_seen_is_not_replaced(
    tmp_path: Path,
    size: int,
    conditions: WriteConditions,
    refusal: type[errors.ArchiveError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever makes the archive blind to it: who replaces nothing believes the name, which is taken."""
    async with on_a_system()(tmp_path) as backend:
        await store(backend, 1, b"words")
        source = tmp_path / "archive/source"
        source.write_bytes(b"other")
        monkeypatch.setattr(FileTree, "published", lambda *_: None)
        with pytest.raises(refusal):
            await store(backend, 1, pattern(size), conditions)
        with pytest.raises(refusal):
            await backend.move(1, str(source), conditions)
        monkeypatch.undo()
        assert await content(backend, 1) == b"words"
        assert source.read_bytes() == b"other"
        await store(backend, 1, b"new")
        assert await content(backend, 1) == b"new"


@systems
@pytest.mark.parametrize("size", [5, MIB])
@pytest.mark.parametrize("kind", ["directory", "pipe", "socket"])
@in_reactor
async def test_what_is_no_file_is_told_and_left_alone(
    tmp_path: Path, kind: str, size: int, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """
    Somebody put it at an id's place: that helps nobody to come back, so it is no trouble of the storage's, and no file
    takes the place of what may be of use to him.  A pipe is not waited for.
    """
    async with on_a_system(*lacking)(tmp_path) as backend:
        place = tmp_path / "archive/1"
        source = tmp_path / "archive/source"
        source.write_bytes(b"words")
        plant(kind, place)
        before, state = open_descriptors(), place.lstat()
        for _ in range(2):
            for call in (backend.open(1), backend.status(1), backend.remove(1, ALLOW), backend.remove(1, DENY)):
                with pytest.raises(errors.NotAFile):
                    await call
            for conditions in (ALLOW, DENY, ABSENT, IDENTICAL, matching("*")):
                with pytest.raises(errors.NotAFile):
                    await store(backend, 1, pattern(size), conditions)
                with pytest.raises(errors.NotAFile):
                    await backend.move(1, str(source), conditions)
        assert os.path.samestat(place.lstat(), state)
        assert open_descriptors() == before
        assert source.read_bytes() == b"words"
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


def plant(kind: str, place: Path) -> None:
    match kind:
        case "directory":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(place))


@systems
@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
@in_reactor
async def test_something_on_the_way(
    tmp_path: Path, kind: str, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Where a directory should be: no file has such an id, and none can get it."""
    async with on_a_system(*lacking, use_id2filename=True)(tmp_path) as backend:
        place = tmp_path / "archive/45"
        plant(kind, place) if kind != "file" else place.write_bytes(b"words")
        state = place.lstat()
        for call in (backend.open(0x12345), backend.status(0x12345), backend.remove(0x12345, ALLOW)):
            with pytest.raises(errors.NotFound):
                await call
        for conditions in (ALLOW, DENY):
            with pytest.raises(errors.NotAFile):
                await store(backend, 0x12345, b"words", conditions)
        assert os.path.samestat(place.lstat(), state)


@systems
@pytest.mark.parametrize("place", ["45", "45/23"])
@in_reactor
async def test_directories_that_lead_outside(
    tmp_path: Path, place: str, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Nothing is read, written or removed through a symbolic link that somebody put on the way to an id."""
    outside = tmp_path / "outside"
    (outside / "23").mkdir(parents=True)
    for name in ("12345", "23/12345"):
        (outside / name).write_bytes(b"secret")
    async with on_a_system(*lacking, use_id2filename=True)(tmp_path) as backend:
        link = tmp_path / "archive" / place
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(outside)
        for call in (backend.open(0x12345), backend.status(0x12345), backend.remove(0x12345, ALLOW)):
            with pytest.raises(errors.NotFound):
                await call
        for file_id in (0x12345, 0x22345):
            with pytest.raises(errors.ArchiveError):
                await store(backend, file_id, b"words")
    assert sorted(str(path.relative_to(outside)) for path in outside.rglob("*")) == ["12345", "23", "23/12345"]
    assert (outside / "12345").read_bytes() == (outside / "23/12345").read_bytes() == b"secret"
