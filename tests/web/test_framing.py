"""
Requests whose framing two parsers could read differently: refused, and nothing after them is read.

After each of them a good request follows in the same piece of data; if it is answered, somebody could have smuggled it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from support import DATA, Client, Server, compose, serving

from pacarchive.web.http.settings import LimitSettings

SMUGGLED = compose("DELETE", "/102")
HOST = "Host: archive"
CHUNKED = "Transfer-Encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        server.archive.place(102, DATA)
        yield server


def assert_refused(server: Server, data: bytes, status: int = 400, piece: int | None = None) -> None:
    """See that a request gets one answer, in JSON, that the connection ends, and that nothing else happens."""
    client = server.connect().send(data + SMUGGLED, piece)
    (answer,) = client.answers()
    assert (answer.status, answer.closes) == (status, True)
    assert answer.error["message"]
    assert answer.field("Allow")
    assert answer.field("Server")
    assert answer.field("Date")
    assert not client.connected
    client.send(SMUGGLED)
    assert client.take() == b""
    assert server.archive.data(102) == DATA
    assert server.archive.calls == []
    server.clock.advance(server.limits.linger_timeout)
    assert client.transport.closed


def lines(*text: str) -> bytes:
    return "\r\n".join([*text, "", ""]).encode("latin-1")


HEADS = {
    "no host": lines("GET /102 HTTP/1.1"),
    "two hosts": lines("GET /102 HTTP/1.1", HOST, HOST),
    "two hosts, one line": lines("GET /102 HTTP/1.1", "Host: a, b"),
    "host with space": lines("GET /102 HTTP/1.1", "Host: a b"),
    "host with path": lines("GET /102 HTTP/1.1", "Host: a/b"),
    "host with user": lines("GET /102 HTTP/1.1", "Host: me@archive"),
    "host beyond ascii": lines("GET /102 HTTP/1.1", "Host: \xe4rchive"),
    "host with bad port": lines("GET /102 HTTP/1.1", "Host: archive:80x"),
    "two hosts in 1.0": lines("GET /102 HTTP/1.0", HOST, HOST),
    "two lengths": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 5", "Content-Length: 6") + b"01234",
    "the same length twice": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 5", "Content-Length: 5") + b"01234",
    "two lengths, one line": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 5, 5") + b"01234",
    "length +5": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: +5") + b"01234",
    "length -5": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: -5") + b"01234",
    "length 5.0": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 5.0") + b"01234",
    "length 0x5": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 0x5") + b"01234",
    "length 5 5": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 5 5") + b"01234",
    "length 1_0": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 1_0") + b"0123456789",
    "length in other digits": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: \xb2") + b"01",
    "no length": lines("PUT /102 HTTP/1.1", HOST, "Content-Length:") + b"01234",
    "length of words": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: abc") + b"01234",
    "length of 5000 digits": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: " + "9" * 5000) + b"01234",
    "length and chunks": lines("PUT /102 HTTP/1.1", HOST, "Content-Length: 5", CHUNKED) + LAST_CHUNK,
    "chunks and length": lines("PUT /102 HTTP/1.1", HOST, CHUNKED, "Content-Length: 5") + LAST_CHUNK,
    "chunks and length 0": lines("PUT /102 HTTP/1.1", HOST, CHUNKED, "Content-Length: 0") + LAST_CHUNK,
    "chunks twice": lines("PUT /102 HTTP/1.1", HOST, CHUNKED, CHUNKED) + LAST_CHUNK,
    "chunks in 1.0": lines("PUT /102 HTTP/1.0", CHUNKED) + LAST_CHUNK,
    "folded": lines("PUT /102 HTTP/1.1", HOST, "X-A: b", " c", "Content-Length: 0"),
    "folded with tab": lines("PUT /102 HTTP/1.1", HOST, "X-A: b", "\tc", "Content-Length: 0"),
    "folded first": lines("PUT /102 HTTP/1.1", " " + HOST, HOST, "Content-Length: 0"),
    "folded length": lines("PUT /102 HTTP/1.1", HOST, "Content-Length:", " 0"),
    "space before the colon": lines("PUT /102 HTTP/1.1", HOST, "Content-Length : 0"),
    "space in the name": lines("GET /102 HTTP/1.1", HOST, "X A: b"),
    "no name": lines("GET /102 HTTP/1.1", HOST, ": b"),
    "no colon": lines("GET /102 HTTP/1.1", HOST, "nonsense"),
    "name beyond ascii": lines("GET /102 HTTP/1.1", HOST, "\xe4: b"),
    "NUL in a value": lines("GET /102 HTTP/1.1", HOST, "X-A: b\0c"),
    "NUL in a name": lines("GET /102 HTTP/1.1", HOST, "X-\0A: bc"),
    "NUL in the request line": lines("GET /1\x0002 HTTP/1.1", HOST),
    "CR in a value": lines("GET /102 HTTP/1.1", HOST, "X-A: b\rc"),
    "CR in the request line": lines("GET /102\r HTTP/1.1", HOST),
    "CR at a line's end": lines("GET /102 HTTP/1.1", HOST, "X-A: b\r"),
    "bare LF in a header": lines("GET /102 HTTP/1.1", HOST, "X-A: b\nX-B: c"),
    "bare LF in the request line": lines("GET /102 HTTP/1.1\n" + HOST),
    "bare LF everywhere": b"GET /102 HTTP/1.1\nHost: archive\n\n",
    "bare LF at the end": b"GET /102 HTTP/1.1\r\nHost: archive\r\n\n",
    "bare LF first": b"\nGET /102 HTTP/1.1\r\nHost: archive\r\n\r\n",
    "CR LF twice first": b"\r\n\r\nGET /102 HTTP/1.1\r\nHost: archive\r\n\r\n",
    "0.9": b"GET /102\r\n",
    "two words": lines("GET HTTP/1.1", HOST),
    "four words": lines("GET /1 02 HTTP/1.1", HOST),
    "two spaces": lines("GET  /102 HTTP/1.1", HOST),
    "tab": lines("GET\t/102\tHTTP/1.1", HOST),
    "space first": lines(" GET /102 HTTP/1.1", HOST),
    "space last": lines("GET /102 HTTP/1.1 ", HOST),
    "no method": lines("/102 HTTP/1.1", HOST),
    "method of no token": lines("G@T /102 HTTP/1.1", HOST),
    "small method": lines("get /102 HTTP/1.1", HOST),
    "long method": lines("G" * 33 + " /102 HTTP/1.1", HOST),
    "target beyond ascii": lines("GET /\xd9\xa1\xd9\xa2 HTTP/1.1", HOST),
    "superscript": lines("GET /1\xb2 HTTP/1.1", HOST),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    "garbage": bytes(range(256)) + b"\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("piece", [None, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("data", HEADS.values(), ids=list(HEADS))
def test_refused(server: Server, data: bytes, piece: int | None) -> None:
    """400 and the end of the connection."""
    assert_refused(server, data, 400, piece)


CODINGS = [
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, chunked",
    "identity",
    "xchunked",
    '"chunked"',
    "chunked;a=b",
    "",
]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("length", [(), ("Content-Length: 5",)], ids=["", "length"])
def test_other_transfer_codings(server: Server, coding: str, length: tuple[str, ...]) -> None:
    """Only chunks are known; what else a client writes there cannot be framed."""
    assert_refused(
        server, lines("PUT /102 HTTP/1.1", HOST, f"Transfer-Encoding: {coding}", *length) + b"0\r\n\r\n", 501
    )


@pytest.mark.parametrize(
    "version", ["HTTP/2.0", "HTTP/1.2", "HTTP/3", "HTTP/0.9", "HTTP/1.1x", "http/1.1", "HTTP/11", "FTP/1.0"]
)
def test_other_versions(server: Server, version: str) -> None:
    """Two versions are spoken, by their right names."""
    assert_refused(server, lines(f"GET /102 {version}", HOST), 505)


def test_http_2_preface(server: Server) -> None:
    """A client that speaks HTTP/2 without asking is told that nobody does."""
    assert_refused(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)


def test_http_2_upgrade_is_ignored(server: Server) -> None:
    """A polite one goes on with HTTP/1.1."""
    answer = server.ask(
        "GET", "/102", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    )
    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize("piece", [None, 1000])
def test_long_request_line(server: Server, piece: int | None) -> None:
    """414, whether or not the line ever ends."""
    limit = server.limits.request_line
    longest = f"GET /102?{'x' * (limit - len('GET /102? HTTP/1.1'))} HTTP/1.1"
    assert len(longest) == limit
    client = server.connect().send(lines(longest, HOST), piece)
    assert [answer.status for answer in client.answers()] == [200]
    server.archive.calls.clear()
    assert_refused(server, lines(longest.replace("?", "?x"), HOST), 414, piece)
    assert_refused(server, b"GET /" + b"1" * 100_000, 414, piece)


@pytest.mark.parametrize("piece", [None, 1000])
def test_large_headers(server: Server, piece: int | None) -> None:
    """431, for one line too long, for lines too long together, for a line without end, and for too many."""
    limits = server.limits
    good = [f"X-{number}: y" for number in range(limits.header_count - 1)]
    client = server.connect().send(lines("GET /102 HTTP/1.1", HOST, *good), piece)
    assert [answer.status for answer in client.answers()] == [200]
    server.archive.calls.clear()
    assert_refused(server, lines("GET /102 HTTP/1.1", HOST, *good, "X: y"), 431, piece)
    assert_refused(server, lines("GET /102 HTTP/1.1", HOST, *good, "X: y", "Z: y"), 431, piece)
    assert_refused(server, lines("GET /102 HTTP/1.1", HOST, "X: " + "y" * limits.header_bytes), 431, piece)
    half = "y" * (limits.header_bytes // 2)
    assert_refused(server, lines("GET /102 HTTP/1.1", HOST, f"X: {half}", f"Y: {half}", f"Z: {half}"), 431, piece)
    assert_refused(server, b"GET /102 HTTP/1.1\r\nX: " + b"y" * 200_000, 431, piece)


def test_header_limits_hold_for_each_request() -> None:
    """A connection may carry any number of requests below the limits."""
    with serving(Server(limits=LimitSettings(header_bytes=200, header_count=3, request_line=60))) as server:
        client = server.connect()
        for _ in range(20):
            assert client.ask("GET", "/", "X-A: " + "b" * 100, "X-C: d").status == 200
        client.send(compose("GET", "/", "X-A: " + "b" * 100, "X-C: d", "X-E: f"))
        assert [answer.status for answer in client.answers()] == [431]


GOOD_HOSTS = [
    "archive",
    "archive:8080",
    "192.0.2.1:80",
    "[2001:db8::1]",
    "[2001:db8::1]:8080",
    "",
    "a..b",
    "x" * 300,
    "xn--",
    "-",
    "a_b.c",
    "%41",
]


@pytest.mark.parametrize("host", GOOD_HOSTS, ids=lambda host: host[:20] or "empty")
def test_any_host(server: Server, host: str) -> None:
    """The server is the same by every name, also by those that could not be looked up."""
    client = server.connect()
    client.send(compose("GET", "/102", host=host))
    assert [(answer.status, answer.body) for answer in client.answers()] == [(200, DATA)]


def test_lenient_where_it_is_safe(server: Server) -> None:
    """One empty line before a request, other cases, no space or much space around values."""
    client = server.connect()
    client.send(b"\r\nPUT /7 HTTP/1.1\r\nhOST:archive\r\ncontent-LENGTH: \t 5 \t \r\n\r\n01234")
    client.send(b"PUT /8 HTTP/1.1\r\nhost:archive\r\ntransfer-encoding:\tCHUNKED \r\n\r\n5\r\n01234\r\n0\r\n\r\n")
    client.send(b"\r\nGET /7 HTTP/1.1\r\nHost: archive\r\nX-Empty:\r\nX-Latin: \xe4\r\n\r\n")
    assert [answer.status for answer in client.answers()] == [201, 201, 200]
    assert server.archive.data(8) == b"01234"


def test_refusal_after_good_requests(server: Server) -> None:
    """The good requests before a bad one in a pipeline have their answers first, in order."""
    client = server.connect()
    good = compose("GET", "/102") + compose("PUT", "/7", body=DATA)
    client.send(good + b"GET /102 HTTP/1.1\r\n\r\n" + SMUGGLED)
    assert [answer.status for answer in client.answers()] == [200, 201, 400]
    assert server.archive.data(102) == DATA


def test_refusals_are_counted_and_logged(server: Server) -> None:
    """With the peer, without what it sent."""
    server.connect().send(b"GET /secret HTTP/1.1\r\n\r\n")
    assert server.site.events == {"framing": 1}
    (words,) = [words for words in server.words() if "refused" in words]
    assert "192.168.1.1:54321" in words
    assert "secret" not in words


# Any bytes at all

VALID = [
    compose("PUT", "/7", "Content-MD5: jpVvJTFBc4QOLZ1h0pF5pA==", body=b"body"),
    compose("PUT", "/7", CHUNKED, "Trailer: Digest", body=b"4\r\nbody\r\n0\r\nDigest: adler32=1\r\n\r\n"),
    compose("GET", "/102?byte_range=0-5", "Range: bytes=0-5", 'If-Match: "x"', "Want-Digest: adler32"),
    compose("PATCH", "/102", "Content-Type: application/json", body=b'{"path": "/x"}'),
    compose("PROPFIND", "/102", "Depth: 0", "Expect: 100-continue", body=b"<a/>"),
    compose("HEAD", "http://archive/102", "Connection: close", "Last-Modified: Sun Nov  6 08:49:37 1994"),
]  # fmt: skip
BYTES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b"\xff",
    b"%",
    b"/",
    b"0",
    b"\r\n\r\n",
    b"\r\n ",
    b";",
    b'"',
]
LINES = [
    b"Content-Length: 4\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n",
    b"Expect: 100-continue\r\n", b"Range: bytes=-1\r\n", b"Connection: close\r\n", b" folded\r\n",
]  # fmt: skip
Edit = tuple[str, float, bytes]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace", "line", "double"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.sampled_from(BYTES), st.sampled_from(LINES), st.binary(min_size=1, max_size=3)),
    ),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, edits: list[Edit]) -> bytes:
    """Change a request a little."""
    for kind, where, what in edits:
        at = int(where * len(data))
        if kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(what) :]
        elif kind == "replace":
            data = data[:at] + what + data[at + len(what) :]
        else:  # at the beginning of a line: a further line, or the same again
            start = data.rfind(b"\r\n", 0, at) + 2
            end = data.find(b"\r\n", start) + 2
            data = data[:start] + (data[start:end] if kind == "double" else what) + data[start:]
    return data


def is_ambiguous(data: bytes) -> bool:
    """
    Whether the head of the first request leaves two ways to read it.  Written apart from the server, after RFC 9112.
    """
    if data.startswith(b"\r\n"):
        data = data[2:]
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end:
        return False
    request_line, *fields = head.split(b"\r\n")
    if any(byte in head.replace(b"\r\n", b"") for byte in b"\r\n\0") or len(request_line.split(b" ")) != 3:
        return True
    pairs = [field.partition(b":") for field in fields]
    values = {name.lower(): value.strip(b" \t") for name, _, value in pairs}
    known = [name.lower() for name, _, _ in pairs]
    return (
        any(not colon or name != name.strip(b" \t") or not name for name, colon, _ in pairs)
        or known.count(b"content-length") + known.count(b"transfer-encoding") > 1
        or known.count(b"host") > 1
        or (known.count(b"host") == 0 and request_line.endswith(b"HTTP/1.1"))
        or not values.get(b"content-length", b"0").isdigit()
        or values.get(b"transfer-encoding", b"chunked").lower() != b"chunked"
    )


def exchange(server: Server, data: bytes, piece: int | None) -> Client:
    """Send, say that it was all, and let time pass."""
    client = server.connect().send(data, piece)
    client.end()
    server.clock.advance(100)
    server.clock.advance(100)
    return client


@settings(max_examples=examples(400))
@given(request=st.sampled_from(VALID), edits=EDITS, piece=st.sampled_from([None, 1, 13]))
def test_mutations(request: bytes, edits: list[Edit], piece: int | None) -> None:
    """No bytes raise anything in the server or leave anything behind, and what is ambiguous is never done."""
    data = mutate(request, edits)
    with serving(Server()) as server:
        server.archive.place(102, DATA)
        client = exchange(server, data, piece)
        assert not client.connected
        answers = client.take()
        assert answers == b"" or answers.startswith(b"HTTP/1.")
        if is_ambiguous(data):
            assert not answers.startswith(b"HTTP/1.1 2"), data
            assert server.archive.data(7) is None


@settings(max_examples=examples(200))
@given(data=st.binary(max_size=200), piece=st.sampled_from([None, 1, 13]))
def test_any_bytes(data: bytes, piece: int | None) -> None:
    """Nor does anything else."""
    with serving(Server()) as server:
        client = exchange(server, data, piece)
        assert client.transport.lost


@pytest.mark.parametrize("data", VALID, ids=lambda data: data.split(b" ")[0].decode())
def test_ambiguity_is_judged_rightly(data: bytes) -> None:
    """The judge of the test above lets good requests pass, and only those."""
    assert not is_ambiguous(data)
    assert is_ambiguous(data.replace(b"Host: archive", b"Host : archive"))
    assert is_ambiguous(data.replace(b"\r\nHost", b"\nHost"))
