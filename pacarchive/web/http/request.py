"""Requests that begin when their headers are complete.

L{twisted.web.http} calls a route when the last byte of a body has come.  Here L{ArchiveRequest.gotLength} starts the
route, so that a refusal costs no body and a body is never spooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString

from pacarchive import errors
from pacarchive.web.http.answers import ALLOW, SERVER, UNCACHED, head_of
from pacarchive.web.http.body import AT_ONCE, RequestBody
from pacarchive.web.http.chunks import ChunkedDecoder
from pacarchive.web.http.errors import unexpected_answer
from pacarchive.web.http.working import WorkingRequest

if TYPE_CHECKING:
    from pacarchive.web.http.errors import ErrorAnswer
    from pacarchive.web.http.sealing import SealedOutput
    from pacarchive.web.http.small import SmallPut

READ_SIZE = 1 << 20
"""How much is asked of the socket at once while a large body comes in."""

SEALED_READ_SIZE = 256 << 10
"""The same where it is to be decrypted, which is faster while it is in the processor's cache."""

DRAIN_LIMIT = 256 << 10
"""How much of an unwanted body is read to keep the connection; beyond, closing is cheaper."""

_MUCH = 32 << 10  # of data in one read of chunks: they are no small ones

_ALLOW = ALLOW.encode("ascii")
_SERVER = SERVER.encode("ascii")
_UNCACHED = UNCACHED.encode("ascii")


class ArchiveRequest(WorkingRequest):
    """
    One request, whose route starts when its headers are complete.

    @ivar body: The body; complete from the start where there is none.
    @ivar begun: Whether the route has been started.
    @ivar tried: Why it failed on the short road, where it did: the route has that to tell, and nothing else to do.
    """

    transport: Any
    defaultContentType = None
    begun = False
    body: RequestBody
    tried: Failure | None = None
    _early = False
    _uninvited = False
    _answered = False
    _decoder: ChunkedDecoder | None = None

    # The start

    def gotLength(self, length: int | None) -> None:
        channel = self.channel
        self.site = channel.site
        self.began = self.site.seconds()
        self.method, self.clientproto = channel._command, channel._version  # with Twisted, they come with the body
        expectations = self.requestHeaders.getRawHeaders(b"expect")
        if expectations is not None:
            self.requestHeaders.removeHeader(b"expect")  # else the channel answers it
        if length == 0 or (length is not None and length <= AT_ONCE and expectations is None):
            # Zero: the channel goes on to requestReceived by itself, and answering before would confuse it.
            # A few: they are on their way already, and there is nothing to save by a refusal.
            self.content = self.body = RequestBody(self, length)
            return
        self._early = True
        self._decoder = channel._transferDecoder if length is None else None
        # An HTTP/1.0 client does not know interim answers (RFC 9110, section 10.1.1).
        self._uninvited = channel._version == b"HTTP/1.1" and _is_continue(expectations)
        self.content = self.body = RequestBody(self, length)
        if length is not None and length > READ_SIZE:
            self._read_much()
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
        self._read_little()
        if self._decoder is not None:
            self.body.trailers = self._decoder.trailers
        self.body.end()
        if self._answered:
            self._release()

    def take_over(self, begun: SmallPut, tried: Failure) -> None:
        """Have the route go on with a request that came whole."""
        head = begun.head
        self.site, self.began, self.tried = self.channel.site, begun.began, tried
        self.identifier = begun.identifier
        self.method, self.clientproto = head.method, b"HTTP/1.1"
        for name, value in head.fields:
            self.requestHeaders.addRawHeader(name, value)
        self.content = self.body = RequestBody(self, head.length)
        if begun.data:
            self.body.feed(begun.data)
        self.body.end()
        self._begin(head.method, head.target, b"HTTP/1.1")

    def _read_much(self) -> None:
        if self.channel.held.refusal():
            return
        if not self.isSecure():
            self.transport.bufferSize = READ_SIZE
        elif (carrier := getattr(self.transport, "carrier", None)) is not None:
            carrier.bufferSize = SEALED_READ_SIZE

    def _read_little(self) -> None:
        getattr(self.transport, "carrier", self.transport).__dict__.pop("bufferSize", None)

    def _begin(self, command: bytes, path: bytes, version: bytes) -> None:
        self.begun = True
        if path.startswith(b"//"):
            # Clients join a base URL that ends in a slash: as one slash, without a redirect.
            path = b"/" + path.lstrip(b"/")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        site = self.site
        try:
            if site.first_look is not None and (refusal := site.first_look(self)) is not None:
                self._answer_at_once(refusal)
                return
        except Exception:  # noqa: BLE001  (the last resort of a request)
            self.processingFailed(Failure())
            return
        answer = self.responseHeaders
        answer.setRawHeaders(b"Server", [_SERVER])
        answer.setRawHeaders(b"Date", [datetimeToString()])
        answer.setRawHeaders(b"X-Request-Id", [self.identifier.encode("ascii")])
        answer.setRawHeaders(b"Allow", [_ALLOW])
        answer.setRawHeaders(b"Cache-Control", [_UNCACHED])
        self.prepath = []
        # Not unquoted: an id has one spelling only, and no other path exists.
        path = b"/" if self.path == b"*" and self.method == b"OPTIONS" else self.path
        self.postpath = path[1:].split(b"/") if path.startswith(b"/") and path.isascii() else [b"%"]
        try:
            site.resource.render(self)
        except Exception:  # noqa: BLE001  (the last resort of a request)
            self.processingFailed(Failure())

    def processingFailed(self, reason: Failure) -> Failure:
        """For what goes wrong outside of every route; that a client has gone is nothing of the kind."""
        if self.is_over and reason.check(CancelledError):
            return reason
        answer = unexpected_answer(self.site.incident(f"{self.line}: outside of its route", reason))
        self.setResponseCode(answer.status)
        self.responseHeaders.setRawHeaders(b"Content-Type", [b"application/json"])
        self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        self.write(answer.body)
        self.finish()
        return reason

    # The body

    def handleContentChunk(self, data: bytes) -> None:
        self.site.counts.received(len(data))
        self.body.feed(data)
        if len(data) >= _MUCH and (self.body.length is None or self.body.stored):
            self._read_much()

    def invite_body(self) -> None:
        if self._uninvited and not self.is_over:
            self._uninvited = False
            self.channel.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def note_held(self, amount: int) -> errors.Overloaded | None:
        if (refusal := self.count("body", amount)) is not None:
            self._read_little()
        return refusal

    def pause_body(self) -> None:
        if not self.is_over:
            self.channel.setTimeout(None)  # it is not the peer who is slow
            self.channel.hold_body(True)

    def resume_body(self) -> None:
        if not self.is_over:
            if not self.body.complete:
                self.body.timed = self.body.received
                self.channel.setTimeout(self.channel.site.limits.progress_timeout)
            self.channel.hold_body(False)

    def body_overloaded(self, error: errors.Overloaded) -> None:
        if not self.is_over:
            self.channel.in_turn(partial(self.body_failed, error))

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

    def cut(self, by: str) -> None:
        """Cut the connection amid the answer, so that nobody takes it for complete; by whose doing (C{broken_by})."""
        if not self.is_over:
            self.broken_by = by
            self.channel.persistent = False  # what follows in a pipeline is not looked at
            self.note_end(answered=False)  # now: the route ends before the connection is lost
            self.transport.abortConnection()

    def write(self, data: bytes) -> None:
        if self.is_over:
            return
        if not self.startedWriting:
            self.first = self.site.seconds()
            if self._is_last():
                self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        super().write(data)

    def _is_last(self) -> bool:
        """Whether the connection ends with the answer, which is about to begin."""
        if self._early and not self.body.complete:
            left = None if self.body.length is None else self.body.length - self.body.received
            if self._uninvited or left is None or left > DRAIN_LIMIT:
                self.channel.persistent = False
        return not self.channel.persistent

    def _answer_at_once(self, answer: ErrorAnswer) -> None:
        """Answer whole, and with nothing that was set for this request."""
        self.code = answer.status
        self.startedWriting = 1
        head = head_of(answer, self.clientproto, self._is_last(), self.identifier)
        if self.method == b"HEAD":
            self.channel.write(head)
        else:
            self.sentLength = len(answer.body)
            self.channel.writeSequence((head, answer.body))
        self.finish()

    def finish(self) -> None:
        if self.is_over:
            return  # of the route that ends between the loss of its connection and the turn in which it is cancelled
        self.note_end(answered=True)
        if not self._early or self.body.complete:
            transport = self.transport
            super().finish()
            if (send_now := getattr(transport, "send_now", None)) is not None:
                send_now()
            else:
                self.site.outbox.hasten(transport)
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
        waiting: list[Deferred[Any]] = self.notifications
        self.notifications = []
        channel = self.channel
        self.note_end(answered=False)
        super().connectionLost(reason)
        if self.producer is not None:
            self.producer.stopProducing()  # of the transports, only that of plain TCP says so
        if self.begun:
            # A thousand connections may be lost in one turn of the reactor, and each route has much to put away.
            channel.in_turn(partial(self._cancel, waiting, reason))

    def _cancel(self, waiting: list[Deferred[Any]], reason: Failure) -> None:
        for each in waiting:  # first: Klein cancels the route
            each.errback(reason)
        if not self.body.complete:
            self.body.fail(errors.IncompleteBody("The connection was lost."))

    def flush(self) -> bool:
        """
        Give the socket what was written so far.

        @return: Whether nothing is left, so that somebody else may write to the socket now.
        @raise CancelledError: The connection is lost.
        """
        transport = self.connection.transport
        return transport.doWrite() is None and not transport.dataBuffer and not transport._tempDataBuffer

    def lend(self) -> SealedOutput | None:
        """
        What may be sent through by somebody else now (L{SealedOutput.lend}), where TLS is ours and nothing is left.

        @raise CancelledError: The connection is lost.
        """
        transport = self.connection.transport
        lend = getattr(transport, "lend", None)
        return transport if lend is not None and lend() else None


def _is_continue(expectations: Sequence[bytes] | None) -> bool:
    return expectations is not None and [each.lower() for each in expectations] == [b"100-continue"]
