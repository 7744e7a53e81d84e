"""The files of the archive, a few at a time, for one caller: by walking through the storage, or id by id.

Where a caller may see, or asks for, no more than L{FEW} ids, each of them is looked up: then what that costs does not
depend on the archive, and they come in order.  Else the backend lists what it has, in its own order.
"""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Final

from pacarchive import errors
from pacarchive.access.rights import ALL_IDS, IdRanges
from pacarchive.ids import parse_file_id
from pacarchive.interfaces import IArchiveBackend, IInventory, IInventoryLines
from pacarchive.model import inventory_line
from pacarchive.runtime.statuses import statuses_of
from pacarchive.web.http.errors import HTTPRefusal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pacarchive.model import FileStatus

FEW: Final = 10_000
"""The most ids that are looked up one by one."""

_BY_ID, _WALKING = "i", "p"


class Listing:
    """
    A list of files, from some place on.

    @param backend: Where they are.
    @param ids: Those to list, where they are there.
    @param cursor: Where to begin; empty for the start.
    @param digests: Whether digests are wanted.
    @param locality: Whether the locality is.
    @ivar cursor: Where what follows begins; C{None} where nothing does.
    @raise errors.InvalidRequest: There is no such place.
    @raise HTTPRefusal: The storage cannot list files: 501.
    """

    cursor: str | None

    def __init__(
        self,
        backend: IArchiveBackend,
        ids: IdRanges,
        cursor: str = "",
        *,
        digests: bool = True,
        locality: bool = True,
    ) -> None:
        self._backend = backend
        self._ids = ids
        self._digests = digests
        self._locality = locality
        self.cursor = cursor or (_BY_ID + "0" if ids.count <= FEW else _WALKING)
        if self.cursor[0] == _BY_ID and ids.count <= FEW:
            return
        if self.cursor[0] != _WALKING:
            raise errors.InvalidRequest('"cursor" is what an earlier page of the same list gave.')
        if not IInventory.providedBy(backend):
            message = f"The storage of this archive cannot list its files; ask for at most {FEW} ids (from, to)."
            raise HTTPRefusal(HTTPStatus.NOT_IMPLEMENTED, message)

    async def more(self, most: int) -> Mapping[int, FileStatus | Exception]:
        """
        Look at what comes next; L{cursor} then says where it goes on.

        @param most: The most names or ids to look at.
        @return: The files among them, with the status of each, or why it cannot be told.
        """
        kind, place = self._next()
        if kind == _BY_ID:
            return await self._look_up(place, most)
        page = await IInventory(self._backend).inventory(
            place, most, ids=self._wanted, digests=self._digests, locality=self._locality
        )
        self.cursor = None if page.place is None else _WALKING + page.place
        return page.files

    async def more_lines(self, most: int, fields: Collection[str]) -> str:
        """
        As L{more}, as lines.

        @param fields: As of L{inventory_line}.
        """
        if not self.has_lines:
            files = await self.more(most)
            return "".join([inventory_line(file_id, status, fields) for file_id, status in files.items()])
        _, place = self._next()
        lines = await IInventoryLines(self._backend).inventory_lines(place, most, ids=self._wanted, fields=fields)
        self.cursor = None if lines.place is None else _WALKING + lines.place
        return lines.text

    @property
    def has_lines(self) -> bool:
        """Whether lines come as such from the storage, and are not written here."""
        return self._next()[0] == _WALKING and IInventoryLines.providedBy(self._backend)

    def _next(self) -> tuple[str, str]:
        assert self.cursor is not None, "there is more"
        return self.cursor[0], self.cursor[1:]

    @property
    def _wanted(self) -> IdRanges | None:
        return None if self._ids == ALL_IDS else self._ids

    async def _look_up(self, first: str, most: int) -> Mapping[int, FileStatus | Exception]:
        try:
            some = list(islice(self._ids.since(parse_file_id(first)), most + 1))
        except ValueError:
            raise errors.InvalidRequest('"cursor" is what an earlier page of the same list gave.') from None
        found = await statuses_of(self._backend, some[:most])
        self.cursor = f"{_BY_ID}{some[most]}" if len(some) > most else None
        return {file_id: status for file_id, status in found.items() if not isinstance(status, errors.NotFound)}
