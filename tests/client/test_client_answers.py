"""Answers that HTTP allows and that this archive does not give, and such as nobody should: from a scripted server."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import provider

from pacarchive.client import (
    NEVER,
    ArchiveClient,
    ClientClosed,
    ClientError,
    ConnectionFailed,
    FileChanged,
    ProtocolError,
    RetryPolicy,
    ServerError,
    Stalled,
    TooLarge,
)
from pacarchive.client._threads import Threads
from pacarchive.client.reading import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable

DATA = bytes(range(256)) * 4000
ETAG = f'"{hashlib.sha256(DATA).hexdigest()}"'
QUICK = RetryPolicy(attempts=3, first=0.01, longest=0.02)


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine of Twisted's."""
    decorated: Callable[..., None] = pytest_twisted.ensureDeferred(test)
    return decorated


def digest(data: bytes) -> str:
    """Its C{Repr-Digest}."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode('ascii')}:"


def answer(status: int, body: bytes = b"", *lines: str, length: int | None = None) -> bytes:
    """An answer, with a length of its own."""
    fields = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body) if length is None else length}", *lines]
    return "\r\n".join([*fields, "", ""]).encode("latin-1") + body


def whole(body: bytes = DATA, etag: str = ETAG, **more: Any) -> bytes:
    """The answer to a GET."""
    return answer(200, body, f"ETag: {etag}", f"Repr-Digest: {digest(DATA)}", **more)


def part(start: int, end: int, field: str | None = None) -> bytes:
    """A part of the file."""
    field = f"bytes {start}-{end - 1}/{len(DATA)}" if field is None else field
    return answer(206, DATA[start:end], f"ETag: {ETAG}", f"Content-Range: {field}", f"Repr-Digest: {digest(DATA)}")


def about() -> bytes:
    """The answer to a HEAD."""
    return "\r\n".join(
        [
            "HTTP/1.1 204 No Content",
            f"ETag: {ETAG}",
            f"Repr-Digest: {digest(DATA)}",
            f"X-Content-Length: {len(DATA)}",
            "Last-Modified: 1.5",
            "X-Pacifica-Ctime: 1.5",
            "",
            "",
        ]
    ).encode("ascii")


class Script(Factory):
    """
    A server that answers what it is told to, one after the other, over any connections.

    @ivar answers: What to say; what is empty at the end closes the connection.
    @ivar heads: The heads of the requests.
    @ivar interim: What to say before the body of a request is read.
    """

    noisy = False

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.interim: list[bytes] = []
        self.open: set[Protocol] = set()

    def buildProtocol(self, addr: object) -> Protocol:
        return _Scripted(self)

    def ranges(self) -> list[str | None]:
        """The ranges that were asked for."""
        fields = [dict(line.split(": ", 1) for line in head.split("\r\n")[1:]) for head in self.heads]
        return [each.get("Range") for each in fields]


class _Scripted(Protocol):
    transport: Any

    def __init__(self, script: Script) -> None:
        self._script = script
        self._data = b""
        self._left: int | None = None

    def connectionMade(self) -> None:
        self._script.open.add(self)

    def connectionLost(self, reason: object = None) -> None:
        self._script.open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self._left is None:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            self._script.heads.append(head.decode("latin-1"))
            lengths = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
            self._left, self._data = int(lengths[0].split()[1]) if lengths else 0, rest
            for each in self._script.interim:
                self.transport.write(each)
        self._left -= len(self._data)
        self._data = b""
        if self._left <= 0:
            self._left = None
            said = self._script.answers.pop(0) if self._script.answers else None
            if said is None:
                return  # nothing is ever said
            self.transport.write(said)
            if said.endswith(CLOSE):
                self.transport.loseConnection()


CLOSE = DATA[100:200]
"""An answer that ends so is the last of its connection: the file is cut there."""
CUT = DATA[: 256 * 2000 + 200]
assert CUT.endswith(CLOSE)


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[str]:
    """Let it serve.  Gives its URL."""
    from twisted.internet import reactor

    listener: Any = reactor
    port = listener.listenTCP(0, script, interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()
        for each in list(script.open):
            each.transport.abortConnection()  # type: ignore[union-attr]
        while script.open:
            await deferLater(reactor, 0.01)


def client(url: str, **more: Any) -> ArchiveClient:
    """A client in this process."""
    from twisted.internet import reactor

    return ArchiveClient(reactor, url, **{"retry": QUICK, "progress_timeout": 5.0, **more})


# interim answers


@pytest.mark.parametrize("size", [5, 12_000_000])
@pytest.mark.parametrize("cut", [1, 9, 40, 1000])
@asynchronous
async def test_an_interim_answer_is_none(tmp_path: Path, size: int, cut: int) -> None:
    """The body is sent on; only the answer that is final ends it."""
    data = (DATA * 12)[:size]
    etag = hashlib.sha256(data).hexdigest()
    stored = answer(
        201, b'{"total_bytes": %d}' % size, f'ETag: "{etag}"', f"Repr-Digest: {digest(data)}", "Location: /1"
    )
    script = Script(stored)
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
    script.interim = [interim[:cut], interim[cut:]]
    (tmp_path / "source").write_bytes(data)
    async with served(script) as url, client(url, retry=NEVER) as archive:
        assert (await archive.put(1, tmp_path / "source", hash_first=False)).size == size
    assert len(script.heads) == 1


@asynchronous
async def test_a_refusal_that_comes_before_the_end_of_the_body_is_heard(tmp_path: Path) -> None:
    """After an interim answer as well; the rest is not sent."""
    script = Script()
    script.interim = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP", answer(413, b"{}")[4:]]
    (tmp_path / "source").write_bytes(DATA * 60)
    async with served(script) as url, client(url, retry=NEVER) as archive:
        with pytest.raises(TooLarge):
            await archive.put(1, tmp_path / "source", hash_first=False)


# answers to a GET


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        part(5, len(DATA)),
        part(0, len(DATA) - 1),
        part(0, len(DATA), "bytes 0-9/10"),
        part(0, len(DATA), ""),
        part(0, len(DATA), f"bytes 0-{len(DATA) - 1}/*"),
        answer(206, b"--x\r\n\r\n--x--", "Content-Type: multipart/byteranges; boundary=x"),
        answer(204),
        answer(304),
        answer(302, b"", "Location: /2"),
    ],
)
@asynchronous
async def test_what_is_no_answer_to_a_get_is_told(tmp_path: Path, said: bytes) -> None:
    """Once; it would be the same again.  Nothing is left of it."""
    script = Script(*[said] * 3)
    async with served(script) as url, client(url) as archive:
        with pytest.raises(ProtocolError):
            await archive.get(1, tmp_path / "target")
    assert len(script.heads) == 1
    assert os.listdir(tmp_path) == []


@asynchronous
async def test_a_length_that_is_larger_than_the_file_is_a_cut(tmp_path: Path) -> None:
    """The file is never taken for whole, however often that is said."""
    script = Script(*[whole(CUT, length=len(DATA))] * 9)
    async with served(script) as url, client(url, retry=NEVER) as archive:
        with pytest.raises(ConnectionFailed):
            await archive.get(1, tmp_path / "target")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("parallel", [1, 4])
@asynchronous
async def test_a_get_goes_on_with_a_part(tmp_path: Path, parallel: int) -> None:
    """Of the very version that it began with."""
    begun = whole(CUT, length=len(DATA))
    script = Script(begun, part(len(CUT), len(DATA)), about())
    async with served(script) as url, client(url) as archive:
        fetched = await archive.get(1, tmp_path / "target", parallel=parallel)
    assert (tmp_path / "target").read_bytes() == DATA
    assert fetched.resumed == 1
    assert script.ranges()[1] in (f"bytes={len(CUT)}-{len(DATA) - 1}", f"bytes={len(CUT)}-")
    assert f"If-Range: {ETAG}" in script.heads[1]


@pytest.mark.parametrize("parallel", [1, 4])
@asynchronous
async def test_a_server_without_ranges_does_not_have_the_file_written_twice(tmp_path: Path, parallel: int) -> None:
    """What is there already is passed over; a function hears each byte once."""
    for target in (tmp_path / "target", None):
        got: list[bytes] = []
        script = Script(whole(CUT, length=len(DATA)), whole(CUT, length=len(DATA)), whole(), about())
        async with served(script) as url, client(url) as archive:
            await archive.get(1, target or got.append, parallel=parallel)
        assert (target.read_bytes() if target else b"".join(got)) == DATA
        assert not script.answers


@asynchronous
async def test_another_version_is_begun_anew_or_told(tmp_path: Path) -> None:
    """A server that answers with all of another file, or that gives no entity tags, does not get its bytes mixed."""
    for cut_etag, etag in (('"another"', ETAG), ("", "")):
        cut = whole(CUT[::-1] + CLOSE, cut_etag, length=len(DATA))
        script = Script(cut, whole(etag=etag), whole(etag=etag), about())
        async with served(script) as url, client(url) as archive:
            await archive.get(1, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == DATA
        script = Script(cut, whole(etag=etag))
        async with served(script) as url, client(url) as archive:
            with pytest.raises(FileChanged):
                await archive.get(1, lambda _: None)


@asynchronous
async def test_of_a_refusal_without_end_only_the_beginning_is_read() -> None:
    """And its connection is not used again."""
    script = Script(answer(500, bytes(3 << 20), length=1 << 40))
    async with served(script) as url, client(url, retry=NEVER) as archive:
        with pytest.raises(ServerError):
            await archive.get(1, lambda _: None)
        script.answers.append(about())
        assert (await archive.status(1)).size == len(DATA)


@asynchronous
async def test_a_short_answer_that_nobody_wants_is_read_for_the_connection_to_go_on() -> None:
    """Although it comes after its head."""
    from twisted.internet import reactor

    script = Script(answer(200, length=5), about())
    async with served(script) as url, client(url) as archive:
        deleting = Deferred.fromCoroutine(archive.delete(1))
        while not script.heads:
            await deferLater(reactor, 0.01)
        (connection,) = script.open
        connection.transport.write(b"words")  # type: ignore[union-attr]
        await deleting
        assert (await archive.status(1)).size == len(DATA)
        assert script.open == {connection}


@asynchronous
async def test_a_long_answer_that_nobody_wants_is_not_waited_for() -> None:
    """The connection is given up instead."""
    from twisted.internet import reactor

    script = Script(answer(200, length=1 << 40))
    async with served(script) as url, client(url, progress_timeout=3600.0) as archive:
        await Deferred.fromCoroutine(archive.delete(1)).addTimeout(30, reactor)
        assert not await _still_open(script)


# ends


@asynchronous
async def test_all_that_is_under_way_when_a_client_is_closed_is_told_so(tmp_path: Path) -> None:
    """What waits for its turn, too: nothing is asked after that."""
    from twisted.internet import reactor

    script = Script()
    async with served(script) as url:
        archive = client(url, connections=1)
        (tmp_path / "source").write_bytes(DATA * 5)
        calls: list[Deferred[Any]] = [
            Deferred.fromCoroutine(archive.status(1)),
            Deferred.fromCoroutine(archive.put(2, tmp_path / "source")),
            Deferred.fromCoroutine(archive.get(3, tmp_path / "target")),
        ]
        while not script.heads:
            await deferLater(reactor, 0.01)
        await archive.close()
        for each in calls:
            with pytest.raises(ClientClosed):
                await each
        assert len(script.heads) == 1
        assert not script.open or not await _still_open(script)
    assert os.listdir(tmp_path) == ["source"]


async def _still_open(script: Script) -> bool:
    from twisted.internet import reactor

    for _ in range(500):
        if not script.open:
            return False
        await deferLater(reactor, 0.01)
    return True


@asynchronous
async def test_one_that_is_closed_before_it_is_connected_is_told_so() -> None:
    """Although nothing was sent yet."""
    async with served(Script()) as url:
        archive = client(url)
        asked = Deferred.fromCoroutine(archive.status(1))
        await archive.close()
        with pytest.raises(ClientClosed):
            await asked


@asynchronous
async def test_closing_is_told_whatever_makes_the_requests() -> None:
    """Also where that knows nothing but to be cancelled."""

    class Slow:
        def request(self, *_: object, **more: object) -> Deferred[Any]:
            return Deferred()

    archive = client("http://archive.example.org", treq=Slow())
    asked = Deferred.fromCoroutine(archive.status(1))
    await archive.close()
    with pytest.raises(ClientClosed):
        await asked


@asynchronous
async def test_threads_end_when_the_last_has_done_its_work() -> None:
    """Not before: what waits for one when they are stopped is still done, and what comes after it."""
    from twisted.internet import reactor

    before = set(threading.enumerate())
    threads = Threads(reactor, 1)
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)

    calls = [Deferred.fromCoroutine(threads.run(each)) for each in (work, int)]
    assert begun.wait(30)
    threads.stop()
    go_on.set()
    for each in calls:
        await each
    await threads.run(int)
    for _ in range(1000):
        if not (left := {each for each in threading.enumerate() if "pacarchive-client" in each.name} - before):
            break
        await deferLater(reactor, 0.01)
    assert not left


def descriptors() -> list[str]:
    """The files of this process that are open, but for sockets and the like."""
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{each}"))
        except FileNotFoundError:
            continue
    return sorted(each for each in found if each.startswith("/"))


@asynchronous
async def test_who_cancels_over_and_over_leaves_nothing(tmp_path: Path) -> None:
    """No descriptor, no name, whenever that is."""
    from twisted.internet import reactor

    (tmp_path / "source").write_bytes(DATA * 80)
    before = descriptors()
    script = Script()
    for number in range(40):
        script.answers = [whole(CUT, length=len(DATA))[: -1 - number]]
        async with served(script) as url, client(url) as archive:
            for call in (
                archive.get(1, tmp_path / "target"),
                archive.put(1, tmp_path / "source", hash_first=False),
            ):
                under_way = Deferred.fromCoroutine(call)
                await deferLater(reactor, number / 2000)
                for _ in range(3):
                    under_way.cancel()
                with pytest.raises(CancelledError):
                    await under_way
    assert [each for each in descriptors() if each.startswith(str(tmp_path))] == []
    assert len(descriptors()) <= len(before)
    assert os.listdir(tmp_path) == ["source"]


@asynchronous
async def test_a_put_that_is_cancelled_again_waits_for_its_source() -> None:
    """What the source still does when it is cancelled the second time is over when the put is."""
    waiting: list[Deferred[None]] = []
    over: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield DATA
            await Deferred()
        finally:
            while not over:
                waiting.append(Deferred())
                with suppress(CancelledError):
                    await waiting[-1]
            over.append("closed")

    from twisted.internet import reactor

    async with served(Script()) as url, client(url) as archive:

        async def put() -> None:
            try:
                await archive.put(1, source())
            finally:
                over.append("put")

        under_way = Deferred.fromCoroutine(put())
        for _ in range(1000):
            if waiting:
                break
            await deferLater(reactor, 0.01)
            under_way.cancel()
        for _ in range(3):
            under_way.cancel()
            assert over == []
        over.append("may close")
        waiting[-1].callback(None)
        with pytest.raises(CancelledError):
            await under_way
    assert over == ["may close", "closed", "put"]


@asynchronous
async def test_a_generator_that_is_not_read_to_its_end_is_closed() -> None:
    """What it has to close is closed before put() has ended."""
    closed = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for _ in range(100):
                yield DATA
        finally:
            closed.append(True)

    script = Script()
    script.interim = [answer(413, b"{}")]
    async with served(script) as url, client(url, retry=NEVER) as archive:
        with pytest.raises(ClientError):
            await archive.put(1, pieces())
    assert closed == [True]


def test_a_watch_that_has_rung_once_does_not_go_on_about_it() -> None:
    """What ends the next wait is told as what it is."""
    clock = Clock()
    watch = Watch(clock, 5.0)
    for step, kind in ((6, Stalled), (1, CancelledError)):
        over = Deferred.fromCoroutine(watch.over(Deferred()))
        clock.advance(step)
        over.cancel()
        failures: list[Any] = []
        over.addErrback(lambda failure: failures.append(failure.value))  # noqa: B023  (called at once)
        assert type(failures[0]) is kind
    assert not clock.getDelayedCalls()


# the token


@contextmanager
def logged() -> Iterator[list[str]]:
    """All that is logged, at all levels, and all that it is made of."""
    found: list[str] = []

    @provider(ILogObserver)
    def observe(event: Any) -> None:
        found.append(f"{formatEvent(event)} {event!r}")

    globalLogPublisher.addObserver(observe)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observe)


@asynchronous
async def test_a_token_is_in_no_log_and_no_failure(tmp_path: Path) -> None:
    """Whatever goes wrong."""
    (tmp_path / "source").write_bytes(DATA * 5)
    troubles = [b"nonsense\r\n\r\n" + CLOSE, CLOSE, answer(401, b"{}"), answer(302, b"", "Location: /"), whole(CUT)]
    failures: list[str] = []
    with logged() as log:
        for trouble in troubles:
            script = Script(*[trouble] * 50)
            async with served(script) as url, client(url, token="a-secret-token") as archive:
                for call in (
                    archive.status(1),
                    archive.get(1, tmp_path / "target"),
                    archive.put(1, tmp_path / "source"),
                    archive.delete(1),
                    archive.stage([1]),
                    archive.wait_for("0" * 32),
                ):
                    try:
                        await call
                    except ClientError as error:
                        failures.append(f"{error!r} {error} {error.__cause__!r} {vars(error)!r}")
            assert all("Authorization: Bearer a-secret-token" in head for head in script.heads)
    assert len(failures) > 20
    assert log
    assert not [each for each in (*failures, *log) if "a-secret-token" in each]
