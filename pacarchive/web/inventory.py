"""The archive's files over HTTP: C{GET /files}, in pages (JSON) or all at once (NDJSON).

File ids are strings, as everywhere.  A page that is not the last has C{next}, the URL of what follows; it may have
fewer files than were asked for, or none, where there were many others to be passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from pacarchive import errors
from pacarchive.access.rights import IdRanges, Right
from pacarchive.ids import MAX_FILE_ID
from pacarchive.model import INVENTORY_FIELDS, inventory_entry
from pacarchive.web.access import ids_of
from pacarchive.web.description import FILES, NDJSON
from pacarchive.web.http.documents import LARGE, streaming, write_document
from pacarchive.web.http.flow import Aborted
from pacarchive.web.inventory_described import LIST
from pacarchive.web.job_documents import page_url
from pacarchive.web.job_requests import number, page_limit, query
from pacarchive.web.listing import Listing
from pacarchive.web.newer import newer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

    from pacarchive.model import FileStatus
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.admission import Place
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

SLICE: Final = 200
"""The names that are looked at in one step: what a thread does for a few milliseconds, and the reactor for one."""

LOOKED_AT: Final = 20_000
"""The most names that are looked at for one page."""

WRITTEN: Final = 500
"""As L{SLICE}, where a thread writes the lines, too, and the reactor only passes them on."""

COST: Final = 8
"""Of an entry for the reactor, in microseconds."""

_PASSED_ON = 1  # likewise, where it has been written already
_HELD = 600  # bytes of memory for an entry of a page


def declare(router: Router) -> None:
    """Declare the routes."""
    router.answers("GET", "/files", needs=Right.STAT, described=LIST)(newer(list_files))
    router.tells_options(FILES, "/files")


async def list_files(app: RouteContext, request: ArchiveRequest) -> bytes:
    """A page of files, or all of them."""
    fields = _fields(request)
    listing = Listing(
        app.backend,
        _ids(request),
        query(request, "cursor") or "",
        digests="digests" in fields,
        locality="locality" in fields,
    )
    request.set(b"Vary", b"Accept")
    streams = _prefers_lines(request)
    limit = 0 if streams else page_limit(request)
    if streams and query(request, "limit") is not None:
        raise errors.InvalidRequest('"limit" is the size of a page; lines come until all files are told.')
    if request.method == b"HEAD":
        request.set(b"Content-Type", NDJSON if streams else "application/json")
        return b""
    with request.site.listings.enter(request.client) as place, request.while_listened_to():
        if streams:
            await _send_lines(request, listing, fields, place)
            return b""
        return await _page(request, listing, fields, limit)


async def _page(request: ArchiveRequest, listing: Listing, fields: Collection[str], limit: int) -> bytes:
    files: dict[int, FileStatus | Exception] = {}
    looked_at = 0
    while listing.cursor is not None and len(files) < limit and looked_at < LOOKED_AT:
        most = min(SLICE, limit - len(files))
        files |= await listing.more(most)
        looked_at += most
        request.hold("page", len(files) * _HELD)
        await request.give_way(most)
    document = {}
    if listing.cursor is not None:
        same = {name: query(request, name) for name in ("from", "to", "fields")}
        document["next"] = page_url("/files", **same, limit=limit, cursor=listing.cursor)
    entries = (inventory_entry(file_id, status, fields) for file_id, status in files.items())
    return await write_document(request, document, {"files": entries})


async def _send_lines(request: ArchiveRequest, listing: Listing, fields: Collection[str], place: Place) -> None:
    most, cost = (WRITTEN, _PASSED_ON) if listing.has_lines else (SLICE, COST)

    async def lines() -> str:
        text = await listing.more_lines(most, fields)
        await request.give_way(most * cost)
        return text

    await send_all(request, listing, place, NDJSON.encode("ascii"), lines)


async def send_all(
    request: ArchiveRequest,
    listing: Listing,
    place: Place,
    content_type: bytes,
    more: Callable[[], Awaitable[str]],
    begin: str = "",
    end: str = "",
) -> None:
    """
    Answer with all files of a list, as fast as the client takes them.

    @param place: What is counted of it while bytes flow.
    @param more: Writes some files, and gives way to others.
    @raise errors.ArchiveError: There is nothing to list; nothing has been sent.
    @raise Aborted: It went wrong on the way, and the connection was cut, so that nobody takes it for all.
    """
    pieces = _pieces(listing, more, begin, end)
    try:
        first = await anext(pieces)
        request.set(b"Content-Type", content_type)
        async with streaming(request, place) as stream:
            try:
                await stream.send([first])
                async for piece in pieces:
                    await stream.send([piece])
            except errors.ArchiveError as error:
                _break_off(request, error)
    finally:
        await pieces.aclose()


async def _pieces(
    listing: Listing,
    more: Callable[[], Awaitable[str]],
    begin: str,
    end: str,
) -> AsyncGenerator[bytes, None]:
    """The text of a list, in pieces that are worth a system call."""
    some, length = [begin], 0
    while listing.cursor is not None:
        text = await more()
        some.append(text)
        length += len(text)
        if length >= LARGE:
            yield "".join(some).encode("ascii")
            some, length = [], 0
    yield "".join([*some, end]).encode("ascii")


def _break_off(request: ArchiveRequest, error: errors.ArchiveError) -> NoReturn:
    request.site.failed(type(error).__name__, request, error)
    request.cut("server")
    raise Aborted from error


def _ids(request: ArchiveRequest) -> IdRanges:
    """Those that are asked for, and that the caller may know of."""
    first, last = query(request, "from"), query(request, "to")
    low = 0 if first is None else number("from", first, 0, MAX_FILE_ID)
    high = MAX_FILE_ID if last is None else number("to", last, 0, MAX_FILE_ID)
    if low > high:
        raise errors.InvalidRequest('"from" is not more than "to".')
    return ids_of(request, Right.STAT) & IdRanges(((low, high),))


def _fields(request: ArchiveRequest) -> Collection[str]:
    if (text := query(request, "fields")) is None:
        return INVENTORY_FIELDS
    fields = text.split(",")
    if set(fields) <= set(INVENTORY_FIELDS):
        return fields
    raise errors.InvalidRequest(f'"fields" are some of {", ".join(INVENTORY_FIELDS)}.')


def _prefers_lines(request: ArchiveRequest) -> bool:
    kinds = [kind.partition(";")[0].strip().lower() for value in request.field("accept") for kind in value.split(",")]
    return NDJSON in kinds
