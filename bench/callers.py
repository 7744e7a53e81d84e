#!/usr/bin/env python3
"""
Measures what access costs: requests that are allowed, and such that are not, and what others notice of a flood.

One server with one worker has a file of tokens and an issuer whose keys are in a file.  What is measured takes turns
within each round; figures are the server's own CPU for a request, on connections that are kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from server import HOST, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.synchronize import Event

ISSUER, AUDIENCE = "https://issuer.example.org", "https://archive.example.org"
FLOOD = 1000
"""Forged tokens a second."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often, in turns (default 5)")
    parser.add_argument("--requests", type=int, default=2000, help="how many of each kind in a round (default 2000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each flood lasts (default 5)")
    return parser.parse_args()


def mint(key: ECKey, number: int = 0) -> str:
    """A token of the issuer's, as those of the WLCG are."""
    now = int(time.time())
    claims = {
        "wlcg.ver": "1.0", "iss": ISSUER, "sub": "robot", "aud": AUDIENCE, "jti": str(number), "iat": now,
        "exp": now + 3600, "scope": "storage.read:/ storage.create:/",
    }  # fmt: skip
    return jwt.encode({"alg": "ES256", "kid": "key"}, claims, key)


def ask(connection: HTTPConnection, headers: dict[str, str], method: str = "GET", path: str = "/1") -> int:
    """Send a request, and read the answer."""
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def bearer(token: str) -> dict[str, str]:
    """The field that presents a token."""
    return {"Authorization": f"Bearer {token}"}


def cost(server: Server, count: int, send: Callable[[HTTPConnection], int], expected: set[int]) -> float:
    """The server's CPU for a request, in microseconds."""
    with closing(HTTPConnection(HOST, server.port, timeout=30)) as connection:
        for _ in range(50):
            send(connection)
        before = server.cpu_seconds()
        for _ in range(count):
            if (status := send(connection)) not in expected:
                raise SystemExit(f"status {status} instead of {expected}")
        return (server.cpu_seconds() - before) / count * 1e6


def flood(port: int, tokens: Sequence[str], ended: Event) -> None:
    """Send forged tokens until the end."""
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        begun, sent = time.monotonic(), 0
        while not ended.is_set():
            if sent > (time.monotonic() - begun) * FLOOD:
                time.sleep(0.001)
                continue
            ask(connection, bearer(tokens[sent % len(tokens)]))
            sent += 1
    print(f"  {sent / (time.monotonic() - begun):.0f} forged tokens a second", file=sys.stderr)


def latency(server: Server, headers: dict[str, str], seconds: float, tokens: Sequence[str]) -> float:
    """The 99th percentile of small GETs, in milliseconds, perhaps beside a flood that another process sends."""
    context = multiprocessing.get_context("fork")
    ended = context.Event()
    sender = context.Process(target=flood, args=(server.port, tokens, ended))
    if tokens:
        sender.start()
    times = []
    with closing(HTTPConnection(HOST, server.port, timeout=30)) as connection:
        end = time.monotonic() + seconds
        while (begun := time.monotonic()) < end:
            ask(connection, headers)
            times.append(time.monotonic() - begun)
            time.sleep(0.002)
    ended.set()
    if tokens:
        sender.join()
    return statistics.quantiles(times, n=100)[98] * 1000


def forged(key: ECKey) -> list[str]:
    """Tokens that another key has signed, each of its own."""
    return [mint(key, number) for number in range(2000)]


def main() -> None:
    """Measure, and print the medians."""
    arguments = parse_arguments()
    key, other = ECKey.generate_key("P-256", {"kid": "key"}), ECKey.generate_key("P-256", {"kid": "key"})
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        here = Path(folder)
        (here / "keys.json").write_text(json.dumps(KeySet([key]).as_dict(private=False)))
        create = ["admin", "token", "create", "robot", "--may", "read create", "--file", f"{here}/tokens"]
        command = [str(Path(sys.executable).parent / "pacarchive"), *create]
        token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        settings = [
            ("auth", "tokens", f"{here}/tokens"), ("auth", "audience", AUDIENCE),
            ("limits", "proxies", "192.0.2.1"),  # else this machine would stand for many clients
            ("issuer test", "url", ISSUER), ("issuer test", "keys", f"{here}/keys.json"),
        ]  # fmt: skip
        server = Server(here, 1, settings)
        try:
            measure(server, arguments, bearer(token), bearer(mint(key)), forged(other))
        finally:
            server.stop()


def measure(
    server: Server, arguments: argparse.Namespace, static: dict[str, str], issued: dict[str, str], bad: Sequence[str]
) -> None:
    """All rounds, and the table."""
    with closing(HTTPConnection(HOST, server.port, timeout=30)) as connection:
        connection.request("PUT", "/1", b"content", headers=static)
        if (status := connection.getresponse().status) != 201:
            raise SystemExit(f"PUT: {status}")
    each_bad = cycle(bad)
    kinds: dict[str, tuple[Callable[[HTTPConnection], int], set[int]]] = {
        "GET with a static token": (lambda each: ask(each, static), {200}),
        "GET with an issuer's token": (lambda each: ask(each, issued), {200}),
        "GET without anything: 401": (lambda each: ask(each, {}), {401}),
        "GET with forged tokens: 401, 429": (lambda each: ask(each, bearer(next(each_bad))), {401, 429}),
        "DELETE without the right: 403": (lambda each: ask(each, static, "DELETE"), {403}),
    }
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    calm, flooded = [], []
    for _ in range(arguments.rounds):
        for name, (send, expected) in kinds.items():
            costs[name].append(cost(server, arguments.requests, send, expected))
        calm.append(latency(server, static, arguments.seconds, ()))
        flooded.append(latency(server, static, arguments.seconds, bad))
    first = next(iter(costs.values()))
    print("| what | CPU of the server | of the first |\n|---|---|---|")
    for name, each in costs.items():
        ratio = statistics.median(mine / one for mine, one in zip(each, first, strict=True))
        print(f"| {name} | {statistics.median(each):.0f} us | {ratio:.2f} |")
    ratio = statistics.median(one / other for one, other in zip(flooded, calm, strict=True))
    calm_words, words = f"{statistics.median(calm):.2f} ms calm", f"{statistics.median(flooded):.2f} ms"
    print(f"\np99 of small GETs: {calm_words}, {words} beside a flood")
    print(f"of {FLOOD} forged tokens a second ({ratio:.2f})")


if __name__ == "__main__":
    main()
