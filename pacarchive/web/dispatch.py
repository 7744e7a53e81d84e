"""The way of a request to its route: of one for a file by a table, of all others through Klein.

Nearly all requests are for a file, and its id is all that their paths say: to find the route of such a one is to look
its method up.  The table is made from the routes that were declared to Klein, which are the same functions, and what
Klein does around a route is done here: C{tests/web/test_dispatch.py} holds the two ways together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Route

FILE_PATH = re.compile(rb"/(0|[1-9][0-9]{0,18})\Z")  # of twenty digits, not all are ids
"""The path of a file."""


class Dispatch(Resource):
    """
    Sends requests to their routes.

    @param app: What the routes work with.
    @param of_files: The routes of files, by their methods.
    @param others: Looks for the route of every other request, and for that of what no route answers to.
    """

    isLeaf = True

    def __init__(self, app: RouteContext, of_files: Mapping[bytes, Route[...]], others: IResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._app = app
        self._of_files = of_files
        self._others = others

    def render(self, request: ArchiveRequest) -> int:
        route = self._of_files.get(request.method)
        if route is None or (path := FILE_PATH.match(request.path)) is None:
            result: int = self._others.render(request)
            return result
        answered = Deferred.fromCoroutine(self._answer(route, request, int(path[1])))
        if not request.is_over:
            request.notifyFinish().addErrback(lambda _: answered.cancel())
        return NOT_DONE_YET

    async def _answer(self, route: Route[...], request: ArchiveRequest, file_id: int) -> None:
        try:
            body = await route(self._app, request, file_id=file_id)
            request.write(body)
            request.finish()
        except Exception:  # noqa: BLE001  (the last resort of a request)
            request.processingFailed(Failure())
