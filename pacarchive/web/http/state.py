"""What all connections of one process share: limits, turns, places, memory, counts, the log, and the drain."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Site

from pacarchive.telemetry.parts import WORDS, Event, Transfer
from pacarchive.telemetry.process import Telemetry
from pacarchive.telemetry.table import Series
from pacarchive.texts import counted, printable
from pacarchive.web.http.admission import Admission, Crowds, Pace, Place
from pacarchive.web.http.errors import ErrorAnswer
from pacarchive.web.http.ledger import Entry, Ledger
from pacarchive.web.http.memory import Holding, Memory
from pacarchive.web.http.outbox import Outbox, PostedServer
from pacarchive.web.http.plain import limits_are_usual
from pacarchive.web.http.refusals import RefusalLog, text_of
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.shares import client_of
from pacarchive.web.http.traces import Trace
from pacarchive.web.http.turns import Turns
from pacarchive.web.http.underway import transfers_of

ACCEPTS = 100
"""How many connections are accepted in one turn.  Who comes after a thousand others waits for them, whoever they are:
fewer or more would keep him waiting for longer."""

CONNECTION_COST = 200
"""What a new connection takes of a turn's allowance."""

_FIRST_PAUSE = 10.0  # between words on a drain that goes on, in seconds; each is twice the one before

_COUNTED = {"refused": ("refused_total",), "failed": ("failures_total",), "incident": ("incidents_total",)}

_log = Logger()

Quick = Callable[[Any, bytes, float], tuple[bytes, Entry] | None]
"""Takes a connection on which nothing is under way, what came over it, and the time; returns the answer, and what is
noted of it, where that is one whole request that can be answered at once."""

QuickPuts = Callable[[Any, Any, bytes], bool]
"""Takes a connection on which nothing is under way, the head of a request and its whole body; returns whether it sees
to that."""

FirstLook = Callable[[Any], ErrorAnswer | None]
"""Takes a request; returns the answer where it is refused already."""


class Connection(Protocol):
    """What is asked of a connection."""

    transport: Any
    requests: list[Any]

    def close_when_idle(self) -> None:
        """Close it as soon as nothing is under way on it."""


class Answering(Protocol):
    """What the log says of a request."""

    @property
    def client(self) -> IAddress | None:
        """Where it came from."""

    @property
    def line(self) -> str:
        """Method and target."""

    @property
    def principal(self) -> str | None:
        """Who asks, where that is known."""

    @property
    def identifier(self) -> str:
        """What it is called."""

    @property
    def trace(self) -> Trace | None:
        """The trace that it is part of."""


class SharedSite(Site):
    """
    Counts connections and what goes on in them, and drains them at the end.

    @ivar limits: The limits in force.
    @ivar first_look: Looks at each request before its route is looked for.
    @ivar reads_plain: Whether the limits let every plain head (L{pacarchive.web.http.plain}) pass.
    @ivar quick: Answers what can be answered at once, if anything can.
    @ivar quick_puts: Stores small files without a request object, if anything does.
    @ivar run: What the names of all requests begin with that are not named by others.
    @ivar new_number: Returns a number for a request, each once.
    @ivar draining: Whether the service is stopping: every answer then says that it is the connection's last.
    @ivar listening: The addresses that connections come to.
    @ivar pace: What must move of a body.
    @ivar transfers: Admits bodies in either direction.
    @ivar lookups: Admits work that looks many files up.
    @ivar listings: Admits lists of files.
    @ivar places: Admits connections.
    @ivar memory: Keeps account of what unfinished requests hold.
    @ivar turns: What all connections share of a turn of the reactor.
    @ivar outbox: Small answers on their way to their sockets.
    @ivar events: How often each kind of refusal or failure has happened.
    @ivar counts: Counts requests.
    @ivar when_over: Writes down a request that is over, where somebody wants that: a line in the access log, a span.
        Takes the request, when it ended, the code of its answer, and whether it was answered.
    @ivar ledger: What was answered at once in this turn, and is not counted yet.
    @ivar when_answered: The same as C{when_over} for all that was answered at once in a turn, where that is another.
    @ivar notes_phases: Whether requests note what takes their time, for spans.
    """

    noisy = False

    def __init__(
        self,
        resource: IResource,
        limits: LimitSettings,
        reactor: IReactorTime,
        request_factory: Callable[..., Any],
        first_look: FirstLook | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        super().__init__(
            resource,
            requestFactory=request_factory,
            timeout=limits.idle_timeout,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.limits = limits
        self.first_look = first_look
        self.quick: Quick | None = None
        self.quick_puts: QuickPuts | None = None
        self.reads_plain = limits_are_usual(limits)
        self.draining = False
        self.listening: list[IAddress] = []
        self._ports: list[Any] = []
        self._accepting: IDelayedCall | None = None
        self.turns = Turns(reactor)
        self.ledger = Ledger(self)
        self.outbox = outbox = Outbox(reactor, self.ledger.settle)

        class Transport(PostedServer):
            """What all connections of a site have in common is not kept with each of them."""

        Transport.outbox = outbox
        self._transport = Transport
        self.events: Counter[str] = Counter()
        self._refusals = RefusalLog(reactor)
        self._telemetry = Telemetry(reactor) if telemetry is None else telemetry
        self._telemetry.samples(self._sample)
        self._telemetry.transfers = self._transfers
        self.counts = self._telemetry.requests
        self.when_over: Callable[[Any, float, int, bool], None] | None = None
        self.when_answered: Callable[[list[Entry]], None] | None = None
        self.notes_phases = False
        self.seconds = reactor.seconds
        self.run = secrets.token_hex(8)
        self.new_number = count(1).__next__
        self.pace = Pace.of(limits)
        crowds = Crowds(limits.proxies)
        share = limits.client_share
        self._crowds = crowds
        self.transfers = Admission("transfers under way", "[limits] transfers", limits.transfers, share, crowds)
        self.lookups = Admission("files being looked up", "[limits] lookups", limits.lookups, share, crowds)
        self.listings = Admission("lists of files under way", "[limits] listings", limits.listings, share, crowds)
        self.memory = Memory(limits, crowds)
        self.places = Admission("connections", "[limits] connections", limits.connections, share, crowds)
        self._connections: dict[Connection, Place] = {}
        self._drained: Deferred[None] | None = None

    def logPrefix(self) -> str:
        """What Twisted says that it starts."""
        return "pacarchive"

    def startFactory(self) -> None:
        """There is no access log of twisted.web's to open."""

    def stopFactory(self) -> None:
        """Nor one to close."""

    def log(self, request: http.Request) -> None:
        """Successful requests are not logged: a line a request costs a quarter of the rate."""

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS offers to speak (ALPN).  Twisted's own adds HTTP/2 as soon as the package h2 is installed."""
        return [b"http/1.1"]

    def listens(self, port: IListeningPort) -> None:
        """Note that connections come to a port."""
        self.listening.append(port.getHost())
        self._ports.append(port)
        if isinstance(port, Port) and port.transport is Server:  # not that of a UNIX socket
            port.transport = self._transport
        self._accept_few()

    def _accept_few(self) -> None:
        # A port takes more each time that as many as it takes are there: up to 50 ms of a turn, and more.
        self._accepting = None
        for port in self._ports:
            port.numberAccepts = ACCEPTS

    def new_identifier(self) -> str:
        """What a request is called that nobody has named; no two are called the same, of whatever process."""
        return self.name_of(self.new_number())

    def name_of(self, number: int) -> str:
        """What a request is called that has a number."""
        return f"{self.run}-{number:x}"

    def connection_made(self, channel: Connection) -> Holding:
        """
        A connection begins.

        @return: What it holds in memory.
        """
        if self._ports and self._accepting is None:
            self._accepting = self.reactor.callLater(0, self._accept_few)
        self.turns.spend(CONNECTION_COST)
        peer = channel.transport.getPeer()
        self._connections[channel] = self.places.enter(peer)
        return self.memory.holding(peer)

    def connection_lost(self, channel: Connection) -> None:
        """A connection has ended."""
        self.ledger.settle()  # it may have been the last one that there is a turn for
        if (place := self._connections.pop(channel, None)) is not None:
            place.rest()
        if not self._connections and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def is_crowd(self, peer: IAddress | None) -> bool:
        """Whether many clients come from an address."""
        return client_of(peer) in self._crowds

    def refused(self, kind: str, peer: IAddress | None, message: str, request: Answering | None = None) -> None:
        """Count and log what a client did wrong, or what a limit refused."""
        words = printable(message)
        self._note("refused", kind, words, peer, request)
        self._refusals.note(kind, _spoken(peer), words, _names(request))

    def left(self, request: Answering) -> None:
        """Count and log that a client has broken off what it was being sent."""
        self.events["left"] += 1
        self._telemetry.counts.add("refused_total", "left")
        if not self._refusals.admits("left"):
            return
        peer = _spoken(request.client)
        names = _names(request)
        text = f"left {{peer}}: {{line}}: the client has broken the download off{text_of(names)}"
        _log.info(text, peer=peer, line=request.line, **names)

    def failed(self, kind: str, request: Answering, error: Exception) -> None:
        """Count and log what the archive could not do."""
        words, cause = str(error), str(error.__cause__ or "")
        if cause and cause not in words:
            words = f"{words} ({cause})"
        words = f"{request.line}: {printable(words)}"
        self._note("failed", kind, words, request.client, request)
        peer, names = _spoken(request.client), _names(request)
        _log.error(f"failed ({{kind}}) {{peer}}: {{words}}{text_of(names)}", kind=kind, peer=peer, words=words, **names)

    def incident(self, what: str, reason: Failure, request: Answering | None = None) -> str:
        """
        Count and log a failure that nobody foresaw.

        @param request: Of which request, where it is one's.
        @return: The identifier by which it is found in the log.
        """
        identifier = uuid.uuid4().hex[:12]
        peer = None if request is None else request.client
        self._note("incident", "incident", f"{what}, {identifier}", peer, request)
        names: dict[str, Any] = {**_names(request)}
        text = f"incident {{incident}}: {{what}}{text_of(names)}"
        _log.failure(text, failure=reason, incident=identifier, what=what, **names)
        return identifier

    def answered_early(self, request: Any, method: bytes, status: int) -> None:
        """
        Count an answer that no route has given.

        @param request: To which request, where there is one.
        """
        if request is not None and request.began:
            request.code, request.startedWriting = status, 1
            request.note_end(answered=True)
        else:
            self.counts.ended(method, status)

    def _note(self, outcome: str, kind: str, words: str, peer: IAddress | None, request: Answering | None) -> None:
        """Count what is logged, and keep it for those who look."""
        self.events[kind] += 1
        self._telemetry.counts.add(*_COUNTED[outcome], *([] if outcome == "incident" else [kind]))
        address = str(getattr(peer, "host", "local"))
        principal, identifier = (None, None) if request is None else (request.principal, request.identifier)
        self._telemetry.note(Event(self.seconds(), outcome, kind, words[:WORDS], address, principal, identifier))

    def _sample(self) -> Iterator[tuple[Series, float]]:
        yield ("http_requests_in_flight",), float(sum(bool(each.requests) for each in self._connections))
        yield ("memory_held_bytes",), float(self.memory.shares.held)
        yield ("memory_limit_bytes",), float(self.memory.shares.total)
        yield ("turns_waiting",), float(self.turns.waiting)
        admitted = {
            "connections": self.places,
            "transfers": self.transfers,
            "lookups": self.lookups,
            "listings": self.listings,
        }
        for name, admission in admitted.items():
            yield (name,), float(admission.shares.held)
            yield (f"{name}_limit",), float(admission.shares.total)

    def _transfers(self) -> list[Transfer]:
        return transfers_of(request for channel in self._connections for request in channel.requests)

    def drain(self, limit: float) -> Deferred[None]:
        """
        Let requests that are under way finish, and close every connection.  The log has how many are waited for.

        @param limit: Seconds after which what is left is cut.
        @return: Fires when no connection is left.
        """
        self.draining = True
        done: Deferred[None] = Deferred()
        for channel in list(self._connections):
            channel.close_when_idle()
        if not self._connections:
            self._refusals.close()
            done.callback(None)
            return done
        self._drained = done
        deadline: IDelayedCall = self.reactor.callLater(limit, self._cut)

        def say(pause: float) -> None:
            if count := sum(bool(channel.requests) for channel in self._connections):
                left = max(0.0, deadline.getTime() - self.reactor.seconds())
                words = counted(count, "request")
                _log.info("stopping: waits for {words}, at most {left:.0f} s more", words=words, left=left)
            calls[1] = self.reactor.callLater(pause, say, 2 * pause)

        def stop_clock(result: None) -> None:
            for each in calls:
                if each.active():
                    each.cancel()
            self._refusals.close()

        # What ends at once, as requests that wait for a file from tape do, is not worth a word.
        calls: list[IDelayedCall] = [deadline, self.reactor.callLater(0, say, _FIRST_PAUSE)]
        return done.addCallback(stop_clock)

    def _cut(self) -> None:
        _log.warn("cutting {count} connections at the end of the drain", count=len(self._connections))
        for channel in list(self._connections):
            channel.transport.abortConnection()


def _names(request: Answering | None) -> dict[str, str]:
    """What a request is called, for the log."""
    if request is None:
        return {}
    trace = request.trace
    return {"request_id": request.identifier, **({} if trace is None else {"trace_id": trace.trace})}


def _spoken(peer: IAddress | None) -> str:
    host, port = getattr(peer, "host", None), getattr(peer, "port", None)
    return f"{host}:{port}" if host is not None else "local"
