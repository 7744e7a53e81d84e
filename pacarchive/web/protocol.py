"""HTTP/1.1 connections: requests that begin when their headers are complete, strict framing, and time limits.

L{twisted.web.http} calls a route when the last byte of a body has come.  Here L{ArchiveRequest.gotLength} starts the
route, so that a refusal costs no body and a body is never spooled.  These two classes are the only ones that touch
Twisted's private names; C{tests/web/test_protocol.py} guards an upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel, datetimeToString
from zope.interface import implementer

from pacarchive import __version__, errors
from pacarchive.web.body import RequestBody
from pacarchive.web.errors import error_body, unexpected_answer
from pacarchive.web.routing import ALLOW

if TYPE_CHECKING:
    from pacarchive.web.site import ArchiveSite

READ_SIZE = 1 << 20
"""How much is asked of the socket at once while a large body comes in."""

AT_ONCE = 16 << 10
"""Bodies up to this size are waited for before the route starts."""

DRAIN_LIMIT = 256 << 10
"""How much of an unwanted body is read to keep the connection; beyond, closing is cheaper."""

_ALLOW = ALLOW.encode("ascii")
_SERVER = f"pacarchive/{__version__}".encode("ascii")
_LENGTH_DIGITS = 20  # beyond 2**64 anyway, and what int() refuses to read would be an exception
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?\Z")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]{1,32}\Z")  # no small letters: the router takes "get" for "GET"
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

_log = Logger()


@implementer(IHalfCloseableProtocol)
class ArchiveChannel(HTTPChannel):
    """
    One connection.

    A line that ends in a bare LF, a folded header line, a missing or doubled C{Host}, and every doubt about where a
    body ends are refused and the connection closed (RFC 9112, sections 2.2, 3.2, 5.2 and 6.3): an intermediary may read
    them differently.
    """

    site: ArchiveSite
    transport: Any
    _networkProducer: Any
    abortTimeout = 15
    _head_deadline: IDelayedCall | None = None
    _lingering: IDelayedCall | None = None
    _refused = False
    _peer_ended = False

    def connectionMade(self) -> None:
        limits = self.site.limits
        self.totalHeadersSize = limits.request_line + limits.header_bytes
        self.maxHeaders = limits.header_count
        self.MAX_LENGTH = max(limits.request_line, limits.header_bytes)
        super().connectionMade()
        self._secure = bool(super().isSecure())
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpKeepAlive(True)
        self.site.connection_made(self)

    def isSecure(self) -> bool:
        return self._secure  # asked several times a request, and an interface look-up each time

    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        super().dataReceived(data)
        # While lines are being read, this call is only the rest of a pipeline that the end of an answer hands back.
        if self.line_mode and not self._refused and not self._busyReceiving:
            self._watch_head()

    def _watch_head(self) -> None:
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
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, "The head of the request took too long.")

    def _head_is_complete(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def rawDataReceived(self, data: bytes) -> None:
        if not self._refused:
            super().rawDataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if self._refused:
            return
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
            self.refuse(HTTPStatus.BAD_REQUEST, "The Content-Length is no number of bytes.")
            return False
        if line[:18].lower() == b"transfer-encoding:" and line[18:].strip(b" \t").lower() != b"chunked":
            self.refuse(HTTPStatus.NOT_IMPLEMENTED, "The only transfer coding that this server knows is chunked.")
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        if self._refused:
            return
        self._head_is_complete()
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"host") or []
        if len(hosts) > 1 or (not hosts and self._version == b"HTTP/1.1"):
            self.refuse(HTTPStatus.BAD_REQUEST, "A request has one Host.")
        elif hosts and _HOST.match(hosts[0]) is None:
            self.refuse(HTTPStatus.BAD_REQUEST, "The Host is malformed.")
        elif self.length is None and self._version != b"HTTP/1.1":
            self.refuse(HTTPStatus.BAD_REQUEST, "A transfer coding needs HTTP/1.1.")
        else:
            super().allHeadersReceived()

    def requestDone(self, request: server.Request) -> None:
        super().requestDone(request)
        if self._peer_ended and not self._busyReceiving:
            self._nothing_follows()

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
        if self._refused:
            return
        self._refused = True
        self._head_is_complete()
        peer = self.transport.getPeer()
        self.site.refused("framing", peer, message)
        if (request := self.requests[-1] if self.requests else None) is not None and request.begun:
            # A malformed chunk in a body that a route is reading: the route gives the answer.
            self.persistent = False
            if not request.body_failed(errors.IncompleteBody(message)):
                self.linger()
            return
        self.transport.write(last_answer(status, message))
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
        if not self.isSecure():  # the TLS transport says that it can, and cannot
            self._networkProducer.unregisterProducer()
            self.transport.loseWriteConnection()
        self._lingering = self.callLater(self.site.limits.linger_timeout, self._cut)

    def _cut(self) -> None:
        self._lingering = None
        self.transport.abortConnection()

    def close_when_idle(self) -> None:
        """Close now if no request is under way, else after its answer."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()

    def timeoutConnection(self) -> None:
        if self.requests:
            self.site.refused("stalled", self.transport.getPeer(), "No byte moved for too long.")
            self.transport.abortConnection()
        else:
            super().timeoutConnection()

    def readConnectionLost(self) -> None:
        """The peer sends no more.  It may still read: what came whole is answered, and a body cut short too."""
        self._peer_ended = True
        self._nothing_follows()

    def _nothing_follows(self) -> None:
        if self._handlingRequest:
            return  # requestDone comes back here, when all that is buffered has been looked at
        if self._lingering is not None or not self.requests:
            self.transport.loseConnection()
        elif (request := self.requests[-1]).begun or (not self.line_mode and self._command == b"PUT"):
            self.persistent = False
            request.body_failed(errors.IncompleteBody("The body ended before it was complete."))
        else:
            self.refuse(HTTPStatus.BAD_REQUEST, "The request ended before it was complete.")
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """L{linger} did this."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._head_is_complete()
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        super().connectionLost(reason)
        self.site.connection_lost(self)


class ArchiveRequest(server.Request):
    """
    One request, whose route starts when its headers are complete.

    @ivar body: The body; complete from the start where there is none.
    @ivar begun: Whether the route has been started.
    """

    channel: ArchiveChannel
    site: ArchiveSite
    transport: Any
    defaultContentType = None
    begun = False
    body: RequestBody
    _early = False
    _uninvited = False
    _answered = False
    _decoder: Any = None

    # The start

    def gotLength(self, length: int | None) -> None:
        channel = self.channel
        expectations = self.requestHeaders.getRawHeaders(b"expect")
        if expectations is not None:
            self.requestHeaders.removeHeader(b"expect")  # else the channel answers it
        if length == 0 or (length is not None and length <= AT_ONCE and expectations is None):
            # Zero: the channel goes on to requestReceived by itself, and answering before would confuse it.
            # A few: they are on their way already, and there is nothing to save by a refusal.
            self.content = self.body = RequestBody(self, length)
            return
        self._early = True
        self._decoder = channel._transferDecoder
        # An HTTP/1.0 client does not know interim answers (RFC 9110, section 10.1.1).
        self._uninvited = channel._version == b"HTTP/1.1" and _is_continue(expectations)
        self.content = self.body = RequestBody(self, length)
        if (length is None or length > READ_SIZE) and not self.isSecure():
            self.transport.bufferSize = READ_SIZE
        channel.setTimeout(self.channel.site.limits.progress_timeout)
        self._begin(channel._command, channel._path, channel._version)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The channel has all of the request."""
        if not self._early:
            self.body.end()
            self._begin(command, path, version)
            return
        # The channel has saved the time-out of the body; between requests it is another.
        self.channel._savedTimeOut = self.channel.site.limits.idle_timeout
        self.transport.__dict__.pop("bufferSize", None)
        self._take_trailers()
        self.body.end()
        if self._answered:
            self._release()

    def _begin(self, command: bytes, path: bytes, version: bytes) -> None:
        self.begun = True
        if (absolute := _ABSOLUTE.match(path)) and not (path := path[absolute.end() :]).startswith(b"/"):
            path = b"/" + path
        if path.startswith(b"//"):
            # Clients join a base URL that ends in a slash: as one slash, without a redirect.
            path = b"/" + path.lstrip(b"/")
        super().requestReceived(command, path, version)

    def parseCookies(self) -> None:
        """This server has none."""

    def process(self) -> None:
        self.site = site = self.channel.site
        answer = self.responseHeaders
        answer.setRawHeaders(b"Server", [_SERVER])
        answer.setRawHeaders(b"Date", [datetimeToString()])
        answer.setRawHeaders(b"Allow", [_ALLOW])
        self.prepath = []
        # Not unquoted: an id has one spelling only, and no other path exists.
        path = b"/" if self.path == b"*" and self.method == b"OPTIONS" else self.path
        self.postpath = path[1:].split(b"/") if path.startswith(b"/") and path.isascii() else [b"%"]
        try:
            site.resource.render(self)
        except Exception:  # noqa: BLE001  (the last resort of a request)
            self.processingFailed(Failure())

    def processingFailed(self, reason: Failure) -> Failure:
        """For what goes wrong outside of every route."""
        answer = unexpected_answer(self.site.incident("A request failed outside of its route", reason))
        self.setResponseCode(answer.status)
        self.responseHeaders.setRawHeaders(b"Content-Type", [b"application/json"])
        self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        self.write(answer.body)
        self.finish()
        return reason

    def _take_trailers(self) -> None:
        for line in getattr(self._decoder, "_trailerHeaders", ()):
            name, colon, value = bytes(line).partition(b":")
            if colon:
                self.body.trailers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))

    # The body

    def handleContentChunk(self, data: bytes) -> None:
        self.body.feed(data)

    def invite_body(self) -> None:
        if self._uninvited:
            self._uninvited = False
            self.channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def pause_body(self) -> None:
        if self.channel is not None:
            self.channel.setTimeout(None)  # it is not the peer who is slow
            self.transport.pauseProducing()

    def resume_body(self) -> None:
        if self.channel is not None and not self._disconnected:
            if not self.body.complete:
                self.channel.setTimeout(self.channel.site.limits.progress_timeout)
            self.transport.resumeProducing()

    def body_failed(self, error: errors.ArchiveError) -> bool:
        """
        No more of the body will come.

        @return: Whether an answer is still to be given.
        """
        self.body.fail(error)
        if not self.begun:  # a small body, which was waited for; what it means that there is none is the route's to say
            self._early = True
            self._begin(self.channel._command, self.channel._path, self.channel._version)
        return not self._answered

    # The answer

    def write(self, data: bytes) -> None:
        if not self.startedWriting and self._early and not self.body.complete:
            left = None if self.body.length is None else self.body.length - self.body.received
            if self._uninvited or left is None or left > DRAIN_LIMIT:
                self.channel.persistent = False
        if not self.startedWriting and self.channel is not None and not self.channel.persistent:
            self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        super().write(data)

    def finish(self) -> None:
        if not self._early or self.body.complete:
            super().finish()
            return
        self.queued = True  # all of finish() but the clean-up, which would parse the rest of the body as a request
        super().finish()
        self._answered = True
        channel = self.channel
        self.body.drop()
        if not channel.persistent:
            channel.linger()

    def _release(self) -> None:
        self.queued = False
        self._cleanup()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)  # first: Klein cancels the route through notifyFinish
        if self._early and not self.body.complete:
            self.body.fail(errors.IncompleteBody("The connection was lost."))

    def flush(self) -> bool:
        """
        Give the socket what was written so far.

        @return: Whether nothing is left, so that somebody else may write to the socket now.
        """
        transport = self.transport
        return transport.doWrite() is None and not transport.dataBuffer and not transport._tempDataBuffer

    # For routes

    def field(self, name: str) -> list[str]:
        """All values of a header field, in order; none where it is absent."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return [value.decode("latin-1") for value in values] if values else []

    def set(self, name: bytes, value: str | bytes) -> None:
        """Set a header field of the answer."""
        self.responseHeaders.setRawHeaders(name, [value if isinstance(value, bytes) else value.encode("latin-1")])


def last_answer(status: HTTPStatus, message: str, *fields: str) -> bytes:
    """
    Write an answer that no route gives, and after which the connection is closed.

    @param fields: Further header lines.
    """
    body = error_body(status, message, message)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Server: {_SERVER.decode('ascii')}",
        f"Date: {datetimeToString().decode('ascii')}",
        f"Allow: {ALLOW}",
        *fields,
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(head).encode("ascii") + body


def _is_continue(expectations: Sequence[bytes] | None) -> bool:
    return expectations is not None and [each.lower() for each in expectations] == [b"100-continue"]
