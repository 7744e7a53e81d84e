"""Routes that the predecessor had nothing like."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from pacarchive import errors
from pacarchive.settings.server import Compatibility
from pacarchive.web.errors import error_answer
from pacarchive.web.http.errors import HTTPRefusal

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Route

P = ParamSpec("P")


def newer(route: Route[P]) -> Route[P]:
    """Have failures answered with their own status in C{pacifica} mode too."""

    @wraps(route)
    async def plain(app: RouteContext, request: ArchiveRequest, *args: P.args, **kwargs: P.kwargs) -> bytes:
        try:
            return await route(app, request, *args, **kwargs)
        except errors.ArchiveError as error:
            if app.compatibility is not Compatibility.PACIFICA:
                raise
            answer = error_answer(error, Compatibility.NONE)
            raise HTTPRefusal(answer.status, str(error), answer.headers) from error

    return plain  # type: ignore[return-value]
