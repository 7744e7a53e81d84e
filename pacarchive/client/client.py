"""The client: one object, one archive, one pool of connections."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorThreads
from twisted.web.iweb import IBodyProducer

from pacarchive.client._threads import NoThreads, Threads
from pacarchive.client.addresses import Place
from pacarchive.client.connection import Connections
from pacarchive.client.credentials import Credentials, Token
from pacarchive.client.documents import check_id, read_status
from pacarchive.client.download import Download
from pacarchive.client.errors import (
    ClientError,
    ConnectionFailed,
    NotFound,
    NotPermitted,
    ProtocolError,
    ServerError,
    ServerUnavailable,
)
from pacarchive.client.jobs import JobCalls
from pacarchive.client.listing import ListCalls
from pacarchive.client.operations import OperationCalls
from pacarchive.client.refusals import no_archive, refusal, refused
from pacarchive.client.retry import Tries
from pacarchive.client.sinks import make_sink
from pacarchive.client.tls import ClientCertificate
from pacarchive.client.upload import PutRequest, Upload, Way, chosen
from pacarchive.client.wire import Wire
from pacarchive.client.words import (
    UP,
    USUAL,
    Fetched,
    OnProgress,
    RetryPolicy,
    Status,
    Stored,
)
from pacarchive.digests import PRIMARY
from pacarchive.model import Health

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer

CONNECT_TIMEOUT = 30.0
"""For how many seconds to wait for a connection, at the most."""

_WANT_DIGESTS = {"Want-Repr-Digest": "sha-256=10, sha-512=5, md5=3, sha=2, adler=1"}

Source: TypeAlias = "str | os.PathLike[str] | bytes | AsyncIterator[bytes] | IBodyProducer"
"""What is put: a path, bytes, or something that makes them.  The last two can be read once only, so that a connection
that is lost on the way is an error instead of another try."""

Destination: TypeAlias = "str | os.PathLike[str] | Callable[[bytes], Awaitable[object] | None] | IConsumer"
"""Where a file goes: a path, a function (whose awaitable is waited for before it is called again), or a consumer."""


class ArchiveClient(JobCalls, ListCalls, OperationCalls):
    """
    An archive, seen from outside.

    Every call is a coroutine; run it with C{Deferred.fromCoroutine}, or C{await} it in another.  Cancelling it gives up
    what is under way.  Every call fails with a L{ClientError<pacarchive.client.errors.ClientError>}, whose C{advice}
    says what to do; local files with C{OSError}.

    @param reactor: Where time, connections and threads come from.
    @param url: The archive's, C{http} or C{https}, without anything after the host and port but a path that a proxy
        serves it under.
    @param token: A bearer token, or a function that reads one, such as a L{TokenFile} or L{discovered_token}.  It is
        called in a thread before the first request, and again when the archive refuses the token; if it returns another
        one then, the request is repeated once.  Like all credentials, a token is sent to this URL's host only, and
        never logged.
    @param user: The caller's name, instead of a token; with C{password}.
    @param password: The user's password.
    @param cert: The file (PEM) with the client's certificate for TLS, followed by those of intermediate authorities.
    @param key: The file (PEM) with its private key, without a passphrase; by default, C{cert} contains it.
    @param allow_plain_http: Whether a token or password may be sent without TLS to another machine.
    @param ca: The file (PEM) with the certificates of the authorities to trust, instead of the system's.
    @param connections: How many requests are under way at the same time; more wait.
    @param progress_timeout: For how many seconds no byte may move.  There are no limits on whole transfers.
    @param retry: When to try again.
    @param treq: What makes requests, in the place of treq with a pool of this client's own; for tests.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        *,
        token: Token | None = None,
        user: str | None = None,
        password: str | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        allow_plain_http: bool = False,
        ca: str | os.PathLike[str] | None = None,
        connections: int = 8,
        progress_timeout: float = 60.0,
        retry: RetryPolicy = USUAL,
        treq: Any = None,
    ) -> None:
        place = Place.of(url)
        if connections < 1 or progress_timeout <= 0:
            raise ValueError("a client has one connection and some patience at least")
        self._reactor = reactor
        self._policy = retry
        self._found_archive: bool | None = None
        self._connections: Connections | None = None
        self._threads = Threads(reactor) if IReactorThreads.providedBy(reactor) else NoThreads()
        credentials = Credentials(
            self._threads, place, token=token, user=user, password=password, allow_plain_http=allow_plain_http
        )
        own = treq is None
        if own:
            timeout = min(CONNECT_TIMEOUT, progress_timeout)
            shown = ClientCertificate.of(place, cert, key)
            self._connections = Connections(reactor, place, connections, ca=ca, shown=shown, timeout=timeout)
            treq = HTTPClient(self._connections.agent)
        self._wire = Wire(
            treq,
            reactor,
            place,
            credentials=credentials,
            connections=connections,
            progress_timeout=progress_timeout,
            streams=isinstance(treq, HTTPClient),
        )
        self._way = Way(
            wire=self._wire,
            threads=self._threads,
            policy=retry,
            trailers=own,
            status=self.status,
            delete=lambda file_id, etag: self.delete(file_id, if_match=etag),
        )

    @property
    def url(self) -> str:
        """The archive's URL."""
        return self._wire.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections and end all threads.  What is under way fails."""
        self._wire.close()
        if self._connections is not None:
            await self._connections.close()
        self._threads.stop()

    async def put(
        self,
        file_id: int,
        source: Source,
        *,
        mtime_ns: int | None = None,
        size: int | None = None,
        digests: Collection[str] = ("sha256",),
        hash_first: bool | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Stored:
        """
        Store a file.

        @param mtime_ns: Its time of modification, in nanoseconds since the epoch; the file's own for a path, else now.
        @param size: How many bytes will come, where the source does not tell and it is known.
        @param digests: Which to compute and have the archive check, beside C{sha256}.
        @param hash_first: Whether to read a file twice, so that its digest goes before it and the archive refuses
            anything else.  Without it, what was changed on the way is found by the archive's answer, and is visible up
            to then.  If this is not said, files of up to 64 MiB are.
        @param if_absent: Fail with L{PreconditionFailed} where the id is taken.
        @param if_match: Replace just the version of this entity tag.
        @raise ValueError: An argument cannot be meant.
        """
        check_id(file_id)
        if not isinstance(source, bytes | str | os.PathLike) and not (
            IBodyProducer.providedBy(source) or hasattr(source, "__aiter__")
        ):
            kind = type(source).__name__
            raise TypeError(f"a source is a path, bytes, an asynchronous iterator or an IBodyProducer, and not {kind}")
        request = PutRequest(
            file_id=file_id,
            source=source,
            mtime_ns=mtime_ns,
            size=size,
            algorithms=chosen(digests),
            hash_first=hash_first,
            if_absent=if_absent,
            if_match=if_match,
            on_progress=on_progress,
        )
        return await Upload(self._way, request).run()

    async def get(
        self,
        file_id: int,
        destination: Destination,
        *,
        wait: float | None = None,
        parallel: int = 4,
        verify: bool = True,
        keep_time: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Fetched:
        """
        Read a file.

        A path gets the file whole and checked, or stays as it was.  A function or consumer gets the bytes in order, as
        they come; whether they were right is known when this returns.

        @param wait: For how many seconds to wait for a file on tape; without it, that fails with L{Offline} at once.
        @param parallel: How many connections a large file is read over, where one alone is slow; to a path only.
        @param verify: Compare with the archive's digest.
        @param keep_time: Give a path the time of modification of its version, where the archive tells it.
        """
        check_id(file_id)
        if parallel < 1:
            raise ValueError("a file is read over one connection at least")
        sink = await make_sink(self._threads, destination, [PRIMARY] if verify else [])
        try:
            download = Download(
                wire=self._wire,
                policy=self._policy,
                file_id=file_id,
                sink=sink,
                wait=wait,
                connections=parallel,
                verify=verify,
                keep_time=keep_time,
                on_progress=on_progress,
                status=self.status,
            )
            return await download.run()
        finally:
            await sink.close()

    async def status(self, file_id: int) -> Status:
        """Ask about a file; never recalls it."""
        path = f"/{check_id(file_id)}"
        tries = Tries(self._reactor, self._policy)
        while True:
            try:
                async with self._wire.exchange("HEAD", path, _WANT_DIGESTS) as answer:
                    if answer.status in (200, 204):
                        return read_status(file_id, answer)
                    raise await refused(answer)
            except NotFound:
                raise await self._absent() from None
            except ConnectionFailed as error:
                await tries.after(error)
            except ServerUnavailable as error:
                try:
                    await tries.after(error)
                except ServerUnavailable:
                    raise await self._told(file_id, error) from None
            except (NotPermitted, ServerError) as error:
                raise await self._told(file_id, error) from None

    async def _absent(self) -> ClientError:
        """What a HEAD's 404 means, which has no words; it stands, even if it cannot be told whose it is."""
        try:
            found = await self._is_archive()
        except ConnectionFailed:
            found = True
        return NotFound("No file has this id.", status=404) if found else no_archive(self._wire.url)

    async def _told(self, file_id: int, failure: ClientError) -> ClientError:
        """The failure of a HEAD, which has no words, in those of the archive: it is asked the same in another way."""
        if failure.status not in (403, 500, 503):
            return failure
        try:
            async with self._wire.exchange("PROPFIND", f"/{file_id}", {"Depth": "0"}) as answer:
                return await refused(answer) if answer.status == failure.status else failure
        except ConnectionFailed:
            return failure

    async def _is_archive(self) -> bool:
        """Whether an archive, or its predecessor, answers at the URL, as far as can be told; asked once."""
        if self._found_archive is None:
            async with self._wire.exchange("GET", "/") as answer:
                if answer.status not in (200, 404):
                    return True
                self._found_archive = answer.status == 200 and UP.encode("ascii") in await answer.words()
        return self._found_archive

    async def move(self, file_id: int, source: str, *, if_absent: bool = False, if_match: str | None = None) -> None:
        """
        Have the archive take a file that lies in its storage already.

        @param source: Its path, as the archive sees it.
        """
        body = json.dumps({"path": source}).encode("ascii")
        fields = {"Content-Type": "application/json", **_conditions(if_absent, if_match)}
        await self._change("PATCH", check_id(file_id), fields, body)

    async def delete(self, file_id: int, *, if_match: str | None = None) -> None:
        """Remove a file; with C{if_match}, just the version of this entity tag."""
        await self._change("DELETE", check_id(file_id), _conditions(if_absent=False, if_match=if_match), None)

    async def _change(self, method: str, file_id: int, fields: Mapping[str, str], body: bytes | None) -> None:
        """Do what must not be done twice."""
        tries = Tries(self._reactor, self._policy, safe=False)
        done = False
        while not done:
            try:
                async with self._wire.exchange(method, f"/{file_id}", fields, body) as answer:
                    if answer.status != 200:
                        raise await refused(answer)
                    done = True
            except ConnectionFailed as error:
                await tries.after(error)

    async def health(self) -> Health:
        """Whether requests can be expected to succeed; also where the answer is no."""
        tries = Tries(self._reactor, self._policy)
        while True:
            try:
                async with self._wire.exchange("GET", "/health") as answer:
                    text = await answer.text()
                    if answer.status in (200, 503) and (health := _health(text)) is not None:
                        return health
                    if answer.status == 200:
                        raise ProtocolError("The answer to GET /health has another form than an archive's.", status=200)
                    raise refusal(answer, text)
            except ConnectionFailed as error:
                await tries.after(error)

    async def metrics(self) -> str:
        """
        How the archive is, in numbers: a text as Prometheus reads it, with whose parser it can be read.  It takes the
        right C{admin}.
        """
        tries = Tries(self._reactor, self._policy)
        while True:
            try:
                async with self._wire.exchange("GET", "/metrics", {"Accept": "text/plain"}) as answer:
                    if answer.status == 200:
                        return (await answer.text()).decode(errors="replace")
                    if answer.status == 404:
                        raise ProtocolError("The archive has no metrics: its version is too old.", status=404)
                    raise await refused(answer)
            except (ConnectionFailed, ServerUnavailable) as error:
                await tries.after(error)


def _conditions(if_absent: bool, if_match: str | None) -> dict[str, str]:
    fields = {"If-None-Match": "*"} if if_absent else {}
    if if_match is not None:
        fields["If-Match"] = if_match
    return fields


def _health(text: bytes) -> Health | None:
    try:
        document = json.loads(text)
        return Health(bool(document["ready"]), str(document["message"]), bool(document["degraded"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
