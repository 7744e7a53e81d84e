"""The contract of a backend: files on their way in, and the conditions under which they get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.application.service import IService
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from zope.interface.verify import verifyObject

from pacarchive import errors
from pacarchive.backends.contract.handling import (
    ABSENT,
    ALLOW,
    DENY,
    IDENTICAL,
    Capabilities,
    begin,
    content,
    cut,
    digest,
    in_reactor,
    load,
    matching,
    pattern,
    store,
)
from pacarchive.digests import ALGORITHMS, PRIMARY
from pacarchive.interfaces import IArchiveBackend, IIncomingFile, IPullingFile, ISendable, IStoredFile
from pacarchive.model import Health, WriteConditions

if TYPE_CHECKING:
    from collections.abc import Sequence

KIB = 1 << 10
MIB = 1 << 20
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, MIB, 5 * MIB + 3]
REFUSING = [(DENY, errors.AlreadyExists), (ABSENT, errors.PreconditionFailed), (IDENTICAL, errors.AlreadyExists)]


class WritingTests:
    """L{IIncomingFile}, and the status that comes of it."""

    @in_reactor
    async def test_the_interfaces_are_provided(self, backend: IArchiveBackend) -> None:
        """The backend, a file on its way in and a stored one are what the interfaces say."""
        verifyObject(IArchiveBackend, backend)
        verifyObject(IService, backend)
        incoming = await begin(backend, 1, b"words")
        verifyObject(IIncomingFile, incoming)
        await incoming.commit(None, {})
        stored = await backend.open(1)
        verifyObject(IStoredFile, stored)
        if ISendable.providedBy(stored):
            verifyObject(ISendable, stored)
        stored.close()

    @in_reactor
    async def test_a_running_backend_is_healthy(self, backend: IArchiveBackend) -> None:
        """It is ready, and has something to say to the operator."""
        health = await backend.health()
        assert isinstance(health, Health)
        assert health.ready
        assert health.words

    @pytest.mark.parametrize("size", SIZES)
    @in_reactor
    async def test_what_is_stored_can_be_read(self, backend: IArchiveBackend, size: int) -> None:
        """Byte for byte, around every boundary at which an implementation may change its ways."""
        data = pattern(size)
        status = await store(backend, 7, data)
        assert status.file_id == 7
        assert status.size == size
        assert status.digests[PRIMARY] == digest(PRIMARY, data)
        found, read = await load(backend, 7)
        assert read == data
        assert (found.size, found.etag, found.digests[PRIMARY]) == (size, status.etag, status.digests[PRIMARY])

    @pytest.mark.parametrize("file_id", [0, 1, 0xFF, 0x100, 12345, 2**32, 2**64 - 1])
    @in_reactor
    async def test_every_id_has_a_place(self, backend: IArchiveBackend, file_id: int) -> None:
        """From the smallest to the largest."""
        await store(backend, file_id, b"words")
        assert (await load(backend, file_id))[1] == b"words"
        await backend.remove(file_id, ALLOW)

    @pytest.mark.parametrize(
        "pieces",
        [
            [],
            [[]],
            [[b""]],
            [[piece] for piece in cut(pattern(3000), 1)],
            [list(cut(pattern(3000), 1))],
            [[piece] for piece in cut(pattern(700 * KIB), 64 * KIB)],
            [[pattern(256 * KIB)], [b"1"]],
            [[b"1"], [pattern(256 * KIB)], [b"2"], [pattern(MIB)]],
            [list(cut(pattern(2 * MIB), KIB))] * 2,
        ],
        ids=["none", "nothing", "empty", "bytes", "bytes-at-once", "blocks", "one-more", "mixed", "many-at-once"],
    )
    @in_reactor
    async def test_it_does_not_matter_how_it_is_cut(
        self, backend: IArchiveBackend, pieces: Sequence[Sequence[bytes]]
    ) -> None:
        """Writes of any number and size add up to the file, with and without a size that was announced."""
        data = b"".join(piece for some in pieces for piece in some)
        for announced in (True, False):
            status = await store(backend, 5, data, pieces=pieces, announced=announced)
            assert status.digests[PRIMARY] == digest(PRIMARY, data)
            assert (await load(backend, 5))[1] == data

    @in_reactor
    async def test_what_is_pulled_is_stored(self, backend: IArchiveBackend) -> None:
        """Where the backend reads from where bytes come: between writes, in buffers that are not full, and nothing."""
        data = pattern(3 * MIB)
        incoming = await backend.receive(5, len(data), ALLOW, ())
        if not IPullingFile.providedBy(incoming):
            await incoming.abort()
            pytest.skip("the backend takes what it is given")
        verifyObject(IPullingFile, incoming)
        at = 0

        async def pull(*sizes: int) -> None:
            nonlocal at
            left = list(sizes)

            def read(buffer: memoryview) -> int:
                nonlocal at
                size = min(left.pop(0), len(buffer)) if left else 0
                buffer[:size] = data[at : at + size]
                at += size
                return size

            await IPullingFile(incoming).pull(read)
            assert not left

        await incoming.write([data[:1000]])
        at = 1000
        await pull()
        await pull(1, 100 * KIB, 300 * KIB)
        await incoming.write([data[at : at + MIB]])
        at += MIB
        await pull(10)
        await incoming.write([data[at:]])
        status = await incoming.commit(None, {})
        assert status.digests[PRIMARY] == digest(PRIMARY, data)
        assert (await load(backend, 5))[1] == data

    @in_reactor
    async def test_a_wrong_announcement_is_only_a_hint(self, backend: IArchiveBackend) -> None:
        """More or fewer bytes than the size that was given are stored as they are."""
        for announced, size in ((10, 300 * KIB), (300 * KIB, 10)):
            incoming = await backend.receive(1, announced, ALLOW, ())
            await incoming.write([pattern(size)])
            await incoming.commit(None, {})
            assert (await load(backend, 1))[1] == pattern(size)

    @in_reactor
    async def test_a_size_that_cannot_fit_is_refused(self, backend: IArchiveBackend) -> None:
        """Early, or when the bytes come; the id stays free."""
        try:
            incoming = await backend.receive(1, 2**62, ALLOW, ())
        except (errors.NoSpace, errors.TooLarge):
            pass
        else:
            await incoming.abort()
        assert await content(backend, 1) is None

    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_nothing_is_visible_before_commit(self, backend: IArchiveBackend, size: int) -> None:
        """Not the new file, and not a change of the old one."""
        first = await begin(backend, 9, pattern(size, 1))
        with pytest.raises(errors.NotFound):
            await backend.status(9)
        with pytest.raises(errors.NotFound):
            await backend.open(9)
        await first.commit(None, {})
        second = await begin(backend, 9, pattern(size, 2))
        assert await content(backend, 9) == pattern(size, 1)
        await second.commit(None, {})
        assert await content(backend, 9) == pattern(size, 2)

    @pytest.mark.parametrize("size", [0, 10, MIB])
    @in_reactor
    async def test_abort_leaves_nothing(self, backend: IArchiveBackend, size: int) -> None:
        """The id is free at once; to abort again does nothing."""
        incoming = await begin(backend, 9, pattern(size), DENY)
        await incoming.abort()
        await incoming.abort()
        assert await content(backend, 9) is None
        await store(backend, 9, b"words", DENY)
        await (await begin(backend, 9, pattern(size))).abort()
        assert await content(backend, 9) == b"words"

    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_abort_after_commit_is_harmless(self, backend: IArchiveBackend, size: int) -> None:
        """What was acknowledged stays."""
        incoming = await begin(backend, 9, pattern(size))
        await incoming.commit(None, {})
        await incoming.abort()
        assert await content(backend, 9) == pattern(size)

    @pytest.mark.parametrize("name", ALGORITHMS)
    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_a_digest_is_compared(self, backend: IArchiveBackend, name: str, size: int) -> None:
        """The right one is stored with the file; with a wrong one nothing happens to the id."""
        data = pattern(size)
        wrong = digest(name, b"other words")
        with pytest.raises(errors.DigestMismatch):
            await store(backend, 3, data, expected={name: wrong}, algorithms=[name])
        assert await content(backend, 3) is None
        right = digest(name, data)
        status = await store(backend, 3, data, expected={name: right}, algorithms=[name])
        assert status.digests[name] == right
        assert (await backend.status(3)).digests[PRIMARY] == digest(PRIMARY, data)
        with pytest.raises(errors.DigestMismatch):
            await store(backend, 3, b"new", expected={name: wrong}, algorithms=[name])
        assert await content(backend, 3) == data

    @in_reactor
    async def test_one_wrong_digest_among_right_ones_counts(self, backend: IArchiveBackend) -> None:
        """Each is compared."""
        right = {name: digest(name, b"words") for name in ALGORITHMS}
        for name in ALGORITHMS:
            with pytest.raises(errors.DigestMismatch):
                await store(
                    backend, 3, b"words", expected={**right, name: digest(name, b"")}, algorithms=list(ALGORITHMS)
                )
        await store(backend, 3, b"words", expected=right, algorithms=list(ALGORITHMS))

    @pytest.mark.parametrize(
        "mtime_ns", [0, 10**9, 1234567890123456789, 1711852200_999999999, 4102444800_250000001, -1, -86400_500000000]
    )
    @in_reactor
    async def test_the_time_is_kept(self, backend: IArchiveBackend, capabilities: Capabilities, mtime_ns: int) -> None:
        """To the last digit for which the storage has room; what is too early for it is refused."""
        if capabilities.earliest_mtime_ns is not None and mtime_ns < capabilities.earliest_mtime_ns:
            with pytest.raises(errors.InvalidRequest):
                await store(backend, 3, b"words", mtime_ns=mtime_ns)
            assert await content(backend, 3) is None
            return
        status = await store(backend, 3, b"words", mtime_ns=mtime_ns)
        assert status.mtime_ns == mtime_ns - mtime_ns % capabilities.mtime_step_ns
        assert (await backend.status(3)).mtime_ns == status.mtime_ns

    @pytest.mark.parametrize("size", [5, MIB])
    @pytest.mark.parametrize("mtime_ns", [-62135596800 * 10**9, 253402300799 * 10**9, -(2**80), 2**80])
    @in_reactor
    async def test_no_file_gets_another_time(
        self, backend: IArchiveBackend, capabilities: Capabilities, mtime_ns: int, size: int
    ) -> None:
        """The years 1 and 9999, and those that no calendar has, are kept or refused; then nothing changes."""
        before = await store(backend, 3, b"words")
        for file_id in (3, 4):
            try:
                status = await store(backend, file_id, pattern(size), mtime_ns=mtime_ns)
            except errors.InvalidRequest:
                assert await content(backend, 4) is None
                assert await load(backend, 3) == (before, b"words")
            else:
                assert status.mtime_ns == mtime_ns - mtime_ns % capabilities.mtime_step_ns
                assert (await backend.status(file_id)).mtime_ns == status.mtime_ns

    @in_reactor
    async def test_without_a_time_it_is_now(self, backend: IArchiveBackend) -> None:
        """As when a local file is written."""
        before = IReactorTime(reactor).seconds()
        status = await store(backend, 3, b"words")
        assert before - 2 <= status.mtime_ns / 1e9 <= IReactorTime(reactor).seconds() + 2


class ConditionTests:
    """L{WriteConditions}."""

    @in_reactor
    async def test_a_free_id_can_be_written(self, backend: IArchiveBackend) -> None:
        """Under every policy that is no condition on an existing file."""
        for file_id, conditions in enumerate([ALLOW, DENY, IDENTICAL, ABSENT]):
            await store(backend, file_id, b"words", conditions)
            assert await content(backend, file_id) == b"words"

    @in_reactor
    async def test_a_file_can_be_replaced(self, backend: IArchiveBackend) -> None:
        """Where overwriting is allowed: by a longer and by a shorter one."""
        for data in (b"words", pattern(MIB), b"", pattern(300 * KIB, 2)):
            await store(backend, 1, data)
            assert await content(backend, 1) == data

    @pytest.mark.parametrize(("conditions", "error"), REFUSING)
    @pytest.mark.parametrize("size", [10, MIB])
    @in_reactor
    async def test_a_taken_id_is_protected(
        self, backend: IArchiveBackend, conditions: WriteConditions, error: type[Exception], size: int
    ) -> None:
        """Early or at the end, and whatever the body."""
        before = await store(backend, 1, b"words", mtime=1000)
        with pytest.raises(error):
            await store(backend, 1, pattern(size), conditions)
        assert await load(backend, 1) == (before, b"words")

    @pytest.mark.parametrize(("conditions", "error"), REFUSING)
    @in_reactor
    async def test_conditions_hold_at_the_end_too(
        self, backend: IArchiveBackend, conditions: WriteConditions, error: type[Exception]
    ) -> None:
        """An id that was taken while the body came is protected as well."""
        late = await begin(backend, 1, b"too late", conditions)
        await store(backend, 1, b"words")
        with pytest.raises(error):
            await late.commit(None, {})
        await late.abort()
        assert await content(backend, 1) == b"words"

    @in_reactor
    async def test_identical_bytes_are_accepted_again(self, backend: IArchiveBackend) -> None:
        """A retry succeeds, and the stored version stays just as it was."""
        before = await store(backend, 1, pattern(MIB), mtime=1000)
        status = await store(backend, 1, pattern(MIB), IDENTICAL, mtime=2000)
        assert status == before
        assert await load(backend, 1) == (before, pattern(MIB))

    @in_reactor
    async def test_identical_bytes_are_no_excuse_for_deny(self, backend: IArchiveBackend) -> None:
        """Write-once means once."""
        await store(backend, 1, b"words")
        with pytest.raises(errors.AlreadyExists):
            await store(backend, 1, b"words", DENY)

    @in_reactor
    async def test_if_match_needs_the_version_that_it_names(self, backend: IArchiveBackend) -> None:
        """Or any version for C{*}; one of several tags is enough."""
        for tags in (["*"], ['"tag"']):
            with pytest.raises(errors.PreconditionFailed):
                await store(backend, 1, b"words", matching(*tags))
        assert await content(backend, 1) is None
        first = await store(backend, 1, b"first")
        second = await store(backend, 1, b"second", matching('"other"', first.etag))
        with pytest.raises(errors.PreconditionFailed):
            await store(backend, 1, b"third", matching(first.etag))
        assert await load(backend, 1) == (second, b"second")
        await store(backend, 1, b"third", matching("*"))
        assert await content(backend, 1) == b"third"

    @in_reactor
    async def test_if_match_holds_at_the_end_too(self, backend: IArchiveBackend) -> None:
        """A version that came or went while the body came is not overlooked."""
        first = await store(backend, 1, b"first")
        late = await begin(backend, 1, b"too late", matching(first.etag))
        await store(backend, 1, b"second")
        with pytest.raises(errors.PreconditionFailed):
            await late.commit(None, {})
        await late.abort()
        assert await content(backend, 1) == b"second"
        late = await begin(backend, 1, b"too late", matching("*"))
        await backend.remove(1, ALLOW)
        with pytest.raises(errors.PreconditionFailed):
            await late.commit(None, {})
        await late.abort()
        assert await content(backend, 1) is None

    @in_reactor
    async def test_the_tag_follows_the_bytes(self, backend: IArchiveBackend) -> None:
        """Other bytes have another tag, of the same size and time too; the same bytes have the same."""
        one = await store(backend, 1, b"words", mtime=1000)
        two = await store(backend, 1, b"WORDS", mtime=1000)
        again = await store(backend, 2, b"words", mtime=2000)
        assert one.etag != two.etag
        assert one.etag == again.etag
        for status in (one, two):
            assert status.etag.startswith('"')
            assert status.etag.endswith('"')
