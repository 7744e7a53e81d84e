"""L{pacarchive.access.discovery} over real TLS: whose answers are believed, and what becomes of those that hang."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock

from access.authority import Authority
from pacarchive.access.discovery import LIMIT, NotHad, authorities, get_document, https_agent
from pacarchive.access.keysets import LARGEST
from pacarchive.backends.contract.handling import in_reactor

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.python.failure import Failure

# Twisted's own use of pyOpenSSL.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*cryptography's X.509 APIs:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing pyOpenSSL .* deprecated:DeprecationWarning"),
]


class Server:
    """Answers each request with the same bytes, and leaves the connection as it is."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: Deferred[None] = Deferred()
        self.left: Deferred[None] = Deferred()
        self._port: Any = None

    async def start(self, authority: Authority, name: str = "localhost") -> str:
        """
        Begin.

        @param name: Whose certificate it has.
        @return: Its URL.
        """
        key, certificate = authority.server(name)
        pair = PrivateCertificate.loadPEM(key.read_bytes() + certificate.read_bytes())
        server = self

        class Answering(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(server.answer)
                if not server.asked.called:
                    server.asked.callback(None)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                if not server.left.called:
                    server.left.callback(None)

        endpoint = SSL4ServerEndpoint(reactor, 0, pair.options(), interface="127.0.0.1")
        self._port = await endpoint.listen(Factory.forProtocol(Answering))
        return f"https://localhost:{self._port.getHost().port}/keys"

    async def stop(self) -> None:
        """End, when the other side has left."""
        await self.left
        await self._port.stopListening()


def whole(body: bytes) -> bytes:
    """An answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The one that signs what servers have."""
    return Authority(tmp_path / "authority")


def get(url: str, ca: Path | None) -> Deferred[bytes]:
    """Get a document from whom the authority knows."""
    return Deferred.fromCoroutine(get_document(reactor, https_agent(reactor, authorities(ca)), url))


@in_reactor
async def test_a_document(authority: Authority) -> None:
    """Of a server that the settings' authority knows."""
    server = Server(whole(b"{}"))
    assert await get(await server.start(authority), authority.path) == b"{}"
    await server.stop()


@in_reactor
async def test_whom_the_authority_does_not_know(authority: Authority, tmp_path: Path) -> None:
    """Neither the system's authorities nor another one of the settings' make up for it."""
    other = Authority(tmp_path / "other")
    for ca in (None, other.path):
        server = Server(whole(b"{}"))
        with pytest.raises(NotHad, match=r"cannot be had: .*certificate verify failed"):
            await get(await server.start(authority), ca)
        await server.stop()
        assert not server.asked.called, "nothing was sent"


@in_reactor
async def test_another_host(authority: Authority) -> None:
    """It has a certificate of the same authority, for its own name."""
    server = Server(whole(b"{}"))
    with pytest.raises(NotHad, match="the certificate is for another name"):
        await get(await server.start(authority, "other.example"), authority.path)
    await server.stop()
    assert not server.asked.called


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", whole(b" " * 1000)[:-1]])
@in_reactor
async def test_who_does_not_go_on(authority: Authority, begin: bytes) -> None:
    """Whether the time is over or the caller has left: no connection is left behind, whatever has come already."""
    clock = Clock()
    for give_up, ends in ((lambda _: clock.advance(LIMIT), NotHad), (Deferred.cancel, CancelledError)):
        server = Server(begin)
        url = await server.start(authority)
        work = Deferred.fromCoroutine(get_document(clock, https_agent(reactor, authorities(authority.path)), url))
        await server.asked
        clock.advance(LIMIT - 1)
        give_up(work)
        with pytest.raises(ends) as raised:
            await work
        assert ends is CancelledError or str(raised.value) == f"{url} has not answered within 10 s"
        await server.stop()
        assert not clock.getDelayedCalls()


@in_reactor
async def test_who_has_no_end(authority: Authority) -> None:
    """Too large an answer is not waited for, nor its connection kept."""
    server = Server(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (LARGEST + 1))
    with pytest.raises(NotHad, match="has more than 256 KiB"):
        await get(await server.start(authority), authority.path)
    await server.stop()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be had"),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: http://localhost/\r\nContent-Length: 0\r\n\r\n",
            "with status 301",
        ),
        (b"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\n", "is answered with status 503"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cannot be had"),
    ],
)
@in_reactor
async def test_other_answers(authority: Authority, answer: bytes, words: str) -> None:
    """None of them is a document, and no redirect is followed."""
    server = Server(answer)
    with pytest.raises(NotHad, match=words):
        await get(await server.start(authority), authority.path)
    await server.stop()
