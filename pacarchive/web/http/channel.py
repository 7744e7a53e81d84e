"""HTTP/1.1 connections: strict framing, and time limits.

L{pacarchive.web.http.request}, L{pacarchive.web.http.intake} and this module are the only ones that touch Twisted's
private names; C{tests/web/test_protocol.py} guards an upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import server
from zope.interface import implementer

from pacarchive import errors
from pacarchive.web.http.answers import last_answer
from pacarchive.web.http.authority import ABSOLUTE, AUTHORITY
from pacarchive.web.http.intake import IntakeChannel
from pacarchive.web.http.sockets import has_ended, unsent
from pacarchive.web.http.turns import LINE_COST, REQUEST_COST

if TYPE_CHECKING:
    from pacarchive.web.http.body import RequestBody
    from pacarchive.web.http.state import SharedSite

LOOK_FOR_END = 0.1
"""How often the end of a peer that is held back is looked for, in seconds, where work would end with it."""

_LENGTH_DIGITS = 20  # beyond 2**64 anyway, and what int() refuses to read would be an exception
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]{1,32}\Z")  # no small letters: the router takes "get" for "GET"


@implementer(IHalfCloseableProtocol)
class ArchiveChannel(IntakeChannel):
    """
    One connection.

    A line that ends in a bare LF, a folded header line, a missing or doubled C{Host}, and every doubt about where a
    body ends are refused and the connection closed (RFC 9112, sections 2.2, 3.2, 5.2 and 6.3): an intermediary may read
    them differently.

    @ivar settled_host: The C{Host} of the last request for which it was seen to be this server's.
    """

    site: SharedSite
    transport: Any
    settled_host: bytes | None = None
    _head_deadline: IDelayedCall | None = None
    _lingering: IDelayedCall | None = None
    _refused = False
    _peer_ended = False
    _when_peer_ends: Callable[[], None] | None = None
    _end_watch: IDelayedCall | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self._secure = bool(super().isSecure())
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpKeepAlive(True)
        self.held = self.site.connection_made(self)

    def isSecure(self) -> bool:
        return self._secure  # asked several times a request, and an interface look-up each time

    def watch_head(self) -> None:
        """Look at what is left when no more whole lines are there: part of a request's head, or nothing."""
        rest = self._buffer
        if b"\n" in rest:
            self.refuse(HTTPStatus.BAD_REQUEST, "Lines end in CR LF.")
        elif rest or self.requests:
            if self._head_deadline is None:
                self._head_deadline = self.callLater(self.site.limits.header_timeout, self._head_too_slow)
        else:
            self._head_is_complete()

    def _head_too_slow(self) -> None:
        self._head_deadline = None
        self.in_turn(self._refuse_slow_head)

    def _refuse_slow_head(self) -> None:
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, "The head of the request took too long.")

    def _head_is_complete(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def lineReceived(self, line: bytes) -> None:
        if self._refused:
            return
        self.site.turns.spend(LINE_COST)
        first = not hasattr(self, "_command")
        if b"\n" in line or b"\r" in line or b"\0" in line:
            self.refuse(HTTPStatus.BAD_REQUEST, "A control character is in the head of the request.")
        elif first:
            if len(line) > self.site.limits.request_line:
                self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "The request line is too long.")
            elif line and not (len(parts := line.split(b" ")) == 3 and all(parts) and _METHOD.match(parts[0])):
                self.refuse(HTTPStatus.BAD_REQUEST, "The request line is malformed.")
            elif line and parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
                self.refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "This server speaks HTTP/1.1.")
            else:
                super().lineReceived(line)
        elif line[:1] in (b" ", b"\t"):
            self.refuse(HTTPStatus.BAD_REQUEST, "A header field is folded.")
        elif self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The header fields are too large.")
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        if hasattr(self, "_command"):
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "A header field is too long.")
        else:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "The request line is too long.")

    def headerReceived(self, line: bytes) -> bool:
        if self._refused:
            return False
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many header fields.")
            return False
        if line[:15].lower() == b"content-length:" and len(line[15:].strip(b" \t")) > _LENGTH_DIGITS:
            self.refuse(HTTPStatus.BAD_REQUEST, "The Content-Length is not a number of bytes.")
            return False
        if line[:18].lower() == b"transfer-encoding:" and line[18:].strip(b" \t").lower() != b"chunked":
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "The only transfer coding that this server knows is chunked.")
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        if self._refused:
            return
        self._head_is_complete()
        fields = self.requests[-1].requestHeaders
        hosts = fields.getRawHeaders(b"host") or []
        self.site.turns.spend(REQUEST_COST)
        self.held.set("head", self._receivedHeaderSize)
        self.choose_decoder()
        if len(hosts) > 1 or (not hosts and self._version == b"HTTP/1.1"):
            self.refuse(HTTPStatus.BAD_REQUEST, "A request has one Host.")
        elif hosts and AUTHORITY.match(hosts[0]) is None:
            self.refuse(HTTPStatus.BAD_REQUEST, "The Host is malformed.")
        elif self.length is None and self._version != b"HTTP/1.1":
            self.refuse(HTTPStatus.BAD_REQUEST, "A transfer coding needs HTTP/1.1.")
        elif (absolute := ABSOLUTE.match(self._path)) is None:
            super().allHeadersReceived()
        elif AUTHORITY.match(absolute[1]) is None or absolute[1][:1] in (b"", b":"):
            self.refuse(HTTPStatus.BAD_REQUEST, "The host in the target is malformed.")
        else:
            # The target's host is the one, whatever Host says (RFC 9112, section 3.2.2): now both do.
            fields.setRawHeaders(b"host", [absolute[1]])
            path = self._path[absolute.end() :]
            self._path = path if path.startswith(b"/") else b"/" + path
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if not self._refused:
            super().allContentReceived()

    def checkPersistence(self, request: server.Request, version: bytes) -> bool:
        fields = b",".join(request.requestHeaders.getRawHeaders(b"connection") or ()).lower()
        options = [option.strip() for option in fields.split(b",")]
        if version == b"HTTP/1.1" and b"close" not in options and not self.site.draining:
            return True
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(HTTPStatus.BAD_REQUEST, "The head of the request, or the framing of its body, is malformed.")

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """
        Answer a request that cannot be trusted to end where it seems to, and close the connection.
        """
        self._end_input("framing", errors.IncompleteBody(message), status, last_answer(status, message))

    def overload(self, error: errors.Overloaded) -> None:
        again = f"Retry-After: {error.retry_after}"
        status = HTTPStatus.SERVICE_UNAVAILABLE
        self._end_input("memory", error, status, last_answer(status, str(error), again))

    def _end_input(self, kind: str, error: errors.ArchiveError, status: HTTPStatus, answer: bytes) -> None:
        """
        Read no more, and close the connection behind the answer.

        @param kind: What it is counted as.
        @param error: For the route that is reading a body, if there is one: it gives the answer.
        @param status: That of...
        @param answer: ...the answer of nobody.
        """
        if self._refused:
            return
        self._refused = True
        self._head_is_complete()
        self.forget_input()
        self.site.refused(kind, self.transport.getPeer(), str(error))
        if (request := self.requests[-1] if self.requests else None) is not None and request.begun:
            self.persistent = False
            if not request.body_failed(error):
                self.linger()
            return
        self.transport.write(answer)
        self.site.answered_early(request, getattr(self, "_command", b""), status)
        self.linger()

    def linger(self) -> None:
        """
        Close without a reset: half-close, read on for a while and throw it away, then cut the connection.

        Closing with unread bytes in the socket would reset it, and the peer could lose the answer (RFC 9112, section
        9.6).
        """
        if self._lingering is not None:
            return
        self.setTimeout(None)
        if self._peer_ended:  # it sends no more: there is nothing to read
            self.loseConnection()
            return
        self._networkProducer.resumeProducing()  # it may be held back
        if not self.isSecure() or hasattr(self.transport, "carrier"):  # Twisted's TLS says that it can, and cannot
            self._networkProducer.unregisterProducer()
            self.transport.loseWriteConnection()
        self._lingering = self.callLater(self.site.limits.linger_timeout, self._cut)

    def _cut(self) -> None:
        self._lingering = None
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """
        Close when all that was written is out; what still comes is thrown away.

        What the peer does not take would keep the connection for ever, and over TLS a peer that does not end its side
        too: it is cut when as little moves as in no transfer may.
        """
        self._refused = True
        self.forget_input()
        self._networkProducer.resumeProducing()  # else the peer's end is not seen
        if self._lingering is None:
            self._lingering = self.callLater(self.site.pace.seconds, partial(self._cut_unless_it_takes, None))
        super().loseConnection()

    def _cut_unless_it_takes(self, before: int | None) -> None:
        left = unsent(self.transport.fileno())
        # The first time, there may have been more than the socket holds.
        if left and (before is None or before - left >= self.site.pace.least):
            self._lingering = self.callLater(self.site.pace.seconds, partial(self._cut_unless_it_takes, left))
        else:
            self._cut()

    def close_when_idle(self) -> None:
        """Close now if no request is under way, else after its answer."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()

    def _incoming_body(self) -> RequestBody | None:
        """The body that bytes are awaited of."""
        if self.line_mode or not self.requests:
            return None
        body: RequestBody | None = getattr(self.requests[-1], "body", None)
        return body

    def resetTimeout(self) -> None:
        """A body gets new time when enough of it has come (L{Pace}); a byte now and then is not enough."""
        if (body := self._incoming_body()) is not None:
            if body.received - body.timed < self.site.pace.least:
                return
            body.timed = body.received
        super().resetTimeout()

    def timeoutConnection(self) -> None:
        if self._is_storing or self.site.turns.has(self):  # it is not the peer who is slow
            self.setTimeout(self.timeOut)
        else:
            self.in_turn(self._time_out)

    def _time_out(self) -> None:
        if not self.requests:
            self.loseConnection()
            return
        body = self._incoming_body()
        if body is not None and (moved := body.received - body.timed):
            if moved >= self.site.pace.least:
                body.timed = body.received
                self.setTimeout(self.timeOut)
                return
            self.persistent = False
            self.site.counts.aborted("in", "timeout")
            words = self.site.pace.words("The request's body moved", moved)
            if not self.requests[-1].body_failed(errors.TooSlow(words)):
                self.linger()
            return
        request = self.requests[-1]
        line = f"{request.line}: " if request.begun else ""
        request.broken_by = "timeout"
        self.site.refused("stalled", self.transport.getPeer(), f"{line}No byte moved for too long.")
        self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """The peer sends no more.  It may still read: what came whole is answered, and a body cut short too."""
        self._peer_ended = True
        self.in_turn(self._peer_has_left)

    def _peer_has_left(self) -> None:
        if self._when_peer_ends is not None:
            self._when_peer_ends()
        self.nothing_follows()

    def nothing_follows(self) -> None:
        if self._handlingRequest or self.has_input():
            return  # not all that came has been looked at; then this is asked again
        if self._lingering is not None or not self.requests:
            self.loseConnection()
        elif (request := self.requests[-1]).begun or (not self.line_mode and self._command == b"PUT"):
            self.persistent = False
            self.site.counts.aborted("in", "client")
            if not request.body_failed(errors.IncompleteBody("The body ended before it was complete.")):
                self.loseConnection()  # the answer is out already, and nobody sends the rest
        else:
            self.refuse(HTTPStatus.BAD_REQUEST, "The request ended before it was complete.")
            self.loseConnection()

    @property
    def peer_has_ended(self) -> bool:
        """Whether the peer sends no more, also when it cannot be told by reading."""
        return self._peer_ended or (self._held_back and has_ended(self.transport.fileno()))

    @contextmanager
    def when_peer_ends(self, call: Callable[[], None]) -> Iterator[None]:
        """Have something called when the peer has ended its side; at once if it has already."""
        self._when_peer_ends = call
        try:
            if self.peer_has_ended:
                call()
            else:
                self.watch_end()
            yield
        finally:
            self._when_peer_ends = None
            self._stop_watching()

    def watch_end(self) -> None:
        if self._held_back and self._when_peer_ends is not None and self._end_watch is None:
            self._end_watch = self.callLater(LOOK_FOR_END, self._look_for_end)

    def _look_for_end(self) -> None:
        self._end_watch = None
        if self._held_back and self.peer_has_ended and self._when_peer_ends is not None:
            self._when_peer_ends()
        else:
            self.watch_end()

    def _stop_watching(self) -> None:
        if self._end_watch is not None:
            self._end_watch.cancel()
            self._end_watch = None

    def writeConnectionLost(self) -> None:
        """L{linger} did this."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._head_is_complete()
        self._stop_watching()
        self.stop_timer()
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._refused = self._peer_ended = True
        self._owed.clear()
        self.forget_input()
        # Requests learn at once that there is no connection any more, and are cancelled in their turn.
        super().connectionLost(reason)
        if self._owed:
            self._owed.append(self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        self.held.let_go()
        self.site.connection_lost(self)
