"""Two servers over one bucket, and clients that want the same: a short run of the campaign, with fewer of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from campaigns.winners import SIZES, Race, keeps_its_version, two_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from system.harness import Service

    from backends.s3.servers import ObjectServer


RACERS = 16


@pytest.fixture
def nodes(object_server: ObjectServer, tmp_path: Path) -> Iterator[Sequence[Service]]:
    """The servers."""
    with two_nodes(object_server, tmp_path) as found:
        yield found


def test_one_wins(nodes: Sequence[Service]) -> None:
    """Of all who create, replace or remove a file; and readers see its bytes only."""
    race = Race(nodes, RACERS)
    for number, size in enumerate(SIZES):
        race.run(number, size)
    assert race.breaches == []


def test_who_reads_keeps_a_version(nodes: Sequence[Service]) -> None:
    """While it is replaced or removed by way of the other server."""
    assert keeps_its_version(nodes, 1, lambda other: other.ask("PUT", 1, b"new"))
    assert keeps_its_version(nodes, 2, lambda other: other.ask("DELETE", 2))
