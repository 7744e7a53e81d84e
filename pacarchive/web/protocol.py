"""HTTP/1.1 connections: requests that begin when their headers are complete, strict framing, and time limits.

L{twisted.web.http} calls a route when the last byte of a body has come.  Here L{ArchiveRequest.gotLength} starts the route, so that
a refusal costs no body and a body is never spooled.  These two classes are the only ones that touch Twisted's private
names; C{tests/web/test_protocol.py} guards an upgrade.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel, datetimeToString
from zope.interface import implementer

from pacarchive import __version__, errors
from pacarchive.web.body import RequestBody
from pacarchive.web.errors import error_body, unexpected_answer

if TYPE_CHECKING:
    from pacarchive.web.site import ArchiveSite

READ_SIZE = 1 << 20
"""How much is asked of the socket at once while a large body comes in."""

DRAIN_LIMIT = 256 << 10
"""How much of an unwanted body is read to keep the connection; beyond, closing is cheaper."""

_SERVER = f"pacarchive/{__version__}".encode("ascii")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?\Z")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}\Z")
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

_log = Logger()


@implementer(IHalfCloseableProtocol)
class ArchiveChannel(HTTPChannel):
    """
    One connection.

    A line that ends in a bare LF, a folded header line, a missing or doubled C{Host}, and every doubt about where a body ends are
    refused and the connection closed (RFC 9112, sections 2.2, 3.2, 5.2 and 6.3): an intermediary may read them differently.
    """

    site: ArchiveSite
    abortTimeout = 15
    _head_deadline: IDelayedCall | None = None
    _lingering: IDelayedCall | None = None
    _refused = False

    def connectionMade(self) -> None:
        limits = self.site.limits
        self.totalHeadersSize = limits.request_line + limits.header_bytes
        self.maxHeaders = limits.header_count
        self.MAX_LENGTH = max(limits.request_line, limits.header_bytes)
        super().connectionMade()
        self._secure = super().isSecure()
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpKeepAlive(True)
        self.site.connection_made(self)

    def isSecure(self) -> bool:
        return self._secure  # asked several times a request, and an interface look-up each time

    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        super().dataReceived(data)
        if self.line_mode and not self._refused:
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
        elif self._receivedHeaderCount > self.maxHeaders:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many header fields.")
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
        body = error_body(status, message, message)
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Content-Type: application/json",
            f"Server: {_SERVER.decode()}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode("ascii") + body)
        self.linger()

    def linger(self) -> None:
        """
        Close without a reset: half-close, read on for a while and throw it away, then cut the connection.

        Closing with unread bytes in the socket would reset it, and the peer could lose the answer (RFC 9112, section 9.6).
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
        """The peer sends no more.  It may still read: an answer under way is finished, a body cut short is answered."""
        self.persistent = False
        if self._lingering is not None or not self.requests:
            self.transport.loseConnection()
        elif (request := self.requests[-1]).begun:
            request.body_failed(errors.IncompleteBody("The body ended before it was complete."))
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """L{linger} did this."""

    def connectionLost(self, reason: Failure) -> None:
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
    defaultContentType = None
    begun = False
    body: RequestBody
    _early = False
    _uninvited = False
    _answered = False
    _drain_to = 0
    _decoder: Any = None

    # The start

    def gotLength(self, length: int | None) -> None:
        channel = self.channel
        if length == 0:
            # The channel goes on to requestReceived by itself, and answering before would confuse it.
            self.content = self.body = RequestBody(self, 0)
            return
        self._early = True
        self._decoder = channel._transferDecoder
        expectations = self.requestHeaders.getRawHeaders(b"expect")
        if expectations is not None:
            self._uninvited = [each.lower() for each in expectations] == [b"100-continue"]
            self.requestHeaders.removeHeader(b"expect")  # else the channel answers it
        self.content = self.body = RequestBody(self, length)
        if (length is None or length > READ_SIZE) and not self.isSecure():
            self.transport.bufferSize = READ_SIZE
        channel.setTimeout(self.channel.site.limits.progress_timeout)
        self._begin(channel._command, channel._path, channel._version)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The channel has all of the request."""
        if not self._early:
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
        if absolute := _ABSOLUTE.match(path):
            path = path[absolute.end() :] or b"/"
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
        self.prepath = []
        # Not unquoted: an id has one spelling only, and no other path exists.
        self.postpath = self.path[1:].split(b"/") if self.path.isascii() else [b"%"]
        try:
            site.resource.render(self)
        except Exception:
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
        if self._answered and self.body.received > self._drain_to:
            self.transport.abortConnection()

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
        return not self._answered

    # The answer

    def write(self, data: bytes) -> None:
        if not self.startedWriting and self._early and not self.body.complete:
            left = None if self.body.length is None else self.body.length - self.body.received
            if self._uninvited or left is None or left > DRAIN_LIMIT or not self.channel.persistent:
                self.channel.persistent = False
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
        self._drain_to = self.body.received + DRAIN_LIMIT if channel.persistent else 1 << 63
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
