"""
A server in memory for the tests of the HTTP face: no sockets, no threads, no time but the clock's.

L{Server} is the real site and application over L{doubles.Archive}, or over any other backend.  A L{Client} is one
connection to it, whose transport behaves as a socket does: it delivers nothing while it is paused, and a connection
that was closed is lost in a later turn of the reactor.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from conformance import contract
from doubles import NOW, Archive, FakeAudit, FakeRecalls, InstantPool
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from pacarchive.access.gate import Gate
from pacarchive.access.policy import Policy
from pacarchive.access.rights import EVERYTHING
from pacarchive.backends.local.archive import LocalArchive
from pacarchive.backends.local.tree import FileTree
from pacarchive.interfaces import IArchiveBackend
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.server import Compatibility, ServerSettings
from pacarchive.telemetry import rendering
from pacarchive.web.application import archive_site
from pacarchive.web.context import RouteContext
from pacarchive.web.download import Sender
from pacarchive.web.http.channel import ArchiveChannel
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.recall.engine import RecallEngine
    from pacarchive.telemetry.audit import AuditLog

T = TypeVar("T")

rendering.prepare()  # which a server does in a thread, and this one has none

HOST = "archive"
"""What requests call the server; it knows that name."""

DATA = b"0123456789abcdefghijklmnopqrstuvwxyz"
"""The 36 bytes of most examples in the wire contract."""


@attrs.frozen
class Answer:
    """One parsed answer."""

    status: int
    line: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """All values of a header field, whose name is compared as it is written."""
        return [value for field, value in self.fields if field == name]

    def field(self, name: str) -> str | None:
        """The value of a header field that comes at most once."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether it says that it is the last of its connection."""
        return self.field("Connection") == "close"

    @property
    def error(self) -> dict[str, str]:
        """The document of an error, checked for what all of them have in common."""
        assert self.field("Content-Type") == "application/json"
        document: dict[str, str] = json.loads(self.body)
        assert list(document) == ["status", "message", "traceback", "version"]
        assert document["status"] == self.line.partition(" ")[2]
        assert "Traceback" not in document["traceback"]
        return document


def open_gate(clock: IReactorTime) -> Gate:
    """One that lets everyone do everything."""
    return Gate(clock, Policy(EVERYTHING, {}))


def read_answer(data: bytes, method: str = "GET") -> tuple[Answer, bytes]:
    """
    Parse one answer, as strictly as a client could.

    @param method: The request's, as it decides whether there is a body.
    @return: The answer, and what follows it.
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    assert blank, f"no complete head: {data!r}"
    line, *lines = head.decode("latin-1").split("\r\n")
    assert line.startswith("HTTP/1."), line
    status = int(line.split(" ")[1])
    pairs = [each.partition(": ") for each in lines]
    fields = tuple((name, value) for name, _, value in pairs)
    names = [name.lower() for name, _ in fields]
    assert len(names) == len(set(names)), f"a field comes twice: {names}"
    header = {name.lower(): value for name, value in fields}
    if status < 200 or status in (204, 304) or method == "HEAD":
        assert "transfer-encoding" not in header
        body = b""
    elif header.get("transfer-encoding") == "chunked":
        raise AssertionError("no answer of this server has an unknown length")
    elif "content-length" in header:
        length = int(header["content-length"])
        body, rest = rest[:length], rest[length:]
        assert len(body) == length, f"cut off: {len(body)} of {length} bytes"
    else:
        raise AssertionError("the length of the body cannot be told")
    return Answer(status, line, fields, body), rest


def compose(method: str, target: str, *fields: str, body: bytes | None = None, host: str | None = HOST) -> bytes:
    """Write a request; a body has its C{Content-Length} unless the fields say C{Transfer-Encoding}."""
    lines = [f"{method} {target} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += fields
    if body is not None and not any(field.lower().startswith("transfer-encoding") for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*pieces: bytes, trailers: Sequence[str] = ()) -> bytes:
    """A body in chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return framed + "\r\n".join(["0", *trailers, "", ""]).encode("latin-1")


class Transport(StringTransport):
    """
    A socket's behaviour.

    @ivar room: How many bytes the client lets pile up before the producer is paused; C{None} for any number.
    @ivar half_closed: The server has ended its side.
    @ivar closed: C{"closed"} or C{"aborted"} once the server has let go.
    """

    bufferSize = 1 << 16
    protocol: Any

    def __init__(self, server: Server, host: str) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            lenient=True, peerAddress=IPv4Address("TCP", host, 54321)
        )
        self._server = server
        self.room: int | None = None
        self.unread = 0
        self.half_closed = False
        self.closed = ""
        self.lost = False
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.closed == "aborted" or self.half_closed or self.lost:
            return  # but what is written after loseConnection goes out, as it does from a socket
        super().write(data)  # type: ignore[no-untyped-call]
        self.unread += len(data)
        if self.room is not None and self.unread >= self.room and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, iovec: Sequence[bytes]) -> None:
        self.write(b"".join(iovec))

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self._close("closed", ConnectionDone())

    def abortConnection(self) -> None:
        self._close("aborted", ConnectionAborted())

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def _close(self, how: str, reason: Exception) -> None:
        if not self.closed and not self.lost:
            self.closed = how
            self.disconnecting = True
            self._server.clock.callLater(0, self.lose, reason)

    def lose(self, reason: Exception) -> None:
        """The connection is over."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason))
            if self._pair is not None:
                for end in self._pair:
                    end.close()

    def fileno(self) -> int:
        """A descriptor whose unsent bytes the test decides about (L{kernel})."""
        return self._sockets()[0].fileno()

    @property
    def kernel(self) -> tuple[socket.socket, socket.socket]:
        """Our end, and the peer's, of what stands for the socket's buffer in the kernel."""
        return self._sockets()

    def _sockets(self) -> tuple[socket.socket, socket.socket]:
        if self._pair is None:
            self._pair = socket.socketpair()
        return self._pair


class Client:
    """One connection, from an address."""

    def __init__(self, server: Server, host: str = "192.168.1.1") -> None:
        self._server = server
        self.transport = Transport(server, host)
        self._outbox = b""
        self.protocol = self.transport.protocol = self.make_protocol()
        self.protocol.makeConnection(self.transport)

    def make_protocol(self) -> Any:
        """That of the server's side."""
        return self._server.site.buildProtocol(self.transport.getPeer())  # type: ignore[no-untyped-call]

    @property
    def connected(self) -> bool:
        """Whether the server has neither closed nor half-closed."""
        return not (self.transport.closed or self.transport.half_closed or self.transport.lost)

    def send(self, data: bytes = b"", piece: int | None = None) -> Client:
        """
        Send bytes; those that a paused server does not take yet go out with the next call.

        @param piece: The most that arrives at once; what the server asks the socket for if C{None}.
        """
        self._outbox += data
        transport = self.transport
        while self._outbox and transport.producerState == "producing" and not transport.closed and not transport.lost:
            size = piece or transport.bufferSize
            some, self._outbox = self._outbox[:size], self._outbox[size:]
            self.protocol.dataReceived(some)
            self._server.pass_turns()
        return self

    @property
    def unsent(self) -> int:
        """How many bytes the server has not taken."""
        return len(self._outbox)

    def take(self) -> bytes:
        """All that came since the last call."""
        data: bytes = self.transport.value()  # type: ignore[no-untyped-call]
        self.transport.clear()  # type: ignore[no-untyped-call]
        return data

    def answers(self, *methods: str) -> list[Answer]:
        """All that came since the last call, parsed; the methods are those of the final answers, C{GET} beyond."""
        data, found, expected = self.take(), [], list(methods)
        while data:
            interim = data.startswith(b"HTTP/1.1 100 ")
            answer, data = read_answer(data, "GET" if interim or not expected else expected.pop(0))
            found.append(answer)
        return found

    def ask(self, method: str, target: str, *fields: str, body: bytes | None = None, host: str | None = HOST) -> Answer:
        """Send a request and return its one answer, which is one that the description of the API has."""
        self.send(compose(method, target, *fields, body=body, host=host))
        self._server.finish_work()
        (answer,) = self.answers(method)
        if answer.status < 400 or self._server.settings.compatibility is Compatibility.NONE:
            header = {name.lower(): value for name, value in answer.fields}
            contract().check(method, target, answer.status, header, answer.body)
        return answer

    def end(self) -> None:
        """Send no more, but go on reading."""
        self.protocol.readConnectionLost()

    def hang_up(self, reason: Exception | None = None) -> None:
        """Be gone."""
        self.transport.lose(reason or ConnectionLost())
        self._server.pass_turns()


class Server:
    """
    The site and the application.

    @ivar archive: The backend.
    @ivar recalls: The recall engine.
    @ivar logged: All log events since the start.
    """

    def __init__(
        self,
        backend: Callable[[Clock], IArchiveBackend] = Archive,
        *,
        limits: LimitSettings | None = None,
        recall: RecallSettings | None = None,
        gate: Callable[[Clock], Gate] | None = None,
        console: ConsoleSettings | None = None,
        audit: FakeAudit | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.archive: Any = backend(self.clock)
        self.limits = limits or LimitSettings()
        self.settings = ServerSettings(**{"hosts": (HOST,), **settings})
        sender = Sender(
            self.clock,
            InstantPool(),
            self.settings.verify_reads,
            self.limits,
        )
        self.recalls = FakeRecalls(self.clock)
        self.application = RouteContext(
            self.archive,
            sender,
            self.settings,
            self.limits.body,
            self.clock,
            cast("RecallEngine", self.recalls),
            recall or RecallSettings(),
            (gate or open_gate)(self.clock),
            audit=cast("AuditLog | None", audit),
            console=console or ConsoleSettings(),
        )
        self.site = archive_site(self.application, self.limits, self.clock)
        self.clients: list[Client] = []
        self.logged: list[LogEvent] = []
        self._observer = cast("ILogObserver", self.logged.append)
        globalLogPublisher.addObserver(self._observer)

    def connect(self, *host: str) -> Client:
        """Make a connection; from a certain address, if that matters."""
        client = Client(self, *host)
        self.clients.append(client)
        return client

    def ask(self, method: str, target: str, *fields: str, body: bytes | None = None, host: str | None = HOST) -> Answer:
        """Send a request on its own connection, and see that this goes on, or that the answer says it does not."""
        client = self.connect()
        answer = client.ask(method, target, *fields, body=body, host=host)
        assert answer.closes != client.connected
        client.hang_up()
        return answer

    def words(self) -> list[str]:
        """All log events as text."""
        return [formatEvent(event) for event in self.logged]

    def failures(self) -> list[Failure]:
        """The failures that were logged; a test that expects some takes them with this."""
        # Klein and what else uses the older log have another name for them.
        names = ("log_failure", "failure")
        failures = [event[name] for event in self.logged for name in names if isinstance(event.get(name), Failure)]
        self.logged[:] = [event for event in self.logged if not event.keys() & set(names)]
        return failures

    def turn(self) -> None:
        """One turn of the reactor; C{Clock.advance} goes on until there is nothing to do."""
        now = self.clock.seconds()
        for call in [call for call in self.clock.calls if call.getTime() <= now]:
            if call.active():
                self.clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def pass_turns(self) -> None:
        """Let as many turns of the reactor pass as connections have put off the reading of what came to the next."""
        self._turn_while(lambda: any(isinstance(each, ArchiveChannel) for each in self.site.turns._clients))

    def finish_work(self) -> None:
        """Let as many turns pass as there is work that was put off to the next, whosever."""
        self._turn_while(lambda: bool(self.site.turns.waiting))

    def _turn_while(self, condition: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if not condition():
                return
            self.clock.advance(0)
        raise AssertionError("work is put off for ever")

    def stop(self) -> None:
        """Release the backend, and observe the log no more."""
        globalLogPublisher.removeObserver(self._observer)
        self.archive.stopService()

    def check(self) -> None:
        """See that nothing is left of any request."""
        for client in self.clients:
            client.hang_up()
        self.finish_work()
        self.clock.advance(0)
        assert not self.failures()
        assert not self.recalls.waiting, "somebody still waits for a file"
        assert not self.recalls.followers, "somebody still follows a job"
        if isinstance(self.archive, Archive):
            assert not self.archive.unended, "an incoming file was neither committed nor aborted"
            assert not self.archive.unclosed, "a stored file was not closed"
        assert self.site.drain(1).called, "a connection is still counted"
        assert not self.clock.getDelayedCalls()
        site = self.site
        for each in (site.memory, site.transfers, site.lookups, site.listings, site.places):
            assert not each.shares.held, "something is still held"


def come_of(server: Server, client: Client, *pieces: bytes) -> tuple[bytes, bool, object, object, object]:
    """
    What comes of bytes, with all that tells one server from another like it put away: the answers, what becomes of the
    connection, of the storage, and what was counted.
    """
    for each in pieces:
        client.send(each)
        server.finish_work()
    answers = re.sub(rb"(?m)^(Date: [^\r]*|X-Request-Id: [0-9a-f]{16}-[0-9a-f]+)\r$", b"x\r", client.take())
    counted = {
        series: sum(numbers[:-1]) if len(numbers) > 1 else numbers[0]
        for series, numbers in server.application.telemetry.counts.read().items()
    }
    return answers, client.connected, list(server.archive.calls), counted, dict(server.site.events)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Start a server's backend, and check at the end that nothing is left of the requests."""
    server.archive.startService()
    try:
        yield server
        server.check()
    finally:
        server.stop()


def disk_backend(prefix: Path, clock: Clock) -> IArchiveBackend:
    """The posix backend over a directory, without threads."""
    return LocalArchive(FileTree(prefix, str, [prefix]), InstantPool(), clock)


def disk_server(prefix: Path, **settings: Any) -> Server:
    """A server over a directory; to be started and stopped by its user."""
    return Server(partial(disk_backend, prefix), **settings)


def result_of(awaitable: Awaitable[T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    results: list[T] = []

    async def run() -> None:
        results.append(await awaitable)

    Deferred.fromCoroutine(run())
    return results[0]
