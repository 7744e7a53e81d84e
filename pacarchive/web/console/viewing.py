"""Who looks at the console, and what that viewer may see and do."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import attrs

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.web.access import is_admin, may_somewhere, owner_of
from pacarchive.web.http.documents import media_types, read_text
from pacarchive.web.http.errors import HTTPRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.sessions import Sessions

_FORM = "pacarchive-form"
_LONGEST_FORM = 64 << 10
_MOST_FIELDS = 1000
_LONGEST_REASON = 200


@attrs.frozen
class Viewer:
    """
    Who looks.

    @ivar name: How the viewer is called.
    @ivar owner: Whose jobs and pins are shown; C{None} for everybody's.
    @ivar may_stage: Whether jobs can be changed.
    """

    name: str
    owner: str | None
    may_stage: bool

    @property
    def is_admin(self) -> bool:
        """Whether everything is shown."""
        return self.owner is None


def viewer_of(app: RouteContext, request: ArchiveRequest) -> Viewer:
    """Who looks at a page."""
    access = request.access
    assert access is not None, "who asks is found out before anything else"
    own = owner_of(app, request)
    return Viewer(
        name=access.name if access.is_known else own,
        owner=None if is_admin(request) else own,
        may_stage=may_somewhere(request, Right.STAGE),
    )


def form_token(app: RouteContext, request: ArchiveRequest) -> tuple[str, dict[str, str]]:
    """
    The viewer's form token: also a cookie, which no other site can read, so that a form that has it is one of ours.

    @return: It, and the header fields of an answer that makes it known to the browser.
    """
    sessions = sessions_of(app)
    known = sessions.cookie_of(request, _FORM)
    if len(known) == 32 and known.isascii() and known.isalnum():
        return known, {}
    token = secrets.token_hex(16)
    return token, {"Set-Cookie": sessions.set_cookie(request, _FORM, token)}


def sessions_of(app: RouteContext) -> Sessions:
    """The sessions, which there are where there is a console."""
    assert app.sessions is not None, "else there are no such routes"
    return app.sessions


@attrs.frozen
class Form:
    """What somebody has sent with a form."""

    fields: Mapping[str, Sequence[str]]

    def one(self, name: str) -> str:
        """The value of a field; empty where there is none."""
        return next(iter(self.fields.get(name, ())), "")

    @property
    def why(self) -> str | None:
        """Why it was done, if the viewer says so."""
        return self.one("why").strip()[:_LONGEST_REASON] or None


async def read_form(app: RouteContext, request: ArchiveRequest) -> Form:
    """
    Read a form that is to change something.

    Passwords and certificates are sent by browsers whichever page has them send something, so that it is looked at
    where the form is from: by what the browser says of that, and by the token in it.

    @raise HTTPRefusal: It is not one of our forms: 403; or none at all: 415.
    """
    _require_own_origin(app, request)
    if media_types(request) != ["application/x-www-form-urlencoded"]:
        raise HTTPRefusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "This takes a form of the console.")
    text = await read_text(request, _LONGEST_FORM)
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, strict_parsing=True)
    except ValueError:
        raise errors.InvalidRequest("The form cannot be read.") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    form = Form(fields)
    cookie = sessions_of(app).cookie_of(request, _FORM)
    if not cookie or not secrets.compare_digest(cookie.encode(), form.one("token").encode()):
        raise HTTPRefusal(
            HTTPStatus.FORBIDDEN,
            "The form is not one that this console gave this browser, or too old. Nothing was done: go back, reload "
            "the page, and try again. The browser must take cookies.",
        )
    return form


def _require_own_origin(app: RouteContext, request: ArchiveRequest) -> None:
    """
    See that a request is not another site's.

    @raise HTTPRefusal: It is.
    """
    site, origin = request.field("sec-fetch-site"), request.field("origin")
    if site and site != ["same-origin"]:
        raise _foreign("another site")
    if origin:
        own = {*request.field("host"), urlsplit(app.settings.public_url).netloc} - {""}
        if len(origin) != 1 or urlsplit(origin[0]).netloc not in own:
            raise _foreign(f"{origin[0][:100]}, which is not this server ([server] public_url says what is)")


def _foreign(whose: str) -> HTTPRefusal:
    return HTTPRefusal(HTTPStatus.FORBIDDEN, f"The form is of {whose}. Nothing was done.")
