"""The client library against a real service: time, what is done twice, how it ends, and what memory it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from pacarchive.client import (
    NEVER,
    ConnectionFailed,
    NotFound,
    PreconditionFailed,
    Progress,
    RetryPolicy,
    ServerUnavailable,
    Stalled,
)
from system.faulty_proxy import FaultyProxy
from system.harness import HOST, Service, content, until
from system.library import (
    MIB,
    QUICK,
    asynchronous,
    client,
    hidden,
    large_file,
    service,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# A fixture that is used here.
__all__ = ["service"]


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
        process = forks.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        assert process.stdout.readline()
        until(lambda: unnamed or hidden(directory), "the download has a name")
        process.send_signal(end)
        process.wait(30)
        process.stdout.close()
    assert not target.exists()
    assert len(hidden(directory)) == (0 if unnamed else 1)
    url = f"http://{HOST}:{service.port}"
    forks.run([sys.executable, "-c", GETTER, url, "161", str(target)], check=True, stdout=subprocess.DEVNULL)
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
            process = forks.Popen([*arguments, str(int(hash_first))], stderr=subprocess.DEVNULL)
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


SIZES = (32 * MIB, 192 * MIB)
PARTS = "get a path, in parts"
MOST = 150 * MIB

FLAT = 32 * MIB
"""How much the peaks may differ for 160 MiB more: how threads part their memory is chance, and depends on the disk."""

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
            ended = forks.run(arguments, check=True, capture_output=True, text=True, timeout=300)
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
