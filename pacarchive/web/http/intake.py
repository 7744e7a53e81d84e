"""What comes over a connection, read no faster than a turn of the reactor allows and the peer takes answers.

L{HTTPChannel} reads all that a read from the socket brought in one go.  That is fast for what is usual, and much too
long for what is not: thousands of requests, or of chunks.  Here the rest waits, in line with that of other connections
(L{Turns}), and the peer is held back meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.web import server
from twisted.web.http import _IdentityTransferDecoder

from pacarchive.web.http.body import AT_ONCE
from pacarchive.web.http.chunks import ChunkedDecoder, MalformedChunks
from pacarchive.web.http.memory import FREE, Holding
from pacarchive.web.http.patience import PatientChannel
from pacarchive.web.http.plain import MOST, plain_head
from pacarchive.web.http.turns import CHUNK_COST, ENDING_COST, LEAST_CHUNKS, LINE_COST, PIECE

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from pacarchive import errors
    from pacarchive.web.http.plain import PlainHead
    from pacarchive.web.http.small import SmallPut

EAGER = 16 << 10
"""How much may wait behind a request before the peer is held back."""


class IntakeChannel(PatientChannel):
    """
    A connection whose input is read in bounded pieces.

    @ivar quick_fields: What C{site.quick} has kept for this connection.
    @ivar quick_put: What C{site.quick_puts} has.
    """

    __slots__ = ("_backlog", "_body_held", "_held_back", "_owed", "_pumping", "_secure", "held")

    held: Holding
    transport: Any
    quick_fields: Any = None
    quick_put: Any = None
    _networkProducer: Any
    _transferDecoder: Any
    _refused = False
    _peer_ended = False
    _overloaded = False
    _is_storing = False
    _input = 0

    def __init__(self) -> None:
        super().__init__()
        self._body_held = self._held_back = self._pumping = self._secure = False
        self._backlog = bytearray()  # what came, and is not to be read yet
        self._owed: list[Callable[[], object]] = []  # what happened, and is not to be dealt with yet

    def dataReceived(self, data: bytes) -> None:
        if self._refused or self._overloaded:
            return
        if self._is_answered_at_once(data):
            return
        self.resetTimeout()
        if not (data := self._take_head(data)):
            self._look()
            return
        if self._backlog or self._handlingRequest or (self.line_mode and not self._is_little(data)):
            self._backlog += data
            self._pump()
        else:
            self._read(data)
            if self._backlog:
                self._pump()
            else:
                self._look()

    def _is_answered_at_once(self, data: bytes) -> bool:
        """Whether what came was one request, and is answered already."""
        site = self.site
        if (
            site.quick is None
            or self.requests
            or self._buffer
            or self._backlog
            or self._secure
            or len(data) > PIECE
            or self._waitingForTransport
            or self._owed
        ):
            return False
        now = site.seconds()
        if site.turns.left(self.held.client, now) <= 0 or (answered := site.quick(self, data, now)) is None:
            return False
        answer, entry = answered
        site.outbox.post(self.transport, answer)
        site.ledger.note(entry)
        self.has_time_from(now)
        return True

    def _take_head(self, data: bytes) -> bytes:
        """
        Read the head of a request in one go, if that is what came.

        @return: What came behind it; all, where it is to be read line by line.
        """
        if not (self.site.reads_plain and self._is_between_requests() and not self._backlog and self._has_time()):
            return data
        if (head := plain_head(data)) is None:
            return data
        if self._is_stored_at_once(head, data):
            return b""
        self._command, self._path, self._version = head.method, head.target, b"HTTP/1.1"
        request = self.requestFactory(self, False)
        self.requests.append(request)
        for name, value in head.fields:
            request.requestHeaders.addRawHeader(name, value)
        self.site.turns.spend(LINE_COST * (len(head.fields) + 2))
        if head.length is not None:
            self.length = head.length
            self._transferDecoder = _IdentityTransferDecoder(
                head.length, request.handleContentChunk, self._finishRequestBody
            )
        self.allHeadersReceived()
        if self.length == 0:
            self.allContentReceived()
        else:
            self.setRawMode()
        return data[head.size :]

    def _is_stored_at_once(self, head: PlainHead, data: bytes) -> bool:
        """Whether what came is one request with its body, which is being stored already."""
        quick = None if self._secure or head.size + (head.length or 0) != len(data) else self.site.quick_puts
        return quick is not None and head.length is not None and quick(self, head, data[head.size :])

    def _is_small_put(self, backlog: bytearray) -> bool:
        """The same of what has waited for its turn, which is more than a piece."""
        if len(backlog) > MOST + AT_ONCE or not backlog.startswith(b"PUT "):
            return False
        if not (self._is_between_requests() and self._has_time()):
            return False
        data = bytes(backlog)
        return (head := plain_head(data)) is not None and self._is_stored_at_once(head, data)

    def begin(self, request: SmallPut) -> None:
        """Have a request be under way that came whole; what comes meanwhile waits until it is done."""
        self.requests.append(request)
        self._handlingRequest = self._is_storing = True
        self.setRawMode()

    def hand_over(self, begun: SmallPut, tried: Failure) -> None:
        """Have a request that was begun by L{begin} gone on with by its route."""
        request: Any = self.requestFactory(self, False)
        self.requests[0] = request
        request.take_over(begun, tried)

    def _is_between_requests(self) -> bool:
        """Whether what comes next begins a request, and does not go on with its head."""
        return not self.requests and not self._buffer

    def _has_time(self) -> bool:
        """Whether something may be read in this turn."""
        return not self._waitingForTransport and not self._owed and self._left() > 0

    def _is_little(self, data: bytes) -> bool:
        """Whether lines are so few that they can be read at once: more than one request waits for its turn."""
        return len(data) <= PIECE and self._has_time()

    def _must_wait(self) -> bool:
        """
        Whether what waits is not to be read now: the turn is used up, or answers pile up that the peer does not take.
        """
        if self._handlingRequest or self._waitingForTransport:
            return True
        if self._owed or self._left() <= 0:
            self.get_in_line()
            return True
        return False

    def _left(self) -> int:
        """How much may still be done in this turn."""
        return self.site.turns.left(self.held.client)

    def get_in_line(self) -> None:
        """Have L{take_turn} called in a later turn."""
        self.site.turns.get_in_line(self, self.held.client)

    def in_turn(self, call: Callable[[], object]) -> None:
        """
        Deal with an end: now, or when there is time.  A thousand connections may end in one turn of the reactor.
        """
        if self._owed or self._left() <= 0:
            self._owed.append(call)
            self.get_in_line()
        else:
            self.site.turns.spend(ENDING_COST)
            call()

    def _read(self, data: bytes) -> None:
        """Have the lines, or the part of a body, looked at."""
        super().dataReceived(data)
        if self.paused:  # by requestDone
            self.paused = False
            self._backlog[:0] = self.clearLineBuffer()

    def _pump(self) -> None:
        """
        Read what waits, as far as requests are answered and the turn goes.

        Line by line the rest would be copied over and over, hence the pieces.
        """
        if self._pumping or self._busyReceiving:
            return  # who does this already goes on
        self._pumping = True
        backlog = self._backlog
        try:
            while backlog and not (self._refused or self.transport.disconnecting or self._must_wait()):
                if self.line_mode and len(backlog) > PIECE and self._is_small_put(backlog):
                    backlog.clear()
                    break
                size = PIECE if self.line_mode else len(backlog)
                piece = bytes(backlog[:size])
                del backlog[:size]
                # Also here: with many connections most requests have waited for their turn.
                if not self._is_answered_at_once(piece) and (piece := self._take_head(piece)):
                    self._read(piece)
        finally:
            self._pumping = False
        self._look()

    def take_turn(self) -> None:
        """Go on with what was too much for the turn before."""
        owed, self._owed = self._owed, []
        for call in owed:
            self.site.turns.spend(ENDING_COST)
            call()
        if self._refused:
            return
        self.resetTimeout()
        if self._is_decoding():
            self._decode(max(1, self._left() // CHUNK_COST))
        self._pump()

    def _look(self) -> None:
        """See what is left, when nothing more can be read now."""
        if not self._refused:
            self._note_input()
        if self._refused:
            return
        if not self._backlog and self.line_mode:
            self.watch_head()
        if self._peer_ended:
            self.nothing_follows()
        self._regulate()

    def _note_input(self) -> None:
        """See that all that waits to be read is not too much."""
        amount = len(self._backlog)
        if self.line_mode:
            amount += len(self._buffer) + self._receivedHeaderSize
        elif self._is_decoding():
            amount += self._transferDecoder.unread
        if amount == self._input:
            return
        grows, self._input = amount > self._input, amount
        self.held.set("input", amount)
        if grows and amount > FREE and (refusal := self.held.refusal()) is not None:
            self._overloaded = True
            self.forget_input()  # that there is no memory for it is told when there is time
            self.in_turn(partial(self.overload, refusal))

    def _regulate(self) -> None:
        """Hold the peer back, or let it go on."""
        if (
            self._body_held
            or len(self._backlog) > EAGER
            or (len(self._backlog) > PIECE and not self._handlingRequest)
            or self._is_decoding()
            or (self._waitingForTransport and not self._handlingRequest)
            or self._owed
            or self._is_late()
        ):
            self._networkProducer.pauseProducing()
            self._held_back = True
            self.watch_end()
        else:
            self._held_back = False
            self._networkProducer.resumeProducing()

    def _is_late(self) -> bool:
        """Whether bytes of a body come faster than the turn goes; then they come on in a later one."""
        if self._refused or self.line_mode or self._handlingRequest or self._left() > 0:
            return False  # of what is refused, the rest is only thrown away
        self.get_in_line()
        return True

    def hold_body(self, held: bool) -> None:
        """Say whether the reader of the body has as much as it can take."""
        self._body_held = held
        self._regulate()

    def skip_body(self, amount: int) -> None:
        """Note that somebody else has read so much of a body whose length is known."""
        self._transferDecoder.contentLength -= amount

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if not self._refused:
            self._pump()

    def rawDataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        self.site.turns.spend(len(data) >> 10)
        if self._handlingRequest:
            self._backlog[:0] = data  # the rest of a piece
        elif isinstance(self._transferDecoder, ChunkedDecoder):
            waits = self._transferDecoder.pending
            self._transferDecoder.feed(data)
            if not waits:
                self._decode(max(LEAST_CHUNKS, self._left() // CHUNK_COST))
        else:
            self._transferDecoder.dataReceived(data)

    def _decode(self, most: int) -> None:
        decoder = self._transferDecoder
        try:
            count = decoder.decode(most)
        except MalformedChunks as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self.site.turns.spend(CHUNK_COST * count)
        if decoder.pending:
            self.get_in_line()

    def choose_decoder(self) -> None:
        """Read a body in chunks with a decoder of ours."""
        if self.length is None:
            self._transferDecoder = ChunkedDecoder(self.requests[-1].handleContentChunk, self._finishRequestBody)

    def has_input(self) -> bool:
        """Whether something came that is still to be read."""
        return bool(self._backlog) or self._is_decoding()

    def _is_decoding(self) -> bool:
        return isinstance(self._transferDecoder, ChunkedDecoder) and self._transferDecoder.pending

    def _finishRequestBody(self, data: bytes) -> None:
        self._backlog[:0] = data
        self.allContentReceived()

    def forget_input(self) -> None:
        """Read nothing of what came and was not read."""
        self._backlog.clear()
        self.clearLineBuffer()
        if isinstance(self._transferDecoder, ChunkedDecoder):
            self._transferDecoder.drop()
        self.held.set("input", 0)
        if not self._owed:
            self.site.turns.leave(self)

    def requestDone(self, request: server.Request | SmallPut) -> None:
        self._body_held = self._is_storing = False
        self.held.let_go("input", "tls")
        super().requestDone(request)
        # Within a piece: no further request of it before there is room for its answer, and time in the turn.
        self.paused = self._busyReceiving and (self._waitingForTransport or self._left() <= 0)
        self._pump()

    # What the connection makes of it

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer what cannot be read, and close the connection."""
        raise NotImplementedError

    def overload(self, error: errors.Overloaded) -> None:
        """Read no more of what there is no memory for, answer that, and close the connection."""
        raise NotImplementedError

    def watch_head(self) -> None:
        """Look at what is left when no more whole lines are there: part of a request's head, or nothing."""
        raise NotImplementedError

    def watch_end(self) -> None:
        """The peer is held back, and so its end is not seen by reading: look for it, where somebody wants to know."""
        raise NotImplementedError

    def nothing_follows(self) -> None:
        """All that the peer sent before it ended its side has been read."""
        raise NotImplementedError
