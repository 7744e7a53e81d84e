"""Whoever is refused over and over does not write the log full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import Server, serving

from pacarchive.web.refusals import LINES, WINDOW


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def test_a_flood_is_counted(server: Server) -> None:
    """Each kind by itself, and anew after a while; what was not logged is told."""
    for _ in range(LINES + 50):
        assert server.ask("GET", "/1").status == 404
    assert len(server.words()) == LINES + 1
    assert "counted only" in server.words()[-1]
    assert server.ask("PUT", "/1", "Content-Range: bytes 0-0/1", body=b"x").status == 400
    assert "InvalidRequest" in server.words()[-1]
    assert server.site.events == {"NotFound": LINES + 50, "InvalidRequest": 1}
    server.clock.advance(WINDOW)
    server.ask("GET", "/1")
    assert server.words()[-2].endswith("(NotFound): 50 more, which were not logged")
    assert "GET /1" in server.words()[-1]
    assert len(server.words()) == LINES + 4
