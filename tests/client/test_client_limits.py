"""Limits hold against an archive that always answers the same: each way round one would be asked for ever."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, LoopingCall
from twisted.web.server import NOT_DONE_YET, Request

from pacarchive.client import (
    NEVER,
    ArchiveClient,
    ClientError,
    ConnectionFailed,
    FileChanged,
    FileState,
    Offline,
    ProtocolError,
    RetryPolicy,
    ServerUnavailable,
    Stalled,
    TooLarge,
)
from pacarchive.client.events import LIMIT, EventParser
from pacarchive.client.retry import Tries
from pacarchive.client.testing import FakeArchive

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

DATA = bytes(range(256)) * 20
SIX = RetryPolicy(attempts=6, first=0.1)


class Always(FakeArchive):
    """
    Answers whatever it is asked in the same way.

    @param status: With which status.
    @param text: With which body, where it is no words of a refusal.
    @param fields: With which header fields.
    """

    def __init__(self, status: int, text: str | bytes = b"", **fields: str) -> None:
        super().__init__()
        self._said = status, text.encode() if isinstance(text, str) else text
        self._with = {name.replace("_", "-"): value for name, value in fields.items()}

    def render(self, request: Request) -> bytes:
        self.requests.append((request.method.decode(), request.uri.decode()))
        status, text = self._said
        request.setResponseCode(status)
        for name, value in self._with.items():
            request.setHeader(name, value)
        request.setHeader("Content-Length", str(len(text)))
        return b"" if request.method == b"HEAD" else text


def end_of(archive: FakeArchive, call: Coroutine[Any, Any, Any], seconds: float = 3600.0) -> tuple[Any, float]:
    """@return: What a call fails with, and after how long; time goes by as far as that needs."""
    failures: list[Any] = []
    began = archive.clock.seconds()
    Deferred.fromCoroutine(call).addErrback(lambda failure: failures.append(failure.value))
    while not failures:
        assert archive.clock.seconds() - began < seconds, f"no end after {len(archive.requests)} requests"
        assert len(archive.requests) < 1000
        archive.clock.advance(0.5)
    return failures[0], archive.clock.seconds() - began


def calls(client: ArchiveClient, path: Path) -> list[Coroutine[Any, Any, Any]]:
    """All that may be repeated."""
    path.write_bytes(DATA)
    job = "0" * 32
    return [
        client.put(1, DATA),
        client.put(1, path),
        client.put(1, path, hash_first=False),
        client.get(1, lambda _: None),
        client.get(1, path),
        client.status(1),
        client.plan([1]),
        client.job(job),
        client.changes(job),
        client.wait_for(job),
        client.archiveinfo([1]),
    ]


@pytest.mark.parametrize("tries", [1, 3])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_is_never_available_is_asked_for_so_often_and_no_more(tmp_path: Path, tries: int, status: int) -> None:
    """Also a PUT, although its bytes have moved each time."""
    for index in range(11):
        archive = Always(status, Retry_After="1")
        client = archive.client(retry=RetryPolicy(attempts=tries, first=0.1))
        every = calls(client, tmp_path / "file")
        for each in every[:index] + every[index + 1 :]:
            each.close()
        error, _ = end_of(archive, every[index])
        assert isinstance(error, ServerUnavailable)
        # Why a HEAD fails has no room in its answer, and is asked once, in the end.
        assert len([method for method, _ in archive.requests if method != "PROPFIND"]) == tries
        assert len(archive.requests) - tries <= 1


def test_nobody_is_asked_to_wait_for_a_year() -> None:
    """What C{Retry-After} says is believed up to a limit."""
    archive = Always(503, Retry_After="31536000")
    _, waited = end_of(archive, archive.client(retry=RetryPolicy(attempts=3, longest_asked=120.0)).status(1))
    assert 240 <= waited <= 242


def test_a_put_that_is_cut_again_and_again_is_sent_a_bounded_number_of_times() -> None:
    """Restarts count, whatever fails in between."""
    for policy, most in ((RetryPolicy(attempts=3, restarts=4), 7), (RetryPolicy(attempts=1, restarts=4), 1)):
        clock, sent = Clock(), 0
        tries = Tries(clock, policy)
        failures: list[Any] = []
        while not failures:
            sent += 1
            # Every third failure had moved nothing.
            waiting = Deferred.fromCoroutine(tries.after(ConnectionFailed("cut"), begins_anew=sent % 3 != 0))
            waiting.addErrback(failures.append)
            clock.advance(60)
        assert sent == most


@pytest.mark.parametrize(("policy", "versions"), [(NEVER, 1), (SIX, 5)])
def test_a_file_that_is_always_another_is_begun_a_bounded_number_of_times(
    tmp_path: Path, policy: RetryPolicy, versions: int
) -> None:
    """Once, where nothing is to be tried again."""
    archive = Always(416, Content_Range="bytes */7")
    error, _ = end_of(archive, archive.client(retry=policy).get(1, tmp_path / "target"))
    assert isinstance(error, FileChanged)
    assert len(archive.requests) == versions


def test_a_file_that_is_always_on_tape_is_waited_for_so_long_and_no_longer(tmp_path: Path) -> None:
    """And not asked for more often than once a second, although the archive says that it may be."""
    archive = Always(503, Retry_After="0", Link=f'</jobs/{"0" * 32}>; rel="monitor"')
    error, waited = end_of(archive, archive.client().get(1, tmp_path / "target", wait=20))
    assert isinstance(error, Offline)
    assert 20 <= waited <= 21
    assert len(archive.requests) <= 22


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_followed_not_even_once(tmp_path: Path, status: int) -> None:
    """A circle of them has no way to begin."""
    for index in range(11):
        archive = Always(status, Location="/1")
        every = calls(archive.client(retry=SIX), tmp_path / "file")
        for each in every[:index] + every[index + 1 :]:
            each.close()
        error, _ = end_of(archive, every[index])
        assert isinstance(error, ProtocolError)
        assert len(archive.requests) == 1


def test_a_list_that_is_always_too_long_is_cut_down_to_one_file_and_no_further() -> None:
    """Halves of halves, until there are none."""
    for name in ("stage", "plan"):
        archive = Always(413)
        error, _ = end_of(archive, getattr(archive.client(retry=SIX), name)(range(1 << 20)))
        assert isinstance(error, TooLarge)
        assert len(archive.requests) == 21


JOB = {
    "job": "0" * 32,
    "state": "running",
    "owner": "x",
    "priority": "normal",
    "created": 1.0,
    "started": 1.0,
    "ended": None,
    "deadline": 9e9,
    "files": 2,
    "left": 2,
    "counts": {each.value: 0 for each in FileState},
    "rate": 0.0,
    "bytes": {"total": 0, "done": 0},
    "estimate": None,
    "cursor": "1",
}
WISH = {
    "file": "1",
    "state": "started",
    "bytes": 1,
    "started": 1.0,
    "ended": None,
    "deadline": 9e9,
    "heard": 1.0,
    "attempts": 1,
    "reason": "",
    "pinned": None,
}


@pytest.mark.parametrize(("page", "most"), [(0, 1), (1000, 12)])
def test_a_list_of_changes_that_always_goes_on_is_not_read_for_ever(page: int, most: int) -> None:
    """Where a page is empty, or there are more changes than a job of two files can have."""
    text = json.dumps({**JOB, "more": True, "changes": [WISH] * page})
    for name in ("changes", "wait_for"):
        archive = Always(200, text)
        error, _ = end_of(archive, getattr(archive.client(retry=SIX), name)("0" * 32))
        assert isinstance(error, ProtocolError)
        assert "no end" in str(error)
        assert len(archive.requests) <= most


def test_an_event_that_always_goes_on_is_not_kept() -> None:
    """Neither one line of it, nor many."""
    for piece in (b"x" * (1 << 20), b"data: x\n" * (1 << 15)):
        parser = EventParser()
        for _ in range(LIMIT // len(piece)):
            list(parser.feed(piece))
        with pytest.raises(ProtocolError):
            list(parser.feed(piece))
    parser = EventParser()
    for _ in range(2 * LIMIT // (1 << 20)):
        assert len(list(parser.feed(b"data: " + b"x" * (1 << 20) + b"\n\n"))) == 1


class Silent(FakeArchive):
    """Has a job of 30 parts, of whose events nothing ever comes."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = 0

    def render(self, request: Request) -> Any:
        path = request.path.decode()
        self.requests.append(("GET", path))
        if path.endswith("/events"):
            self.listening += 1
            request.setHeader("Content-Type", "text/event-stream")
            request.write(b":\n\n")
            return NOT_DONE_YET
        job = path.rpartition("/")[2]
        return json.dumps({**JOB, "job": job, "more": False, "changes": []}).encode()


def test_a_job_of_many_parts_takes_no_more_connections_than_there_may_be() -> None:
    """Some are listened to, and the others looked at now and then."""
    archive = Silent()
    jobs = [f"{number:032x}" for number in range(30)]
    client = archive.client(connections=3)
    waiting = Deferred.fromCoroutine(client.wait_for(",".join(jobs)))
    for _ in range(20):
        archive.clock.advance(1)
    assert archive.listening == 3
    looked = [path.rpartition("/")[2] for _, path in archive.requests if not path.endswith("/events")]
    assert all(looked.count(job) > 2 for job in jobs[3:])
    waiting.addErrback(lambda failure: None)
    waiting.cancel()


class Trickle(Protocol):
    """Answers at once, and sends the body a byte at a time, for ever."""

    transport: Any
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n"

    def connectionMade(self) -> None:
        self.sending = LoopingCall(self.transport.write, b"x")

    def dataReceived(self, data: bytes) -> None:
        if not self.sending.running:
            self.transport.write(self.head)
            self.sending.start(0.05)

    def connectionLost(self, reason: object = None) -> None:
        if self.sending.running:
            self.sending.stop()


class TrickleAfterSuccess(Trickle):
    """The same behind an answer whose body nobody needs."""

    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(("protocol", "failure"), [(Trickle, Stalled), (TrickleAfterSuccess, None)])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_words_that_trickle_are_not_waited_for(
    protocol: type[Trickle], failure: type[ClientError] | None
) -> None:
    """Nor what nobody wants to read: each byte of it would be a new wait."""
    from twisted.internet import reactor

    listener: Any = reactor
    factory: Any = Factory.forProtocol(protocol)
    factory.noisy = False
    port = listener.listenTCP(0, factory, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    begun = listener.seconds()
    async with ArchiveClient(reactor, url, retry=NEVER, progress_timeout=0.5) as client:
        if failure is None:
            await client.delete(1)
        else:
            with pytest.raises(failure):
                await client.delete(1)
    assert listener.seconds() - begun < 20
    await port.stopListening()


class Cut(Protocol):
    """
    Sends a few bytes of what it is asked for, and loses the connection.

    @cvar size: The file's.
    @cvar step: How many bytes are sent.
    @cvar asked: The byte that each request begins with.
    """

    transport: Any
    size = 4 << 20
    step = 1
    asked: ClassVar[list[int]]

    def dataReceived(self, data: bytes) -> None:
        found = re.search(rb"\r\nrange: bytes=(\d+)-", data, re.IGNORECASE)
        start = int(found[1]) if found else 0
        self.asked.append(start)
        self.transport.write(
            b'HTTP/1.1 206 Partial Content\r\nETag: "1"\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n'
            % (self.size - start, start, self.size - 1, self.size)
        )
        self.transport.write(bytes(min(self.step, self.size - start)))
        self.transport.loseConnection()


@pytest.mark.parametrize(("bytes_each", "tries"), [(1, 4), (100 << 10, 4), (300 << 10, None), (1 << 20, None)])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_tries_count_anew_after_real_progress(tmp_path: Path, bytes_each: int, tries: int | None) -> None:
    """A byte for each of them is none: that could go on for ever."""
    from twisted.internet import reactor

    class Server(Cut):
        step = bytes_each
        asked: ClassVar[list[int]] = []

    listener: Any = reactor
    factory: Any = Factory.forProtocol(Server)
    factory.noisy = False
    port = listener.listenTCP(0, factory, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    policy = RetryPolicy(attempts=4, restarts=0, first=0, longest=0)
    async with ArchiveClient(reactor, url, retry=policy) as client:
        if tries is None:
            assert (await client.get(1, tmp_path / "file", parallel=1, verify=False)).size == Server.size
            tries = -(-Server.size // bytes_each)
        else:
            with pytest.raises(ConnectionFailed):
                await client.get(1, tmp_path / "file", parallel=1, verify=False)
    assert Server.asked == [number * bytes_each for number in range(tries)]
    await port.stopListening()
