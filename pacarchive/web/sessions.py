"""Sessions of people in a browser, which cannot be told to send a token: a cookie carries it, sealed.

Nothing is kept on the server.  The seal's key is made when the service starts, and all its workers have it, so that
each of them knows the sessions of all; those of an earlier start are none.  Whoever steals a cookie has the rights of
its token in the console, for as long as the session lasts, but not the token.  The cookie counts in the console alone:
nothing else of the API acts on what a browser sends without being asked.
"""

from __future__ import annotations

import base64
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.web.http.request import ArchiveRequest

CONSOLE = "/console"
"""Below this path, cookies count."""

LIFETIME = 12 * 3600
"""Seconds after which a session has ended."""

LONGEST_TOKEN = 2500
"""Characters: browsers keep no cookie beyond 4 KiB."""

_SESSION = "pacarchive-session"


class Sessions:
    """
    Seals tokens into cookies.

    @param key: 32 random bytes, the same in all processes of the service.
    @param clock: The time.
    @param public_url: The URL under which browsers reach the server, where a proxy makes it another.
    """

    def __init__(self, key: bytes, clock: IReactorTime, public_url: str = "") -> None:
        self._key = key
        self._clock = clock
        self._public = urlsplit(public_url)

    @cached_property
    def _seal(self) -> Fernet:
        from cryptography.fernet import Fernet  # only now: programs sign in nowhere

        return Fernet(base64.urlsafe_b64encode(self._key))

    def cookie(self, request: ArchiveRequest, token: str) -> str:
        """The C{Set-Cookie} with which a session begins."""
        sealed = self._seal.encrypt_at_time(token.encode(), int(self._clock.seconds())).decode("ascii")
        return self.set_cookie(request, _SESSION, sealed, LIFETIME)

    def end(self, request: ArchiveRequest) -> str:
        """The one with which it ends."""
        return self.set_cookie(request, _SESSION, "", 0)

    def authorization(self, request: ArchiveRequest) -> bytes | None:
        """What a request would have as C{Authorization}, had the browser been told to; C{None} without a session."""
        if not is_console(request.path) or not (sealed := self.cookie_of(request, _SESSION)) or not sealed.isascii():
            return None
        from cryptography.fernet import InvalidToken

        try:
            token = self._seal.decrypt_at_time(sealed, LIFETIME, int(self._clock.seconds()))
        except InvalidToken:
            return None
        return b"Bearer " + token

    def cookie_of(self, request: ArchiveRequest, name: str) -> str:
        """The value of a cookie; empty where there is none, or where there are several of the name."""
        pairs = (each.strip().partition("=") for field in request.field("cookie") for each in field.split(";"))
        found = [value for key, _, value in pairs if key == self._prefixed(request, name)]
        return found[0] if len(found) == 1 else ""

    def set_cookie(self, request: ArchiveRequest, name: str, value: str, lifetime: int | None = None) -> str:
        """
        A C{Set-Cookie} that scripts cannot read, and that pages of other sites do not have sent.

        @param lifetime: In seconds; C{None} for as long as the browser runs.
        """
        parts = [f"{self._prefixed(request, name)}={value}", "Path=/", "HttpOnly", "SameSite=Strict"]
        if self._is_secure(request):
            parts.append("Secure")
        if lifetime is not None:
            parts.append(f"Max-Age={lifetime}")
        return "; ".join(parts)

    def _prefixed(self, request: ArchiveRequest, name: str) -> str:
        """With TLS, a name that browsers take from this very host alone, and by TLS alone (RFC 6265bis, 4.1.3)."""
        return f"__Host-{name}" if self._is_secure(request) else name

    def _is_secure(self, request: ArchiveRequest) -> bool:
        """Whether the browser came by TLS, if need be that of a proxy."""
        secure: bool = request.isSecure()  # type: ignore[no-untyped-call]
        return secure or (self._public.scheme == "https" and request.field("host") == [self._public.netloc])


def is_console(path: bytes) -> bool:
    """Whether a path is one of the console's."""
    console = CONSOLE.encode("ascii")
    return path.startswith(console) and path[len(console) : len(console) + 1] in (b"", b"/")
