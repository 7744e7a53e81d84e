#!/usr/bin/env python3
"""
Measures what TLS costs: the CPU of a server per GiB, plain, with Twisted's TLS, with that of [tls], and behind haproxy.

All are measured in turns, against one server, and bodies are sent and taken by curl, whose CPU is not counted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from server import HOST, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CLOCK = os.sysconf("SC_CLK_TCK")

_HAPROXY = """
global
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend tls
    bind {host}:{port} ssl crt {pair} alpn http/1.1
    default_backend archive
backend archive
    server archive {host}:{behind}
"""


@attrs.frozen
class Way:
    """
    A way to the server.

    @ivar cpu: What it has used so far, in seconds.
    """

    name: str
    url: str
    cpu: Callable[[], float]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often, in turns (default 5)")
    parser.add_argument("--mib", type=int, default=128, help="the size of a body (default 128)")
    parser.add_argument("--bodies", type=int, default=4, help="how many in a round, each way (default 4)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data goes for the time being (default .)")
    return parser.parse_args()


def make_certificate(folder: Path) -> Path:
    """A file with a key and a certificate for this machine that it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.touch(0o600)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(text + certificate.public_bytes(Encoding.PEM))
    return path


@contextmanager
def haproxy(folder: Path, pair: Path, behind: int) -> Iterator[tuple[int, int] | None]:
    """
    haproxy with one thread, if it is installed.

    @return: Its port, and process id.
    """
    if (program := shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")) is None:
        yield None
        return
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "haproxy.cfg"
    settings.write_text(_HAPROXY.format(host=HOST, port=port, pair=pair, behind=behind))
    process = subprocess.Popen([program, "-db", "-f", settings], stderr=subprocess.DEVNULL)
    try:
        for _ in range(1000):
            with suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
                break
            time.sleep(0.01)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def cpu_of(pid: int) -> float:
    """What a process has used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / _CLOCK


def curl(pair: Path, *arguments: object) -> None:
    """Have curl do something, or end."""
    command = ["curl", "-sS", "--fail", "--cacert", pair, "--tls13-ciphers", "TLS_AES_256_GCM_SHA384", *arguments]
    subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)


def measure(way: Way, pair: Path, body: Path, numbers: range) -> dict[str, float]:
    """One round of one way: CPU seconds per GiB in both directions, and MB/s."""
    figures = {}
    size = body.stat().st_size * len(numbers)
    for method in ("PUT", "GET"):
        before, begun = way.cpu(), time.monotonic()
        for number in numbers:
            url = f"{way.url}/{number}"
            curl(pair, *(("-T", body, url) if method == "PUT" else ("-o", "/dev/null", url)))
        took = time.monotonic() - begun
        figures[f"{method}, CPU s/GiB"] = (way.cpu() - before) * 2**30 / size
        figures[f"{method}, MB/s"] = size / 1e6 / took
    for number in numbers:
        curl(pair, "-X", "DELETE", f"{way.url}/{number}")
    return figures


def table(names: Sequence[str], rounds: Sequence[Sequence[dict[str, float]]]) -> str:
    """The medians, and what they lay between, in Markdown."""
    lines = [f"| what | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for what in rounds[0][0]:
        cells = []
        for index in range(len(names)):
            found = sorted(each[index][what] for each in rounds)
            form = ".0f" if what.endswith("MB/s") else ".2f"
            cells.append(f"{statistics.median(found):{form}} ({found[0]:{form}} to {found[-1]:{form}})")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the medians."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="bench.", dir=arguments.folder) as name:
        folder = Path(os.path.abspath(name))
        pair = make_certificate(folder)
        body = folder / "body"
        with open(body, "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(arguments.mib))
        (folder / "server").mkdir()
        settings = [("tls", "endpoint", f"tcp:0:interface={HOST}"), ("tls", "certificate", str(pair))]
        listening = ("--endpoint", f"tcp:0:interface={HOST}", "--endpoint", f"ssl:0:interface={HOST}:privateKey={pair}")
        server = Server(folder / "server", 1, settings, listening=listening)
        try:
            plain, twisted, own = server.ports
            with haproxy(folder, pair, plain) as proxy:
                ways = [
                    Way("plain", f"http://{HOST}:{plain}", server.cpu_seconds),
                    Way("Twisted's TLS", f"https://{HOST}:{twisted}", server.cpu_seconds),
                    Way("[tls]", f"https://{HOST}:{own}", server.cpu_seconds),
                ]
                if proxy is not None:
                    port, pid = proxy
                    ways.append(
                        Way("haproxy, both", f"https://{HOST}:{port}", lambda: server.cpu_seconds() + cpu_of(pid))
                    )
                rounds: list[list[dict[str, float]]] = []
                for number in range(arguments.rounds + 1):
                    figures = [measure(way, pair, body, range(1, arguments.bodies + 1)) for way in ways]
                    if number:  # the first of each only fills caches
                        rounds.append(figures)
        finally:
            server.stop()
    print(table([each.name for each in ways], rounds))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
