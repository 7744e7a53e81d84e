"""The list of the archive's files, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from pacarchive.client.documents import check_id, read_listed
from pacarchive.client.errors import ProtocolError
from pacarchive.client.words import FilesPage
from pacarchive.ids import MAX_FILE_ID

PAGE = 2000
"""How many files are asked for at once."""

_ALWAYS = ("bytes", "mtime", "ctime")


class _Asks(Protocol):
    @property
    def _ask(self) -> Callable[..., Awaitable[Any]]: ...


class ListCalls:
    """The call of an L{ArchiveClient<pacarchive.client.client.ArchiveClient>} about which files there are."""

    async def files(
        self: _Asks,
        first: int = 0,
        last: int = MAX_FILE_ID,
        *,
        digests: bool = True,
        locality: bool = True,
        cursor: str = "",
    ) -> AsyncIterator[FilesPage]:
        """
        List files: an asynchronous iterator of pages, the next of which is asked for when it is wanted.

        Nothing is recalled.  The files are in the archive's own order, and a page may be empty.  A file that is there
        all the time comes once; one that is added or removed meanwhile comes or not.

        @param first: The first id that is wanted.
        @param last: The last.
        @param digests: Whether digests are wanted, which takes longer.
        @param locality: Whether it is wanted where files are; likewise.
        @param cursor: The C{cursor} of a page, to go on behind it; the other arguments must be the same.
        """
        fields = (*_ALWAYS, *(["locality"] if locality else []), *(["digests"] if digests else []))
        given: dict[str, object] = {"limit": PAGE, "fields": ",".join(fields)}
        if check_id(first):
            given["from"] = first
        if check_id(last) < MAX_FILE_ID:
            given["to"] = last
        following: str | None = cursor
        while following is not None:
            asked = {**given, "cursor": following} if following else given
            document = await self._ask("GET", f"/files?{urlencode(asked)}", safe=True)
            before, following = following, _cursor(document)
            if following == before:
                raise ProtocolError("The archive's list of files has no end.")
            yield FilesPage(files=read_listed(document), cursor=following)


def _cursor(document: Any) -> str | None:
    """Where the next page begins: the archive names it as a URL, of which no more than this is believed."""
    following = document.get("next") if isinstance(document, dict) else None
    if following is None:
        return None
    cursors = parse_qs(urlsplit(str(following)).query).get("cursor", [])
    if len(cursors) != 1:
        raise ProtocolError("The archive's list of files does not say where it goes on.")
    return cursors[0]
