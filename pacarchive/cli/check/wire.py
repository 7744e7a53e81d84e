"""Requests as a check needs them: what goes out is what is said, and all of the answer is there to be looked at.

Nothing is repeated and no redirect is followed.  The client library, which hides such things, is used by the checks
that are about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.internet.task import TaskFinished, cooperate
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    PartialDownloadError,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from pacarchive import __version__
from pacarchive.cli.check.raw import Conversation, Malformed, Talk
from pacarchive.client.addresses import Place
from pacarchive.client.errors import CertificateRefused
from pacarchive.client.naming import named

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
    from twisted.internet.task import CooperativeTask

    from pacarchive.cli.check.contents import Content
    from pacarchive.cli.server import Server

CONNECT_TIMEOUT = 20.0
PATIENCE = 60.0
"""For how many seconds nothing may move."""

_CERTIFICATES = b"-----BEGIN CERTIFICATE-----"


class Trouble(Exception):
    """No whole answer came.  C{str()} says why."""


class Unreachable(Trouble):
    """No connection could be made.  C{str()} has the archive's URL."""


@attrs.frozen
class Answer:
    """
    What came back.

    @ivar body: All of it; nothing where it was given to a sink.
    @ivar sent: The SHA-256 of the test file that was sent, where all of it went out.
    """

    status: int
    headers: Headers
    body: bytes = b""
    sent: bytes | None = None

    def field(self, name: str) -> str | None:
        """A header field, as one line."""
        found = self.headers.getRawHeaders(name)
        return ", ".join(found) if found else None

    @property
    def document(self) -> Any:
        """The body as JSON; C{None} for what is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        document = self.document
        words = document.get("message") if isinstance(document, dict) else None
        return f"{self.status}: {words}" if words else str(self.status)


class _Watch:
    """Gives a request up when nothing has moved for too long."""

    def __init__(self, reactor: Any, patience: float) -> None:
        self._patience = patience
        self._call = reactor.callLater(patience, self._end)
        self._watched: Deferred[Any] | None = None
        self.ended = False

    def moved(self) -> None:
        """Something has moved."""
        if self._call.active():
            self._call.reset(self._patience)

    def _end(self) -> None:
        self.ended = True
        if self._watched is not None:
            self._watched.cancel()

    async def run(self, watched: Deferred[Any]) -> Any:
        """
        Wait for something that may be given up.

        @raise Trouble: It was, or failed.
        """
        self._watched = watched
        try:
            return await watched
        except BaseException as error:
            if self.ended:
                raise Trouble(f"nothing moved for {self._patience:g} s") from error
            raise

    def close(self) -> None:
        """Nothing more is to be watched."""
        if self._call.active():
            self._call.cancel()


@implementer(IBodyProducer)
class _Sending:
    """A test file that goes out, and is hashed on its way."""

    def __init__(self, content: Content, watch: _Watch, moved: Callable[[int], None]) -> None:
        self.length = content.size
        self.digest = hashlib.sha256()
        self.complete = False
        self._content = content
        self._watch = watch
        self._moved = moved
        self._task: CooperativeTask[Any] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        done = Deferred[None]()
        self._task = cooperate(self._send(consumer))
        # A task that was stopped has no end: whoever stopped it waits for none.
        self._task.whenDone().addCallbacks(lambda _: done.callback(None), lambda _: None)
        return done

    def _send(self, consumer: IConsumer) -> Any:
        sent = 0
        for block in self._content.blocks():
            self.digest.update(block)
            consumer.write(block)
            self._watch.moved()
            sent += len(block)
            self._moved(sent)
            self.complete = sent == self._content.size
            yield None

    # Whoever takes the bytes may say so when the last of them have been given, or after having it stopped before.

    def pauseProducing(self) -> None:
        if self._task is not None:
            with suppress(TaskFinished):
                self._task.pause()

    def resumeProducing(self) -> None:
        self._watch.moved()
        if self._task is not None:
            self._task.resume()

    def stopProducing(self) -> None:
        if self._task is not None:
            with suppress(TaskFinished):
                self._task.stop()


def nothing(_: int) -> None:
    """Nobody wants to hear of it."""


@implementer(IAgentEndpointFactory)
@attrs.frozen
class _There:
    """Leads to the one archive, whatever a URL says."""

    _make: Callable[[], IStreamClientEndpoint]

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self._make()


class Wire:
    """
    Makes requests.

    @param connections: How many there may be at the same time.
    @ivar kept: Whether connections are used again; not where the server closes them without saying so.
    """

    def __init__(self, reactor: Any, server: Server, connections: int, patience: float = PATIENCE) -> None:
        self.server = server
        self.place = Place.of(server.url)
        self.place.check()
        self.connections = connections
        self._reactor = reactor
        self._patience = patience
        self._token = server.token
        self._trust: Any = platformTrust()
        if (ca := server.ca) is not None:
            found = Path(ca).read_bytes().split(_CERTIFICATES)[1:]
            if not found:
                raise ValueError(f"{ca}: contains no certificate (PEM)")
            self._trust = trustRootFromCertificates([Certificate.loadPEM(_CERTIFICATES + each) for each in found])
        self._pools: list[HTTPConnectionPool] = []
        self._treq = self._make(kept=False)
        self.kept = False

    def keep(self) -> None:
        """Use connections again from now on."""
        self.kept = True
        self._treq = self._make(kept=True)

    def _make(self, *, kept: bool) -> HTTPClient:
        pool = HTTPConnectionPool(self._reactor, persistent=kept)
        pool.maxPersistentPerHost = self.connections
        pool.cachedConnectionTimeout = 10
        # What is to be seen is not to be mended.
        pool.retryAutomatically = False
        self._pools.append(pool)
        return HTTPClient(Agent.usingEndpointFactory(self._reactor, _There(self.endpoint), pool))

    def endpoint(self) -> IStreamClientEndpoint:
        """What connects to the archive."""
        endpoint = self.place.endpoint(self._reactor, CONNECT_TIMEOUT)
        if self.place.secure:
            return wrapClientTLS(optionsForClientTLS(self.place.host, self._trust), endpoint)
        return endpoint

    async def close(self) -> None:
        """Close what is open."""
        for pool in self._pools:
            await pool.closeCachedConnections()

    def fields(self, more: Mapping[str, str]) -> dict[str, str]:
        """The header fields of every request, and more."""
        fields = {"User-Agent": f"pacarchive-check/{__version__}", **more}
        if self._token is not None:
            fields["Authorization"] = f"Bearer {self._token}"
        return fields

    async def ask(
        self,
        method: str,
        path: str | int,
        fields: Mapping[str, str] | None = None,
        body: bytes | Content | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
        moved: Callable[[int], None] = nothing,
        patience: float | None = None,
    ) -> Answer:
        """
        Make one request.

        @param path: A path, or just an id.
        @param sink: Takes the bytes of a 2xx answer as they come.
        @param moved: Is told how many bytes of the body have been moved.
        @param patience: For how many seconds nothing may move, where it is not the usual.
        @raise Trouble: No whole answer came.
        """
        target = f"{self.place.url}/{path}" if isinstance(path, int) else f"{self.place.url}{path}"
        watch = _Watch(self._reactor, self._patience if patience is None else patience)
        sending: _Sending | None = None
        data: Any = body
        if body is not None and not isinstance(body, bytes):
            data = sending = _Sending(body, watch, moved)
        headers = Headers({name: [value] for name, value in self.fields(fields or {}).items()})
        try:
            with _named(self.place.whole_url):
                response = await watch.run(
                    self._treq.request(
                        method, target, headers=headers, data=data, allow_redirects=False, unbuffered=True
                    )
                )
                pieces: list[bytes] = []
                use = pieces.append if sink is None or response.code // 100 != 2 else sink
                came = 0

                def take(piece: bytes) -> None:
                    nonlocal came
                    came += len(piece)
                    watch.moved()
                    use(piece)
                    moved(came)

                quiet = method == "HEAD" or response.code in (204, 304)
                await watch.run(treq.collect(response, (lambda _: None) if quiet else take))
                sent = sending.digest.digest() if sending is not None and sending.complete else None
                return Answer(response.code, response.headers, b"".join(pieces), sent)
        finally:
            watch.close()

    @asynccontextmanager
    async def talk(self) -> AsyncIterator[Conversation]:
        """A connection on which every byte can be said; cut at the end."""
        endpoint = self.endpoint()
        with _named(self.place.whole_url):
            protocol = Talk()
            watch = _Watch(self._reactor, self._patience)
            try:
                await watch.run(endpoint.connect(_factory(protocol)))
                yield Conversation(self._reactor, protocol, watch.run, self._head)
            except Malformed as error:
                raise Trouble(f"what came is not an HTTP answer: {error}") from error
            finally:
                watch.close()
                protocol.cut()

    def _head(self, method: str, path: str, fields: list[tuple[str, str]], *, host: bool) -> bytes:
        lines = [f"{method} {self.place.base}{path} HTTP/1.1"]
        if host:
            lines.append(f"Host: {self.place.authority}")
        lines += [f"{name}: {value}" for name, value in [*self.fields({}).items(), *fields]]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _factory(protocol: Talk) -> Factory[Talk]:
    factory = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    return factory


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Tells what became of a connection to an archive in words."""
    try:
        yield
    except (Trouble, CancelledError):
        raise
    except (ConnectError, DNSLookupError) as error:
        raise Unreachable(_sentence(named(error, url))) from error
    except ResponseFailed as error:
        if isinstance(failure := named(error, url), CertificateRefused):
            raise Unreachable(_sentence(failure)) from error
        raise Trouble(f"the answer broke off: {_reasons(error)}") from error
    except (PartialDownloadError, ConnectionDone, ConnectionLost) as error:
        raise Trouble(f"the connection was lost: {_words(error)}") from error
    except Exception as error:
        if not _is_of_twisted(error):
            raise
        raise Trouble(_words(error)) from error


def _is_of_twisted(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in ("twisted", "OpenSSL", "treq")


def _sentence(error: BaseException) -> str:
    """Words that go on, or stand in the midst of others."""
    return str(error).rstrip(".")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _reasons(error: ResponseFailed) -> str:
    return "; ".join(_words(reason.value) for reason in error.reasons) or "nobody knows why"
