"""L{pacarchive.cli.needs}: what a command imports, in processes of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER = {"h2", "klein", "pymysql", "sqlite3", "twisted.web.server", "pacarchive.settings.reading"}
TLS = {"OpenSSL", "cryptography", "service_identity", "twisted.internet.ssl"}
USED = {"treq", "twisted.internet.reactor", "pacarchive.client.client"}


def _ran(*arguments: str) -> tuple[str, set[str]]:
    """What a command said on standard error, and what it imported."""
    code = f"""
import sys
sys.argv = ["pacarchive", *{arguments}]
from pacarchive.cli import main
main()
print(*(name for name, module in sys.modules.items() if module))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr, set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", " HTTP://127.0.0.1:1"])
def test_a_server_without_tls(url: str) -> None:
    """To ask it takes neither TLS nor what only servers need."""
    said, imported = _ran("stat", "--retry", "0", "--url", url, "1")
    assert "connection refused" in said
    assert imported >= USED
    assert imported & (NEVER | TLS) == set()


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", " HTTPS://127.0.0.1:1"])
def test_a_server_with_tls(url: str) -> None:
    """It is there for whoever needs it."""
    said, imported = _ran("stat", "--retry", "0", "--url", url, "1")
    assert "connection refused" in said
    assert imported >= USED | TLS
    assert imported & NEVER == set()
