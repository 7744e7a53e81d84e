"""Where no archive is, and why one does not answer: what is told is the cause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from service_identity import VerificationError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import ResponseNeverReceived
from twisted.web.server import Request

from pacarchive.cli.remote.words import advice_of
from pacarchive.client import (
    NEVER,
    ArchiveClient,
    ClientError,
    InvalidRequest,
    NotFound,
    ServerError,
    ServerUnavailable,
    WrongName,
    WrongScheme,
)
from pacarchive.client.naming import named
from pacarchive.client.testing import URL, FakeArchive, result_of


class Elsewhere(FakeArchive):
    """A web server with no archive, at the URL that was given."""

    page = b"<html>404</html>"
    status = 404

    def render(self, request: Request) -> bytes:
        self.requests.append((request.method.decode(), request.path.decode()))
        request.setResponseCode(self.status)
        return b"" if request.method == b"HEAD" else self.page


class Troubled(FakeArchive):
    """An archive whose storage is away; a HEAD has no room for the words."""

    status = 503
    told = b'{"status": "503", "message": "The core server is down.", "traceback": "The core server is down."}'

    def render(self, request: Request) -> bytes:
        self.requests.append((request.method.decode(), request.path.decode()))
        request.setResponseCode(self.status)
        return b"" if request.method == b"HEAD" else self.told


def all_calls(client: ArchiveClient) -> list[object]:
    return [
        client.status(1),
        client.get(1, print),
        client.put(1, b"x"),
        client.delete(1),
        client.stage([1]),
        client.health(),
    ]


@pytest.mark.parametrize(
    "page", [b"<html>404</html>", b"", b'{"message": "No such resource: a path here is one file id."}']
)
def test_a_path_without_an_archive_is_no_missing_file(page: bytes) -> None:
    """Whoever answers there, and whatever is asked."""
    archive = Elsewhere()
    archive.page = page
    for call in all_calls(archive.client(retry=NEVER)):
        with pytest.raises(NotFound, match=f"No archive answers at {URL}: check the address"):
            result_of(call)  # type: ignore[arg-type]


def test_a_missing_file_is_no_missing_archive() -> None:
    """Whether there is an archive is asked once, however many files there are not."""
    archive = FakeArchive()
    client = archive.client()
    for file_id in range(5):
        with pytest.raises(NotFound, match="No file has this id"):
            result_of(client.status(file_id))
    assert [path for method, path in archive.requests if method == "GET"] == ["/"]


def test_an_archive_that_does_not_say_is_one() -> None:
    """Its root may be busy, or not be passed on."""
    archive = FakeArchive()
    client = archive.client()
    archive.answer_with(404)
    archive.answer_with(503)
    with pytest.raises(NotFound, match="No file has this id"):
        result_of(client.status(1))


@pytest.mark.parametrize(("status", "kind"), [(503, ServerUnavailable), (500, ServerError)])
def test_why_a_status_cannot_be_told(status: int, kind: type[Exception]) -> None:
    """It is asked in another way, once; and told without saying it twice."""
    archive = Troubled()
    archive.status = status
    with pytest.raises(kind) as caught:
        result_of(archive.client(retry=NEVER).status(1))
    assert str(caught.value) == "The core server is down."
    assert archive.requests == [("HEAD", "/1"), ("PROPFIND", "/1")]
    with pytest.raises(kind) as caught:
        result_of(archive.client(retry=NEVER).get(1, print))
    assert str(caught.value) == "The core server is down."


@pytest.mark.parametrize(
    "page",
    [
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
)
def test_a_proxy_that_wants_tls(page: bytes) -> None:
    """nginx and Apache say so."""
    archive = Elsewhere()
    archive.page, archive.status = page, 400
    with pytest.raises(WrongScheme, match=f"{URL} speaks TLS: write https:// instead of http://"):
        result_of(archive.client(retry=NEVER).health())


@pytest.mark.parametrize("status", [400, 403, 411, 413, 500, 507])
def test_a_refusal_that_is_a_web_page_is_perhaps_a_proxys(status: int) -> None:
    """An archive tells of its errors in a document."""
    archive = Elsewhere()
    archive.page, archive.status = b"<html><title>no</title></html>", status
    client = archive.client(retry=NEVER)
    for call in all_calls(client):
        with pytest.raises(ClientError, match=f"^{status} came back as a web page, from .*: perhaps a proxy's"):
            result_of(call)  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "kind"), [(405, InvalidRequest), (501, ServerError)])
def test_a_server_without_the_method_is_perhaps_no_archive(status: int, kind: type[Exception]) -> None:
    """It is said who answered, and not that an incident is in a log."""
    archive = Elsewhere()
    archive.status = status
    client = archive.client(retry=NEVER)
    for call in (client.put(1, b"x"), client.stage([1])):
        with pytest.raises(kind, match=f"Perhaps no archive answers at {URL}: {status} came back, from ") as caught:
            result_of(call)
        assert "incident" not in caught.value.advice  # type: ignore[attr-defined]


def test_advice_is_true_whatever_was_refused() -> None:
    """Neither versions, nor an incident, nor the call that was made itself are known to be the matter."""
    advice = " ".join(kind.advice for kind in (InvalidRequest, ServerError, ServerUnavailable))
    for word in ("versions", "incident", "health()"):
        assert word not in advice


def test_a_certificate_for_another_name_is_told_in_words() -> None:
    """And not as the object that the library raises."""
    failure = named(ResponseNeverReceived([Failure(VerificationError(errors=[]))]), URL)
    assert str(failure) == f"TLS with {URL} failed: its certificate is for another name"
    assert isinstance(failure, WrongName)
    assert "authority" not in advice_of(failure) + failure.advice  # another one would not help
    assert "name" in advice_of(failure)


def test_what_is_not_http_is_told_in_words() -> None:
    """And not as the bytes that came, such as those of SSH."""
    failure = named(ResponseNeverReceived([Failure(ParseError("not enough parts", b"SSH-2.0-OpenSSH"))]), URL)
    assert str(failure) == f"The answer of {URL} cannot be understood: it is not HTTP"


class Foreign(Protocol):
    """
    A web server that has nothing at any path.

    @cvar asked: The methods that came over each connection.
    """

    transport: Any
    version = b"1.1"
    root = True
    asked: ClassVar[list[list[str]]]

    def connectionMade(self) -> None:
        self._methods: list[str] = []
        self.asked.append(self._methods)

    def dataReceived(self, data: bytes) -> None:
        self._methods.append(data.partition(b" ")[0].decode())
        if self.root or not data.startswith(b"GET / "):
            self.transport.write(b"HTTP/%b 404 Not Found\r\nContent-Length: 0\r\n\r\n" % self.version)
        else:
            self.transport.loseConnection()


@asynccontextmanager
async def listening(kind: type[Foreign]) -> AsyncIterator[str]:
    """@return: Where it listens."""
    from twisted.internet import reactor

    listener: Any = reactor
    factory: Any = Factory.forProtocol(kind)
    factory.noisy = False
    port = listener.listenTCP(0, factory, interface="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()


@pytest.mark.parametrize(("spoken", "connections"), [(b"1.0", [["HEAD"], ["GET"]]), (b"1.1", [["HEAD", "GET"]])])
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_foreign_refusal_is_not_asked_for_again(spoken: bytes, connections: list[list[str]]) -> None:
    """Whatever HTTP it speaks: the end of each connection of HTTP/1.0 is no connection that was lost."""

    class Server(Foreign):
        version = spoken
        asked: ClassVar[list[list[str]]] = []

    from twisted.internet import reactor

    async with listening(Server) as url, ArchiveClient(reactor, url) as client:
        with pytest.raises(NotFound, match=f"No archive answers at {url}: check the address and the path in it"):
            await client.status(12)
    assert Server.asked == connections


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_missing_file_is_one_though_the_connection_is_lost_then() -> None:
    """As it was asked who it is that does not have it."""

    class Server(Foreign):
        root = False
        asked: ClassVar[list[list[str]]] = []

    from twisted.internet import reactor

    async with listening(Server) as url, ArchiveClient(reactor, url) as client:
        with pytest.raises(NotFound, match="No file has this id"):
            await client.status(12)
    assert Server.asked == [["HEAD", "GET"]]
