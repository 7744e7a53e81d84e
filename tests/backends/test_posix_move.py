"""The C{posix} backend moves files in: from where, in which order, and without losing one."""

# ruff: noqa: ASYNC240  (a test may wait for the disk)

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backends.calls import Calls
from backends.posix import archive, on_a_system, on_another_file_system, without_attributes, without_openat2
from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    in_reactor,
    load,
    matching,
    open_descriptors,
    pattern,
    store,
)
from pacarchive.backends.local import commit, move
from pacarchive.digests import PRIMARY, Buffer, Hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pacarchive.model import FileStatus, WriteConditions

MIB = 1 << 20
STEPS = ("open", "pwritev", "utime", "setxattr", "fchmod", "fsync", "link", "rename", "unlink")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that may be moved in."""
    path = tmp_path / "incoming/some/where/file"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"words")
    os.utime(path, (1000, 1000))
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    with tempfile.TemporaryDirectory(dir=on_another_file_system(tmp_path)) as name:
        yield Path(name)


@in_reactor
async def test_the_order_of_a_move(tmp_path: Path, source: Path) -> None:
    """The source goes last, when the name in the archive is durable."""
    async with archive(tmp_path) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            status = await backend.move(7, str(source), ALLOW)
        below = "../incoming/some/where"
        assert [step for step in calls.text(*STEPS) if not step.startswith(("open", "unlink .pacarchive/digests"))] == [
            *(f"fsync {below}/file", f"fchmod {below}/file", f"fsync {below}/file", "link 7", "fsync ."),
            *(f"unlink {below}/file", f"fsync {below}"),
        ]
        assert status.mtime == 1000
        assert not source.exists()
        assert await content(backend, 7) == b"words"


@pytest.mark.parametrize("size", [0, 5, 5 * MIB])
@in_reactor
async def test_from_another_file_system(tmp_path: Path, elsewhere: Path, size: int) -> None:
    """It is copied, with digest, time and mode, and goes when the copy is durable."""
    source = elsewhere / "file"
    source.write_bytes(pattern(size))
    os.utime(source, ns=(1000, 1711852200_999999999))
    async with archive(tmp_path, move_roots=(elsewhere,)) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            status = await backend.move(7, str(source), DENY)
        assert (status.size, status.mtime_ns) == (size, 1711852200_999999999)
        assert PRIMARY in status.digests
        assert calls.text("fsync", "link", "unlink")[-4:] == [
            *("link 7", "fsync .", f"unlink {os.path.relpath(source, tmp_path / 'archive')}"),
            f"fsync {os.path.relpath(elsewhere, tmp_path / 'archive')}",
        ]
        assert not source.exists()
        assert (tmp_path / "archive/7").stat().st_mode & 0o777 == 0o444
        assert await content(backend, 7) == pattern(size)


@in_reactor
async def test_a_source_keeps_its_time_or_its_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One whose time the archive's file system, that of a disk, cannot keep as that of the source does stays."""
    tmp_path = tmp_path_factory.mktemp("archive")
    elsewhere = Path(tempfile.mkdtemp(prefix="pa-", dir=on_another_file_system(tmp_path)))
    source = elsewhere / "file"
    source.write_bytes(b"words")
    year_9999 = 253402300799 * 10**9
    os.utime(source, ns=(year_9999, year_9999))
    async with archive(tmp_path, move_roots=(elsewhere,)) as backend:
        try:
            status = await backend.move(7, str(source), ALLOW)
        except errors.InvalidRequest:
            assert source.read_bytes() == b"words"
            assert await content(backend, 7) is None
        else:
            assert status.mtime_ns == year_9999
    shutil.rmtree(elsewhere)


@in_reactor
async def test_a_source_that_grows_is_not_copied(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended behind the copy's back would be lost with the source."""
    source = elsewhere / "file"
    source.write_bytes(b"words")

    class Appending(Hasher):
        def update(self, data: Buffer) -> None:
            super().update(data)
            if data == b"words":
                with source.open("ab") as stream:
                    stream.write(b"more")

    monkeypatch.setattr(move, "Hasher", Appending)
    async with archive(tmp_path, move_roots=(elsewhere,)) as backend:
        with pytest.raises(errors.InvalidRequest):
            await backend.move(7, str(source), ALLOW)
        assert source.read_bytes() == b"wordsmore"
        with pytest.raises(errors.NotFound):
            await backend.status(7)


@pytest.mark.parametrize(
    ("conditions", "error"),
    [(DENY, errors.AlreadyExists), (ABSENT, errors.PreconditionFailed), (IDENTICAL, errors.AlreadyExists)],
)
@in_reactor
async def test_a_refused_copy_leaves_nothing(
    tmp_path: Path, elsewhere: Path, conditions: WriteConditions, error: type[Exception]
) -> None:
    """The source stays; there is no temporary."""
    source = elsewhere / "file"
    source.write_bytes(b"words")
    async with archive(tmp_path, move_roots=(elsewhere,)) as backend:
        await store(backend, 7, b"old")
        before = open_descriptors()
        with pytest.raises(error):
            await backend.move(7, str(source), conditions)
        assert open_descriptors() == before
        assert source.read_bytes() == b"words"
        assert await content(backend, 7) == b"old"
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []
        await backend.move(7, str(source), matching("*"))
        assert await content(backend, 7) == b"words"


@pytest.mark.parametrize("lacking", [(), (without_openat2,)])
@in_reactor
async def test_within_the_archive(tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]) -> None:
    """A file can change its id; onto its own it stays where it is."""
    async with on_a_system(*lacking)(tmp_path) as backend:
        before = await store(backend, 1, b"words", mtime=1000)
        path = tmp_path / "archive/1"
        for conditions in (ALLOW, DENY, IDENTICAL, ABSENT):
            assert await backend.move(1, str(path), conditions) == before
        status = await backend.move(2, str(path), ALLOW)
        assert (status.digests, status.mtime) == (before.digests, 1000)
        assert await content(backend, 1) is None
        assert await content(backend, 2) == b"words"


@pytest.mark.parametrize("conditions", [ALLOW, DENY, IDENTICAL, ABSENT, matching("*"), matching('"another"')])
@in_reactor
async def test_after_a_crash_between_the_two_names(tmp_path: Path, source: Path, conditions: WriteConditions) -> None:
    """
    The file has both names: the move is completed when it is asked for again, whatever the conditions, and the source
    goes only when the name in the archive is durable.
    """
    async with archive(tmp_path) as backend:
        os.link(source, tmp_path / "archive/7")
        with Calls(tmp_path / "archive").watched() as calls:
            await backend.move(7, str(source), conditions)
        steps = calls.text("fsync", "unlink")
        assert steps.index("fsync .") < steps.index("unlink ../incoming/some/where/file")
        assert "rename 7" not in calls.text("rename")
        assert not source.exists()
        assert await content(backend, 7) == b"words"
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_the_same_bytes_under_another_name(tmp_path: Path, source: Path) -> None:
    """Where identical bytes are accepted, the archive's version stays and the source goes."""
    async with archive(tmp_path) as backend:
        before = await store(backend, 7, b"words")
        assert await backend.move(7, str(source), IDENTICAL) == before
        assert not source.exists()


@in_reactor
async def test_a_symbolic_link_within_the_roots(tmp_path: Path, source: Path) -> None:
    """The file that it leads to is moved."""
    link = tmp_path / "incoming/link"
    link.symlink_to(source)
    (tmp_path / "incoming/directory").symlink_to(source.parent)
    (source.parent / "second").write_bytes(b"second")
    async with archive(tmp_path) as backend:
        await backend.move(1, str(link), ALLOW)
        assert await content(backend, 1) == b"words"
        assert not source.exists()
        assert link.is_symlink()
        with pytest.raises(errors.NotFound):
            await backend.move(2, str(link), ALLOW)
        await backend.move(2, str(tmp_path / "incoming/directory/second"), ALLOW)
        assert await content(backend, 2) == b"second"


@pytest.mark.parametrize("lacking", [(), (without_openat2,)])
@in_reactor
async def test_outside_the_roots(tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]) -> None:
    """However the path gets there."""
    outside = tmp_path / "outside/file"
    outside.parent.mkdir()
    outside.write_bytes(b"secret")
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (tmp_path / "incoming-too").symlink_to(outside.parent)
    (incoming / "file").symlink_to(outside)
    (incoming / "directory").symlink_to(outside.parent)
    (incoming / "relative").symlink_to("../outside/file")
    (incoming / "loop").symlink_to("loop")
    paths = (
        *("outside/file", "incoming/file", "incoming/directory/file", "incoming/relative", "incoming-too/file"),
        *("incoming/../outside/file", "incoming/./../outside//file", "incoming", "archive", "", "outside"),
    )
    async with on_a_system(*lacking)(tmp_path) as backend:
        before = open_descriptors()
        for path in paths:
            with pytest.raises(errors.NotPermitted):
                await backend.move(1, f"{tmp_path}/{path}", ALLOW)
        with pytest.raises((errors.NotPermitted, errors.NotFound)):
            await backend.move(1, f"{incoming}/loop", ALLOW)
        for path in ("incoming/file", "file", "", ".", "~/file", f"{incoming}/file\0", "\0"):
            with pytest.raises(errors.InvalidRequest):
                await backend.move(1, path, ALLOW)
        assert open_descriptors() == before
        assert await content(backend, 1) is None
    assert outside.read_bytes() == b"secret"


@in_reactor
async def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    """Too long, or no text: an error of the archive's own."""
    async with archive(tmp_path) as backend:
        incoming = tmp_path / "incoming"
        for path in (f"{incoming}/{'x' * 300}", f"{incoming}{'/x' * 3000}", f"{incoming}/\udcff", f"{incoming}/\ud800"):
            with pytest.raises(errors.ArchiveError):
                await backend.move(1, path, ALLOW)


@in_reactor
async def test_the_hidden_directory_is_no_source(tmp_path: Path) -> None:
    """Neither the temporaries of others nor anything else in it."""
    async with archive(tmp_path) as backend:
        hidden = tmp_path / "archive/.pacarchive"
        (hidden / "tmp/file").write_bytes(b"words")
        for path in (hidden, hidden / "tmp", hidden / "tmp/file", hidden / "locks/../tmp/file"):
            with pytest.raises(errors.NotPermitted):
                await backend.move(1, str(path), ALLOW)
        assert (hidden / "tmp/file").read_bytes() == b"words"


@in_reactor
async def test_only_regular_files(tmp_path: Path) -> None:
    """A directory or a pipe is refused at once, and stays."""
    incoming = tmp_path / "incoming"
    (incoming / "directory").mkdir(parents=True)
    os.mkfifo(incoming / "pipe")
    async with archive(tmp_path) as backend:
        for name in ("directory", "pipe"):
            with pytest.raises(errors.InvalidRequest):
                await backend.move(1, str(incoming / name), ALLOW)
            assert (incoming / name).exists()
        assert await content(backend, 1) is None


@pytest.mark.parametrize("lacking", [(), (without_openat2,)])
@pytest.mark.parametrize("exchanged", ["incoming/some", "incoming/some/where", "incoming/some/where/file"])
@in_reactor
async def test_a_path_that_is_exchanged_under_way(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    exchanged: str,
    lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...],
) -> None:
    """Between the check of the path and its use somebody puts a link there: it is not followed out of the roots."""
    outside = tmp_path / "outside/where/file"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"secret")
    (outside.parent.parent / "file").write_bytes(b"secret")
    locate = move.locate

    def locate_and_exchange(*args: Any) -> Any:
        found = locate(*args)
        victim = tmp_path / exchanged
        shutil.move(victim, tmp_path / "away")
        victim.symlink_to(outside if exchanged.endswith("file") else outside.parent.parent)
        return found

    async with on_a_system(*lacking)(tmp_path) as backend:
        monkeypatch.setattr(move, "locate", locate_and_exchange)
        with pytest.raises((errors.NotPermitted, errors.NotFound)):
            await backend.move(1, str(source), ALLOW)
        assert await content(backend, 1) is None
    assert outside.read_bytes() == b"secret"


@in_reactor
async def test_a_source_that_is_replaced_under_way(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was opened is archived; the one that came in its place is not removed."""
    place = commit.Draft.place

    def replace_and_place(*args: Any) -> FileStatus | None:
        source.unlink()
        source.write_bytes(b"new")
        return place(*args)

    async with archive(tmp_path) as backend:
        monkeypatch.setattr(commit.Draft, "place", replace_and_place)
        (source.parent / "second name").hardlink_to(source)
        await backend.move(1, str(source), ALLOW)
        assert await content(backend, 1) == b"words"
        assert source.read_bytes() == b"new"


@pytest.mark.parametrize("lacking", [(), (without_attributes,)])
@in_reactor
async def test_stale_digests_are_not_believed(
    tmp_path: Path, source: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """A file that could be written to may have changed since its digests were stored; a read-only one keeps them."""
    async with on_a_system(*lacking)(tmp_path) as backend:
        digests = (await store(backend, 1, b"words", mtime=1000)).digests
        archived = tmp_path / "archive/1"
        assert (await backend.move(2, str(archived), ALLOW)).digests == digests
        archived = tmp_path / "archive/2"
        archived.chmod(0o644)
        archived.write_bytes(b"WORDS")
        os.utime(archived, (1000, 1000))
        status = await backend.move(3, str(archived), ALLOW)
        assert status.digests == {}
        assert await load(backend, 3) == (status, b"WORDS")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV])
@in_reactor
async def test_what_cannot_be_linked_is_copied(tmp_path: Path, source: Path, number: int) -> None:
    """A file of somebody else, or one with too many names."""
    async with archive(tmp_path) as backend:
        calls = Calls(tmp_path / "archive")
        calls.failing = ("link", number)
        with calls.watched():
            await backend.move(7, str(source), ALLOW)
        assert "link 7" in calls.text("link")
        assert "open <unnamed>" in calls.text("open")
        assert await content(backend, 7) == b"words"
        assert not source.exists()
