"""
Names in HPSS that somebody looks at and then uses, while another gives them to other files: no version that was
acknowledged goes without somebody having asked for that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from simulated import INCOMING, PREFIX, serving, simulated
from surroundings import Neighbour, made_from, neighbour, paths, settled
from threaded import log
from twisted.internet.defer import DeferredList, gatherResults

from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, DENY, IDENTICAL, content, in_reactor, running, store
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.codes import HpssError
from pacarchive.backends.hpss.locks import IdLocks
from pacarchive.digests import PRIMARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pacarchive.backends.hpss.archive import HpssArchive
    from pacarchive.model import WriteConditions

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

SOURCE = f"{PREFIX}/file.1"


def noting_locks(patch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """For each call that gives or takes a name: which of the ids 1 and 2 was not locked then."""
    noted: list[tuple[str, list[int]]] = []

    def watch(name: str) -> Callable[..., Any]:
        really_call = getattr(client, name)

        def call(*args: Any) -> Any:
            if SOURCE in args:
                with IdLocks(PREFIX).held_where_free([1, 2]) as free:
                    noted.append((name, free))
            return really_call(*args)

        return call

    for name in ("rename", "link", "unlink", "chmod", "set_user_attributes"):
        patch.setattr(client, name, watch(name))
    return noted


@pytest.mark.parametrize("taken", [None, b"words", b"other"])
@pytest.mark.parametrize("conditions", [ALLOW, DENY, IDENTICAL], ids=lambda conditions: conditions.overwrite.value)
@in_reactor
async def test_both_ids_are_locked(
    tmp_path: Path, conditions: WriteConditions, taken: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the name of one goes over to the other, whatever the way."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, b"words")
            if taken is not None:
                await store(backend, 2, taken)
            with monkeypatch.context() as patch:
                noted = noting_locks(patch)
                with suppress(errors.AlreadyExists):
                    await backend.move(2, SOURCE, conditions)
            assert bool(noted) is (await content(backend, 1) is None)
            assert all(free == [] for _, free in noted), noted
            await settled(archive)


@in_reactor
async def test_one_file_is_moved_to_one_id(tmp_path: Path) -> None:
    """Of all who move it at the same time one succeeds, and the others find that it is not there."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            for source, put in ((SOURCE, None), (f"{INCOMING}/file", Neighbour.put)):
                with neighbour() as other:
                    if put is None:
                        await store(backend, 1, b"words")
                    else:
                        put(other, source, b"words")
                outcomes = await DeferredList(
                    [running(backend.move(file_id, source, DENY)) for file_id in range(10, 16)], consumeErrors=True
                )
                assert sum(success for success, _ in outcomes) == 1
                assert [await content(backend, file_id) for file_id in range(10, 16)].count(b"words") == 1
                for file_id in range(10, 16):
                    with suppress(errors.NotFound):
                        await backend.remove(file_id, ALLOW)
            await settled(archive)


@in_reactor
async def test_files_go_round(tmp_path: Path) -> None:
    """Moves in all directions between ids: nobody waits for ever, and no file is lost."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            for file_id in range(1, 4):
                await store(backend, file_id, b"%d" % file_id)

            async def go(step: int) -> None:
                for turn in range(10):
                    source, target = (turn * step) % 6 + 1, (turn * step + step) % 6 + 1
                    with suppress(errors.NotFound, errors.AlreadyExists):
                        await backend.move(target, f"{PREFIX}/file.{source}", DENY)

            await gatherResults([running(go(step)) for step in (1, 2, 5)])
            found = [await content(backend, file_id) for file_id in range(1, 7)]
            assert sorted(each for each in found if each is not None) == [b"1", b"2", b"3"]
            await settled(archive)


@in_reactor
async def test_a_move_that_was_broken_off(tmp_path: Path) -> None:
    """The file has both names: it is finished when it is asked for again, whatever the conditions."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            with neighbour() as other:
                for conditions in (ALLOW, DENY, IDENTICAL):
                    await store(backend, 1, b"words")
                    client.link(SOURCE, f"{INCOMING}/file")
                    await backend.move(1, f"{INCOMING}/file", conditions)
                    assert f"{INCOMING}/file" not in paths(archive)
                    assert await content(backend, 1) == b"words"
                other.put(f"{INCOMING}/file", b"words")
            await settled(archive)


@in_reactor
async def test_what_is_computed_is_stored(tmp_path: Path) -> None:
    """Of a file that another client put in the place of an id, for those who send the same bytes, or move it."""
    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            with neighbour() as other:
                other.put(SOURCE, b"words")
                other.put(f"{PREFIX}/file.2", b"words")
                other.put(f"{INCOMING}/file", b"words")
            statuses = [
                await store(backend, 1, b"words", IDENTICAL),
                await backend.move(2, f"{PREFIX}/file.2", DENY),
                await backend.move(3, f"{INCOMING}/file", IDENTICAL),
            ]
            assert all(PRIMARY in status.digests for status in statuses)
            assert all(archive.entry(f"{PREFIX}/file.{file_id}").mode & 0o777 == 0o444 for file_id in (2, 3))
        async with serving(archive) as another:
            for status in statuses:
                assert (await another.status(status.file_id)).digests == status.digests
            await settled(archive)


def fail(path: str) -> None:
    """In the place of C{client.unlink}."""
    raise HpssError("hpss_Unlink", -5)


@in_reactor
async def test_a_name_that_could_not_be_removed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed later, unless it was given anew, be it to the same file; and while its id is locked."""

    async def move_and_leave(backend: HpssArchive) -> None:
        await store(backend, 1, b"words")
        with monkeypatch.context() as patch:
            patch.setattr(client, "unlink", fail)
            await backend.move(2, SOURCE, DENY)
        assert backend._tree.has_left_over

    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await move_and_leave(backend)
            with monkeypatch.context() as patch:
                noted = noting_locks(patch)
                await backend._names.run(backend._tree.drop_left_over)
                assert [name for name, _ in noted] == ["unlink"]
                assert all(1 not in free for _, free in noted)
            assert await content(backend, 1) is None
            await backend.remove(2, ALLOW)

            await move_and_leave(backend)
            await store(backend, 1, b"new")
            await backend._names.run(backend._tree.drop_left_over)
            assert [await content(backend, file_id) for file_id in (1, 2)] == [b"new", b"words"]

            for file_id in (1, 2):
                await backend.remove(file_id, ALLOW)
            await move_and_leave(backend)
            await backend.move(1, f"{PREFIX}/file.2", DENY)
            await backend._names.run(backend._tree.drop_left_over)
            assert [await content(backend, file_id) for file_id in (1, 2)] == [b"words", None]
            await settled(archive)


@in_reactor
async def test_a_name_that_another_process_has_given_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that could not remove it hears nothing of that; the name is the only one that the file has now."""

    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, b"words")
            with monkeypatch.context() as patch:
                patch.setattr(client, "unlink", fail)
                await backend.move(2, SOURCE, DENY)
            with neighbour():
                client.unlink(f"{PREFIX}/file.2")
            await backend._names.run(backend._tree.drop_left_over)
            assert not backend._tree.has_left_over
            assert [await content(backend, file_id) for file_id in (1, 2)] == [b"words", None]
            await settled(archive)


@in_reactor
async def test_a_move_back_that_leaves_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not acknowledged: of the two names, each would be removed later by one of two processes."""

    with simulated(tmp_path) as archive:
        async with serving(archive) as backend:
            await store(backend, 1, b"words")
            with neighbour():
                client.link(SOURCE, f"{PREFIX}/file.2")
            with monkeypatch.context() as patch:
                patch.setattr(client, "unlink", fail)
                with pytest.raises(errors.BackendUnavailable):
                    await backend.move(1, f"{PREFIX}/file.2", ALLOW)
            assert not backend._tree.has_left_over
            assert (await backend.move(1, f"{PREFIX}/file.2", ALLOW)).size == 5
            assert [await content(backend, file_id) for file_id in (1, 2)] == [b"words", None]
            await settled(archive)


@in_reactor
async def test_a_link_in_the_place_of_the_hidden_directory(tmp_path: Path) -> None:
    """What it leads to is not swept: the archive does not start."""
    with simulated(tmp_path) as archive:
        async with serving(archive):
            with neighbour() as other:
                archive.mkdir("/victim")
                archive.mkdir("/second")
                other.symlink("/victim", "/second/.pacarchive")
                backend = made_from(archive, prefix="/second", roots=["/second"])
                with pytest.raises(errors.BackendUnavailable, match=r"/second/\.pacarchive is not a directory"):
                    await backend.startService()
                await backend.stopService()  # which logs out, as the service has it do
                await settled(archive)
