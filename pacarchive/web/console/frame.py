"""The frame around every screen: head, navigation, and how a page is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.web.template import Tag, flattenString, tags

from pacarchive import __version__
from pacarchive.web.console.parts import FORM_TOKEN, element, form, url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.web.template import Flattenable

SCREENS = (
    ("", "Overview"),
    ("/queue", "Queue"),
    ("/owners", "Owners"),
    ("/jobs", "Jobs"),
    ("/pins", "Pins"),
    ("/capacity", "Capacity"),
    ("/trouble", "Trouble"),
)
"""What the navigation leads to."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers say then of our own forms that they are from nowhere, which those of other sites are.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every page says."""

HTML = "text/html; charset=utf-8"


@attrs.frozen(kw_only=True)
class Page:
    """
    A page, but for the form token of its viewer.

    @ivar title: Its title.
    @ivar body: Its live part, written.
    @ivar who: Who looks at it; empty for nobody who is known.
    @ivar site: The name of the site.
    @ivar path: That of the screen it belongs to in the navigation, below the console; C{None} for none.
    @ivar live: The URL of its changes; empty if it does not change.
    @ivar notice: What has just been done.
    @ivar session: Whether the viewer has a session, which can be ended.
    """

    title: str
    body: bytes
    who: str = ""
    site: str
    path: str | None = None
    live: str = ""
    notice: str = ""
    session: bool = False


def write_page(page: Page) -> bytes:
    """Write a page."""
    mark = "@body@"
    before, found, after = flat(_document(page, mark)).partition(mark.encode())
    assert found
    return b"<!doctype html>\n" + before + page.body + after


def flat(content: Flattenable) -> bytes:
    """Write elements that have nothing to wait for."""
    written: list[bytes] = []
    flattenString(None, content).addCallback(written.append)
    return written[0]


def with_token(page: bytes, token: str) -> bytes:
    """Put the viewer's own form token into what was written for all of them."""
    return page.replace(FORM_TOKEN.encode("ascii"), token.encode("ascii"))


def _document(page: Page, body: str) -> Tag:
    head = tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(f"{page.title} · {page.site}"),
        tags.link(rel="stylesheet", href=url("/console.css")),
        tags.link(rel="icon", type="image/svg+xml", href=url("/icon.svg")),
        tags.script(type="module", src=url("/console.js")) if page.live else "",
    )
    main = element(
        "main",
        tags.div(tags.h1(page.title), _liveness() if page.live else "", class_="title"),
        tags.p(page.notice, class_="notice", role="status") if page.notice else "",
        tags.div(body, id="live", **({"data-live": page.live} if page.live else {})),
        id="main",
        tabindex="-1",
    )
    content: Sequence[Flattenable] = (
        tags.a("Skip to the content", href="#main", class_="skip"),
        _header(page),
        main,
        tags.footer(tags.p(f"pacarchive {__version__}. Times are UTC where you point at them.")),
    )
    return tags.html(head, tags.body(*content), lang="en")


def _liveness() -> Tag:
    """How young what is shown is; the script writes it."""
    return tags.p(
        tags.span("Not live: reload for news.", id="liveness", role="status"),
        tags.button("Pause", id="pause", type="button", hidden="hidden", **{"aria-pressed": "false"}),
        class_="liveness",
    )


def _header(page: Page) -> Tag:
    home = tags.a(tags.strong(page.site), " archive", href=url(), class_="home")
    if not page.who:
        return tags.header(home)
    items = [tags.li(_item(name, path, page.path == path)) for path, name in SCREENS]
    look_up = tags.form(
        tags.label("File id", for_="id"),
        tags.input(id="id", name="id", inputmode="numeric", pattern="[0-9]*", size="12", autocomplete="off"),
        tags.button("Look up", type="submit"),
        method="get",
        action=url("/files"),
        role="search",
    )
    who: list[Flattenable] = [tags.span(page.who, class_="who")]
    if page.session:
        who.append(form("/session/end", tags.button("Sign out", type="submit", class_="quiet")))
    return tags.header(
        home, tags.nav(tags.ul(*items), **{"aria-label": "Screens"}), look_up, tags.div(*who, class_="viewer")
    )


def _item(name: str, path: str, current: bool) -> Tag:
    made = tags.a(name, href=url(path))
    return made(**{"aria-current": "page"}) if current else made
