"""The contract of a backend: moving files in that lie in its storage already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import DeferredList

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    Capabilities,
    cancelled,
    content,
    in_reactor,
    load,
    matching,
    open_descriptors,
    pattern,
    running,
    store,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.model import WriteConditions

    Sources: TypeAlias = Callable[[str, bytes], str]

MIB = 1 << 20


class MovingTests:
    """C{IArchiveBackend.move}."""

    @in_reactor
    async def test_no_backend_takes_what_is_not_its_own(self, backend: IArchiveBackend) -> None:
        """Paths from clients lead nowhere that nobody opened to them."""
        refused = (errors.NotPermitted, errors.InvalidRequest)
        for source in (
            "/etc/passwd",
            "/",
            "",
            "etc/passwd",
            "../../etc/passwd",
            "/etc/../etc/passwd",
            "/a\0b",
            "/proc/self/mem",
        ):
            with pytest.raises(refused):
                await backend.move(1, source, ALLOW)
        assert await content(backend, 1) is None

    @pytest.mark.parametrize("size", [0, 10, 5 * MIB])
    @in_reactor
    async def test_a_file_is_moved(self, backend: IArchiveBackend, sources: Sources, size: int) -> None:
        """It is in the archive, and no longer where it was."""
        source = sources("one", pattern(size))
        status = await backend.move(1, source, ALLOW)
        assert (status.file_id, status.size) == (1, size)
        assert await content(backend, 1) == pattern(size)
        assert (await backend.status(1)).etag == status.etag
        with pytest.raises(errors.NotFound):
            await backend.move(2, source, ALLOW)
        assert await content(backend, 2) is None

    @in_reactor
    async def test_a_missing_source_is_not_found(self, backend: IArchiveBackend, sources: Sources) -> None:
        """And nothing happens to the id."""
        source = sources("one", b"words")
        await store(backend, 1, b"old")
        for missing in (f"{source}.not", f"{source}/below"):
            with pytest.raises(errors.NotFound):
                await backend.move(1, missing, ALLOW)
        assert await content(backend, 1) == b"old"

    @pytest.mark.parametrize(
        ("conditions", "error"),
        [
            (DENY, errors.AlreadyExists),
            (ABSENT, errors.PreconditionFailed),
            (IDENTICAL, errors.AlreadyExists),
            (matching('"other"'), errors.PreconditionFailed),
        ],
    )
    @in_reactor
    async def test_a_refused_source_stays(
        self, backend: IArchiveBackend, sources: Sources, conditions: WriteConditions, error: type[Exception]
    ) -> None:
        """A protected id is not touched, and the file can be moved elsewhere."""
        source = sources("one", b"words")
        before = await store(backend, 1, b"old")
        with pytest.raises(error):
            await backend.move(1, source, conditions)
        assert await load(backend, 1) == (before, b"old")
        await backend.move(2, source, ALLOW)
        assert await content(backend, 2) == b"words"

    @in_reactor
    async def test_a_moved_file_replaces(self, backend: IArchiveBackend, sources: Sources) -> None:
        """Where the conditions let it; readers keep their version."""
        old = await store(backend, 1, b"old")
        stored = await backend.open(1)
        await backend.move(1, sources("one", b"one"), matching(old.etag))
        assert await stored.read(0, 3) == b"old"
        stored.close()
        assert await content(backend, 1) == b"one"
        await backend.move(1, sources("two", b"two"), ALLOW)
        assert await content(backend, 1) == b"two"
        await backend.move(1, sources("same", b"two"), IDENTICAL)
        assert await content(backend, 1) == b"two"

    @in_reactor
    async def test_movers_and_writers_of_one_id(self, backend: IArchiveBackend, sources: Sources) -> None:
        """With overwriting denied exactly one wins, and what lost is still where it was."""
        for file_id in range(5):
            paths = [sources(f"{file_id}-{seed}", pattern(10, seed)) for seed in range(4)]
            moves = [running(backend.move(file_id, path, DENY)) for path in paths]
            writes = [running(store(backend, file_id, pattern(10, seed), DENY)) for seed in range(4, 8)]
            outcomes = await DeferredList(moves + writes, consumeErrors=True)
            (winner,) = [seed for seed, (success, _) in enumerate(outcomes) if success]
            assert await content(backend, file_id) == pattern(10, winner)
            for seed, path in enumerate(paths):
                if seed != winner:
                    await backend.move(100, path, ALLOW)
                    assert await content(backend, 100) == pattern(10, seed)

    @in_reactor
    async def test_a_mover_may_leave(self, backend: IArchiveBackend, sources: Sources) -> None:
        """The file is in the archive, or still where it was."""
        before = open_descriptors()
        for file_id in range(8):
            source = sources(f"{file_id}", pattern(MIB, file_id))
            await cancelled(1, backend.move, file_id, source, DENY)
            assert open_descriptors() == before
            if await content(backend, file_id) is None:
                await backend.move(file_id, source, DENY)
            assert await content(backend, file_id) == pattern(MIB, file_id)

    @pytest.fixture
    def sources(self, capabilities: Capabilities, tmp_path: Path) -> Sources:
        """Puts files where they may be taken from, and returns their paths."""
        if (place := capabilities.moves) is None:
            pytest.skip("this backend takes no files")
        return lambda name, data: place(tmp_path, name, data)
