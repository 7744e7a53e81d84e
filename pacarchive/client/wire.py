"""One request and its answer: sent with credentials, watched for progress, read as it comes, its failures named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any

import attrs
from hyperlink import EncodedURL
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.web.http_headers import Headers

from pacarchive import __version__
from pacarchive.client.bodies import Body
from pacarchive.client.errors import (
    ClientClosed,
    ClientError,
    ConnectionFailed,
    ProtocolError,
    WrongScheme,
)
from pacarchive.client.fields import field
from pacarchive.client.naming import is_lost, named, speaks_tls
from pacarchive.client.reading import Reader, Watch
from pacarchive.client.sources import one

if TYPE_CHECKING:
    from twisted.web.iweb import IResponse

    from pacarchive.client.addresses import Place
    from pacarchive.client.credentials import Credentials

BLOCK = 1 << 20
"""How much of an answer is gathered before it is worth handing on."""

DOCUMENT_LIMIT = 256 << 20
"""The largest document that is read."""

UNWANTED_LIMIT = 1 << 20
"""How many bytes of an unwanted answer are read, for the connection to be used again."""

_USER_AGENT = f"pacarchive/{__version__}"


@attrs.define
class Answer:
    """
    An answer, whose body is still to be read.

    @ivar status: Its status.
    @ivar url: Whose answer it is: the archive's URL.
    @ivar renewed: Of a refusal: whether there is another token now, but the body cannot be sent again.
    """

    status: int
    headers: Headers
    _response: IResponse
    _watch: Watch
    url: str = ""
    _reader: Reader | None = None
    renewed: bool = attrs.field(default=False, init=False)

    @property
    def length(self) -> int | None:
        """How many bytes the body has; C{None} where the answer does not say."""
        length = self._response.length
        return length if isinstance(length, int) else None

    def field(self, name: str) -> str:
        """A header field; empty where there is none."""
        return field(self.headers, name)

    async def read(self, want: int = BLOCK, *, all_at_once: bool = False) -> list[bytes]:
        """
        Take the next bytes of the body.

        @param all_at_once: Whether what trickles is not waited for any longer than what does not come at all.
        @return: Pieces; none at the end.
        @raise ConnectionFailed: It broke off; what came before was given out.
        """
        if self._reader is None:
            self._reader = Reader()
            self._response.deliverBody(self._reader)
        return await self._reader.read(want, self._watch, all_at_once=all_at_once)

    async def text(self) -> bytes:
        """
        Read all of the body.

        @raise ProtocolError: It is larger than any document is.
        """
        found: list[bytes] = []
        size = 0
        while pieces := await self.read():
            found += pieces
            size += sum(map(len, pieces))
            if size > DOCUMENT_LIMIT:
                raise ProtocolError("The answer is larger than any of an archive's.", status=self.status)
        return b"".join(found)

    async def words(self) -> bytes:
        """Read the body of a refusal, as far as that can be words."""
        found: list[bytes] = []
        while sum(map(len, found)) < UNWANTED_LIMIT and (pieces := await self.read(UNWANTED_LIMIT, all_at_once=True)):
            found += pieces
        return b"".join(found)

    async def document(self) -> Any:
        """
        Read the body as JSON.

        @raise ProtocolError: It is none.
        """
        text = await self.text()
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ProtocolError("What came back is not a JSON document.", status=self.status) from None

    async def drop(self) -> None:
        """Read the rest, for the connection to be used again; unless it is long, or breaks off."""
        if self.length is None or self.length <= UNWANTED_LIMIT:
            with suppress(ConnectionFailed):
                await self.read(UNWANTED_LIMIT, all_at_once=True)
        self.abandon()

    def abandon(self) -> None:
        """Read no more."""
        if self._reader is None:
            self._reader = Reader()
            self._response.deliverBody(self._reader)
        self._reader.abandon()


class _Url(EncodedURL):
    """
    A URL that is what goes out.

    treq takes a URL apart and encodes it anew for each request, which takes as long as to send a small file.
    """

    _ready: str

    @classmethod
    def of(cls, base: EncodedURL, text: str) -> _Url:
        """
        @param base: Whose host and port it has.
        @param text: All of it, as it goes out.
        """
        url = cls(base.scheme, base.host, (), (), "", base.port)
        url._ready = text
        return url

    def to_uri(self) -> EncodedURL:
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self._ready


def _fields(authorization: str | None) -> dict[str, str]:
    fields = {"User-Agent": _USER_AGENT}
    if authorization is not None:
        fields["Authorization"] = authorization
    return fields


class Wire:
    """
    The way to one archive.

    @param treq: What makes requests.
    @param clock: The time.
    @param place: Where the archive is.
    @param credentials: Those that are sent with each request.
    @param connections: How many exchanges there are at a time.
    @param progress_timeout: For how long nothing may move.
    @param streams: Whether treq takes bodies that are produced as the network wants them; else it gets bytes.
    @ivar connections: That number.
    @ivar url: The archive's URL, for people.
    @ivar plain: Whether what is sent can be changed on the way: there is no TLS.
    """

    def __init__(
        self,
        treq: Any,
        clock: Any,
        place: Place,
        *,
        credentials: Credentials,
        connections: int,
        progress_timeout: float,
        streams: bool,
    ) -> None:
        self._treq = treq
        self.clock = clock
        self._url = place.url
        self._parsed = EncodedURL.from_text(place.url)
        self._place = place
        self.url = place.whole_url
        self._credentials = credentials
        self._no_cookies = CookieJar()
        self.connections = connections
        self._turns = DeferredSemaphore(connections)
        self._timeout = progress_timeout
        self._under_way: set[Deferred[Any]] = set()
        self._heard = False
        self._closed = False
        self.plain = not place.secure
        self.streams = streams

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        *,
        patience: float = 0.0,
        lasting: bool = False,
        fresh: bool = False,
    ) -> AsyncIterator[Answer]:
        """
        Send a request; gives the answer when its head has come.  At the end of the block, what has not been read of it
        is dropped.  If the archive refuses the token, and there is another one now, the request is repeated once.

        @param patience: For how many seconds more than else the archive may say nothing.
        @param lasting: Whether the answer goes on for ever, and takes no place among C{connections}.  The patience
            is then for all of it.
        @param fresh: Whether to read the token again before, as the request cannot be repeated.
        @raise ConnectionFailed: There is no answer.
        @raise TokenUnusable: There is no valid token where it is read from.
        @raise OSError: The token's file cannot be read.
        """

        def ask(authorization: str | None) -> AbstractAsyncContextManager[Answer]:
            return self._answered(method, path, fields, body, patience, authorization, patience if lasting else 0.0)

        if self._closed:
            raise ClientClosed("The client is closed.")
        if lasting:
            async with self._authenticated(ask, body, fresh=fresh) as answer:
                yield answer
            return
        await self._turns.acquire()
        try:
            if self._closed:  # while this waited
                raise ClientClosed("The client was closed.")
            async with self._authenticated(ask, body, fresh=fresh) as answer:
                yield answer
        finally:
            self._turns.release()

    async def fields(self, *, fresh: bool = False) -> dict[str, str]:
        """The header fields of each request."""
        return _fields(await self._credentials.authorization(fresh=fresh))

    @asynccontextmanager
    async def _authenticated(
        self,
        ask: Callable[[str | None], AbstractAsyncContextManager[Answer]],
        body: Body | bytes | None,
        *,
        fresh: bool,
    ) -> AsyncIterator[Answer]:
        """Send a request; and again, once, if the archive refuses a token that has been replaced since."""
        authorization = await self._credentials.authorization(fresh=fresh)
        async with ask(authorization) as answer:
            renewed = answer.status == 401 and await self._credentials.renewed(authorization)
            if not renewed or isinstance(body, Body):
                answer.renewed = renewed
                yield answer
                return
        async with ask(await self._credentials.authorization()) as answer:
            yield answer

    @asynccontextmanager
    async def _answered(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str] | None,
        body: Body | bytes | None,
        patience: float,
        authorization: str | None,
        patience_within: float,
    ) -> AsyncIterator[Answer]:
        headers = Headers({name: [value] for name, value in {**_fields(authorization), **(fields or {})}.items()})
        if isinstance(body, bytes) and body and self.streams:
            # What treq makes of bytes would look at another reactor's time.
            body = Body(one(body), len(body), hasher=None, trailing=False)
        watch = Watch(self.clock, self._timeout + patience)
        asked: Deferred[IResponse] = self._treq.request(
            method,
            _Url.of(self._parsed, self._url + path),
            headers=headers,
            data=body,
            allow_redirects=False,  # the credentials are for this host only
            unbuffered=True,
            cookies=self._no_cookies,
            reactor=self.clock,
        )
        self._under_way.add(asked)
        sent = None if body is None or isinstance(body, bytes) else body
        try:
            response = await watch.over(asked, sent)
        except ClientError:
            raise
        except CancelledError:
            if self._closed:
                raise ClientClosed("The client was closed.") from None
            raise
        except Exception as error:
            if is_lost(error) and await self._meets_tls():
                raise WrongScheme(f"{self.url} speaks TLS: write https:// instead of http://.") from error
            raise named(error, self.url, closed=self._closed) from error
        finally:
            self._under_way.discard(asked)
        watch = Watch(self.clock, self._timeout + patience_within)
        self._heard = True
        answer = Answer(response.code, response.headers, response, watch, self.url)
        try:
            yield answer
        except BaseException:
            answer.abandon()
            raise
        if answer._reader is None:
            await answer.drop()
        else:
            answer.abandon()

    async def _meets_tls(self) -> bool:
        """Whether this has not got an answer ever, as it is a port with TLS that it speaks to without."""
        if self._heard or self._closed or not self.plain or not self.streams:
            return False
        return await speaks_tls(self.clock, self._place)

    def close(self) -> None:
        """Fail what is under way."""
        self._closed = True
        for asked in list(self._under_way):
            asked.cancel()
