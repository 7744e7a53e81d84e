"""A short road for requests that are refused: for want of credentials, or of valid ones.

It is the first look at a request (L{pacarchive.web.access.first_look}) without a request object: the same functions
decide, word the answer, log it and write it down.  C{tests/web/test_quick_refusals.py} holds the two roads together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from pacarchive import errors
from pacarchive.web.access import look_at
from pacarchive.web.errors import error_answer
from pacarchive.web.http.answers import head_of
from pacarchive.web.http.ledger import Asking, Entry, Sort
from pacarchive.web.http.turns import QUICK_COST
from pacarchive.web.routing import note_failure

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from pacarchive.access.gate import Caller
    from pacarchive.access.identity import Access
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.state import SharedSite


@attrs.define(eq=False)
class Refused:
    """
    A request that is refused, as those know it who note that.

    @ivar site: The site.
    @ivar method: Its method.
    @ivar path: Its target.
    @ivar client: Where it came from.
    @ivar access: Who asks, once that is known.
    @ivar identifier: What it is called.
    """

    site: SharedSite
    method: bytes
    path: bytes
    client: IAddress | None
    access: Access | None = None
    identifier: str = ""

    trace: ClassVar[None] = None

    @property
    def line(self) -> str:
        """Method and target, for the log."""
        return f"{self.method.decode('ascii')} {self.path.decode('ascii')}"

    @property
    def principal(self) -> str | None:
        """Who asks, where that is known."""
        return None if self.access is None else self.access.name


class QuickRefusals:
    """
    Refuses what can be refused at once.

    @param app: What the routes work with.
    """

    def __init__(self, app: RouteContext) -> None:
        self._app = app
        self._sorts: dict[tuple[bytes, int], Sort] = {}

    def __call__(
        self, site: SharedSite, method: bytes, path: bytes, caller: Caller, asking: Asking, now: float
    ) -> tuple[bytes, Entry] | None:
        """
        Refuse a request for a file.

        @param path: Its target.
        @param caller: What it presents.
        @param asking: What is noted of those that present the same.
        @param now: When it came.
        @return: The answer, whole, and what is to be noted of it; C{None} where it is not refused as yet.
        """
        app = self._app
        request = Refused(site, method, path, asking.client)
        try:
            look_at(app, request, caller)
        except errors.ArchiveError as error:
            number = site.new_number()
            request.identifier = site.name_of(number)
            answer = error_answer(error, app.compatibility)
            note_failure(app, request, error, answer.status)
        else:
            return None
        site.turns.spend(QUICK_COST)
        body = b"" if method == b"HEAD" else answer.body
        kind = method, answer.status
        if (sort := self._sorts.get(kind)) is None:
            sort = self._sorts[kind] = Sort(*kind, refused=True)
        head = head_of(answer, b"HTTP/1.1", last=False, identifier=request.identifier)
        return head + body, (sort, asking.by(request.access), path, len(body), number, now, site.seconds())
