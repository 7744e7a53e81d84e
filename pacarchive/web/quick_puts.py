"""A short road for small files that are stored: a PUT that came in one read, by who is known already.

It is the route of a PUT (L{pacarchive.web.files.put}) without a request object: the same plan, the same way into the
archive, the same fields in the answer.  What is unusual in the least takes the general road, and what fails here is
told there.  C{tests/web/test_quick_puts.py} holds the two together.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.interfaces import IQuickWrites
from pacarchive.runtime.measuring import observe
from pacarchive.web.auditing import recorded
from pacarchive.web.dispatch import FILE_PATH
from pacarchive.web.files import plan_put, put_document, put_fields, stored_words
from pacarchive.web.http.answers import Present, field_value
from pacarchive.web.http.body import AT_ONCE
from pacarchive.web.http.plain import limits_are_usual
from pacarchive.web.http.small import SmallPut
from pacarchive.web.http.turns import LINE_COST, REQUEST_COST
from pacarchive.web.quick import caller_of
from pacarchive.web.upload import receive_whole

if TYPE_CHECKING:
    from pacarchive.access.gate import Caller
    from pacarchive.access.identity import Access
    from pacarchive.model import FileStatus
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.admission import Admission, Place
    from pacarchive.web.http.channel import ArchiveChannel
    from pacarchive.web.http.plain import PlainHead
    from pacarchive.web.http.settings import LimitSettings
    from pacarchive.web.http.state import SharedSite
    from pacarchive.web.upload import UploadPlan

_PLANNED = frozenset(
    {b"last-modified", b"if-match", b"if-none-match", b"content-md5", b"digest", b"content-digest", b"repr-digest"}
)
"""Fields that say how a file is to be stored."""

_IGNORED = frozenset({b"accept", b"accept-encoding", b"accept-language", b"content-type", b"content-length"})
"""Fields that change nothing, and one that has been read."""

_log = Logger()


def quick_puts(app: RouteContext, limits: LimitSettings, create: Right) -> QuickPuts | None:
    """
    What stores small files, where the limits in force are not narrower than what is usual.

    @param create: What a PUT needs.
    """
    return QuickPuts(app, create) if limits_are_usual(limits) else None


@attrs.frozen
class _Said:
    """
    What the fields of a head say, which is the same in all requests of most connections.

    @ivar fields: As they came.
    @ivar host: The host that they name.
    @ivar caller: Who asks, by them and by the connection.
    @ivar agent: What the client calls itself.
    @ivar cost: What they take of a turn.
    @ivar planned: Those that say how the file is to be stored.
    @ivar plans: What is asked for, by whether the caller may change what is there.
    """

    fields: list[tuple[bytes, bytes]]
    host: bytes
    caller: Caller
    agent: bytes | None
    cost: int
    planned: dict[str, list[str]]
    plans: dict[bool, UploadPlan] = attrs.field(factory=dict)

    def get(self, name: str) -> list[str]:
        """All values of a field that says how the file is to be stored."""
        return self.planned.get(name.lower(), [])


class QuickPuts:
    """
    Stores small files.

    @param app: What the routes work with.
    @param create: What a PUT needs.
    """

    def __init__(self, app: RouteContext, create: Right) -> None:
        self._app = app
        self._create = create
        self._present = Present(app.clock)
        self._writes = IQuickWrites(app.backend, None)

    def __call__(self, channel: ArchiveChannel, head: PlainHead, data: bytes) -> bool:
        """
        Store a file, and answer when it is stored.

        @param channel: The connection, on which nothing is under way.
        @param head: The head of a request.
        @param data: Its body, as a whole.
        @return: Whether that has begun; else the general road is to see to the request.
        """
        site = channel.site
        if head.method != b"PUT" or len(data) > AT_ONCE or site.notes_phases:
            return False
        if (target := FILE_PATH.match(head.target)) is None:
            return False
        said = channel.quick_put
        if said is None or said.fields != head.fields:
            said = channel.quick_put = _read_fields(channel, head.fields)
        if said is None or said.host != channel.settled_host:
            return False
        access = self._app.gate.remembered(said.caller)
        file_id = int(target[1])
        if access is None or not access.may(self._create, file_id):
            return False
        try:
            plan = self._plan(access, said, len(data), file_id)
        except errors.ArchiveError:
            return False
        site.turns.spend(said.cost + (len(data) >> 10))
        site.counts.received(len(data))
        put = SmallPut(channel, head, data, access, said.agent, site.new_identifier(), site.seconds(), plan.compares)
        channel.begin(put)
        if not self._is_given(put, file_id, plan, site):
            stored = Deferred.fromCoroutine(self._store(put, file_id, plan, site.transfers))
            stored.addErrback(partial(site.incident, f"{put.line}: behind its answer"))
        return True

    def _plan(self, access: Access, said: _Said, length: int, file_id: int) -> UploadPlan:
        """
        What a PUT asks for: the same as the one before with the same fields, by who may do the same.

        @raise errors.ArchiveError: It cannot be done.
        """
        changes = access.may(Right.MODIFY, file_id)
        if (plan := said.plans.get(changes)) is None:
            plan = said.plans[changes] = plan_put(self._app, access, said.get, length, file_id)
        return plan

    def _is_given(self, put: SmallPut, file_id: int, plan: UploadPlan, site: SharedSite) -> bool:
        """Whether the backend has been given the file as it is, and reports what comes of it."""
        if self._writes is None or self._app.audit is not None:
            return False
        try:
            place = site.transfers.enter(put.client)
        except errors.Overloaded:
            return False
        report = partial(self._reported, site, put, file_id, place, time.monotonic())
        if not self._writes.store_small(file_id, put.data, plan.mtime_ns, plan.checks.given, plan.conditions, report):
            place.rest()
            return False
        return True

    def _reported(
        self,
        site: SharedSite,
        put: SmallPut,
        file_id: int,
        place: Place,
        began: float,
        outcome: FileStatus | Failure,
    ) -> None:
        place.rest()
        observe(time.monotonic() - began, "commit_duration_seconds")
        try:
            if isinstance(outcome, Failure):
                _fail(put, outcome)
            else:
                self._answer(put, file_id, outcome)
        except Exception:  # noqa: BLE001  (whatever it is: it is nothing to the backend)
            site.incident(f"{put.line}: behind its answer", Failure())

    async def _store(self, put: SmallPut, file_id: int, plan: UploadPlan, transfers: Admission) -> None:
        app = self._app
        try:
            status = await receive_whole(
                put.data,
                lambda: transfers.enter(put.client),
                app.backend,
                file_id,
                plan,
                commit=lambda commit: recorded(app, put, "put", commit, file_id, stored_words),
            )
        except Exception:  # noqa: BLE001  (whatever it is, the route knows how to tell it)
            _fail(put, Failure())
        else:
            self._answer(put, file_id, status)

    def _answer(self, put: SmallPut, file_id: int, status: FileStatus) -> None:
        try:
            fields = [(name, field_value(value)) for name, value in put_fields(self._app, status, file_id)]
        except Exception:  # noqa: BLE001  (as above)
            _fail(put, Failure())
        else:
            put.created(self._present()[0], fields, _document(status.size))


def _fail(put: SmallPut, failure: Failure) -> None:
    if not put.failed(failure):
        _log.debug("a PUT failed whose client has gone: {reason}", reason=failure.value)


@lru_cache(1024)
def _document(size: int) -> bytes:
    return json.dumps(put_document(size)).encode("ascii")


def _read_fields(channel: ArchiveChannel, given: list[tuple[bytes, bytes]]) -> _Said | None:
    """What the fields of a head say; C{None} where there is one that is not usual."""
    planned: dict[str, list[str]] = {}
    host = authorization = agent = None
    for name, value in given:
        lower = name.lower()
        if lower in _PLANNED:
            planned.setdefault(lower.decode("ascii"), []).append(value.decode("ascii"))
        elif lower == b"host" and host is None:
            host = value
        elif lower == b"authorization" and authorization is None:
            authorization = value
        elif lower == b"user-agent":
            agent = value if agent is None else agent
        elif lower not in _IGNORED and not (lower == b"connection" and value.lower() == b"keep-alive"):
            return None
    if host is None:
        return None
    cost = REQUEST_COST + LINE_COST * (len(given) + 2)
    return _Said(given, host, caller_of(channel, authorization), agent, cost, planned)
