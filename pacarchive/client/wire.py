"""One request and its answer: sent with the token, watched for progress, read as it comes, and its failures named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as failures
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers

from pacarchive import __version__
from pacarchive.client.errors import CertificateRefused, ClientError, ConnectionFailed, ProtocolError, Stalled, TooLarge
from pacarchive.client.fields import field

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.iweb import IResponse

    from pacarchive.client.bodies import Body

BLOCK = 1 << 20
"""How much of an answer is gathered before it is worth handing on."""

HIGH_WATER = 2 << 20
"""How much of it may wait before the connection is held back."""

DOCUMENT_LIMIT = 256 << 20
"""The largest document that is read."""

_USER_AGENT = f"pacarchive/{__version__}"


class Watch:
    """
    Ends a wait in which nothing moves.

    @param seconds: For how long nothing may.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._last = clock.seconds()
        self._waiting: Deferred[Any] | None = None
        self.stalled = False

    def touch(self, more: float = 0.0) -> None:
        """
        Something has moved.

        @param more: For how much longer than else it is right that nothing does now.
        """
        self._last = self._clock.seconds() + more

    async def over(self, waiting: Deferred[Any], body: Body | None = None) -> Any:
        """
        Wait for a Deferred, and cancel it when nothing moves.

        @param body: What is sent meanwhile.
        @raise Stalled: Nothing moved.
        """
        self.touch()
        acknowledged = 0

        def look() -> None:
            nonlocal alarm, acknowledged
            if body is not None and (now := body.acknowledged) != acknowledged:
                acknowledged = now
                self.touch(body.allowance)
            left = self._last + self._seconds - self._clock.seconds()
            if left > 0:
                alarm = self._clock.callLater(left, look)
            else:
                self.stalled = True
                waiting.cancel()

        alarm = self._clock.callLater(self._seconds, look)
        try:
            return await waiting
        except BaseException as error:
            if self.stalled:
                raise Stalled(f"For {self._seconds:g} s no byte moved.", uncertain=True) from error
            raise
        finally:
            if alarm.active():
                alarm.cancel()


class _Reader(Protocol):
    """The body of an answer as it comes; the connection is held back while nobody reads."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended: BaseException | None = None
        self._waiting: Deferred[None] | None = None
        self._wanted = 0
        self._paused = False

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._waiting is not None:
            self.touch()
            if self._size >= self._wanted:
                self._wake()
        elif self._size >= HIGH_WATER and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def touch(self) -> None:
        """Something has come; whoever waits takes the place of this."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended = reason.value
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def read(self, want: int, watch: Watch) -> list[bytes]:
        """
        Take what has come.

        @param want: Wait for so much, unless the body ends before.
        @return: Nothing at the end.
        @raise ConnectionFailed: The connection was lost; what came before that was given out.
        """
        if self._size < want and self._ended is None:
            if self._paused and self.transport is not None:
                self._paused = False
                self.transport.resumeProducing()  # type: ignore[attr-defined]
            self._wanted, self._waiting = want, Deferred()
            self.touch = watch.touch  # type: ignore[method-assign]
            try:
                await watch.over(self._waiting)
            except Stalled:
                if not self._pieces:
                    raise
            finally:
                self._waiting = None
        if not self._pieces and self._ended is not None and not isinstance(self._ended, ResponseDone):
            raise _failure(self._ended)
        pieces, self._pieces, self._size = self._pieces, [], 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[attr-defined]
        return pieces

    def abandon(self) -> None:
        """Want no more; what is not over yet is cut."""
        if self._ended is None and self.transport is not None:
            self.transport.loseConnection()


@attrs.define
class Answer:
    """
    An answer, whose body is still to be read.

    @ivar status: Its status.
    """

    status: int
    headers: Headers
    _response: IResponse
    _watch: Watch
    _reader: _Reader | None = None

    def field(self, name: str) -> str:
        """A header field; empty where there is none."""
        return field(self.headers, name)

    async def read(self, want: int = BLOCK) -> list[bytes]:
        """
        Take the next bytes of the body.

        @return: Pieces; none at the end.
        @raise ConnectionFailed: It broke off; what came before was given out.
        """
        if self._reader is None:
            self._reader = _Reader()
            self._response.deliverBody(self._reader)
        return await self._reader.read(want, self._watch)

    async def text(self) -> bytes:
        """
        Read all of the body.

        @raise TooLarge: It is larger than any document is.
        """
        found: list[bytes] = []
        size = 0
        while pieces := await self.read():
            found += pieces
            size += sum(map(len, pieces))
            if size > DOCUMENT_LIMIT:
                raise TooLarge("The archive's answer is too large to be read.", status=self.status)
        return b"".join(found)

    async def document(self) -> Any:
        """
        Read the body as JSON.

        @raise ProtocolError: It is none.
        """
        text = await self.text()
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ProtocolError("What came back is no JSON document.", status=self.status) from None

    def abandon(self) -> None:
        """Read no more."""
        if self._reader is None:
            self._reader = _Reader()
            self._response.deliverBody(self._reader)
        self._reader.abandon()


class Wire:
    """
    The way to one archive.

    @param treq: What makes requests.
    @param clock: The time.
    @param url: The archive's URL, without a slash at the end.
    @param token: Goes with each request.
    @param connections: How many exchanges there are at a time.
    @param progress_timeout: For how long nothing may move.
    @ivar plain: Whether what is sent can be changed on the way: there is no TLS.
    """

    def __init__(
        self, treq: Any, clock: Any, url: str, *, token: str | None, connections: int, progress_timeout: float
    ) -> None:
        self._treq = treq
        self.clock = clock
        self._url = url
        self._fields = {"User-Agent": _USER_AGENT}
        if token is not None:
            self._fields["Authorization"] = f"Bearer {token}"
        self._turns = DeferredSemaphore(connections)
        self._timeout = progress_timeout
        self._under_way: set[Deferred[Any]] = set()
        self._closed = False
        self.plain = urlsplit(url).scheme != "https"

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        *,
        patience: float = 0.0,
        lasting: bool = False,
    ) -> AsyncIterator[Answer]:
        """
        Send a request; gives the answer when its head has come.  At the end of the block, what has not been read of it
        is dropped.

        @param patience: For how many seconds more than else the archive may say nothing.
        @param lasting: Whether this takes for ever, and nobody's turn.
        @raise ConnectionFailed: There is no answer.
        """
        if self._closed:
            raise ConnectionFailed("The client is closed.")
        if lasting:
            async with self._answered(method, path, fields, body, patience) as answer:
                yield answer
            return
        await self._turns.acquire()
        try:
            async with self._answered(method, path, fields, body, patience) as answer:
                yield answer
        finally:
            self._turns.release()

    @asynccontextmanager
    async def _answered(
        self, method: str, path: str, fields: Mapping[str, str] | None, body: Body | bytes | None, patience: float
    ) -> AsyncIterator[Answer]:
        headers = Headers({name: [value] for name, value in {**self._fields, **(fields or {})}.items()})
        watch = Watch(self.clock, self._timeout + patience)
        asked: Deferred[IResponse] = self._treq.request(
            method,
            self._url + path,
            headers=headers,
            data=body,
            allow_redirects=False,  # the token is for this host only
            unbuffered=True,
            reactor=self.clock,
        )
        self._under_way.add(asked)
        sent = None if body is None or isinstance(body, bytes) else body
        try:
            response = await watch.over(asked, sent)
        except (ClientError, CancelledError):
            raise
        except Exception as error:
            raise _failure(error, self._closed) from error
        finally:
            self._under_way.discard(asked)
        answer = Answer(response.code, response.headers, response, Watch(self.clock, self._timeout))
        try:
            yield answer
        except BaseException:
            answer.abandon()
            raise
        if answer._reader is None:
            with suppress(ConnectionFailed, TooLarge):
                await answer.text()  # so that the connection can be used again
        else:
            answer.abandon()

    def close(self) -> None:
        """Fail what is under way."""
        self._closed = True
        for asked in list(self._under_way):
            asked.cancel()


def _failure(error: BaseException, closed: bool = False) -> BaseException:
    """The words for what Twisted says."""
    if closed:
        return ConnectionFailed("The client was closed.", uncertain=True)
    if isinstance(error, RequestGenerationFailed):
        reason = error.reasons[0].value
        return reason if isinstance(reason, Exception | CancelledError) else error
    reasons = [reason.value for reason in getattr(error, "reasons", ()) if isinstance(reason, Failure)]
    if cancelled := [reason for reason in reasons if isinstance(reason, CancelledError)]:
        return cancelled[0]
    for reason in reasons:
        if isinstance(reason, SSL.Error | VerificationError):
            return CertificateRefused(f"TLS with the archive failed: {_words(reason)}")
    if isinstance(error, RequestNotSent):
        return ConnectionFailed("The connection was lost before anything was sent.")
    if isinstance(error, RequestTransmissionFailed | ResponseNeverReceived | ResponseFailed):
        unread = [reason for reason in reasons if not isinstance(reason, failures.ConnectionClosed)]
        words = f"The answer cannot be understood: {_words(unread[0])}" if unread else "The connection was lost."
        return ConnectionFailed(words, uncertain=True)
    if isinstance(error, failures.ConnectError | failures.DNSLookupError):
        return ConnectionFailed(f"The archive cannot be reached: {_words(error)}")
    return ConnectionFailed(f"The exchange with the archive failed: {_words(error)}", uncertain=True)


def _words(error: BaseException) -> str:
    if isinstance(error, SSL.Error):
        found = [str(each[-1]) for each in (error.args[0] if error.args else ()) if each]
        return ", ".join(found) or "it was broken off"
    return str(error).rstrip(".") or type(error).__name__
