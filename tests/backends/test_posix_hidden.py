"""The archive's own directory: whose it is, and what must be there before it is needed."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from backends.calls import Calls
from backends.interleaving import Other, before
from backends.posix import archive, on_a_system, settings_for, without_attributes
from pacarchive import errors
from pacarchive.backends import posix
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, open_descriptors, pattern, store
from pacarchive.backends.local import hidden

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pacarchive.backends.local.tree import FileTree


def opened(directory: Path) -> FileTree:
    """The blocking half of an archive."""
    tree = posix.tree_of(settings_for(directory))
    tree.open_root()
    return tree


def without_inodes(patch: pytest.MonkeyPatch) -> None:
    """No file can be made any more."""
    really_open = os.open

    def open_what_is_there(path: Any, flags: int, *args: Any, dir_fd: int | None = None, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if flags & os.O_CREAT:
            try:
                os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            except FileNotFoundError:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        return really_open(path, flags, *args, dir_fd=dir_fd, **more)

    patch.setattr(os, "open", open_what_is_there)


@pytest.mark.parametrize("lacking", [(), (without_attributes,)])
@in_reactor
async def test_removals_make_nothing(tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]) -> None:
    """So they are possible where no inode is free, whatever the id, and also after a start in that state."""
    factory = on_a_system(*lacking, use_id2filename=True)
    async with factory(tmp_path) as backend:
        for file_id in range(100):
            await store(backend, file_id, pattern(10, file_id))
        with pytest.MonkeyPatch.context() as patch:
            without_inodes(patch)
            with pytest.raises(errors.NoSpace):
                await store(backend, 100, b"words")
            for file_id in range(70):
                await backend.remove(file_id, ALLOW)
    async with on_a_system(*lacking, without_inodes, use_id2filename=True)(tmp_path) as backend:
        for file_id in range(70, 100):
            await backend.remove(file_id, ALLOW)
            assert await content(backend, file_id) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@in_reactor
async def test_a_start_without_room_for_locks(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and what is there is served."""
    told: list[str] = []
    monkeypatch.setattr(hidden._log, "warn", lambda text, **values: told.append(text.format(**values)))
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"words")
    for lock in (tmp_path / "archive/.pacarchive/locks").iterdir():
        lock.unlink()

    def refuse(path: str, flags: int, *_: object, **__: object) -> None:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))

    with before(hidden, "open", refuse):
        async with archive(tmp_path) as backend:
            assert await content(backend, 1) == b"words"
    assert len(told) == 1
    assert "not every file can be removed" in told[0]


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He could put anything into the place of what is swept and believed there."""
    opened(tmp_path).close_root()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    monkeypatch.setattr(hidden, "_owner_of_new", lambda directory: me + 1)
    before = open_descriptors()
    with pytest.raises(errors.BackendUnavailable, match=f"belongs to user {me}, and the archive runs as user {me + 1}"):
        opened(tmp_path)
    assert open_descriptors() == before


def test_a_file_server_that_takes_all_for_one_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What we make there is that user's, and so are our directories."""
    opened(tmp_path).close_root()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    opened(tmp_path).close_root()
    assert sorted(os.listdir(tmp_path / "archive/.pacarchive")) == ["digests", "locks", "tmp"]


@pytest.mark.parametrize("name", ["", "tmp", "locks", "digests"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_directory_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    """And nothing stays open."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("mine")
    place = tmp_path / "archive/.pacarchive" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "victim") if kind == "link" else place.write_text("mine")
    before = open_descriptors()
    with pytest.raises(errors.BackendUnavailable) as raised:
        opened(tmp_path)
    assert str(raised.value).startswith(f"{place}: ")
    assert ("is a symbolic link" if kind == "link" else "Not a directory") in str(raised.value)
    assert open_descriptors() == before
    assert (tmp_path / "victim/file").read_text() == "mine"


def test_a_lock_that_somebody_removes(tmp_path: Path) -> None:
    """Whoever waited for it takes its successor, which others take as well."""
    tree = opened(tmp_path)
    place = tmp_path / "archive/.pacarchive/locks/07"
    try:
        with ExitStack() as first:
            first.enter_context(tree.locked(7))

            def lock() -> bool:
                with tree.locked(7), open(place) as now:
                    try:
                        fcntl.flock(now, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        return True
                return False

            with Other(lock) as other:
                other.go_on()
                place.unlink()
                first.close()
                other.done()
            assert other.outcome is True
    finally:
        tree.close_root()


@pytest.mark.parametrize("kind", ["link", "directory"])
@in_reactor
async def test_what_is_no_lock_is_no_word_on_a_file(tmp_path: Path, kind: str) -> None:
    """It is trouble of the storage's, which is told; the file is there, and stays as it is."""
    async with archive(tmp_path) as backend:
        await store(backend, 7, b"words")
        place = tmp_path / "archive/.pacarchive/locks/07"
        place.unlink()
        place.symlink_to("nothing") if kind == "link" else place.mkdir()
        for call in (backend.remove(7, ALLOW), store(backend, 7, b"other")):
            with pytest.raises(errors.BackendUnavailable):
                await call
        assert await content(backend, 7) == b"words"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("open", ""),
        ("mkdir", ".pacarchive"),
        ("mkdir", ".pacarchive/tmp"),
        ("mkdir", ".pacarchive/digests"),
        ("fsync", ""),
        ("fsync", ".pacarchive"),
        ("open", ".pacarchive/locks/01"),
        ("open", ".pacarchive/locks/digests"),
        ("listdir", ".pacarchive/tmp"),
        ("open", ".pacarchive/tmp/half"),
        ("unlink", ".pacarchive/tmp/half"),
    ],
)
@in_reactor
async def test_a_start_that_fails_names_the_whole_path(tmp_path: Path, call: str, name: str) -> None:
    """Of whatever is wrong, wherever it is."""
    place = tmp_path / "archive" / name
    if name.endswith("half"):
        place.parent.mkdir(parents=True)
        place.write_text("")
    calls = Calls(tmp_path / "archive")
    before = open_descriptors()
    with calls.watched(), pytest.MonkeyPatch.context() as patch:
        note = calls.note

        def fail(called: str, args: tuple[Any, ...], more: dict[str, Any]) -> None:
            note(called, args, more)
            if str(calls.made[-1]) == f"{call} {name or '.'}":
                raise OSError(errno.EIO, os.strerror(errno.EIO), *(args[:1] if call != "fsync" else ()))

        patch.setattr(calls, "note", fail)
        with pytest.raises(errors.BackendUnavailable) as raised:
            async with archive(tmp_path):
                pass
    assert str(raised.value) == f"{place}: {os.strerror(errno.EIO)}"
    assert open_descriptors() == before
