"""Lines of the list of files, which the C{posix} backend writes without a status of each file."""

from __future__ import annotations

import errno
import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from backends.interleaving import before
from backends.posix import archive, failing
from pacarchive import errors
from pacarchive.backends.contract.handling import in_reactor, pattern, store
from pacarchive.backends.local import fixity, inventory, standing
from pacarchive.backends.local.tree import FileTree
from pacarchive.interfaces import IInventoryLines
from pacarchive.model import INVENTORY_FIELDS, inventory_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.digests import Digests
    from pacarchive.interfaces import IArchiveBackend

PATIENCE = 30.0
IDS = (0, 9, 255, 256, 12345, 65536, 2**40, 2**64 - 1)


@pytest.fixture
def looked_at_closer(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of files of which there were statuses."""
    looked: list[int] = []
    really_look = inventory._look

    def look(tree: FileTree, file_id: int, *args: object, **kwargs: object) -> object:
        looked.append(file_id)
        return really_look(tree, file_id, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(inventory, "_look", look)
    return looked


@pytest.fixture
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old from the moment when they are stored."""
    monkeypatch.setattr(inventory, "SETTLED", -(10**18))


async def lines_of(backend: IArchiveBackend, most: int = 1000) -> list[str]:
    """The lines of all files, with all fields."""
    lines: list[str] = []
    place: str | None = ""
    while place is not None:
        page = await IInventoryLines(backend).inventory_lines(place, most, fields=INVENTORY_FIELDS)
        lines += page.text.splitlines(keepends=True)
        place = page.place
    return lines


async def told_singly(backend: IArchiveBackend, *ids: int) -> list[str]:
    """The lines of files by their statuses."""
    return sorted([inventory_line(file_id, await backend.status(file_id)) for file_id in ids])


def refused(patch: pytest.MonkeyPatch) -> None:
    """Threads may not part from others."""
    patch.setattr(standing, "_CLONE_FS", -1)


@pytest.mark.usefixtures("_settled")
@pytest.mark.parametrize("spread", [False, True], ids=["flat", "spread"])
@pytest.mark.parametrize("parts", [True, False], ids=["own directory", "refused"])
@in_reactor
async def test_lines_at_a_glance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at_closer: list[int], *, spread: bool, parts: bool
) -> None:
    """They say what the statuses do; wherever the walk is, and begins, and whether or not a thread can stand there."""
    if not parts:
        refused(monkeypatch)
    here = os.getcwd()
    async with archive(tmp_path, use_id2filename=spread, digests=["md5"]) as backend:
        for file_id in IDS:
            await store(backend, file_id, pattern(file_id % 1000), mtime=file_id % 2**30)
        for most in (1, 3, 1000):
            assert sorted(await lines_of(backend, most)) == await told_singly(backend, *IDS)
    assert looked_at_closer == []
    assert os.getcwd() == here


@in_reactor
async def test_others_may_run_between_a_few_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever walks offers its processor to those that wait for it, also where it looks at many names in one call."""
    offers: list[int] = []
    looked: list[str] = []
    really_look = fixity.digests_by_name

    def look(path: str) -> Digests:
        looked.append(path)
        return really_look(path)

    async with archive(tmp_path) as backend:
        for file_id in range(2 * inventory.YIELDS + 3):
            (tmp_path / f"archive/{file_id}").touch()
        monkeypatch.setattr(inventory, "digests_by_name", look)
        monkeypatch.setattr(os, "sched_yield", lambda: offers.append(len(looked)))
        assert len(await lines_of(backend)) == 2 * inventory.YIELDS + 3
    assert [offer - earlier for earlier, offer in pairwise([0, *offers, len(looked)])] == [
        pytest.approx(inventory.YIELDS, abs=1),  # the archive's own directory is a name, too, and comes somewhere
        pytest.approx(inventory.YIELDS, abs=1),
        pytest.approx(3, abs=1),
    ]


@pytest.mark.usefixtures("_settled")
@in_reactor
async def test_files_without_attributes_are_looked_at_closer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at_closer: list[int]
) -> None:
    """As their digests are elsewhere, or they have none; names that lead elsewhere are no files."""
    async with archive(tmp_path) as backend:
        with monkeypatch.context() as patch:
            for name in ("setxattr", "getxattr", "listxattr"):
                patch.setattr(os, name, failing(errno.ENOTSUP))
            await store(backend, 1, pattern(3))
        await store(backend, 2, pattern(5))
        (tmp_path / "archive/3").write_bytes(b"by another program")
        (tmp_path / "archive/4").symlink_to("2")
        (tmp_path / "archive/5").mkdir()
        assert sorted(await lines_of(backend)) == await told_singly(backend, 1, 2, 3)
    assert sorted(looked_at_closer) == [1, 3]


@pytest.mark.usefixtures("_settled")
@in_reactor
async def test_trouble_is_told_in_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that storage fails for; the others are listed."""
    async with archive(tmp_path) as backend:
        for file_id in (1, 2):
            await store(backend, file_id, pattern(3))
        monkeypatch.setattr(inventory, "digests_by_name", _failing_for("2", fixity.digests_by_name))
        monkeypatch.setattr(FileTree, "look_in", _storage_fails)
        first, second = sorted(await lines_of(backend))
        assert first == inventory_line(1, await backend.status(1))
        assert json.loads(second)["error"]["kind"] == "BackendUnavailable"


@in_reactor
async def test_a_file_that_is_replaced_meanwhile(tmp_path: Path, looked_at_closer: list[int]) -> None:
    """The digests of one version never come with the size of another."""
    one, other = (tmp_path / "archive" / name for name in "12")
    replaced: list[Path] = []

    def replace(path: str) -> None:
        if Path(path).name == "1" and not replaced:
            replaced.append(other.rename(one))

    async with archive(tmp_path) as backend:
        await store(backend, 1, pattern(3))
        await store(backend, 2, pattern(5))
        await _until_at_a_glance(backend, looked_at_closer)
        with before(inventory, "lstat", replace):
            lines = await lines_of(backend)
        assert replaced
        assert set(await told_singly(backend, 1)) <= set(lines)
        assert 1 in looked_at_closer
        await _until_at_a_glance(backend, looked_at_closer)
        assert await lines_of(backend) == await told_singly(backend, 1)


async def _until_at_a_glance(backend: IArchiveBackend, looked_at_closer: list[int]) -> None:
    """Wait until all files are old enough."""
    deadline = time.monotonic() + PATIENCE
    while True:
        looked_at_closer.clear()
        await lines_of(backend)
        if not looked_at_closer:
            return
        assert time.monotonic() < deadline, "they are always looked at closer"
        await deferLater(reactor, 0.01)


def _failing_for(name: str, call: Callable[[str], Digests]) -> Callable[[str], Digests]:
    def fail(path: str) -> Digests:
        if Path(path).name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call(path)

    return fail


def _storage_fails(*_: object, **__: object) -> None:
    raise errors.BackendUnavailable("The storage failed.")
