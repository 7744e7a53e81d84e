"""A short run of the campaign, what its judges are worth, and a cache that does as it was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from system.harness import Client, Service

from campaigns.desync import PROBE, WAYS, compare_stored, judge, main
from campaigns.framing import End, read_answers, read_requests
from campaigns.guarded import Guard
from campaigns.mutations import draw
from campaigns.proxies import proxy
from campaigns.tapped import Talk

HEAD = b"Host: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CREATED = (
    b"HTTP/1.1 201 Created\r\nLocation: /7\r\nRepr-Digest: sha-256=:LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=:\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
PUT = b"PUT /7 HTTP/1.1\r\n" + HEAD + b"Content-Length: 3\r\n\r\nfoo"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("way", "more"),
    [
        *((way, []) for way in WAYS),
        *((way, ["--access", "mixed"]) for way in WAYS),
        ("direct", ["--tls"]),
        ("direct", ["--access", "good", "--tls"]),
    ],
)
def test_no_desync(way: str, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Mutated requests, through each proxy and through none: all that this server saw is what it was sent."""
    assert main(["--requests", "150", "--through", way, *more]) == 0, capsys.readouterr().out
    assert "0 breaches" in capsys.readouterr().out


def test_the_same_again() -> None:
    """A seed names its bytes."""
    drawn = [draw(f"x/{number}", 8 * number) for number in range(200)]
    assert drawn == [draw(f"x/{number}", 8 * number) for number in range(200)]
    assert len({each.data for each in drawn}) > 190


@pytest.mark.parametrize(
    ("data", "bodies", "end"),
    [
        (PUT + b"\r\n" + PUT, [b"foo", b"foo"], End.CLEAN),
        (PUT + PUT[:-1], [b"foo"], End.CUT),
        (b"PUT /7 HTTP/1.1\r\n" + CHUNKED + b"1;x\r\na\r\n02 ;y=z\r\nbc\r\n0\r\nX: y\r\n\r\n", [b"abc"], End.CLEAN),
        (b"GET /7 HTTP/1.0\r\n\r\n", [b""], End.CLEAN),
        *(
            (b"PUT /7 HTTP/1.1\r\n" + CHUNKED + rest, [], End.MALFORMED)
            for rest in (
                b"1\r\nab\r\n0\r\n\r\n", b"1 \r\na\r\n0\r\n\r\n", b"0x1\r\na\r\n", b"+1\r\na", b"\r\n", b"1;x\ny\r\n",
                b"0\r\nX : y\r\n\r\n", b"0\r\nX: y\nZ: z\r\n\r\n", b"0\r\nHost: b\r\n\r\n", b"0\r\n X: y\r\n\r\n",
                b"0\n",
            )
        ),
        *(
            (b"GET /7 HTTP/1.1\r\n" + fields + b"\r\n", [], End.MALFORMED)
            for fields in (
                b"", HEAD * 2, HEAD + b"X : y\r\n", HEAD + b"Content-Length: +1\r\n", HEAD + b" X: y\r\n",
                HEAD + b"Content-Length: 0\r\n" * 2, HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                HEAD + b"Transfer-Encoding: gzip, chunked\r\n", HEAD + b"X: y\nZ: z\r\n", HEAD + b"X: \0\r\n",
            )
        ),
        (b"GET  /7 HTTP/1.1\r\n" + HEAD + b"\r\n", [], End.MALFORMED),
        (b"GET /7 HTTP/2.0\r\n" + HEAD + b"\r\n", [], End.MALFORMED),
        (b"GET /7 HTTP/1.0\r\n" + CHUNKED + b"0\r\n\r\n", [], End.MALFORMED),
    ],
)  # fmt: skip
def test_the_second_opinion(data: bytes, bodies: list[bytes], end: End) -> None:
    """Where requests end, and what leaves two ways to read it."""
    requests, rest = read_requests(data)
    assert ([each.body for each in requests], rest.end) == (bodies, end)
    for cut in range(len(data)):  # less of it is never more
        fewer, rest = read_requests(data[:cut])
        assert [each.body for each in fewer] == bodies[: len(fewer)]


def test_answers() -> None:
    """An interim answer is none; a HEAD's has no body; a second of a field is one too many."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    answers, end = read_answers(b"HTTP/1.1 100 Continue\r\n\r\n" + head + CREATED, [b"HEAD", b"PUT"])
    assert ([each.line[1] for each in answers], end) == ([b"200", b"201"], End.CLEAN)
    assert read_answers(head.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"), [b"HEAD"])[1] is End.MALFORMED
    assert read_answers(head + b"1234", [b"GET"])[1] is End.CUT


@pytest.mark.parametrize(
    ("sent", "answered", "ended", "words"),
    [
        (PUT, CREATED, False, ""),
        (PUT + PUT, CREATED * 2, False, ""),
        (PUT + b"x", CREATED + REFUSED, True, ""),
        (PUT[:-1], REFUSED, True, ""),
        (PUT + PUT, REFUSED, True, ""),
        (PUT, CREATED * 2, False, "more answers"),
        (PUT + PUT, CREATED, True, "not answered"),
        (PUT[:-1], CREATED, False, "not refused"),
        (PUT + PUT, REFUSED + CREATED, False, "follows the last"),
        (PUT.replace(b"foo", b"bar"), CREATED, False, "not seen as it was sent"),
        (PUT.replace(b"/7", b"/8"), CREATED, False, "answered as that of"),
        (PUT.replace(b"PUT", b"GET"), CREATED, False, "answered as a PUT"),
        (PUT, CREATED[:-1], True, "cut"),
        (b"PUT /7 HTTP/1.1\r\n" + CHUNKED + b"3\r\nfoo\r\n0\r\nX : y\r\n\r\n", CREATED, False, "not refused"),
    ],
)
def test_the_judge(sent: bytes, answered: bytes, ended: bool, words: str) -> None:
    """An answer too many, too few, or to something else is seen."""
    talk = Talk(bytearray(sent), bytearray(answered), server_ended=ended)
    wrong = judge(talk, Counter())
    assert any(words in each for each in wrong) if words else wrong == []


GUARD = Guard("", "Bearer good", ["Bearer bad"])


def presenting(credential: bytes) -> bytes:
    """The PUT, with a credential."""
    return PUT.replace(HEAD, HEAD + b"Authorization: " + credential + b"\r\n")


@pytest.mark.parametrize(
    ("sent", "answered", "words"),
    [
        (presenting(b"Bearer good"), CREATED, ""),
        (presenting(b"Bearer good"), REFUSED, ""),
        (presenting(b"Bearer good"), REFUSED.replace(b"400", b"401"), "a good token was refused"),
        (presenting(b"Bearer bad"), REFUSED.replace(b"400", b"401"), ""),
        (presenting(b"Bearer bad"), REFUSED.replace(b"400", b"404"), "of nobody who is known"),
        (presenting(b"Bearer good") + PUT, CREATED * 2, "of nobody who is known"),
    ],
)
def test_the_judge_of_access(sent: bytes, answered: bytes, words: str) -> None:
    """What nothing may come of has had no effect, and what is good is taken."""
    talk = Talk(bytearray(sent), bytearray(answered))
    wrong = judge(talk, Counter(), GUARD)
    assert any(words in each for each in wrong) if words else wrong == []


def test_the_judge_of_files(tmp_path: Path) -> None:
    """What is stored was sent so, and what was acknowledged is there."""
    path = tmp_path / "7"
    talk = Talk(bytearray(PUT), bytearray(CREATED))
    path.write_bytes(b"foo")
    assert len(compare_stored([talk], {"7": path}, Counter(), GUARD)) == 1, "it was sent by nobody who is known"
    for data, wrong in ((b"foo", 0), (b"bar", 1)):
        path.write_bytes(data)
        assert len(compare_stored([talk], {"7": path}, Counter())) == wrong
    assert compare_stored([talk], {}, Counter()) == ["file 7 is not there"]


def test_a_cache(serve: Callable[..., Service]) -> None:
    """Varnish, as it comes, gives away no file that is gone or another."""
    service = serve()
    with proxy("varnish", service.port) as port, Client(port) as client:
        for data in (PROBE, PROBE[1:]):
            assert service.ask("PUT", 5, data).status == 201
            assert [client.ask("GET", 5).body == data for _ in range(3)] == [True] * 3
        assert service.ask("DELETE", 5).status == 200
        assert client.ask("GET", 5).status == 404
        assert service.ask("PUT", 5, PROBE).status == 201
        assert client.ask("GET", 5).body == PROBE
