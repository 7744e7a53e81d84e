"""What a request says before its body, and what its answer is to say."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from twisted.web import server

from pacarchive.telemetry.phases import MOST_PHASES, Phase
from pacarchive.texts import printable
from pacarchive.web.http.answers import field_value
from pacarchive.web.http.traces import Trace, parse_traceparent

if TYPE_CHECKING:
    from pacarchive.access.identity import Access
    from pacarchive.web.http.credentials import PeerCertificate
    from pacarchive.web.http.state import SharedSite

_NOTHING = nullcontext()
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


class RequestHead(server.Request):
    """
    A request, as far as its head goes, the fields of the answer, and what is known of it at its end.

    @ivar began: When its head was complete, in seconds since the epoch; 0 before.
    @ivar first: When its answer began; 0 before.
    @ivar access: Who asks, and what that caller may, once it is known.
    @ivar digest: How the comparison of digests ended, where there was one: C{matched}, or C{mismatch}.
    @ivar broken_by: By whose doing it ends before it is answered: C{client}, C{timeout} or C{server}.
    @ivar route: The pattern of the URLs that its route answers to, once that is found.
    @ivar phases: What took its time, as far as L{phase} was told.
    """

    began = 0.0
    first = 0.0
    access: Access | None = None
    broken_by = "client"
    digest: str | None = None
    route: str | None = None
    phases: tuple[Phase, ...] = ()
    site: SharedSite
    body: Any
    channel: Any
    _is_counted = False
    _sent = 0

    @property
    def line(self) -> str:
        """
        Method and target as they came, made safe for a log and short; without the query, in which some clients put
        what is secret.
        """
        target, query, _ = self.uri.partition(b"?")
        line = printable((self.method + b" " + target)[:200].decode("ascii", "backslashreplace"))
        return f"{line}?..." if query else line

    @cached_property
    def identifier(self) -> str:
        """What this request is called in logs: as the client, or a proxy, has called it, if that is a name."""
        given = self.field("x-request-id")
        return given[0] if given and _IDENTIFIER.fullmatch(given[0]) else self.site.new_identifier()

    @cached_property
    def trace(self) -> Trace | None:
        """The trace that the client says it is part of; that of its own span, once there is one."""
        given = self.requestHeaders.getRawHeaders(b"traceparent")
        return parse_traceparent(given[0]) if given and len(given) == 1 else None

    @property
    def received(self) -> int:
        """How many bytes of its body have come."""
        received: int = self.body.received
        return received

    @property
    def agent(self) -> bytes | None:
        """What the client calls itself."""
        given = self.requestHeaders.getRawHeaders(b"user-agent")
        return given[0] if given else None

    @property
    def principal(self) -> str | None:
        """Who asks, where that is known."""
        return None if self.access is None else self.access.name

    def phase(self, name: str) -> AbstractContextManager[None]:
        """
        Note how long something takes, where there are spans.

        @param name: What it is.
        """
        if not self.site.notes_phases or len(self.phases) == MOST_PHASES:
            return _NOTHING
        phase = Phase(name, self.site.seconds)
        self.phases = (*self.phases, phase)
        return phase

    def has_sent(self, amount: int) -> None:
        """Some of the answer's body was sent past L{write}."""
        self.sentLength += amount
        self.note_sent()

    def note_sent(self) -> None:
        """Count what has been sent since the last time."""
        if amount := self.sentLength - self._sent:
            self._sent = self.sentLength
            self.site.counts.sent(amount)

    def note_end(self, *, answered: bool) -> None:
        """It has been answered, or its connection is lost; it is counted once, and not before its head is complete."""
        if self._is_counted or not self.began:
            return
        self._is_counted = True
        now = self.site.seconds()
        first = self.first or now
        code = self.code if answered or self.startedWriting else 0
        if self.sentLength != self._sent:
            self.note_sent()
        size = self.body.received if self.method == b"PUT" else self.sentLength
        whole = size if answered else None
        self.site.counts.ended(self.method, code, now - self.began, first - self.began, whole)
        if self.site.when_over is not None:
            self.site.when_over(self, now, code, answered)
        if not answered:
            self.site.counts.aborted("out" if self.body.complete else "in", self.broken_by)

    def parseCookies(self) -> None:
        """This server has none."""

    def field(self, name: str) -> list[str]:
        """All values of a header field, in order; none where it is absent."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return [value.decode("latin-1") for value in values] if values else []

    def set(self, name: bytes, value: str | bytes) -> None:
        """Set a header field of the answer; text goes as L{field_value} writes it."""
        self.responseHeaders.setRawHeaders(name, [value if isinstance(value, bytes) else field_value(value)])

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """The certificate that the client has proved to have, where C{[tls] client} asks for one and it has one."""
        return getattr(self.transport, "peer_certificate", None)
