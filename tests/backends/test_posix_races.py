"""
Two of whom one looks at a name and then does something with it, while the other gives that name to another file: no
version that was acknowledged goes without somebody having asked for that.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import DeferredList, gatherResults
from twisted.internet.threads import deferToThread

from backends.interleaving import Other, before
from backends.posix import archive, on_a_system, settings_for, without_attributes, without_unnamed_files
from pacarchive import errors
from pacarchive.backends import posix
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    content,
    in_reactor,
    load,
    matching,
    pattern,
    running,
    store,
)
from pacarchive.backends.local import commit, directories, fixity, move, tree
from pacarchive.backends.local.commit import Draft
from pacarchive.digests import PRIMARY, Hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.python.failure import Failure

    from pacarchive.backends.local.tree import FileTree
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.model import FileStatus, WriteConditions


@pytest.fixture
def another(tmp_path: Path) -> Iterator[FileTree]:
    """The tree of another process of the same archive."""
    tree = posix.tree_of(settings_for(tmp_path))
    tree.open_root()
    yield tree
    tree.close_root()


def put(tree: FileTree, file_id: int, data: bytes, conditions: WriteConditions = ALLOW) -> FileStatus:
    """Store a file, blocking."""
    draft, hasher = Draft.create(tree), Hasher([PRIMARY])
    try:
        hasher.update(data)
        draft.write([data])
        return draft.commit(file_id, None, hasher.digests(), conditions)
    finally:
        draft.discard()


STEPS = {"stat": move, "link": commit, "fsync": directories, "unlink": move}
"""Of a move, and the modules that make them."""


@pytest.mark.parametrize("source_id", [1, 66], ids=["of another lock", "of the same lock"])
@pytest.mark.parametrize("step", STEPS)
@in_reactor
async def test_a_put_to_the_id_whose_file_is_moved_away(
    tmp_path: Path, another: FileTree, step: str, source_id: int
) -> None:
    """Before any step of the move: what was put is there afterwards, under this id or the other."""
    async with archive(tmp_path) as backend:
        await store(backend, source_id, b"old")
        with Other(lambda: put(another, source_id, b"new")) as other:
            with before(STEPS[step], step, lambda *_, **__: other.go_on()):
                await backend.move(2, str(tmp_path / f"archive/{source_id}"), ALLOW)
            await deferToThread(other.done)
        assert not isinstance(other.outcome, Exception)
        assert [await content(backend, source_id), await content(backend, 2)] in ([b"new", b"old"], [None, b"new"])


@pytest.mark.parametrize("conditions", [ALLOW, IDENTICAL], ids=["allow", "identical"])
@pytest.mark.parametrize("step", STEPS)
@in_reactor
async def test_a_put_to_the_id_whose_bytes_are_elsewhere_already(
    tmp_path: Path, another: FileTree, step: str, conditions: WriteConditions
) -> None:
    """The move removes the name of the bytes that it has compared, and of no others."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"same")
        await store(backend, 2, b"same")
        with Other(lambda: put(another, 1, b"new")) as other:
            with before(STEPS[step], step, lambda *_, **__: other.go_on()), suppress(errors.AlreadyExists):
                await backend.move(2, str(tmp_path / "archive/1"), conditions)
            other.go_on()
            await deferToThread(other.done)
        assert not isinstance(other.outcome, Exception)
        assert b"new" in (await content(backend, 1), await content(backend, 2))


@pytest.mark.parametrize("step", STEPS)
@in_reactor
async def test_a_removal_of_the_id_whose_file_is_moved_away(tmp_path: Path, another: FileTree, step: str) -> None:
    """One of the two finds the file: it is removed, or under the other id."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"old")
        moved = None
        with Other(lambda: another.remove(1, ALLOW)) as other:
            with before(STEPS[step], step, lambda *_, **__: other.go_on()), suppress(errors.NotFound):
                moved = await backend.move(2, str(tmp_path / "archive/1"), ALLOW)
            await deferToThread(other.done)
        assert isinstance(other.outcome, errors.NotFound) is (moved is not None)
        assert await content(backend, 1) is None
        assert await content(backend, 2) == (b"old" if moved else None)


@in_reactor
async def test_a_conditional_removal_of_what_is_moved_away(tmp_path: Path, another: FileTree) -> None:
    """What came in the place of the version that the condition names stays."""
    async with archive(tmp_path) as backend:
        status = await store(backend, 1, b"old")

        def move_and_put() -> None:
            move.move_into(another, 2, str(tmp_path / "archive/1"), ALLOW)
            put(another, 1, b"new")

        with Other(move_and_put) as other:
            with before(tree, "unlink", lambda *_, **__: other.go_on()):
                await backend.remove(1, matching(status.etag))
            await deferToThread(other.done)
        assert isinstance(other.outcome, errors.NotFound)
        assert await content(backend, 2) is None


@in_reactor
async def test_a_put_that_finds_its_name_taken_by_what_is_moved_away(tmp_path: Path, another: FileTree) -> None:
    """It is neither lost nor told that there is no file."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"old")
        with Other(lambda: move.move_into(another, 2, str(tmp_path / "archive/1"), ALLOW)) as other:
            with before(commit, "stat", lambda *_, **__: other.go_on()):
                await store(backend, 1, b"new")
            other.go_on()
            await deferToThread(other.done)
        assert not isinstance(other.outcome, Exception)
        assert b"new" in (await content(backend, 1), await content(backend, 2))


@pytest.mark.parametrize("outside", [False, True])
@in_reactor
async def test_one_file_is_moved_to_one_id(tmp_path: Path, outside: bool) -> None:
    """Of all who move it at the same time one succeeds, and the others find that it is not there."""
    async with archive(tmp_path) as one, archive(tmp_path) as two:
        for turn in range(5):
            if outside:
                source = tmp_path / f"incoming/{turn}"
                source.write_bytes(pattern(10, turn))
            else:
                source = tmp_path / f"archive/{100 + turn}"
                await store(one, 100 + turn, pattern(10, turn))
            targets = range(10 * turn, 10 * turn + 6)
            outcomes = await DeferredList(
                [running(backend.move(file_id, str(source), DENY)) for file_id in targets for backend in (one, two)],
                consumeErrors=True,
            )
            assert sum(success for success, _ in outcomes) == 1
            assert all(success or cast("Failure", result).check(errors.NotFound) for success, result in outcomes)
            assert [await content(one, file_id) for file_id in targets].count(pattern(10, turn)) == 1
            assert not source.exists()


@in_reactor
async def test_the_id_is_taken_by_what_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another who makes the same move has linked the file and not yet removed its old name: that is no conflict."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"moved")
        check = tree.FileTree.check

        def linked_before(self: FileTree, file_id: int, size: int | None, conditions: WriteConditions) -> None:
            os.link(tmp_path / "archive/1", tmp_path / "archive/2")
            check(self, file_id, size, conditions)

        monkeypatch.setattr(tree.FileTree, "check", linked_before)
        await backend.move(2, str(tmp_path / "archive/1"), DENY)
        monkeypatch.undo()
        assert [await content(backend, 1), await content(backend, 2)] == [None, b"moved"]


@pytest.mark.parametrize("lacking", [(), (without_attributes,)])
@in_reactor
async def test_files_go_round(tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]) -> None:
    """Moves in all directions between ids, some of which share a lock: nobody waits for ever, no file is lost."""
    factory = on_a_system(*lacking)
    ids = [1, 2, 3, 65, 66, 67]
    async with factory(tmp_path) as one, factory(tmp_path) as two:
        for file_id in ids[:4]:
            await store(one, file_id, pattern(10, file_id))

        async def go(backend: IArchiveBackend, step: int) -> None:
            for turn in range(20):
                source = ids[(turn * step) % len(ids)]
                target = ids[(turn * step + step) % len(ids)]
                with suppress(errors.NotFound, errors.AlreadyExists):
                    await backend.move(target, str(tmp_path / f"archive/{source}"), DENY)

        await gatherResults([running(go(backend, step)) for backend in (one, two) for step in (1, 2, 5)])
        found = [await load(one, file_id) for file_id in ids if await content(one, file_id) is not None]
        assert sorted(data for _, data in found) == sorted(pattern(10, file_id) for file_id in ids[:4])
        assert all(status.digests[PRIMARY] == hashlib.sha256(data).digest() for status, data in found)
        assert all((tmp_path / f"archive/{status.file_id}").stat().st_nlink == 1 for status, _ in found)


@pytest.mark.parametrize("lacking", [(), (without_unnamed_files,)])
@in_reactor
async def test_what_has_its_name_is_locked_no_more(
    tmp_path: Path, lacking: tuple[Callable[[pytest.MonkeyPatch], None], ...]
) -> None:
    """A temporary is locked against sweeps: whoever moves the file on at once must find it free."""
    free: list[str] = []

    def look(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / "archive"):
            with open(tmp_path / "archive/7") as published:
                fcntl.flock(published, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.append("7")

    async with on_a_system(*lacking)(tmp_path) as backend:
        (tmp_path / "incoming/file").write_bytes(b"moved")
        with before(directories, "fsync", look):
            await store(backend, 7, b"words")
            await store(backend, 7, b"more")
            await backend.move(7, str(tmp_path / "incoming/file"), ALLOW)
        assert free == ["7"] * 3


@in_reactor
async def test_another_way_to_the_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is mounted twice, or names in capitals: a file that has no other name keeps it."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"words")
        monkeypatch.setattr(tree.FileTree, "id_at", lambda *_: None)
        await backend.move(1, str(tmp_path / "archive/1"), ALLOW)
        assert await content(backend, 1) == b"words"


@in_reactor
async def test_a_source_that_always_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up some time, and stays."""
    source = tmp_path / "incoming/file"
    async with archive(tmp_path) as backend:
        source.write_bytes(b"")
        move_one = move._publish

        def write_and_move(*args: Any) -> FileStatus:
            with source.open("ab") as stream:
                stream.write(b"more")
            return move_one(*args)

        monkeypatch.setattr(move, "_publish", write_and_move)
        with pytest.raises(errors.BackendUnavailable):
            await backend.move(1, str(source), ALLOW)
        assert source.exists()
        assert await content(backend, 1) is None


@pytest.mark.parametrize(
    ("path", "file_id"),
    [("45/23/12345", 0x12345), ("file.7", 7), ("45/23/22345", 0x22345), ("45/12345", None), ("45/23/other", None)],
)
def test_which_id_a_place_is_of(tmp_path: Path, path: str, file_id: int | None) -> None:
    """By the directory, however it was come to."""
    (tmp_path / "archive/45/23").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    spread = posix.tree_of(settings_for(tmp_path, use_id2filename=True))
    spread.open_root()
    directory = os.open((tmp_path / "link" / path).parent, os.O_RDONLY)
    try:
        assert spread.id_at(directory, path.rpartition("/")[2]) == file_id
    finally:
        os.close(directory)
        spread.close_root()


@pytest.mark.parametrize(("name", "file_id"), [("7", 7), ("100", 100), ("07", None), ("ff", None), ("file.7", None)])
def test_which_id_a_flat_place_is_of(another: FileTree, name: str, file_id: int | None) -> None:
    """The same where ids are names."""
    assert another.id_at(another.root, name) == file_id


@pytest.mark.parametrize("conditions", [ABSENT, DENY], ids=["absent", "deny"])
@in_reactor
async def test_a_put_to_the_id_that_is_moved_to_its_own_place(
    tmp_path: Path, another: FileTree, conditions: WriteConditions
) -> None:
    """Whichever version is there, it is where it is to be: nothing is refused."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"old")
        with Other(lambda: put(another, 1, b"new")) as other:
            with before(move, "fstat", lambda *_, **__: other.go_on()):
                assert (await backend.move(1, str(tmp_path / "archive/1"), conditions)).size == 3
            await deferToThread(other.done)
        assert not isinstance(other.outcome, Exception)
        assert await content(backend, 1) == b"new"


@pytest.mark.parametrize("step", ["getxattr", "removexattr"])
@in_reactor
async def test_a_digest_that_another_removes(tmp_path: Path, another: FileTree, step: str) -> None:
    """Between the look at a file's attributes and the use of one of them: it is as if it had never been there."""
    async with archive(tmp_path) as backend:
        await store(backend, 1, b"data")
    descriptor, _, _ = another.open_stored(1)
    try:
        gone = False

        def remove(*_: object, **__: object) -> None:
            nonlocal gone
            if not gone:
                os.removexattr(tmp_path / "archive/1", "user.pacarchive.sha256")
                gone = True

        with before(fixity, step, remove):
            assert another.fixity.replace(descriptor, {}, 1) is (step == "removexattr")
        assert gone
        assert another.fixity.load(descriptor) == {}
    finally:
        os.close(descriptor)
