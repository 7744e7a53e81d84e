"""C{pacarchive check} where no archive is: it says so, once, and checks nothing."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import forks
import pytest
from system.terminal import COMMAND
from twisted.web.http_headers import Headers

from pacarchive.cli.check.wire import Answer


class Elsewhere(BaseHTTPRequestHandler):
    """A web server with pages, which takes no files."""

    page = "text/html", b"<html>It works!</html>"

    def do_GET(self) -> None:
        kind, page = self.page
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def do_HEAD(self) -> None:
        self.send_error(404)

    def version_string(self) -> str:
        return "Elsewhere/1.0"

    def log_message(self, *_: object) -> None:
        """Not to the tests' own output."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The URL of a web server that is no archive."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return forks.run(
        [*COMMAND, "check", *arguments],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip


@pytest.mark.parametrize("more", [["--many", "2"], ["--clean-up"], ["--many", "2", "--json"]])
def test_another_web_server_is_no_archive(elsewhere: str, more: list[str]) -> None:
    """One line, which says who answered what; no check is begun."""
    done = check(elsewhere, *more)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"pacarchive: no archive answers at {elsewhere}: GET / was answered with 200 (text/html), from Elsewhere/1.0;"
        " check the address and the path in it\n"
    )


def test_a_port_without_a_listener_is_named() -> None:
    """By the URL, and what is wrong in plain words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = check(url)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"pacarchive: {url} cannot be reached: connection refused\n"


@pytest.mark.parametrize("document", [b"{}", b'{"message": "Welcome"}', b'{"message": 5}', b"[]"])
def test_another_service_is_no_archive(elsewhere: str, document: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says in JSON: nothing is stored in it."""
    monkeypatch.setattr(Elsewhere, "page", ("application/json", document))
    done = check(elsewhere)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"pacarchive: no archive answers at {elsewhere}: GET / was answered with 200")


def test_a_server_that_speaks_no_tls_is_told(elsewhere: str) -> None:
    """As the other commands tell it."""
    url = elsewhere.replace("http:", "https:")
    done = check(url)
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        done.stderr
        == f"pacarchive: {url} does not speak TLS; the address of an archive without TLS begins with http://\n"
    )


def test_an_answer_that_is_nested_too_deeply() -> None:
    """It is no document, and its status is told."""
    answer = Answer(500, Headers(), b"[" * 60_000)
    assert answer.document is None
    assert str(answer) == "500"
