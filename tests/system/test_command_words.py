"""What the command says of wrong input and of servers that are not well, word by word."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from system.harness import HOST, Service
from system.terminal import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests."""
    started = Service(tmp_path_factory.mktemp("archive"))
    yield started
    started.stop()
    started.assert_clean()


@contextmanager
def proxy(status: int) -> Iterator[str]:
    """@return: The address of a proxy whose archive is away."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Not to the tests' own output."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


def test_health_does_not_advise_to_ask_for_health(tmp_path: Path) -> None:
    """Other commands do."""
    with proxy(502) as url:
        environment = {"PACARCHIVE_URL": url}
        done = run(tmp_path, "health", environment=environment)
        assert (done.returncode, done.stderr) == (3, "pacarchive: A proxy before the archive answered 502.\n")
        done = run(tmp_path, "stat", "5", "--retry", "0", environment=environment)
    said = "A proxy before the archive answered 502. Try again later; 'pacarchive health' tells more."
    assert (done.returncode, done.stderr) == (3, f"pacarchive: file 5: {said}\n")


def test_options_before_the_command(tmp_path: Path, service: Service) -> None:
    """As other programs take them."""
    done = run(tmp_path, "--url", f"http://{HOST}:{service.port}", "--json", "health")
    assert done.returncode == 0
    assert done.stdout.startswith('{"ready": true')


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stat", "x"), 2, "'x' is not a valid id; ids are like 12, ranges like 12-20"),
        (("stat", "007"), 2, "'007' is not a valid id; ids have no leading zeros"),
        (("stat", str(2**64)), 2, f"'{2**64}' is not a valid id; the largest is {2**64 - 1}"),
        (("job", "x"), 2, "'x' is not a valid job id; one is what stage printed"),
        (("--url", "http:/host", "stat", "1"), 2, "an archive's URL begins with http:// or https:// and a host"),
        (("stage", "1", "--pin", "7"), 2, "'7' has no unit; write 7s, 7m, 7h or 7d"),
        (("mv", "x", "1"), 1, "x (id 1): The path of the source must be absolute."),
        (
            ("put", "one", "--id", "1"),
            1,
            "one (id 1): The id has another file already. Use another id",
        ),
        (("get", "1", "-o", "one"), 1, "file 1: one: exists and differs; --force replaces it"),
        (("get", "1", "-o", "/nowhere/x"), 1, "file 1: /nowhere/x: No such file or directory"),
        (("put", "none", "--id", "2"), 1, "none (id 2): No such file or directory"),
        (("stat", "9"), 1, "file 9: No file has this id."),
        (
            ("--url", "{url}/base", "stat", "1"),
            1,
            "file 1: No archive answers at {url}/base: check the address",
        ),
        (
            ("--url", "{tls}", "stat", "1"),
            1,
            "file 1: {tls} does not speak TLS; the address of an archive without TLS begins with http://.",
        ),
    ],
)
def test_what_is_wrong_is_said_once(
    tmp_path: Path, service: Service, words: tuple[str, ...], code: int, said: str
) -> None:
    """In one line on standard error; and there is no head of a table without rows."""
    url = f"http://{HOST}:{service.port}"
    service.ask("PUT", 1, b"the archive's")
    (tmp_path / "one").write_text("another")
    names = {"url": url, "tls": url.replace("http:", "https:")}
    done = run(tmp_path, *(word.format(**names) for word in words), environment={"PACARCHIVE_URL": url})
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"pacarchive: {said.format(**names)}")
    assert done.stderr.count("\n") == 1


def test_help_is_a_command(tmp_path: Path) -> None:
    """As in other programs."""
    for words in ((), ("put",), ("admin", "adopt")):
        assert run(tmp_path, "help", *words).stdout == run(tmp_path, *words, "--help").stdout != ""


def test_what_was_granted_and_done_is_said(tmp_path: Path, service: Service) -> None:
    """Of a pin that is too long, of a job that is given up, and of files that are let go; one file is one file."""
    service.ask("PUT", 1, b"x")
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    done = run(tmp_path, "stage", "1", "--pin", "90d", environment=environment)
    job, granted, _ = done.stdout.splitlines()
    assert job.endswith(": 1 file")
    assert granted == "pinned for 30 days, the most that this archive grants; 90 days were asked for"
    name = job.split()[1].rstrip(":")
    done = run(tmp_path, "job", name, "--release", environment=environment)
    assert done.stdout.startswith("1 file not pinned any more\n")
    done = run(tmp_path, "job", name, "--cancel", environment=environment)
    assert done.stdout.startswith("1 file had ended before\n")
    done = run(tmp_path, "stage", "1", "--wait", environment=environment)
    assert done.stdout.startswith("1 of 1 file is on disk, 1 B in ")
