"""A short road for the plainest requests: GET and HEAD of a small file that the machine holds in memory.  What is
refused by its head alone goes as short a road (L{pacarchive.web.quick_refusals}).

A head that is written as most are is answered from its bytes, with neither a request nor a route.  It is the same
answer byte for byte, by the same rules: who may what, the digest, the limits of a turn.  Whatever is unusual in the
least takes the general road (L{pacarchive.web.files}): another field, a body, a host or a caller that was not seen
before, a file that has to be waited for, and what goes wrong.
C{tests/web/test_quick.py} holds the two roads together.
"""

from __future__ import annotations

import re
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.http import datetimeToString

from pacarchive.access.gate import Caller
from pacarchive.access.identity import Access, How
from pacarchive.digests import PRIMARY
from pacarchive.interfaces import IQuickReads
from pacarchive.model import FileStatus
from pacarchive.settings.server import VerifyReads
from pacarchive.times import SECOND
from pacarchive.web.describing import description_of, last_modified, mtime_of
from pacarchive.web.download import SMALL
from pacarchive.web.http.answers import ALLOW, REVALIDATED, SERVER, field_value
from pacarchive.web.http.ledger import Asking, Entry, Sort
from pacarchive.web.http.plain import MOST_FIELDS, limits_are_usual
from pacarchive.web.http.shares import client_of
from pacarchive.web.http.turns import LINE_COST, QUICK_COST
from pacarchive.web.quick_refusals import QuickRefusals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.access.rights import Right
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.channel import ArchiveChannel
    from pacarchive.web.http.settings import LimitSettings

_FIRST_LINE = re.compile(rb"(GET|HEAD|DELETE) /(0|[1-9][0-9]{0,18}) HTTP/1\.1\r\n")  # of twenty digits, not all are ids

# What these fields say changes no answer of this server, but for the first and the last two.
_FIELD = re.compile(
    rb"(?:(?P<host>host)|(?P<authorization>authorization)|(?P<connection>connection)"
    rb"|(?P<agent>user-agent)|accept|accept-encoding|accept-language): ?(?P<value>[!-~](?:[ -~]*[!-~])?)\r\n",
    re.IGNORECASE,
)

_BEFORE = "HTTP/1.1 {}\r\nServer: " + SERVER + "\r\nDate: {}\r\nX-Request-Id: {}-"
_BEHIND = f"\r\nAllow: {ALLOW}\r\nCache-Control: {REVALIDATED}\r\n".encode("ascii")
_READ = (
    b"%sETag: %s\r\nLast-Modified: %s\r\n%sContent-Type: application/octet-stream\r\n"
    b"Accept-Ranges: bytes\r\nContent-Length: %d\r\n\r\n"
)

_NOBODY = Access("", How.NONE, ())

KEPT = 2048
"""Files of which that is kept which answers say of them, to GET and to HEAD each."""


def quick_answers(app: RouteContext, limits: LimitSettings, needs: Mapping[bytes, Right]) -> QuickAnswers | None:
    """
    What answers at once, where the limits in force are not narrower than what is usual.

    @param needs: What a GET, a HEAD and a DELETE of a file need, the last of which may be refused at once.
    """
    return QuickAnswers(app, needs) if limits_are_usual(limits) else None


@attrs.define(eq=False)
class _Fields:
    """
    The fields of a head, which are the same in all requests of most connections.

    @ivar written: As they came.
    @ivar host: The host that they name.
    @ivar caller: Who asks, by them and by the connection.
    @ivar asking: What is noted of them.
    @ivar epoch: The gate's, when it was asked last who that is.
    @ivar until: For how long that holds.
    @ivar access: What the caller may.
    @ivar may: For each method, whether the caller may for all files what it needs.
    """

    written: bytes
    host: bytes
    caller: Caller
    asking: Asking
    epoch: int = -1
    until: float = 0.0
    access: Access = _NOBODY
    may: dict[bytes, bool] = attrs.field(factory=dict)


_Told: TypeAlias = tuple[FileStatus, bytes, bytes]
"""What an answer says of a file: the file, the digest of its bytes, and all of the head behind the name of the
request."""


class QuickAnswers:
    """
    Answers what can be answered at once.

    @param app: What the routes work with.
    @param needs: What is needed, by method.
    """

    def __init__(self, app: RouteContext, needs: Mapping[bytes, Right]) -> None:
        self._gate = app.gate
        self._recall = app.recall
        reads = IQuickReads(app.backend, None)
        self._look_now = _nothing if reads is None else reads.look_now
        self._read_now = _nothing if reads is None else reads.read_now
        self._verifies = app.settings.verify_reads is not VerifyReads.NEVER
        self._needs = needs
        self._refusals = QuickRefusals(app)
        self._got = Sort(b"GET", HTTPStatus.OK, "matched" if self._verifies else None)
        self._looked = Sort(b"HEAD", HTTPStatus.NO_CONTENT)
        self._second = -1
        self._before = {self._got: b"", self._looked: b""}
        self._contents: dict[int, _Told] = {}
        self._descriptions: dict[int, _Told] = {}

    def __call__(self, channel: ArchiveChannel, data: bytes, now: float) -> tuple[bytes, Entry] | None:
        """
        Answer a request.

        @param channel: The connection, on which nothing is under way.
        @param data: What came over it.
        @param now: The time.
        @return: The answer, whole, and what is to be noted of it; C{None} where the general road is to give one.
        """
        if (first := _FIRST_LINE.match(data)) is None:
            return None
        fields = channel.quick_fields
        written = data[first.end() :]
        if fields is None or fields.written != written:
            fields = channel.quick_fields = _read_fields(channel, written)
        if fields is None or fields.host != channel.settled_host:
            return None
        method, digits = first.groups()
        file_id = int(digits)
        site = channel.site
        if (fields.epoch != self._gate.epoch or now >= fields.until) and not self._recognises(fields):
            return self._refusals(site, method, b"/" + digits, fields.caller, fields.asking, now)
        if not fields.may[method] and not fields.access.may(self._needs[method], file_id):
            return self._refusals(site, method, b"/" + digits, fields.caller, fields.asking, now)
        if int(now) != self._second:
            self._begin_second(int(now), site.run)
        found = self._get(file_id) if method == b"GET" else self._head(file_id) if method == b"HEAD" else None
        if found is None:
            return None
        sort, head, body = found
        site.turns.spend(QUICK_COST + (len(body) >> 9))
        number = site.new_number()
        answer = b"".join((self._before[sort], b"%x" % number, head, body))
        return answer, (sort, fields.asking, b"/" + digits, len(body), number, now, site.seconds())

    def _get(self, file_id: int) -> tuple[Sort, bytes, bytes] | None:
        """What a GET is answered: its sort, the head behind the name of the request, and the body."""
        if (found := self._read_now(file_id, SMALL)) is None:
            return None
        status, body = found
        told = self._contents.get(file_id)
        if told is None or told[0] is not status:
            told = self._content(file_id, status)
        if told is None or (self._verifies and sha256(body).digest() != told[1]):
            return None
        self._recall.was_read(file_id)
        return self._got, told[2], body

    def _head(self, file_id: int) -> tuple[Sort, bytes, bytes] | None:
        """The same for a HEAD."""
        if (status := self._look_now(file_id)) is None:
            return None
        told = self._descriptions.get(file_id)
        if told is None or told[0] is not status:
            told = self._description(file_id, status)
        return self._looked, told[2], b""

    def _recognises(self, fields: _Fields) -> bool:
        """Whether it is known who asks; what that caller may is noted for the next time."""
        epoch = self._gate.epoch
        if (standing := self._gate.standing(fields.caller)) is None:
            return False
        fields.access, fields.until = standing
        fields.epoch = epoch
        fields.may = {method: fields.access.may_everywhere(right) for method, right in self._needs.items()}
        fields.asking = fields.asking.by(fields.access)
        return True

    def _begin_second(self, second: int, run: str) -> None:
        """Write what answers begin with, which is the same for all of a second."""
        self._second = second
        date = datetimeToString(second).decode("ascii")
        for sort in self._before:
            status = f"{sort.status} {HTTPStatus(sort.status).phrase}"
            self._before[sort] = _BEFORE.format(status, date, run).encode("ascii")

    def _content(self, file_id: int, status: FileStatus) -> _Told | None:
        """What a GET is told of a file; C{None} where it has no digest."""
        if (digest := status.digests.get(PRIMARY)) is None:
            return None
        mtime = mtime_of(status)
        line = b"" if mtime is None else b"X-Pacarchive-Mtime: %s\r\n" % mtime.encode("ascii")
        date = last_modified(status, self._second)
        told = status, digest, _READ % (_BEHIND, field_value(status.etag), date, line, status.size)
        if status.mtime_ns < self._second * SECOND:  # else it will be told otherwise
            _keep(self._contents, file_id, told)
        return told

    def _description(self, file_id: int, status: FileStatus) -> _Told:
        """What a HEAD is told of a file."""
        lines = [b"%s: %s\r\n" % (name, field_value(value)) for name, value in description_of(status)]
        told = status, b"", b"".join((_BEHIND, *lines, b"\r\n"))
        _keep(self._descriptions, file_id, told)
        return told


def _nothing(*asked: int) -> None:
    """What a backend has at once that must look for everything."""


def _keep(kept: dict[int, _Told], file_id: int, told: _Told) -> None:
    if len(kept) >= KEPT:
        kept.clear()
    kept[file_id] = told


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
    asking = Asking(agent, channel.transport.getPeer(), None)
    return _Fields(written, host, caller_of(channel, authorization), asking)


def caller_of(channel: ArchiveChannel, authorization: bytes | None) -> Caller:
    """
    Who asks over a connection that proves nothing by itself.

    @param authorization: The field of that name, if there is one.
    """
    peer = channel.transport.getPeer()
    address = peer.host if isinstance(peer, IPv4Address | IPv6Address) else None
    return Caller(authorization, address, client_of(peer), crowd=channel.site.is_crowd(peer))
