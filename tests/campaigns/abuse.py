"""
Whether one client's worst leaves the others their share: chunks, pipelines, heads, documents, plans, rests, memory.

Each case does its worst to a real service of one worker, while a probe, in a process of its own, reads a small file and
stores another every 50 ms.  Nobody is to wait for long, nothing is to be left, and what there is too much of is to be
refused with the words that belong to it.

    python -m tests.campaigns.abuse --length 1

With --tls, all of them speak TLS.

With --access the service wants to know who asks: all have a token, but for the one who guesses.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from system.harness import Service, reset, until

from campaigns.guarded import guarded
from campaigns.probing import SETTINGS, Figures, ask_all, connect, contexts, given, held, pour, probed, request, rests
from campaigns.secured import secured
from pacarchive.access.tokens import make_token

FILES = 20_000
"""Of one plan or job: the most there may be."""

JSON_FIELD = "Content-Type: application/json"
JSON = {"Content-Type": "application/json"}

MOST = 400 << 20
"""How much a worker's memory may grow: by what its limits allow, and what it takes to keep account of that."""


def stay(length: float, seconds: float) -> None:
    """Let the others meet what there is now for a while: C{seconds}, where the campaign is a whole one."""
    time.sleep(max(0.5, seconds * min(1.0, length)))


def owned(length: float) -> int:
    """How many jobs of L{FILES} files an owner may have: what the settings allow by themselves, or less for less."""
    return max(3, min(10, round(10 * length)))


def nothing(service: Service, length: float) -> Figures:
    """What the probe meets when nobody else does anything."""
    figures = Figures()
    with probed(service, figures):
        time.sleep(max(1.0, 5 * length))
    return figures


def one_plan(service: Service, length: float) -> Figures:
    """What a single plan of files that do not exist costs."""
    figures = Figures()
    with probed(service, figures):
        ask_all(service, [request("POST", "/jobs", {"files": [f"100000-{99_999 + FILES}"], "dry_run": True})], figures)
    figures.expect(figures.answers == {200: 1}, "the plan was not made")
    return figures


def plans(service: Service, length: float) -> Figures:
    """Sixteen plans at once, over and over: those for which there is room are made."""
    figures = Figures()
    plan = request("POST", "/jobs", {"files": [f"100000-{99_999 + FILES}"], "dry_run": True})
    info = request("POST", "/api/v1/archiveinfo", {"paths": [f"/{each}" for each in range(100_000, 110_000)]})
    with probed(service, figures):
        for _ in range(max(1, round(5 * length))):
            ask_all(service, [plan, info] * 8, figures)
    figures.expect(set(figures.answers) <= {200, 503}, "an answer that should not be")
    figures.expect(figures.answers[200] > 0, "none was made")
    figures.expect(figures.answers[503] > 0, "all were let in")
    return figures


def leaving(service: Service, length: float) -> Figures:
    """Plans whose clients leave, in order and not: nothing goes on."""
    figures = Figures()
    plan = request("POST", "/jobs", {"files": [f"100000-{99_999 + FILES}"], "dry_run": True})
    count = max(4, round(100 * length))
    with probed(service, figures):
        for number in range(count):
            connection = connect(service)
            connection.sendall(plan)
            time.sleep(0.01 * (number % 5))
            if number % 2:
                reset(connection)
            else:
                connection.close()
        left = time.monotonic()
        until(lambda: rests(service) or time.monotonic() - left > 30, "it comes to rest", 60)
    figures.notes.append(f"{count} clients left, at rest after {time.monotonic() - left - 0.5:.1f} s")
    figures.expect(rests(service), "work goes on for clients that have left")
    return figures


def dribbling(service: Service, length: float) -> Figures:
    """More uploads than there are transfers, which send a byte and then no more, or a block and then no more."""
    figures = Figures()
    count = max(20, round(600 * length))
    head = request("PUT", "/7", None, "Content-Length: 100000000")
    with probed(service, figures), ExitStack() as stack:
        for sent in (1, 70_000):
            for _ in range(count):
                connection = stack.enter_context(connect(service))
                connection.sendall(head + bytes(sent))
                time.sleep(0.005)  # it is their number that counts, and not the rate of new connections
        stay(length, 3)
    figures.notes.append(f"{2 * count} uploads that rest")
    return figures


def endless_jobs(service: Service, length: float) -> Figures:
    """Jobs of twenty thousand files each, by a client that never has enough."""
    figures = Figures()
    count = max(owned(length) + 2, round(60 * length))
    with probed(service, figures):
        for number in range(count):
            first = 1_000_000 + number * FILES
            ask_all(service, [request("POST", "/jobs", {"files": [f"{first}-{first + FILES - 1}"]})], figures)
        until(lambda: rests(service), "it comes to rest", 120)
    found = list(service.directory.rglob("recall.sqlite*"))
    size = sum(each.stat().st_size for each in found)
    figures.notes.append(f"recall.sqlite: {size / 1e6:.0f} MB")
    figures.expect(figures.answers[201] <= owned(length), "more files than an owner may have")
    figures.expect(set(figures.answers) <= {201, 429}, "an answer that should not be")
    figures.expect(size < 150e6, "the store is too large")
    return figures


def _chunked(target: str, piece: bytes, count: int, last: bytes = b"0\r\n\r\n") -> bytes:
    return request("PUT", target, None, "Transfer-Encoding: chunked", "Connection: close") + piece * count + last


def tiny_chunks(service: Service, length: float) -> Figures:
    """Uploads in a million chunks of one byte each: ended long before that."""
    figures = Figures()
    message = _chunked("/7", b"1\r\nx\r\n", max(100_000, round(1_000_000 * length)))
    with probed(service, figures):
        pour(service, [message] * max(8, round(400 * length)), figures, 600)
    figures.expect(set(figures.answers) <= {0, 400, 503}, "an answer that should not be")
    return figures


def small_chunks(service: Service, length: float) -> Figures:
    """Uploads in chunks that are just large enough to be taken."""
    figures = Figures()
    message = _chunked("/7", b"3\r\nxyz\r\n", max(20_000, round(200_000 * length)))
    with probed(service, figures):
        pour(service, [message] * max(4, round(32 * length)), figures, 120)
    figures.expect(set(figures.answers) <= {201, 400, 503}, "an answer that should not be")
    return figures


def pipelines(service: Service, length: float) -> Figures:
    """Twenty thousand requests in one piece, on several connections."""
    figures = Figures()
    last = request("GET", "/5", None, "Connection: close")
    message = request("GET", "/5") * max(1000, round(20_000 * length)) + last
    with probed(service, figures):
        pour(service, [message] * 8, figures, 600)
    figures.expect(set(figures.answers) == {200}, "an answer that should not be")
    return figures


def headers(service: Service, length: float) -> Figures:
    """Requests of a hundred fields, and of fields and targets as long as they may be."""
    figures = Figures()
    many = request("GET", "/5", None, *(f"a{number}:b" for number in range(95)))
    long = request("GET", "/" + "5" * 8000, None, *(f"a{number}: {'b' * 3900}" for number in range(7)))
    ranges = request("GET", "/5", None, "Range: bytes=" + ",".join(["0-0"] * 1900))
    last = request("GET", "/5", None, "Connection: close")
    with probed(service, figures):
        for each in (many, long, ranges):
            pour(service, [each * max(50, round(1000 * length)) + last] * 8, figures, 600)
    figures.expect(set(figures.answers) <= {200, 206, 400, 404, 416, 431}, "an answer that should not be")
    return figures


def documents(service: Service, length: float) -> Figures:
    """Documents of as many elements as fit, and nested as deep as they can be."""
    figures = Figures()
    texts = [b"[" * 250_000, b"[" + b"[]," * 160_000 + b"0]", b'{"files":[' + b"1," * 250_000 + b"1]}"]
    texts += [b'{"files":["' + b'0-1","' * 80_000 + b'2"]}', b'{"a":' * 80_000]
    fields = ("Content-Type: application/json", "Connection: close")
    requests = [
        request("POST", target, None, *fields, f"Content-Length: {len(text)}") + text
        for target in ("/jobs", "/api/v1/stage", "/api/v1/archiveinfo")
        for text in texts
    ]
    with probed(service, figures):
        for _ in range(max(1, round(10 * length))):
            pour(service, requests, figures)
    figures.expect(set(figures.answers) <= {200, 400, 413, 503}, "an answer that should not be")
    return figures


def followers(service: Service, length: float) -> Figures:
    """Many who follow a job of twenty thousand files, and take nothing of what they are told."""
    figures = Figures()
    job = service.ask("POST", "/jobs", json.dumps({"files": [f"100000-{99_999 + FILES}"]}).encode(), fields=JSON)
    target = f"/jobs/{json.loads(job.body)['job']}"
    with probed(service, figures):
        follow = request("GET", f"{target}/events", None, "Accept: text/event-stream")
        with held(service, [follow] * max(20, round(500 * length)), figures):
            stay(length, 3)
        files = request("GET", f"{target}/files?limit=10000")
        with held(service, [files] * max(20, round(500 * length)), figures):
            stay(length, 3)
    figures.expect(set(figures.answers) <= {200, 503}, "an answer that should not be")
    figures.expect(figures.memory < MOST, "it took too much memory")
    return figures


def unfinished(service: Service, length: float) -> Figures:
    """A thousand documents, uploads and heads whose end never comes."""
    figures = Figures()
    count = max(100, round(1000 * length))
    document = request("POST", "/jobs", None, JSON_FIELD, "Content-Length: 520000") + b" " * 510_000
    upload = request("PUT", "/7", None, "Content-Length: 100000000") + bytes(60_000)
    head = request("GET", "/5", None, *(f"a{number}: {'b' * 3900}" for number in range(7)))[:-4]
    with probed(service, figures):
        for message in (document, upload, head):
            with held(service, [message] * count, figures):
                stay(length, 2)
    figures.notes.append(f"{3 * count} of them")
    figures.expect(set(figures.answers) <= {0, 503}, "an answer that should not be")
    figures.expect(figures.memory < MOST, "it took too much memory")
    return figures


def not_taken(service: Service, length: float) -> Figures:
    """A thousand who ask for a small file over and over, and read nothing."""
    figures = Figures()
    assert service.ask("PUT", 8, bytes(60_000)).status == 201
    messages = [request("GET", "/8") * 100] * max(100, round(1000 * length))
    with probed(service, figures), held(service, messages, figures):
        stay(length, 3)
    figures.expect(set(figures.answers) <= {200, 503}, "an answer that should not be")
    figures.expect(figures.memory < MOST, "it took too much memory")
    return figures


def guesses(service: Service, length: float) -> Figures:
    """Tokens and passwords that are not valid, each another, over many connections and one after the other on each."""
    figures = Figures()
    token, last = make_token(), "Connection: close"
    fields = [f"Authorization: Bearer {make_token()}" for _ in range(max(500, round(20_000 * length)))]
    fields += [f"Authorization: Basic {b64encode(b'ada:%d' % number).decode()}" for number in range(200)]
    fields += ["Authorization: Bearer", f"Authorization: {token}", f"Authorization: Bearer {token[:-1]}"]
    messages = [
        b"".join(_without_given("HEAD", "/5", each) for each in fields[first::8])
        + _without_given("GET", "/5", fields[first], last)
        for first in range(8)
    ]
    uploads = [_without_given("PUT", "/7", each, "Content-Length: 1", last) + b"x" for each in fields[::10]]
    with probed(service, figures):
        pour(service, messages, figures, 120)
        pour(service, uploads, figures, 120)
    figures.expect(set(figures.answers) <= {401, 429, 503}, "an answer that should not be")
    figures.expect(service.ask("GET", 7).status == 404, "somebody has stored a file")
    return figures


def _without_given(method: str, target: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


TRAILERS = [
    b"A: b\n\n", b"A: b\n\r\n", b"A: b\r\r\n\r\n", b"A: \0\r\n\r\n", b" A: b\r\n\r\n", b"A b\r\n\r\n", b"A : b\r\n\r\n",
    b"Content-Length: 5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"Host: evil.example\r\n\r\n", b": b\r\n\r\n",
    b"A: " + b"b" * 60_000 + b"\r\n\r\n", b"A: b\r\n" * 10_000 + b"\r\n", b"\n",
]  # fmt: skip
"""None of them is a trailer section."""


def trailers(service: Service, length: float) -> Figures:
    """Trailers that are none, with a request behind them which would delete a file."""
    figures = Figures()
    assert service.ask("PUT", 9, b"to stay").status == 201
    behind = request("DELETE", "/9", None, "Connection: close")
    messages = [_chunked("/7", b"1\r\nx\r\n", 1, b"0\r\n" + each + behind) for each in TRAILERS]
    with probed(service, figures):
        for _ in range(max(1, round(50 * length))):
            pour(service, messages, figures)
    figures.expect(set(figures.answers) == {400}, "a trailer section was taken for one")
    figures.expect(service.ask("GET", 9).status == 200, "what followed a trailer section was taken for a request")
    return figures


CASES: dict[str, Callable[[Service, float], Figures]] = {
    "nothing": nothing,
    "tiny chunks": tiny_chunks,
    "small chunks": small_chunks,
    "pipelines": pipelines,
    "headers": headers,
    "documents": documents,
    "followers": followers,
    "one plan": one_plan,
    "plans": plans,
    "leaving": leaving,
    "dribbling": dribbling,
    "jobs": endless_jobs,
    "unfinished": unfinished,
    "not taken": not_taken,
    "trailers": trailers,
}
"""Each does its worst to a service, for a length where 1 is the whole, and tells what came of it."""

GUARDED = {**CASES, "guesses": guesses}
"""Those for a service that wants to know who asks."""


def run(name: str, length: float, stall: float, *, tls: bool = False, access: bool = False) -> Figures:
    """Run a case on a service of its own."""
    with tempfile.TemporaryDirectory() as directory:
        settings = f"{SETTINGS}[recall]\nowner_files = {owned(length) * FILES}\n"
        more, context = secured(Path(directory)) if tls else ("", None)
        guard = guarded(Path(directory)) if access else None
        more += guard.settings if guard is not None else ""
        service = Service(Path(directory), settings=settings + more)
        if context is not None:
            contexts[service] = context
        if guard is not None:
            service.given = guard.fields
        given[:] = [f"{field}: {value}" for field, value in service.given.items()]
        try:
            assert service.ask("PUT", 5, b"words").status == 201
            workers = service.workers()
            figures = GUARDED[name](service, length)
            figures.expect(service.workers() == workers, "the worker has died")
            figures.expect(figures.probes[-1] <= stall, f"somebody waited {figures.probes[-1]:.3f} s")
            service.stop(120)
            for word in ("Traceback", "Unhandled", "incident", "unexpected"):
                figures.expect(word not in service.log, f"{word} is in the log: {service.log[-2000:]}")
        finally:
            service.kill()
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign.  @return: The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--length", type=float, default=1.0, help="1 is the whole campaign")
    parser.add_argument("--stall", type=float, default=0.1, help="what a probe may take, in seconds")
    parser.add_argument("--tls", action="store_true", help="all by TLS")
    parser.add_argument("--case", choices=list(GUARDED), action="append", help="only this one; can be repeated")
    parser.add_argument("--access", action="store_true", help="on a service that wants to know who asks")
    options = parser.parse_args(arguments)
    cases = options.case or list(GUARDED if options.access else CASES)
    if not options.access and (guarded_only := [name for name in cases if name not in CASES]):
        parser.error(f"only with --access: {', '.join(guarded_only)}")
    breaches = 0
    for name in cases:
        figures = run(name, options.length, options.stall, tls=options.tls, access=options.access)
        sys.stdout.write(figures.line(name) + "\n")
        for each in figures.breaches:
            breaches += 1
            sys.stdout.write(f"  BREACH: {each}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{breaches} breaches\n")
    return min(1, breaches)


if __name__ == "__main__":
    sys.exit(main())
