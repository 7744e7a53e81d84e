"""The benchmark works: all figures come, and what goes wrong is reported.  What the figures are is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BENCH = Path(__file__).parent.parent / "bench" / "run.py"

SPEED = ("ops/s", "p99 ms")
LATENCY = ("p50 ms", "p99 ms", "failed or wrong %")
LARGE = ("MB/s", "server CPU s/GiB", "peak RSS MiB")
FIGURES = {
    "RSS after start": ("MiB",),
    "PSS after start": ("MiB",),
    "time to first answer": ("s",),
    "GET / c8": (*SPEED, "failed %"),
    "PUT 1 KiB c1": (*SPEED, "failed %"),
    "PUT 1 KiB c8": (*SPEED, "failed %"),
    "PUT 1 KiB c32": (*SPEED, "failed %"),
    "GET 1 KiB c8": (*SPEED, "failed or wrong %"),
    "GET 1 KiB c64": (*SPEED, "failed or wrong %"),
    "HEAD c8": (*SPEED, "failed %"),
    "PUT 64 MiB x1": LARGE,
    "GET 64 MiB x1": LARGE,
    "64 MiB x1": ("intact",),
    "PUT 16 MiB x4": LARGE,
    "GET 16 MiB x4": LARGE,
    "16 MiB x4": ("intact",),
    "GET at 300/s, calm": LATENCY,
    "GET at 300/s under a 64 MiB PUT": LATENCY,
    "that PUT of 64 MiB": ("MB/s",),
    "GET 1 KiB c8 beside 20 idle connections": (*SPEED, "failed or wrong %"),
    "20 idle connections: still open": (),
    "GET at 100/s beside 20 slow clients": LATENCY,
    "machine: write and fsync 64 MiB": ("MB/s",),
    "machine: sha256 on one core": ("MB/s",),
    "machine: durable creates on one core": ("per s",),
}
"""What the quick mode measures, and in which units."""


class Storing(BaseHTTPRequestHandler):
    """A server good enough to be measured, or one that has been told to be bad."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment for an answer; of two, the second would wait for a delayed acknowledgement
    files: dict[str, bytes]

    def keep(self, body: bytes) -> bytes:
        return body

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.files[self.path] = self.keep(body)
        self.answer(201)

    def do_GET(self) -> None:
        self.answer(200 if self.path in self.files or self.path == "/" else 404, self.files.get(self.path, b""))

    def do_DELETE(self) -> None:
        self.answer(200 if self.files.pop(self.path, None) is not None else 404)

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Corrupting(Storing):
    """Changes the last byte of everything."""

    def keep(self, body: bytes) -> bytes:
        return body[:-1] + bytes([body[-1] ^ 1])


class Truncating(Storing):
    """Loses the last byte of everything."""

    def keep(self, body: bytes) -> bytes:
        return body[:-1]


class Listening(ThreadingHTTPServer):
    """Room for all connections at once; the library's own backlog is 5."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def serving(kind: type[Storing]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server of that kind.  The context is its URL and what it holds."""
    files: dict[str, bytes] = {}
    handler = type(kind.__name__, (kind,), {"files": files})
    with Listening(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", files
        server.shutdown()
        thread.join()


def bench(
    folder: Path, *arguments: str, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """The quick mode with further arguments.  It leaves nothing behind."""
    data = folder / "data"
    data.mkdir()
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", "--folder", data, *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert list(data.iterdir()) == []
    return done


def test_everything_is_measured(tmp_path: Path) -> None:
    """The quick mode gives every figure, in the table and in the file, and finds no fault with the server."""
    done = bench(tmp_path, "--out", str(tmp_path / "figures.json"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    report = json.loads((tmp_path / "figures.json").read_text())
    (figures,) = [each["figures"] for each in report["rounds"]]
    labels = [", ".join(filter(None, (what, unit))) for what, units in FIGURES.items() for unit in units or [""]]
    assert list(figures) == labels
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[2 : 2 + len(labels)]] == [
        f"| {label}" for label in labels
    ]
    assert {label: figure for label, figure in figures.items() if figure is None} == {}
    assert {label: figure for label, figure in figures.items() if label.endswith("%") and figure} == {}
    assert (figures["64 MiB x1, intact"], figures["16 MiB x4, intact"]) == (1, 4)
    assert figures["20 idle connections: still open"] == 20
    assert report["rounds"][0]["problems"] == []


def test_another_server(tmp_path: Path) -> None:
    """A server that runs already is measured too, and is left as it was."""
    with serving(Storing) as (url, files):
        files["/1"] = b"somebody's"
        done = bench(tmp_path, "--url", url, "--big-mib", "4", "--only", "get,four")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert files == {"/1": b"somebody's"}
    assert "| 1 MiB x4, intact | 4.00 |" in done.stdout
    assert "server CPU" not in done.stdout


@pytest.mark.parametrize(
    ("kind", "words"), [(Corrupting, "compared: wrong bytes"), (Truncating, "a wrong Content-Length")]
)
def test_wrong_bytes(tmp_path: Path, kind: type[Storing], words: str) -> None:
    """A server that gives back something else is found out, with small objects and with large ones."""
    with serving(kind) as (url, _):
        done = bench(tmp_path, "--url", url, "--big-mib", "4", "--only", "get,one")
    assert done.returncode == 1
    assert "| GET 1 KiB c8, failed or wrong % | 100 |" in done.stdout
    assert "first: wrong bytes" in done.stdout
    assert "| 4 MiB x1, intact | 0.00 |" in done.stdout
    assert words in done.stdout


def test_no_compiler(tmp_path: Path) -> None:
    """Without a C compiler the reader is told what to install."""
    done = bench(tmp_path, environment={"PATH": "/nonexistent"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bench: a C compiler called cc is needed (Debian: apt install gcc libc6-dev)\n"


def test_server_that_does_not_start(tmp_path: Path) -> None:
    """The server's own words tell why."""
    done = bench(tmp_path, "--set", "server.nonsense=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench: the server did not start: ")
    assert "[server] nonsense: unknown key" in done.stderr


def test_the_cost_of_the_database_is_measured(tmp_path: Path) -> None:
    """Every answer of both backends was right, and the second is set against the first."""
    done = subprocess.run(
        [sys.executable, BENCH.parent / "database.py", "--rounds", "1", "--share", "0.005"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| HEAD c8, ops/s |")]
    assert all(float(cell.split()[0]) > 0 for cell in row.strip("|").split("|")[1:])
    assert list(tmp_path.iterdir()) == []


def test_what_connections_take_that_wait_is_measured() -> None:
    """Those of TLS, and followers who are told something."""
    options = ("--connections", "30", "--followers", "30", "--seconds", "0.5", "--only", "used, TLS; following, news")
    done = subprocess.run(
        [sys.executable, BENCH.with_name("idle.py"), *options], capture_output=True, text=True, check=True
    )
    _, _, used, following = done.stdout.splitlines()
    assert used.startswith("| 30 used, TLS | ")
    assert following.startswith("| 30 following, news | ")
    assert float(following.split("|")[-2]) > 0
