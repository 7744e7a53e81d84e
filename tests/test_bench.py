"""The benchmark works: all figures come, and what goes wrong is reported.  What the figures are is not tested."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import against
import clients
import history
import peers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BENCH = Path(__file__).parent.parent / "bench" / "run.py"

FAILED, WRONG = ("failed %", "server CPU us a request"), ("failed or wrong %", "server CPU us a request")
SPEED = ("ops/s", "p99 ms")
LATENCY = ("p50 ms", "p99 ms", "failed or wrong %")
LARGE = ("MB/s", "server CPU s/GiB", "peak RSS MiB")
FIGURES = {
    "RSS after start": ("MiB",),
    "PSS after start": ("MiB",),
    "time to first answer": ("s",),
    "GET / c8": (*SPEED, *FAILED),
    "PUT 1 KiB c1": (*SPEED, *FAILED),
    "PUT 1 KiB c8": (*SPEED, *FAILED),
    "PUT 1 KiB c32": (*SPEED, *FAILED),
    "GET 1 KiB c8": (*SPEED, *WRONG),
    "GET 1 KiB c64": (*SPEED, *WRONG),
    "HEAD c8": (*SPEED, *FAILED),
    "PUT 64 MiB x1": LARGE,
    "GET 64 MiB x1": LARGE,
    "64 MiB x1": ("intact",),
    "PUT 16 MiB x4": LARGE,
    "GET 16 MiB x4": LARGE,
    "16 MiB x4": ("intact",),
    "GET at 300/s, calm": LATENCY,
    "GET at 300/s under a 64 MiB PUT": LATENCY,
    "that PUT of 64 MiB": ("MB/s",),
    "200 idle connections": ("KiB of memory each",),
    "GET 1 KiB c8 beside 200 idle connections": (*SPEED, *WRONG),
    "200 idle connections: still open": (),
    "GET at 100/s beside 20 slow clients": LATENCY,
    "machine: durable creates c1": ("ops/s",),
    "machine: durable creates c8": ("ops/s",),
    "machine: durable creates c32": ("ops/s",),
    "machine: write and fsync 64 MiB x1": ("MB/s",),
    "machine: write and fsync 16 MiB x4": ("MB/s",),
    "machine: sha256 on one core": ("MB/s",),
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
    assert figures["200 idle connections: still open"] == 200
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", "nginx,apache"], "no such peer: apache; known are nginx, rclone, pai-uwsgi"),
        (["--compare", "--json"], "argument --compare: expected one argument"),
        (["--compare", "no-such-commit"], "bench: no-such-commit is no commit of this repository"),
        (["--compare=--output=commit"], "bench: --output=commit is no commit of this repository"),
        (["--keep"], "--keep needs --against: it keeps ratios to others"),
        (["--keep", "--against", "nginx"], "--keep keeps figures of full size: leave out --quick and --big-mib"),
        (
            ["--url", "http://127.0.0.1:1/", "--compare", "main"],
            "--url measures a server that runs, and nothing beside",
        ),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Wrong words are answered before anything is started."""
    done = bench(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr.splitlines()[-1]


def test_beside_others(tmp_path: Path) -> None:
    """The figures of all, with ratios, as a table and in the file."""
    out = tmp_path / "figures.json"
    done = bench(tmp_path, "--against", "nginx", "--only", "put,one,slow", "--big-mib", "4", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert list(report["servers"]) == ["pacarchive", "nginx", "machine"]
    assert report["missing"] == []
    for name, (figures,) in {
        name: [each["figures"] for each in rounds] for name, rounds in report["rounds"].items()
    }.items():
        assert figures["PUT 1 KiB c8, ops/s"] > 0
        assert figures["PUT 4 MiB x1, MB/s"] > 0
        assert ("GET at 100/s beside 20 slow clients, p99 ms" in figures) is (name != "machine")
        assert all(each["problems"] == [] for each in report["rounds"][name])
    assert {(goal["figure"], goal["of"]) for goal in report["goals"]} == {
        *((f"PUT 1 KiB c{connections}, ops/s", "machine") for connections in (8, 32)),
        *((f"{method} 4 MiB x1, MB/s", "nginx") for method in ("PUT", "GET")),
        ("PUT 4 MiB x1, server CPU s/GiB", None),
    }
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| PUT 4 MiB x1, MB/s |")]
    assert re.fullmatch(
        r"\| PUT 4 MiB x1, MB/s \| [\d.]+ \| [\d.]+ \([\d.]+\) \| [\d.]+ \([\d.]+\) "
        r"\| at least 0.95 of nginx: [\d.]+, (met|\*\*missed\*\*) \|",
        row,
    )
    assert re.search(r"^\* nginx: \d+\.\d+\S*, its dav module", done.stdout, re.MULTILINE)
    assert "round 1 of 1: slow: nginx: " in done.stderr


def test_beside_another_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a server like others; one that cannot be had is told of."""
    monkeypatch.setattr(against, "install_commit", lambda _name: ("1234567890", Path(sys.executable).parent))
    monkeypatch.setitem(peers.PEERS, "rclone", attrs.evolve(peers.PEERS["rclone"], find=lambda: tmp_path / "none"))
    plan = against.Plan(rounds=1, phases=["head"], share=0.02, workers=1, settings=[])
    load, source = clients.compile_load(tmp_path), clients.Source.create(tmp_path / "source", 4 << 20)
    result = against.measure(plan, ["rclone"], "main", load, source, tmp_path)
    assert result.right
    assert result.report["missing"] == [f"rclone: [Errno 2] No such file or directory: '{tmp_path / 'none'}'"]
    assert result.lines[0] == "| figure | pacarchive | 1234567890 | machine | |"
    assert result.lines[2].startswith("| HEAD c8, ops/s | ")
    assert f"* not measured: {result.report['missing'][0]}" in result.lines


def test_a_commit_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed, not what lies there; into a place of its own, once."""
    monkeypatch.setattr(history, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "committed"\nversion = "1"\n')
    for words in (["init", "-q"], ["add", "pyproject.toml"], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "pyproject.toml").write_text("changed")
    sources = []

    def make(name: str, source: str) -> Path:
        sources.append((Path(source) / "pyproject.toml").read_text())
        return Path(name)

    monkeypatch.setattr(history, "make_environment", make)
    name, programs = history.install_commit("HEAD")
    assert programs.name.startswith(f"pacarchive-{name}")
    assert sources == ['[project]\nname = "committed"\nversion = "1"\n']
    assert history.describe_commit() == f"{name}+"


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C leaves no folder and no process behind."""
    data = tmp_path / "data"
    data.mkdir()
    command = [sys.executable, str(BENCH), "--against", "nginx", "--only", "put,get", "--folder", str(data)]
    with subprocess.Popen(
        [*command, "--big-mib", "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        assert run.stderr.readline().startswith("round 1 of 1: put: ")
        assert len(_processes_below(data)) >= 4, "two servers with a worker at least"
        run.send_signal(signal.SIGINT)
        output, words = run.communicate(timeout=60)
    assert (run.returncode, output) == (128 + signal.SIGINT, "")
    assert words.splitlines()[-1] == "bench: interrupted"
    assert list(data.iterdir()) == []
    assert _processes_below(data) == []


def _processes_below(folder: Path) -> list[int]:
    """Those that work in a folder or below it."""
    found = []
    for each in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is the kernel's
            if each.name.isdigit() and str(folder) in os.readlink(each / "cwd"):
                found.append(int(each.name))
    return found


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
