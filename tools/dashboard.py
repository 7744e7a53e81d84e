"""Writes the Grafana dashboard, C{deploy/grafana/pacarchive.json}; C{tests/telemetry/test_dashboard.py} sees to it that
what is there is what this makes.

Run it after a change: C{.venv/bin/python tools/dashboard.py deploy/grafana/pacarchive.json}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

_HERE = '{job="pacarchive", instance=~"$instance"}'
_WIDTH, _HEIGHT = 8, 7
_STAT = (4, 4)


def _having(labels: str) -> str:
    return _HERE.replace("}", f", {labels}}}")


def _rate(name: str, by: str = "", labels: str = "") -> str:
    having = _having(labels) if labels else _HERE
    return f"sum{f' by ({by})' if by else ''} (rate(pacarchive_{name}{having}[$__rate_interval]))"


def _quantile(part: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({part}, {_rate(f'{name}_bucket', ', '.join(filter(None, (by, 'le'))))})"


def _gauge(name: str, by: str = "", labels: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (pacarchive_{name}{_having(labels) if labels else _HERE})"


def _most(name: str, by: str = "") -> str:
    return f"max{f' by ({by})' if by else ''} (pacarchive_{name}{_HERE})"


def _least(name: str, by: str) -> str:
    return f"min by ({by}) (pacarchive_{name}{_HERE})"


def _durations(name: str, by: str = "") -> dict[str, str]:
    legend = "".join(f"{{{{{each}}}}} " for each in by.split(", ") if each)
    return {f"{legend}p{100 * part:.0f}": _quantile(part, name, by) for part in (0.5, 0.99)}


def _grown(name: str) -> str:
    return f"sum(increase(pacarchive_{name}{_HERE}[$__range]))"


def _process(name: str) -> str:
    return f"process_{name}{_HERE}"


FAILING = _rate("http_requests_total", labels='code=~"5.."')
ON_TAPE = _rate("refused_total", labels='kind="Offline"')
WORKER = "{{instance}} {{worker}}"

ROWS: list[tuple[str, list[tuple[str, str, str, dict[str, str]]]]] = [
    (
        "Is it well?",
        [
            ("Answers Prometheus", "stat", "none", {"": f"min(up{_HERE})"}),
            ("Workers that report", "stat", "none", {"": f"{_gauge('workers_reporting')} / {_gauge('workers')}"}),
            ("Incidents", "stat", "none", {"": f"sum(increase(pacarchive_incidents_total{_HERE}[$__range]))"}),
            (
                "Workers that ended",
                "stat",
                "none",
                {"": f"sum(increase(pacarchive_worker_restarts_total{_HERE}[$__range]))"},
            ),
            ("Up for", "stat", "s", {"": f"time() - min(pacarchive_start_time_seconds{_HERE})"}),
            ("Version", "stat", "none", {"{{version}}": f"sum by (version) (pacarchive_build_info{_HERE})"}),
        ],
    ),
    (
        "Requests",
        [
            ("Requests by method", "timeseries", "reqps", {"{{method}}": _rate("http_requests_total", "method")}),
            ("Requests by code", "timeseries", "reqps", {"{{code}}": _rate("http_requests_total", "code")}),
            (
                "Part that fails (5xx, but for files on tape)",
                "timeseries",
                "percentunit",
                {
                    "5xx": f"({FAILING} - {ON_TAPE}) / {_rate('http_requests_total')}",
                },
            ),
            (
                "Time to the first byte",
                "timeseries",
                "s",
                {
                    "{{method}} p50": _quantile(0.5, "http_time_to_first_byte_seconds", "method"),
                    "{{method}} p99": _quantile(0.99, "http_time_to_first_byte_seconds", "method"),
                },
            ),
            (
                "Time to the last byte",
                "timeseries",
                "s",
                {
                    "{{method}} p50": _quantile(0.5, "http_request_duration_seconds", "method"),
                    "{{method}} p99": _quantile(0.99, "http_request_duration_seconds", "method"),
                },
            ),
            ("Requests under way", "timeseries", "none", {"requests": _gauge("http_requests_in_flight")}),
        ],
    ),
    (
        "What moves",
        [
            ("Bytes", "timeseries", "Bps", {"{{direction}}": _rate("transfer_bytes_total", "direction")}),
            (
                "Transfers",
                "timeseries",
                "none",
                {"under way": _gauge("transfers"), "limit": _gauge("transfers_limit")},
            ),
            (
                "Connections",
                "timeseries",
                "none",
                {"open": _gauge("connections"), "limit": _gauge("connections_limit")},
            ),
            (
                "Sizes of bodies, p50",
                "timeseries",
                "bytes",
                {"{{direction}}": _quantile(0.5, "transfer_size_bytes", "direction")},
            ),
            (
                "Broken off",
                "timeseries",
                "cps",
                {"{{direction}}, by the {{by}}": _rate("transfers_aborted_total", "direction, by")},
            ),
            (
                "Files being looked up",
                "timeseries",
                "none",
                {"now": _gauge("lookups"), "limit": _gauge("lookups_limit")},
            ),
            (
                "Lists of files being made",
                "timeseries",
                "none",
                {"now": _gauge("listings"), "limit": _gauge("listings_limit")},
            ),
        ],
    ),
    (
        "Storage",
        [
            ("Ready", "timeseries", "none", {"{{backend}}": _least("backend_up", "backend")}),
            (
                "Time it takes to say so",
                "timeseries",
                "s",
                {"{{backend}}": _most("backend_latency_seconds", "backend")},
            ),
            (
                "Room",
                "timeseries",
                "bytes",
                {
                    "{{instance}} free": _least("storage_free_bytes", "instance"),
                    "{{instance}} size": _most("storage_size_bytes", "instance"),
                },
            ),
            ("Inodes", "timeseries", "none", {"{{instance}} free": _least("storage_free_inodes", "instance")}),
            ("Commit: from the last byte on", "timeseries", "s", _durations("commit_duration_seconds")),
            ("Sync", "timeseries", "s", _durations("sync_duration_seconds")),
        ],
    ),
    (
        "Recalls",
        [
            ("Files by state", "timeseries", "none", {"{{state}}": _gauge("recall_files", "state")}),
            ("Longest wait", "timeseries", "s", {"{{instance}}": _most("recall_oldest_queued_seconds", "instance")}),
            ("From the request to the disk", "timeseries", "s", _durations("recall_duration_seconds")),
            (
                "Recalls that ended",
                "timeseries",
                "cps",
                {
                    "on disk": _rate("recall_duration_seconds_count"),
                    "{{reason}}": _rate("recall_failures_total", "reason"),
                },
            ),
            (
                "Cartridges being read",
                "timeseries",
                "none",
                {"now": _gauge("cartridges_active"), "limit": _gauge("cartridges_limit")},
            ),
            (
                "Pinned",
                "timeseries",
                "bytes",
                {"pinned": _gauge("pinned_bytes"), "limit": _gauge("recall_buffer_limit_bytes")},
            ),
            ("Owners who wait", "timeseries", "none", {"owners": _gauge("recall_owners")}),
            (
                "Jobs that are kept, part of the limits",
                "timeseries",
                "percentunit",
                {
                    "jobs": f"{_gauge('recall_kept_jobs')} / {_gauge('recall_kept_jobs_limit')}",
                    "files": f"{_gauge('recall_kept_files')} / {_gauge('recall_kept_files_limit')}",
                },
            ),
            ("Store of recalls", "timeseries", "none", {"{{instance}}": _least("recall_store_up", "instance")}),
        ],
    ),
    (
        "Access and TLS",
        [
            ("Credentials", "timeseries", "cps", {"{{how}} {{result}}": _rate("auth_total", "how, result")}),
            ("Time to verify", "timeseries", "s", _durations("auth_duration_seconds", "how")),
            (
                "Callers that are remembered",
                "timeseries",
                "none",
                {
                    "now": _gauge("auth_cache_entries"),
                    "limit": _gauge("auth_cache_entries_limit"),
                    "being verified": _gauge("auth_waiting"),
                },
            ),
            ("Age of issuers' keys", "timeseries", "s", {"{{issuer}}": _most("jwks_age_seconds", "issuer")}),
            (
                "Keys that could not be had",
                "timeseries",
                "cps",
                {"{{issuer}}": _rate("jwks_fetch_failures_total", "issuer")},
            ),
            (
                "Certificate is valid for",
                "timeseries",
                "s",
                {"{{instance}}": f"{_least('tls_certificate_expiry_timestamp_seconds', 'instance')} - time()"},
            ),
            (
                "TLS handshakes that failed",
                "timeseries",
                "cps",
                {"{{reason}}": _rate("tls_handshake_failures_total", "reason")},
            ),
        ],
    ),
    (
        "Refusals and failures",
        [
            ("Refused", "timeseries", "cps", {"{{kind}}": _rate("refused_total", "kind")}),
            ("Failed", "timeseries", "cps", {"{{kind}}": _rate("failures_total", "kind")}),
            ("Incidents", "timeseries", "cps", {"incidents": _rate("incidents_total")}),
            ("Lines that logs lack", "timeseries", "cps", {"{{log}}": _rate("log_lines_dropped_total", "log")}),
            (
                "Lines that wait to be written",
                "timeseries",
                "bytes",
                {"{{log}}": _gauge("log_waiting_bytes", "log"), "limit": _gauge("log_waiting_limit_bytes")},
            ),
            (
                "Live pages of the console",
                "timeseries",
                "none",
                {"now": _gauge("console_viewers"), "limit": _gauge("console_viewers_limit")},
            ),
        ],
    ),
    (
        "What it runs on",
        [
            (
                "Threads at work",
                "timeseries",
                "percentunit",
                {"{{pool}}": f"{_gauge('pool_busy', 'pool')} / {_gauge('pool_size', 'pool')}"},
            ),
            ("Calls that wait for a thread", "timeseries", "none", {"{{pool}}": _gauge("pool_queued", "pool")}),
            (
                "Memory of unfinished requests",
                "timeseries",
                "bytes",
                {"held": _gauge("memory_held_bytes"), "limit": _gauge("memory_limit_bytes")},
            ),
            (
                "How late the reactor is",
                "timeseries",
                "s",
                {"p50": _quantile(0.5, "reactor_lag_seconds"), "p99": _quantile(0.99, "reactor_lag_seconds")},
            ),
            ("Waiting for a turn", "timeseries", "none", {"connections and requests": _gauge("turns_waiting")}),
            (
                "CPU",
                "timeseries",
                "percentunit",
                {WORKER: f"rate({_process('cpu_seconds_total')}[$__rate_interval])"},
            ),
            ("Memory", "timeseries", "bytes", {WORKER: _process("resident_memory_bytes")}),
            (
                "Descriptors",
                "timeseries",
                "percentunit",
                {WORKER: f"{_process('open_fds')} / {_process('max_fds')}"},
            ),
        ],
    ),
]
"""Rows of panels: title, kind, unit, and expressions by their legends."""


def dashboard() -> dict[str, Any]:
    """All of it, in Grafana's form."""
    return {
        "title": "pacarchive",
        "uid": "pacarchive",
        "tags": ["pacarchive"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    instance = {
        "name": "instance",
        "label": "Server",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": 'label_values(up{job="pacarchive"}, instance)', "refId": "instance"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
    return [source, instance]


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _panels() -> Iterator[dict[str, Any]]:
    numbers = count(1)
    top = 0
    for title, panels in ROWS:
        yield {
            "type": "row", "title": title, "id": next(numbers), "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
        }  # fmt: skip
        top += 1
        left = height = 0
        for name, kind, unit, targets in panels:
            width, height = _STAT if kind == "stat" else (_WIDTH, _HEIGHT)
            if left + width > 24:
                left, top = 0, top + height
            yield {
                "type": kind,
                "title": name,
                "id": next(numbers),
                "datasource": _SOURCE,
                "gridPos": {"x": left, "y": top, "w": width, "h": height},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
                    for place, (legend, expr) in enumerate(targets.items())
                ],
            }
            left += width
        top += height


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(dashboard(), indent=1) + "\n")
