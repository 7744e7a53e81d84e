#!/usr/bin/env python3
"""
Measures what a server over an object store costs: CPU for large files and memory meanwhile, and CPU for small ones.

The store is SeaweedFS, which is started for this. 1 GiB comes in with no length said before, and goes out. Small files
are put and got over several connections; beside that, in the same round, a bare Twisted agent sends the store the same
requests, signed, and nothing else. All figures but the last are CPU or memory of the server alone, so that another
machine, or one that does other things, changes them little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS
from server import HOST, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

_SMALL = 1024
_GIB = 1 << 30

GOALS: Mapping[str, float] = {
    "PUT, CPU s/GiB": 2.2,
    "PUT, MiB above idle": 100,
    "GET, CPU s/GiB": 1.0,
    "GET, MiB above idle": 100,
    "1 KiB PUT, times the bare agent": 2.0,
    "1 KiB GET, times the bare agent": 2.0,
}
"""What a figure should be at the most."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tools/bench s3", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often (default 3)")
    parser.add_argument("--mib", type=int, default=1024, help="the size of the large file (default 1024)")
    parser.add_argument("--requests", type=int, default=3000, help="how many small PUTs and GETs (default 3000)")
    parser.add_argument("--connections", type=int, default=16, help="for these (default 16)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    parser.add_argument("--bare", nargs=2, metavar=("ENDPOINT", "NAME"), help=argparse.SUPPRESS)
    return parser.parse_args()


def large(server: Server, body: Path, number: int) -> dict[str, float]:
    """The large file in and out: CPU seconds per GiB, and memory above what it was before."""
    url = f"http://{HOST}:{server.port}/{number}"

    def put() -> None:
        # From a pipe, so that nobody knows the length.
        with subprocess.Popen(["cat", str(body)], stdout=subprocess.PIPE) as source:
            command = ["curl", "-sS", "--fail", "-T", "-", url]
            subprocess.run(command, check=True, stdin=source.stdout, stdout=subprocess.DEVNULL)

    def get() -> None:
        subprocess.run(["curl", "-sS", "--fail", "-o", "/dev/null", url], check=True)

    figures = {}
    for name, call in (("PUT", put), ("GET", get)):
        idle, before = server.resident(), server.cpu_seconds()
        greatest = greatest_while(call, server)
        figures[f"{name}, CPU s/GiB"] = (server.cpu_seconds() - before) * _GIB / body.stat().st_size
        figures[f"{name}, MiB above idle"] = greatest - idle
    return figures


def greatest_while(call: Callable[[], None], server: Server) -> float:
    """The greatest memory of a server during a call, in MiB."""
    seen = [server.resident()]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen[0] = max(seen[0], server.resident())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        call()
    finally:
        ended.set()
        watching.join()
    return seen[0]


def small(server: Server, ids: Sequence[int], connections: int) -> dict[str, float]:
    """Small files in and out: CPU of the server in milliseconds a request."""
    figures = {}
    body = os.urandom(_SMALL)

    def ask(method: str, some: Sequence[int]) -> None:
        with closing(HTTPConnection(HOST, server.port, timeout=60)) as connection:
            for each in some:
                fields = {"If-None-Match": "*"} if method == "PUT" else {}
                connection.request(method, f"/{each}", body if method == "PUT" else None, fields)
                answer = connection.getresponse()
                answer.read()
                assert answer.status in (200, 201), answer.status

    for method in ("PUT", "GET"):
        before = server.cpu_seconds()
        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(lambda first: ask(method, ids[first::connections]), range(connections)))  # noqa: B023
        figures[f"1 KiB {method}, ms CPU"] = (server.cpu_seconds() - before) * 1000 / len(ids)
    return figures


def beside(endpoint: str, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """What a bare agent takes, in a process of its own."""
    command = [sys.executable, __file__, "--bare", endpoint, name]
    command += ["--requests", str(arguments.requests), "--connections", str(arguments.connections)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def bare(endpoint: str, name: str, requests: int, connections: int) -> dict[str, float]:
    """Send the requests of small files, and nothing else: CPU of this process in milliseconds a request."""
    from io import BytesIO

    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from twisted.internet import reactor as any_reactor
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.task import react
    from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
    from twisted.web.http_headers import Headers

    reactor: Any = any_reactor
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = connections
    agent = Agent(reactor, pool=pool)
    signer = S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1")
    body = os.urandom(_SMALL)
    figures: dict[str, float] = {}

    async def ask(method: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            fields = {"If-None-Match": "*"} if method == "PUT" else {}
            data = body if method == "PUT" else b""
            request = AWSRequest(method=method, url=f"{endpoint}/{BUCKET}/{name}/{number}", data=data, headers=fields)
            signer.add_auth(request)
            signed = Headers({field: [value] for field, value in request.headers.items()})
            producer: Any = FileBodyProducer(BytesIO(body)) if method == "PUT" else None
            answer = await agent.request(method.encode(), request.url.encode(), signed, producer)
            await readBody(answer)
            assert answer.code == 200, answer.code

    async def run() -> None:
        for method in ("PUT", "GET"):
            before = time.process_time()
            work = [range(first, requests, connections) for first in range(connections)]
            await gatherResults([Deferred.fromCoroutine(ask(method, each)) for each in work], consumeErrors=True)
            figures[f"1 KiB {method}, bare agent, ms CPU"] = (time.process_time() - before) * 1000 / requests

    def main_of(_: object) -> Deferred[None]:
        work: Coroutine[Any, Any, None] = run()
        return Deferred.fromCoroutine(work)

    try:
        react(main_of)
    except SystemExit as end:
        if end.code:
            raise
    return figures


def table(rounds: Sequence[Mapping[str, float]]) -> str:
    """The medians, what they lay between, and what they should be, in Markdown."""
    lines = ["| what | median | from | to | goal |", "|---|---|---|---|---|"]
    for what in rounds[0]:
        found = sorted(each[what] for each in rounds)
        goal = f"≤ {GOALS[what]:g}" if what in GOALS else ""
        lines.append(f"| {what} | {statistics.median(found):.2f} | {found[0]:.2f} | {found[-1]:.2f} | {goal} |")
    return "\n".join(lines)


def measure(endpoint: str, server: Server, body: Path, number: int, arguments: argparse.Namespace) -> dict[str, float]:
    """One round."""
    first = number * 1_000_000
    figures = large(server, body, first)
    ids = range(first + 1, first + 1 + arguments.requests)
    figures |= small(server, ids, arguments.connections) | beside(endpoint, f"bare-{number}", arguments)
    for method in ("PUT", "GET"):
        own, other = figures[f"1 KiB {method}, ms CPU"], figures[f"1 KiB {method}, bare agent, ms CPU"]
        figures[f"1 KiB {method}, times the bare agent"] = own / other
    return figures


def main() -> None:
    """Measure, and print the medians."""
    arguments = parse_arguments()
    if arguments.bare is not None:
        endpoint, name = arguments.bare
        print(json.dumps(bare(endpoint, name, arguments.requests, arguments.connections)))
        return
    with SeaweedFS() as store, tempfile.TemporaryDirectory(prefix="bench.", dir=arguments.folder) as name:
        folder = Path(os.path.abspath(name))
        body = folder / "body"
        with open(body, "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(arguments.mib))
        (folder / "server").mkdir()
        own = {"endpoint": store.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        settings = [("s3", key, value) for key, value in own.items()]
        server = Server(
            folder / "server", 1, settings, listening=("-p", "0", "-t", "s3", "--prefix", f"/{BUCKET}/bench")
        )
        try:
            small(server, range(1, 200), arguments.connections)  # what is only done once is done
            rounds = [measure(store.endpoint, server, body, each, arguments) for each in range(1, arguments.rounds + 1)]
        finally:
            server.stop()
    print(table(rounds))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
