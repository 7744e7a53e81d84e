"""The names that a real service answers to, by where it listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from system.harness import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.harness import Service

DISCOVERY = "/.well-known/wlcg-tape-rest-api"
EVIL = {"Host": "evil.example"}


@pytest.mark.parametrize("workers", [1, 2])
def test_loopback(serve: Callable[..., Service], workers: int) -> None:
    """What only this machine reaches has the names that are set, and its own."""
    service = serve(settings="[server]\nhosts = archive.example\n", workers=workers)
    for host, status in (("evil.example", 421), ("archive.example", 200), (f"{HOST}:1", 200), ("localhost", 200)):
        assert service.ask("GET", "/", fields={"Host": host}).status == status


@pytest.mark.parametrize("workers", [1, 2])
def test_everywhere(serve: Callable[..., Service], workers: int) -> None:
    """What all may ask has any name, but makes URLs of known ones only."""
    service = serve("--endpoint", "tcp:0", "--anonymous", "all", port=None, workers=workers)
    assert service.ask("GET", "/", fields=EVIL).status == 200
    assert service.ask("GET", DISCOVERY, fields=EVIL).status == 421
    assert b"127.0.0.1" in service.ask("GET", DISCOVERY).body


def test_pacifica(serve: Callable[..., Service]) -> None:
    """Nor does the predecessor's drop-in ask, whose sites' proxies pass on what they were asked for."""
    service = serve(settings="[server]\ncompatibility = pacifica\n")
    assert service.ask("GET", "/", fields=EVIL).status == 200
    assert service.ask("GET", DISCOVERY, fields=EVIL).status == 421
