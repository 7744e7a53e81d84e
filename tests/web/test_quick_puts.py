"""The short road for small files that are stored: what it does is what the general road does."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from doubles import NOW, Archive, FakeAudit
from hypothesis import example, given
from hypothesis import strategies as st
from secure_client import connect
from support import DATA, HOST, Client, Server, compose, serving
from test_access import TOKEN, governed, rule
from twisted.internet.defer import Deferred
from zope.interface import implementer

from pacarchive import errors
from pacarchive.access.rights import EVERYTHING, NOTHING, Right
from pacarchive.interfaces import IQuickWrites
from pacarchive.model import Durability, FileStatus, Overwrite, WriteConditions
from pacarchive.runtime.measuring import listen, stop_listening
from pacarchive.settings.server import Compatibility
from pacarchive.telemetry.counts import Counts
from pacarchive.telemetry.settings import AccessFormat
from pacarchive.web.http.accesslines import line_of
from pacarchive.web.http.body import AT_ONCE
from pacarchive.web.http.plain import MOST, MOST_FIELDS
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.turns import ALLOWANCE, PIECE

if TYPE_CHECKING:
    from twisted.internet.task import Clock
    from twisted.python.failure import Failure

    from pacarchive.access.gate import Gate
    from pacarchive.digests import Digests

BEARER = f"Authorization: Bearer {TOKEN}"
SHA256 = base64.b64encode(sha256(DATA).digest()).decode()
MD5 = base64.b64encode(md5(DATA).digest()).decode()
ETAG = f'"{sha256(DATA).hexdigest()}"'
SERIAL = re.compile(r"[0-9a-f]{16}-[0-9a-f]+")


@implementer(IQuickWrites)
class Given(Archive):
    """A storage that is given small files in one call."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._clock = clock
        self.given = 0

    def store_small(
        self,
        file_id: int,
        data: bytes,
        mtime_ns: int | None,
        expected: Digests,
        conditions: WriteConditions,
        report: Callable[[FileStatus | Failure], None],
    ) -> bool:
        if not conditions.unconditional:
            return False
        self.given += 1
        storing = Deferred.fromCoroutine(self._store(file_id, data, mtime_ns, expected, conditions))
        if storing.called:
            self._clock.callLater(0, storing.addBoth, report)
        else:
            storing.addBoth(report)
        return True

    async def _store(
        self, file_id: int, data: bytes, mtime_ns: int | None, expected: Digests, conditions: WriteConditions
    ) -> FileStatus:
        incoming = await self.receive(file_id, len(data), conditions, expected)
        try:
            if data:
                await incoming.write([data])
            return await incoming.commit(mtime_ns, expected)
        except Exception:
            await incoming.abort()
            raise


@pytest.fixture(params=[Archive, Given], ids=["in pieces", "in one call"])
def kind(request: pytest.FixtureRequest) -> type[Archive]:
    """What is stored goes into a storage in pieces; or in one call, which is not done where it is also written down."""
    kind: type[Archive] = request.param
    return kind


class Watched:
    """A server with some files, and a connection whose host is settled; with and without the short road."""

    def __init__(self, server: Server, *, quick: bool, host: str) -> None:
        self.server = server
        self.taken: list[bool] = []
        self.lines: list[bytes] = []
        self.audit: Any = server.application.audit
        road = server.site.quick_puts
        assert road is not None

        def watch(channel: Any, head: Any, data: bytes) -> bool:
            self.taken.append(road(channel, head, data))
            return self.taken[-1]

        server.site.quick_puts = watch if quick else None
        write = line_of(AccessFormat.JSON)
        server.site.when_over = lambda *what: self.lines.append(write(*what))
        self.client: Client = server.connect(host)
        self.client.send(compose("OPTIONS", "*"))
        self.client.take()

    def come(self) -> dict[str, Any]:
        """What came of all that was asked since the last time, and how things are."""
        self.server.finish_work()
        self.server.clock.advance(0)
        archive, site = self.server.archive, self.server.site
        counted = {
            series: tuple(numbers)
            for series, numbers in self.server.application.telemetry.counts.read().items()
            if not series[0].startswith("reactor") and (len(numbers) > 1 or numbers[0])
        }
        return {
            "answers": SERIAL.sub("new", re.sub(r"(?m)^Date: .*\r$", "Date", self.client.take().decode("latin-1"))),
            "connected": self.client.connected,
            "calls": list(archive.calls),
            "files": {each: (found.data, found.status) for each, found in archive._versions.items()},
            "counted": counted,
            "events": dict(site.events),
            "lines": SERIAL.sub("new", b"".join(self.lines).decode()),
            "audit": SERIAL.sub("new", repr(self.audit and (self.audit.lines, self.audit.refusals))),
            "memory": site.memory.shares.held,
            "transfers": site.transfers.shares.held,
            "time": self.client.protocol.timeOut
            if self.client.connected and not self.client.protocol.requests
            else None,
            "moves": [attrs.evolve(each, request="new") for each in site._transfers()],
        }

    def ask(self, *pieces: bytes) -> dict[str, Any]:
        """What comes of some bytes."""
        for each in pieces:
            self.client.send(each)
        return self.come()


def assert_same(short: dict[str, Any], general: dict[str, Any]) -> None:
    """The two roads did the same; else, in what they did not."""
    assert {name: each for name, each in short.items() if each != general[name]} == {
        name: each for name, each in general.items() if each != short[name]
    }


@contextmanager
def both(
    kind: type[Archive] = Archive, host: str = "192.168.1.1", **settings: Any
) -> Iterator[tuple[Watched, Watched]]:
    """Two servers with the same files, one without the short road."""

    def audit() -> FakeAudit | None:
        return FakeAudit() if kind is Archive else None

    with (
        serving(Server(kind, audit=audit(), **settings)) as short,
        serving(Server(kind, audit=audit(), **settings)) as general,
    ):
        for server in (short, general):
            server.archive.place(1, DATA)
            server.archive.place(2, b"others")
        yield Watched(short, quick=True, host=host), Watched(general, quick=False, host=host)


def put(target: str = "/7", *fields: str, body: bytes | None = DATA, host: str | None = HOST) -> bytes:
    """A PUT."""
    return compose("PUT", target, *fields, body=body, host=host)


TARGETS = ("/1", "/2", "/7", "/8", f"/{2**64 - 1}", f"/{10**18}")
ODD_TARGETS = ("/", "//7", "/07", "/7?x=1", "/7/", "/-1", "/x", "*", f"http://{HOST}/7", f"/{2**64}")
FIELDS = (
    "User-Agent: curl/7.88.1",
    "user-agent: x",
    "Accept: */*",
    "Accept-Encoding: gzip",
    "Connection: keep-alive",
    "connection: Keep-Alive",
    "Content-Type: application/octet-stream",
    "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT",
    "Last-Modified: never",
    "Last-Modified: Wed, 21 Oct 2015 07:28:01 GMT",
    "If-None-Match: *",
    f"If-None-Match: {ETAG}",
    f"If-Match: {ETAG}",
    'If-Match: W/"x"',
    "if-match: *",
    "If-Match: x",
    f"Content-MD5: {MD5}",
    "content-md5: AAAA",
    f"Digest: sha-256={SHA256},md5={MD5}",
    f"Digest: md5={base64.b64encode(bytes(16)).decode()}",
    f"Repr-Digest: sha-256=:{SHA256}:",
    f"Content-Digest: sha-256=:{base64.b64encode(bytes(32)).decode()}:",
)
ODD_FIELDS = (
    "Connection: close",
    "Connection: keep-alive, close",
    f"Host: {HOST}",
    "Content-Range: bytes 0-35/36",
    "Content-Encoding: gzip",
    "Content-Encoding: identity",
    "Trailer: Repr-Digest",
    "Expect: 100-continue",
    "If-Unmodified-Since: Wed, 21 Oct 2015 07:28:00 GMT",
    "X-Request-Id: mine",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Cookie: a=b",
    "X-Remote-User: ada",
    "Content-Length: 36",
    "Content-Length: 35",
    "Transfer-Encoding: chunked",
    BEARER,
    BEARER + "x",
)
kinds = st.sampled_from((Archive, Given))
BODIES = (DATA, b"", b"x", b"others", bytes(5000), bytes(AT_ONCE), bytes(AT_ONCE + 1))

requests = st.builds(
    lambda target, fields, body, host, behind: put(target, *fields, body=body, host=host) + behind,
    st.sampled_from(TARGETS) | st.sampled_from(TARGETS + ODD_TARGETS),
    st.lists(st.sampled_from(FIELDS), max_size=3) | st.lists(st.sampled_from(FIELDS + ODD_FIELDS), max_size=3),
    st.sampled_from(BODIES),
    st.sampled_from((HOST,) * 6 + ("other.example", None)),
    st.sampled_from((b"",) * 4 + (compose("GET", "/1"), b"\r\n", b"x")),
)


@given(
    st.lists(requests, min_size=1, max_size=3),
    st.sampled_from(Overwrite),
    st.sampled_from(Compatibility),
    st.sampled_from(Durability),
    kinds,
)
@example([put(), put("/7", body=b"new"), put("/1")], Overwrite.DENY, Compatibility.PACIFICA, Durability.FULL, Archive)
@example([put("/1"), put("/2"), put("/1")], Overwrite.IDENTICAL, Compatibility.NONE, Durability.RELAXED, Archive)
@example([put("/7", body=bytes(AT_ONCE))] * 2, Overwrite.ALLOW, Compatibility.NONE, Durability.FULL, Archive)
@example([put(), put("/7", body=b"new"), put("/1")], Overwrite.ALLOW, Compatibility.NONE, Durability.RELAXED, Given)
def test_the_same_comes_of_it(
    asked: list[bytes],
    overwrite: Overwrite,
    compatibility: Compatibility,
    durability: Durability,
    kind: type[Archive],
) -> None:
    """Of whatever is asked: the answer, byte for byte, what is stored, counted, and written down."""
    with both(kind, overwrite=overwrite, compatibility=compatibility, durability=durability) as (short, general):
        for each in asked:
            assert_same(short.ask(each), general.ask(each))


@given(requests, st.lists(st.integers(1, 300), max_size=3), kinds)
@example(put(), [10], Archive)
@example(put(), [len(put()) - 1], Archive)
@example(put() + put("/8"), [], Given)
@example(put() + put("/8"), [len(put())], Given)
@example(put() + put("/8"), [len(put()) + 5], Given)
def test_the_same_in_pieces(request_: bytes, sizes: list[int], kind: type[Archive]) -> None:
    """However the network cuts what was sent."""
    ends = sorted({sum(sizes[: number + 1]) for number in range(len(sizes))} | {len(request_)})
    pieces = [request_[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < len(request_)]
    with both(kind) as (short, general):
        assert_same(short.ask(*pieces), general.ask(*pieces))


@pytest.mark.parametrize("body", BODIES[:-1], ids=len)
@pytest.mark.parametrize("fields", [(), *((each,) for each in FIELDS), FIELDS[:3]], ids=lambda fields: " ".join(fields))
def test_what_is_plain(kind: type[Archive], fields: tuple[str, ...], body: bytes) -> None:
    """It takes the short road, each time, unless it is refused."""
    with both(kind) as (short, general):
        for target in ("/7", "/1"):
            come = short.ask(put(target, *fields, body=body))
            assert_same(come, general.ask(put(target, *fields, body=body)))
            malformed = " 400 " in come["answers"] and "receive" not in come["calls"]
            assert short.taken.pop() is not malformed
        archive = short.server.archive
        conditional = any("match" in each.lower() for each in fields)
        assert not isinstance(archive, Given) or bool(archive.given) is not (malformed or conditional)


@pytest.mark.parametrize(
    "request_",
    [
        *(put("/7", field) for field in ODD_FIELDS),
        *(put(target) for target in ODD_TARGETS),
        put(body=bytes(AT_ONCE + 1)),
        put("/7", *["Accept: x"] * MOST_FIELDS),
        put("/7", "User-Agent: " + "x" * MOST),
        put(host="other.example"),
        put(body=None),
        put() + b"x",
        compose("POST", "/7", body=b""),
        compose("PATCH", "/7", "Content-Type: application/json", body=b"{}"),
    ],
    ids=lambda request: (
        request.replace(TOKEN.encode(), b"token")[:60].decode("latin-1").encode("unicode_escape").decode()
    ),
)
def test_what_is_not(request_: bytes) -> None:
    """It takes the general road."""
    with both() as (short, general):
        assert_same(short.ask(request_), general.ask(request_))
        assert not any(short.taken)


@pytest.mark.parametrize("host", [HOST, "other.example", None], ids=repr)
def test_the_first_of_a_connection(host: str | None) -> None:
    """The general road finds out whether its host is this server's."""
    with both() as (short, general):
        for each in (short, general):
            each.client = each.server.connect()
        for _ in range(2):
            assert_same(short.ask(put(host=host)), general.ask(put(host=host)))
        assert short.taken == ([False, True] if host else [False] * len(short.taken))


FAILURES: Sequence[Exception] = (
    errors.NoSpace("Can't write posix file with error: No space left on device"),
    errors.BackendUnavailable("Can't write posix file with error: Input/output error"),
    errors.AlreadyExists("The id is taken, and this archive does not overwrite."),
    errors.PreconditionFailed("The id is taken, and was to be free."),
    ValueError("an error that nobody foresaw"),
)


@pytest.mark.parametrize("where", ["receive", "write", "commit"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failure(kind: type[Archive], where: str, failure: Exception) -> None:
    """It is answered, logged and counted once; nothing is tried again, and the connection goes on."""
    with both(kind) as (short, general):
        for each in (short, general):
            each.server.archive.trouble[where] = failure
        assert_same(*(_without_incident(each.ask(put())) for each in (short, general)))
        assert short.taken == [True]
        logged = [len(each.server.failures()) for each in (short, general)]
        assert logged[0] == logged[1]
        assert bool(logged[0]) is isinstance(failure, ValueError)
        for each in (short, general):
            each.server.archive.trouble.clear()
        assert_same(*(_without_incident(each.ask(put() + compose("GET", "/7"))) for each in (short, general)))


def _without_incident(come: dict[str, Any]) -> dict[str, Any]:
    return {**come, "answers": re.sub(r"[0-9a-f]{12}\b", "incident", come["answers"])}


def test_the_audit_file_fails() -> None:
    """Nothing is changed that cannot be written down."""
    with both() as (short, general):
        for each in (short, general):
            each.audit.fails = True
        come = short.ask(put())
        assert_same(come, general.ask(put()))
        assert " 503 " in come["answers"]
        assert 7 not in come["files"]


def _nothing(each: Watched) -> None:
    pass


def _go(each: Watched) -> None:
    each.client.hang_up()


def _end(each: Watched) -> None:
    each.client.end()


def _send_more(each: Watched) -> None:
    each.client.send(compose("GET", "/1") + put("/8"))


def _send_much(each: Watched) -> None:
    each.client.send(compose("GET", "/1") * 2000)


def _drain(each: Watched) -> None:
    each.server.site.drain(10)


def _wait_long(each: Watched) -> None:
    each.server.clock.advance(1000)


@pytest.mark.parametrize(
    "meanwhile", [_nothing, _go, _end, _send_more, _send_much, _drain, _wait_long], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("fails", [False, True], ids=["stored", "fails"])
@pytest.mark.parametrize("where", ["receive", "commit"])
def test_while_it_is_stored(kind: type[Archive], where: str, fails: bool, meanwhile: Callable[[Watched], None]) -> None:
    """A client that goes, ends its side, or sends more; a drain; a disk that is slow: as with any request."""
    with both(kind) as (short, general):
        come = []
        for each in (short, general):
            held = each.server.archive.hold(where)
            begun = each.ask(put())
            meanwhile(each)
            during = each.come()
            if fails:
                each.server.archive.trouble[where] = FAILURES[0]
            each.server.archive.waits.clear()
            held.callback(None)
            come.append((begun, during, each.come()))
        assert short.taken[0] is True
        if meanwhile is _go:
            # The route is cancelled where that can be; what is begun here is stored.
            assert [each["counted"] for each in come[0][1:]] == [each["counted"] for each in come[1][1:]]
            assert come[0][2]["lines"] == come[1][2]["lines"]
            assert come[0][2]["answers"] == come[1][2]["answers"] == ""
        else:
            for one, other in zip(*come, strict=True):
                if where == "receive" and isinstance(short.server.archive, Given):
                    one["transfers"] = other["transfers"]  # what is given as a whole counts at once
                assert_same(one, other)


def test_too_much_comes_while_it_is_stored(kind: type[Archive]) -> None:
    """It is answered all the same, and then the connection ends."""
    with both(kind, limits=attrs.evolve(LimitSettings(), memory=20_000)) as (short, general):
        come = []
        for each in (short, general):
            held = each.server.archive.hold("commit")
            each.client.send(put())
            each.client.send(compose("GET", "/1") * 1000)
            during = each.come()
            held.callback(None)
            come.append((during, each.come()))
        for one, other in zip(*come, strict=True):
            assert_same(one, other)
        assert come[0][0]["events"] == {"memory": 1}
        assert " 201 " in come[0][1]["answers"]
        assert short.taken == [True]


def test_what_is_written_down_is_not_given_away() -> None:
    """Where there is an audit file, a file goes the way on which it is written down before the answer."""
    with serving(Server(Given, audit=FakeAudit())) as server:
        watched = Watched(server, quick=True, host="192.168.1.1")
        come = watched.ask(put())
        assert (watched.taken, " 201 " in come["answers"]) == ([True], True)
        assert [each["what"] for each in watched.audit.lines] == ["put"]
        assert server.archive.given == 0


def test_how_long_it_took(kind: type[Archive]) -> None:
    """It is measured for each file, also for one that could not be stored."""
    counts = Counts()
    listen(counts)
    try:
        with both(kind) as (short, _):
            short.ask(put())
            short.server.archive.trouble["commit"] = FAILURES[0]
            short.ask(put())
    finally:
        stop_listening(counts)
    assert sum(counts.read()["commit_duration_seconds",][:-1]) == 2


def test_a_client_that_has_gone() -> None:
    """Its file is stored whole, with its line in the audit file; or the log has why not, for those who want to know."""
    with both() as (short, _):
        for fails in (False, True):
            held = short.server.archive.hold("commit")
            client = short.server.connect()
            client.send(compose("OPTIONS", "*"))
            client.send(put("/7"))
            client.hang_up()
            assert not short.server.site.memory.shares.held
            if fails:
                short.server.archive.trouble["commit"] = FAILURES[0]
            held.callback(None)
            short.server.archive.waits.clear()
            assert [each["what"] for each in short.audit.lines] == ["put"]
            assert short.server.archive.data(7) == DATA
        assert sum("whose client has gone" in each for each in short.server.words()) == 1


def test_a_failure_behind_an_answer(kind: type[Archive]) -> None:
    """As of what is next on the connection: it is logged, and nothing is answered twice."""
    with both(kind) as (short, general):
        short.client.send(put())
        short.client.take()

        def fail(request: Any) -> None:
            raise ValueError("an error that nobody foresaw")

        short.client.protocol.requestDone = fail
        come = short.ask(put())
        assert come["answers"].count("HTTP/1.1") == 1
        assert len(short.server.failures()) == len(general.server.failures()) == 1  # of one log
        assert come["events"] == {"incident": 1}


def test_rights(kind: type[Archive]) -> None:
    """Whoever has not the right is refused as ever; who may only add, changes nothing."""

    def gate(clock: Any) -> Gate:
        return governed(
            clock, NOTHING, rule("token:robot", Right.CREATE, "1-7"), rule("token:robot", Right.MODIFY, "2")
        )

    with both(kind, gate=gate) as (short, general):
        for target in ("/7", "/7", "/1", "/2", "/8", "/7"):
            for fields in ((), (BEARER,), (BEARER + "x",), (BEARER, BEARER)):
                assert_same(
                    short.ask(put(target, *fields, body=b"new")), general.ask(put(target, *fields, body=b"new"))
                )
        assert sum(short.taken) == 4  # those that are refused for what is there have begun
        for target in ("/7", "/2", "/2", "/1"):
            assert_same(short.ask(put(target, BEARER)), general.ask(put(target, BEARER)))
        assert sum(short.taken) == 8
        for each in (short, general):
            each.server.application.gate.use_tokens({})
        come = short.ask(put("/2", BEARER))
        assert_same(come, general.ask(put("/2", BEARER)))
        assert " 401 " in come["answers"]


def test_a_proxy_names_the_user() -> None:
    """In a field that the short road does not know."""

    def gate(clock: Any) -> Gate:
        return governed(clock, NOTHING, rule("user:ada", EVERYTHING))

    with both(host="127.0.0.1", gate=gate, hosts=(HOST,)) as (short, general):
        for fields in ((), ("X-Remote-User: ada",), ()):
            assert_same(short.ask(put("/7", *fields)), general.ask(put("/7", *fields)))
        assert not any(short.taken)


@pytest.mark.parametrize("limits", [{"transfers": 1}, {"body": 35}, {"memory": 6000}], ids=repr)
def test_limits(kind: type[Archive], limits: dict[str, Any]) -> None:
    """They hold for all."""
    with both(kind, limits=attrs.evolve(LimitSettings(), **limits)) as (short, general):
        come = []
        for each in (short, general):
            held = each.server.archive.hold("commit")
            other = each.server.connect()
            other.send(compose("OPTIONS", "*"))
            other.send(put("/5", body=bytes(5000)))
            during = each.ask(put("/6", body=bytes(5000)), put("/7"))
            each.server.archive.waits.clear()
            held.callback(None)
            come.append((during, each.ask(put("/8"))))
        for one, other in zip(*come, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("narrow", [{"header_count": 5}, {"header_bytes": 100}, {"request_line": 20}], ids=repr)
def test_narrow_limits(narrow: dict[str, Any]) -> None:
    """They hold for all, too."""
    with serving(Server(limits=attrs.evolve(LimitSettings(), **narrow))) as server:
        assert server.site.quick_puts is None


def test_it_takes_of_a_turn_what_others_take(kind: type[Archive]) -> None:
    """And of memory."""
    with both(kind) as (short, general):
        left = []
        for each in (short, general):
            held = each.server.archive.hold("commit")
            each.server.clock.advance(0)
            before = each.server.site.turns._left
            each.client.protocol.dataReceived(put("/7", body=bytes(9000)))
            left.append((before - each.server.site.turns._left, each.server.site.memory.shares.held))
            held.callback(None)
        assert left[0] == left[1]


@pytest.mark.parametrize("behind", [b"", compose("GET", "/1"), b"x"], ids=["alone", "with another", "with nonsense"])
@pytest.mark.parametrize("size", [36, 5000, AT_ONCE, AT_ONCE + 1], ids=repr)
def test_a_turn_is_used_up(size: int, behind: bytes) -> None:
    """What comes then waits, as all does, and takes the short road in its turn."""
    with both() as (short, general):
        for each in (short, general):
            each.server.site.turns.spend(ALLOWANCE)
            each.client.protocol.dataReceived(put("/7", body=bytes(size)) + behind)
            assert not each.server.archive.calls
        assert_same(short.come(), general.come())
        assert any(short.taken) is (size <= AT_ONCE and not behind)


def test_many_wait_for_their_turn(kind: type[Archive]) -> None:
    """Also when another request was first on the connection."""
    with both(kind) as (short, general):
        for each in (short, general):
            held = each.server.archive.hold("commit")
            each.client.send(put("/5"))
            each.client.send(put("/6", body=bytes(5000)))
            assert each.server.archive.calls.count("receive") == 1
            held.callback(None)
        assert_same(short.come(), general.come())
        assert short.taken == [True, True]


def test_what_is_within_a_head_is_no_request() -> None:
    """Also where a line of it that looks like one is the first that is read in a turn."""
    begun = compose("GET", "/1", "X-Long: ")[:-4]
    head = begun + b"x" * (PIECE - len(begun) - 2) + b"\r\n"
    with both() as (short, general):
        assert_same(short.ask(head + put("/7", body=bytes(5000))), general.ask(head + put("/7", body=bytes(5000))))
        assert not short.server.archive.calls


def test_the_date_is_that_of_the_answer(kind: type[Archive]) -> None:
    """However long it took."""
    with both(kind) as (short, _):
        dates = []
        for passed in (0, 0, 5):
            held = short.server.archive.hold("commit")
            short.client.send(put())
            short.server.clock.advance(passed)
            held.callback(None)
            dates += re.findall(rb"Date: [^\r]*:(\d\d) GMT\r", short.client.take())
        assert [int(each) for each in dates] == [int(NOW + passed) % 60 for passed in (0, 0, 5)]


def test_it_is_idle_afterwards(kind: type[Archive]) -> None:
    """For as long as any connection may be."""
    with both(kind) as (short, general):
        for each in (short, general):
            each.ask(put())
            each.server.clock.advance(each.server.limits.idle_timeout - 1)
            assert each.client.connected
            each.server.clock.advance(1)
            assert not each.client.connected


def test_spans() -> None:
    """Where they are wanted, the general road makes them."""
    with both() as (short, general):
        for each in (short, general):
            each.server.site.notes_phases = True
        assert_same(short.ask(put()), general.ask(put()))
        assert short.taken == [False]


def test_tls() -> None:
    """What a connection proves by a certificate is not in the bytes of a head."""
    with serving(Server()) as server:
        watched: list[Any] = []

        def watch(*what: Any) -> bool:
            watched.append(what)
            return False

        server.site.quick_puts = watch
        client = connect(server)
        for _ in range(2):
            assert client.request("PUT", "/7", body=DATA).status == 201
        assert watched == []
