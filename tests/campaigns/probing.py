"""What the campaign of abuse measures with: a probe that waits, the worker's time and memory, and a loud client."""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs
from system.harness import HOST, Service, read_to_the_end, status_of

from campaigns.secured import secure_port

PROBE = """
import http.client, json, select, ssl, sys, time
port, times, stores, statuses, fields = int(sys.argv[1]), [], [], set(), json.loads(sys.stdin.readline())
if sys.argv[2]:
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
sys.stdout.write("ready\\n"); sys.stdout.flush()
ended = False
while not ended:
    ended = bool(select.select([sys.stdin], [], [], 0.05)[0])  # once more after it: there is one in any case
    for method, path, took in (("GET", "/5", times), ("HEAD", "/4", times), ("PUT", "/6", stores)):
        began = time.monotonic()
        connection.request(method, path, b"x" if method == "PUT" else None, fields)
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

QUIET = "127.0.0.1"
"""The address of the probe."""

LOUD = "127.0.0.2"
"""That of the one who does the worst."""

given: list[str] = []
"""Header fields of all requests of L{request}: what a service wants to know of those who ask."""


contexts: dict[Service, ssl.SSLContext] = {}
"""What TLS is spoken with, to services that are reached by it."""


@attrs.define
class Figures:
    """
    What came of a case.

    @ivar cpu: Seconds that the worker worked.
    @ivar wall: Seconds that it took.
    @ivar memory: By how much the worker's memory grew at the most, in bytes.
    @ivar probes: What the probe's reads took, in order, in seconds.
    @ivar stores: What its uploads took.
    @ivar answers: How often each status came.
    @ivar notes: What else was measured.
    @ivar breaches: What should not be.
    """

    cpu: float = 0.0
    wall: float = 0.0
    memory: int = 0
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
            f"{name:12} {self.wall:5.1f} s, CPU {self.cpu:5.2f} s, {self.memory >> 20:4} MiB; {len(self.probes)} reads"
            f", median {_middle(self.probes)} ms, longest {_last(self.probes)} ms; uploads {_middle(self.stores)}, "
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


def _memory_of(service: Service, name: str) -> int:
    (worker,) = service.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) << 10


@contextmanager
def probed(service: Service, figures: Figures) -> Iterator[None]:
    """Measure, and probe meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", PROBE, str(_port(service)), "TLS" if service in contexts else ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as probe:
        assert probe.stdin is not None
        assert probe.stdout is not None
        probe.stdin.write(json.dumps(service.given) + "\n")  # which others on the machine do not see there
        probe.stdin.flush()
        probe.stdout.readline()
        cpu, memory, began = cpu_of(service), _memory_of(service, "VmRSS"), time.monotonic()
        try:
            yield
        finally:
            figures.cpu, figures.wall = cpu_of(service) - cpu, time.monotonic() - began
            figures.memory = max(0, _memory_of(service, "VmHWM") - memory)
            out, _ = probe.communicate("\n", timeout=120)
    figures.probes, figures.stores, statuses = json.loads(out)
    figures.expect(set(statuses) <= {200, 201, 404}, f"the probe was answered with {statuses}")


def request(method: str, target: str, document: object = None, *fields: str) -> bytes:
    """A request with a document, or with other fields."""
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *given, *fields]
    if document is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(service: Service) -> socket.socket:
    """A connection of the loud client."""
    connection = socket.create_connection((HOST, _port(service)), timeout=120, source_address=(LOUD, 0))
    connection.settimeout(120)
    if (context := contexts.get(service)) is not None:
        connection = context.wrap_socket(connection, server_hostname="localhost")
    return connection


def _port(service: Service) -> int:
    return secure_port(service) if service in contexts else service.port


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


@attrs.define
class _Sender:
    data: memoryview
    answer: bytearray = attrs.field(factory=bytearray)


def pour(service: Service, messages: Iterable[bytes], figures: Figures, limit: float = 60.0) -> None:
    """
    Send each message over a connection of its own, all as fast as the worker takes them, and count the first answers.

    @param limit: Seconds after which it is enough.
    """
    end = time.monotonic() + limit
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for message in messages:
            connection = stack.enter_context(connect(service))
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, _Sender(memoryview(message)))
        while (senders := selector.get_map()) and time.monotonic() < end:
            for key, events in selector.select(1.0):
                assert isinstance(key.fileobj, socket.socket)
                if not _go_on(selector, key.fileobj, key.data, events):
                    selector.unregister(key.fileobj)
                    figures.answers[status_of(bytes(key.data.answer)) if key.data.answer else 0] += 1
        figures.expect(not senders, f"{len(senders or ())} of them had no end within {limit:g} s")


def _go_on(selector: selectors.BaseSelector, connection: socket.socket, sender: _Sender, events: int) -> bool:
    """Send and receive what is possible.  @return: Whether there will be more."""
    try:
        if events & selectors.EVENT_READ:
            received = connection.recv(1 << 16)
            if not received:
                return False
            if len(sender.answer) < 64:
                sender.answer += received[:64]
            if isinstance(connection, ssl.SSLSocket) and connection.pending():  # of which a selector knows nothing
                return _go_on(selector, connection, sender, selectors.EVENT_READ)
        if events & selectors.EVENT_WRITE:
            sender.data = sender.data[connection.send(sender.data[: 1 << 16]) :]
            if not sender.data:
                selector.modify(connection, selectors.EVENT_READ, sender)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    except OSError:  # it has hung up on us
        return False
    return True


@contextmanager
def held(service: Service, messages: Iterable[bytes], figures: Figures) -> Iterator[None]:
    """
    Send each message over a connection of its own, and read nothing; at the end the answers that came are counted.
    """
    with ExitStack() as stack:
        connections = []
        for message in messages:
            connection = stack.enter_context(connect(service))
            connections.append(connection)
            with suppress(OSError):
                connection.sendall(message)
        yield
        for connection in connections:
            connection.setblocking(False)
            try:
                answer = connection.recv(64)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue  # it waits
            except OSError:
                answer = b""
            figures.answers[status_of(answer) if answer else 0] += 1
