"""An issuer's web server in memory, for what asks it by an agent of Twisted's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError  # noqa: A004
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IAgent
from zope.interface import implementer

from access.minting import URL, jwks

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol

CONFIGURATION = f"{URL}/.well-known/openid-configuration"
OTHER_PLACE = "https://issuer.example/.well-known/oauth-authorization-server/wlcg"
KEYS_AT = "https://issuer.example/jwks"


class Wire:
    """The connection that an answer comes by."""

    closed = False

    def stopProducing(self) -> None:
        self.closed = True


class Answer:
    """
    An answer, as Twisted's client gives it.

    @param whole: Whether the end of the body comes.
    """

    def __init__(self, code: int, body: bytes, *, whole: bool = True) -> None:
        self.code = code
        self._wire = Wire()
        self.body = body
        self._whole = whole

    def is_given_up(self) -> bool:
        """Whether its connection was closed before its end."""
        return self._wire.closed

    def deliverBody(self, protocol: IProtocol) -> None:
        protocol.makeConnection(self._wire)  # type: ignore[arg-type]
        for start in range(0, len(self.body), 1 << 16):
            protocol.dataReceived(self.body[start : start + (1 << 16)])
        if self._whole:
            protocol.connectionLost(Failure(ResponseDone()))


def configuration(**changes: Any) -> bytes:
    """What the issuer says of itself."""
    return json.dumps({"issuer": URL, "jwks_uri": KEYS_AT, "token_endpoint": f"{URL}/token", **changes}).encode()


@implementer(IAgent)
class Web:
    """
    Every server that there is.

    @ivar pages: By URL, a body, an answer, what to raise, or C{None} for one that never answers; others are not found.
    @ivar asked: Every URL that was asked for.
    @ivar given_up: Those whose answer was not waited for.
    """

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Answer | Exception | None] = {
            CONFIGURATION: configuration(),
            KEYS_AT: jwks("rsa"),
        }
        self.asked: list[str] = []
        self.given_up: list[str] = []

    def down(self) -> None:
        """Nobody answers any more."""
        self.pages = dict.fromkeys(self.pages, ConnectionRefusedError())

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        assert (method, bodyProducer) == (b"GET", None)
        url = uri.decode()
        self.asked.append(url)
        page = self.pages.get(url, Answer(404, b"no"))
        answer: Deferred[Any] = Deferred(lambda _: self.given_up.append(url))
        if isinstance(page, bytes):
            answer.callback(Answer(200, page))
        elif isinstance(page, Exception):
            answer.errback(Failure(page))
        elif page is not None:
            answer.callback(page)
        return answer
