"""A head that is read in one go says what it says line by line."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from doubles import Archive
from hypothesis import example, given
from hypothesis import strategies as st
from secure_client import connect
from support import DATA, HOST, Server, come_of, compose, serving

from pacarchive.web.http.plain import MOST, MOST_FIELDS, limits_are_usual, plain_head
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.turns import ALLOWANCE


@contextmanager
def both(**settings: Any) -> Iterator[tuple[Server, Server]]:
    """Two servers with the same files, of which the second reads every head line by line."""
    with serving(Server(Archive, **settings)) as plain, serving(Server(Archive, **settings)) as lines:
        lines.site.reads_plain = False
        for server in (plain, lines):
            server.archive.place(1, DATA)
        yield plain, lines


FIELDS = (
    "User-Agent: x",
    "Accept:*/*",
    "accept: a;q=1,  b",
    "Range: bytes=1-3",
    "Range:   bytes=1-3",
    "Range: bytes=1-3 ",
    "X-Request-Id: mine  ",
    "Content-Length:   5",
    "Content-Length: 5 ",
    "If-None-Match: *",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Type: application/json",
    "Content-Length: 5",
    "content-length:5",
    "Content-Length: 05",
    "Content-Length: -1",
    "Content-Length: 5, 5",
    f"Content-Length: {10**17}",
    f"Content-Length: {10**18}",
    f"Content-Length: {10**21}",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Expect: 100-continue",
    "Repr-Digest: sha-256=:AAAA:",
    "X-Request-Id: mine",
    "Host: other.example",
    "X: \t tabs \t",
    "X:",
    "X: ",
    "X : y",
    " X: y",
    "X_Y: z",
    "X: \xe4",
    "X: a\tb",
    "X: a\rb",
    "X: a\nb",
    "X",
    ": x",
    "X: " + "x" * MOST,
)

METHODS = ("GET", "HEAD", "PUT", "PUT", "POST", "PATCH", "DELETE", "PROPFIND", "OPTIONS", "LOCK", "get", "G", "")
TARGETS = (
    "/1", "/2", "/0", "//1", "/1?a=b", "/x", "/", "*", "/1#x", "/\xe4", f"http://{HOST}/1", "http:///1", "1", "/1 1",
)  # fmt: skip
VERSIONS = ("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "")
HOSTS = ((f"Host: {HOST}",),) * 5 + ((), ("Host: a", "Host: a"), ("Host: ?",), ("host:" + HOST,))


def head_of(
    method: str = "GET",
    target: str = "/1",
    version: str = "HTTP/1.1",
    fields: Sequence[str] = (),
    place: int = 0,
    host: Sequence[str] = HOSTS[0],
    end: str = "\r\n",
) -> bytes:
    """A head as somebody could write it, and perhaps what is behind it."""
    lines = [*fields[:place], *host, *fields[place:]]
    return (f"{method} {target} {version}\r\n" + "".join(f"{each}\r\n" for each in lines) + end).encode("latin-1")


heads = st.builds(
    head_of,
    st.sampled_from(METHODS),
    st.sampled_from(TARGETS),
    st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(FIELDS), max_size=4) | st.lists(st.just("Accept: x"), max_size=MOST_FIELDS + 2),
    st.integers(0, 4),
    st.sampled_from(HOSTS),
    st.sampled_from(("\r\n", "\r\n", "\r\n", "\r\nwords", "\r\nwords", "\n", "", "\r\n\r\n")),
)

ODDITIES: list[dict[str, Any]] = [
    *({"method": each} for each in METHODS),
    *({"target": each} for each in TARGETS),
    *({"version": each} for each in VERSIONS),
    *({"host": each} for each in HOSTS),
    *({"fields": (each,)} for each in FIELDS),
    *({"method": "PUT", "fields": (each,), "end": "\r\nwords"} for each in FIELDS),
    {"method": "PUT", "fields": ("Content-Length: 5",) * 2, "end": "\r\nwords"},
    {"method": "PUT", "fields": ("Content-Length: 5", "Transfer-Encoding: chunked"), "end": "\r\nwords"},
]


def test_each_oddity() -> None:
    """One at a time, with a plain request behind it on the same connection."""
    for oddity in ODDITIES:
        with both() as (plain, lines):
            clients = [each.connect() for each in (plain, lines)]
            for data in (head_of(**oddity), compose("GET", "/1")):
                come = [come_of(*each, data) for each in ((plain, clients[0]), (lines, clients[1]))]
                assert come[0] == come[1], oddity


@given(st.lists(heads, min_size=1, max_size=3), st.booleans())
@example([compose("PUT", "/2", body=b"words") + compose("GET", "/2"), compose("GET", "/2")], False)
@example([compose("PUT", "/2", body=b"words")[:-3], b"rds"], False)
@example([b"GET /1 HTTP/1.1\r\n", compose("GET", "/1")], False)
@example([b"GET /1?", compose("GET", "/1")], False)
@example([b"\r\n" + compose("GET", "/1")], True)
def test_the_same_comes_of_it(asked: list[bytes], together: bool) -> None:
    """Of whatever head, with whatever behind it, in one piece or several."""
    with both() as (plain, lines):
        clients = [each.connect() for each in (plain, lines)]
        for data in [b"".join(asked)] if together else asked:
            assert come_of(plain, clients[0], data) == come_of(lines, clients[1], data)


@given(st.lists(st.sampled_from(FIELDS), max_size=3))
def test_the_same_time_is_taken(fields: list[str]) -> None:
    """Of a turn; and the same memory."""
    with both() as (plain, lines):
        left = []
        for each in (plain, lines):
            client = each.connect()
            each.clock.advance(0)
            before = each.site.turns._left
            client.protocol.dataReceived(compose("GET", "/1", *fields))
            left.append((before - each.site.turns._left, each.site.memory.shares.held))
        assert left[0] == left[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "PROPFIND", "OPTIONS"])
@pytest.mark.parametrize("fields", [(), ("Accept: */*", "User-Agent: curl/8", "Repr-Digest: sha-256=:AAAA:")], ids=len)
def test_what_is_plain(method: str, fields: tuple[str, ...]) -> None:
    """What clients send."""
    data = compose(method, "/1?a=b", *fields, body=b"words")
    head = plain_head(data)
    assert head is not None
    assert (head.method, head.target, head.length) == (method.encode(), b"/1?a=b", 5)
    assert data[head.size :] == b"words"
    names = [name.decode().lower() for name, _ in head.fields]
    assert sorted(names) == sorted(["host", "content-length", *(each.partition(":")[0].lower() for each in fields)])


@pytest.mark.parametrize("used_up", [False, True])
def test_a_turn(used_up: bool) -> None:
    """What comes when it is used up waits, as all does."""
    with both() as (plain, _):
        client = plain.connect()
        if used_up:
            plain.site.turns.spend(ALLOWANCE)
        client.protocol.dataReceived(compose("PROPFIND", "/1", "Depth: 0"))
        assert bool(client.protocol.requests or client.take()) is not used_up
        plain.finish_work()


def test_tls() -> None:
    """It is the same there."""
    with both() as (plain, lines):
        for each in (plain, lines):
            client = connect(each)
            assert client.request("PUT", "/2", body=DATA).status == 201
            assert client.request("GET", "/2", "Range: bytes=1-3").body == DATA[1:4]


def test_what_came_first_is_read_first() -> None:
    """Also where there would be time again for what comes, before the turn of what waits."""
    with both() as (plain, _):
        client = plain.connect()
        plain.site.turns.spend(ALLOWANCE)
        client.protocol.dataReceived(compose("GET", "/1"))
        plain.site.turns._left = ALLOWANCE
        client.protocol.dataReceived(compose("HEAD", "/2"))
        plain.finish_work()
        assert [answer.status for answer in client.answers("GET", "HEAD")] == [200, 404]


def test_what_is_too_much() -> None:
    """Long heads, and such of many lines, are read line by line, where limits are looked at."""
    for count, length in ((MOST_FIELDS - 1, 10), (MOST_FIELDS, 10), (2, MOST - 100), (2, MOST)):
        data = compose("GET", "/1", *["X: x" + "x" * (length // count)] * count)
        assert (plain_head(data) is not None) is (count < MOST_FIELDS and length < MOST)
    with serving(Server(Archive, limits=attrs.evolve(LimitSettings(), header_count=3))) as server:
        assert server.connect().ask("GET", "/1", *["Accept: x"] * 4).status == 431


@pytest.mark.parametrize(
    "narrow", [{"header_count": MOST_FIELDS - 1}, {"header_bytes": MOST - 1}, {"request_line": MOST - 1}], ids=repr
)
def test_narrow_limits(narrow: dict[str, Any]) -> None:
    """They hold for all."""
    with serving(Server(limits=attrs.evolve(LimitSettings(), **narrow))) as server:
        assert not server.site.reads_plain
    assert limits_are_usual(LimitSettings())


@given(st.text(string.printable, max_size=60), st.integers(0, 40))
def test_whatever_comes(text: str, times: int) -> None:
    """It is a head up to the first empty line, or none."""
    data = b"GET / HTTP/1.1\r\n" + text.encode() * times + b"\r\n\r\n"
    head = plain_head(data)
    assert head is None or data[head.size - 4 : head.size] == b"\r\n\r\n"
