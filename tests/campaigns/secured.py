"""Services that campaigns reach by TLS."""

from __future__ import annotations

import re
import ssl
from functools import cache
from pathlib import Path

from certificates import Pair, trusting
from system.harness import HOST, Service


def secured(directory: Path) -> tuple[str, ssl.SSLContext]:
    """
    What a service listens with beside its port without TLS.

    @param directory: Gets its certificate.
    @return: Lines for its settings, and what a client trusts.
    """
    root = Pair("Root", authority=True)
    path = Pair("server", root, names=("localhost",)).write(directory / "server.pem")
    return f"[tls]\nendpoint = tcp:0:interface={HOST}\ncertificate = {path}\n", trusting(root)


@cache
def secure_port(service: Service) -> int:
    """Where it listens so."""
    assert service.port
    found = re.search(r"https://[^/]+:(\d+)/", service.log)
    assert found, service.log
    return int(found[1])
