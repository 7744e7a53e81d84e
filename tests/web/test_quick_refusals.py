"""The short road for what is refused: it gives the refusals of the general road, byte for byte, or none."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from doubles import Archive, FakeAudit
from hypothesis import example, given
from hypothesis import strategies as st
from support import HOST, Server, compose, serving
from test_access import TOKEN, governed, rule
from test_quick import FIELDS, ODD_FIELDS, ODD_TARGETS, TARGETS, QuickArchive, Watched, furnish
from test_spans import traced

from pacarchive.access import tokens
from pacarchive.access.gate import REFUSED_FOR, Gate
from pacarchive.access.policy import Policy
from pacarchive.access.rights import NOTHING, Right
from pacarchive.access.throttle import BURST, PAUSE
from pacarchive.access.tokens import Token
from pacarchive.runtime import measuring
from pacarchive.settings.server import Compatibility
from pacarchive.telemetry.counts import Counts
from pacarchive.web.http.turns import ALLOWANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.task import Clock

IDLE, OLD = tokens.make_token(), tokens.make_token()
BEARER = f"Authorization: Bearer {TOKEN}"
FORGED = f"Authorization: Bearer {tokens.make_token()}"
PRESENTED = (
    "",
    BEARER,
    f"Authorization: Bearer {IDLE}",
    f"Authorization: Bearer {OLD}",
    FORGED,
    f"Authorization: bearer  {TOKEN[:-1]}~",
    "Authorization: Bearer a.good.one",
    "Authorization: Bearer a.forged.one",
    "Authorization: Basic " + b64encode(b"ada:love:lace").decode(),
    "Authorization: Basic " + b64encode(b"ada:guessed").decode(),
    "Authorization: Basic !",
    "Authorization: Digest x",
    "Authorization: Secret x",
)
"""What may be presented: nothing, what is good, what is good for nothing, and what is not."""

ENDS = 30.0
"""Seconds after which one of the tokens ends."""


def guarded(clock: Clock) -> Gate:
    """A gate through which some may go."""
    gate = governed(clock, NOTHING, rule("token:robot", Right.STAT), rule("token:robot", Right.READ, "1-3"))
    named = (("robot", TOKEN, None), ("idle", IDLE, None), ("old", OLD, clock.seconds() + ENDS))
    digests = [(name, tokens.digest_of(token), expires) for name, token, expires in named]
    gate.use_tokens({digest: Token(name, digest, NOTHING, expires=expires) for name, digest, expires in digests})
    return gate


def half_open(clock: Clock) -> Gate:
    """One where everyone may look."""
    return governed(clock, Right.STAT, rule("token:robot", Right.READ))


def closed(clock: Clock) -> Gate:
    """One that nothing can be presented to."""
    return Gate(clock, Policy(NOTHING, {}))


GATES = (guarded, half_open, closed)


class Refusing(Watched):
    """As that, with all else that is noted of refusals."""

    def __init__(self, server: Server, *, quick: bool, host: str = "192.168.1.1") -> None:
        super().__init__(server, quick=quick, host=host)
        self.heard = Counts()

    def ask(self, data: bytes) -> Any:
        said = len(self.server.logged)
        measuring.listen(self.heard)
        try:
            result = super().ask(data)
        finally:
            measuring.stop_listening(self.heard)
        server = self.server
        audit: Any = server.application.audit
        telemetry = server.application.telemetry
        noted = repr((audit.refusals, server.words()[said:], list(telemetry._refused)))
        heard = {series: numbers for series, numbers in self.heard.read().items() if any(numbers)}
        heard = {series: numbers for series, numbers in heard.items() if series[0] == "auth_total"}
        return *result, re.sub(r"[0-9a-f]{16}-[0-9a-f]+", "new", noted), heard, server.application.gate.failures


@contextmanager
def both(
    gate: Callable[[Clock], Gate] = guarded, archive: type[Archive] = QuickArchive, **settings: Any
) -> Iterator[tuple[Refusing, Refusing]]:
    """Two servers with the same files and rules, one without the short road."""
    with (
        serving(Server(archive, gate=gate, audit=FakeAudit(), **settings)) as short,
        serving(Server(archive, gate=gate, audit=FakeAudit(), **settings)) as general,
    ):
        for server in (short, general):
            furnish(server)
        yield Refusing(short, quick=True), Refusing(general, quick=False)


requests = st.builds(
    lambda method, target, presented, fields, host: compose(
        method, target, *([presented] if presented else []), *fields, host=host
    ),
    st.sampled_from(("GET", "GET", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS")),
    st.sampled_from(TARGETS) | st.sampled_from(ODD_TARGETS),
    st.sampled_from(PRESENTED),
    st.lists(st.sampled_from(FIELDS), max_size=3)
    | st.lists(
        st.sampled_from([each for each in FIELDS + ODD_FIELDS if "\n" not in each and "Transfer" not in each]),
        max_size=3,
    ),
    st.sampled_from((HOST, HOST, HOST, HOST, "other.example")),
)
steps = st.tuples(
    requests,
    st.sampled_from((1, 1, 2, BURST + 2)),
    st.sampled_from((0.0, 0.0, 0.5, PAUSE, REFUSED_FOR - 0.5, REFUSED_FOR + 1, ENDS)),
)


@given(st.sampled_from(GATES), st.sampled_from(Compatibility), st.lists(steps, min_size=1, max_size=4))
@example(guarded, Compatibility.NONE, [(compose("GET", "/1", FORGED), BURST + 2, REFUSED_FOR + 1)] * 2)
@example(guarded, Compatibility.NONE, [(compose("GET", "/1", f"Authorization: Bearer {OLD}"), 2, ENDS)] * 2)
@example(guarded, Compatibility.PACIFICA, [(compose("HEAD", "/1"), 1, 0.0), (compose("GET", "/1", BEARER), 2, 0.0)])
@example(closed, Compatibility.NONE, [(compose("DELETE", "/1"), 1, 0.0), (compose("GET", "/1", BEARER), 2, 0.0)])
def test_the_same_refusals(
    gate: Callable[[Clock], Gate], compatibility: Compatibility, asked: list[tuple[bytes, int, float]]
) -> None:
    """Whatever is presented, however often; and the same is counted, logged and written down."""
    with both(gate, compatibility=compatibility) as (short, general):
        for request, times, seconds in asked:
            for _ in range(times):
                found, wanted = short.ask(request), general.ask(request)
                assert found == wanted
            for each in (short, general):
                each.server.clock.advance(seconds)


@given(st.lists(requests, min_size=1, max_size=3), st.lists(st.integers(1, 300), max_size=4))
def test_the_same_in_pieces(requests: list[bytes], sizes: list[int]) -> None:
    """However the network cuts what was sent."""
    stream = b"".join(requests)
    ends = sorted({sum(sizes[: number + 1]) for number in range(len(sizes))} | {len(stream)})
    with both() as (short, general):
        for start, end in zip([0, *ends], ends, strict=False):
            if start < len(stream):
                assert short.ask(stream[start:end]) == general.ask(stream[start:end])


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    ("presented", "gate", "status"),
    [
        ((), guarded, 401),
        ((), closed, 403),
        ((FORGED,), guarded, 401),
        ((f"Authorization: Bearer {IDLE}",), guarded, 403),
        (("Authorization: Secret x",), half_open, 401),
    ],
    ids=["nothing", "nothing, where nothing helps", "forged", "good for nothing", "unknown"],
)
@pytest.mark.parametrize("archive", [QuickArchive, Archive], ids=["quick", "slow"])
def test_what_is_refused(
    method: str, presented: tuple[str, ...], gate: Callable[[Clock], Gate], status: int, archive: type[Archive]
) -> None:
    """It takes the short road each time, wherever the files are, and touches none."""
    with both(gate, archive) as (short, general):
        for target in ("/1", "/99", "/1"):
            request = compose(method, target, *presented, "User-Agent: curl")
            found = short.ask(request)
            assert found == general.ask(request)
            assert found[0].startswith(b"HTTP/1.1 %d " % status)
            assert found[1]
        assert short.taken == [True] * 3
        assert short.server.archive.calls == []


def test_who_guesses_is_slowed_down() -> None:
    """As on the general road: after so many, what is new is not looked at, and what is good stays good."""
    with both() as (short, general):
        guesses = [compose("GET", "/1", f"Authorization: Bearer {tokens.make_token()}") for _ in range(BURST + 3)]
        statuses = []
        for each in (compose("GET", "/1", BEARER), *guesses, guesses[0], compose("GET", "/1", BEARER)):
            found = short.ask(each)
            assert found == general.ask(each)
            statuses.append(int(found[0][9:12]))
        assert statuses == [200, *[401] * BURST, *[429] * 3, 401, 200]
        assert short.taken == [False, *[True] * (BURST + 5)]


@pytest.mark.parametrize(
    "request_",
    [
        compose("GET", "/"),
        compose("GET", "/jobs"),
        compose("GET", "/1?x=1"),
        compose("GET", "/1", "Range: bytes=0-1"),
        compose("GET", "/1", FORGED, FORGED),
        compose("PUT", "/1", body=b"x"),
        compose("PUT", "/1", "Expect: 100-continue", "Content-Length: 5"),
        compose("DELETE", "/1", "Content-Length: 0"),
        compose("GET", "/1", "Connection: close"),
        compose("GET", "/1", "X-Request-Id: mine"),
    ],
    ids=lambda request: request.replace(FORGED[22:].encode(), b"token")[:60].decode().encode("unicode_escape").decode(),
)
def test_what_takes_the_general_road(request_: bytes) -> None:
    """What is not plain, or has a body."""
    with both() as (short, general):
        assert short.ask(request_) == general.ask(request_)
        assert not any(short.taken)


def test_others_may_do_something() -> None:
    """Who lacks a right for one file alone is heard by its route."""
    with both() as (short, general):
        for method, target in (("GET", "/7"), ("DELETE", "/1")) * 2:
            request = compose(method, target, BEARER)
            found = short.ask(request)
            assert found == general.ask(request)
            assert found[0].startswith(b"HTTP/1.1 403")
        assert not any(short.taken)


def test_what_was_refused_becomes_good() -> None:
    """As soon as it is, on the same connection; and it is written down whose each was."""
    with both() as (short, general):
        request = compose("GET", "/1", FORGED)
        token = FORGED.rpartition(" ")[2]
        assert short.ask(request) == general.ask(request)
        for each in (short, general):
            digest = tokens.digest_of(token)
            each.server.application.gate.use_tokens({digest: Token("robot", digest, NOTHING)})
        for _ in range(2):
            found = short.ask(request)
            assert found == general.ask(request)
            assert found[0].startswith(b"HTTP/1.1 200")
            assert b"token:robot" in found[4][0]
        for each in (short, general):
            each.server.application.gate.use_tokens({})
        found = short.ask(request)
        assert found == general.ask(request)
        assert found[0].startswith(b"HTTP/1.1 401")
        assert b"principal" not in found[4][0]


def test_spans() -> None:
    """No route was looked for, and so there is none in the span of a refusal."""
    found = []
    for quick in (True, False):
        with serving(Server(QuickArchive, gate=guarded)) as server:
            spans = traced(server)
            if not quick:
                server.site.quick = None
            client = server.connect()
            client.send(compose("OPTIONS", "*"))
            client.take()
            client.send(compose("DELETE", "/1", "User-Agent: curl"))
            server.finish_work()
            (_, span) = spans.kept
            assert span.attributes.pop("pacarchive.request.id")
            found.append(span)
    assert found[0] == found[1]
    assert found[0].name == "DELETE"
    assert found[0].attributes["http.response.status_code"] == 401


def test_it_takes_its_part_of_a_turn() -> None:
    """So that one who asks again and again keeps nobody waiting; and what comes too soon waits."""
    with both() as (short, general):
        left = []
        for each in (short, general):
            each.ask(compose("GET", "/1"))
            before = each.server.site.turns._left
            each.client.protocol.dataReceived(compose("GET", "/1"))
            left.append(before - each.server.site.turns._left)
            each.client.take()
            each.server.site.turns.spend(ALLOWANCE)
            each.client.protocol.dataReceived(compose("GET", "/1"))
            assert each.client.take() == b""
            each.server.finish_work()
            assert each.client.take().startswith(b"HTTP/1.1 401")
        assert left[1] > left[0] > 0
        assert short.taken == [True] * 3
