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
