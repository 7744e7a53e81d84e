"""A short run of the campaign, on each store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from campaigns.storms import options, storm

if TYPE_CHECKING:
    from pathlib import Path

    from backends.s3.servers import ObjectServer


def test_every_answer_is_true(object_server: ObjectServer, tmp_path: Path) -> None:
    """While a quarter of what is asked of the store goes wrong."""
    chosen = options("pacarchive", 150).parse_args([])
    campaign = storm(object_server, tmp_path, chosen)
    assert campaign.breaches == []
    assert sum(campaign.counts.values()) >= 150
    assert any(" 503" in each for each in campaign.counts), "it has to fail sometimes"
