"""How an issuer's keys are found: its configuration names where they are (OpenID Connect Discovery 1.0, RFC 8414).

Everything is fetched over https with the host's name checked; no redirect is followed, so that none leads elsewhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone

from pacarchive.access.keysets import LARGEST, read_json_object
from pacarchive.errors import ArchiveError
from pacarchive.runtime.files import read_file
from pacarchive.texts import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent

LIMIT = 10.0
"""For how many seconds an issuer may keep one document to itself, from the first packet to the last."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HTTPS = re.compile(r"https://([^\s/?#@]+)(/[^\s#]*)?", re.ASCII)


class NotHad(ArchiveError):
    """
    A document cannot be had; C{str()} says why.

    @ivar is_missing: The host answers, and has nothing of the name.
    """

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


def authorities(path: Path | None) -> Any:
    """
    Whom to believe about the names of hosts.

    @param path: A file with certificates; C{None} for the system's.
    @return: As C{BrowserLikePolicyForHTTPS} takes it.
    @raise ValueError: There is no certificate in it.
    @raise OSError: It cannot be read.
    """
    from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates

    if path is None:
        return platformTrust()
    found = _CERTIFICATE.findall(read_file(path))
    if not found:
        raise ValueError(f"{path}: contains no certificate (PEM)")
    return trustRootFromCertificates([Certificate.loadPEM(each) for each in found])


def https_agent(reactor: Any, trust: Any) -> IAgent:
    """What asks issuers, on a connection for each request."""
    from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

    return Agent(reactor, BrowserLikePolicyForHTTPS(trust), connectTimeout=LIMIT)


def places(issuer: str) -> tuple[str, ...]:
    """
    Where an issuer's configuration may be: below its URL, and for one that has a path also where RFC 8414 has it, which
    puts the name between the host and the path.
    """
    match = _HTTPS.fullmatch(issuer)
    assert match, "the settings hold only such"
    path = (match[2] or "").rstrip("/")
    below = f"https://{match[1]}{path}/.well-known/openid-configuration"
    return (below, f"https://{match[1]}/.well-known/oauth-authorization-server{path}") if path else (below,)


async def find_key_set(get: Callable[[str], Awaitable[bytes]], issuer: str) -> bytes:
    """
    Get an issuer's key set.

    @param get: Gets a document by its URL, or raises L{NotHad}.
    @param issuer: Its URL.
    @raise NotHad: There is none to be had.
    """
    *others, last = places(issuer)
    for place in (*others, last):
        try:
            configuration = await get(place)
            break
        except NotHad as error:
            if not error.is_missing or place == last:
                raise
    try:
        found = read_json_object(configuration, place)
    except ValueError as error:
        raise NotHad(str(error)) from None
    if found.get("issuer") != issuer:
        says = printable(str(found.get("issuer"))[:200])
        raise NotHad(f"{place} is of the issuer {says}, which is not the same as {issuer}")
    address = found.get("jwks_uri")
    if not isinstance(address, str) or not _HTTPS.fullmatch(address):
        raise NotHad(f"{place} names no https address where the keys are (jwks_uri)")
    return await get(address)


async def get_document(reactor: Any, agent: IAgent, url: str) -> bytes:
    """
    Get a document.

    @raise NotHad: It cannot be had; or not within L{LIMIT}, or it is larger than L{LARGEST}.
    @raise CancelledError: The caller was cancelled.
    """
    work = Deferred.fromCoroutine(_get(agent, url))
    limit = reactor.callLater(LIMIT, work.cancel)
    try:
        return await work
    except NotHad:
        raise
    except Exception as error:  # noqa: BLE001  (whatever may be wrong with a host, a network or an answer)
        causes = _causes(error)
        if not limit.active():
            raise NotHad(f"{url} has not answered within {LIMIT:.0f} s") from None
        if any(isinstance(each, CancelledError) for each in causes):
            raise CancelledError from None
        raise NotHad(f"{url} cannot be had: {'; '.join(map(_words, causes))}") from None
    finally:
        if limit.active():
            limit.cancel()


async def _get(agent: IAgent, url: str) -> bytes:
    from twisted.web.http_headers import Headers

    fields = Headers({"Accept": ["application/json"], "User-Agent": ["pacarchive"]})
    response = await agent.request(b"GET", url.encode("ascii"), fields)
    body = _Body()
    response.deliverBody(body)
    if response.code != 200:
        body.give_up()
        raise NotHad(f"{url} is answered with status {response.code}", is_missing=400 <= response.code < 500)
    if not await body.ended:
        raise NotHad(f"{url} has more than {LARGEST >> 10} KiB")
    return b"".join(body.pieces)


def _causes(error: BaseException) -> list[BaseException]:
    """What is behind an error of the web client's."""
    return [each.value for each in getattr(error, "reasons", ()) if getattr(each, "value", None)] or [error]


def _words(error: BaseException) -> str:
    kind = f"{type(error).__module__}.{type(error).__name__}"
    if kind == "OpenSSL.SSL.Error" and error.args:
        return ", ".join(reason for _, _, reason in error.args[0]) or "TLS was broken off"
    if kind.startswith("service_identity."):
        return "the certificate is for another name"
    return printable(str(error) or type(error).__name__)


class _Body(Protocol):
    """
    The body of an answer.

    @ivar ended: Fires at its end, with whether that is all of it.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: Deferred[bool] = Deferred(lambda _: self.give_up())
        self._size = 0
        self._given_up = False

    def give_up(self) -> None:
        """Have no more of it.  The connection is closed, and the other side not asked whether it agrees."""
        self._given_up = True
        self.pieces.clear()
        transport: Any = self.transport
        if transport is not None:
            transport.stopProducing()

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= LARGEST:
            self.pieces.append(data)
        elif not self._given_up:
            self.give_up()
            self.ended.callback(False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if not self._given_up and not self.ended.called:
            # Without a length, the end of the connection is the end of the document; half of one is no JSON.
            if reason.check(ResponseDone, PotentialDataLoss):
                self.ended.callback(True)
            else:
                self.ended.errback(reason)
