"""
A file whose bytes did not get to the disk: the kernel tells of it once, and takes the next sync of the same file for a
success.  Nothing is acknowledged that rests on such a file, in whatever process it is asked for again.
"""

# ruff: noqa: ASYNC240  (a test may wait for the disk)

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from backends.calls import Calls
from backends.interleaving import before
from backends.posix import archive, on_a_system, settings_for, without_attributes
from pacarchive import errors
from pacarchive.backends.contract import started
from pacarchive.backends.contract.handling import ABSENT, ALLOW, DENY, IDENTICAL, content, in_reactor, load, store
from pacarchive.backends.local import commit, directories
from pacarchive.backends.local.archive import LocalArchive
from pacarchive.backends.sideband.mount import SamTree
from pacarchive.digests import PRIMARY
from pacarchive.runtime.threads import BlockingPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pacarchive.model import WriteConditions

systems = pytest.mark.parametrize("lacking", [(), (without_attributes,)])


@contextmanager
def losing(path: Path) -> Iterator[None]:
    """The first sync of a file fails, and no other."""
    inode, told = path.stat().st_ino, False

    def fail_once(descriptor: int) -> None:
        nonlocal told
        if os.fstat(descriptor).st_ino == inode and not told:
            told = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with before(directories, "fsync", fail_once):
        yield
    assert told, "nobody has synced it"


@contextmanager
def no_room_for_copies() -> Iterator[None]:
    """No byte of any new file can be written."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with before(commit, "pwritev", fail):
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that may be moved in."""
    path = tmp_path / "incoming/file"
    path.parent.mkdir()
    path.write_bytes(b"words")
    return path


@systems
@in_reactor
async def test_a_source_that_is_lost_is_copied(
    tmp_path: Path, source: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """What could be read of it is stored in a file that was written anew, and synced."""
    inode = source.stat().st_ino
    async with on_a_system(*lacking)(tmp_path) as backend:
        with losing(source):
            await backend.move(1, str(source), ALLOW)
        assert await content(backend, 1) == b"words"
        assert (tmp_path / "archive/1").stat().st_ino != inode
        assert not source.exists()


@systems
@in_reactor
async def test_a_source_that_is_lost_is_never_trusted_again(
    tmp_path: Path, source: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Where no copy can be made either it is an error, and for another process as well the file remains what it is."""
    inode = source.stat().st_ino
    factory = on_a_system(*lacking)
    async with factory(tmp_path) as one:
        with losing(source), no_room_for_copies(), pytest.raises(errors.BackendUnavailable):
            await one.move(1, str(source), ALLOW)
        assert source.read_bytes() == b"words"
        assert await content(one, 1) is None
    async with factory(tmp_path) as two:
        await two.move(1, str(source), ALLOW)
        assert await content(two, 1) == b"words"
        assert (tmp_path / "archive/1").stat().st_ino != inode


@in_reactor
async def test_what_may_not_be_copied_is_refused_for_good(tmp_path: Path, source: Path) -> None:
    """In an archive that moves by linking alone: whoever has the bytes has to write them again."""

    def sam() -> LocalArchive:
        from twisted.internet import reactor
        from twisted.internet.interfaces import IReactorTime

        settings = settings_for(tmp_path)
        files = SamTree(settings.prefix, str, settings.move_roots)
        return LocalArchive(files, BlockingPool(reactor, "io", 1), IReactorTime(reactor))

    async with started(sam()) as one:
        with losing(source), pytest.raises(errors.BackendUnavailable, match="store it again"):
            await one.move(1, str(source), ALLOW)
    async with started(sam()) as two:
        for _ in range(2):
            with pytest.raises(errors.BackendUnavailable, match="store it again"):
                await two.move(1, str(source), ALLOW)
        assert source.read_bytes() == b"words"
        assert await content(two, 1) is None
        source.with_name("copy").write_bytes(source.read_bytes())
        await two.move(1, str(source.with_name("copy")), ALLOW)


@in_reactor
async def test_a_copy_of_other_bytes_than_the_digest_tells_is_refused(tmp_path: Path) -> None:
    """The pages that could not be written may be forgotten already: then what is read is what was there before."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"words")
        path = tmp_path / "archive/1"
        state = path.stat()
        path.chmod(0o644)
        path.write_bytes(b"WORDS")
        os.utime(path, ns=(state.st_mtime_ns, state.st_mtime_ns))
        path.chmod(0o444)
        with losing(path), pytest.raises(errors.BackendUnavailable):
            await backend.move(2, str(path), ALLOW)
        assert path.exists()
        assert await content(backend, 2) is None


@pytest.mark.parametrize("conditions", [ALLOW, DENY, ABSENT, IDENTICAL])
@systems
@in_reactor
async def test_onto_its_own_path(
    tmp_path: Path, conditions: WriteConditions, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """A file that another program put in the place of an id gets what it lacks before that is called done."""
    async with on_a_system(*lacking, use_id2filename=True)(tmp_path) as backend:
        path = tmp_path / "archive/45/23/12345"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"words")
        with Calls(tmp_path / "archive").watched() as calls:
            status = await backend.move(0x12345, str(path), conditions)
        assert PRIMARY in status.digests
        assert path.stat().st_mode & 0o777 == 0o444
        assert await load(backend, 0x12345) == (status, b"words")
        assert [step for step in calls.text("fsync") if ".pacarchive" not in step][-4:] == [
            *("fsync .", "fsync 45", "fsync 45/23/12345", "fsync 45/23"),
        ]
        assert await backend.move(0x12345, str(path), conditions) == status


@systems
@in_reactor
async def test_onto_its_own_path_when_it_is_lost(
    tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """A copy takes its place."""
    async with on_a_system(*lacking)(tmp_path) as backend:
        path = tmp_path / "archive/1"
        path.write_bytes(b"words")
        inode = path.stat().st_ino
        with losing(path):
            status = await backend.move(1, str(path), DENY)
        assert path.stat().st_ino != inode
        assert await load(backend, 1) == (status, b"words")
        assert PRIMARY in status.digests


@systems
@in_reactor
async def test_identical_bytes_of_another_program(
    tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """Whether they were ever written to the disk is not known: those that came are kept, with their digest."""
    async with on_a_system(*lacking)(tmp_path) as backend:
        path = tmp_path / "archive/1"
        path.write_bytes(b"words")
        inode = path.stat().st_ino
        with pytest.raises(errors.AlreadyExists):
            await store(backend, 1, b"other", IDENTICAL)
        assert path.stat().st_ino == inode
        with Calls(tmp_path / "archive").watched() as calls:
            status = await store(backend, 1, b"words", IDENTICAL)
        assert path.stat().st_ino != inode
        assert PRIMARY in status.digests
        assert await load(backend, 1) == (status, b"words")
        assert calls.text("rename", "fsync")[-2:] == ["rename 1", "fsync ."]


@systems
@in_reactor
async def test_identical_bytes_that_are_lost(
    tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """The version that came, which is on the disk, takes the place of the one that is not, now or when asked again."""
    factory = on_a_system(*lacking)
    path = tmp_path / "archive/1"
    async with factory(tmp_path) as one:
        await store(one, 1, b"words")
        inode = path.stat().st_ino
        with losing(path), suppress(errors.BackendUnavailable), before(commit, "rename", _fail):
            await store(one, 1, b"words", IDENTICAL)
        assert path.stat().st_ino == inode
    async with factory(tmp_path) as two:
        await store(two, 1, b"words", IDENTICAL)
        assert path.stat().st_ino != inode
        inode = path.stat().st_ino
        await store(two, 1, b"words", IDENTICAL)
        assert path.stat().st_ino == inode
        assert await content(two, 1) == b"words"


def _fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@in_reactor
async def test_a_digest_is_stored_with_bytes_that_are_on_the_disk(tmp_path: Path) -> None:
    """One that a reader computed makes a file count as one of the archive's own: it is synced before."""
    async with archive(tmp_path) as backend:
        path = tmp_path / "archive/1"
        path.write_bytes(b"words")
        stored = await backend.open(1)
        try:
            with losing(path):
                await stored.remember({PRIMARY: b"x" * 32})
            assert (await backend.status(1)).digests == {}
        finally:
            stored.close()
