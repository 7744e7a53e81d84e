"""Signing in: a token for a session, as browsers send none by themselves, and the way to a password."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.web.template import Tag, tags

from pacarchive.access.identity import BadCredentials
from pacarchive.access.rights import Right
from pacarchive.web.access import verify_token
from pacarchive.web.console.parts import form, url
from pacarchive.web.console.viewing import read_form, sessions_of
from pacarchive.web.http.errors import HTTPRefusal
from pacarchive.web.routing import Open
from pacarchive.web.sessions import LONGEST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest

_WITH = "with"
_PASSWORD = "password"  # noqa: S105  (the kind, none itself)


async def begin(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Begin a session with a token."""
    form = await read_form(app, request)
    token = form.one("access").strip()
    if not token or not token.isascii() or len(token) > LONGEST_TOKEN:
        raise _refusal(app, f"A token is given, and of {LONGEST_TOKEN} characters at the most.")
    try:
        access = await verify_token(app, request, token)
    except BadCredentials as error:
        raise _refusal(app, str(error), error.detail) from None
    if not access.may_somewhere(Right.POLL):
        raise HTTPRefusal(HTTPStatus.FORBIDDEN, f"{access.name} lacks the right 'poll', which the console needs.")
    request.set(b"Set-Cookie", sessions_of(app).cookie(request, token))
    return see_other(request, url())


async def end(app: RouteContext, request: ArchiveRequest) -> bytes:
    """End a session."""
    await read_form(app, request)
    request.set(b"Set-Cookie", sessions_of(app).end(request))
    return see_other(request, url())


def see_other(request: ArchiveRequest, where: str) -> bytes:
    """Lead to a page that can be reloaded without doing anything again."""
    request.setResponseCode(HTTPStatus.SEE_OTHER)
    request.set(b"Location", where)
    request.set(b"Content-Length", b"0")
    return b""


def _refusal(app: RouteContext, words: str, logged: str | None = None) -> HTTPRefusal:
    challenge = f'Bearer realm="{app.gate.realm}"'.encode("ascii", "replace").decode()
    return HTTPRefusal(HTTPStatus.UNAUTHORIZED, words, {"WWW-Authenticate": challenge}, logged=logged)


def invitation(
    app: RouteContext, query: Mapping[str, str], headers: dict[str, str], words: str
) -> tuple[str, list[Tag]]:
    """
    What stands in place of a page for those who are not recognised.

    @param query: The parameters of the URL.
    @param headers: Those of the answer; where tokens are taken, browsers ask for no password before that is wanted.
    @param words: Why they are not.
    @return: Its title and its parts.
    """
    schemes = app.gate.schemes
    parts: list[Tag] = [tags.p(words)]
    if "Bearer" in schemes:
        given = tags.label("Token", tags.input(type="password", name="access", required="required", autocomplete="off"))
        parts.append(form("/session", given, tags.button("Sign in", type="submit"), ident="sign-in"))
    if "Basic" in schemes:
        there = url(**{_WITH: _PASSWORD})
        parts.append(tags.p(tags.a("Sign in with a user name and a password", href=there)))
    if not schemes:
        parts.append(tags.p("Who may look here is recognised by a certificate, a proxy or an address."))
    if "Bearer" in schemes and query.get(_WITH) != _PASSWORD:
        kept = headers.get("WWW-Authenticate", "").partition(", Basic realm=")[0]
        headers["WWW-Authenticate"] = kept or "Bearer"
    return "Sign in", [tags.div(*parts, class_="narrow")]


ACTIONS = (("/session", Open.TO_ALL, begin), ("/session/end", Open.TO_ALL, end))
"""Path, the right that it needs, what does it."""
