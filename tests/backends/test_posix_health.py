"""What the C{posix} backend says of its storage, and what it refuses when that is not in its place any more."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from backends.calls import Calls
from backends.posix import archive
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, store
from pacarchive.backends.local.health import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _remove(prefix: Path) -> None:
    prefix.rename(prefix.with_name("elsewhere"))


def _replace(prefix: Path) -> None:
    _remove(prefix)
    prefix.mkdir()


def _replace_by_a_file(prefix: Path) -> None:
    _remove(prefix)
    prefix.write_bytes(b"")


TREES: dict[str, tuple[Callable[[Path], None], str]] = {
    "removed": (_remove, "not in its place"),
    "replaced": (_replace, "Another directory"),
    "a file instead": (_replace_by_a_file, "Another directory"),
}


@pytest.mark.parametrize("kind", TREES)
@pytest.mark.parametrize("size", [5, 300_000])
@in_reactor
async def test_nothing_is_stored_where_nobody_sees_it(tmp_path: Path, kind: str, size: int) -> None:
    """
    When the prefix leads elsewhere: what is written then would be lost with the old tree, so it is refused, and health
    says so.  What is there is still read; and all is well when it is back.
    """
    change, words = TREES[kind]
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"words")
        assert (await backend.health()).ready
        prefix = tmp_path / "archive"
        change(prefix)
        health = await backend.health()
        assert (health.ready, words in health.words) == (False, True)
        assert str(tmp_path) not in health.words
        (tmp_path / "elsewhere/source").write_bytes(b"moved")
        before = sorted(os.listdir(tmp_path / "elsewhere"))
        for call in (
            store(backend, 1, b"x" * size),
            store(backend, 2, b"x" * size),
            backend.remove(1, ALLOW),
            backend.move(3, str(prefix / "source"), ALLOW),
        ):
            with pytest.raises(errors.ArchiveError):
                await call
        with pytest.raises(errors.BackendUnavailable, match=words):
            await store(backend, 2, b"x" * size)
        assert sorted(os.listdir(tmp_path / "elsewhere")) == before
        assert await content(backend, 1) == b"words"
        if prefix.exists():
            prefix.unlink() if prefix.is_file() else prefix.rmdir()
        (tmp_path / "elsewhere").rename(prefix)
        assert (await backend.health()).ready
        await store(backend, 2, b"again")


@pytest.mark.parametrize("name", ["tmp", "locks", "digests", ""])
@in_reactor
async def test_the_hidden_directories_belong_to_it(tmp_path: Path, name: str) -> None:
    """Without one of them some files could not be stored."""
    async with archive(tmp_path) as backend:
        (tmp_path / "archive/.pacarchive" / name).rename(tmp_path / "elsewhere")
        assert not (await backend.health()).ready
        (tmp_path / "elsewhere").rename(tmp_path / "archive/.pacarchive" / name)
        assert (await backend.health()).ready


class _Space:
    """What a healthy file system says of itself, but for some of it."""

    f_blocks, f_bfree, f_bavail, f_frsize, f_files, f_favail, f_flag = 2000, 1000, 1000, 4096, 1000, 1000, 0

    def __init__(self, **changes: int) -> None:
        self.__dict__.update(changes)


@pytest.mark.parametrize(
    ("said", "ready", "words"),
    [
        ({}, True, "3 MiB free"),
        ({"f_files": 0, "f_favail": 0}, True, "3 MiB free"),
        ({"f_flag": os.ST_RDONLY}, False, "read-only"),
        ({"f_bavail": 0}, False, "0 MiB free"),
        ({"f_favail": 0}, False, "no inodes"),
    ],
)
@in_reactor
async def test_what_the_file_system_says_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, int], ready: bool, words: str
) -> None:
    """Not every file system counts its inodes."""
    async with archive(tmp_path) as backend:
        with monkeypatch.context() as patch:
            patch.setattr("pacarchive.backends.local.health.os.fstatvfs", lambda descriptor: _Space(**said))
            health = await backend.health()
        assert (health.ready, words in health.words) == (ready, True), health


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("call", ["open", "pwritev", "fsync"])
@in_reactor
async def test_what_it_does_counts_more(tmp_path: Path, call: str, number: int) -> None:
    """A file is written, as a PUT would; when that fails, what the file system says does not help."""
    async with archive(tmp_path) as backend:
        with Calls(tmp_path / "archive").watched() as calls:
            assert (await backend.health()).ready
        index = next(place for place, made in enumerate(calls.made) if made.name == call)
        tree: Any = backend
        again = HealthCheck(tree._tree)
        with Calls(tmp_path / "archive").watched() as calls:
            calls.failing = index, number
            health = again.look()
        assert not health.ready
        assert ("read-only" if number == errno.EROFS else os.strerror(number)) in health.words
        assert again.look().ready
        assert os.listdir(tmp_path / "archive/.pacarchive/tmp") == []


@in_reactor
async def test_a_look_does_not_write_each_time(tmp_path: Path) -> None:
    """Whoever asks all the time does not keep the disk busy."""
    async with archive(tmp_path) as backend:
        tree: Any = backend
        moments = [100.0, 101.0, 104.9, 105.1, 106.0]
        written: list[bool] = []
        own = HealthCheck(tree._tree, lambda: moments[len(written)])
        for _ in moments:
            with Calls(tmp_path / "archive").watched() as calls:
                assert own.look().ready
            written.append("fsync <unnamed>" in calls.text("fsync"))
        assert written == [True, False, False, True, False]
