"""Requests that came whole in one read and are answered without a request object, as a connection knows them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs

from pacarchive.web.http.answers import ALLOW, SERVER, UNCACHED, QuickAnswer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure

    from pacarchive import errors
    from pacarchive.access.identity import Access
    from pacarchive.web.http.plain import PlainHead
    from pacarchive.web.http.state import SharedSite

_NOTHING = nullcontext()
_CREATED = (
    f"HTTP/1.1 201 Created\r\nServer: {SERVER}\r\nDate: %s\r\nX-Request-Id: %s\r\nAllow: {ALLOW}\r\n"
    f"Cache-Control: {UNCACHED}\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
).encode("ascii")


class Carrying(Protocol):
    """What is asked of the connection that such a request came over."""

    site: SharedSite
    transport: Any
    persistent: int

    def requestDone(self, request: Any) -> None:
        """A request has been answered."""

    def hand_over(self, begun: SmallPut, tried: Failure) -> None:
        """Have a request gone on with by its route."""


@attrs.define(eq=False)
class SmallBody:
    """A body, for those who look at what is under way."""

    received: int
    timed = 0
    complete = True

    @property
    def length(self) -> int:
        """All of it has come."""
        return self.received


@attrs.define(eq=False)
class SmallPut:
    """
    A PUT whose body came with its head, while it is being stored.

    It is under way on its connection as any request is: what comes next waits, a drain waits for it, and the loss of
    the connection is noted.

    @ivar channel: The connection; C{None} when it is lost.
    @ivar head: The head.
    @ivar data: The body.
    @ivar access: Who asks.
    @ivar agent: What the client calls itself.
    @ivar identifier: What it is called.
    @ivar began: When it came.
    @ivar compares: Whether the body is compared with digests of its sender's.
    @ivar broken_by: By whose doing it ends unanswered, if it does.
    @ivar body: What is known of the body.
    @ivar client: Where it came from.
    """

    channel: Carrying | None
    head: PlainHead
    data: bytes
    access: Access
    agent: bytes | None
    identifier: str
    began: float
    compares: bool
    broken_by: str = "client"
    body: SmallBody = attrs.field(init=False)
    client: IAddress | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        assert self.channel is not None, "it begins on a connection"
        self.body = SmallBody(len(self.data))
        self.client = self.channel.transport.getPeer()

    begun: ClassVar = True
    method: ClassVar = b"PUT"
    sentLength: ClassVar = 0
    startedWriting: ClassVar = 0
    responseHeaders: ClassVar[Any] = None  # nobody asks before the answer begins, and then it is over

    @property
    def path(self) -> bytes:
        """That of the target."""
        return self.head.target

    @property
    def principal(self) -> str:
        """Who asks."""
        return self.access.name

    @property
    def line(self) -> str:
        """Method and target, for the log."""
        return f"PUT {self.head.target.decode('ascii')}"

    def phase(self, name: str) -> AbstractContextManager[None]:
        """There are no spans of it."""
        return _NOTHING

    def body_failed(self, error: errors.ArchiveError) -> bool:
        """
        Nothing more can be read of the connection.

        @return: That the answer is still to be given.
        """
        return True

    def connectionLost(self, reason: Failure) -> None:
        """Nobody is left to be answered.  It is stored all the same: that has begun."""
        if (channel := self.channel) is not None:
            self.channel = None
            channel.site.counts.aborted("out", self.broken_by)
            self._note_end(channel, 0, 0.0, 0)

    def created(self, date: bytes, fields: Sequence[tuple[bytes, bytes]], document: bytes) -> None:
        """
        Answer that it is stored, where somebody is left to be answered.

        @param date: The present, as C{Date} has it.
        @param fields: What is said of the file.
        @param document: The body of the answer.
        """
        if (channel := self.channel) is None:
            return
        lines = b"".join([b"%s: %s\r\n" % field for field in fields])
        last = b"" if channel.persistent else b"Connection: close\r\n"
        head = _CREATED % (date, self.identifier.encode("ascii"), lines, len(document), last)
        first = channel.site.seconds()
        channel.site.outbox.post(channel.transport, head + document)
        channel.site.counts.sent(len(document))
        self._note_end(channel, HTTPStatus.CREATED, first, len(document))
        channel.requestDone(self)

    def failed(self, reason: Failure) -> bool:
        """
        Have what became of it told by the general road.

        @return: Whether there is somebody to be told.
        """
        if (channel := self.channel) is None:
            return False
        channel.hand_over(self, reason)
        return True

    def _note_end(self, channel: Carrying, code: int, first: float, sent: int) -> None:
        site, size = channel.site, len(self.data)
        now = site.seconds()
        answered = bool(code)
        site.counts.ended(b"PUT", code, now - self.began, first - self.began, size)
        if site.when_over is not None:
            over = QuickAnswer(
                b"PUT", self.head.target, code, sent, self.identifier, None, self.access, self.agent,
                self.client, self.began, first, size, "" if answered else self.broken_by,
            )  # fmt: skip
            if answered and self.compares:
                over.digest = "matched"
            site.when_over(over, now, code, answered)
