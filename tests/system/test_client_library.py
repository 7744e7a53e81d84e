"""The client library against a real service, by real connections, most of them through a proxy that does harm."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from pacarchive.client import (
    NEVER,
    ArchiveClient,
    ClientError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    PreconditionFailed,
    Progress,
    RetryPolicy,
    ServerUnavailable,
    SourceChanged,
    Stalled,
)
from system.faulty_proxy import FaultyProxy
from system.harness import HOST, Service, content, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MIB = 1 << 20
LARGE = int(os.environ.get("PACARCHIVE_CLIENT_MIB", "256")) * MIB
"""The size of the file that is cut over and over; 1024 for the real thing."""

CUTS = 20
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05)


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine of Twisted's."""
    decorated: Callable[..., None] = pytest_twisted.ensureDeferred(test)
    return decorated


def client(url: str, **more: Any) -> ArchiveClient:
    """A client in this process."""
    from twisted.internet import reactor  # not before pytest_twisted has installed it

    return ArchiveClient(reactor, url, **{"retry": QUICK, **more})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One service for all tests that do it no harm."""
    with suppress(FileNotFoundError):
        started = Service(tmp_path_factory.mktemp("archive"))
    yield started
    started.stop()
    started.assert_clean()


def large_file(path: Path, size: int = LARGE) -> str:
    """Make a file.  @return: Its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(size // MIB):
            piece = content(("large", number % 16), MIB - 8) + number.to_bytes(8, "big")
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hidden(directory: Path) -> list[str]:
    """What a download left."""
    return [name for name in os.listdir(directory) if name.startswith(".")]


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files read over several connections, however fast one is."""
    for name, value in (("FAST", 1 << 60), ("LOOK", 0.0), ("FIRST", 8 * MIB), ("PART", 8 * MIB)):
        monkeypatch.setattr(f"pacarchive.client.download.{name}", value)


# cuts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("parts", [False, True])
@asynchronous
async def test_a_get_that_is_cut_twenty_times_goes_on_each_time(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: bool
) -> None:
    """What came before a cut is not read again: all in all hardly more is moved than the file has bytes."""
    if parts:
        in_parts(monkeypatch)
    digest = large_file(tmp_path / "source")
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(101, tmp_path / "source")
    with FaultyProxy(service.port, cuts=CUTS, cut_after=min(LARGE // 30, 5 * MIB) if parts else LARGE // 30) as proxy:
        async with client(proxy.url) as archive:
            fetched = await archive.get(101, tmp_path / "target")
        assert proxy.faults.cuts == 0
        assert proxy.moved["down"] < 1.3 * LARGE
    assert digest_of(tmp_path / "target") == digest == fetched.digests["sha256"].hex()
    assert fetched.resumed > 0
    assert not hidden(tmp_path)


@pytest.mark.timeout(600)
@asynchronous
async def test_a_put_that_is_cut_twenty_times_ends_right(service: Service, tmp_path: Path) -> None:
    """A PUT begins anew each time, and is there once, whole."""
    digest = large_file(tmp_path / "source")
    with FaultyProxy(service.port, cuts=CUTS, cut_after=LARGE // 30, cut_way="up") as proxy:
        async with client(proxy.url) as archive:
            stored = await archive.put(102, tmp_path / "source")
        assert proxy.faults.cuts == 0
    assert stored.digests["sha256"].hex() == digest
    assert digest_of(service.prefix / "102") == digest
    assert not service.temporaries()


@asynchronous
async def test_a_put_that_is_hashed_while_it_is_sent_survives_cuts_as_well(service: Service, tmp_path: Path) -> None:
    """It is hashed anew each time."""
    digest = large_file(tmp_path / "source", 8 * MIB)
    with FaultyProxy(service.port, cuts=3, cut_after=2 * MIB, cut_way="up") as proxy:
        async with client(proxy.url) as archive:
            stored = await archive.put(103, tmp_path / "source", hash_first=False)
    assert stored.digests["sha256"].hex() == digest == digest_of(service.prefix / "103")


@asynchronous
async def test_a_put_whose_answer_is_lost_is_not_sent_again(service: Service, tmp_path: Path) -> None:
    """The archive is asked whether it has the bytes; it does."""
    data = content("answer", 3 * MIB)
    for file_id, if_absent in ((104, False), (105, True)):
        with FaultyProxy(service.port, cuts=1, cut_after=0) as proxy:
            async with client(proxy.url) as archive:
                stored = await archive.put(file_id, data, if_absent=if_absent)
            assert stored.digests["sha256"] == hashlib.sha256(data).digest()
            assert (proxy.asked("PUT"), proxy.asked("HEAD")) == (1, 1)


@asynchronous
async def test_a_source_that_can_be_read_once_is_not_begun_anew(service: Service) -> None:
    """There is nothing to send the second time."""

    async def once() -> AsyncIterator[bytes]:
        for number in range(32):
            yield content(number, MIB)

    with FaultyProxy(service.port, cuts=1, cut_after=4 * MIB, cut_way="up") as proxy:
        async with client(proxy.url) as archive:
            with pytest.raises(ConnectionFailed):
                await archive.put(106, once())
            with pytest.raises(NotFound):
                await archive.status(106)
            assert proxy.asked("PUT") == 1


@asynchronous
async def test_a_connection_that_was_closed_while_nobody_used_it_is_made_again(service: Service) -> None:
    """What was sent over it is sent again where that is safe."""
    with FaultyProxy(service.port) as proxy:
        async with client(proxy.url) as archive:
            await archive.put(107, b"idle")
            for each in list(proxy._sockets):
                with suppress(OSError):  # the proxy closes one of a pair when the other ends
                    each.shutdown(2)
            assert (await archive.status(107)).size == 4
            await archive.put(107, b"idle again")


# flips


@asynchronous
async def test_a_byte_that_is_flipped_on_the_way_out_is_found_wherever_it_is(service: Service, tmp_path: Path) -> None:
    """Either the file is right, or there is none; of the bytes of the file none is right when flipped."""
    data = content("flipped", 3000)
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(111, data)
        await direct.put(110, b"another file, whose id differs in one bit")
    target = tmp_path / "target"
    found = 0
    with FaultyProxy(service.port) as proxy:
        end, position = 10**9, 0
        while position < end:
            async with client(proxy.url, retry=NEVER, progress_timeout=1.0) as archive:
                target.unlink(missing_ok=True)
                begun = proxy.moved["down"]
                proxy.faults.flips = {"down": {begun + position}}
                with suppress(ClientError):
                    await archive.get(111, target)
                end = min(end, proxy.moved["down"] - begun)
            if target.exists():
                assert target.read_bytes() == data, position
            else:
                found += 1
            # Each byte of the head, and some of the rest, as there all are alike.
            position += 1 if position < 600 else 97
    assert found > 20
    assert not hidden(tmp_path)


@asynchronous
async def test_a_byte_that_is_flipped_on_the_way_in_is_found_wherever_it_is(service: Service) -> None:
    """When put returns, the archive has the file; when it does not have it, put has raised."""
    data = content("in", 3000)
    found = 0
    with FaultyProxy(service.port) as proxy:
        end, position = 10**9, 0
        while position < end:
            file_id = 2000 + 2 * position
            async with client(proxy.url, retry=NEVER, progress_timeout=1.0) as archive:
                begun = proxy.moved["up"]
                proxy.faults.flips = {"up": {begun + position}}
                try:
                    await archive.put(file_id, data)
                except ClientError:
                    found += 1
                else:
                    assert (service.prefix / str(file_id)).read_bytes() == data, position
                end = min(end, proxy.moved["up"] - begun)
            assert not [path for path in (str(file_id),) if _wrong(service.prefix / path, data)]
            position += 1 if position < 450 else 97
    assert found > 20


def _wrong(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() != data


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("position", [1000, 1 * MIB + 400, 4 * MIB, 8 * MIB - 1])
@asynchronous
async def test_nothing_that_was_flipped_is_ever_visible(
    service: Service, tmp_path: Path, position: int, behind: bool
) -> None:
    """Whether the digest goes before the body or follows it: the archive refuses what does not have it."""
    data = content("visible", 8 * MIB + 17)
    (tmp_path / "source").write_bytes(data)

    async def once() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    with FaultyProxy(service.port, flips={"up": {position}}) as proxy:
        async with client(proxy.url, retry=NEVER) as archive:
            file_id = 5000 + position + behind
            with pytest.raises(DigestMismatch) as caught:
                await archive.put(file_id, once() if behind else tmp_path / "source")
            assert not caught.value.stored
            assert not (service.prefix / str(file_id)).exists()


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("position", [1000, 4 * MIB, 8 * MIB - 1])
@asynchronous
async def test_what_was_flipped_while_it_was_hashed_is_undone_or_told(
    service: Service, tmp_path: Path, position: int, if_absent: bool
) -> None:
    """It is removed where the id had been free; else the failure says that it is there."""
    (tmp_path / "source").write_bytes(content("undone", 8 * MIB + 17))
    file_id = 5100 + position + if_absent
    with FaultyProxy(service.port, flips={"up": {position}}) as proxy:
        async with client(proxy.url) as archive:
            with pytest.raises(DigestMismatch) as caught:
                await archive.put(file_id, tmp_path / "source", hash_first=False, if_absent=if_absent)
    assert caught.value.stored is not if_absent
    assert (service.prefix / str(file_id)).exists() is not if_absent


@pytest.mark.parametrize("hash_first", [False, True])
@asynchronous
async def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    service: Service, tmp_path: Path, hash_first: bool
) -> None:
    """The end of it is kept back until it is known that it is still the same."""
    source = tmp_path / "source"
    source.write_bytes(content("changes", 32 * MIB))

    def change(progress: Progress) -> None:
        if progress.done >= MIB:
            os.utime(source, (1, 1))

    async with client(f"http://{HOST}:{service.port}") as archive:
        with pytest.raises(SourceChanged):
            await archive.put(171, source, hash_first=hash_first, on_progress=change)
        with pytest.raises(NotFound):
            await archive.status(171)


@asynchronous
async def test_a_byte_of_a_large_file_that_is_flipped_is_found(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where parts of it come over several connections, and nothing is left of it."""
    in_parts(monkeypatch)
    large_file(tmp_path / "source", 96 * MIB)
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(112, tmp_path / "source")
    for position in (1000, 40 * MIB, 95 * MIB):
        with FaultyProxy(service.port, flips={"down": {position}}) as proxy:
            async with client(proxy.url) as archive:
                with pytest.raises(DigestMismatch):
                    await archive.get(112, tmp_path / "target")
            assert proxy.connections >= 4
        assert not (tmp_path / "target").exists()
    assert not hidden(tmp_path)


# time


@asynchronous
async def test_what_stands_still_is_given_up(service: Service, tmp_path: Path) -> None:
    """Not how long a transfer takes counts, but for how long nothing moves."""
    data = content("still", 4 * MIB)
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(121, data)
    with FaultyProxy(service.port, stall_after=2 * MIB) as proxy:
        async with client(proxy.url, retry=NEVER, progress_timeout=0.5) as archive:
            with pytest.raises(Stalled):
                await archive.get(121, tmp_path / "target")
    assert os.listdir(tmp_path) == []


@asynchronous
async def test_what_is_slow_is_waited_for(service: Service, tmp_path: Path) -> None:
    """A transfer may take many times as long as nothing may move."""
    data = content("slow", 90_000)
    with FaultyProxy(service.port, trickle=60_000) as proxy:
        async with client(proxy.url, retry=NEVER, progress_timeout=0.6) as archive:
            begun = time.monotonic()
            await archive.put(122, data)
            await archive.get(122, tmp_path / "target")
            assert time.monotonic() - begun > 2.5
    assert (tmp_path / "target").read_bytes() == data


# rules


@asynchronous
async def test_nothing_that_is_not_safe_is_done_twice(service: Service) -> None:
    """A PATCH, POST or DELETE whose answer is lost is not sent again, and the failure says what that means."""
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(131, b"131")
    (service.prefix / "moved-in").write_bytes(b"132")
    with FaultyProxy(service.port, cut_after=0) as proxy:
        async with client(proxy.url) as archive:
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "PATCH": lambda: archive.move(132, str(service.prefix / "moved-in")),
                "POST": lambda: archive.stage([131]),
                "DELETE": lambda: archive.delete(131),
            }
            for method, call in calls.items():
                proxy.faults.cuts = 1
                with pytest.raises(ConnectionFailed) as caught:
                    await call()
                assert caught.value.uncertain
                assert proxy.asked(method) == 1


@asynchronous
async def test_what_never_reached_the_archive_is_sent_again(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """A connection that is refused has done nothing, so anything may be tried again."""
    first = serve()
    port = first.port
    async with client(f"http://{HOST}:{port}") as archive:
        await archive.put(1, b"data")
    first.stop()
    patient = RetryPolicy(attempts=60, first=0.1, longest=0.2)
    async with client(f"http://{HOST}:{port}", retry=patient) as archive:
        with pytest.raises(ConnectionFailed) as caught:
            async with client(f"http://{HOST}:{port}", retry=QUICK) as hasty:
                await hasty.delete(1)
        assert not caught.value.uncertain
        deleted = Deferred.fromCoroutine(archive.delete(1))
        second = serve("-p", str(port), port=None)
        assert second.port == port
        await deleted
        with pytest.raises(NotFound):
            await archive.status(1)


@asynchronous
async def test_two_writers_of_one_id_are_told_apart(service: Service) -> None:
    """Exactly one of those that want the id free gets it, although each tries as often as it has to."""
    async with client(f"http://{HOST}:{service.port}") as archive:
        puts = [Deferred.fromCoroutine(archive.put(141, b"%d" % each, if_absent=True)) for each in range(8)]
        won = 0
        for each in puts:
            try:
                await each
                won += 1
            except PreconditionFailed:
                pass
        assert won == 1


@asynchronous
async def test_a_file_that_changes_while_it_is_read_is_read_anew(service: Service, tmp_path: Path) -> None:
    """What is under the final name is one version or the other, whole."""
    old, new = content("old", 8 * MIB), content("new", 8 * MIB)
    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(151, old)
        with FaultyProxy(service.port, cuts=1, cut_after=3 * MIB) as proxy:
            replaced: list[Deferred[Any]] = []

            def look(progress: Progress) -> None:
                if progress.done >= MIB and not replaced:
                    replaced.append(Deferred.fromCoroutine(direct.put(151, new)))

            slow = RetryPolicy(attempts=4, first=1.0, longest=1.0, jitter=0.0)
            async with client(proxy.url, retry=slow) as archive:
                await archive.get(151, tmp_path / "target", on_progress=look)
            await gatherResults(replaced)
    assert (tmp_path / "target").read_bytes() == new


# ends


GETTER = """
import sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from pacarchive.client import ArchiveClient

async def get(reactor):
    async with ArchiveClient(reactor, sys.argv[1]) as archive:
        await archive.get(int(sys.argv[2]), sys.argv[3], on_progress=lambda progress: print(progress.done, flush=True))

react(lambda reactor: Deferred.fromCoroutine(get(reactor)))
"""


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_get_that_is_ended_leaves_nothing_under_the_name(
    service: Service, tmp_path: Path, end: signal.Signals, unnamed: bool
) -> None:
    """Neither kill -9 nor Ctrl-C; where the file has a hidden name meanwhile, the next get removes it."""
    data = content("ended", 8 * MIB)
    service.ask("PUT", 161, data)
    code = GETTER if unnamed else "import os; del os.O_TMPFILE; os.O_TMPFILE = 0o100000000\n" + GETTER
    directory = tmp_path / "targets"
    directory.mkdir()
    target = directory / "target"
    with FaultyProxy(service.port, stall_after=3 * MIB) as proxy:
        arguments = [sys.executable, "-c", code, proxy.url, "161", str(target)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        assert process.stdout.readline()
        until(lambda: unnamed or hidden(directory), "the download has a name")
        process.send_signal(end)
        process.wait(30)
        process.stdout.close()
    assert not target.exists()
    assert len(hidden(directory)) == (0 if unnamed else 1)
    url = f"http://{HOST}:{service.port}"
    subprocess.run([sys.executable, "-c", GETTER, url, "161", str(target)], check=True, stdout=subprocess.DEVNULL)
    assert target.read_bytes() == data
    assert os.listdir(directory) == ["target"]


PUTTER = """
import sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from pacarchive.client import ArchiveClient

async def put(reactor):
    async with ArchiveClient(reactor, sys.argv[1]) as archive:
        await archive.put(int(sys.argv[2]), sys.argv[3], hash_first=bool(int(sys.argv[4])))

react(lambda reactor: Deferred.fromCoroutine(put(reactor)))
"""


@pytest.mark.parametrize("hash_first", [True, False])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_put_that_is_ended_leaves_nothing_in_the_archive(
    service: Service, tmp_path: Path, end: signal.Signals, hash_first: bool
) -> None:
    """Neither kill -9 nor Ctrl-C: no file, and no temporary one; and what was there before stays."""
    large_file(tmp_path / "source", 64 * MIB)
    service.ask("PUT", 163, b"before")
    with FaultyProxy(service.port, trickle=4 * MIB) as proxy:
        for file_id in (163, 164):
            arguments = [sys.executable, "-c", PUTTER, proxy.url, str(file_id), str(tmp_path / "source")]
            begun = proxy.moved["up"]
            process = subprocess.Popen([*arguments, str(int(hash_first))], stderr=subprocess.DEVNULL)
            try:
                until(lambda begun=begun: proxy.moved["up"] > begun + MIB, "the archive has some of it")  # type: ignore[misc]
                assert process.poll() is None
                process.send_signal(end)
                process.wait(30)
            finally:
                process.kill()
                process.wait()
            until(lambda: not service.temporaries(), "the archive has tidied up")
    assert service.ask("GET", 163).body == b"before"
    assert service.ask("HEAD", 164).status == 404


SIZES = (96 * MIB, 512 * MIB)
PARTS = "get a path, in parts"
MOST = 150 * MIB

FLAT = 32 * MIB
"""How much the peaks may differ for 416 MiB more: how threads part their memory is chance, and depends on the disk."""

MEASURED = """
import os, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from pacarchive.client import ArchiveClient

url, what, file_id, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])

async def pieces():
    piece = os.urandom(1 << 20)
    for _ in range(size >> 20):
        yield piece

async def main(reactor):
    async with ArchiveClient(reactor, url) as archive:
        calls = {
            "put a path": lambda: archive.put(file_id, path),
            "put a path, hashed first": lambda: archive.put(file_id, path, hash_first=True),
            "put an iterator": lambda: archive.put(file_id, pieces()),
            "get a path": lambda: archive.get(file_id, path, parallel=1),
            "get a path, in parts": lambda: archive.get(file_id, path),
            "get a function": lambda: archive.get(file_id, lambda piece: None),
        }
        assert (await calls[what]()).size == size

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""

REPORT = """
with open("/proc/self/status") as status:
    print(*(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


@pytest.mark.timeout(600)
def test_memory_does_not_depend_on_sizes(service: Service, tmp_path: Path) -> None:
    """Nor is it much, for any kind of source and destination: the peak of a process is small, and always the same."""
    code = f"import atexit\natexit.register(lambda: exec({REPORT!r}))\n{MEASURED}"
    url = f"http://{HOST}:{service.port}"
    peaks: dict[str, list[int]] = {}
    for number, size in enumerate(SIZES):
        large_file(tmp_path / "source", size)
        for what in (
            "put a path",
            "put a path, hashed first",
            "get a path",
            PARTS,
            "get a function",
            "put an iterator",
        ):
            path = tmp_path / ("source" if what.startswith("put") else "target")
            arguments = [sys.executable, "-c", code, url, what, str(166 + number), str(path), str(size)]
            ended = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=300)
            peaks.setdefault(what, []).append(int(ended.stdout) * 1024)
    for what, (small, large) in peaks.items():
        assert large <= MOST, (what, peaks)
        if what != PARTS:  # how many connections it is read over depends on how fast one is
            assert large - small <= FLAT, (what, peaks)


@asynchronous
async def test_a_get_that_is_cancelled_leaves_nothing(service: Service, tmp_path: Path) -> None:
    """And its connection is not used for anything else."""
    from twisted.internet import reactor

    async with client(f"http://{HOST}:{service.port}") as direct:
        await direct.put(162, content("cancelled", 8 * MIB))
    with FaultyProxy(service.port, stall_after=3 * MIB) as proxy:
        async with client(proxy.url) as archive:
            under_way = Deferred.fromCoroutine(archive.get(162, tmp_path / "target"))
            await deferLater(reactor, 0.3)
            under_way.cancel()
            with pytest.raises(CancelledError):
                await under_way
            assert os.listdir(tmp_path) == []
            proxy.faults.stall_after = None
            await archive.get(162, tmp_path / "target")


@asynchronous
async def test_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With words and advice."""
    async with client("http://127.0.0.1:9", retry=QUICK) as archive:
        with pytest.raises((ConnectionFailed, ServerUnavailable)) as caught:
            await archive.health()
    assert caught.value.advice
