"""The REST API as one resource: all routes, bound to what they work with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pacarchive.web import files, inventory, jobs, metrics, openapi, recalls, root, tape
from pacarchive.web.console import routes as console
from pacarchive.web.dispatch import Dispatch
from pacarchive.web.http.site import ArchiveSite
from pacarchive.web.quick import quick_answers
from pacarchive.web.quick_puts import quick_puts
from pacarchive.web.routing import Router

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.resource import IResource

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.settings import LimitSettings


def archive_resource(context: RouteContext) -> IResource:
    """
    The tree of resources for a site.

    @param context: What the routes work with.
    """
    others: IResource = ROUTER.__get__(context, type(context)).resource()
    return Dispatch(context, ROUTER.routes_at(files.FILE), others)


def archive_site(context: RouteContext, limits: LimitSettings, reactor: IReactorTime) -> ArchiveSite:
    """
    The site that serves them.

    @param context: What the routes work with.
    @param limits: The limits in force.
    @param reactor: The time.
    """
    site = ArchiveSite(
        archive_resource(context), limits, reactor, partial(ROUTER.first_look, context), context.telemetry
    )
    needs = {method: ROUTER.right_for(method.decode(), files.FILE) for method in (b"GET", b"HEAD", b"DELETE")}
    site.quick = quick_answers(context, limits, needs)
    site.quick_puts = quick_puts(context, limits, ROUTER.right_for("PUT", files.FILE))
    return site


def _all_routes() -> Router:
    router = Router()
    for room in (files, root, metrics, inventory, jobs, recalls, tape, openapi, console):
        room.declare(router)
    return router


ROUTER = _all_routes()
"""Every route that there is."""
