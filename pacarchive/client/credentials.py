"""Credentials: what identifies the caller in each request, and where that must not be sent."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, TypeAlias

from pacarchive.client.errors import TokenUnusable
from pacarchive.client.tokens import TokenSource, is_token

if TYPE_CHECKING:
    from pacarchive.client._threads import Threads
    from pacarchive.client.addresses import Place

Token: TypeAlias = "str | TokenSource"  # noqa: S105
"""A bearer token, or a function that reads one."""


class Credentials:
    """
    The value of the field C{Authorization}, if there is one.  No secret is in any C{repr()}.

    @param threads: Where a token is read.
    @param place: The archive; no redirect is followed, so credentials are sent nowhere else.
    @param allow_plain_http: Whether they may be sent without TLS to another machine.
    @raise ValueError: They are invalid, or must not be sent there; C{str()} contains no secret.
    """

    def __init__(
        self,
        threads: Threads,
        place: Place,
        *,
        token: Token | None = None,
        user: str | None = None,
        password: str | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        if token is not None and user is not None:
            raise ValueError("give a token, or a user and a password, and not both")
        if (user is None) != (password is None):
            raise ValueError("a user and a password belong together")
        given = token is not None or user is not None
        if given and not (place.secure or place.is_loopback or allow_plain_http):
            raise ValueError(
                f"credentials are not sent to {place.whole_url} without TLS, as everybody on the way could read them: "
                "write https://, or allow plain HTTP"
            )
        self._threads = threads
        self._source: TokenSource | None = token if callable(token) else None
        self._unread = self._source is not None
        self._value: str | None = None
        if isinstance(token, str):
            if not is_token(token):
                raise ValueError("a bearer token is letters, digits and -._~+/=")  # the token itself goes nowhere
            self._value = bearer(token)
        elif user is not None and password is not None:
            self._value = basic(user, password)

    async def authorization(self, *, fresh: bool = False) -> str | None:
        """
        The value of the field C{Authorization}.

        @param fresh: Whether to read the token again: the request cannot be repeated.
        @raise OSError: The token cannot be read.
        @raise TokenUnusable: What was read is no valid token.
        """
        if self._unread or (fresh and self._source is not None):
            await self._read()
        return self._value

    async def renewed(self, refused: str | None) -> bool:
        """
        Read the token again, unless that was done since the request was sent.

        @param refused: The value that was sent, which the archive has refused.
        @return: Whether there is another value now.
        """
        if self._value == refused and self._source is not None:
            await self._read()
        return self._value not in (None, refused)

    async def _read(self) -> None:
        assert self._source is not None
        token = await self._threads.run(self._source)
        if token is not None and not is_token(token):
            raise TokenUnusable("The function that reads the bearer token returned something else.")
        self._value = None if token is None else bearer(token)
        self._unread = False


def bearer(token: str) -> str:
    """The field for a token: RFC 6750."""
    return f"Bearer {token}"


def basic(user: str, password: str) -> str:
    """
    The field for a user: RFC 7617, in UTF-8.

    @raise ValueError: They cannot be in it.
    """
    if ":" in user or not (user + password).isprintable():
        raise ValueError("a user name must not contain a colon, and neither it nor the password control characters")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
