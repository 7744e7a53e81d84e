"""Every limit that there is a setting for is seen in metrics: how much of it is used, or how often it has refused."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pacarchive.access.settings import AuthSettings
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.server import PoolSettings
from pacarchive.telemetry.settings import TracingSettings
from pacarchive.telemetry.table import METRICS
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.settings import ConsoleSettings

SHOWN: dict[type[Any], dict[str, str]] = {
    LimitSettings: {
        "request_line": "refused_total framing",
        "header_bytes": "refused_total framing",
        "header_count": "refused_total framing",
        "header_timeout": "refused_total framing",
        "progress_timeout": "refused_total stalled",
        "progress_bytes": "refused_total stalled",
        "connections": "connections_limit",
        "transfers": "transfers_limit",
        "lookups": "lookups_limit",
        "listings": "listings_limit",
        "memory": "memory_limit_bytes",
        "client_share": "refused_total Overloaded",
        "body": "refused_total TooLarge",
    },
    PoolSettings: {"io": "pool_size"},
    RecallSettings: {
        "drives": "cartridges_limit",
        "buffer": "recall_buffer_limit_bytes",
        "high_water": "recall_buffer_limit_bytes",
        "deadline": "recall_failures_total deadline",
        "attempts": "recall_failures_total attempts",
        "silence": "recall_failures_total retried",
        "job_files": "refused_total TooLarge",
        "owner_jobs": "refused_total QuotaReached",
        "owner_files": "refused_total QuotaReached",
        "kept_jobs": "recall_kept_jobs_limit",
        "kept_files": "recall_kept_files_limit",
        "store_timeout": "failures_total BackendUnavailable",
    },
    ConsoleSettings: {"viewers": "console_viewers_limit"},
    TracingSettings: {"callers": "spans_total refused"},
}
"""By what, with the label where it is a counter."""

OTHERS = {
    # How long something takes at the most that nobody is refused for.
    "idle_timeout", "linger_timeout", "batch_delay", "turn", "pin", "longest_pin", "poll_interval", "get_wait", "keep",
    "outstanding", "refresh",
    "proxies", "store", "default_store", "store_password", "owner_header", "enabled", "key", "endpoint", "ratio",
    "service_name", "anonymous", "tokens", "htpasswd", "audience", "proxy_user", "realm",
}  # fmt: skip
"""No limits, or such as nothing is refused by."""


@pytest.mark.parametrize("section", [*SHOWN, AuthSettings], ids=lambda each: each.__name__)
def test_every_setting_is_one_or_the_other(section: type[Any]) -> None:
    """Whoever adds a limit says here where it is seen."""
    shown = SHOWN.get(section, {})
    for name, where in shown.items():
        metric, *label = where.split()
        assert metric in METRICS, name
        assert not label or tuple(label) in METRICS[metric].known, name
    assert {each.name for each in attrs.fields(section)} - shown.keys() <= OTHERS
