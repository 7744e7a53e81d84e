"""The data of large files on its way: parts, memory, and what becomes of both when something fails."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from backends.s3.archives import archive
from backends.s3.double import Double, Given, error
from backends.s3.servers import ObjectServer
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, cut, in_reactor, load, pattern, running, store
from pacarchive.backends.s3.memory import Memory
from pacarchive.backends.s3.upload import MOST_PARTS, Parting, Upload
from pacarchive.digests import PRIMARY

MIB = 1 << 20
STORED = Given(200, headers={"ETag": '"abc"'})
BEGUN = Given(200, b"<InitiateMultipartUploadResult><UploadId>up</UploadId></InitiateMultipartUploadResult>")


def test_parts_grow_with_the_file() -> None:
    """So that the largest object is reached before there are too many of them; or they are all alike."""
    growing = Parting(size=16 * MIB, equal=False, in_flight=3)
    assert [growing.size_of(number) // MIB for number in (1, 1000, 1001, 2001, MOST_PARTS)] == [16, 16, 32, 64, 8192]
    assert growing.largest > 5 << 40
    equal = Parting(size=16 * MIB, equal=True, in_flight=3)
    assert {equal.size_of(number) for number in (1, 1001, MOST_PARTS)} == {16 * MIB}
    assert equal.largest == 160_000 * MIB


def test_the_largest_file_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for before each file, also a tiny one: no part is looked at by itself."""
    looked_at: list[int] = []
    size_of = Parting.size_of

    def counted(parting: Parting, number: int) -> int:
        looked_at.append(number)
        return size_of(parting, number)

    monkeypatch.setattr(Parting, "size_of", counted)
    for equal in (False, True):
        parting = Parting(size=5 * MIB, equal=equal, in_flight=3)
        assert parting.largest == sum(size_of(parting, number) for number in range(1, MOST_PARTS + 1))
    assert len(looked_at) < 100


class Sender:
    """An upload to a store in memory, with parts of 100 bytes."""

    def __init__(self, *answers: Given, memory: int = 1000, expected: int | None = None) -> None:
        self.double = Double(*answers)
        self.memory = Memory(memory)
        self.upload = Upload(
            self.double.bucket, "d/1", self.memory, Parting(size=100, equal=False, in_flight=2), expected
        )

    @property
    def sent(self) -> list[tuple[str, int]]:
        """What was sent: the method, and the size of the body."""
        return [(each.method, len(each.body)) for each in self.double.script.heard]

    def write(self, *sizes: int) -> None:
        """Write pieces of sizes."""
        for size in sizes:
            self.double.result(self.upload.write(pattern(size)))


@pytest.mark.parametrize("sizes", [(100,), (99, 1), (1,), (50, 50)], ids=str)
def test_one_part_is_an_object(sizes: tuple[int, ...]) -> None:
    """It takes one request."""
    sender = Sender(STORED)
    sender.write(*sizes)
    assert sender.double.result(sender.upload.finish()).size == sum(sizes)
    assert sender.sent == [("PUT", sum(sizes))]
    assert sender.memory.taken == 0


@pytest.mark.parametrize("sizes", [(101,), (100, 1), (99, 2), (60, 41), (1,) * 101], ids=str)
def test_more_than_one_part(sizes: tuple[int, ...]) -> None:
    """The first is full, however the data came."""
    head = Given(200, b"x" * 101, {"ETag": '"abc-2"'})
    sender = Sender(BEGUN, STORED, STORED, Given(200, b"<CompleteMultipartUploadResult/>"), head)
    sender.write(*sizes)
    assert sender.double.result(sender.upload.finish()).tag == "abc-2"
    assert sender.sent[:3] == [("POST", 0), ("PUT", 100), ("PUT", 1)]
    assert sender.memory.taken == 0


def test_a_small_file_takes_what_it_needs() -> None:
    """Not a whole part, where the size was told before; and more, if it was wrong."""
    sender = Sender(STORED, expected=10)
    sender.write(5)
    assert sender.memory.taken == 10
    sender.write(6)
    assert sender.memory.taken == 100
    sender.double.result(sender.upload.finish())
    assert sender.memory.taken == 0


@pytest.mark.parametrize("more", [(), (60,), (200,)], ids=["at once", "later", "much later"])
def test_what_is_discarded_is_gone(more: tuple[int, ...]) -> None:
    """The parts and the memory."""
    sender = Sender(BEGUN, STORED)
    sender.write(150, *more)
    sender.double.result(sender.upload.discard())
    assert sender.sent[-1] == ("DELETE", 0)
    assert "uploadId=up" in sender.double.script.heard[-1].path
    assert sender.memory.taken == 0


def test_a_part_that_fails_fails_the_file() -> None:
    """The sender is told when it goes on, or in the end."""
    sender = Sender(BEGUN, error(403, "AccessDenied"))
    with pytest.raises(errors.BackendUnavailable):
        sender.write(150, 500)
    sender.double.result(sender.upload.discard())
    assert sender.memory.taken == 0
    sender = Sender(BEGUN, STORED, error(403, "AccessDenied"))
    sender.write(150)
    with pytest.raises(errors.BackendUnavailable):
        sender.double.result(sender.upload.finish())
    sender.double.result(sender.upload.discard())
    assert sender.memory.taken == 0


def test_memory_is_given_in_turn() -> None:
    """Who needs much is not overtaken by those who need little; one who leaves does not hold up the others."""
    memory = Memory(100)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        await memory.take(size)
        order.append(name)

    Deferred.fromCoroutine(take("first", 60))
    leaving = Deferred.fromCoroutine(take("leaving", 100))
    leaving.addErrback(lambda _: None)
    Deferred.fromCoroutine(take("large", 300))
    Deferred.fromCoroutine(take("little", 1))
    assert not memory.take_now(1)
    leaving.cancel()
    assert order == ["first"]
    memory.give_back(60)
    assert order == ["first", "large"]
    memory.give_back(300)
    assert order == ["first", "large", "little"]
    assert memory.taken == 1


@in_reactor
async def test_many_files_share_little_memory(ministack: ObjectServer, tmp_path: Path) -> None:
    """None of them waits for ever, and there is never more than that."""
    async with archive(
        ministack, tmp_path.name, upload_memory=11 * MIB, part_size=5 * MIB, parts_in_flight=2, small_file=1
    ) as backend:
        memory: Memory = backend._way.memory  # type: ignore[attr-defined]
        most = 0

        async def put(file_id: int) -> None:
            nonlocal most
            incoming = await backend.receive(file_id, None, ALLOW, ())
            for piece in cut(pattern(12 * MIB, file_id), MIB):
                await incoming.write([piece])
                most = max(most, memory.taken)
            await incoming.commit(None, {})

        await gatherResults([running(put(file_id)) for file_id in range(4)])
        assert most == 10 * MIB
        assert memory.taken == 0
        for file_id in range(4):
            assert (await load(backend, file_id))[1] == pattern(12 * MIB, file_id)


@in_reactor
async def test_a_large_file_comes_back(seaweedfs: ObjectServer, tmp_path: Path) -> None:
    """In parts there, and in pieces back."""
    data = pattern(MIB) * 33 + b"end"
    async with archive(seaweedfs, tmp_path.name, part_size=8 * MIB) as backend:
        status = await store(backend, 1, data, pieces=[[piece] for piece in cut(data, MIB)], announced=False)
        assert status.digests[PRIMARY] == hashlib.sha256(data).digest()
        stored: Any = await backend.open(1)
        found = [await stored.read(at, min(MIB, len(data) - at)) for at in range(0, len(data), MIB)]
        stored.close()
        assert b"".join(found) == data
