"""
Whether this server and what stands before it ever disagree about where a request ends.

Mutated requests go to a real service, directly and through the proxies of Debian.  A relay before the service notes
what it is sent, which an independent reader takes apart (L{campaigns.framing}); each answer must belong to the request
in its place, and what is stored must be a body as it was sent.  The same seed sends the same bytes.

    python -m tests.campaigns.desync --requests 19000

With --tls the relay speaks TLS to the service.

With --access the service wants to know who asks: each request has a good token, or (mixed) perhaps none or a bad one.
What a request may is then its own affair, and not that of its neighbours on the connection.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import ssl
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import attrs
from system.harness import HOST, Service, content, repr_digest

from campaigns.framing import End, Message, Rest, read_answers, read_requests
from campaigns.guarded import Guard, guarded
from campaigns.mutations import Case, draw
from campaigns.proxies import PROXIES, proxy
from campaigns.secured import secure_port, secured
from campaigns.tapped import Talk, tap

DIRECT = "direct"
WAYS = (DIRECT, *PROXIES)

SETTINGS = """
[server]
durability = relaxed
hosts = archive
[limits]
linger_timeout = 1
"""
AT_ONCE = 32
"""Conversations that go on at the same time."""

PROBED, PROBE = 1, content("probe", 3000)
"""A file that is read between the others: what comes must be it."""

EACH = 25
"""After so many conversations it is read."""

SOON, LATE = 0.15, 2.5
"""Seconds without a byte after which no more is expected: when all has been answered, and when it has not."""

UNANSWERED = 5.0
"""Seconds without a byte after which a request counts as not answered, where it was not the server who ended."""

ACCESS = ("good", "mixed")
"""What requests present where the service wants to know who asks."""

HARMLESS = (b"GET", b"HEAD", b"OPTIONS", b"PROPFIND")
"""Methods of requests that change nothing."""

IDS = 8
"""File ids of one conversation."""


@attrs.define
class Figures:
    """What one way came to."""

    way: str
    conversations: int = 0
    requests: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)
    breaches: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """In one line of the table."""
        count = self.counts
        return (
            f"{self.way:<8}{self.requests:>9}{count['connections']:>12}{count['whole']:>8}{count['malformed']:>10}"
            f"{count['cut']:>6}{count['2xx']:>7}{count['4xx'] + count['5xx']:>9}{count['files']:>7}"
            f"{len(self.breaches):>9}{self.seconds:>8.0f}"
        )


HEADING = "way      mutated connections   whole malformed   cut    2xx  refused  files breaches seconds"


# One conversation


async def _converse(port: int, case: Case) -> bytes:
    """Send a case, and read until no more comes."""
    requests, rest = read_requests(case.data)
    methods = [*(each.line[0] for each in requests), rest.method]
    due = len(requests) + (rest.end is End.MALFORMED)
    received = b""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return b""
    try:
        for piece in case.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        while True:
            have = len(read_answers(received, methods)[0])
            async with asyncio.timeout(SOON if have >= due else LATE):
                if not (piece := await reader.read(1 << 16)):
                    break
                received += piece
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return received


async def _probe(port: int, guard: Guard | None) -> str:
    """Read the one file that is known; says what is wrong with what came."""
    credential = f"Authorization: {guard.good}\r\n".encode() if guard is not None else b""
    head = b"GET /%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%b\r\n" % (PROBED, credential)
    request = Case([head], 1)
    for _ in range(3):  # a proxy may give a request to a connection that is just being closed
        received = await _converse(port, request)
        if received.partition(b"\r\n\r\n")[2] == PROBE:
            return ""
    return f"the probe was answered with {received[:300]!r}"


async def _send(
    way: str, port: int, seed: str, first: int, requests: int, figures: Figures, guard: Guard | None, access: str | None
) -> None:
    """Send so many requests, some conversations at the same time."""
    credentials: Sequence[str | None] = ()
    if guard is not None:
        credentials = [guard.good] if access == "good" else [*[guard.good] * len(guard.bad), None, *guard.bad]
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, case: Case) -> None:
        try:
            await _converse(port, case)
            if number % EACH == 0 and (wrong := await _probe(port, guard)):
                figures.breaches.append(f"after {way}:{number}: {wrong}")
        finally:
            turn.release()

    async with asyncio.TaskGroup() as group:
        number = first
        while figures.requests < requests:
            case = draw(f"{seed}/{way}/{number}", _first_id(way, number), credentials)
            figures.requests += case.requests
            figures.conversations += 1
            await turn.acquire()
            group.create_task(one(number, case))
            number += 1


def _first_id(way: str, number: int) -> int:
    return 1_000_000_000 * (1 + WAYS.index(way)) + IDS * number


# What came of it


def judge(talk: Talk, counts: Counter[str], guard: Guard | None = None) -> list[str]:
    """
    Compare what the server was sent with what it answered.

    @param counts: Is counted on.
    @param guard: What the service wants to know of those who ask.
    @return: What does not agree.
    """
    requests, answers, rest, answers_end = _read(talk)
    end = rest.end
    last = next((index for index, each in enumerate(answers) if each.fields.get(b"connection") == b"close"), None)
    counts.update(connections=1, whole=len(requests), malformed=end is End.MALFORMED, cut=end is End.CUT)
    counts.update(f"{each.line[1][:1].decode()}xx" for each in answers)
    wrong = [words for request, answer in zip(requests, answers, strict=False) if (words := _unlike(request, answer))]
    if guard is not None:
        wrong += [each for pair in zip(requests, answers, strict=False) if (each := _unwarranted(*pair, guard))]
    if answers_end is End.MALFORMED or (answers_end is End.CUT and talk.server_ended):
        wrong.append(f"the answers are {answers_end.value}")
    if len(answers) > len(requests) + (end is not End.CLEAN):
        wrong.append("there are more answers than requests")
    if last is not None and last + 1 < len(answers):
        wrong.append("an answer follows the last")
    if len(answers) > len(requests) and not _may_be_early(rest, answers[len(requests)]):
        wrong.append("what is no whole request was not refused")
    unanswered = len(answers) < len(requests) and last is None
    if unanswered and (talk.server_ended or talk.quiet > UNANSWERED):
        wrong.append("a request was not answered")
    return wrong


def _may_be_early(rest: Rest, answer: Message) -> bool:
    """
    Whether an answer may be that of a request whose body never came to its end.

    Nothing is done before all is there; but what does nothing may be answered before, and a refusal always.
    """
    refused = answer.line[1] >= b"400"
    closes = answer.fields.get(b"connection") == b"close"
    return (refused or rest.method in HARMLESS) and (closes or (rest.end is End.CUT and rest.method != b""))


def _read(talk: Talk) -> tuple[list[Message], list[Message], Rest, End]:
    """The requests and answers of a connection, and how both end."""
    requests, rest = read_requests(bytes(talk.sent))
    answers, end = read_answers(bytes(talk.answered), [*(each.line[0] for each in requests), rest.method])
    return requests, answers, rest, end


def _unlike(request: Message, answer: Message) -> str:
    """What of an answer cannot be that of the request in its place."""
    method, status = request.line[0], answer.line[1]
    if status == b"201":
        if method != b"PUT":
            return f"a {method!r} was answered as a PUT"
        if answer.fields.get(b"location", b"").decode() != _path(request):
            return f"the PUT of {_path(request)} was answered as that of {answer.fields.get(b'location')!r}"
        if answer.fields.get(b"repr-digest", b"").decode() != repr_digest(request.body):
            return f"the body of the PUT of {_path(request)} was not seen as it was sent"
    elif method == b"PUT" and status.startswith(b"2"):
        return f"a PUT was answered with {status!r}"
    elif status == b"207" and method != b"PROPFIND":
        return f"a {method!r} was answered as a PROPFIND"
    elif status == b"200" and method == b"GET" and _path(request) == f"/{PROBED}" and answer.body != PROBE:
        return "the GET of one file was answered with another"
    return ""


def _unwarranted(request: Message, answer: Message, guard: Guard) -> str:
    """What of an answer does not go with what its request presents."""
    method, status = request.line[0], answer.line[1]
    if _is_known(request, guard):
        return "a good token was refused" if status in (b"401", b"429") else ""
    done = status[:1] in b"23" or status in (b"403", b"404", b"409", b"412", b"416")
    if done and method != b"OPTIONS" and _path(request)[1:].isdigit():
        return f"a {method!r} of nobody who is known was answered with {status!r}"
    return ""


def _is_known(request: Message, guard: Guard | None) -> bool:
    """Whether a request comes with what is wanted."""
    return guard is None or request.fields.get(b"authorization") == guard.good.encode()


def _path(request: Message) -> str:
    """The path of a request's target."""
    target = request.line[1].decode("latin-1")
    if target.lower().startswith(("http://", "https://")):
        target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
    return "/" + target.partition("?")[0].lstrip("/")


def compare_stored(
    talks: Sequence[Talk], files: dict[str, Path], counts: Counter[str], guard: Guard | None = None
) -> list[str]:
    """
    Compare what is stored with what the server was sent.

    @param files: The files, by their ids.
    @param guard: What the service wants to know of those who ask.
    """
    sent: defaultdict[str, set[bytes]] = defaultdict(set)
    acknowledged: set[str] = set()
    touched: set[str] = set()
    for talk in talks:
        requests, answers, _, _ = _read(talk)
        for index, request in enumerate(requests):
            name = _path(request)[1:]
            if not _is_known(request, guard):
                continue
            if request.line[0] == b"PUT":
                sent[name].add(hashlib.sha256(request.body).digest())
                if index < len(answers) and answers[index].line[1] == b"201":
                    acknowledged.add(name)
            elif request.line[0] in (b"DELETE", b"PATCH"):
                touched.add(name)
    counts["files"] = len(files)
    wrong = [
        f"file {name} was stored, and never sent like that"
        for name, path in files.items()
        if hashlib.sha256(path.read_bytes()).digest() not in sent[name]
    ]
    return wrong + [f"file {name} is not there" for name in acknowledged - files.keys() - touched]


# All of it


async def _through(
    way: str,
    service: Service,
    seed: str,
    first: int,
    requests: int,
    context: ssl.SSLContext | None,
    guard: Guard | None,
    access: str | None,
) -> Figures:
    """One way."""
    figures, talks = Figures(way), list[Talk]()
    began, before = time.monotonic(), set(service.visible())
    port = service.port if context is None else secure_port(service)
    async with tap((HOST, port), talks, context) as to:
        with ExitStack() as stack:
            port = to if way == DIRECT else await asyncio.to_thread(stack.enter_context, proxy(way, to))
            await _send(way, port, seed, first, requests, figures, guard, access)
            if wrong := await _probe(port, guard):
                figures.breaches.append(f"at the end of {way}: {wrong}")
    for talk in talks:
        figures.breaches += (_told(words, talk) for words in judge(talk, figures.counts, guard))
    stored = {name: path for name, path in service.visible().items() if name not in before}
    figures.breaches += compare_stored(talks, stored, figures.counts, guard)
    figures.seconds = time.monotonic() - began
    return figures


def _told(words: str, talk: Talk) -> str:
    """What does not agree, and of what connection."""
    sent, answered = _short(bytes(talk.sent)), _short(bytes(talk.answered))
    return f"{words}\n    sent: {sent[:3000]!r}\n    answered: {answered[-1500:]!r}"


def _short(data: bytes) -> bytes:
    """Bytes to be looked at: without most of what is long, and no framing."""
    return re.sub(rb"[^\r\n:]{100,}", lambda match: b"%b<%d more>" % (match[0][:50], len(match[0]) - 50), data)


def run(
    requests: int,
    ways: Sequence[str],
    seed: str,
    first: int = 0,
    *,
    tls: bool = False,
    access: str | None = None,
) -> list[Figures]:
    """
    Send requests to a service of its own.

    @param requests: How many, in all.
    @param ways: Through what.
    @param first: The number of each way's first conversation.
    @param tls: Whether the service is reached by TLS.
    @param access: One of L{ACCESS}, where the service wants to know who asks.
    """
    with tempfile.TemporaryDirectory(prefix="pacarchive-desync-") as directory:
        settings, context = secured(Path(directory)) if tls else ("", None)
        guard = guarded(Path(directory)) if access is not None else None
        settings += guard.settings if guard is not None else ""
        service = Service(Path(directory), settings=SETTINGS + settings)
        try:
            assert service.ask("PUT", PROBED, PROBE, guard.fields if guard is not None else None).status == 201
            found = []
            for index, way in enumerate(ways):
                share = requests * (index + 1) // len(ways) - requests * index // len(ways)
                found.append(asyncio.run(_through(way, service, seed, first, share, context, guard, access)))
            service.stop()
            service.assert_clean()
            return found
        finally:
            service.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print the figures.  @return: The exit status: 1 where anything does not agree."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.desync", description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=19_000, help="how many, in all (%(default)s)")
    parser.add_argument("--through", default=",".join(WAYS), help="ways, with commas between (%(default)s)")
    parser.add_argument("--seed", default="pacarchive", help="what is drawn from (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first conversation of each way")
    parser.add_argument("--tls", action="store_true", help="reach the service by TLS")
    parser.add_argument("--access", choices=ACCESS, help="what requests present to a service that wants to know")
    chosen = parser.parse_args(arguments)
    ways = chosen.through.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    found = run(chosen.requests, ways, chosen.seed, chosen.first, tls=chosen.tls, access=chosen.access)
    print(HEADING)
    for each in found:
        print(each.line())
    for each in found:
        for breach in each.breaches[:20]:
            print(f"\n{each.way}: {breach}")
    breaches = sum(len(each.breaches) for each in found)
    print(f"\n{sum(each.requests for each in found)} mutated requests, {breaches} breaches (seed {chosen.seed})")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
