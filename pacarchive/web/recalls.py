"""The queue of recalls over HTTP: how it stands, and what operators do with it.

===============================  =========================================================================
C{GET /recall}                   how it stands
C{GET /recall/cartridges}        what waits, by cartridge, in pages; C{/recall/owners} likewise
C{GET /recall/holds}             what is held; C{POST} holds something, C{DELETE} ends a hold
C{POST /recall/retry}            retries what has failed, or counts it (C{dry_run})
===============================  =========================================================================

C{PATCH /jobs/JOB}, which changes a job's priority, is with the other routes of jobs (L{pacarchive.web.jobs}).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.recall.views import CartridgeOrder
from pacarchive.recall.words import HoldKind, RetryFilter
from pacarchive.web import recalls_described as described
from pacarchive.web.access import owner_of, require_own, shown_owner
from pacarchive.web.auditing import recorded
from pacarchive.web.description import JOBS
from pacarchive.web.http.documents import no_body, write_document
from pacarchive.web.job_requests import check_job, duration, json_object, line, page_limit, query
from pacarchive.web.newer import newer
from pacarchive.web.recall_documents import (
    KINDS,
    cartridge_document,
    hold_document,
    holds_document,
    overview_document,
    owner_document,
    page_document,
    retried_document,
)

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

_MOST_DRIVES = 100_000


def declare(router: Router) -> None:
    """Declare the routes."""
    routes = (
        ("GET", "/recall", overview, Right.ADMIN, described.OVERVIEW_OF_ALL),
        ("GET", "/recall/cartridges", cartridges, Right.POLL, described.LIST_CARTRIDGES),
        ("GET", "/recall/owners", owners, Right.POLL, described.LIST_OWNERS),
        ("GET", "/recall/holds", holds, Right.POLL, described.LIST_HOLDS),
        ("POST", "/recall/holds", hold, Right.ADMIN, described.PUT_HOLD),
        ("DELETE", "/recall/holds", resume, Right.ADMIN, described.END_HOLD),
        ("POST", "/recall/retry", retry, Right.STAGE, described.RETRY),
    )
    for method, url, route, needs, operation in routes:
        router.answers(method, url, needs=needs, described=operation)(newer(route))
    for url in dict.fromkeys(url for _, url, *_ in routes):
        router.tells_options(JOBS, url)


async def overview(app: RouteContext, request: ArchiveRequest) -> bytes:
    """How the queue stands."""
    return await write_document(request, overview_document(await app.recall.operations.overview()))


async def cartridges(app: RouteContext, request: ArchiveRequest) -> bytes:
    """A page of cartridges."""
    owner, after, limit = (
        shown_owner(app, request, query(request, "owner")),
        query(request, "after"),
        page_limit(request),
    )
    name = query(request, "order") or CartridgeOrder.NAME.value
    try:
        order = CartridgeOrder(name)
    except ValueError:
        orders = ", ".join(each.value for each in CartridgeOrder)
        raise errors.InvalidRequest(f'"order" is one of {orders}.') from None
    page = await app.recall.operations.cartridges(owner=owner, order=order, after=after, limit=limit)
    document = page_document(
        page, "/recall/cartridges", owner=query(request, "owner"), order=query(request, "order"), limit=limit
    )
    return await write_document(request, document, {"cartridges": map(cartridge_document, page.rows)})


async def owners(app: RouteContext, request: ArchiveRequest) -> bytes:
    """A page of owners."""
    owner, after, limit = (
        shown_owner(app, request, query(request, "owner")),
        query(request, "after"),
        page_limit(request),
    )
    page = await app.recall.operations.owners(owner=owner, after=after, limit=limit)
    document = page_document(page, "/recall/owners", owner=query(request, "owner"), limit=limit)
    return await write_document(request, document, {"owners": map(owner_document, page.rows)})


async def holds(app: RouteContext, request: ArchiveRequest) -> bytes:
    """What is held."""
    return await write_document(request, holds_document(await app.recall.operations.holds()))


async def hold(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Hold something."""
    document = await json_object(request, {"kind", "cartridge", "drives", "why", "for"}, "hold")
    kind = _kind(document.get("kind"))
    cartridge, drives, why = (
        line(document, "cartridge"),
        document.get("drives"),
        line(document, "why") or "",
    )
    if (kind is HoldKind.CARTRIDGE) != bool(cartridge):
        raise errors.InvalidRequest('A hold of the kind "cartridge" has a "cartridge", and no other has.')
    if (kind is HoldKind.DRIVES) != (drives is not None):
        raise errors.InvalidRequest('A hold of the kind "drives" has "drives", and no other has.')
    if drives is not None and (
        isinstance(drives, bool) or not isinstance(drives, int) or not 0 <= drives <= _MOST_DRIVES
    ):
        raise errors.InvalidRequest(f'"drives" is a number from 0 to {_MOST_DRIVES}.')
    lasts = duration(document, "for")
    until = None if lasts is None else app.clock.seconds() + lasts
    made = await recorded(
        app,
        request,
        "hold",
        lambda: app.recall.operations.hold(
            kind, owner_of(app, request), cartridge=cartridge or "", drives=drives, why=why, until=until
        ),
        more=lambda made: {
            "kind": document["kind"],
            "cartridge": cartridge,
            "drives": drives,
            "why": why or None,
            "until": made.until,
        },
    )
    return await write_document(request, hold_document(made))


async def resume(app: RouteContext, request: ArchiveRequest) -> bytes:
    """End a hold."""
    await no_body(request)
    name, cartridge = query(request, "kind"), query(request, "cartridge")
    kind, why = _kind(name), query(request, "why")
    if (kind is HoldKind.CARTRIDGE) != bool(cartridge):
        raise errors.InvalidRequest('A hold of the kind "cartridge" has a "cartridge", and no other has.')
    await recorded(
        app,
        request,
        "resume",
        lambda: app.recall.operations.resume(kind, cartridge or ""),
        more=lambda _: {"kind": name, "cartridge": cartridge, "why": why},
    )
    return await write_document(request, holds_document(await app.recall.operations.holds()))


async def retry(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Retry what has failed, or say how much that is."""
    document = await json_object(request, {"cartridge", "owner", "reason", "since", "job", "dry_run", "why"}, "retry")
    dry_run, since = document.get("dry_run", False), document.get("since")
    if not isinstance(dry_run, bool):
        raise errors.InvalidRequest('"dry_run" is true or false.')
    if since is not None and (
        isinstance(since, bool) or not isinstance(since, int | float) or not math.isfinite(since) or abs(since) > 1e15
    ):
        raise errors.InvalidRequest('"since" is a number of seconds since 1970.')
    job = line(document, "job")
    if job is not None:
        check_job(job)
        await require_own(app, request, job)
    owner = shown_owner(app, request, line(document, "owner"))
    wanted = RetryFilter(
        cartridge=line(document, "cartridge"),
        owner=owner,
        reason=line(document, "reason"),
        since=since,
        job=job,
    )
    operations, why = app.recall.operations, line(document, "why")
    if dry_run:
        return await write_document(request, retried_document(await operations.count_retries(wanted), dry_run=True))
    done = await recorded(
        app,
        request,
        "retry",
        lambda: operations.retry(wanted),
        more=lambda done: {
            "failed": done.failed,
            "hurried": done.hurried,
            "cartridge": wanted.cartridge,
            "owner": wanted.owner,
            "reason": wanted.reason,
            "since": wanted.since,
            "job": wanted.job,
            "why": why,
        },
    )
    return await write_document(request, retried_document(done, dry_run=False))


def _kind(name: object) -> HoldKind:
    if not isinstance(name, str) or name not in KINDS:
        raise errors.InvalidRequest(f'"kind" is one of {", ".join(KINDS)}.')
    return KINDS[name]
