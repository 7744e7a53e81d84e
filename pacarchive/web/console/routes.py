"""The routes of the console.

============================  ==========================================================================
C{GET /console...}            a screen
C{GET /console/live...}       its changes (Server-Sent Events)
C{POST /console/...}          something that is done, which leads back to a screen (303)
C{GET /console/console.css}   the style; the script and the sign likewise
============================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Hashable, Mapping
from functools import partial, wraps
from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from twisted.web.template import Tag, tags

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.web.console import acting, signing_in
from pacarchive.web.console.asking import Question, Screen
from pacarchive.web.console.following import Viewers
from pacarchive.web.console.frame import HEADERS, HTML, Page, flat, with_token, write_page
from pacarchive.web.console.live import SHARED, Seen, snapshots_of
from pacarchive.web.console.parts import mark, panel, url
from pacarchive.web.console.screens import SCREENS
from pacarchive.web.console.screens.holding import holds
from pacarchive.web.console.viewing import form_token, viewer_of
from pacarchive.web.errors import error_answer, headers_of, status_of
from pacarchive.web.http.answers import REVALIDATED
from pacarchive.web.http.errors import ErrorAnswer, HTTPRefusal
from pacarchive.web.routing import Open, Undescribed, note_failure
from pacarchive.web.sessions import CONSOLE

if TYPE_CHECKING:
    from twisted.web.template import Flattenable

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Route, Router

_ASSETS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_COST = 3000
"""What it takes to write a part of a screen, in about microseconds."""

_PATHS = re.compile(rb"/console(?:/|\Z)")


def declare(router: Router) -> None:
    """Declare the routes."""
    router.tells(_PATHS, tell)
    for name, kind in _ASSETS.items():
        data = files("pacarchive.web.console").joinpath("assets", name).read_bytes()
        _declare(router, "GET", f"/{name}", Open.TO_ALL, partial(_asset, data, kind))
    for screen in SCREENS:
        _declare(router, "GET", screen.path, screen.needs, partial(_show, screen))
        if screen.live:
            _declare(router, "GET", f"/live{screen.path}", screen.needs, partial(_keep_up, screen))
    for path, needs, action in (*acting.ACTIONS, *signing_in.ACTIONS):
        _declare(router, "POST", path, needs, action)
    _declare(router, "GET", "/files", Right.POLL, acting.look_up)


def _declare(router: Router, method: str, path: str, needs: Right | Open, route: Route[Any]) -> None:
    router.answers(method, f"{CONSOLE}{path}", needs=needs, described=Undescribed.FOR_PEOPLE)(_enabled(route))


def _enabled(route: Route[Any]) -> Route[Any]:
    """Have no such route where there is to be no console."""

    @wraps(route)
    async def guarded(app: RouteContext, request: ArchiveRequest, **names: Any) -> bytes:
        if app.sessions is None:
            raise HTTPRefusal(HTTPStatus.NOT_FOUND, "There is no console here ([console] enabled).")
        for name, value in HEADERS.items():
            request.set(name.encode("ascii"), value)
        request.set(b"Allow", b"GET, HEAD, POST")
        return await route(app, request, **names)

    return guarded


async def _asset(data: bytes, kind: str, app: RouteContext, request: ArchiveRequest) -> bytes:
    """A file that comes with the package."""
    tag = f'"{sha256(data).hexdigest()[:32]}"'
    request.set(b"ETag", tag)
    request.set(b"Cache-Control", REVALIDATED)
    if tag in (
        each.strip().removeprefix("W/") for field in request.field("if-none-match") for each in field.split(",")
    ):
        request.setResponseCode(HTTPStatus.NOT_MODIFIED)
        return b""
    request.set(b"Content-Type", kind)
    request.set(b"Content-Length", b"%d" % len(data))
    return data


# screens


async def _show(screen: Screen, app: RouteContext, request: ArchiveRequest, **names: Any) -> bytes:
    """A screen."""
    viewer = viewer_of(app, request)
    query = _query(screen, request)
    _, look = _sight(screen, app, request, names, query)
    seen = await look()
    address = screen.path
    for name, value in names.items():
        address = re.sub(rf"<(?:\w+:)?{name}>", str(value), address)
    page = Page(
        title=screen.title(names),
        body=seen.body,
        who=viewer.name,
        site=app.settings.site_name,
        path=screen.section,
        live=url(f"/live{address}", **query) if screen.live else "",
        notice=acting.notice_of(_args(request)),
        session=bool(app.sessions and app.sessions.authorization(request)),
    )
    if seen.failure is not None:
        status = status_of(seen.failure)
        note_failure(app, request, seen.failure, status)
        request.setResponseCode(status)
        for field, value in headers_of(seen.failure).items():
            request.set(field.encode("ascii"), value)
    return _write(app, request, write_page(page))


async def _keep_up(screen: Screen, app: RouteContext, request: ArchiveRequest, **names: Any) -> bytes:
    """The changes of a screen."""
    key, look = _sight(screen, app, request, names, _query(screen, request))
    token, _ = form_token(app, request)

    async def shown() -> bytes:
        return (await look()).body

    def make() -> Viewers:
        made = Viewers(request.site.limits, app.console.viewers)
        app.telemetry.samples(made.sample)
        return made

    viewers = app.kept(Viewers, make)
    await viewers.keep_up(request, app.clock, key, shown, token)
    return b""


def _sight(
    screen: Screen, app: RouteContext, request: ArchiveRequest, names: Mapping[str, Any], query: Mapping[str, str]
) -> tuple[Hashable, Callable[[], Coroutine[Any, Any, Seen]]]:
    """
    What a viewer sees on a screen.

    @return: What two who see the same have in common; and what gives what is on it now, without its frame and without
        the viewer's own token.  It keeps nothing of the request, which may be over before others have seen enough.
    """
    viewer, turns = viewer_of(app, request), request.site.turns

    async def make() -> Seen:
        written, failure = [], None
        question = Question(app=app, viewer=viewer, names=names, query=query)
        parts: list[Flattenable] = [await holds(question)]
        try:
            parts += await screen.make(question)
        except errors.Unavailable as error:
            # Told in the page's own place, where an open page shows what there is once there is an answer again.
            parts.append(_missing(screen, error))
            failure = error
        for part in parts:
            written.append(flat(part))
            await turns.come(_COST, SHARED)
        return Seen(b"".join(written), failure)

    key = (screen.path, tuple(names.items()), tuple(query.items()), viewer.owner, viewer.may_stage)
    return key, partial(snapshots_of(app).get, key, make)


def _missing(screen: Screen, error: errors.Unavailable) -> Tag:
    """Stands in place of what cannot be had now."""
    then = "This page shows it as soon as there is an answer." if screen.live else "Reload the page to try again."
    return panel("Unavailable now", tags.p(mark("bad", str(error))), tags.p(then, class_="soft"), ident="missing")


def _args(request: ArchiveRequest) -> dict[str, str]:
    """The parameters of the URL."""
    given = request.args or {}
    return {name.decode("latin-1"): values[0].decode("utf-8", "replace") for name, values in given.items()}


def _query(screen: Screen, request: ArchiveRequest) -> dict[str, str]:
    return {name: value for name, value in sorted(_args(request).items()) if name in screen.query and value}


def _write(app: RouteContext, request: ArchiveRequest, page: bytes) -> bytes:
    """Answer with a page."""
    token, fields = form_token(app, request)
    for name, value in fields.items():
        request.set(name.encode("ascii"), value)
    body = with_token(page, token)
    request.set(b"Content-Type", HTML)
    request.set(b"Content-Length", b"%d" % len(body))
    return body


# failures


def tell(app: RouteContext, request: ArchiveRequest, error: errors.ArchiveError) -> ErrorAnswer:
    """A failure as a page in words; those who are not recognised can sign in there."""
    status = status_of(error)
    headers = {**HEADERS, **headers_of(error)}
    if app.sessions is None:
        return error_answer(error, app.compatibility)
    if status == HTTPStatus.UNAUTHORIZED:
        title, parts = signing_in.invitation(app, _args(request), headers, str(error))
    else:
        title = status.phrase.capitalize()
        parts = [tags.p(str(error)), tags.p(tags.a("To the overview", href=url()))]
    token, fields = form_token(app, request)
    recognised = status != HTTPStatus.UNAUTHORIZED and request.access is not None
    page = Page(
        title=title,
        body=b"".join(map(flat, parts)),
        who=viewer_of(app, request).name if recognised else "",  # who can go on from here to the other screens
        site=app.settings.site_name,
        session=recognised and bool(app.sessions.authorization(request)),
    )
    return ErrorAnswer(status, {**headers, **fields}, with_token(write_page(page), token), HTML)
