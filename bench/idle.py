#!/usr/bin/env python3
"""
Measures what connections take that wait: memory of the server (PSS) for each, and CPU while nothing happens.

Each kind has a server of its own, to which all connections are made from several addresses of this machine.  What the
kernel has for a socket is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import selectors
import socket
import ssl
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from server import HOST, Server
from tls import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ADDRESSES = [f"127.0.{number}.1" for number in range(1, 9)]
_WARM = 200
"""Connections that come and go before, so that what is made once is there."""

_AT_ONCE = 100
_PATIENCE = 60.0
_SETTLING = 2.0
"""Seconds after which a server has done all that there was to do."""

_PAUSE = 0.5
"""Seconds between two things that followers are told of."""

_OTHER_FILES = 100
"""Descriptors that are for something else."""


def _request(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()


@attrs.frozen
class Kind:
    """
    A kind of connections.

    @ivar sends: What each sends at its beginning.
    @ivar secure: Whether they speak TLS.
    @ivar follows: Whether they are told of changes.
    @ivar stirs: Whether there are such changes.
    """

    sends: bytes = b""
    secure: bool = False
    follows: bool = False
    stirs: bool = False


KINDS = {
    "silent": Kind(),
    "used": Kind(_request("/1")),
    "silent, TLS": Kind(secure=True),
    "used, TLS": Kind(_request("/1"), secure=True),
    "following": Kind(_request("/console/live/pins"), follows=True),
    "following, news": Kind(_request("/console/live"), follows=True, stirs=True),
}
"""All that is measured."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, help="whose servers are measured (default this one)")
    parser.add_argument("--connections", type=int, default=10_000, help="how many of the idle (default 10000)")
    parser.add_argument("--followers", type=int, default=2000, help="how many of the followers (default 2000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long CPU is measured (default 10)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server (default 2)")
    parser.add_argument("--only", default="", help=f"some kinds, with a semicolon between: {'; '.join(KINDS)}")
    return parser.parse_args()


class Crowd:
    """
    The connections of one kind.

    @param port: Where they lead.
    @param context: What TLS is spoken with.
    """

    def __init__(self, port: int, kind: Kind, context: ssl.SSLContext) -> None:
        self._port = port
        self._kind = kind
        self._context = context
        self._held: list[socket.socket] = []
        self.received = 0

    def open(self, count: int) -> None:
        """Make so many more, some at a time, and wait until all have what they asked for."""
        for start in range(0, count, _AT_ONCE):
            some = [self._connect(number) for number in range(start, min(count, start + _AT_ONCE))]
            for each in some:
                if self._kind.sends:
                    each.sendall(self._kind.sends)
            for each in some:
                if self._kind.sends and not each.recv(1 << 16).startswith(b"HTTP/1.1 200 "):
                    raise SystemExit("the server has refused what was asked for")
            self._held += some

    def _connect(self, number: int) -> socket.socket:
        plain = socket.create_connection(
            (HOST, self._port), timeout=_PATIENCE, source_address=(_ADDRESSES[number % len(_ADDRESSES)], 0)
        )
        return self._context.wrap_socket(plain, server_hostname=HOST) if self._kind.secure else plain

    def stay(self, seconds: float, stir: Callable[[], None]) -> None:
        """Take what comes, and change something now and then where there is to be news."""
        stirred = begun = time.monotonic()
        deadline = begun + seconds
        with selectors.DefaultSelector() as selector:
            for each in self._held:
                each.setblocking(False)
                selector.register(each, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(min(left, _PAUSE)):
                    with suppress(BlockingIOError, ssl.SSLWantReadError):
                        assert isinstance(key.fileobj, socket.socket)
                        if not (data := key.fileobj.recv(1 << 16)):
                            raise SystemExit("the server has closed a connection")
                        self.received += len(data)
                if self._kind.stirs and time.monotonic() - stirred >= _PAUSE:
                    stirred = time.monotonic()
                    stir()

    def close(self) -> None:
        """End all of them."""
        while self._held:
            self._held.pop().close()


def stir(port: int) -> None:
    """Change something that the console's overview shows."""
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("GET", "/no-such-thing")
        connection.getresponse().read()


def measure(programs: Path, kind: Kind, count: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Memory and CPU of one kind."""
    most = str(4 * (count + _WARM))
    settling = min(_SETTLING, arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="bench.") as name, ExitStack() as stack:
        folder = Path(name)
        pair = make_certificate(folder)
        context = ssl.create_default_context(cafile=str(pair))
        (folder / "server").mkdir()
        settings = [
            *(("limits", key, most) for key in ("connections", "transfers")),
            *(("limits", key, "3600") for key in ("idle_timeout", "header_timeout")),
            ("console", "viewers", most),
            ("tls", "endpoint", f"tcp:0:interface={HOST}"),
            ("tls", "certificate", str(pair)),
        ]
        listening = ("--endpoint", f"tcp:0:interface={HOST}")
        server = Server(folder / "server", arguments.workers, settings, programs / "twistd", listening)
        stack.callback(server.stop)
        plain, secure = server.ports
        with closing(HTTPConnection(HOST, plain, timeout=30)) as connection:
            connection.request("PUT", "/1", b"content")
            connection.getresponse().read()
        port = secure if kind.secure else plain
        warm = Crowd(port, kind, context)
        warm.open(_WARM)
        warm.stay(settling, partial(stir, plain))
        warm.close()
        time.sleep(settling)
        before = server.proportional()
        crowd = Crowd(port, kind, context)
        stack.callback(crowd.close)
        began = server.cpu_seconds()
        crowd.open(count)
        opened = server.cpu_seconds() - began
        crowd.stay(settling, partial(stir, plain))
        after = server.proportional()
        began, received = server.cpu_seconds(), crowd.received
        crowd.stay(arguments.seconds, partial(stir, plain))
        used, received = server.cpu_seconds() - began, crowd.received - received
        return {
            "KiB each": (after - before) * 1024 / count,
            "MiB in sum": after,
            "us to open each": opened / count * 1e6,
            "CPU, %": used / arguments.seconds * 100,
            "us of CPU each a second": used / arguments.seconds / count * 1e6,
            "KiB received each a second": received / arguments.seconds / count / 1024,
        }


def table(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """All figures in Markdown."""
    heads = ["connections", *rows[0][1]]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, figures in rows:
        lines.append(f"| {name} | {' | '.join(f'{each:.2f}' for each in figures.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    arguments = parse_arguments()
    chosen = [each.strip() for each in arguments.only.split(";") if each.strip()] or list(KINDS)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < max(arguments.connections, arguments.followers) + _OTHER_FILES:
        raise SystemExit(f"there may be {hard} open files here (ulimit -Hn)")
    places = [each / ".venv" / "bin" for each in arguments.checkouts] or [Path(sys.executable).parent]
    rows = []
    for name in chosen:
        kind = KINDS[name]
        count = arguments.followers if kind.follows else arguments.connections
        for number, place in enumerate(places):
            label = f"{count} {name}" + (f" ({number + 1})" if len(places) > 1 else "")
            rows.append((label, measure(Path(os.path.abspath(place)), kind, count, arguments)))
    print(table(rows))


if __name__ == "__main__":
    main()
