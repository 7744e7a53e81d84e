"""L{pacarchive.access.keys}: where issuers' keys come from, how long they are used, how often they are asked for."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from access.answering import CONFIGURATION, KEYS_AT, OTHER_PLACE, Answer, Web, configuration
from access.minting import KEYS, NOW, URL, done, jwks, secret
from pacarchive.access.discovery import LIMIT, places
from pacarchive.access.keys import FOLDER, MOST_WAITING, ONE_FETCH, REFRESH, RETRY, USABLE, KeyStore, check
from pacarchive.access.keysets import LARGEST, parse_key_set
from pacarchive.access.settings import IssuerSettings
from pacarchive.errors import BackendUnavailable, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from joserfc.jwk import Key
    from twisted.logger import LogEvent

    from pacarchive.telemetry.counts import Counts

HOUR = 3600
FAILURES = ("jwks_fetch_failures_total", "wlcg")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The warnings, as they read, and what is logged beside them of issuers."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        from twisted.logger import formatEvent

        lines.append(f"{event['log_level'].name}: {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    yield lines
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


async def at_once(call: Callable[..., Any], *args: Any) -> Any:
    """Stands for a thread."""
    return call(*args)


class House:
    """A key store with one issuer, and what is around it."""

    def __init__(self, directory: Path | None = None, **settings: Any) -> None:
        self.web = Web()
        self.clock = Clock()
        self.clock.advance(NOW)
        self.directory = directory
        self.settings = IssuerSettings(url=URL, **settings)
        self.changes: list[str] = []
        self.store = self.made()

    def made(self) -> KeyStore:
        """One more, as after a restart."""
        return KeyStore(
            self.clock,
            {"wlcg": self.settings},
            None if self.directory is None else str(self.directory),
            at_once,
            make_agent=lambda _reactor, _trust: self.web,
            changed=self.changes.append,
        )

    def start(self) -> House:
        done(self.store.start())
        return self

    def restart(self) -> None:
        """The process ends, and another one begins."""
        done(self.store.stop())
        self.store = self.made()
        done(self.store.start())

    def find(self, kid: str = "rsa") -> Key | None:
        return self.store.find("wlcg", kid)

    def ask(self, kid: str = "rsa") -> Deferred[Key | None]:
        return Deferred.fromCoroutine(self.store.ask("wlcg", kid))

    def asked(self, kid: str = "rsa") -> Key | None:
        """The same, where it has not to wait."""
        return done(self.store.ask("wlcg", kid))

    def pass_by(self, seconds: float) -> None:
        """Time, in the steps in which something is done."""
        self.clock.pump([60.0] * int(seconds // 60) + [seconds % 60])

    def fetches(self) -> int:
        """How often keys were asked for since the last time that this was."""
        count = Counter(self.web.asked)[CONFIGURATION]
        self.web.asked.clear()
        return count


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """One that has a directory of its own, before its start."""
    house = House(tmp_path / "state")
    yield house
    done(house.store.stop())
    assert not house.clock.getDelayedCalls(), "it leaves nothing to do"


# where they come from


def test_keys_are_found_by_the_configuration(house: House) -> None:
    """At the start, in the background, and without anybody asking."""
    house.start()
    assert house.web.asked == [CONFIGURATION, KEYS_AT]
    key = house.find()
    assert key is not None
    assert key.as_dict(private=False)["n"] == KEYS["rsa"].as_dict(private=False)["n"]
    assert house.find("other") is None


def test_places() -> None:
    """Below the issuer's URL, whether or not that ends in a slash; where it has a path, also before that."""
    assert places(URL) == (CONFIGURATION, OTHER_PLACE)
    assert places(f"{URL}/") == (CONFIGURATION, OTHER_PLACE)
    assert places("https://h:8443/a/b") == (
        "https://h:8443/a/b/.well-known/openid-configuration",
        "https://h:8443/.well-known/oauth-authorization-server/a/b",
    )
    assert places("https://h") == places("https://h/") == ("https://h/.well-known/openid-configuration",)


def test_the_other_place(house: House) -> None:
    """Is tried where there is nothing at the first."""
    house.web.pages[OTHER_PLACE] = house.web.pages.pop(CONFIGURATION)
    house.start()
    assert house.web.asked == [CONFIGURATION, OTHER_PLACE, KEYS_AT]
    assert house.find() is not None


@pytest.mark.parametrize(
    ("page", "content", "words"),
    [
        (CONFIGURATION, Answer(500, b"x"), "is answered with status 500"),
        (CONFIGURATION, Answer(302, b"x"), "is answered with status 302"),
        (CONFIGURATION, Answer(404, b"x"), f"{OTHER_PLACE} is answered with status 404"),
        (CONFIGURATION, b"<html>", "is not JSON"),
        (CONFIGURATION, b"[" * 100_000, "is not JSON"),
        (CONFIGURATION, b"[]", "is no JSON object"),
        (CONFIGURATION, configuration(issuer=URL + "/"), f"is of the issuer {URL}/, which is not the same as {URL}"),
        (CONFIGURATION, configuration(issuer=None), "is of the issuer None"),
        (CONFIGURATION, configuration(jwks_uri="http://issuer.example/jwks"), "names no https address"),
        (CONFIGURATION, configuration(jwks_uri="https://me@issuer.example/jwks"), "names no https address"),
        (CONFIGURATION, configuration(jwks_uri="file:///etc/passwd"), "names no https address"),
        (CONFIGURATION, configuration(jwks_uri="https://issuer.example/a\r\nb"), "names no https address"),
        (CONFIGURATION, configuration(jwks_uri=["https://issuer.example/jwks"]), "names no https address"),
        (CONFIGURATION, Answer(200, b" " * (LARGEST + 1)), "has more than 256 KiB"),
        (KEYS_AT, Answer(200, b" " * (LARGEST + 1)), "has more than 256 KiB"),
        (KEYS_AT, Answer(200, b" " * (64 << 20), whole=False), "has more than 256 KiB"),
        (KEYS_AT, Answer(404, b"x"), "is answered with status 404"),
        (KEYS_AT, OSError("no route"), "no route"),
        (KEYS_AT, RuntimeError("a bug of somebody's"), "a bug of somebody's"),
        (KEYS_AT, b"{}", "has no list of keys"),
        (KEYS_AT, b'{"keys": [5, {}, {"kty": "PQ"}]}', "has no key"),
        (KEYS_AT, jwks("rsa", use="enc"), "has no key"),
        (KEYS_AT, jwks("rsa", key_ops=["encrypt"]), "has no key"),
        (KEYS_AT, jwks("rsa", kid=""), "has no key"),
        (KEYS_AT, jwks("rsa", kid=5), "has no key"),
        (KEYS_AT, jwks("rsa", n="!"), "has no key"),
        (KEYS_AT, jwks("rsa", alg=5), "has no key"),
        (KEYS_AT, jwks("ec", crv="P-999"), "has no key"),
        (KEYS_AT, jwks("ec", x="AAAA"), "has no key"),
        (KEYS_AT, json.dumps({"keys": [KEYS["rsa"].as_dict(private=True)]}).encode(), "holds a private key"),
        (KEYS_AT, json.dumps({"keys": [KEYS["ec"].as_dict(), KEYS["ed"].as_dict(private=True)]}).encode(),
         "holds a private key"),
        (KEYS_AT, json.dumps({"keys": [secret().as_dict(private=True)]}).encode(), "has no key"),
    ],
    ids=count(),
)  # fmt: skip
def test_what_is_not_taken(house: House, log: list[str], page: str, content: Any, words: str) -> None:
    """Nothing is believed that is not whole, not of the issuer, or no key that verifies; the log says what."""
    house.web.pages[page] = content
    house.start()
    assert house.find() is None
    (line,) = log
    assert line.startswith("warn: issuer wlcg: its keys cannot be had: ")
    assert words in line
    assert line.endswith("; its tokens are refused")
    with pytest.raises(BackendUnavailable, match="The keys of the issuer wlcg cannot be had at present"):
        house.asked()
    if isinstance(content, Answer) and (content.code != 200 or len(content.body) > LARGEST):
        assert content.is_given_up()


def test_a_weak_key_is_left_out() -> None:
    """And those beside it are taken."""
    with pytest.warns(Warning, match="2048"):
        weak = RSAKey.generate_key(1024, {"kid": "weak"}).as_dict(private=False)
    entries = [weak, secret().as_dict(private=True), *json.loads(jwks("ec", "rsa"))["keys"]]
    assert set(parse_key_set(json.dumps({"keys": entries}).encode()).keys) == {"ec", "rsa"}


def test_a_file_of_keys(tmp_path: Path, log: list[str]) -> None:
    """Nobody is asked; it is read again like an issuer's, and what it had stays while it cannot be."""
    path = tmp_path / "keys.json"
    path.write_bytes(jwks("rsa"))
    house = House(tmp_path, keys=path).start()
    assert house.find() is not None
    house.pass_by(3 * USABLE)
    assert house.find() is not None
    path.write_bytes(jwks("ec"))
    house.pass_by(ONE_FETCH)
    assert house.asked("ec") is not None
    assert house.find() is None
    assert house.changes == ["wlcg"]
    path.unlink()
    house.pass_by(3 * USABLE)
    assert house.find("ec") is not None
    (line,) = log
    assert "keys.json" in line
    assert line.endswith("those that were there are used")
    assert not house.web.asked
    assert os.listdir(tmp_path) == []
    done(house.store.stop())


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"{}", "no list of keys"), (b"\xff", "not JSON")]
)
def test_a_file_of_keys_that_is_none(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The server does not start; the section is named."""
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    house = House(tmp_path, keys=path)
    with pytest.raises(ValueError, match=rf"\[issuer wlcg\]: .*{words}") as raised:
        house.start()
    assert "keys.json" in str(raised.value)
    with pytest.raises((ValueError, OSError), match=words):
        check(house.settings)


def test_authorities_that_are_none(tmp_path: Path) -> None:
    """Likewise."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    house = House(tmp_path, ca=path)
    with pytest.raises(ValueError, match=r"\[issuer wlcg\]: .*ca\.pem: contains no certificate"):
        house.start()
    with pytest.raises(ValueError, match=r"ca\.pem: contains no certificate"):
        check(house.settings)


# how long they are used


def test_keys_are_refreshed(house: House) -> None:
    """Every six hours, whoever asks for them; others take the place of those that they were."""
    house.start()
    assert house.fetches() == 1
    house.pass_by(REFRESH - 60)
    assert house.fetches() == 0
    house.web.pages[KEYS_AT] = jwks("ec")
    house.pass_by(60)
    assert house.fetches() == 1
    assert house.find("ec") is not None
    assert house.find() is None
    assert house.changes == ["wlcg"]
    house.pass_by(4 * REFRESH)
    assert house.fetches() == 4
    assert house.changes == ["wlcg"]


def test_an_outage(house: House, log: list[str], heard: Counts) -> None:
    """Two days of it make no difference; its begin, its end and what it ends in are logged once each."""
    house.start()
    assert heard.read()[FAILURES] == (0.0,)
    house.web.down()
    house.pass_by(USABLE)
    assert house.find() is not None
    assert [line.partition("https")[0] for line in log] == ["warn: issuer wlcg: its keys cannot be had: "]
    assert log[0].endswith("those that are there are used until 2027-01-17T08:00:00Z")
    # Every five minutes after the first failure.
    fetches = 1 + (USABLE - REFRESH) // RETRY
    assert house.fetches() == fetches + 1
    assert heard.read()[FAILURES] == (fetches,)
    house.pass_by(60)
    assert house.find() is None
    assert log[1:] == ["error: issuer wlcg: its keys are too old now; its tokens are refused"]
    with pytest.raises(BackendUnavailable):
        house.asked()
    house.web.pages = Web().pages
    house.pass_by(RETRY)
    assert house.find() is not None
    assert log[2:] == ["info: issuer wlcg: its keys can be had again"]


def test_a_restart_in_an_outage(house: House, log: list[str]) -> None:
    """What is on disk is used, no longer than it would have been without the restart."""
    house.start()
    house.web.down()
    house.pass_by(USABLE - HOUR)
    house.restart()
    assert house.find() is not None
    assert house.store.ages() == {"wlcg": USABLE - HOUR}
    house.pass_by(HOUR)
    assert house.find() is not None
    house.pass_by(60)
    assert house.find() is None
    house.restart()
    assert house.find() is None
    assert "its tokens are refused" in log[-1]


def test_a_restart_fetches_nothing_that_is_fresh(house: House) -> None:
    """A server that is restarted over and over does not trouble the issuer."""
    house.start()
    house.pass_by(HOUR)
    house.fetches()
    for _ in range(3):
        house.restart()
    house.pass_by(REFRESH - HOUR - 60)
    assert house.fetches() == 0
    house.pass_by(60)
    assert house.fetches() == 1


def test_without_a_directory() -> None:
    """Keys are in memory alone."""
    house = House().start()
    assert house.find() is not None
    house.web.down()
    house.restart()
    assert house.find() is None
    done(house.store.stop())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        json.dumps({"issuer": URL, "fetched": "yesterday", "keys": []}).encode(),
        json.dumps({"issuer": URL, "fetched": NOW, "keys": []}).encode(),
        json.dumps({"issuer": "https://other.example", "fetched": NOW, **json.loads(jwks("ec"))}).encode(),
    ],
)
def test_what_was_kept_may_be_of_no_use(house: House, content: bytes) -> None:
    """Half a file, or one of an issuer that had the name before; the keys are fetched then."""
    assert house.directory is not None
    path = house.directory / FOLDER / "wlcg.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    house.start()
    assert house.find() is not None
    assert house.find("ec") is None
    assert json.loads(path.read_bytes())["issuer"] == URL


def test_only_what_is_public_is_kept(house: House) -> None:
    """One file for each issuer, and nothing beside it."""
    house.web.pages[KEYS_AT] = jwks("rsa", "ec", note="x", x5c=["y"])
    house.start()
    assert house.directory is not None
    folder = house.directory / FOLDER
    assert os.listdir(folder) == ["wlcg.json"]
    kept = json.loads((folder / "wlcg.json").read_bytes())
    assert kept["fetched"] == NOW
    assert [set(each) for each in kept["keys"]] == [{"kty", "kid", "n", "e"}, {"kty", "kid", "crv", "x", "y"}]


def test_a_disk_that_takes_nothing(house: House, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are used all the same, and nothing half is left."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    house.start()
    assert house.find() is not None
    (line,) = log
    assert "warn: issuer wlcg: its keys cannot be kept on disk: " in line
    assert house.directory is not None
    assert not list(house.directory.rglob("*.json*"))


def test_a_clock_that_was_wrong(house: House) -> None:
    """What is kept from the future is as old as the start, and a clock that is set back has keys fetched."""
    house.start()
    house.clock.rightNow -= 10 * USABLE
    house.web.down()
    house.restart()
    assert house.store.ages() == {"wlcg": 0}
    house.pass_by(USABLE)
    assert house.find() is not None
    house.pass_by(60)
    assert house.find() is None


# how often they are asked for


def test_an_unknown_key_is_asked_for_once_a_minute(house: House) -> None:
    """However many there are, and whoever sends them."""
    house.start()
    house.fetches()
    for each in range(100):
        assert house.asked(f"forged-{each}") is None
    assert house.fetches() == 0, "they were fetched just now"
    house.pass_by(ONE_FETCH)
    house.web.pages[KEYS_AT] = jwks("rsa", "ec")
    assert house.asked("ec") is not None
    for each in range(100):
        assert house.asked(f"forged-{each}") is None
    assert house.fetches() == 1
    house.pass_by(ONE_FETCH - 1)
    assert house.asked("forged") is None
    assert house.fetches() == 0
    house.pass_by(1)
    assert house.asked("forged") is None
    assert house.fetches() == 1


def test_an_issuer_that_is_down_is_asked_once_a_minute(house: House) -> None:
    """And those who come meanwhile are told when to come again."""
    house.web.down()
    house.start()
    house.fetches()
    house.pass_by(20)
    for _ in range(100):
        with pytest.raises(BackendUnavailable) as raised:
            house.asked()
        assert raised.value.retry_after == ONE_FETCH - 20
    assert house.fetches() == 0
    house.pass_by(ONE_FETCH - 20)
    house.web.pages = Web().pages
    assert house.asked() is not None


def test_those_who_come_meanwhile_wait_for_the_same(house: House) -> None:
    """At the start, or while the keys change; no more of them than there is room for."""
    house.web.pages[KEYS_AT] = None
    house.start()
    waiting = [house.ask() for _ in range(MOST_WAITING)]
    assert not any(each.called for each in waiting)
    with pytest.raises(Overloaded):
        house.asked()
    waiting[0].cancel()
    with pytest.raises(CancelledError):
        done(_result(waiting[0]))
    again = house.ask()
    assert house.fetches() == 1
    house.clock.advance(LIMIT)
    for each in (*waiting[1:], again):
        with pytest.raises(BackendUnavailable):
            done(_result(each))


def test_an_issuer_that_hangs(house: House, log: list[str]) -> None:
    """Before its answer, or in the middle of it: it is given up, and its connection closed."""
    house.web.pages[CONFIGURATION] = None
    house.start()
    house.clock.advance(LIMIT)
    assert house.web.given_up == [CONFIGURATION]
    assert f"{CONFIGURATION} has not answered within 10 s" in log[0]
    slow = Answer(200, jwks("rsa")[:50], whole=False)
    house.web.pages = {**Web().pages, KEYS_AT: slow}
    house.pass_by(ONE_FETCH)
    work = house.ask()
    house.clock.advance(LIMIT - 1)
    assert not work.called
    assert not slow.is_given_up()
    house.clock.advance(1)
    assert slow.is_given_up()
    with pytest.raises(BackendUnavailable):
        done(_result(work))


def test_the_end_while_keys_are_fetched(house: House, log: list[str]) -> None:
    """What was asked is given up, and those who wait are told."""
    house.web.pages[KEYS_AT] = None
    house.start()
    work = house.ask()
    done(house.store.stop())
    assert house.web.given_up == [KEYS_AT]
    with pytest.raises(BackendUnavailable):
        done(_result(work))
    house.fetches()
    house.clock.advance(2 * REFRESH)
    with pytest.raises(BackendUnavailable):
        house.asked()
    assert house.fetches() == 0
    assert not log


def test_what_nobody_foresaw(house: House, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the next attempt is as good as if it had not been."""

    def fail(_data: bytes) -> None:
        raise AttributeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("pacarchive.access.keys.parse_key_set", fail)
        house.start()
    assert log == ["critical: issuer wlcg: its keys cannot be had, unexpectedly"]
    with pytest.raises(BackendUnavailable):
        house.asked()
    house.pass_by(ONE_FETCH)
    assert house.asked() is not None


def test_one_issuer_is_no_matter_of_another(tmp_path: Path) -> None:
    """Neither its outage nor its keys."""
    web, clock = Web(), Clock()
    clock.advance(NOW)
    other = "https://other.example"
    web.pages[f"{other}/.well-known/openid-configuration"] = configuration(issuer=other, jwks_uri=f"{other}/keys")
    web.pages[f"{other}/keys"] = None
    issuers = {"wlcg": IssuerSettings(url=URL), "other": IssuerSettings(url=other)}
    store = KeyStore(clock, issuers, str(tmp_path), at_once, make_agent=lambda _reactor, _trust: web)
    done(store.start())
    assert store.find("wlcg", "rsa") is not None
    assert store.find("other", "rsa") is None
    done(store.stop())


def test_the_curve_that_is_not_ours() -> None:
    """A key of a kind that no algorithm of ours has is no harm to the others."""
    odd = ECKey.generate_key("secp256k1", {"kid": "odd"}).as_dict(private=False)
    entries = [odd, *json.loads(jwks("rsa"))["keys"]]
    assert "rsa" in parse_key_set(json.dumps({"keys": entries}).encode()).keys


async def _result(work: Deferred[Any]) -> Any:
    return await work
