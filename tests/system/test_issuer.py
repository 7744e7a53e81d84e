"""Tokens of a real issuer, whose keys are fetched from it over TLS."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from twisted.internet import reactor

from pacarchive.access.identity import BadCredentials, Identity
from pacarchive.access.issuers import Issuers
from pacarchive.access.keys import ONE_FETCH, USABLE, KeyStore
from pacarchive.access.rights import Right
from pacarchive.access.settings import IssuerSettings
from pacarchive.backends.contract.handling import in_reactor
from pacarchive.errors import BackendUnavailable
from pacarchive.runtime.threads import BlockingPool
from system.issuer import HERE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from system.harness import Answer, Service
    from system.issuer import Issuer

pytestmark = [
    pytest.mark.timeout(600),  # what is downloaded and installed once counts for whichever test is the first
    # Twisted's own use of pyOpenSSL.
    pytest.mark.filterwarnings("ignore:.*cryptography's X.509 APIs:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing pyOpenSSL .* deprecated:DeprecationWarning"),
]


class Later:
    """The reactor, with a clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class House:
    """What recognises tokens, with what it needs."""

    def __init__(self, issuer: Issuer, directory: Path, **settings: Any) -> None:
        self.issuer = issuer
        self.clock = Later()
        self._pool = BlockingPool(reactor, "access", 1)
        one = {"url": issuer.url, "ca": issuer.authority.path, **settings}
        sections = {"wlcg": IssuerSettings(**one)}
        self._keys = KeyStore(self.clock, sections, str(directory), self._pool.run)
        self.issuers = Issuers(self.clock, sections, [HERE], self._keys)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        """From its start to its end."""
        self._pool.start()
        await self._keys.start()
        try:
            yield self
        finally:
            await self._keys.stop()
            self._pool.stop()

    async def identify(self, scope: str, **claims: Any) -> Identity:
        """Whom the issuer's next token is believed to be of."""
        return await self.issuers.identify(self.issuer.token(scope, **claims))

    async def refused(self, scope: str = "storage.read:/", **claims: Any) -> str:
        """What its caller is told of a token that is not believed."""
        with pytest.raises(BadCredentials) as raised:
            await self.identify(scope, **claims)
        return str(raised.value)


def may(who: Identity, right: Right, file_id: int = 12) -> bool:
    """Whether a token gives a right for a file."""
    return any(right in each.rights and (each.ids is None or file_id in each.ids) for each in who.grants)


def key_of(token: str) -> str:
    """The id of the key that a token is signed with."""
    header = token.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


@in_reactor
async def test_the_cases_of_the_profile(issuer: Issuer, tmp_path: Path) -> None:
    """Those of the WLCG compliance tests, with ids for names; the tokens are signed with RS256 and ES256 in turn."""
    assert {key_of(issuer.token()) for _ in range(2)} == {"first-RS256", "first-ES256"}
    async with House(issuer, tmp_path).running() as house:
        for _ in range(2):
            who = await house.identify("storage.read:/ storage.stage:/")
            assert who.name == "wlcg:robot"
            assert who.profile == "wlcg"
            assert may(who, Right.READ)
            assert may(who, Right.STAGE)
            assert not may(who, Right.CREATE)
        assert not (await house.identify("", wlcg__groups=None)).grants
        assert "group:wlcg:/wlcg" in (await house.identify("openid", wlcg__groups=["/wlcg"])).labels
        assert "group:wlcg:/wlcg" not in (await house.identify("compute.read", wlcg__groups=["/wlcg"])).labels
        assert may(await house.identify("storage.modify:/"), Right.MODIFY)
        assert may(await house.identify("storage.modify:/"), Right.CREATE)
        assert not may(await house.identify("storage.create:/"), Right.MODIFY)
        assert not may(await house.identify("storage.stage:/"), Right.READ)
        only = await house.identify("storage.read:/12")
        assert [each for each in (1, 12, 120, 123) if may(only, Right.READ, each)] == [12]
        assert may(await house.identify("storage.read:/", aud=["https://other.example", HERE]), Right.READ)
        told = await house.refused(aud="https://other.example")
        assert told == f"The token's audience is https://other.example; this server is {HERE}."
        assert await house.refused(aud=None) == "The token has no audience (aud)."
        assert "for every server" in await house.refused(aud="https://wlcg.cern.ch/jwt/v1/any")
        assert "names no path" in await house.refused("storage.read:/ storage.stage")
        assert "expired" in await house.refused(exp=1_700_000_000)
        assert "version 2.0" in await house.refused(wlcg__ver="2.0")
        assert await house.refused(iss="https://other.example") == "The credentials are not valid."


@in_reactor
async def test_other_keys(issuer: Issuer, tmp_path: Path) -> None:
    """A key that is new is fetched when a token has it, no sooner than a minute after the last time."""
    async with House(issuer, tmp_path).running() as house:
        await house.identify("storage.read:/")
        issuer.add_key("ES256", "second")
        tokens = [issuer.token("storage.read:/") for _ in range(3)]
        (new,) = [each for each in tokens if key_of(each) == "second"]
        issuers = house.issuers
        with pytest.raises(BadCredentials):
            await issuers.identify(new)
        house.clock.ahead = ONE_FETCH
        assert may(await issuers.identify(new), Right.READ)
        issuer.stop()
        issuer.start()
        issuer.add_key("RS256", "third")
        house.clock.ahead += ONE_FETCH
        tokens = [issuer.token("storage.read:/") for _ in range(3)]
        (third,) = [each for each in tokens if key_of(each) == "third"]
        assert may(await issuers.identify(third), Right.READ)
        with pytest.raises(BadCredentials):  # it has forgotten that key, and so have we
            await issuers.identify(new)


@in_reactor
async def test_an_outage(issuer: Issuer, tmp_path: Path) -> None:
    """Tokens go on to be believed, also after a restart, and for two days."""
    async with House(issuer, tmp_path).running() as house:
        assert may(await house.identify("storage.read:/"), Right.READ)
    token = issuer.token("storage.read:/", exp=4_000_000_000)
    issuer.stop()
    house = House(issuer, tmp_path)
    house.clock.ahead = USABLE - 600
    async with house.running():
        assert may(await house.issuers.identify(token), Right.READ)
    house = House(issuer, tmp_path)
    house.clock.ahead = USABLE + 600
    async with house.running():
        with pytest.raises(BackendUnavailable):
            await house.issuers.identify(token)


@in_reactor
async def test_an_authority_that_is_not_known(issuer: Issuer, tmp_path: Path) -> None:
    """Its keys are not fetched: they could be anybody's."""
    async with House(issuer, tmp_path, ca=None).running() as house:
        with pytest.raises(BackendUnavailable):
            await house.identify("storage.read:/")


@in_reactor
async def test_another_name_of_the_same_host(issuer: Issuer, tmp_path: Path) -> None:
    """The certificate must be for the one in the settings, and so must what the issuer says of itself."""
    url = issuer.url.replace("localhost", "127.0.0.1")
    async with House(issuer, tmp_path, url=url).running() as house:
        with pytest.raises(BackendUnavailable):
            await house.identify("storage.read:/", iss=url)


def test_a_server_that_believes_it(issuer: Issuer, tmp_path: Path, serve: Callable[..., Service]) -> None:
    """From the settings to the answers, with two workers; and the password file beside it."""
    (tmp_path / "htpasswd").write_text(f"alice:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    state = tmp_path / "state"
    settings = f"""
[auth]
audience = {HERE}
htpasswd = {tmp_path}/htpasswd
[allow alice]
who = user:alice
may = read
[allow production]
who = group:wlcg:/wlcg/prod
may = stat
[issuer wlcg]
url = {issuer.url}
ca = {issuer.authority.path}
"""
    service = serve(settings=settings, workers=2, environment={"STATE_DIRECTORY": str(state)})

    def ask(method: str, path: int, scope: str, body: bytes | None = None, **claims: Any) -> Answer:
        fields = {"Authorization": f"Bearer {issuer.token(scope, **claims)}"}
        return service.ask(method, path, body, fields)

    def told(answer: Answer) -> str:
        return str(json.loads(answer.body)["message"])

    assert ask("PUT", 12, "storage.create:/", b"twelve").status == 201
    assert ask("PUT", 123, "storage.create:/", b"more").status == 201
    assert ask("PUT", 12, "storage.create:/", b"other").status == 403
    assert ask("GET", 12, "storage.read:/12").body == b"twelve"
    assert ask("GET", 123, "storage.read:/12").status == 403
    assert ask("DELETE", 12, "storage.read:/ storage.create:/ storage.stage:/").status == 403
    assert ask("HEAD", 12, "openid", wlcg__groups=["/wlcg/prod"]).status == 204
    assert ask("HEAD", 12, "openid", wlcg__groups=["/wlcg"]).status == 403
    refused = ask("GET", 12, "storage.read:/", aud="https://other.example")
    assert refused.status == 401
    assert f"audience is https://other.example; this server is {HERE}" in told(refused)
    assert service.ask("GET", 12).status == 401
    for user, status in (("alice:secret", 200), ("alice:wrong", 401), ("bob:secret", 401)):
        fields = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
        assert service.ask("GET", 12, None, fields).status == status
    assert (state / "issuer-keys/wlcg.json").exists()
