"""The short road for plain requests: it gives the answers of the general road, byte for byte, or none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from doubles import NOW as PRESENT
from doubles import Archive
from hypothesis import example, given
from hypothesis import strategies as st
from secure_client import connect
from support import DATA, HOST, Client, Server, compose, serving
from test_access import TOKEN, governed, rule
from twisted.internet.defer import Deferred
from zope.interface import implementer

from pacarchive.access import tokens
from pacarchive.access.rights import EVERYTHING, NOTHING, Right
from pacarchive.access.tokens import Token
from pacarchive.errors import NotFound
from pacarchive.interfaces import IQuickReads
from pacarchive.model import FileStatus
from pacarchive.settings.server import VerifyReads
from pacarchive.telemetry.settings import AccessFormat
from pacarchive.times import SECOND
from pacarchive.web.download import SMALL
from pacarchive.web.http.accesslines import line_of, lines_of
from pacarchive.web.http.plain import MOST_FIELDS
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.turns import ALLOWANCE, PIECE

if TYPE_CHECKING:
    from pacarchive.access.gate import Gate

BEARER = f"Authorization: Bearer {TOKEN}"

NOW = 1_700_000_000


@implementer(IQuickReads)
class QuickArchive(Archive):
    """All that it has is in memory."""

    def look_now(self, file_id: int) -> FileStatus | None:
        return self._published(file_id)

    def read_now(self, file_id: int, most: int) -> tuple[FileStatus, bytes] | None:
        version = self._versions.get(file_id)
        return None if version is None or len(version.data) > most else (version.status, version.data)


class Watched:
    """A server, and a connection whose host is settled; with and without the short road."""

    def __init__(self, server: Server, *, quick: bool, host: str = "192.168.1.1") -> None:
        self.server = server
        self.taken: list[bool] = []
        self.lines: list[bytes] = []
        line, lines = line_of(AccessFormat.JSON), lines_of(AccessFormat.JSON, server.site.run)
        server.site.when_over = lambda *over: self.lines.append(line(*over))
        server.site.when_answered = lambda entries: self.lines.append(lines(entries))
        if quick:
            road = server.site.quick
            assert road is not None

            def watch(channel: Any, data: bytes, now: float) -> Any:
                answer = road(channel, data, now)
                self.taken.append(answer is not None)
                return answer

            server.site.quick = watch
        else:
            server.site.quick = None
        self.client: Client = server.connect(host)
        self.client.send(compose("OPTIONS", "*"))
        self.client.take()
        self.taken.clear()

    def ask(self, data: bytes) -> tuple[bytes, bool, object, object, list[bytes]]:
        """
        What comes of some bytes: the answer, what becomes of the connection, what was counted, noted and written down.
        """
        self.client.send(data)
        self.server.finish_work()
        answer = re.sub(rb"(?m)^Date: [^\r]*\r$", b"Date: now\r", self.client.take())
        answer = re.sub(rb"(?m)^X-Request-Id: [0-9a-f]{16}-[0-9a-f]+\r$", b"X-Request-Id: new\r", answer)
        counted = {
            series: numbers[-1] if series[0] in ("transfer_size_bytes", "transfer_bytes_total") else sum(numbers[:-1])
            for series, numbers in self.server.application.telemetry.counts.read().items()
            if not series[0].startswith("reactor") and (len(numbers) > 1 or numbers[0])
        }
        lines = [re.sub(rb"[0-9a-f]{16}-[0-9a-f]+", b"new", each) for each in self.lines]
        self.lines.clear()
        return answer, self.client.connected, counted, self.server.recalls.called("was_read"), lines


@contextmanager
def both(host: str = "192.168.1.1", **settings: Any) -> Iterator[tuple[Watched, Watched]]:
    """Two servers with the same files, one without the short road."""
    with serving(Server(QuickArchive, **settings)) as short, serving(Server(QuickArchive, **settings)) as general:
        for server in (short, general):
            furnish(server)
        yield Watched(short, quick=True, host=host), Watched(general, quick=False, host=host)


def furnish(server: Server) -> None:
    """Files of all kinds."""
    archive = server.archive
    archive.place(1, DATA)
    archive.place(2, b"")
    archive.place(3, bytes(SMALL))
    archive.place(4, bytes(SMALL + 1))
    archive.place(5, DATA, digests={})
    archive.place(6, DATA, digests={"sha256": bytes(32), "md5": bytes(16)})
    archive.place(7, DATA, mtime_ns=(NOW + 10**6) * SECOND + 5)
    archive.place(8, DATA, mtime_ns=-(10**20))
    archive.place(9, DATA, path="/archive/größe")
    archive.place(2**64 - 1, DATA)


TARGETS = ("/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/99", f"/{2**64 - 1}", f"/{2**64}")
ODD_TARGETS = ("/", "//1", "/01", "/1?byte_range=0-3", "/1?", "/1/", "/-1", "/x", "/1#x", "http://a.example/1", "*")
FIELDS = (
    "User-Agent: curl/7.88.1",
    "user-agent: x",
    "Accept: */*",
    "ACCEPT-ENCODING: gzip, deflate",
    "Accept-Language: de",
    "Connection: keep-alive",
    "connection: Keep-Alive",
)
ODD_FIELDS = (
    "Connection: close",
    "Connection: keep-alive, close",
    "Connection: Upgrade",
    f"Host: {HOST}",
    "Range: bytes=1-3",
    "If-None-Match: *",
    "If-Match: *",
    "Want-Repr-Digest: sha-256=1",
    "X-Request-Id: mine",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Accept:",
    "Accept : x",
    " Accept: x",
    "Accept: \t x \t",
    "Accept: a\tb",
    "Accept: \xe4",
    "Accept: a\nb",
    "Accept: a\rX",
    "Accept",
    "X-Remote-User: ada",
    BEARER,
    BEARER + "x",
)

heads = st.builds(
    lambda method, target, version, fields, host, place, end: (
        f"{method} {target} {version}\r\n"
        + "".join(
            f"{each}\r\n" for each in [*fields[:place], *([] if host is None else [f"Host: {host}"]), *fields[place:]]
        )
        + end
    ).encode("latin-1"),
    st.sampled_from(("GET", "GET", "HEAD", "HEAD", "DELETE", "OPTIONS", "get")),
    st.sampled_from(TARGETS) | st.sampled_from(ODD_TARGETS),
    st.sampled_from(("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1")),
    st.lists(st.sampled_from(FIELDS), max_size=4) | st.lists(st.sampled_from(FIELDS + ODD_FIELDS), max_size=4),
    st.sampled_from((HOST, HOST, HOST, HOST, "other.example", "", None)),
    st.integers(0, 4),
    st.sampled_from(("\r\n", "\r\n", "\r\n", "", "\n", "\r\n\r\n", "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nx")),
)


@given(st.lists(heads, min_size=1, max_size=3))
@example([compose("GET", "/1"), compose("HEAD", "/1"), compose("GET", "/2", "Accept: */*")])
@example([compose("DELETE", "/1"), compose("GET", "/1")])
def test_the_same_answers(requests: list[bytes]) -> None:
    """To whatever is asked, in whatever state the file is; and the same is counted."""
    with both() as (short, general):
        for request in requests:
            assert short.ask(request) == general.ask(request)


@given(st.lists(heads, min_size=1, max_size=3), st.lists(st.integers(1, 400), max_size=4))
@example([compose("GET", "/1?x="), compose("GET", "/2")], [10])
@example([b"GET /1 HTTP/1.1\r\nX: ", compose("GET", "/2")], [23])
@example([compose("GET", "/1")[:-2], b"\r\n" + compose("GET", "/2")], [])
@example([b"GET /1 HTTP/1.1\r\n", compose("GET", "/2")], [17])
@example([b"GET /1?", compose("GET", "/2")], [7])
def test_the_same_in_pieces(requests: list[bytes], sizes: list[int]) -> None:
    """However the network cuts what was sent."""
    stream = b"".join(requests)
    ends = sorted({sum(sizes[: number + 1]) for number in range(len(sizes))} | {len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < len(stream)]
    with both() as (short, general):
        for piece in pieces:
            assert short.ask(piece) == general.ask(piece)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("fields", [(), FIELDS[:6]], ids=["bare", "with what clients say"])
@pytest.mark.parametrize("target", ["/1", "/2", "/3", "/7", "/8", "/9"])
def test_what_is_plain(method: str, fields: tuple[str, ...], target: str) -> None:
    """It takes the short road, each time."""
    with both() as (short, general):
        for _ in range(3):
            answer = short.ask(compose(method, target, *fields))
            assert answer == general.ask(compose(method, target, *fields))
            assert answer[0].startswith(b"HTTP/1.1 20")
        assert short.taken == [True] * 3
        assert short.server.archive.calls == []


@pytest.mark.parametrize(
    "request_",
    [
        *(
            compose("GET", "/1", field)
            for field in ODD_FIELDS
            if "\n" not in field and not field.startswith(("Transfer", BEARER))
        ),
        *(compose("GET", target) for target in ("/4", "/5", "/6", "/99", *ODD_TARGETS)),
        compose("GET", "/1", *["Accept: x"] * MOST_FIELDS),
        compose("GET", "/1", "User-Agent: " + "x" * PIECE),
        compose("GET", "/1", host="other.example"),
        compose("GET", "/1") * 2,
        compose("POST", "/1"),
    ],
    ids=lambda request: (
        request.replace(TOKEN.encode(), b"token")[:60].decode("latin-1").encode("unicode_escape").decode()
    ),
)
def test_what_is_not(request_: bytes) -> None:
    """It takes the general road."""
    with both() as (short, general):
        assert short.ask(request_) == general.ask(request_)
        assert not any(short.taken)


def test_another_host() -> None:
    """The general road finds out whether it is this server's; what was asked of it once is known for the connection."""
    with both() as (short, _):
        for taken in (False, True):
            short.taken.clear()
            short.ask(compose("GET", "/1", host="b.example"))
            assert short.taken == [taken]


def test_a_file_changes() -> None:
    """The next answer is of what it is then."""
    with both() as (short, general):
        for change in (b"new", b"", b"newer"):
            for each in (short, general):
                each.server.archive.place(1, change)
            answer = short.ask(compose("GET", "/1"))
            assert answer == general.ask(compose("GET", "/1"))
            assert answer[0].endswith(b"\r\n\r\n" + change)
        for each in (short, general):
            each.server.archive.spoil(1, b"spoilt")
        answer = short.ask(compose("GET", "/1"))
        assert answer == general.ask(compose("GET", "/1"))
        assert answer[0].startswith(b"HTTP/1.1 500")
        assert short.taken == [True] * 3 + [False]
        for each in (short, general):
            each.server.failures()


def test_nothing_is_compared_where_nothing_is_to_be() -> None:
    """As the setting says."""
    with both(verify_reads=VerifyReads.NEVER) as (short, general):
        assert short.ask(compose("GET", "/6")) == general.ask(compose("GET", "/6"))
        assert short.taken == [True]


def test_rights() -> None:
    """Whoever has not the right is refused as ever; and who loses it has it no more."""

    def gate(clock: Any) -> Gate:
        return governed(clock, NOTHING, rule("token:robot", Right.STAT), rule("token:robot", Right.READ, "1-3"))

    with both(gate=gate) as (short, general):
        asked = [(method, target, fields) for method in ("GET", "HEAD") for target in ("/1", "/7")
                 for fields in ((), (BEARER,), (BEARER,))]  # fmt: skip
        for method, target, fields in asked:
            request = compose(method, target, *fields)
            assert short.ask(request) == general.ask(request)
        # Who presents nothing is refused at once.
        assert short.taken == [True, False, True, True, False, False, True, True, True, True, True, True]
        twice = compose("GET", "/1", BEARER, BEARER)
        answer = short.ask(twice)
        assert answer == general.ask(twice)
        assert answer[0].startswith(b"HTTP/1.1 401")
        for each in (short, general):
            each.server.application.gate.use_tokens({})
        answer = short.ask(compose("HEAD", "/1", BEARER))
        assert answer == general.ask(compose("HEAD", "/1", BEARER))
        assert answer[0].startswith(b"HTTP/1.1 401")


def test_a_right_ends() -> None:
    """At its moment, also on a connection that has used it."""

    def gate(clock: Any) -> Gate:
        gate = governed(clock, NOTHING)
        digest = tokens.digest_of(TOKEN)
        gate.use_tokens({digest: Token("robot", digest, EVERYTHING, expires=clock.seconds() + 30)})
        return gate

    with both(gate=gate) as (short, general):
        request = compose("GET", "/1", BEARER)
        for taken in (False, True):
            short.taken.clear()
            assert short.ask(request) == general.ask(request)
            assert short.taken == [taken]
        for each in (short, general):
            each.server.clock.advance(31)
        answer = short.ask(request)
        assert answer == general.ask(request)
        assert answer[0].startswith(b"HTTP/1.1 401")


def test_the_date_goes_on() -> None:
    """It is written once a second, and each second."""
    with both() as (short, _):
        dates = []
        for passed in (0.0, 1.0, 0.1):
            short.server.clock.advance(passed)
            short.client.send(compose("HEAD", "/1"))
            dates += re.findall(rb"Date: [^\r]*:(\d\d) GMT\r", short.client.take())
        assert dates == [b"48", b"49", b"49"]
        assert short.taken == [True] * 3


@pytest.mark.parametrize("ahead", [-1, 0, 1, 10**6], ids=repr)
def test_a_file_that_is_newer_than_the_present(ahead: int) -> None:
    """C{Last-Modified} is no later than the present, which is the clock's that all goes by."""
    with both() as (short, general):
        for each in (short, general):
            each.server.archive.place(1, DATA, mtime_ns=(int(PRESENT) + ahead) * SECOND)
        assert short.ask(compose("GET", "/1")) == general.ask(compose("GET", "/1"))
        assert short.taken == [True]


def test_a_proxy_names_the_user() -> None:
    """In a field that the short road does not know."""

    def gate(clock: Any) -> Gate:
        return governed(clock, NOTHING, rule("user:ada", EVERYTHING))

    with both("127.0.0.1", gate=gate, hosts=(HOST,)) as (short, general):
        for fields in ((), ("X-Remote-User: ada",), ()):
            request = compose("GET", "/1", *fields)
            assert short.ask(request) == general.ask(request)
        assert short.taken == [True, False, True]  # who names nobody is refused there, too


def test_a_server_that_drains() -> None:
    """Its answers are the last of their connections."""
    with both() as (short, general):
        answers = []
        for each in (short, general):
            each.client.send(compose("GET", "/1")[:10])
            done = each.server.site.drain(10)
            answers.append(each.ask(compose("GET", "/1")[10:])[:2])
            each.client.hang_up()
            assert done.called
        assert answers[0] == answers[1]
        assert not any(short.taken)


def test_what_is_behind_a_request_waits() -> None:
    """An answer comes in its turn, also where it could be given before."""
    held: list[Deferred[None]] = []

    async def status(archive: Archive, file_id: int) -> FileStatus:
        held.append(Deferred())
        await held[-1]
        raise NotFound("There is none.")

    with both() as (short, general):
        for each in (short, general):
            each.server.archive.status = partial(status, each.server.archive)
            each.client.send(compose("PROPFIND", "/99", "Depth: 0"))
            each.client.send(compose("GET", "/1"))
            each.client.send(compose("GET", "/2"))
            each.server.finish_work()
            assert each.client.take() == b""
            held.pop().callback(None)
        answers = [each.ask(b"") for each in (short, general)]
        assert answers[0] == answers[1]
        assert re.findall(rb"HTTP/1.1 (\d+)", answers[0][0]) == [b"404", b"200", b"200"]


def test_what_comes_after_the_last_answer() -> None:
    """It is not looked at: the connection is being closed."""
    with both() as (short, general):
        for each in (short, general):
            each.client.protocol.close_when_idle()
            each.client.protocol.dataReceived(compose("GET", "/1"))
            assert each.client.take() == b""
        assert short.taken == []


def test_many_from_one_address() -> None:
    """What is refused of one of them holds up none of the others: the short road knows them for many, too."""
    seen: list[bool] = []

    def gate(clock: Any) -> Gate:
        gate = governed(clock, EVERYTHING)
        really = gate.standing
        gate.standing = lambda caller: seen.append(caller.crowd) or really(caller)  # type: ignore[method-assign,func-returns-value]
        return gate

    with both(gate=gate, limits=attrs.evolve(LimitSettings(), proxies=("192.168.1.0/24",))) as (short, _):
        short.ask(compose("GET", "/1"))
        assert short.taken == [True]
    assert seen == [True]


@pytest.mark.parametrize("limits", [{"header_count": 5}, {"header_bytes": 100}, {"request_line": 20}], ids=repr)
def test_narrow_limits(limits: dict[str, Any]) -> None:
    """They hold for all."""
    with serving(Server(QuickArchive, limits=attrs.evolve(LimitSettings(), **limits))) as server:
        assert server.site.quick is None


def test_a_turn_is_used_up() -> None:
    """What comes then waits, as all does, and goes the short road when its turn comes."""
    with both() as (short, general):
        for each in (short, general):
            each.server.site.turns.spend(ALLOWANCE)
            each.client.protocol.dataReceived(compose("GET", "/1"))
            assert each.client.take() == b""
            assert each.taken == []
            each.server.finish_work()
            assert each.client.take().endswith(DATA)
        assert short.taken == [True]


def test_what_came_first_is_answered_first() -> None:
    """Also where there would be time again for what comes, before the turn of what waits."""
    with both() as (short, general):
        for each in (short, general):
            each.server.site.turns.spend(ALLOWANCE)
            each.client.protocol.dataReceived(compose("GET", "/1"))
            each.server.site.turns._left = ALLOWANCE
            each.client.protocol.dataReceived(compose("HEAD", "/2"))
            each.server.finish_work()
        answers = [each.ask(b"") for each in (short, general)]
        assert answers[0] == answers[1]
        assert re.findall(rb"HTTP/1.1 (\d+)", answers[0][0]) == [b"200", b"204"]


def test_tls() -> None:
    """What a connection proves by a certificate is not in the bytes of a head."""
    with serving(Server(QuickArchive)) as server:
        server.archive.place(1, DATA)
        watched: list[bytes] = []
        server.site.quick = lambda channel, data, now: watched.append(data)
        client = connect(server)
        for _ in range(2):
            assert client.request("GET", "/1").body == DATA
        assert watched == []


def test_it_takes_its_part_of_a_turn() -> None:
    """So that one who asks for very much keeps nobody waiting; less than on the general road, which takes longer."""
    with both() as (short, general):
        for request in (compose("GET", "/3"), compose("HEAD", "/1", *FIELDS[:3])):
            left = []
            for each in (short, general):
                before = each.server.site.turns._left
                each.client.protocol.dataReceived(request)
                left.append(before - each.server.site.turns._left)
                each.server.clock.advance(0)
            assert left[1] > left[0] > 0
        assert short.taken == [True] * 2
