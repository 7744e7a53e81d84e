"""
Whether one client's worst leaves the others their share: plans, clients that leave, uploads that dribble, endless jobs.

Each case does its worst to a real service of one worker, while a probe, in a process of its own, reads a small file and
stores another every 50 ms.  Nobody is to wait for long, nothing is to be left, and what there is too much of is to be
refused with the words that belong to it.

    python -m tests.campaigns.hogs --length 1
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
from system.harness import HOST, Service, read_to_the_end, reset, status_of, until

PROBE = """
import http.client, json, select, sys, time
port, times, stores, statuses = int(sys.argv[1]), [], [], set()
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
sys.stdout.write("ready\\n"); sys.stdout.flush()
while not select.select([sys.stdin], [], [], 0.05)[0]:
    for method, path, took in (("GET", "/5", times), ("HEAD", "/4", times), ("PUT", "/6", stores)):
        began = time.monotonic()
        connection.request(method, path, b"x" if method == "PUT" else None)
        answer = connection.getresponse(); answer.read()
        took.append(time.monotonic() - began); statuses.add(answer.status)
print(json.dumps([sorted(times), sorted(stores), sorted(statuses)]))
"""
"""One who waits: reads a small file, looks for one that is not there, and stores one, which waits for the disk."""

SETTINGS = """
[limits]
proxies =
"""
"""The loopback interface's addresses are clients like others."""

FILES = 20_000
"""Of one plan or job: the most there may be."""

QUIET = "127.0.0.1"
"""The address of the probe."""

LOUD = "127.0.0.2"
"""That of the one who does the worst."""


@attrs.define
class Figures:
    """
    What came of a case.

    @ivar cpu: Seconds that the worker worked.
    @ivar wall: Seconds that it took.
    @ivar probes: What the probe's reads took, in order, in seconds.
    @ivar stores: What its uploads took.
    @ivar answers: How often each status came.
    @ivar notes: What else was measured.
    @ivar breaches: What should not be.
    """

    cpu: float = 0.0
    wall: float = 0.0
    probes: Sequence[float] = (0.0,)
    stores: Sequence[float] = (0.0,)
    answers: Counter[int] = attrs.field(factory=Counter)
    notes: list[str] = attrs.field(factory=list)
    breaches: list[str] = attrs.field(factory=list)

    def expect(self, condition: bool, words: str) -> None:
        """Note a breach."""
        if not condition:
            self.breaches.append(words)

    def line(self, name: str) -> str:
        """All of it in one line."""
        answers = [f"{count} x {status}" for status, count in sorted(self.answers.items())]
        return (
            f"{name:10} {self.wall:5.1f} s, CPU {self.cpu:5.2f} s; {len(self.probes)} reads, median "
            f"{_middle(self.probes)} ms, longest {_last(self.probes)} ms; uploads {_middle(self.stores)}, "
            f"{_last(self.stores)} ms; {'; '.join([*answers, *self.notes])}"
        )


def _middle(times: Sequence[float]) -> int:
    return round(times[len(times) // 2] * 1000)


def _last(times: Sequence[float]) -> int:
    return round(times[-1] * 1000)


def cpu_of(service: Service) -> float:
    """Seconds that the worker has worked."""
    (worker,) = service.workers()
    fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def probed(service: Service, figures: Figures) -> Iterator[None]:
    """Measure, and probe meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", PROBE, str(service.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as probe:
        assert probe.stdout is not None
        probe.stdout.readline()
        cpu, began = cpu_of(service), time.monotonic()
        try:
            yield
        finally:
            figures.cpu, figures.wall = cpu_of(service) - cpu, time.monotonic() - began
            out, _ = probe.communicate("\n", timeout=120)
    figures.probes, figures.stores, statuses = json.loads(out)
    figures.expect(set(statuses) <= {200, 201, 404}, f"the probe was answered with {statuses}")


def request(method: str, target: str, document: object = None, *fields: str) -> bytes:
    """A request with a document, or with other fields."""
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
    if document is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(service: Service) -> socket.socket:
    """A connection of the loud client."""
    connection = socket.create_connection((HOST, service.port), timeout=120, source_address=(LOUD, 0))
    connection.settimeout(120)
    return connection


def ask_all(service: Service, requests: Sequence[bytes], figures: Figures) -> None:
    """Ask all of it at once, each on a connection of its own."""

    def ask(data: bytes) -> None:
        with connect(service) as connection:
            connection.sendall(data)
            figures.answers[status_of(read_to_the_end(connection))] += 1

    threads = [threading.Thread(target=ask, args=(data,), daemon=True) for data in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rests(service: Service) -> bool:
    """Whether the worker does next to nothing."""
    before = cpu_of(service)
    time.sleep(0.5)
    return cpu_of(service) - before < 0.1


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
        time.sleep(3)
    figures.notes.append(f"{2 * count} uploads that rest")
    return figures


def endless_jobs(service: Service, length: float) -> Figures:
    """Jobs of twenty thousand files each, by a client that never has enough."""
    figures = Figures()
    store = service.directory / "recall.sqlite"
    found = list(service.directory.rglob("recall.sqlite*"))
    count = max(12, round(60 * length))
    with probed(service, figures):
        for number in range(count):
            first = 1_000_000 + number * FILES
            ask_all(service, [request("POST", "/jobs", {"files": [f"{first}-{first + FILES - 1}"]})], figures)
        until(lambda: rests(service), "it comes to rest", 120)
    found = list(service.directory.rglob("recall.sqlite*"))
    size = sum(each.stat().st_size for each in found)
    figures.notes.append(f"{store.name}: {size / 1e6:.0f} MB")
    figures.expect(figures.answers[201] <= 10, "more files than an owner may have")
    figures.expect(set(figures.answers) <= {201, 429}, "an answer that should not be")
    figures.expect(size < 150e6, "the store is too large")
    return figures


CASES: dict[str, Callable[[Service, float], Figures]] = {
    "nothing": nothing,
    "one plan": one_plan,
    "plans": plans,
    "leaving": leaving,
    "dribbling": dribbling,
    "jobs": endless_jobs,
}
"""Each does its worst to a service, for a length where 1 is the whole, and tells what came of it."""


def run(name: str, length: float, stall: float) -> Figures:
    """Run a case on a service of its own."""
    with tempfile.TemporaryDirectory() as directory:
        service = Service(Path(directory), settings=SETTINGS)
        try:
            assert service.ask("PUT", 5, b"words").status == 201
            workers = service.workers()
            figures = CASES[name](service, length)
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
    parser.add_argument("--case", choices=list(CASES), action="append", help="only this one; can be repeated")
    options = parser.parse_args(arguments)
    breaches = 0
    for name in options.case or CASES:
        figures = run(name, options.length, options.stall)
        sys.stdout.write(figures.line(name) + "\n")
        for each in figures.breaches:
            breaches += 1
            sys.stdout.write(f"  BREACH: {each}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{breaches} breaches\n")
    return min(1, breaches)


if __name__ == "__main__":
    sys.exit(main())
