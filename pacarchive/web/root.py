"""What the server says of itself: that it is there, and whether it is well."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs

from pacarchive.access.rights import Right
from pacarchive.settings.server import Compatibility
from pacarchive.web.access import ids_of
from pacarchive.web.description import JSON, SERVER, XML, Answer, Operation
from pacarchive.web.files_described import DEPTH
from pacarchive.web.http.documents import short_document
from pacarchive.web.http.errors import ERROR, HTTPRefusal
from pacarchive.web.http.schemas import boolean, record, text
from pacarchive.web.inventory import COST, SLICE, send_all
from pacarchive.web.listing import Listing
from pacarchive.web.propfind import (
    BEGIN,
    COLLECTION,
    CONTENT_TYPE,
    END,
    collection_multistatus,
    depth_of,
    response,
    responses,
    write_multistatus,
)
from pacarchive.web.routing import Open

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

_HEAD = Operation(SERVER, "Tell that the server is there, without words", (Answer(200, "It is."),))
_GET = Operation(
    SERVER,
    "Tell that the server is there",
    (
        Answer(
            200,
            "It is; whether it is well, `/health` says.",
            record("There", "That the server is there.", {"message": text("The predecessor's words.")}),
        ),
    ),
)
_WELL = record(
    "Health",
    "Whether requests can be expected to succeed.",
    {
        "ready": boolean("Whether they can."),
        "degraded": boolean("Whether something does not work, or is not known, although they can."),
        "message": text("Words for people."),
    },
)
_HEALTH = Operation(
    SERVER,
    "Tell whether requests can be expected to succeed",
    (
        Answer(200, "They can.", _WELL),
        Answer(503, "They cannot; or the server has too much to do.", {JSON: {"anyOf": [_WELL, ERROR]}}),
    ),
    words="For balancers, which look at the status.",
)
_PROPFIND = Operation(
    SERVER,
    "Tell a WebDAV client that this is a collection",
    (Answer(207, "A multistatus with the collection; with `Depth: 1` also with all files in it.", {XML: text()}),),
    takes=(DEPTH,),
    refuses={
        403: "`Depth` is another.",
        501: "The storage cannot list its files.",
        503: "Too many lists are made at a time, for this client or for all.",
    },
)


def declare(router: Router) -> None:
    """Declare the routes."""
    router.answers("HEAD", "/", needs=Open.TO_ALL, described=_HEAD)(head_root)
    router.answers("GET", "/", needs=Open.TO_ALL, described=_GET)(get_root)
    router.answers("GET", "/health", needs=Open.TO_ALL, described=_HEALTH)(health)
    router.answers("PROPFIND", "/", needs=Right.STAT, described=_PROPFIND)(propfind_root)
    router.tells_options(SERVER, "/")  # and of the whole server: C{OPTIONS *} comes there too


async def head_root(app: RouteContext, request: ArchiveRequest) -> bytes:
    """As GET, without the words; the predecessor had nothing here."""
    if app.compatibility is Compatibility.PACIFICA:
        raise HTTPRefusal(HTTPStatus.NOT_FOUND, "Missing parameters: filepath")
    return await get_root(app, request)


async def get_root(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Say that the server is there."""
    return short_document(request, {"message": "Pacifica Archive Interface Up and Running"})


async def health(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Say whether requests can be expected to succeed: 200 or 503, for balancers; the words are for people."""
    health = await app.health_probe.ask()
    if obstacle := app.recall.obstacle:
        health = attrs.evolve(health, words=f"{health.words}; recalls: {obstacle}", degraded=True)
    if not health.ready:
        request.setResponseCode(HTTPStatus.SERVICE_UNAVAILABLE)
    document = {"ready": health.ready, "degraded": health.degraded, "message": health.words}
    return short_document(request, document)


async def propfind_root(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Tell a WebDAV client that this is a collection; with C{Depth: 1} also what is in it."""
    if depth_of(request) == 0:
        return write_multistatus(request, collection_multistatus("/"))
    listing = Listing(app.backend, ids_of(request, Right.STAT), locality=False)
    request.setResponseCode(HTTPStatus.MULTI_STATUS)
    with request.site.listings.enter(request.client) as place, request.while_listened_to():
        begin = f"{BEGIN}{response('/', COLLECTION)}\n"

        async def more() -> str:
            text = responses(await listing.more(SLICE))
            await request.give_way(SLICE * COST)
            return text

        await send_all(request, listing, place, CONTENT_TYPE, more, begin, END)
    return b""
