"""The gate: what is remembered, for how long, and of how many; and the rules."""

from __future__ import annotations

import traceback
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pacarchive.access import gate as gates
from pacarchive.access import throttle, tokens
from pacarchive.access.gate import Caller, Gate, certificate_identity
from pacarchive.access.identity import Access, BadCredentials, How, Identity, TooManyFailures
from pacarchive.access.policy import Policy
from pacarchive.access.rights import NOTHING, Right, parse_rights
from pacarchive.access.settings import AllowSettings, callers
from pacarchive.access.throttle import BURST, Throttle
from pacarchive.access.tokens import Token, digest_of, make_token
from pacarchive.telemetry.counts import Counts

HOST = "192.0.2.1"


class Counting:
    """Knows users and tokens that begin with C{good}, and counts how often it is asked."""

    def __init__(self, expires: float | None = None) -> None:
        self.asked = 0
        self.expires = expires

    async def identify(self, given: str, *more: str) -> Identity:
        """Who it is."""
        self.asked += 1
        if not given.startswith("good"):
            raise BadCredentials("wrong")
        return Identity(f"sub:{given}", How.ISSUER, frozenset({f"sub:x:{given}"}), expires=self.expires)


def policy(anonymous: Right = NOTHING, **rules: tuple[str, str]) -> Policy:
    """Rules by name: for whom, and what."""
    return Policy(
        anonymous, {name: AllowSettings(who=callers(who), may=parse_rights(may)) for name, (who, may) in rules.items()}
    )


def caller(authorization: str | None = None, host: str | None = HOST, **more: Any) -> Caller:
    """One who presents something."""
    return Caller(None if authorization is None else authorization.encode(), host, host or "local", **more)


def verified(gate: Gate, who: Caller) -> Access:
    """What somebody may who has to be verified."""
    if (access := gate.known(who)) is not None:
        return access
    found: list[Access] = []
    failed: list[Failure] = []
    Deferred.fromCoroutine(gate.verify(who)).addCallbacks(found.append, failed.append)
    for each in failed:
        each.raiseException()
    return found[0]


@pytest.fixture
def clock() -> Clock:
    """The time."""
    clock = Clock()
    clock.advance(1e9)
    return clock


def test_rules_add_up(clock: Clock) -> None:
    """What everyone has, what a network has, what one is known by."""
    rules = policy(
        Right.STAT,
        a=("net:192.0.2.0/24 net:2001:db8::/32", "read"),
        b=("sub:x:good", "create"),
        c=("known", "stage"),
        d=("sub:x:better", "all"),
    )
    gate = Gate(clock, rules, Counting())

    def may(who: Caller) -> set[str]:
        access = verified(gate, who)
        return {str(right) for right in Right if access.may(right, 5)}

    assert may(caller(host="198.51.100.1")) == may(caller(host=None)) == {"stat"}
    for host in (HOST, "2001:db8::1", "::ffff:192.0.2.77", "2001:db8::1%eth0"):
        assert may(caller(host=host)) == {"stat", "read"}
    assert may(caller("Bearer good")) == {"stat", "read", "create", "stage", "poll"}
    assert may(caller("Bearer goodly", "198.51.100.1")) == {"stat", "stage", "poll"}


def test_remembered(clock: Clock) -> None:
    """For a minute, by address; then it is asked again."""
    counting = Counting()
    gate = Gate(clock, policy(), counting)
    for _ in range(3):
        verified(gate, caller("Bearer good"))
    assert counting.asked == 1
    verified(gate, caller("Bearer good", "192.0.2.2"))
    assert counting.asked == 2
    clock.advance(gates.FOR)
    verified(gate, caller("Bearer good"))
    assert counting.asked == 3
    gate.forget()
    verified(gate, caller("Bearer good"))
    assert counting.asked == 4


def test_no_longer_than_it_is_valid(clock: Clock) -> None:
    """What expires sooner is asked for sooner."""
    counting = Counting(clock.seconds() + 5)
    gate = Gate(clock, policy(), counting)
    for passed, asked in ((0, 1), (4.9, 1), (0.1, 2)):
        clock.advance(passed)
        verified(gate, caller("Bearer good"))
        assert counting.asked == asked


def test_refusals_are_remembered(clock: Clock) -> None:
    """For some seconds; they count each time."""
    counting = Counting()
    gate = Gate(clock, policy(), counting)
    for asked, passed in ((1, 0), (1, gates.REFUSED_FOR), (2, 0)):
        with pytest.raises(BadCredentials, match="not valid"):
            verified(gate, caller("Bearer bad"))
        assert counting.asked == asked
        clock.advance(passed)
    assert gate.failures == 3


def test_a_token_that_was_revoked(clock: Clock) -> None:
    """It ends with the next reading of the file, also for those who are remembered."""
    token = make_token()
    gate = Gate(clock, policy())
    gate.use_tokens({digest_of(token): Token("robot", digest_of(token), Right.READ)})
    assert verified(gate, caller(f"Bearer {token}")).may(Right.READ, 1)
    gate.use_tokens({})
    with pytest.raises(BadCredentials):
        gate.known(caller(f"Bearer {token}"))


def test_a_token_that_expires(clock: Clock) -> None:
    """It ends in time, though it is remembered."""
    token = make_token()
    gate = Gate(clock, policy())
    line = Token("robot", digest_of(token), Right.READ, expires=clock.seconds() + 3)
    gate.use_tokens({line.digest: line})
    assert verified(gate, caller(f"Bearer {token}")).expires == line.expires
    clock.advance(3)
    with pytest.raises(BadCredentials, match="expired"):
        gate.known(caller(f"Bearer {token}"))


def test_what_nobody_takes(clock: Clock) -> None:
    """Without issuers, tokens or users, all that is presented is wrong, and costs the address."""
    gate = Gate(clock, policy(Right.READ))
    assert gate.schemes == ()
    for given in ("Bearer x", f"Bearer {make_token()}", "Basic eDp5", "x" * (gates.LONGEST + 1)):
        with pytest.raises(BadCredentials):
            gate.known(caller(given))
    assert gate.failures == 4
    assert gate.known(caller()) is not None


def test_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have not asked for the longest time are forgotten first; refusals do not push anybody out."""
    monkeypatch.setattr(gates, "REMEMBERED", 3)
    counting = Counting()
    gate = Gate(clock, policy(), counting)
    for number in (0, 1, 2, 0, 3):
        verified(gate, caller(f"Bearer good{number}"))
    assert counting.asked == 4
    for number in range(10):
        with pytest.raises(BadCredentials):
            verified(gate, caller(f"Bearer bad{number}", f"198.51.100.{number}"))
    asked = counting.asked
    verified(gate, caller("Bearer good0"))
    assert counting.asked == asked
    verified(gate, caller("Bearer good1"))
    assert counting.asked == asked + 1


def test_basic(clock: Clock) -> None:
    """RFC 7617: a password may have colons; what has none is none."""
    gate = Gate(clock, policy(), passwords=Counting())
    assert gate.schemes == ("Basic",)
    given = b64encode("good:pässword:with:colons".encode()).decode()
    assert verified(gate, caller(f"basic {given}")).name == "sub:good"
    for wrong in (b"no colon", b"\xff:x"):
        with pytest.raises(BadCredentials, match="not valid"):
            verified(gate, caller("Basic " + b64encode(wrong).decode()))


def test_a_connection_that_proves_something(clock: Clock) -> None:
    """It counts alone, beside what is presented, and until it ends."""
    robot = Identity("cert:dns:robot", How.CERTIFICATE, frozenset({"cert:dns:robot"}), expires=clock.seconds() + 9)
    gate = Gate(clock, policy(a=("cert:dns:robot", "read"), b=("sub:x:good", "create")), Counting())
    alone = verified(gate, caller(connection=robot))
    assert (alone.name, alone.may(Right.READ, 1), alone.may(Right.CREATE, 1)) == ("cert:dns:robot", True, False)
    both = verified(gate, caller("Bearer good", connection=robot))
    assert (both.name, both.may(Right.READ, 1), both.may(Right.CREATE, 1)) == ("sub:good", True, True)
    assert not verified(gate, caller("Bearer good")).may(Right.READ, 1)
    clock.advance(9)
    assert verified(gate, caller(connection=robot)).name == "anonymous"


def test_throttle(clock: Clock) -> None:
    """So many failures are free; then there is a pause for each, and what is owed does not grow without end."""
    slow = Throttle(clock)
    for _ in range(throttle.BURST - 1):
        slow.failed(HOST, crowd=False)
    slow.require(HOST)
    slow.failed(HOST, crowd=False)
    with pytest.raises(TooManyFailures) as caught:
        slow.require(HOST)
    clock.advance(caught.value.retry_after)
    slow.require(HOST)
    for _ in range(10_000):
        slow.failed(HOST, crowd=False)
    with pytest.raises(TooManyFailures) as caught:
        slow.require(HOST)
    assert caught.value.retry_after <= (throttle.BURST + 1) * throttle.PAUSE
    clock.advance(2 * throttle.BURST * throttle.PAUSE)
    for _ in range(throttle.BURST - 1):
        slow.failed(HOST, crowd=False)
        slow.require(HOST)


def test_throttle_of_a_crowd(clock: Clock) -> None:
    """Many clients behind one address have more, and not without end either."""
    slow = Throttle(clock)
    for _ in range(throttle.BURST * throttle.CROWD - 1):
        slow.failed("local", crowd=True)
    slow.require("local")
    for _ in range(2):
        slow.failed("local", crowd=True)
    with pytest.raises(TooManyFailures):
        slow.require("local")


def test_throttle_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more addresses than are kept, those are forgotten that have not failed for the longest time."""
    monkeypatch.setattr(throttle, "ADDRESSES", 2)
    slow = Throttle(clock)
    for host in ("a", "b", "a", "c"):
        for _ in range(throttle.BURST):
            slow.failed(host, crowd=False)
    slow.require("b")
    for host in ("a", "c"):
        with pytest.raises(TooManyFailures):
            slow.require(host)


def test_a_clock_that_is_set_back(clock: Clock) -> None:
    """It makes nobody wait for longer."""
    slow = Throttle(clock)
    for _ in range(throttle.BURST):
        slow.failed(HOST, crowd=False)
    clock.rightNow -= 1e6
    with pytest.raises(TooManyFailures) as caught:
        slow.require(HOST)
    assert caught.value.retry_after <= 2 * throttle.PAUSE


def test_tokens_have_their_own_beginning() -> None:
    """What begins like one goes to no issuer."""
    counting = Counting()
    gate = Gate(Clock(), policy(), counting)
    gate.use_tokens({})
    with pytest.raises(BadCredentials):
        gate.known(caller(f"Bearer {tokens.PREFIX}x"))
    assert counting.asked == 0


def test_a_good_neighbour_of_a_bad_one(clock: Clock) -> None:
    """What has been good, and any static token, is looked at although much from the same address was not good."""
    token = make_token()
    gate = Gate(clock, policy(), Counting())
    known = {digest_of(token): Token("robot", digest_of(token), Right.READ)}
    gate.use_tokens(known)
    verified(gate, caller("Bearer good"))
    for number in range(2 * throttle.BURST):
        with pytest.raises((BadCredentials, TooManyFailures)):
            verified(gate, caller(f"Bearer bad{number}"))
    with pytest.raises(TooManyFailures):
        verified(gate, caller("Bearer good enough, and new"))
    with pytest.raises(TooManyFailures):
        verified(gate, caller(f"Bearer {make_token()}"))
    gate.use_tokens(known)  # which forgets all
    assert verified(gate, caller(f"Bearer {token}")).name == "token:robot"
    assert verified(gate, caller("Bearer good")).name == "sub:good"


def test_the_same_at_once(clock: Clock) -> None:
    """Is verified once for all who present it; who goes away takes nothing from the others."""
    waiting: Deferred[None] = Deferred()

    class Slow(Counting):
        async def identify(self, given: str, *more: str) -> Identity:
            await waiting
            return await super().identify(given, *more)

    slow = Slow()
    gate = Gate(clock, policy(), slow)
    asking = [Deferred.fromCoroutine(gate.verify(caller("Bearer good"))) for _ in range(20)]
    found: list[Access] = []
    for each in asking:
        each.addCallbacks(found.append, lambda failure: failure.trap(CancelledError))
    asking[0].cancel()
    waiting.callback(None)
    assert (slow.asked, len([each for each in found if isinstance(each, Access)])) == (1, 19)
    assert verified(gate, caller("Bearer good")).name == "sub:good"
    assert slow.asked == 1


def test_what_nobody_waits_for(clock: Clock) -> None:
    """It is cancelled with the last who did, leaves nothing, and whoever comes then is verified anew."""
    cancelled: list[Deferred[None]] = []

    class Stuck(Counting):
        async def identify(self, given: str, *more: str) -> Identity:
            self.asked += 1
            await Deferred(cancelled.append)
            raise AssertionError("it never ends")

    stuck = Stuck()
    gate = Gate(clock, policy(), stuck)
    asking = [Deferred.fromCoroutine(gate.verify(caller("Bearer good"))) for _ in range(3)]
    for number, each in enumerate(asking):
        assert not cancelled
        each.addErrback(lambda failure: failure.trap(CancelledError))
        each.cancel()
        assert bool(cancelled) is (number == 2)
    assert not gate._under_way
    again = Deferred.fromCoroutine(gate.verify(caller("Bearer good")))
    again.addErrback(lambda failure: failure.trap(CancelledError))
    assert stuck.asked == 2
    again.cancel()
    assert not gate._under_way


def test_connections_that_prove_different_things(clock: Clock) -> None:
    """Of two certificates whose first names are the same, none has what the other's second name gives."""
    rules = policy(a=("cert:dns:b", "read"))
    gate = Gate(clock, rules, Counting())
    both = certificate_identity(("dns:a", "dns:b"), "CN=x", clock.seconds() + 9)
    one = certificate_identity(("dns:a",), "CN=x", clock.seconds() + 9)
    assert verified(gate, caller("Bearer good", connection=both)).may(Right.READ, 1)
    assert not verified(gate, caller("Bearer good", connection=one)).may(Right.READ, 1)
    clock.advance(9)
    assert not verified(gate, caller("Bearer good", connection=both)).may(Right.READ, 1)


def test_refusals_keep_no_frames(clock: Clock) -> None:
    """However often the same is refused, what is remembered of it does not grow; and what is over is forgotten."""
    gate = Gate(clock, policy(), Counting())
    for number in range(300):
        error = None
        try:
            verified(gate, caller("Bearer bad", f"198.51.100.{number % 250}"))
        except BadCredentials as caught:
            error = caught
        assert error is not None
        assert len(traceback.extract_tb(error.__traceback__)) < 20
    for number in range(50):
        with pytest.raises(BadCredentials):
            verified(gate, caller(f"Bearer bad{number}", f"203.0.113.{number}"))
    clock.advance(gates.REFUSED_FOR + 1)
    with pytest.raises(BadCredentials):
        verified(gate, caller("Bearer another", "192.0.2.99"))
    assert len(gate._refusals) == 1


def test_what_is_counted(clock: Clock, heard: Counts) -> None:
    """What is looked at, once, by kind and result; and each refusal, however it is known."""
    token = make_token()
    gate = Gate(clock, policy(), Counting(), Counting())
    gate.use_tokens({digest_of(token): Token("robot", digest_of(token), Right.READ)})
    for given in ("Bearer good", f"Bearer {token}", "Basic Z29vZDpnb29k"):
        for _ in range(3):
            verified(gate, caller(given))
    for given in ("Bearer bad", f"Bearer {make_token()}", "Digest x", "x" * (gates.LONGEST + 1)):
        for _ in range(2):
            with pytest.raises(BadCredentials):
                verified(gate, caller(given))
    for number in range(BURST):
        with suppress(BadCredentials, TooManyFailures):
            gate.known(caller(f"Digest {number}"))
    found = {series[1:]: value for series, (value, *_) in heard.read().items() if series[0] == "auth_total" and value}
    slowed = found.pop(("other", "slowed"))
    assert slowed > 0
    assert found.pop(("other", "refused")) == 4 + BURST - slowed
    assert found == {
        ("issuer", "accepted"): 1,
        ("token", "accepted"): 1,
        ("password", "accepted"): 1,
        ("issuer", "refused"): 2,
        ("token", "refused"): 2,
    }
    durations = {
        series[1:]: sum(each[:-1]) for series, each in heard.read().items() if series[0] == "auth_duration_seconds"
    }
    assert {series: number for series, number in durations.items() if number} == {
        ("issuer", "accepted"): 1,
        ("password", "accepted"): 1,
        ("issuer", "refused"): 1,
    }
