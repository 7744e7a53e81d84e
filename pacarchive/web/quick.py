"""A short road for the plainest requests: GET and HEAD of a small file that the machine holds in memory.

A head that is written as most are is answered from its bytes, with neither a request nor a route.  It is the same
answer byte for byte, by the same rules: who may what, the digest, the limits of a turn.  Whatever is unusual in the
least takes the general road (L{pacarchive.web.files}): another field, a body, a host or a caller that was not seen
before, a file that has to be waited for, and everything that ends in a refusal.
C{tests/web/test_quick.py} holds the two roads together.
"""

from __future__ import annotations

import re
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

from pacarchive.access.gate import Caller
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import IQuickReads
from pacarchive.settings.server import VerifyReads
from pacarchive.web.describing import description_of, last_modified, mtime_of
from pacarchive.web.download import SMALL
from pacarchive.web.http.answers import ALLOW, REVALIDATED, SERVER, Present, QuickAnswer, field_value
from pacarchive.web.http.plain import MOST_FIELDS, limits_are_usual
from pacarchive.web.http.shares import client_of
from pacarchive.web.http.turns import LINE_COST, QUICK_COST

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.access.rights import Right
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.channel import ArchiveChannel
    from pacarchive.web.http.settings import LimitSettings

_FIRST_LINE = re.compile(rb"(GET|HEAD) /(0|[1-9][0-9]{0,18}) HTTP/1\.1\r\n")  # of twenty digits, not all are ids

# What these fields say changes no answer of this server, but for the first and the last two.
_FIELD = re.compile(
    rb"(?:(?P<host>host)|(?P<authorization>authorization)|(?P<connection>connection)"
    rb"|(?P<agent>user-agent)|accept|accept-encoding|accept-language): ?(?P<value>[!-~](?:[ -~]*[!-~])?)\r\n",
    re.IGNORECASE,
)

_EVERY = f"Server: {SERVER}\r\nDate: %s\r\nX-Request-Id: %s\r\nAllow: {ALLOW}\r\nCache-Control: {REVALIDATED}\r\n"
_READ = (
    f"HTTP/1.1 200 OK\r\n{_EVERY}ETag: %s\r\nLast-Modified: %s\r\n%sContent-Type: application/octet-stream\r\n"
    "Accept-Ranges: bytes\r\nContent-Length: %d\r\n\r\n"
).encode("ascii")
_TOLD = f"HTTP/1.1 204 No Content\r\n{_EVERY}%s\r\n".encode("ascii")


def quick_answers(app: RouteContext, limits: LimitSettings, *, read: Right, stat: Right) -> QuickAnswers | None:
    """
    What answers at once, where the backend can.

    @param limits: The limits in force: where they are narrower than what is usual, the general road sees to them.
    @param read: What a GET needs.
    @param stat: What a HEAD needs.
    """
    reads = IQuickReads(app.backend, None)
    return None if reads is None or not limits_are_usual(limits) else QuickAnswers(app, reads, read, stat)


@attrs.frozen
class _Fields:
    """
    The fields of a head, which are the same in all requests of most connections.

    @ivar written: As they came.
    @ivar host: The host that they name.
    @ivar caller: Who asks, by them and by the connection.
    @ivar agent: What the client calls itself.
    """

    written: bytes
    host: bytes
    caller: Caller
    agent: bytes | None


class QuickAnswers:
    """
    Answers what can be answered at once.

    @param app: What the routes work with.
    @param reads: The backend.
    @param read: What a GET needs.
    @param stat: What a HEAD needs.
    """

    def __init__(self, app: RouteContext, reads: IQuickReads, read: Right, stat: Right) -> None:
        self._gate = app.gate
        self._recall = app.recall
        self._look_now = reads.look_now
        self._read_now = reads.read_now
        self._verifies = app.settings.verify_reads is not VerifyReads.NEVER
        self._read = read
        self._stat = stat
        self._present = Present(app.clock)

    def __call__(self, channel: ArchiveChannel, data: bytes) -> QuickAnswer | None:
        """
        Answer a request.

        @param channel: The connection, on which nothing is under way.
        @param data: What came over it.
        @return: The answer, whole; C{None} where the general road is to give one.
        """
        if (first := _FIRST_LINE.match(data)) is None:
            return None
        fields = channel.quick_fields
        written = data[first.end() :]
        if fields is None or fields.written != written:
            fields = channel.quick_fields = _read_fields(channel, written)
        if fields is None or fields.host != channel.settled_host:
            return None
        access = self._gate.remembered(fields.caller)
        file_id = int(first[2])
        if first[1] == b"GET":
            if access is None or not access.may(self._read, file_id):
                return None
            answer = self._get(file_id, channel.site.new_identifier)
        else:
            if access is None or not access.may(self._stat, file_id):
                return None
            answer = self._head(file_id, channel.site.new_identifier)
        if answer is not None:
            channel.site.turns.spend(QUICK_COST + (answer.sentLength >> 9))
            answer.access, answer.agent = access, fields.agent
        return answer

    def _get(self, file_id: int, name: Callable[[], str]) -> QuickAnswer | None:
        if (found := self._read_now(file_id, SMALL)) is None:
            return None
        status, data = found
        if (digest := status.digests.get(PRIMARY)) is None:
            return None
        if self._verifies and sha256(data).digest() != digest:
            return None
        date, now = self._present()
        self._recall.was_read(file_id)
        mtime = mtime_of(status)
        line = b"" if mtime is None else b"X-Pacarchive-Mtime: %s\r\n" % mtime.encode("ascii")
        etag, identifier = field_value(status.etag), name()
        head = _READ % (date, identifier.encode("ascii"), etag, last_modified(status, now), line, status.size)
        compared = "matched" if self._verifies else None
        return QuickAnswer(head + data, b"GET", b"/%d" % file_id, HTTPStatus.OK, status.size, identifier, compared)

    def _head(self, file_id: int, name: Callable[[], str]) -> QuickAnswer | None:
        if (status := self._look_now(file_id)) is None:
            return None
        date, _ = self._present()
        told = b"".join([b"%s: %s\r\n" % (name, field_value(value)) for name, value in description_of(status)])
        identifier = name()
        head = _TOLD % (date, identifier.encode("ascii"), told)
        return QuickAnswer(head, b"HEAD", b"/%d" % file_id, HTTPStatus.NO_CONTENT, 0, identifier)


def _read_fields(channel: ArchiveChannel, written: bytes) -> _Fields | None:
    """Read the fields of a head and the empty line behind them; C{None} where one is not written as is usual."""
    host = authorization = agent = None
    at = lines = 0
    while (field := _FIELD.match(written, at)) is not None:
        at = field.end()
        lines += 1
        value = field["value"]
        if field["host"] is not None:
            if host is not None:
                return None
            host = value
        elif field["authorization"] is not None:
            if authorization is not None:
                return None
            authorization = value
        elif field["agent"] is not None:
            agent = value if agent is None else agent
        elif field["connection"] is not None and value.lower() != b"keep-alive":
            return None
    if host is None or written[at:] != b"\r\n" or lines > MOST_FIELDS:
        return None
    channel.site.turns.spend(LINE_COST * lines)
    return _Fields(written, host, caller_of(channel, authorization), agent)


def caller_of(channel: ArchiveChannel, authorization: bytes | None) -> Caller:
    """
    Who asks over a connection that proves nothing by itself.

    @param authorization: The field of that name, if there is one.
    """
    peer = channel.transport.getPeer()
    address = peer.host if isinstance(peer, IPv4Address | IPv6Address) else None
    return Caller(authorization, address, client_of(peer), crowd=channel.site.is_crowd(peer))
